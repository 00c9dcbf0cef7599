//! The few shapes that panels are made of: frames, lines of styled text, lists, bars.
//!
//! All of them clip to the buffer and accept areas of any size.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::chart::glyph::GlyphSet;
use crate::text;
use crate::theme::Theme;
use crate::view::View;

/// Writes pieces one behind the other into a row of `area`, cut at its right edge. Returns the column behind them.
pub fn line(buf: &mut Buffer, area: Rect, row: u16, pieces: &[(&str, Style)]) -> u16 {
    let mut x = area.x;
    if row >= area.height {
        return x;
    }
    for (piece, style) in pieces {
        let room = area.right().saturating_sub(x);
        let y = area.y + row;
        if room == 0 || !buf.area.contains((x, y).into()) {
            break;
        }
        x = write(buf, (x, y), piece, room, *style);
    }
    x
}

/// Writes a text from a cell on, at most `room` cells. Returns the column behind it. What `Buffer::set_stringn` does, without
/// its search for graphemes where every byte is one.
fn write(buf: &mut Buffer, (x, y): (u16, u16), text: &str, room: u16, style: Style) -> u16 {
    if !text::is_plain(text) {
        return buf.set_stringn(x, y, text, usize::from(room), style).0;
    }
    let room = room.min(buf.area.right().saturating_sub(x));
    let count = text.len().min(usize::from(room));
    let from = buf.index_of(x, y);
    let cells = &mut buf.content[from..from + count];
    for (cell, byte) in cells.iter_mut().zip(text.bytes()) {
        cell.set_char(char::from(byte)).set_style(style);
    }
    x + count as u16
}

/// Writes a row of a list: marked at its left edge and highlighted if it is the chosen one. Returns the column behind it.
pub fn item(
    buf: &mut Buffer,
    area: Rect,
    row: u16,
    chosen: bool,
    theme: &Theme,
    pieces: &[(&str, Style)],
) -> u16 {
    let mut all = vec![(if chosen { ">" } else { " " }, theme.key)];
    all.extend(pieces);
    let end = line(buf, area, row, &all);
    if chosen {
        highlight(buf, area, row, theme.selected);
    }
    end
}

/// Writes pieces so that they end at the right edge of a row, if they fit behind column `from`.
pub fn line_right(buf: &mut Buffer, area: Rect, row: u16, from: u16, pieces: &[(&str, Style)]) {
    let width: usize = pieces.iter().map(|p| text::width(p.0)).sum();
    let room = usize::from(area.right().saturating_sub(from));
    if width <= room {
        let left = area.right() - width as u16;
        let rest = Rect {
            x: left,
            width: width as u16,
            ..area
        };
        line(buf, rest, row, pieces);
    }
}

/// Writes one text in the middle of `area`.
pub fn centred(buf: &mut Buffer, area: Rect, message: &str, style: Style) {
    let width = text::width(message).min(usize::from(area.width)) as u16;
    let at = Rect {
        x: area.x + (area.width - width) / 2,
        width,
        ..area
    };
    line(buf, at, area.height / 2, &[(message, style)]);
}

/// Draws a frame with a title in its upper and notes in its lower edge; returns what is inside.
pub fn frame(
    buf: &mut Buffer,
    area: Rect,
    view: &View,
    title: &[(&str, Style)],
    notes: &[(&str, Style)],
) -> Rect {
    let area = area.intersection(buf.area);
    if area.width < 2 || area.height < 2 {
        return Rect {
            width: 0,
            height: 0,
            ..area
        };
    }
    // Corners from the top left clockwise, then horizontal and vertical.
    let [tl, tr, br, bl, across, down] = match view.glyphs {
        GlyphSet::Ascii => ['+', '+', '+', '+', '-', '|'],
        _ => [
            '\u{250c}', '\u{2510}', '\u{2518}', '\u{2514}', '\u{2500}', '\u{2502}',
        ],
    };
    let style = view.theme.border;
    let (left, right) = (area.left(), area.right() - 1);
    let (top, bottom) = (area.top(), area.bottom() - 1);
    for x in left..=right {
        buf[(x, top)].set_char(across).set_style(style);
        buf[(x, bottom)].set_char(across).set_style(style);
    }
    for y in top..=bottom {
        buf[(left, y)].set_char(down).set_style(style);
        buf[(right, y)].set_char(down).set_style(style);
    }
    for (x, y, corner) in [
        (left, top, tl),
        (right, top, tr),
        (right, bottom, br),
        (left, bottom, bl),
    ] {
        buf[(x, y)].set_char(corner).set_style(style);
    }
    // A space on both sides keeps text and frame apart.
    let within = Rect {
        x: left + 2,
        width: area.width.saturating_sub(4),
        ..area
    };
    for (row, pieces) in [(0, title), (area.height - 1, notes)] {
        let mut end = line(buf, within, row, pieces);
        if end == within.x {
            continue;
        }
        // Space behind the last word belongs to the edge; the second cell of a wide character is none.
        let is_wide = |buf: &Buffer, x: u16| text::width(buf[(x, top + row)].symbol()) > 1;
        while end > within.x
            && buf[(end - 1, top + row)].symbol() == " "
            && !(end - 1 > within.x && is_wide(buf, end - 2))
        {
            end -= 1;
            buf[(end, top + row)].set_char(across).set_style(style);
        }
        buf[(left + 1, top + row)].set_char(' ');
        if end < right {
            buf[(end, top + row)].set_char(' ');
        }
    }
    Rect {
        x: area.x + 1,
        y: area.y + 1,
        width: area.width - 2,
        height: area.height - 2,
    }
}

