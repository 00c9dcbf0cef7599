//! The configuration in force: every key with its value, where it comes from and when a change takes effect; and how it
//! came to be so.
//!
//! Enter opens the form of a key ([`crate::edit`]); the engine takes the new value or refuses it with the reason. `v`
//! shows the live edits so far.

use engine::config;
use engine::link::{Command, ConfigValue};
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;

use super::filter::{self, Filter};
use super::list::{self, Place, Shown};
use super::{Panel, PanelKey, past_mark, past_note};
use crate::edit::when;
use crate::lang::{self, Lang, Text};
use crate::paint;
use crate::state::{State, place};
use crate::text;
use crate::view::{Scene, View};

mod history;

/// Where the row of screens is so wide, it says what is wrong with the configuration.
const WIDE: u16 = 140;

/// Cells of a row's source, and of its class, the space before each counted.
const SOURCE: usize = 12;
const CLASS: usize = 9;
/// Least cells of a value that stands beside them.
const VALUE: usize = 12;

/// The screen; see the module's page.
pub struct Config {
    place: Place,
    shown: Shown,
    filter: Filter,
    /// The live edits, while they are shown.
    history: Option<Place>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            place: Place::top(),
            shown: Shown::default(),
            filter: Filter::default(),
            history: None,
        }
    }
}

impl Config {
    /// The keys on show: those in force at the data cursor's step, where there is one.
    fn rows<'a>(&self, state: &'a State, view: &View) -> Vec<&'a ConfigValue> {
        let passes = |v: &&ConfigValue| self.filter.passes(&[&v.key, &v.source, &v.class]);
        let (_, config) = state.config_at(view.cursor);
        config.iter().filter(passes).collect()
    }

    fn chosen<'a>(&self, state: &'a State, view: &View) -> Option<&'a ConfigValue> {
        let rows = self.rows(state, view);
        rows.get(self.place.row(rows.len())).copied()
    }
}

impl Panel for Config {
    fn title(&self) -> Text {
        Text::new("Config", "配置")
    }

    fn tab(&self, state: &State, view: &View, width: u16) -> String {
        let title = self.title().get(view.lang);
        // The number that the refused one would have had.
        let refused = state.rejected.as_ref().filter(|_| width >= WIDE);
        let refused = refused.map(|_| state.config_version + 1);
        match (state.differs_from_file(), refused, view.lang) {
            (false, ..) => title.to_owned(),
            (true, None, _) => format!("{title}*"),
            (true, Some(version), Lang::En) => format!("{title}* (v{version} rejected)"),
            (true, Some(version), Lang::Zh) => format!("{title}* (v{version} 被拒)"),
        }
    }

    fn keys(&self) -> &'static [PanelKey] {
        const KEYS: &[PanelKey] = &[
            PanelKey {
                keys: &["enter"],
                label: Text::new("edit", "修改"),
                help: Text::new(
                    "change the chosen key, if it is live or boundary; of the history: undo the chosen edit",
                    "修改所选的 live 或 boundary 项; 历史中: 撤销所选修改",
                ),
            },
            PanelKey {
                keys: &["w"],
                label: Text::new("to file", "写入文件"),
                help: Text::new(
                    "write the value in force of the chosen key into the run's configuration file",
                    "将所选项的当前值写入配置文件",
                ),
            },
            PanelKey {
                keys: &["v"],
                label: Text::new("history", "历史"),
                help: Text::new(
                    "the live edits so far, with what each changed; again: the keys",
                    "历次在线修改及其内容; 再按返回",
                ),
            },
            filter::KEYS,
            PanelKey {
                keys: &["r"],
                label: Text::new("reload", "重读"),
                help: Text::new("read the configuration file again", "重新读取配置文件"),
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
        if !self.filter.is_open() {
            match key {
                "r" => {
                    asked.push(Command::Reload);
                    return true;
                }
                "v" => {
                    self.history = match self.history.take() {
                        None => Some(Place::default()),
                        Some(_) => None,
                    };
                    return true;
                }
                _ => {}
            }
        }
        if let Some(place) = &mut self.history {
            let versions = &state.versions;
            match key {
                "esc" => self.history = None,
                "enter" => {
                    let chosen = versions.get(place.row(versions.len()));
                    view.wish = chosen.map(|v| format!("undo {}", v.number));
                }
                key => return place.handle(key, versions.len()),
            }
            return true;
        }
        let len = self.rows(state, view).len();
        if self.filter.handle(key, &mut self.place, len) {
            return true;
        }
        match key {
            // What was in force then cannot be changed any more.
            "enter" | "w" if view.cursor.is_some() => {}
            // What only a new run can change is not offered: its line says so.
            "enter" => view.wish = self.chosen(state, view).map(|v| format!("set {}", v.key)),
            "w" => view.wish = self.chosen(state, view).map(|v| format!("write {}", v.key)),
            key => return self.place.handle(key, len),
        }
        true
    }

    fn asks(&self, key: &str) -> Option<&'static str> {
        let word = match (key, &self.history) {
            _ if self.filter.is_open() => return None,
            ("r", _) => "reload",
            ("enter", None) => "set",
            ("enter", Some(_)) => "undo",
            _ => return None,
        };
        Some(word)
    }

    fn types(&self) -> bool {
        self.filter.is_open()
    }

