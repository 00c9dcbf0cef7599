//! Text for the screen: control characters made visible, widths counted in cells, figures made short.
//!
//! Everything that comes from outside (samples, data, names, messages) goes through [`escape`] before it is shown, so
//! that no text can move the cursor, change colours or hide itself.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

pub use crate::chart::axis::{figure, number};

/// Makes control characters visible: newline as `\n`, escape as `\x1b`, and so on. Also the characters that reorder or
/// hide text (bidirectional controls, zero-width marks) and the private escape introducers of C1.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        push_escaped(c, &mut out);
    }
    out
}

/// Like [`escape`] for text of several lines: newlines part the lines, tabs become spaces.
pub fn escape_lines(text: &str) -> Vec<String> {
    text.split('\n')
        .map(|line| escape(&line.trim_end_matches('\r').replace('\t', "    ")))
        .collect()
}

/// Whether a character shows itself and does nothing else: none that [`escape`] makes visible.
pub fn is_shown(c: char) -> bool {
    let hidden = matches!(c,
        '\u{80}'..='\u{9f}' | '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}');
    !hidden && !c.is_ascii_control()
}

fn push_escaped(c: char, out: &mut String) {
    use std::fmt::Write as _;
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if c.is_ascii_control() => {
            let _ = write!(out, "\\x{:02x}", c as u32);
        }
        c if !is_shown(c) => {
            let _ = write!(out, "\\u{{{:x}}}", c as u32);
        }
        c => out.push(c),
    }
}

/// Number of cells that a text takes.
pub fn width(text: &str) -> usize {
    if is_plain(text) {
        return text.len();
    }
    text.width()
}

/// Whether every byte is a character of one cell: visible ASCII and spaces, as most of what a screen shows.
pub fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

/// The longest beginning of `text` that fits into `cells`; where something is cut, it ends in `~`.
pub fn truncate(text: &str, cells: usize) -> String {
    if width(text) <= cells {
        return text.to_owned();
    }
    let Some(room) = cells.checked_sub(1) else {
        return String::new();
    };
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let next = c.width().unwrap_or(0);
        if used + next > room {
            break;
        }
        used += next;
        out.push(c);
    }
    out.push('~');
    out
}

/// `text` cut or filled with spaces to exactly `cells`.
pub fn fit(text: &str, cells: usize) -> String {
    let mut out = truncate(text, cells);
    let used = width(&out);
    out.extend(std::iter::repeat_n(' ', cells.saturating_sub(used)));
    out
}

/// `text` cut or filled with spaces on its left to exactly `cells`.
pub fn fit_right(text: &str, cells: usize) -> String {
    let out = truncate(text, cells);
    let used = width(&out);
    format!("{}{out}", " ".repeat(cells.saturating_sub(used)))
}

/// Breaks a line into pieces of at most `cells`, at spaces where there are any.
pub fn wrap(line: &str, cells: usize) -> Vec<String> {
    let cells = cells.max(2);
    let mut lines = Vec::new();
    let mut current = String::new();
    let mut used = 0;
    // Where the current line may be broken: the byte behind its last space.
    let mut last_break = None;
    for c in line.chars() {
        let next = c.width().unwrap_or(0);
        if used + next > cells {
            let rest = last_break.map_or_else(String::new, |at| current.split_off(at));
            lines.push(current.trim_end().to_owned());
            used = width(&rest);
            current = rest;
            last_break = None;
        }
        current.push(c);
        used += next;
        if c == ' ' {
            last_break = Some(current.len());
        }
    }
    lines.push(current);
    lines
}

/// A count with thousands separated: `18,240`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// A duration in its two largest units: `850ms`, `42s`, `3m05s`, `12h35m`, `2d04h`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "-".into();
    }
    if seconds == 0.0 {
        return "0s".into();
    }
    if seconds < 0.9995 {
        return format!("{:.0}ms", seconds * 1e3);
    }
    if seconds < 10.0 && seconds.fract() > 0.05 && seconds.fract() < 0.95 {
        return format!("{seconds:.1}s");
    }
    let s = seconds.round() as u64;
    match s {
        0..60 => format!("{s}s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        3600..86400 => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
        _ => format!("{}d{:02}h", s / 86400, s % 86400 / 3600),
    }
}

/// A size in binary units: `61.2 GiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ if value < 10.0 => format!("{value:.2} {}", UNITS[unit]),
        _ if value < 100.0 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// A value with a fixed number of decimals while that is readable, else as [`number`] writes it; the words NaN and inf
/// as they are.
pub fn value(value: f64, decimals: usize) -> String {
    let magnitude = value.abs();
    if value.is_finite() && (magnitude == 0.0 || (0.01..10_000.0).contains(&magnitude)) {
        format!("{value:.decimals$}")
    } else {
        number(value, 3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_gets_through() {
        let nasty: String = (0..0x2100u32)
            .chain(0xe0000..0xe0100)
            .filter_map(char::from_u32)
            .collect();
        let shown = escape(&nasty);
        assert!(shown.chars().all(|c| !c.is_control()));
        for hidden in ['\u{202e}', '\u{200b}', '\u{feff}', '\u{e0041}', '\u{9b}'] {
            assert!(!shown.contains(hidden), "{:x}", hidden as u32);
        }
        assert_eq!(escape("a\x1b[31m\n"), "a\\x1b[31m\\n");
        assert_eq!(escape_lines("a\tb\r\nc"), ["a    b", "c"]);
    }

    #[test]
    fn truncation_counts_cells() {
        assert_eq!(truncate("abc", 3), "abc");
        assert_eq!(truncate("abcd", 3), "ab~");
        assert_eq!(truncate("\u{4e2d}\u{6587}\u{5b57}", 4), "\u{4e2d}~");
        assert_eq!(truncate("abc", 0), "");
        for cells in 0..12 {
            assert_eq!(width(&fit("a\u{4e2d}b\u{6587}c\u{301}", cells)), cells);
            assert_eq!(width(&fit_right("a\u{4e2d}b", cells)), cells);
        }
    }

    #[test]
    fn wrapping_loses_nothing_and_fits() {
        let text = "the quick brown fox jumps over a verylongwordthatdoesnotfit \u{4e2d}\u{6587}\u{5b57}\u{7b26}";
        for cells in 2..40 {
            let lines = wrap(text, cells);
            assert!(lines.iter().all(|l| width(l) <= cells), "{cells}");
            let strip = |s: &str| s.replace(' ', "");
            assert_eq!(strip(&lines.concat()), strip(text));
        }
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12), "12");
        assert_eq!(duration(0.85), "850ms");
        assert_eq!(duration(1.09), "1.1s");
        assert_eq!(duration(185.0), "3m05s");
        assert_eq!(duration(45_300.0), "12h35m");
        assert_eq!(duration(187_200.0), "2d04h");
        assert_eq!(duration(f64::NAN), "-");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(65_712_000_000), "61.2 GiB");
        assert_eq!(value(3.27141, 4), "3.2714");
        assert_eq!(value(1.2e-5, 4), "1.2e-5");
        assert_eq!(value(f64::NAN, 4), "NaN");
    }
}