/// Gives a frame that was drawn the look of the chosen one.
pub fn mark_frame(buf: &mut Buffer, area: Rect, view: &View) {
    let area = area.intersection(buf.area);
    if area.width < 2 || area.height < 2 {
        return;
    }
    for y in area.top()..area.bottom() {
        for x in [area.left(), area.right() - 1] {
            buf[(x, y)].set_style(view.theme.key);
        }
    }
    buf[(area.left(), area.top())].set_char('>');
}

/// A horizontal bar filled to a fraction, in eighths of a cell.
pub fn bar(buf: &mut Buffer, area: Rect, fraction: f64, view: &View) {
    let area = area.intersection(buf.area);
    if area.is_empty() {
        return;
    }
    let ascii = view.glyphs == GlyphSet::Ascii;
    let eighths = (fraction.clamp(0.0, 1.0) * f64::from(area.width) * 8.0).round() as usize;
    for column in 0..area.width {
        let filled = eighths.saturating_sub(usize::from(column) * 8).min(8);
        let (symbol, style) = match filled {
            0 if ascii => ('.', view.theme.border),
            0 => ('\u{2500}', view.theme.border),
            _ if ascii => ('#', view.theme.line),
            part => (
                char::from_u32(0x2590 - part as u32).unwrap_or('\u{2588}'),
                view.theme.line,
            ),
        };
        buf[(area.x + column, area.y)]
            .set_char(symbol)
            .set_style(style);
    }
}

/// First row to show of a list of `len` rows so that `selected` is visible in `height` rows, near the middle.
pub fn scroll(len: usize, selected: usize, height: usize) -> usize {
    selected
        .saturating_sub(height / 2)
        .min(len.saturating_sub(height))
}

/// Gives every cell of a row a background or attribute.
pub fn highlight(buf: &mut Buffer, area: Rect, row: u16, style: Style) {
    if row < area.height {
        let at = Rect {
            y: area.y + row,
            height: 1,
            ..area
        };
        buf.set_style(at.intersection(buf.area), style);
    }
}

/// The first `height` rows of an area, and the rest of it.
pub fn top(area: Rect, height: u16) -> (Rect, Rect) {
    let height = height.min(area.height);
    let rest = Rect {
        y: area.y + height,
        height: area.height - height,
        ..area
    };
    (Rect { height, ..area }, rest)
}

/// The first `width` columns of an area, and the rest of it.
pub fn left(area: Rect, width: u16) -> (Rect, Rect) {
    let width = width.min(area.width);
    let rest = Rect {
        x: area.x + width,
        width: area.width - width,
        ..area
    };
    (Rect { width, ..area }, rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::style::Color;

    #[test]
    fn an_area_is_parted_without_a_gap_whatever_is_wanted_of_it() {
        let area = Rect::new(3, 4, 10, 6);
        for wanted in 0..20 {
            let (above, below) = top(area, wanted);
            assert_eq!((above.height, above.bottom()), (wanted.min(6), below.y));
            assert_eq!((above.y, below.bottom()), (area.y, area.bottom()));
            let (one, other) = left(area, wanted);
            assert_eq!((one.width, one.right()), (wanted.min(10), other.x));
            assert_eq!((one.x, other.right()), (area.x, area.right()));
            assert_eq!(above.union(below), area);
            assert_eq!(one.union(other), area);
        }
    }

    #[test]
    fn plain_text_is_written_as_the_library_writes_it() {
        let area = Rect::new(2, 1, 12, 2);
        let style = Style::new().fg(Color::Red);
        for text in [
            "",
            "a",
            "a b~",
            "longer than the row is",
            "tab\there",
            "\u{7f}",
            "\u{e9}\u{5c0f}x",
        ] {
            for (x, room) in [(2, 12), (5, 3), (13, 9), (5, 0), (14, 4)] {
                let mut want = Buffer::filled(area, ratatui::buffer::Cell::new("\u{72d0}"));
                let mut got = want.clone();
                let end = if x < area.right() {
                    want.set_stringn(x, 2, text, usize::from(room), style).0
                } else {
                    x
                };
                let at = Rect::new(x, 1, room, 2);
                assert_eq!(
                    line(&mut got, at, 1, &[(text, style)]),
                    end,
                    "{text:?} at {x}"
                );
                assert_eq!(got, want, "{text:?} at {x}");
            }
        }
    }
}
