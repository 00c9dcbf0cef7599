//! Change the smoothing of the curves.

use super::{Action, Ran, expected, first};
use crate::lang::Text;
use crate::view::SMOOTHINGS;
use crate::workbench::Workbench;

const WORDS: [&str; SMOOTHINGS.len()] = ["0.9", "0.95", "0.98", "0.99", "0", "0.5"];

/// See the module's page.
pub const ACTION: Action = Action::new(
    "smooth",
    Text::new("smooth", "平滑"),
    Text::new(
        "smoothing of the curves; computed over all steps",
        "曲线平滑系数 (按全部步计算)",
    ),
    run,
)
.takes("[DECAY]", |before, _| first(before, &WORDS));

fn run(argument: &str, bench: &mut Workbench) -> Ran {
    let next = (bench.view.smoothing + 1) % SMOOTHINGS.len();
    bench.view.smoothing = if argument.is_empty() {
        next
    } else {
        let decay: Option<f64> = argument.parse().ok();
        let known = |decay| SMOOTHINGS.iter().position(|have| *have == decay);
        let found = decay.and_then(known);
        found.ok_or_else(|| expected(&WORDS, argument))?
    };
    let beta = bench.view.beta();
    bench.state.smooth(beta);
    if let Some(frozen) = &mut bench.frozen {
        frozen.smooth(beta);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_the_decays() {
        for (word, decay) in WORDS.iter().zip(SMOOTHINGS) {
            assert_eq!(word.parse(), Ok(decay));
        }
    }
}
