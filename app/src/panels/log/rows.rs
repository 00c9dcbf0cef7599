//! The rows that an alert is about, read as text over the log.

use std::cell::RefCell;

use engine::watch::batch::KeptBatch;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::kept_rows;
use crate::lang::{Lang, Text};
use crate::paint;
use crate::panels::list::Place;
use crate::text;
use crate::view::{Scene, View};

/// A line of them.
struct Line {
    /// The row that it is of.
    row: usize,
    is_heading: bool,
    text: String,
}

/// The open page.
pub struct Rows {
    step: u64,
    /// What the disk has said; nothing before it has.
    kept: Option<Result<KeptBatch, String>>,
    /// The line at the top.
    place: Place,
    /// The lines, as they were laid out last, for a width and a language.
    laid: RefCell<((u16, Lang), Vec<Line>)>,
}

impl Rows {
    /// The page of a step, before its rows are read.
    pub fn of(step: u64) -> Self {
        Self {
            step,
            kept: None,
            place: Place::top(),
            laid: RefCell::default(),
        }
    }

    /// Takes what was read, if it is of this step.
    pub fn hear(&mut self, step: u64, kept: &Result<KeptBatch, String>) {
        if step == self.step {
            self.kept = Some(kept.clone());
            self.laid = RefCell::default();
        }
    }

    /// Takes a key. Whether the page stays open, or nothing if the key is not its own.
    pub fn handle(&mut self, key: &str) -> Option<bool> {
        if key == "esc" || key == "b" {
            return Some(false);
        }
        let len = self.laid.borrow().1.len();
        self.place.handle(key, len).then_some(true)
    }

    /// The text of the row at the top.
    pub fn copied(&self) -> Option<String> {
        let laid = self.laid.borrow();
        let row = laid.1.get(self.place.row(laid.1.len()))?.row;
        let Some(Ok(kept)) = &self.kept else {
            return None;
        };
        Some(kept_rows::body(kept.rows.get(row)?).join("\n") + "\n")
    }

    fn lay_out(&self, width: u16, lang: Lang) {
        if self.laid.borrow().0 == (width, lang) {
            return;
        }
        let mut lines = Vec::new();
        if let Some(Ok(kept)) = &self.kept {
            for (row, kept) in kept.rows.iter().enumerate() {
                let line = |is_heading, text| Line {
                    row,
                    is_heading,
                    text,
                };
                lines.push(line(true, kept_rows::heading(kept).get(lang).to_owned()));
                for text in kept_rows::body(kept) {
                    let pieces = text::wrap(&text, usize::from(width.saturating_sub(4)).max(8));
                    lines.extend(pieces.into_iter().map(|piece| line(false, piece)));
                }
            }
        }
        *self.laid.borrow_mut() = ((width, lang), lines);
    }

    /// Draws the page.
    pub fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        const NOTES: Text = Text::new(
            "Esc goes back to the log; the row of the greatest loss is marked",
            "Esc 返回日志; loss 最大的行已标出",
        );
        let view: &View = scene.view;
        let theme = &view.theme;
        let step = format!("@{}  ", text::count(self.step));
        let why = match &self.kept {
            Some(Ok(kept)) => {
                text::escape(&format!("{}: {}", kept.rule, view.lang.say(&kept.message)))
            }
            _ => String::new(),
        };
        let title = [
            (
                Text::new("rows of the step ", "该步的数据行 ").get(view.lang),
                theme.title,
            ),
            (&*step, theme.strong),
            (&*why, theme.warn),
        ];
        let inner = paint::frame(
            buf,
            area,
            view,
            &title,
            &[(NOTES.get(view.lang), theme.dim)],
        );
        self.lay_out(inner.width, view.lang);
        let kept = match &self.kept {
            None => return paint::centred(buf, inner, "...", theme.dim),
            Some(Err(why)) => {
                let why = text::escape(&view.lang.say(why));
                return paint::centred(buf, inner, &why, theme.bad);
            }
            Some(Ok(kept)) => kept,
        };
        let losses = kept.rows.iter().map(|row| row.loss).enumerate();
        let worst = losses.reduce(|a, b| if a.1.is_nan() || a.1 >= b.1 { a } else { b });
        let laid = self.laid.borrow();
        let top = self.place.row(laid.1.len());
        let shown = laid.1.iter().skip(top).take(usize::from(inner.height));
        for (at, line) in shown.enumerate() {
            let is_worst = worst.is_some_and(|(row, _)| row == line.row);
            let (indent, style) = match (line.is_heading, is_worst) {
                (true, true) => (" ", theme.bad),
                (true, false) => (" ", theme.strong),
                (false, _) => ("   ", theme.text),
            };
            paint::line(
                buf,
                inner,
                at as u16,
                &[(indent, theme.text), (&line.text, style)],
            );
        }
    }
}
