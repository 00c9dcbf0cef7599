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
use crate::view::{Scene, View};

/// Height from which the chosen one is described below the list.
const ROOMY: usize = 8;

/// A line in its colour.
type Line = (String, Style);

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
    pub(super) fn answer(
        &mut self,
        asking: Asking,
        key: &str,
        state: &State,
        asked: &mut Vec<Command>,
    ) {
        const GONE: Text = Text::new(
            "the checkpoint of step {0} is deleted meanwhile: nothing was done",
            "第 {0} 步的检查点其间已被删除: 未做任何操作",
        );
        let gone = |step: u64| {
            let is_there = state.checkpoints.iter().any(|c| c.step == step);
            (!is_there).then(|| Err(GONE.fill(&[&text::count(step)])))
        };
        match asking {
            Asking::Rollback(step) => match key {
                "y" if gone(step).is_some() => self.said = gone(step),
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
                ("y", Some(Ok(_))) if gone(wish.step).is_some() => self.said = gone(wish.step),
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

    /// Lines below the list where it has `area`: a question wrapped, the keys that answer it always in sight.
    pub(super) fn foot(&self, unread: Option<Line>, scene: &Scene<'_>, area: Rect) -> Vec<Line> {
        const MORE: Text = Text::new("... {0} more lines", "... 还有 {0} 行");
        let (state, view) = (scene.state, scene.view);
        let height = usize::from(area.height);
        if self.asking.is_none() && self.said.is_none() {
            let about = self.about(state, view);
            // The rows are worth more than what is said of one.
            let about = about.into_iter().filter(|_| height >= ROOMY);
            let mut lines = wrapped(unread.into_iter().chain(about), area.width);
            lines.truncate(height / 2);
            return lines;
        }
        let (words, keys) = self.words(state, view);
        let mut lines = wrapped(words, area.width);
        let keys = wrapped(keys.map(|keys| (keys, view.theme.warn)), area.width);
        // The question is worth more than the rows.
        let room = height.saturating_sub(keys.len());
        if lines.len() > room {
            let rest = lines.split_off(room.saturating_sub(1));
            let more = MORE.filled(view.lang, &[&rest.len().to_string()]);
            lines.extend([(more, view.theme.dim)].into_iter().take(room));
        }
        lines.extend(keys);
        lines
    }

    /// The words of what is asked, or of what came of it, and the keys that answer.
    fn words(&self, state: &State, view: &View) -> (Vec<Line>, Option<String>) {
        let (theme, lang) = (&view.theme, view.lang);
        let escaped = |words: &str| text::escape(&lang.say(words));
        let (lines, keys) = match &self.asking {
            Some(Asking::Rollback(step)) => {
                const BACK: Text = Text::new(
                    "go back in place to step {0}: {1} steps are trained again",
                    "原地回退到步 {0}: {1} 步将重新训练",
                );
                let lost = text::count(state.step().saturating_sub(*step));
                let line = BACK.filled(lang, &[&text::count(*step), &lost]);
                let keys = Text::new("y goes back, Esc stays", "y 回退, Esc 取消");
                (vec![(line, theme.warn)], Some(keys))
            }
            Some(Asking::Fork(..)) => {
                let hint = Text::new(
                    "a name for the fork and key=value changes, as in: slow optimizer.lr=1e-4",
                    "分叉的名称与 key=value 修改, 例如: slow optimizer.lr=1e-4",
                );
                (vec![(hint.get(lang).to_owned(), theme.dim)], None)
            }
            Some(Asking::Plan(_, None)) => (vec![("...".to_owned(), theme.dim)], None),
            Some(Asking::Plan(_, Some(Err(why)))) => {
                let keys = Text::new("Esc goes back to the list", "Esc 返回列表");
                (vec![(escaped(why), theme.bad)], Some(keys))
            }
            Some(Asking::Plan(_, Some(Ok(lines)))) => {
                let keys = Text::new(
                    "y starts it in the background, Esc does not",
                    "y 在后台启动, Esc 取消",
                );
                let lines = lines.iter().map(|line| (escaped(line), theme.text));
                (lines.collect(), Some(keys))
            }
            None => {
                let said = self.said.iter().map(|said| match said {
                    Ok(said) => (text::escape(said.get(lang)), theme.good),
                    Err(why) => (text::escape(why.get(lang)), theme.bad),
                });
                (said.collect(), None)
            }
        };
        (lines, keys.map(|keys| keys.get(lang).to_owned()))
    }

    /// The chosen one's folder, why it was written, and what is wrong with it.
    fn about(&self, state: &State, view: &View) -> Vec<Line> {
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
pub(super) fn wrapped(lines: impl IntoIterator<Item = Line>, width: u16) -> Vec<Line> {
    let cells = usize::from(width.saturating_sub(1));
    let lines = lines.into_iter().flat_map(|(line, style)| {
        let parts = text::wrap(&line, cells).into_iter();
        parts.map(move |part| (part, style))
    });
    lines.collect()
}

/// Draws them from the top of `area` on.
pub(super) fn foot_lines(lines: &[Line], area: Rect, buf: &mut Buffer) {
    for (row, (line, style)) in lines.iter().enumerate() {
        paint::line(buf, area, row as u16, &[(" ", *style), (line, *style)]);
    }
}
