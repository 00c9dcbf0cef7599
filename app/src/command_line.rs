//! The command line behind `:`: a line of [`crate::actions`], completed by Tab, with what was typed before.
//!
//! What may come next stands above it while it is typed. A line that is refused stays, with the reason.

use engine::config;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Clear, Widget as _};

use crate::actions::{self, ALL};
use crate::lang::Phrase;
use crate::paint;
use crate::panels::field::{Field, Typed};
use crate::prompt::Said;
use crate::text;
use crate::workbench::Workbench;

/// Rows of completions.
const SHOWN: usize = 8;

/// The open line.
pub struct CommandLine {
    field: Field,
    /// Why the line was refused.
    error: Option<Phrase>,
    /// The line of the history that it came from, from its end.
    back: usize,
    /// What Tab goes through: the text before, and the word in use.
    cycle: Option<(String, usize)>,
}

/// A word that may come next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The word.
    pub word: String,
    /// What it is.
    pub about: String,
}

/// The words that may end `text`, with what each is: those that begin as its last word does, else
/// those that hold it.
pub fn candidates(text: &str, bench: &Workbench) -> Vec<Candidate> {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let last = if text.ends_with(char::is_whitespace) {
        ""
    } else {
        words.pop().unwrap_or_default()
    };
    let lang = bench.view.lang;
    let all: Vec<Candidate> = match words.split_first() {
        None => ALL
            .iter()
            .map(|action| Candidate {
                word: action.name.to_owned(),
                about: action.help.get(lang).to_owned(),
            })
            .collect(),
        Some((name, before)) => {
            let Some(action) = actions::find(name) else {
                return Vec::new();
            };
            let words = (action.words)(before, bench).into_iter();
            words
                .map(|word| Candidate {
                    about: about(&word, bench),
                    word,
                })
                .collect()
        }
    };
    let (begin, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|c| c.word.starts_with(last));
    if begin.is_empty() {
        rest.into_iter().filter(|c| c.word.contains(last)).collect()
    } else {
        begin
    }
}

/// The value and the doc line of a configuration key; nothing for other words.
pub fn about(word: &str, bench: &Workbench) -> String {
    let Some(form) = word.contains('.').then(|| config::form(word)).flatten() else {
        return String::new();
    };
    let value = bench.state.config.iter().find(|v| v.key == word);
    let value = value.map_or_else(String::new, |v| format!("= {}  ", v.value));
    let doc = bench.view.lang.say(form.doc);
    format!("{value}{doc} ({})", form.class.word())
}

impl CommandLine {
    /// A line that begins with `text`.
    pub fn with(text: &str) -> Self {
        Self {
            field: Field::with(text),
            error: None,
            back: 0,
            cycle: None,
        }
    }

    /// Keeps a line that was refused, with the reason.
    pub fn refused(line: &str, why: Phrase) -> Self {
        Self {
            error: Some(why),
            ..Self::with(line)
        }
    }

    /// Takes pasted text.
    pub fn paste(&mut self, text: &str) {
        self.field.paste(text);
    }

    /// Takes a key.
    pub fn handle(&mut self, key: &str, bench: &Workbench) -> Said {
        if !matches!(key, "tab" | "backtab") {
            self.cycle = None;
        }
        match key {
            "tab" => self.complete(true, bench),
            "backtab" => self.complete(false, bench),
            "up" | "ctrl-p" => self.recall(self.back + 1, bench),
            "down" | "ctrl-n" => self.recall(self.back.saturating_sub(1), bench),
            // As in other programs: nothing is left to delete, so it closes.
            "backspace" if self.field.text.is_empty() => return Said::Closed,
            key => match self.field.handle(key) {
                Typed::Open => self.error = None,
                Typed::Done => return Said::Typed(self.field.text.trim().to_owned()),
                Typed::Cancelled => return Said::Closed,
            },
        }
        Said::Open
    }

