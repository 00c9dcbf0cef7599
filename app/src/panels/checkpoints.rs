//! The checkpoints on the disk: when, why, how large, how good; and going on from one of them, in place or as a fork.

use engine::link::Command;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;

use super::field::{Field, Typed};
use super::list::{self, Place, Shown};
use super::{Panel, PanelKey};
use crate::errand::{Errand, ForkWish, News};
use crate::lang::{self, Text};
use crate::paint;
use crate::state::{Checkpoint, State};
use crate::text;
use crate::view::{Scene, View};

/// The screen; see the module's page.
#[derive(Default)]
pub struct Checkpoints {
    place: Place,
    shown: Shown,
    asking: Option<Asking>,
    /// What came of the last fork.
    said: Option<Result<String, String>>,
    errands: Vec<Errand>,
}

/// What stands below the list.
enum Asking {
    /// Whether to go back in place to a step.
    Rollback(u64),
    /// Name and changes of a fork of a step are typed.
    Fork(u64, Field),
    /// Whether to start a fork, once it is known what it would be.
    Plan(ForkWish, Option<Result<Vec<String>, String>>),
}

impl Checkpoints {
    fn chosen<'a>(&self, state: &'a State) -> Option<&'a Checkpoint> {
        let rows = &state.checkpoints;
        rows.get(self.place.row(rows.len()))
    }

    fn answer(&mut self, asking: Asking, key: &str, asked: &mut Vec<Command>) {
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
                    self.said = Some(Ok("starting the fork...".to_owned()));
                    self.errands.push(Errand::Fork(wish));
                }
                ("esc" | "n" | "q" | "enter", _) => {}
                _ => self.asking = Some(Asking::Plan(wish, plan)),
            },
        }
    }

    /// Lines below the list.
    fn foot(&self, state: &State, view: &View) -> Vec<(String, Style)> {
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
            Some(Asking::Plan(_, Some(Err(why)))) => vec![(text::escape(why), theme.bad)],
            Some(Asking::Plan(_, Some(Ok(lines)))) => {
                let keys = Text::new(
                    "y starts it in the background, Esc does not",
                    "y 在后台启动, Esc 取消",
                );
                let lines = lines.iter();
                lines
                    .map(|line| (text::escape(line), theme.text))
                    .chain([(keys.get(view.lang).to_owned(), theme.warn)])
                    .collect()
            }
            None => match &self.said {
                Some(Ok(said)) => vec![(text::escape(said), theme.good)],
                Some(Err(why)) => vec![(text::escape(why), theme.bad)],
                None => Vec::new(),
            },
        }
    }
}

impl Panel for Checkpoints {
    fn title(&self) -> Text {
        Text::new("Checkpoints", "检查点")
    }

