//! Another run beside this one: which it is, what it has written after the same prompt, and the list to choose it from.
//!
//! Its record is read by the [`crate::errand`] thread, and again from time to time as long as it is looked at.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::grid::Grid;
use super::page;
use crate::bars::{Group, fitting};
use crate::book::Entry;
use crate::book::family::{self, Kin};
use crate::book::samples::{Missing, Samples, Written};
use crate::errand::{Errand, News};
use crate::lang::{Text, term};
use crate::paint;
use crate::panels::list::{Place, Shown};
use crate::state::{Sample, State};
use crate::text;
use crate::view::{Scene, View};

/// How often the record of the other run is looked at: it may go on.
const EVERY: Duration = Duration::from_secs(5);

const TITLE: Text = Text::new("compare with a run", "与另一运行比较");
const HINT: Text = Text::new("Enter chooses  Esc closes", "Enter 选择  Esc 关闭");
const NO_RUN: Text = Text::new("with none", "不比较");
const READING: Text = Text::new("reading the folder of runs", "正在读取运行目录");
const NONE_NEAR: Text = Text::new(
    "no run of this one's family, and none with its prompts",
    "没有同源的运行, 也没有提示相同的运行",
);
const UNREADABLE: Text = Text::new("its record cannot be read", "无法读取它的记录");
const READING_RECORD: Text = Text::new("reading the record", "正在读取记录");

/// What was chosen to compare with, and the list while it is open.
#[derive(Default)]
pub(super) struct Other {
    entries: Arc<Vec<Entry>>,
    is_read: bool,
    /// Why the folder cannot be read.
    trouble: Option<String>,
    /// The place in the open list.
    open: Option<Place>,
    shown: Shown,
    run: Option<Run>,
    now: Duration,
}

/// The run that was chosen.
struct Run {
    name: String,
    path: PathBuf,
    samples: Option<Result<Arc<Samples>, String>>,
    asked: Duration,
}

/// What the other run has to say to a sample of this one.
pub(super) struct Found<'a> {
    run: &'a Run,
    /// None before its record was read.
    nearest: Option<Result<&'a Written, Why<'a>>>,
}

/// Why it has nothing to say.
enum Why<'a> {
    Missing(Missing),
    Unreadable(&'a str),
}

impl Other {
    /// Opens the list.
    pub(super) fn ask(&mut self, errands: &mut Vec<Errand>) {
        // A run that is compared with is left by the first row.
        self.open = Some(Place::at(usize::from(self.run.is_some())));
        self.trouble = None;
        errands.push(Errand::List);
    }

    /// Whether the list is open.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Takes a key while the list is open. Whether it took it.
    pub(super) fn handle(
        &mut self,
        key: &str,
        state: &State,
        grid: &Grid<'_>,
        errands: &mut Vec<Errand>,
    ) -> bool {
        let Some(mut place) = self.open else {
            return false;
        };
        let rows = self.rows(state, grid);
        match key {
            "esc" | "o" => self.open = None,
            "enter" => {
                let Some(row) = rows.get(place.row(rows.len())) else {
                    return true;
                };
                let chosen = row.map(|(index, _)| self.entries[index].summary.clone());
                self.open = None;
                self.run = chosen.map(|summary| Run {
                    name: summary.name,
                    path: summary.path,
                    samples: None,
                    asked: self.now,
                });
                errands.extend(
                    self.run
                        .as_ref()
                        .map(|run| Errand::Samples(run.path.clone())),
                );
            }
            key => {
                let taken = place.handle(key, rows.len());
                // At the end of this list nothing is followed.
                self.open = Some(Place::at(place.row(rows.len())));
                return taken;
            }
        }
        true
    }

    /// Goes to the row under a position: whether it was chosen before.
    pub(super) fn click(&mut self, at: Position) -> Option<bool> {
        self.shown.click(self.open.as_mut()?, at)
    }

