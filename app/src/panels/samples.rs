//! What the model writes: the samples of each step, the newest first in view, older ones of the same prompt beside it.
//!
//! Text comes from the model and may hold anything, so it is shown escaped.

use engine::link::Command;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;

use super::list::{self, Dated, Place, Shown};
use super::{Panel, PanelKey, past_mark, past_note};
use crate::lang::{self, Text};
use crate::paint;
use crate::state::{Sample, State};
use crate::text;
use crate::view::{Scene, View};

mod diff;

/// The screen; see the module's page.
#[derive(Default)]
pub struct Samples {
    place: Dated,
    shown: Shown,
    /// Whether what the sample before it did not say is marked.
    marked: bool,
}

impl Panel for Samples {
    fn title(&self) -> Text {
        Text::new("Samples", "样本")
    }

    fn keys(&self) -> &'static [PanelKey] {
        const KEYS: &[PanelKey] = &[
            PanelKey {
                keys: &["d"],
                label: Text::new("diff", "差异"),
                help: Text::new(
                    "mark the words that the sample of the same prompt before it does not have there",
                    "标出同一提示的上一个样本在该处没有的词",
                ),
            },
            list::KEYS,
        ];
        KEYS
    }

    fn handle(&mut self, key: &str, state: &State, view: &mut View, _: &mut Vec<Command>) -> bool {
        if key == "d" {
            self.marked = !self.marked;
            return true;
        }
        let len = state.samples_until(view.cursor);
        let last = len.saturating_sub(1);
        self.place.handle(key, len, view.cursor, last)
    }

    fn copied(&self, scene: &Scene<'_>) -> Option<String> {
        let len = scene.state.samples_until(scene.view.cursor);
        let place = self.place.at(scene.view.cursor, len.saturating_sub(1));
        let sample = scene.state.samples.get(place.row(len))?;
        let lines = text::escape_lines(&format!("{}{}", sample.prompt, sample.text));
        Some(lines.join("\n") + "\n")
    }

    fn click(&mut self, at: Position, _: &State, view: &View) -> Option<bool> {
        let (_, len) = self.shown.at(at)?;
        let mut place = self.place.at(view.cursor, len.saturating_sub(1));
        let clicked = self.shown.click(&mut place, at);
        self.place.put(place, view.cursor);
        clicked
    }

    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        let (state, view) = (scene.state, scene.view);
        let len = state.samples_until(view.cursor);
        let place = self.place.at(view.cursor, len.saturating_sub(1));
        if len == 0 {
            let mark = past_mark(view);
            let title = [
                (
                    Text::new("samples", "样本").get(view.lang),
                    view.theme.title,
                ),
                (&*mark, view.theme.warn),
            ];
            let inner = paint::frame(buf, area, view, &title, &[]);
            paint::centred(
                buf,
                inner,
                &lang::NO_SAMPLES.with_key(view, "sample"),
                view.theme.dim,
            );
            return;
        }
        let selected = place.row(len);
        let list_width = if area.width >= 70 {
            (area.width / 3).min(44)
        } else {
            0
        };
        let list = Rect {
            width: list_width,
            ..area
        };
        let page = Rect {
            x: area.x + list_width,
            width: area.width - list_width,
            ..area
        };
        if list_width > 0 {
            render_list(scene, (place, &self.shown), len, list, buf);
        }
        let sample = &state.samples[selected];
        let earlier: Vec<&Sample> = state
            .samples
            .range(..selected)
            .rev()
            .filter(|s| s.prompt == sample.prompt)
            .collect();
        draw(sample, &earlier, self.marked, view, page, buf);
    }
}

fn render_list(
    scene: &Scene<'_>,
    (place, shown): (Place, &Shown),
    len: usize,
    area: Rect,
    buf: &mut Buffer,
) {
    let (samples, view) = (&scene.state.samples, scene.view);
    let theme = &view.theme;
    let count = text::count(len as u64);
    let mark = past_mark(view);
    let title = [
        (Text::new("samples ", "样本 ").get(view.lang), theme.title),
        (&*count, theme.dim),
        (&*mark, theme.warn),
    ];
    let notes = [(past_note(view), theme.dim)];
    let inner = paint::frame(buf, area, view, &title, &notes);
    let rows = shown.rows(place, len, inner);
    for (row, index) in rows.enumerate() {
        let sample = &samples[index];
        let chosen = index == place.row(len);
        let step = text::fit_right(&text::count(sample.step), 9);
        let share = share(sample);
        let prompt = text::escape(&sample.prompt);
        let pieces = [
            (&*step, if chosen { theme.strong } else { theme.text }),
            ("  ", theme.text),
            (&*share, theme.good),
            (&*prompt, theme.dim),
        ];
        paint::item(buf, inner, row as u16, chosen, theme, &pieces);
    }
}

fn share(sample: &Sample) -> String {
    sample
        .readable
        .map_or_else(String::new, |r| format!("{:>4.0}% ", r * 100.0))
}

/// The newest sample, at the data cursor's step where there is one, in a frame, for other screens.
pub fn latest(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
    let view = scene.view;
    if let Some(sample) = scene.state.sample_at(view.cursor) {
        draw(sample, &[], false, view, area, buf);
        return;
    }
    let inner = paint::frame(
        buf,
        area,
        view,
        &[(Text::new("sample", "样本").get(view.lang), view.theme.title)],
        &[],
    );
    paint::centred(
        buf,
        inner,
        &lang::NO_SAMPLES.with_key(view, "sample"),
        view.theme.dim,
    );
}

/// One sample with its prompt, then earlier ones of the same prompt as far as there is room.
fn draw(
    sample: &Sample,
    earlier: &[&Sample],
    marked: bool,
    view: &View,
    area: Rect,
    buf: &mut Buffer,
) {
    let theme = &view.theme;
    let step = format!("@{}", text::count(sample.step));
    let mark = past_mark(view);
    let readable = sample.readable.map_or_else(String::new, |r| {
        let word = Text::new("readable", "可读").get(view.lang);
        format!("  {word} {:.0}%", r * 100.0)
    });
    let before = earlier.first().filter(|_| marked);
    let new = before.map_or_else(String::new, |older| {
        let words = Text::new("new since", "相对新增").get(view.lang);
        format!("  {words} @{}", text::count(older.step))
    });
    let title = [
        (Text::new("sample ", "样本 ").get(view.lang), theme.title),
        (&*step, theme.strong),
        (&*new, theme.key),
        (&*readable, theme.good),
        (&*mark, theme.warn),
    ];
    let inner = paint::frame(buf, area, view, &title, &[]);
    let inner = Rect {
        x: inner.x + u16::from(inner.width > 2),
        width: inner.width.saturating_sub(2),
        ..inner
    };
    let mut row = match before {
        Some(older) => diff::draw(older, sample, view, inner, buf),
        None => write(
            &sample.prompt,
            &sample.text,
            (theme.dim, theme.text),
            inner,
            0,
            buf,
        ),
    };
    for older in earlier {
        if row + 2 >= inner.height {
            break;
        }
        let head = format!("@{} {}", text::count(older.step), share(older));
        paint::line(buf, inner, row + 1, &[(&head, theme.border)]);
        row = write("", &older.text, (theme.dim, theme.dim), inner, row + 2, buf);
    }
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
