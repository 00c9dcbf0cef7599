//! The checkpoints on the disk: when, how good, how large, whether they are whole and why they stay; what can be done with
//! one: going on from it, in place or as a fork, marking, verifying, comparing its configuration, deleting.
//!
//! The list is what the engine has told of and what lies in the run's folder, which is looked at whenever the engine says
//! that something has changed, and every few seconds. Only the engine changes anything there.

use std::time::Duration;

use engine::link::Command;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::field::Field;
use super::list::{self, Place, Shown};
use super::{Panel, PanelKey};
use crate::bars;
use crate::errand::{Errand, News};
use crate::lang::{self, Lang, Phrase, Text};
use crate::paint;
use crate::state::{Checkpoint, State};
use crate::text;
use crate::view::{Scene, View};

mod diff;
mod foot;
mod table;
#[cfg(test)]
mod tests;

use diff::Diff;
use foot::{Asking, foot_lines, wrapped};

/// How often the folder is looked at while nothing is heard of a change.
const LOOK: Duration = Duration::from_secs(5);

/// The screen; see the module's page.
#[derive(Default)]
pub struct Checkpoints {
    /// The step of the checkpoint that a person chose, whatever comes and goes around it; while there is none, the newest one
    /// is followed.
    choice: Option<u64>,
    shown: Shown,
    asking: Option<Asking>,
    /// The step of the checkpoint that others are compared with.
    marked: Option<u64>,
    /// The comparison of configurations, while it is on show.
    diff: Option<Diff>,
    /// What came of the last fork.
    said: Option<Result<Phrase, Phrase>>,
    errands: Vec<Errand>,
    /// The changes that the engine had told of when the folder was last looked at.
    surveyed: Option<u64>,
    /// When that was.
    looked: Duration,
    /// Whether what was found then is still to be told.
    looking: bool,
    /// Why the folder could not be read when it was last looked at.
    unread: Option<Phrase>,
}