    fn keys(&self) -> &'static [PanelKey] {
        const KEYS: &[PanelKey] = &[
            PanelKey {
                keys: &["r"],
                label: Text::new("go back", "回退"),
                help: Text::new(
                    "go back in place to the chosen checkpoint, after a question",
                    "确认后原地回退到所选检查点",
                ),
            },
            PanelKey {
                keys: &["F"],
                label: Text::new("fork", "分叉"),
                help: Text::new(
                    "start another run from the chosen checkpoint, with changed keys",
                    "从所选检查点以修改后的配置另起一个运行",
                ),
            },
            list::KEYS,
        ];
        KEYS
    }

    fn handle(&mut self, key: &str, state: &State, _: &mut View, asked: &mut Vec<Command>) -> bool {
        if let Some(asking) = self.asking.take() {
            self.answer(asking, key, asked);
            return true;
        }
        self.said = None;
        match key {
            "r" => {
                self.asking = self
                    .chosen(state)
                    .map(|checkpoint| Asking::Rollback(checkpoint.step));
            }
            "F" => {
                self.asking = self
                    .chosen(state)
                    .map(|checkpoint| Asking::Fork(checkpoint.step, Field::default()));
            }
            key => return self.place.handle(key, state.checkpoints.len()),
        }
        true
    }

    fn types(&self) -> bool {
        self.asking.is_some()
    }

    fn paste(&mut self, text: &str) {
        if let Some(Asking::Fork(_, field)) = &mut self.asking {
            field.paste(text);
        }
    }

    fn errands(&mut self) -> Vec<Errand> {
        std::mem::take(&mut self.errands)
    }

    fn hear(&mut self, news: &News) {
        match (news, &mut self.asking) {
            (News::Plan(plan), Some(Asking::Plan(_, known))) => *known = Some(plan.clone()),
            // Of another screen's errands only while it waits for none of its own.
            (News::Done(said), _) if self.said.is_some() => self.said = Some(said.clone()),
            _ => {}
        }
    }

    fn click(&mut self, at: Position, _: &State, _: &View) -> Option<bool> {
        self.shown.click(&mut self.place, at)
    }

    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        let (state, view) = (scene.state, scene.view);
        let theme = &view.theme;
        let rows = &state.checkpoints;
        let written = text::bytes(rows.iter().map(|c| c.bytes).sum());
        let num = text::count(rows.len() as u64);
        let room = room(state).map_or_else(String::new, |room| {
            let more = Text::new("room for", "还可容纳").get(view.lang);
            format!("  {more} {}", text::count(room))
        });
        let title = [
            (
                Text::new("checkpoints ", "检查点 ").get(view.lang),
                theme.title,
            ),
            (&*num, theme.strong),
            (
                Text::new("  written ", "  共写入 ").get(view.lang),
                theme.dim,
            ),
            (&*written, theme.text),
            (&*room, theme.dim),
        ];
        let notes = [(
            Text::new(
                "keep_last deletes older ones on the disk",
                "较旧的会按 keep_last 从磁盘删除",
            )
            .get(view.lang),
            theme.dim,
        )];
        let inner = paint::frame(buf, area, view, &title, &notes);
        if rows.is_empty() {
            paint::centred(
                buf,
                inner,
                &lang::NO_CHECKPOINTS.with_key(view, "ckpt"),
                theme.dim,
            );
            return;
        }
        let foot = self.foot(state, view);
        let field = match &self.asking {
            Some(Asking::Fork(_, field)) => Some(field),
            _ => None,
        };
        let foot_height = (foot.len() as u16 + u16::from(field.is_some())).min(inner.height);
        let list = Rect {
            height: inner.height - foot_height,
            ..inner
        };
        self.render_rows(scene, list, buf);
        let below = Rect {
            y: list.bottom(),
            height: foot_height,
            ..inner
        };
        for (row, (line, style)) in foot.iter().enumerate() {
            paint::line(buf, below, row as u16, &[(" ", theme.text), (line, *style)]);
        }
        if let Some(field) = field {
            let at = Rect {
                y: below.bottom().saturating_sub(1).max(below.y),
                height: below.height.min(1),
                ..below
            };
            field.render("fork: ", view, at, buf);
        }
    }
}

/// How many more of the largest the disk takes, where its free space is known.
fn room(state: &State) -> Option<u64> {
    let largest = state.checkpoints.iter().map(|c| c.bytes).max()?;
    let free = state.system.back()?.disk_free_bytes?;
    free.checked_div(largest)
}

impl Checkpoints {
    fn render_rows(&self, scene: &Scene<'_>, inner: Rect, buf: &mut Buffer) {
        let (state, view) = (scene.state, scene.view);
        let theme = &view.theme;
        let rows = &state.checkpoints;
        let head = format!(
            " {} {} {} {}  {}",
            text::fit_right("step", 10),
            text::fit_right("loss", 8),
            text::fit_right("size", 9),
            text::fit_right("time", 7),
            text::fit("why", 11)
        );
        paint::line(
            buf,
            inner,
            0,
            &[
                (&head, theme.dim),
                (Text::new("path", "路径").get(view.lang), theme.dim),
            ],
        );
        let list = Rect {
            y: inner.y + inner.height.min(1),
            height: inner.height.saturating_sub(1),
            ..inner
        };
        let selected = self.place.row(rows.len());
        let best = state.best_eval().map(|e| e.step);
        for (row, index) in self.shown.rows(self.place, rows.len(), list).enumerate() {
            let c = &rows[index];
            let loss = c
                .loss
                .map_or_else(|| "-".to_owned(), |l| text::value(f64::from(l), 4));
            let figures = format!(
                "{} {} {} {}  ",
                text::fit_right(&text::count(c.step), 10),
                text::fit_right(&loss, 8),
                text::fit_right(&text::bytes(c.bytes), 9),
                text::fit_right(&text::duration(c.seconds), 7),
            );
            let why = text::fit(&text::escape(&c.reason), 11);
            let path = text::escape(&c.path);
            let mark = if best == Some(c.step) {
                Text::new("  best validation", "  验证损失最低").get(view.lang)
            } else {
                ""
            };
            let chosen = index == selected;
            let pieces = [
                (&*figures, theme.text),
                (&*why, theme.text),
                (&*path, theme.dim),
                (mark, theme.good),
            ];
            paint::item(buf, list, row as u16, chosen, theme, &pieces);
        }
    }
}
