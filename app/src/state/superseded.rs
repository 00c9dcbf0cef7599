//! Steps that a later attempt has trained again: what the charts can show of them, dimmed.
//!
//! The record keeps every row; the run's own curves hold only those that count. What an attempt leaves behind is kept here as
//! a line of at most [`MOST`] points, so that many attempts cost little.

use engine::run_folder::index;

use super::State;
use crate::chart::means::Means;
use crate::chart::series::{Series, Track, XUnit};

/// Points of a line.
const MOST: usize = 2048;
/// Attempts that are kept, the last ones.
const ATTEMPTS: usize = 32;

/// The metrics that have charts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plotted {
    /// Training loss.
    Loss,
    /// Learning rate.
    Lr,
    /// Gradient norm before clipping.
    GradNorm,
    /// Tokens per second.
    Speed,
}

/// The rows that one attempt left behind, from the last step that still counts on.
#[derive(Clone, Debug, Default)]
pub struct Superseded {
    /// Its horizontal coordinates.
    pub track: Track,
    /// In the order of [`Plotted`].
    lines: [(Series, Means); 4],
}

impl Superseded {
    /// A metric's line.
    pub fn line(&self, metric: Plotted) -> &(Series, Means) {
        &self.lines[metric as usize]
    }

    fn push(&mut self, (step, tokens, seconds): (u64, u64, f64), values: [f64; 4]) {
        self.track.push(step, tokens, seconds);
        for ((series, _), value) in self.lines.iter_mut().zip(values) {
            series.push(value);
        }
    }

    /// What a run's index has of an attempt, `seconds` of training before its first row.
    fn of(left: &index::Superseded, seconds: f64) -> Self {
        let mut line = Self::default();
        for row in &left.rows {
            let [loss, lr, grad_norm, _, speed, ..] = row.figures;
            let at = (row.step, row.tokens, seconds + row.seconds);
            line.push(at, [loss, lr, grad_norm, speed]);
        }
        line
    }
}

impl State {
    /// Keeps what stands behind row `rows`, which another attempt will train again.
    pub(super) fn supersede(&mut self, rows: usize) {
        let len = self.track.len();
        if rows >= len {
            return;
        }
        // The last row that counts is where the line begins.
        let first = rows.saturating_sub(1);
        let stride = (len - first).div_ceil(MOST);
        let mut line = Superseded::default();
        let mut start = first;
        while start < len {
            // The first point is a row of its own, so that the lines meet there.
            let end = if start == first {
                start + 1
            } else {
                start + stride
            }
            .min(len);
            let (track, last) = (&self.track, end - 1);
            let mean = |series: &Series| series.query(start..end).mean().unwrap_or(f64::NAN);
            let metrics = [&self.loss, &self.lr, &self.grad_norm, &self.speed];
            let at = (
                track.step(last),
                track.tokens(last),
                track.x(last, XUnit::Time),
            );
            line.push(at, metrics.map(|metric| mean(&metric.series)));
            start = end;
        }
        self.keep(line);
    }

    /// The same of what attempts before this session left behind.
    pub(super) fn recall_superseded(&mut self, index: &index::Index, seconds: f64) {
        for left in index.superseded(MOST) {
            self.keep(Superseded::of(&left, seconds));
        }
    }

    fn keep(&mut self, line: Superseded) {
        let excess = (self.superseded.len() + 1).saturating_sub(ATTEMPTS);
        self.superseded.drain(..excess);
        self.superseded.push(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workbench::fixture::{bench, event, events, hear_all, line, step, text};
    use engine::link::Body;

    fn resumed(step: u64) -> engine::link::Event {
        let body = Body::Resumed {
            step,
            path: "checkpoints/x".to_owned(),
            attempt: 2,
        };
        event(body, 100)
    }

    #[test]
    fn what_is_trained_again_stays_as_a_line_of_few_points() {
        let mut state = State::new(0.9);
        hear(&mut state, 10_000);
        state.apply(&resumed(500));
        state.apply(&resumed(500));
        assert_eq!(state.superseded.len(), 1, "nothing is behind it any more");
        let left = &state.superseded[0];
        let (series, _) = left.line(Plotted::Loss);
        assert!(series.len() <= MOST + 1, "{}", series.len());
        assert_eq!(left.track.len(), series.len());
        // From the last step that counts to the last that does not.
        assert_eq!(
            (left.track.step(0), left.track.last_step()),
            (500, Some(10_000))
        );
        assert_eq!(series.at(0), state.loss.series.last());
        assert_eq!(left.line(Plotted::Lr).0.len(), series.len());
        let greatest = (501..=10_000).map(loss).fold(f64::MIN, f64::max);
        let found = series.query(1..series.len()).extremes().unwrap().1;
        assert!(f64::from(found) <= greatest);
        for _ in 0..2 * ATTEMPTS {
            state.apply(&step(501));
            state.apply(&resumed(500));
        }
        assert_eq!(state.superseded.len(), ATTEMPTS);
    }

    fn loss(at: u64) -> f64 {
        match step(at).body {
            Body::Step(step) => step.loss,
            _ => f64::NAN,
        }
    }

    fn hear(state: &mut State, until: u64) {
        state.apply(&events(1)[0]);
        (1..=until).for_each(|at| state.apply(&step(at)));
    }

    #[test]
    fn the_charts_show_earlier_attempts_on_request() {
        let mut bench = bench();
        hear_all(&mut bench, &events(400));
        bench.hear(&resumed(200));
        // A better attempt: the earlier one lies above it.
        for at in 201..=400 {
            let mut again = step(at);
            if let Body::Step(step) = &mut again.body {
                step.loss -= 0.5;
                step.attempt = 2;
            }
            bench.hear(&again);
        }
        let hidden = text(&bench, 100, 30);
        assert!(hidden.contains("earlier attempts 1 hidden"), "{hidden}");
        line(&mut bench, "attempts");
        assert!(text(&bench, 100, 30).contains("dim lines"));
        bench.press("9");
        bench.press("1");
        let shown = text(&bench, 100, 30);
        assert!(shown.contains("earlier attempts 1 shown"), "{shown}");
        let dots = |seen: &str| {
            let dots = seen
                .chars()
                .filter(|c| ('\u{2801}'..='\u{28ff}').contains(c));
            dots.count()
        };
        assert!(dots(&shown) > dots(&hidden) + 10);
        insta::assert_snapshot!("earlier-attempts", shown);
        line(&mut bench, "attempts off");
        bench.press("9");
        bench.press("1");
        assert_eq!(text(&bench, 100, 30), hidden);
        line(&mut bench, "attempts maybe");
        assert!(text(&bench, 100, 30).contains("expected on, off"));
    }
}
