//! The palette of Ctrl-P: every action, screen and configuration key, found by a few letters in their order.

use engine::config;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::actions::{ALL, screen};
use crate::command_line::about;
use crate::lang::Text;
use crate::paint;
use crate::panels::field::{Field, Typed};
use crate::prompt::{Said, centred};
use crate::text;
use crate::workbench::Workbench;

/// One thing to be found.
struct Item {
    line: String,
    about: String,
    key: String,
}

/// The open palette.
pub struct Palette {
    field: Field,
    items: Vec<Item>,
    /// The items that hold the letters, the best first.
    found: Vec<usize>,
    selected: usize,
}

/// How well the letters of `query` stand in `text` in their order, whatever lies between; none if they do not. Letters
/// that follow each other and letters at the beginning of a word count more, long texts less. Case does not matter.
pub fn score(query: &str, text: &str) -> Option<i32> {
    let text: Vec<char> = text.to_lowercase().chars().collect();
    let query: Vec<char> = query
        .to_lowercase()
        .chars()
        .filter(|c| !c.is_whitespace())
        .collect();
    // best[j]: the best score of the letters so far with the last one at j.
    let mut best: Vec<Option<i32>> = vec![None; text.len()];
    for (i, letter) in query.iter().enumerate() {
        let mut next = vec![None; text.len()];
        // The best of all places before the one just before j.
        let mut earlier: Option<i32> = (i == 0).then_some(0);
        for j in 0..text.len() {
            if i > 0 && j >= 2 {
                earlier = earlier.max(best[j - 2]);
            }
            if text[j] != *letter {
                continue;
            }
            let begins = j == 0 || !text[j - 1].is_alphanumeric();
            let own = 1 + 6 * i32::from(begins);
            let adjacent = j.checked_sub(1).filter(|_| i > 0).and_then(|j| best[j]);
            next[j] = [earlier, adjacent.map(|score| score + 8)]
                .into_iter()
                .flatten()
                .max()
                .map(|score| score + own);
        }
        best = next;
    }
    if query.is_empty() {
        return Some(0);
    }
    let top = best.into_iter().flatten().max()?;
    Some(4 * top - text.len() as i32)
}

impl Palette {
    /// Everything that there is to be found.
    pub fn new(bench: &Workbench) -> Self {
        let lang = bench.view.lang;
        let mut items: Vec<Item> = Vec::new();
        let mut add = |line: String, about: String| {
            if items.iter().all(|item| item.line != line) {
                let key = bench.view.keys.key_of(&line).to_owned();
                items.push(Item { line, about, key });
            }
        };
        for binding in bench.view.keys.bindings() {
            // The screens come by their names.
            if !binding.line.starts_with("screen ") {
                let about = binding.action.help.get(lang).to_owned();
                add(binding.line.clone(), about);
            }
        }
        for (panel, name) in bench.panels.iter().zip(screen::names(bench)) {
            add(format!("screen {name}"), panel.title().get(lang).to_owned());
        }
        for action in ALL {
            let about = action.help.get(lang);
            let known = bench.view.keys.bindings().iter();
            let known = known.into_iter().any(|b| b.action.name == action.name);
            if !known {
                add(action.name.to_owned(), about.to_owned());
            }
            for word in fixed(action.takes) {
                add(format!("{} {word}", action.name), about.to_owned());
            }
        }
        let own = bench.state.config.iter().map(|value| value.key.clone());
        for key in own.chain(config::keys()) {
            let about = about(&key, bench);
            add(format!("set {key}"), about);
        }
        let mut palette = Self {
            field: Field::default(),
            found: Vec::new(),
            items,
            selected: 0,
        };
        palette.find();
        palette
    }

    fn find(&mut self) {
        let query = self.field.text.as_str();
        let mut found: Vec<(i32, usize)> = Vec::new();
        for (index, item) in self.items.iter().enumerate() {
            // What it is called counts more than what it is.
            let by_line = score(query, &item.line);
            let sought = query.to_lowercase();
            let by_about =
                query.chars().count() >= 3 && item.about.to_lowercase().contains(&sought);
            if let Some(score) = by_line.or(by_about.then_some(0)) {
                found.push((score, index));
            }
        }
        found.sort_by_key(|(score, index)| (-score, *index));
        self.found = found.into_iter().map(|f| f.1).collect();
        self.selected = 0;
    }