    /// Notes the time; the record of a run that is looked at is read again when it is due.
    pub(super) fn tick(&mut self, now: Duration, errands: &mut Vec<Errand>) {
        self.now = now;
        if let Some(run) = &mut self.run
            && now >= run.asked + EVERY
        {
            run.asked = now;
            errands.push(Errand::Samples(run.path.clone()));
        }
    }

    /// Takes what came of an errand.
    pub(super) fn hear(&mut self, news: &News) {
        match news {
            News::Runs(entries) => {
                self.entries = Arc::clone(entries);
                self.is_read = true;
                self.trouble = None;
            }
            News::Done(Err(why)) if self.open.is_some() && !self.is_read => {
                self.trouble = Some(why.clone());
            }
            News::Samples(path, samples) => {
                if let Some(run) = &mut self.run
                    && run.path == *path
                {
                    run.samples = Some(samples.clone());
                }
            }
            _ => {}
        }
    }

    /// What the chosen run says to a sample, where one was chosen.
    pub(super) fn find(&self, sample: &Sample) -> Option<Found<'_>> {
        let run = self.run.as_ref()?;
        let nearest = run.samples.as_ref().map(|samples| match samples {
            Ok(samples) => samples
                .nearest(&sample.prompt, sample.step)
                .map_err(Why::Missing),
            Err(why) => Err(Why::Unreadable(why)),
        });
        Some(Found { run, nearest })
    }

    /// The rows of the list: none first, where a run is compared with, then those that are near.
    fn rows(&self, state: &State, grid: &Grid<'_>) -> Vec<Option<(usize, Kin)>> {
        let own = state.started.as_ref().map_or("", |head| &*head.run);
        let near = family::near(&self.entries, own, &grid.prompts);
        let none = self.run.is_some().then_some(None);
        none.into_iter().chain(near.into_iter().map(Some)).collect()
    }

    /// Rows of the screen that the list takes at best.
    pub(super) fn height(&self, state: &State, grid: &Grid<'_>) -> u16 {
        // A line of words where there is no run.
        (self.rows(state, grid).len() as u16)
            .saturating_add(3)
            .max(6)
    }

    /// Draws the list.
    pub(super) fn render(&self, scene: &Scene<'_>, grid: &Grid<'_>, area: Rect, buf: &mut Buffer) {
        let view = scene.view;
        let theme = &view.theme;
        let title = [(TITLE.get(view.lang), theme.title)];
        let notes = [(HINT.get(view.lang), theme.dim)];
        let inner = paint::frame(buf, area, view, &title, &notes);
        let rows = self.rows(scene.state, grid);
        let place = self.open.unwrap_or_default();
        let visible = self.shown.rows(place, rows.len(), inner);
        if let Some(why) = &self.trouble {
            page::say(why, theme.bad, inner, buf);
            return;
        }
        if rows.iter().all(Option::is_none) {
            let why = if self.is_read { NONE_NEAR } else { READING };
            let below = Rect {
                y: inner.y + (rows.len() as u16).min(inner.height),
                height: inner.height.saturating_sub(rows.len() as u16),
                ..inner
            };
            page::say(why.get(view.lang), theme.dim, below, buf);
        }
        let name_width = usize::from(inner.width).saturating_sub(30).clamp(8, 32);
        for (row, index) in visible.enumerate() {
            let chosen = index == place.row(rows.len());
            let Some((entry, kin)) = rows[index].map(|(at, kin)| (&self.entries[at], kin)) else {
                let pieces = [(NO_RUN.get(view.lang), theme.text)];
                paint::item(buf, inner, row as u16, chosen, theme, &pieces);
                continue;
            };
            let summary = &entry.summary;
            let now = self
                .run
                .as_ref()
                .is_some_and(|run| run.path == summary.path);
            let status = term(entry.status());
            let step = format!(" @{}", text::count(summary.step));
            let pieces = [
                (if now { "*" } else { " " }, theme.warn),
                (&*text::fit(kin_word(kin).get(view.lang), 8), theme.dim),
                (" ", theme.text),
                (
                    &*text::fit(&text::escape(&summary.name), name_width),
                    if chosen { theme.strong } else { theme.text },
                ),
                (" ", theme.text),
                (status.get(view.lang), theme.text),
                (&*step, theme.dim),
            ];
            paint::item(buf, inner, row as u16, chosen, theme, &pieces);
        }
    }
}

