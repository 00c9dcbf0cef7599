//! The configuration in force: every key with its value, where it comes from and when a change takes effect.
//!
//! A live key is edited here with Enter; the engine takes the new value at the next step or refuses it with the reason.

use engine::link::{Command, ConfigValue};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::field::{Field, Typed};
use super::list::{self, Place};
use super::{Panel, PanelKey, past_mark, past_note};
use crate::lang::{self, Text};
use crate::paint;
use crate::state::State;
use crate::text;
use crate::view::{Scene, View};

/// The screen; see the module's page.
pub struct Config {
    place: Place,
    filter: String,
    typing: Option<(Purpose, Field)>,
}

/// What is typed.
#[derive(Clone, Debug, PartialEq)]
enum Purpose {
    Filter,
    /// A new value for this key.
    Value(String),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            place: Place::top(),
            filter: String::new(),
            typing: None,
        }
    }
}

impl Config {
    /// The keys on show: those in force at the data cursor's step, where there is one.
    fn rows<'a>(&self, state: &'a State, view: &View) -> Vec<&'a ConfigValue> {
        let matches =
            |v: &&ConfigValue| v.key.contains(&self.filter) || v.source.contains(&self.filter);
        let (_, config) = state.config_at(view.cursor);
        config.iter().filter(matches).collect()
    }

    fn open(&mut self, state: &State, view: &View) {
        // What was in force then cannot be changed any more.
        if view.cursor.is_some() {
            return;
        }
        let rows = self.rows(state, view);
        let Some(value) = rows.get(self.place.row(rows.len())) else {
            return;
        };
        // What only a new run can change is not offered; its class says so in the row.
        if value.class != "restart" {
            let field = Field::with(&value.value);
            self.typing = Some((Purpose::Value(value.key.clone()), field));
        }
    }
}

impl Panel for Config {
    fn title(&self) -> Text {
        Text::new("Config", "配置")
    }

    fn keys(&self) -> &'static [PanelKey] {
        const KEYS: &[PanelKey] = &[
            PanelKey {
                keys: &["enter"],
                label: Text::new("edit", "修改"),
                help: Text::new(
                    "change the chosen key, if it is live or boundary",
                    "修改所选的 live 或 boundary 项",
                ),
            },
            PanelKey {
                keys: &["/"],
                label: Text::new("filter", "筛选"),
                help: Text::new("show only keys that hold this text", "只显示包含该文字的项"),
            },
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
        if let Some((purpose, field)) = &mut self.typing {
            let typed = field.handle(key);
            match (&*purpose, typed) {
                (Purpose::Filter, Typed::Open) => self.filter.clone_from(&field.text),
                (Purpose::Filter, Typed::Cancelled) => self.filter.clear(),
                (Purpose::Value(key), Typed::Done) => asked.push(Command::Set {
                    key: key.clone(),
                    value: field.text.clone(),
                }),
                _ => {}
            }
            if typed != Typed::Open {
                self.typing = None;
            }
            return true;
        }
        match key {
            "enter" => self.open(state, view),
            "r" => asked.push(Command::Reload),
            "/" => self.typing = Some((Purpose::Filter, Field::with(&self.filter))),
            "esc" if !self.filter.is_empty() => self.filter.clear(),
            key => return self.place.handle(key, self.rows(state, view).len()),
        }
        true
    }

    fn paste(&mut self, text: &str) {
        if let Some((_, field)) = &mut self.typing {
            field.paste(text);
        }
    }

    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        let (state, view) = (scene.state, scene.view);
        let theme = &view.theme;
        let version = format!("v{}", state.config_at(view.cursor).0);
        let mark = past_mark(view);
        let filter = format!("  /{}", self.filter);
        let mut title = vec![
            ("config ", theme.title),
            (&*version, theme.strong),
            (&*mark, theme.warn),
        ];
        if !self.filter.is_empty() {
            title.push((&*filter, theme.warn));
        }
        const NOTES: Text = Text::new(
            "live: next step  boundary: next pause or checkpoint  restart: new run",
            "live: 下一步生效  boundary: 下次暂停/存档  restart: 需新建",
        );
        let inner = paint::frame(
            buf,
            area,
            view,
            &title,
            &[match view.cursor {
                Some(_) => (past_note(view), theme.dim),
                None => (NOTES.get(view.lang), theme.dim),
            }],
        );
        let rows = self.rows(state, view);
        if rows.is_empty() && self.typing.is_none() {
            paint::centred(buf, inner, lang::NO_CONFIG.get(view.lang), theme.dim);
            return;
        }
        let head = u16::from(state.rejected.is_some());
        if let Some(rejected) = &state.rejected {
            let place = match rejected.line {
                0 => String::new(),
                line => format!("line {line}:{}: ", rejected.column),
            };
            let message = text::escape(&rejected.message);
            let refused = Text::new("refused  ", "已拒绝  ").get(view.lang);
            let pieces = [
                (" ", theme.text),
                (refused, theme.bad),
                (&*place, theme.strong),
                (&*message, theme.warn),
            ];
            paint::line(buf, inner, 0, &pieces);
        }
        let foot = u16::from(self.typing.is_some());
        let list = Rect {
            y: inner.y + head.min(inner.height),
            height: inner.height.saturating_sub(head + foot),
            ..inner
        };
        self.render_rows(&rows, view, list, buf);
        if let Some((purpose, field)) = &self.typing {
            let at = Rect {
                y: inner.bottom().saturating_sub(1).max(inner.y),
                height: inner.height.min(1),
                ..inner
            };
            let label = match purpose {
                Purpose::Filter => "/".to_owned(),
                Purpose::Value(key) => format!("{key} = "),
            };
            field.render(&label, view, at, buf);
        }
    }
}

impl Config {
    fn render_rows(&self, rows: &[&ConfigValue], view: &View, area: Rect, buf: &mut Buffer) {
        let theme = &view.theme;
        let widest = rows.iter().map(|v| text::width(&v.key)).max().unwrap_or(0);
        let key_width = widest.min(usize::from(area.width / 2));
        // What remains beside key, source and class.
        let value_width = usize::from(area.width).saturating_sub(key_width + 25);
        let selected = self.place.row(rows.len());
        for (row, index) in self
            .place
            .visible(rows.len(), usize::from(area.height))
            .enumerate()
        {
            let value = rows[index];
            let chosen = index == selected;
            let changed = value.source != "default";
            let class: Style = match value.class.as_str() {
                "live" => theme.good,
                "boundary" => theme.warn,
                _ => theme.dim,
            };
            let pieces = [
                (if chosen { ">" } else { " " }, theme.key),
                (
                    &*text::fit(&text::escape(&value.key), key_width),
                    theme.text,
                ),
                ("  ", theme.text),
                (
                    &*text::fit(&text::escape(&value.value), value_width),
                    if changed { theme.strong } else { theme.dim },
                ),
                ("  ", theme.text),
                (&*text::fit(&text::escape(&value.source), 10), theme.dim),
                (" ", theme.text),
                (&*text::fit(&text::escape(&value.class), 8), class),
            ];
            paint::line(buf, area, row as u16, &pieces);
            if chosen {
                paint::highlight(buf, area, row as u16, theme.selected);
            }
        }
    }
}