    /// Puts the next (or previous) candidate in the place of the last word.
    fn complete(&mut self, forward: bool, bench: &Workbench) {
        let (stem, at) = match self.cycle.take() {
            Some((stem, at)) => (stem, Some(at)),
            None => (self.field.text.clone(), None),
        };
        let candidates = candidates(&stem, bench);
        let num = candidates.len();
        if num == 0 {
            return;
        }
        let at = match (at, forward) {
            (None, true) => 0,
            (None, false) => num - 1,
            (Some(at), true) => (at + 1) % num,
            (Some(at), false) => (at + num - 1) % num,
        };
        let head = stem.rfind(char::is_whitespace).map_or(0, |space| space + 1);
        let mut line = format!("{}{}", &stem[..head], candidates[at].word);
        if num == 1 {
            // The only one: go on with the next word.
            line.push(' ');
        } else {
            self.cycle = Some((stem, at));
        }
        self.field = Field::with(&line);
        self.error = None;
    }

    /// Takes a line of the history, counted from its end; 0 is the new line.
    fn recall(&mut self, back: usize, bench: &Workbench) {
        let history = &bench.history;
        if back > history.len() {
            return;
        }
        self.back = back;
        let line = match back {
            0 => "",
            back => &history[history.len() - back],
        };
        self.field = Field::with(line);
        self.error = None;
    }

    /// Draws the line in the last row of `area`, and what may come next above it.
    pub fn render(&self, bench: &Workbench, area: Rect, buf: &mut Buffer) {
        let view = &bench.view;
        let theme = &view.theme;
        let row = |y: u16| Rect {
            y,
            height: 1,
            ..area
        };
        let Some(bottom) = area.bottom().checked_sub(1).filter(|y| *y >= area.y) else {
            return;
        };
        let mut lines: Vec<(String, String, bool)> = Vec::new();
        let (stem, at) = match &self.cycle {
            Some((stem, at)) => (stem.as_str(), Some(*at)),
            None => (self.field.text.as_str(), None),
        };
        let candidates = candidates(stem, bench);
        let room = usize::from(area.height).saturating_sub(3).min(SHOWN);
        let first = paint::scroll(candidates.len(), at.unwrap_or(0), room);
        let widest = candidates.iter().map(|c| text::width(&c.word)).max();
        let width = widest.unwrap_or(0).min(usize::from(area.width / 2));
        for (index, c) in candidates.iter().enumerate().skip(first).take(room) {
            let word = text::fit(&text::escape(&c.word), width);
            lines.push((word, text::escape(&c.about), at == Some(index)));
        }
        let usage = self.usage();
        let above = usize::from(self.error.is_some() || !usage.is_empty());
        let top = bottom
            .saturating_sub((lines.len() + above) as u16)
            .max(area.y);
        let whole = Rect {
            y: top,
            height: bottom + 1 - top,
            ..area
        };
        Clear.render(whole.intersection(buf.area), buf);
        for (y, (word, about, chosen)) in (top..).zip(&lines) {
            let style = if *chosen { theme.key } else { theme.text };
            let pieces = [
                (if *chosen { " >" } else { "  " }, theme.key),
                (word, style),
                ("  ", theme.text),
                (about, theme.dim),
            ];
            paint::line(buf, row(y), 0, &pieces);
            if *chosen {
                paint::highlight(buf, row(y), 0, theme.selected);
            }
        }
        if above > 0 && bottom > area.y {
            let (note, style) = match &self.error {
                Some(error) => (text::escape(error.get(view.lang)), theme.bad),
                None => (usage, theme.dim),
            };
            paint::line(
                buf,
                row(bottom - 1),
                0,
                &[("  ", theme.text), (&note, style)],
            );
        }
        self.field.render(":", view, row(bottom), buf);
    }

    /// What the line's action takes, once its name stands there.
    fn usage(&self) -> String {
        let Some((name, _)) = self.field.text.trim_start().split_once(char::is_whitespace) else {
            return String::new();
        };
        match actions::find(name) {
            Some(action) if !action.takes.is_empty() => format!("{name} {}", action.takes),
            _ => String::new(),
        }
    }
}