fn kin_word(kin: Kin) -> Text {
    match kin {
        Kin::Parent => Text::new("parent", "父运行"),
        Kin::Fork => Text::new("fork", "分叉"),
        Kin::Family => Text::new("family", "同源"),
        Kin::Prompts => Text::new("prompts", "同提示"),
    }
}

impl Found<'_> {
    /// Its sample.
    pub(super) fn sample(&self) -> Option<&Sample> {
        let nearest = self.nearest.as_ref()?.as_ref().ok()?;
        Some(&nearest.sample)
    }

    /// The run's name and the step of its sample.
    pub(super) fn name(&self) -> String {
        let name = text::truncate(&text::escape(&self.run.name), 24);
        match self.sample() {
            Some(sample) => format!("{name} @{}", text::count(sample.step)),
            None => name,
        }
    }

    /// Draws its sample beside `own`; marked are the words that `own` does not have there.
    pub(super) fn draw(
        &self,
        own: &Sample,
        marked: bool,
        view: &View,
        area: Rect,
        buf: &mut Buffer,
    ) {
        let theme = &view.theme;
        let name = self.name();
        let sample = self.sample();
        let by = match &self.nearest {
            Some(Ok(Written { by: Some(by), .. })) => {
                let words = Text::new("written by", "来自").get(view.lang);
                format!("  {words} {}", text::truncate(&text::escape(by), 24))
            }
            _ => String::new(),
        };
        let new = if sample.is_some() && marked {
            Text::new("  not in this run", "  未见于本运行").get(view.lang)
        } else {
            ""
        };
        let readable = sample.map_or_else(String::new, |sample| page::readable(sample, view));
        let title: [Group<'_>; 4] = [
            vec![(&*name, theme.line)],
            vec![(&*by, theme.warn)],
            vec![(new, theme.key)],
            vec![(&*readable, theme.good)],
        ];
        let room = area.width.saturating_sub(4);
        let inner = paint::frame(buf, area, view, &fitting(&title, room), &[]);
        match (&self.nearest, sample) {
            (_, Some(sample)) => {
                let before = marked.then_some(own);
                page::whole(sample, before, view, page::margin(inner), buf);
            }
            (Some(Err(Why::Unreadable(why))), _) => {
                let words = UNREADABLE.get(view.lang);
                page::say(&format!("{words}: {why}"), theme.bad, inner, buf);
            }
            (Some(Err(Why::Missing(missing))), _) => {
                let line = missing_line(*missing, own.step, view);
                page::say(&line, theme.warn, inner, buf);
            }
            _ => page::say(READING_RECORD.get(view.lang), theme.dim, inner, buf),
        }
    }
}

fn missing_line(missing: Missing, step: u64, view: &View) -> String {
    const NOTHING: Text = Text::new("it has no sample at all", "该运行没有任何样本");
    const NO_PROMPT: Text = Text::new("it has no sample of this prompt", "该运行没有该提示的样本");
    const NOT_YET: Text = Text::new(
        "it has no sample of this prompt up to step {0}; its first one is of step {1}",
        "截至步 {0} 该运行没有该提示的样本; 最早的在步 {1}",
    );
    match missing {
        Missing::All => NOTHING.get(view.lang).to_owned(),
        Missing::Prompt => NO_PROMPT.get(view.lang).to_owned(),
        Missing::Until(first) => {
            NOT_YET.filled(view.lang, &[&text::count(step), &text::count(first)])
        }
    }
}
