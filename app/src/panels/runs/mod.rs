//! The runs of the folder: a tree of forks, to be searched, compared, tagged, set aside and deleted.
//!
//! The [`crate::errand`] thread reads the folder every few seconds while this screen is on show, and does what is asked
//! here. `table.rs` draws the list, `compare.rs` what Enter opens.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::link::Command;
use engine::run_folder::shelf::Contents;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::field::{Field, Typed};
use super::list::{self, Place};
use super::{Panel, PanelKey};
use crate::book::query::{self, Query};
use crate::book::{Entry, Sort, arrange};
use crate::errand::{Errand, News};
use crate::lang::Text;
use crate::state::State;
use crate::view::{Scene, View};

mod compare;
mod table;
#[cfg(test)]
mod tests;

use compare::Comparison;

/// How often the folder is read while the screen is on show.
const EVERY: Duration = Duration::from_secs(3);

/// Orders that the key walks through, as the command line and as the screen writes them.
const ORDERS: [(&str, Text); 6] = [
    ("-created", Text::new("-created", "最新")),
    ("name", Text::new("name", "名称")),
    ("status", Text::new("status", "状态")),
    ("-step", Text::new("-step", "步数")),
    ("loss", Text::new("loss", "loss")),
    ("val_loss", Text::new("val_loss", "最好的验证 loss")),
];

/// The screen; see the module's page.
pub struct Runs {
    entries: Arc<Vec<Entry>>,
    /// Rows on show: places in `entries` and depths.
    rows: Vec<(usize, usize)>,
    place: Place,
    marked: BTreeSet<PathBuf>,
    order: usize,
    filter: String,
    query: Query,
    /// What is wrong with the filter as it stands.
    fault: Option<String>,
    typing: Option<(Purpose, Field)>,
    /// The run that a dialog asks about, once what it holds is known.
    doomed: Option<(PathBuf, Option<Contents>)>,
    comparison: Option<Comparison>,
    errands: Vec<Errand>,
    /// When the folder was last asked for; none before the first time.
    asked: Option<Duration>,
    is_read: bool,
    said: Option<Result<String, String>>,
}

/// What is typed.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Purpose {
    Filter,
    Tags(PathBuf),
    Note(PathBuf),
}

impl Default for Runs {
    fn default() -> Self {
        Self {
            entries: Arc::default(),
            rows: Vec::new(),
            place: Place::top(),
            marked: BTreeSet::new(),
            order: 0,
            filter: String::new(),
            query: Query::Every,
            fault: None,
            typing: None,
            doomed: None,
            comparison: None,
            errands: Vec::new(),
            asked: None,
            is_read: false,
            said: None,
        }
    }
}

impl Runs {
    fn chosen(&self) -> Option<&Entry> {
        let row = self.place.row(self.rows.len());
        self.rows.get(row).map(|(index, _)| &self.entries[*index])
    }

    fn arrange(&mut self) {
        let sort = Sort::parse(ORDERS[self.order].0).ok();
        self.rows = arrange(&self.entries, &self.query, sort.as_ref(), true);
    }

    fn search(&mut self, text: &str) {
        text.clone_into(&mut self.filter);
        // While an expression is half written, the last whole one stays in force.
        match query::parse(text) {
            Ok(query) => (self.query, self.fault) = (query, None),
            Err(error) => self.fault = Some(error.message),
        }
        self.arrange();
    }

    fn type_key(&mut self, key: &str) {
        let Some((purpose, field)) = &mut self.typing else {
            return;
        };
        let (typed, purpose, text) = (field.handle(key), purpose.clone(), field.text.clone());
        match (purpose, typed) {
            (Purpose::Filter, Typed::Open) => self.search(&text),
            (Purpose::Filter, Typed::Cancelled) => self.search(""),
            (Purpose::Tags(run), Typed::Done) => {
                let tags = text.split_whitespace().map(str::to_owned).collect();
                self.ask(Errand::Tag(run, tags));
            }
            (Purpose::Note(run), Typed::Done) => self.ask(Errand::Note(run, text)),
            _ => {}
        }
        if typed != Typed::Open {
            self.typing = None;
        }
    }

    fn ask(&mut self, errand: Errand) {
        self.errands.push(errand);
        // What it changes shall be seen.
        self.errands.push(Errand::List);
    }

    fn answer(&mut self, key: &str) {
        if let Some((run, holds)) = self.doomed.take() {
            match key {
                "y" => self.ask(Errand::Delete(run)),
                "esc" | "n" | "q" | "enter" => {}
                _ => self.doomed = Some((run, holds)),
            }
        }
    }

    /// The marked runs that are on show, else the chosen one, in their order on the screen.
    fn to_compare(&self) -> Vec<Entry> {
        let shown = self.rows.iter().map(|(index, _)| &self.entries[*index]);
        let marked: Vec<Entry> = shown
            .filter(|entry| self.marked.contains(&entry.summary.path))
            .cloned()
            .collect();
        if marked.is_empty() {
            return self.chosen().into_iter().cloned().collect();
        }
        marked
    }

    fn compare(&mut self) {
        let runs = self.to_compare();
        if runs.is_empty() {
            return;
        }
        let paths = runs.iter().map(|run| run.summary.path.clone()).collect();
        self.errands.push(Errand::Courses(paths));
        self.comparison = Some(Comparison::new(runs));
    }

    fn start_typing(&mut self, key: &str) {
        let Some(entry) = self.chosen() else { return };
        let run = entry.summary.path.clone();
        let tags: Vec<&str> = entry.meta.tags.iter().map(String::as_str).collect();
        self.typing = Some(if key == "T" {
            (Purpose::Tags(run), Field::with(&tags.join(" ")))
        } else {
            (Purpose::Note(run), Field::with(&entry.meta.note))
        });
    }
}

