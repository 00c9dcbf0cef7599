//! One sample in full, and beside or below it the one that it is compared with.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::diff;
use super::other::Found;
use crate::bars::{Group, fitting};
use crate::lang::Text;
use crate::paint;
use crate::panels::past_mark;
use crate::state::Sample;
use crate::text;
use crate::view::View;

/// Cells from which on two samples stand side by side.
const BESIDE: u16 = 66;
/// Rows that a sample of another run needs below.
const BELOW: u16 = 8;

const NOT_THEN: Text = Text::new(
    "this prompt was not continued at that step",
    "该步没有续写该提示",
);

/// What is shown of a sample.
pub(super) struct Page<'a> {
    /// The sample.
    pub sample: &'a Sample,
    /// Earlier ones of its prompt, the newest first.
    pub earlier: Vec<&'a Sample>,
    /// The one of another run, where one was chosen.
    pub other: Option<Found<'a>>,
    /// Whether the words are marked that the other one, or else the one before, does not have there.
    pub marked: bool,
}

/// The share of sentences that the grammar accepts, as a column.
pub(super) fn share(sample: &Sample) -> String {
    sample
        .readable
        .map_or_else(String::new, |r| format!("{:>4.0}% ", r * 100.0))
}

impl Page<'_> {
    /// Draws it in a frame, or in two. `note` stands at the lower edge.
    pub(super) fn draw(&self, note: &str, view: &View, area: Rect, buf: &mut Buffer) {
        let Some(found) = &self.other else {
            self.draw_own(note, view, area, buf);
            return;
        };
        let (own, other) = halves(area);
        self.draw_own(note, view, own, buf);
        found.draw(self.sample, self.marked, view, other, buf);
    }

    fn draw_own(&self, note: &str, view: &View, area: Rect, buf: &mut Buffer) {
        let theme = &view.theme;
        let sample = self.sample;
        let step = format!("@{}", text::count(sample.step));
        let mark = past_mark(view);
        let readable = readable(sample, view);
        let other = self.other.as_ref().and_then(Found::sample);
        let before = other.or_else(|| self.earlier.first().copied());
        let before = before.filter(|_| self.marked);
        let new = match (before, &self.other, other) {
            (None, _, _) => String::new(),
            (Some(_), Some(found), Some(_)) => {
                let words = Text::new("not in", "未见于").get(view.lang);
                format!("  {words} {}", found.name())
            }
            (Some(older), _, _) => {
                let words = Text::new("new since", "相对新增").get(view.lang);
                format!("  {words} @{}", text::count(older.step))
            }
        };
        // What does not fit is left out whole.
        let title: [Group<'_>; 5] = [
            vec![(Text::new("sample ", "样本 ").get(view.lang), theme.title)],
            vec![(&*step, theme.strong)],
            vec![(&*new, theme.key)],
            vec![(&*readable, theme.good)],
            vec![(&*mark, theme.warn)],
        ];
        let room = area.width.saturating_sub(4);
        let title = fitting(&title, room);
        let inner = paint::frame(buf, area, view, &title, &[(note, theme.dim)]);
        let inner = margin(inner);
        let mut row = whole(sample, before, view, inner, buf);
        for older in &self.earlier {
            if row + 2 >= inner.height {
                break;
            }
            let head = format!("@{} {}", text::count(older.step), share(older));
            paint::line(buf, inner, row + 1, &[(&head, theme.border)]);
            row = write("", &older.text, (theme.dim, theme.dim), inner, row + 2, buf);
        }
    }
}

/// Says that the chosen prompt was not continued at the chosen step.
pub(super) fn draw_missing(step: u64, note: &str, view: &View, area: Rect, buf: &mut Buffer) {
    let theme = &view.theme;
    let step = format!("@{}", text::count(step));
    let mark = past_mark(view);
    let title = [
        (Text::new("sample ", "样本 ").get(view.lang), theme.title),
        (&*step, theme.strong),
        (&*mark, theme.warn),
    ];
    let inner = paint::frame(buf, area, view, &title, &[(note, theme.dim)]);
    say(NOT_THEN.get(view.lang), theme.dim, inner, buf);
}

/// Writes a message in words, wrapped.
pub(super) fn say(message: &str, style: Style, inner: Rect, buf: &mut Buffer) {
    let inner = margin(inner);
    let lines = text::wrap(&text::escape(message), usize::from(inner.width));
    for (row, line) in lines.iter().enumerate() {
        paint::line(buf, inner, row as u16, &[(line, style)]);
    }
}

/// A sample with its prompt; the words are marked that `before` does not have there. Returns the row behind.
pub(super) fn whole(
    sample: &Sample,
    before: Option<&Sample>,
    view: &View,
    inner: Rect,
    buf: &mut Buffer,
) -> u16 {
    let theme = &view.theme;
    match before {
        Some(older) => diff::draw(older, sample, view, inner, buf),
        None => write(
            &sample.prompt,
            &sample.text,
            (theme.dim, theme.text),
            inner,
            0,
            buf,
        ),
    }
}

/// The share of sentences that the grammar accepts, for a title.
pub(super) fn readable(sample: &Sample, view: &View) -> String {
    sample.readable.map_or_else(String::new, |r| {
        let word = Text::new("readable", "可读").get(view.lang);
        format!("  {word} {:.0}%", r * 100.0)
    })
}

/// A frame's inside without its first and last column.
pub(super) fn margin(inner: Rect) -> Rect {
    Rect {
        x: inner.x + u16::from(inner.width > 2),
        width: inner.width.saturating_sub(2),
        ..inner
    }
}

/// The places of two samples: side by side where there is room, else one below the other; the second is empty where there
/// is none.
fn halves(area: Rect) -> (Rect, Rect) {
    if area.width >= BESIDE {
        return paint::left(area, area.width.div_ceil(2));
    }
    let height = if area.height >= BELOW {
        area.height.div_ceil(2)
    } else {
        area.height
    };
    paint::top(area, height)
}

/// Writes a prompt and what followed it, wrapped; returns the row behind.
fn write(
    prompt: &str,
    written: &str,
    (of_prompt, of_text): (Style, Style),
    area: Rect,
    mut row: u16,
    buf: &mut Buffer,
) -> u16 {
    // Wrapped as one text, so that the prompt runs on into what the model made of it.
    let mut left_of_prompt = text::escape_lines(prompt).join("\n").chars().count();
    let whole = format!("{prompt}{written}");
    for line in text::escape_lines(&whole) {
        let mut taken = 0;
        for piece in text::wrap(&line, usize::from(area.width)) {
            if row >= area.height {
                return row;
            }
            let num_chars = piece.chars().count();
            let of_the_prompt: String = piece.chars().take(left_of_prompt).collect();
            let rest = &piece[of_the_prompt.len()..];
            paint::line(
                buf,
                area,
                row,
                &[(&of_the_prompt, of_prompt), (rest, of_text)],
            );
            left_of_prompt = left_of_prompt.saturating_sub(num_chars);
            taken += num_chars;
            row += 1;
        }
        // Spaces at which a line was broken, and the newline itself.
        left_of_prompt =
            left_of_prompt.saturating_sub(line.chars().count().saturating_sub(taken) + 1);
    }
    row
}