impl Checkpoints {
    fn chosen<'a>(&self, state: &'a State) -> Option<&'a Checkpoint> {
        let rows = &state.checkpoints;
        rows.get(self.place(state).row(rows.len()))
    }

    /// The place of the chosen one; once it is gone, of the one after it.
    fn place(&self, state: &State) -> Place {
        let rows = &state.checkpoints;
        let Some(step) = self.choice else {
            return Place::default();
        };
        let there = rows.iter().position(|c| c.step == step);
        let after = || rows.iter().position(|c| c.step > step);
        there.or_else(after).map_or_else(Place::default, Place::at)
    }

    /// Chooses the one at a place.
    fn choose(&mut self, place: Place, state: &State) {
        let rows = &state.checkpoints;
        self.choice = rows.get(place.row(rows.len())).map(|c| c.step);
    }

    /// Compares the chosen one's configuration with the marked one's, else with that in force.
    fn compare(&mut self, state: &State) {
        let Some(chosen) = self.chosen(state) else {
            return;
        };
        let marked = state
            .checkpoints
            .iter()
            .find(|c| Some(c.step) == self.marked);
        let other = marked.filter(|other| other.step != chosen.step);
        // From the earlier state to the later.
        let (one, other) = match other {
            Some(other) if other.step < chosen.step => (other, Some(chosen)),
            other => (chosen, other),
        };
        self.diff = Diff::new(one, other, state);
        if self.diff.is_none() {
            const UNREAD: Text = Text::new(
                "the configuration of step {0} cannot be read from here",
                "此处无法读取第 {0} 步的配置",
            );
            self.said = Some(Err(UNREAD.fill(&[&text::count(one.step)])));
        }
    }

    /// Asks for a look at the folder.
    fn look(&mut self, number: u64) {
        self.errands
            .retain(|errand| !matches!(errand, Errand::Survey(_)));
        self.errands.push(Errand::Survey(number));
        self.surveyed = Some(number);
        self.looking = true;
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
            PanelKey {
                keys: &["T", "U"],
                label: Text::new("tag, untag", "标签/去标签"),
                help: Text::new(
                    "mark the chosen checkpoint with a name, so that it is never deleted; take the mark away",
                    "给所选检查点加标签 (永不自动删除); 去掉标签",
                ),
            },
            PanelKey {
                keys: &["v"],
                label: Text::new("verify", "校验"),
                help: Text::new(
                    "read the chosen checkpoint again and compare its hashes, beside training",
                    "重读所选检查点并核对哈希, 不打断训练",
                ),
            },
            PanelKey {
                keys: &["d"],
                label: Text::new("diff", "对比配置"),
                help: Text::new(
                    "the keys in which its configuration differs from the marked one's, else from that in force",
                    "所选检查点的配置与已标记者 (否则与当前) 的差异",
                ),
            },
            PanelKey {
                keys: &["space"],
                label: Text::new("mark", "标记"),
                help: Text::new(
                    "mark the chosen checkpoint for a comparison; again: unmark",
                    "标记所选检查点以便对比; 再按取消",
                ),
            },
            PanelKey {
                keys: &["D"],
                label: Text::new("delete", "删除"),
                help: Text::new(
                    "delete the chosen checkpoint, after a question that says what goes",
                    "确认后永久删除所选检查点",
                ),
            },
            list::KEYS,
        ];
        KEYS
    }

    fn handle(
        &mut self,
        key: &str,
        state: &State,
        view: &mut View,
        asked: &mut Vec<Command>,
    ) -> bool {
        if let Some(asking) = self.asking.take() {
            self.answer(asking, key, state, asked);
            return true;
        }
        self.said = None;
        if let Some(diff) = &mut self.diff {
            match key {
                "d" | "esc" => self.diff = None,
                key => return diff.place.handle(key, diff.len()),
            }
            return true;
        }
        let chosen = self.chosen(state).map(|checkpoint| checkpoint.step);
        let mut place = self.place(state);
        if place.handle(key, state.checkpoints.len()) {
            match key {
                "G" | "end" => self.choice = None,
                _ => self.choose(place, state),
            }
            return true;
        }
        match key {
            "r" => self.asking = chosen.map(Asking::Rollback),
            "F" => self.asking = chosen.map(|step| Asking::Fork(step, Field::default())),
            "T" => view.wish = chosen.map(|step| format!("tag {step}")),
            "U" => view.wish = chosen.map(|step| format!("untag {step}")),
            "v" => view.wish = chosen.map(|step| format!("verify {step}")),
            "D" => view.wish = chosen.map(|step| format!("delete {step}")),
            "d" => self.compare(state),
            "space" => self.marked = chosen.filter(|_| self.marked != chosen),
            _ => return false,
        }
        // What a person does something with stays the chosen one.
        self.choice = chosen;
        true
    }

    fn asks(&self, key: &str) -> Option<&'static str> {
        let at_list = self.asking.is_none() && self.diff.is_none();
        let word = match key {
            "r" => "rollback",
            "T" => "tag",
            "U" => "untag",
            "D" => "delete",
            _ => return None,
        };
        at_list.then_some(word)
    }

    fn poll(&mut self, state: &State, _: &mut Vec<Command>) -> bool {
        if state.reach.folder.is_some() && self.surveyed != Some(state.num_shelved) {
            self.look(state.num_shelved);
        }
        false
    }

    fn tick(&mut self, now: Duration) {
        // A disk that takes longer than that is not asked more and more.
        let due = !self.looking && now.saturating_sub(self.looked) >= LOOK;
        if let Some(number) = self.surveyed.filter(|_| due) {
            self.looked = now;
            self.look(number);
        }
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
            (News::Survey(_, found), _) => {
                const OLD: Text = Text::new("the list may be old: {0}", "列表可能已过时: {0}");
                self.looking = false;
                let why = found.as_ref().err().map(Phrase::from);
                self.unread = why.map(|why| OLD.fill(&[&why]));
            }
            (News::Plan(plan), Some(Asking::Plan(_, known))) => *known = Some(plan.clone()),
            // Of another screen's errands only while it waits for none of its own.
            (News::Done(said), _) if self.said.is_some() => {
                let said = said.as_ref();
                self.said = Some(said.map(Phrase::from).map_err(Phrase::from));
            }
            _ => {}
        }
    }

    fn click(&mut self, at: Position, state: &State, _: &View) -> Option<bool> {
        if let Some(diff) = &mut self.diff {
            // Its rows open nothing.
            return diff.shown.click(&mut diff.place, at).map(|_| false);
        }
        let mut place = self.place(state);
        let clicked = self.shown.click(&mut place, at)?;
        self.choose(place, state);
        Some(clicked)
    }

    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        if let Some(diff) = &self.diff {
            diff.render(scene, area, buf);
            return;
        }
        const NOTES: Text = Text::new(
            "keep_last deletes older ones, never the best or a tagged one",
            "较旧的按 keep_last 删除, 最佳和有标签的除外",
        );
        let (state, view) = (scene.state, scene.view);
        let (theme, lang) = (&view.theme, view.lang);
        let rows = &state.checkpoints;
        let bytes = text::bytes(rows.iter().map(|c| c.bytes).sum());
        let num = text::count(rows.len() as u64);
        let room = room(state).map_or_else(String::new, |room| {
            let room = text::count(room);
            match lang {
                Lang::En => format!("  {room} more fit"),
                Lang::Zh => format!("  还可容纳 {room} 个"),
            }
        });
        let title = [
            vec![
                (Text::new("checkpoints ", "检查点 ").get(lang), theme.title),
                (&*num, theme.strong),
            ],
            vec![("  ", theme.text), (&*bytes, theme.text)],
            vec![(&*room, theme.dim)],
        ];
        let title = bars::fitting(&title, area.width.saturating_sub(4));
        let notes = [(NOTES.get(lang), theme.dim)];
        let inner = paint::frame(buf, area, view, &title, &notes);
        let unread = self.unread.as_ref();
        let unread = unread.map(|why| (text::escape(why.get(lang)), theme.bad));
        if rows.is_empty() {
            if let Some(why) = unread {
                foot_lines(&wrapped([why], inner.width), inner, buf);
            } else {
                let none = lang::NO_CHECKPOINTS.get(scene);
                paint::centred(buf, inner, &none, theme.dim);
            }
            return;
        }
        let field = match &self.asking {
            Some(Asking::Fork(_, field)) => Some(field),
            _ => None,
        };
        let room = Rect {
            height: inner.height.saturating_sub(u16::from(field.is_some())),
            ..inner
        };
        let foot = self.foot(unread, scene, room);
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
        foot_lines(&foot, below, buf);
        if let Some(field) = field {
            let at = Rect {
                y: below.bottom().saturating_sub(1).max(below.y),
                height: below.height.min(1),
                ..below
            };
            let word = Text::new("fork: ", "分叉: ").get(view.lang);
            field.render(word, view, at, buf);
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
        // Beside the mark of the chosen row, that of what is compared, and the edge.
        let (head, rows) = table::rows(state, view, inner.width.saturating_sub(3));
        let mut pieces = vec![("  ", theme.text)];
        pieces.extend(head.iter().map(|(words, style)| (words.as_str(), *style)));
        paint::line(buf, inner, 0, &pieces);
        let list = Rect {
            y: inner.y + inner.height.min(1),
            height: inner.height.saturating_sub(1),
            ..inner
        };
        let place = self.place(state);
        let selected = place.row(rows.len());
        for (line, index) in self.shown.rows(place, rows.len(), list).enumerate() {
            let marked = self.marked == Some(state.checkpoints[index].step);
            let mut pieces = vec![(if marked { "*" } else { " " }, theme.key)];
            pieces.extend(
                rows[index]
                    .iter()
                    .map(|(words, style)| (words.as_str(), *style)),
            );
            paint::item(buf, list, line as u16, index == selected, theme, &pieces);
        }
    }
}
