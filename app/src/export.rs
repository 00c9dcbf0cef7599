//! What is looked at as text, for the clipboard of the person's own terminal (OSC 52).

use std::fmt::Write as _;

use crate::state::State;
use crate::view::Scene;

/// Most bytes that are copied: what terminals usually take, as base64, in one sequence.
const MOST: usize = 74_000;

const HEAD: &str = "step,tokens,loss,lr,grad_norm,tokens_per_second,step_seconds\n";

fn row(state: &State, row: usize, out: &mut String) {
    let track = &state.track;
    let _ = write!(out, "{},{}", track.step(row), track.tokens(row));
    for metric in [
        &state.loss,
        &state.lr,
        &state.grad_norm,
        &state.speed,
        &state.step_seconds,
    ] {
        match metric.series.at(row) {
            Some(value) => {
                let _ = write!(out, ",{value}");
            }
            None => out.push(','),
        }
    }
    out.push('\n');
}

/// The figures of the step under the data cursor, else of the last step, as CSV.
///
/// # Errors
/// If there are none.
pub fn at_cursor(scene: &Scene<'_>) -> Result<String, String> {
    let state = scene.state;
    let last = state.track.len().checked_sub(1);
    let last = last.ok_or("there is nothing to copy yet")?;
    let cursor = scene.view.cursor;
    let at = cursor.map_or(last, |step| state.track.rows_before_step(step).min(last));
    let mut out = HEAD.to_owned();
    row(state, at, &mut out);
    Ok(out)
}

/// The steps in the visible window, as CSV.
///
/// # Errors
/// If there are none, or more than a terminal takes.
pub fn visible(scene: &Scene<'_>) -> Result<String, String> {
    let (state, view) = (scene.state, scene.view);
    let track = &state.track;
    let (lo, hi) = view.window(track);
    let end = (track.rows_before(hi, view.unit) + 1).min(track.len());
    let rows = track.rows_before(lo, view.unit)..end;
    if rows.is_empty() {
        return Err("there is nothing to copy yet".to_owned());
    }
    let mut out = HEAD.to_owned();
    for at in rows.clone() {
        row(state, at, &mut out);
        if out.len() > MOST {
            return Err(format!(
                "{} steps are more than a terminal takes: zoom in, or use zerollm metric",
                rows.len()
            ));
        }
    }
    Ok(out)
}

/// The sequence that gives a text to the terminal's clipboard.
pub fn osc52(text: &str) -> String {
    format!("\x1b]52;c;{}\x07", base64(text.as_bytes()))
}

/// RFC 4648.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for part in bytes.chunks(3) {
        let byte = |i: usize| u32::from(part.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for i in 0..4 {
            if i <= part.len() {
                let letter = LETTERS[(bits >> (18 - 6 * i) & 63) as usize];
                out.push(char::from(letter));
            } else {
                out.push('=');
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_the_rfc() {
        for (text, code) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(text.as_bytes()), code);
        }
        assert_eq!(osc52("a"), "\x1b]52;c;YQ==\x07");
    }
}