    fn paste(&mut self, text: &str) {
        self.filter.paste(text);
    }

    fn copied(&self, scene: &Scene<'_>) -> Option<String> {
        let chosen = self.chosen(scene.state, scene.view)?;
        Some(format!("{} = {}\n", chosen.key, chosen.value))
    }

    fn click(&mut self, at: Position, _: &State, _: &View) -> Option<bool> {
        let place = self.history.as_mut().unwrap_or(&mut self.place);
        self.shown.click(place, at)
    }

    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        let (state, view) = (scene.state, scene.view);
        let theme = &view.theme;
        if let Some(place) = &self.history {
            history::render((*place, &self.shown), scene, area, buf);
            return;
        }
        let version = format!("v{}", state.config_at(view.cursor).0);
        let mark = past_mark(view);
        let filter = self.filter.title();
        let title = [
            (Text::new("config ", "配置 ").get(view.lang), theme.title),
            (&*version, theme.strong),
            (&*mark, theme.warn),
            (&*filter, theme.warn),
        ];
        const NOTES: Text = Text::new(
            "live: next step  boundary: next pause or checkpoint  restart: new run",
            "live: 下一步生效  boundary: 下次暂停/存档  restart: 需新建",
        );
        let notes = [match view.cursor {
            Some(_) => (past_note(view), theme.dim),
            None => (NOTES.get(view.lang), theme.dim),
        }];
        let mut inner = paint::frame(buf, area, view, &title, &notes);
        self.filter.render(view, &mut inner, buf);
        let rows = self.rows(state, view);
        if rows.is_empty() && self.filter.is_empty() {
            paint::centred(buf, inner, lang::NO_CONFIG.get(view.lang), theme.dim);
            return;
        }
        let head = u16::from(state.rejected.is_some());
        if let Some(rejected) = &state.rejected {
            let place = place(rejected.line, rejected.column);
            let message = text::escape(&view.lang.say(&rejected.message));
            let refused = Text::new("refused  ", "已拒绝  ").get(view.lang);
            let pieces = [
                (" ", theme.text),
                (refused, theme.bad),
                (place.get(view.lang), theme.strong),
                (&*message, theme.warn),
            ];
            paint::line(buf, inner, 0, &pieces);
        }
        // What the chosen key is, where there is room to say it.
        let foot = if inner.height >= 10 { 2 } else { 0 };
        let list = Rect {
            y: inner.y + head.min(inner.height),
            height: inner.height.saturating_sub(head + foot),
            ..inner
        };
        self.render_rows(&rows, view, list, buf);
        if let (Some(value), 1..) = (self.chosen(state, view), foot) {
            let below = Rect {
                y: list.bottom(),
                height: foot,
                ..inner
            };
            describe(value, view, below, buf);
        }
    }
}

/// What a key is and what it takes.
fn describe(value: &ConfigValue, view: &View, area: Rect, buf: &mut Buffer) {
    let theme = &view.theme;
    let Some(form) = config::form(&value.key) else {
        return;
    };
    let doc = view.lang.say(form.doc);
    let pieces = [(" ", theme.text), (&*doc, theme.text)];
    paint::line(buf, area, 0, &pieces);
    let takes = format!("{}  ", view.lang.say(&form.takes));
    let pieces = [
        (" ", theme.text),
        (&*takes, theme.dim),
        (when(&value.class, view.lang), theme.dim),
    ];
    paint::line(buf, area, 1, &pieces);
}

impl Config {
    fn render_rows(&self, rows: &[&ConfigValue], view: &View, area: Rect, buf: &mut Buffer) {
        let theme = &view.theme;
        let widest = rows.iter().map(|v| text::width(&v.key)).max().unwrap_or(0);
        let key_width = widest.min(usize::from(area.width / 2));
        let room = usize::from(area.width).saturating_sub(key_width + 4);
        // Where a value has no room beside them the class goes, then the source.
        let has_room = |beside: usize| room >= beside + VALUE;
        let (shows_class, shows_source) = (has_room(CLASS + SOURCE), has_room(SOURCE));
        let beside = SOURCE * usize::from(shows_source) + CLASS * usize::from(shows_class);
        let value_width = room - beside;
        let selected = self.place.row(rows.len());
        for (row, index) in self.shown.rows(self.place, rows.len(), area).enumerate() {
            let value = rows[index];
            let chosen = index == selected;
            let changed = value.source != "default";
            let class: Style = match value.class.as_str() {
                "live" => theme.good,
                "boundary" => theme.warn,
                _ => theme.dim,
            };
            let [key, words, source, class_word] = [
                (&value.key, key_width),
                (&value.value, value_width),
                (&value.source, SOURCE - 2),
                (&value.class, CLASS - 1),
            ]
            .map(|(words, width)| text::fit(&text::escape(words), width));
            let strong = if changed { theme.strong } else { theme.dim };
            let mut pieces = vec![(&*key, theme.text), ("  ", theme.text), (&*words, strong)];
            if shows_source {
                pieces.extend([("  ", theme.text), (&*source, theme.dim)]);
            }
            if shows_class {
                pieces.extend([(" ", theme.text), (&*class_word, class)]);
            }
            paint::item(buf, area, row as u16, chosen, theme, &pieces);
        }
    }
}
