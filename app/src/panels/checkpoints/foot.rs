//! What stands below the list: a question and the keys that answer it, else what came of the last one, else what is known
//! of the chosen one.

use engine::link::Command;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::Checkpoints;
use crate::errand::{Errand, ForkWish};
use crate::lang::{Phrase, Text, term};
use crate::paint;
use crate::panels::field::{Field, Typed};
use crate::state::State;
use crate::text;
use crate::view::View;

/// What stands below the list.
pub(super) enum Asking {
    /// Whether to go back in place to a step.
    Rollback(u64),
    /// Name and changes of a fork of a step are typed.
    Fork(u64, Field),
    /// Whether to start a fork, once it is known what it would be.
    Plan(ForkWish, Option<Result<Vec<String>, String>>),
}

impl Checkpoints {
    /// Takes a key for what is asked.
    pub(super) fn answer(&mut self, asking: Asking, key: &str, asked: &mut Vec<Command>) {
        match asking {
            Asking::Rollback(step) => match key {
                "y" => asked.push(Command::Rollback {
                    step: Some(step),
                    lr_scale: None,
                }),
                "esc" | "n" | "q" | "enter" => {}
                _ => self.asking = Some(Asking::Rollback(step)),
            },
            Asking::Fork(step, mut field) => match field.handle(key) {
                Typed::Open => self.asking = Some(Asking::Fork(step, field)),
                Typed::Cancelled => {}
                Typed::Done => {
                    let wish = ForkWish::parse(step, &field.text);
                    self.errands.push(Errand::PlanFork(wish.clone()));
                    self.asking = Some(Asking::Plan(wish, None));
                }
            },
            Asking::Plan(wish, plan) => match (key, &plan) {
                ("y", Some(Ok(_))) => {
                    const STARTING: Text = Text::new("starting the fork...", "正在启动分叉...");
                    self.said = Some(Ok(STARTING.into()));
                    self.errands.push(Errand::Fork(wish));
                }
                ("esc" | "n" | "q" | "enter", _) => {}
                _ => self.asking = Some(Asking::Plan(wish, plan)),
            },
        }
    }

    /// Lines below the list.
    pub(super) fn foot(&self, state: &State, view: &View) -> Vec<(String, Style)> {
        let theme = &view.theme;
        match &self.asking {
            Some(Asking::Rollback(step)) => {
                let lost = text::count(state.step().saturating_sub(*step));
                let back = Text::new("go back in place to step", "原地回退到步").get(view.lang);
                let again = Text::new("steps are trained again", "步将重新训练").get(view.lang);
                let keys = Text::new("y goes back, Esc stays", "y 回退, Esc 取消").get(view.lang);
                let line = format!("{back} {}: {lost} {again}.  {keys}", text::count(*step));
                vec![(line, theme.warn)]
            }
            Some(Asking::Fork(..)) => {
                let hint = Text::new(
                    "a name for the fork and key=value changes, as in: slow optimizer.lr=1e-4",
                    "分叉的名称与 key=value 修改, 例如: slow optimizer.lr=1e-4",
                );
                vec![(hint.get(view.lang).to_owned(), theme.dim)]
            }
            Some(Asking::Plan(_, None)) => vec![("...".to_owned(), theme.dim)],
            Some(Asking::Plan(_, Some(Err(why)))) => {
                vec![(text::escape(&view.lang.say(why)), theme.bad)]
            }
            Some(Asking::Plan(_, Some(Ok(lines)))) => {
                let keys = Text::new(
                    "y starts it in the background, Esc does not",
                    "y 在后台启动, Esc 取消",
                );
                let lines = lines.iter();
                lines
                    .map(|line| (text::escape(&view.lang.say(line)), theme.text))
                    .chain([(keys.get(view.lang).to_owned(), theme.warn)])
                    .collect()
            }
            None => match &self.said {
                Some(Ok(said)) => vec![(text::escape(said.get(view.lang)), theme.good)],
                Some(Err(why)) => vec![(text::escape(why.get(view.lang)), theme.bad)],
                None => self.about(state, view),
            },
        }
    }

    /// The chosen one's folder, why it was written, and what is wrong with it.
    fn about(&self, state: &State, view: &View) -> Vec<(String, Style)> {
        let theme = &view.theme;
        let Some(chosen) = self.chosen(state) else {
            return Vec::new();
        };
        let path = text::escape(&chosen.path);
        let mut lines = vec![(
            format!(
                "{path}  {}",
                text::escape(term(&chosen.reason).get(view.lang))
            ),
            theme.dim,
        )];
        if let Some(why) = chosen.damage() {
            let why = Phrase::from(why);
            lines.push((text::escape(why.get(view.lang)), theme.bad));
        }
        lines
    }
}

/// Lines of which none is wider than there is room for, the space before each counted.
pub(super) fn wrapped(
    lines: impl IntoIterator<Item = (String, Style)>,
    width: u16,
) -> Vec<(String, Style)> {
    let cells = usize::from(width.saturating_sub(1));
    let lines = lines.into_iter().flat_map(|(line, style)| {
        let parts = text::wrap(&line, cells).into_iter();
        parts.map(move |part| (part, style))
    });
    lines.collect()
}

/// Draws them from the top of `area` on.
pub(super) fn foot_lines(lines: &[(String, Style)], area: Rect, buf: &mut Buffer) {
    for (row, (line, style)) in lines.iter().enumerate() {
        paint::line(buf, area, row as u16, &[(" ", *style), (line, *style)]);
    }
}