impl Panel for Runs {
    fn title(&self) -> Text {
        Text::new("Runs", "运行")
    }

    fn keys(&self) -> &'static [PanelKey] {
        const KEYS: &[PanelKey] = &[
            PanelKey {
                keys: &["space"],
                label: Text::new("mark", "标记"),
                help: Text::new(
                    "mark the chosen run for a comparison",
                    "标记所选运行以便比较",
                ),
            },
            PanelKey {
                keys: &["enter"],
                label: Text::new("compare", "比较"),
                help: Text::new(
                    "curves, differences and figures of the marked runs; t changes the axis, Esc closes",
                    "已标记运行的曲线, 差异与数值; t 换横轴, Esc 关闭",
                ),
            },
            PanelKey {
                keys: &["/"],
                label: Text::new("filter", "筛选"),
                help: Text::new(
                    "show only runs for which this holds: val_loss<2 and tag==good",
                    "只显示满足表达式的运行: val_loss<2 and tag==good",
                ),
            },
            PanelKey {
                keys: &["o"],
                label: Text::new("order", "排序"),
                help: Text::new(
                    "next order: newest, name, status, step, loss, best validation loss",
                    "下一种排序: 最新, 名称, 状态, 步数, loss, 最佳验证 loss",
                ),
            },
            PanelKey {
                keys: &["T", "N"],
                label: Text::new("tag, note", "标签/备注"),
                help: Text::new(
                    "write the chosen run's tags or note",
                    "编辑所选运行的标签或备注",
                ),
            },
            PanelKey {
                keys: &["A", "D"],
                label: Text::new("archive, delete", "归档/删除"),
                help: Text::new(
                    "move the chosen run to archive/, or delete it after a question",
                    "将所选运行移至 archive/, 或确认后删除",
                ),
            },
            list::KEYS,
        ];
        KEYS
    }

    fn handle(&mut self, key: &str, _: &State, _: &mut View, _: &mut Vec<Command>) -> bool {
        if self.typing.is_some() {
            self.type_key(key);
            return true;
        }
        if self.doomed.is_some() {
            self.answer(key);
            return true;
        }
        if let Some(comparison) = &mut self.comparison {
            match key {
                "esc" | "enter" => self.comparison = None,
                key => return comparison.handle(key),
            }
            return true;
        }
        self.said = None;
        match key {
            "space" => {
                if let Some(path) = self.chosen().map(|entry| entry.summary.path.clone())
                    && !self.marked.remove(&path)
                {
                    self.marked.insert(path);
                }
                self.place.handle("j", self.rows.len());
            }
            "enter" => self.compare(),
            "/" => self.typing = Some((Purpose::Filter, Field::with(&self.filter))),
            "esc" if !self.filter.is_empty() => self.search(""),
            "esc" if !self.marked.is_empty() => self.marked.clear(),
            "o" => {
                self.order = (self.order + 1) % ORDERS.len();
                self.arrange();
            }
            "T" | "N" => self.start_typing(key),
            "A" => {
                if let Some(path) = self.chosen().map(|entry| entry.summary.path.clone()) {
                    self.ask(Errand::Archive(path));
                }
            }
            "D" => {
                if let Some(path) = self.chosen().map(|entry| entry.summary.path.clone()) {
                    self.errands.push(Errand::Measure(path.clone()));
                    self.doomed = Some((path, None));
                }
            }
            key => return self.place.handle(key, self.rows.len()),
        }
        true
    }

    fn types(&self) -> bool {
        self.typing.is_some() || self.doomed.is_some()
    }

    fn paste(&mut self, text: &str) {
        if let Some((purpose, field)) = &mut self.typing {
            field.paste(text);
            if *purpose == Purpose::Filter {
                let text = field.text.clone();
                self.search(&text);
            }
        }
    }

    fn tick(&mut self, now: Duration) {
        if self.asked.is_none_or(|asked| now >= asked + EVERY) {
            self.asked = Some(now);
            self.errands.push(Errand::List);
        }
    }

    fn errands(&mut self) -> Vec<Errand> {
        std::mem::take(&mut self.errands)
    }

    fn hear(&mut self, news: &News) {
        match news {
            News::Runs(entries) => {
                // The choice stays with its run, wherever that moves.
                let chosen = self.chosen().map(|entry| entry.summary.path.clone());
                self.entries = Arc::clone(entries);
                self.is_read = true;
                self.arrange();
                let there = |path: &PathBuf| entries.iter().any(|e| e.summary.path == *path);
                self.marked.retain(there);
                let row = self
                    .rows
                    .iter()
                    .position(|(index, _)| Some(&entries[*index].summary.path) == chosen.as_ref());
                if let Some(row) = row {
                    self.place = Place::at(row);
                }
                if let Some(comparison) = &mut self.comparison {
                    comparison.update(entries);
                }
            }
            News::Courses(courses) => {
                if let Some(comparison) = &mut self.comparison {
                    comparison.draw(courses);
                }
            }
            News::Measured(run, holds) => {
                if let Some((doomed, known)) = &mut self.doomed
                    && doomed == run
                {
                    *known = Some(*holds);
                }
            }
            News::Done(said) => self.said = Some(said.clone()),
            News::Plan(_)
            | News::Rows(..)
            | News::Samples(..)
            | News::Survey(..)
            | News::Gone(_)
            | News::Verified(..) => {}
        }
    }

    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        match &self.comparison {
            Some(comparison) => comparison.render(scene.view, area, buf),
            None => self.render_table(scene, area, buf),
        }
    }
}