    /// Takes pasted text.
    pub fn paste(&mut self, text: &str) {
        self.field.paste(text);
        self.find();
    }

    /// Takes a key.
    pub fn handle(&mut self, key: &str, _: &Workbench) -> Said {
        let last = self.found.len().saturating_sub(1);
        match key {
            "down" | "ctrl-n" | "tab" => self.selected = (self.selected + 1).min(last),
            "up" | "ctrl-p" | "backtab" => self.selected = self.selected.saturating_sub(1),
            "pgdn" => self.selected = (self.selected + 10).min(last),
            "pgup" => self.selected = self.selected.saturating_sub(10),
            key => match self.field.handle(key) {
                Typed::Open => self.find(),
                Typed::Cancelled => return Said::Closed,
                Typed::Done => {
                    let chosen = self.found.get(self.selected);
                    return chosen.map_or(Said::Open, |&index| {
                        Said::Chosen(self.items[index].line.clone())
                    });
                }
            },
        }
        Said::Open
    }

    /// Draws it over the middle of `area`.
    pub fn render(&self, bench: &Workbench, area: Rect, buf: &mut Buffer) {
        const HINT: Text = Text::new("Enter do it  Esc close", "Enter 执行  Esc 关闭");
        let view = &bench.view;
        let theme = &view.theme;
        let at = centred(90, 20, area, buf);
        let num = format!("{}/{}", self.found.len(), self.items.len());
        let title = [
            (
                Text::new("palette  ", "命令面板  ").get(view.lang),
                theme.title,
            ),
            (&*num, theme.dim),
        ];
        let inner = paint::frame(buf, at, view, &title, &[(HINT.get(view.lang), theme.dim)]);
        self.field.render("> ", view, inner, buf);
        let list = Rect {
            y: inner.y + 1,
            height: inner.height.saturating_sub(1),
            ..inner
        };
        let height = usize::from(list.height);
        let first = paint::scroll(self.found.len(), self.selected, height);
        let width = usize::from(inner.width / 2).clamp(8, 34);
        for (row, &index) in self.found.iter().skip(first).take(height).enumerate() {
            let item = &self.items[index];
            let chosen = first + row == self.selected;
            let pieces = [
                (&*text::fit(&text::escape(&item.line), width), theme.text),
                (" ", theme.text),
                (&*text::fit(&item.key, 6), theme.key),
                (" ", theme.text),
                (&*text::escape(&item.about), theme.dim),
            ];
            paint::item(buf, list, row as u16, chosen, theme, &pieces);
        }
    }
}

/// The words of `[a|b]` that are typed as they stand.
fn fixed(takes: &str) -> impl Iterator<Item = &str> {
    let words = takes.trim_matches(['[', ']']).split('|');
    words.filter(move |word| {
        takes.contains('|') && word.chars().all(|c| c.is_ascii_lowercase() || c == '-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_found_in_their_order_and_the_better_place_wins() {
        assert_eq!(score("zz", "zoom"), None);
        assert_eq!(score("mooz", "zoom"), None);
        assert_eq!(score("", "zoom"), Some(0));
        let better = |query: &str, one: &str, other: &str| {
            let (one, other) = (score(query, one).unwrap(), score(query, other));
            assert!(
                other.is_none_or(|other| one > other),
                "{query}: {one} {other:?}"
            );
        };
        better("lr", "set optimizer.lr", "smooth linear");
        better("lrs", "set schedule.lr_scale", "set optimizer.lr");
        better("ck", "ckpt", "back");
        better("tag", "ckpt tag", "set train.max_grad");
        better("SL", "screen layers", "smooth [DECAY] all");
        assert!(score("\u{6682}\u{505c}", "\u{6682}\u{505c}").is_some());
    }
}
