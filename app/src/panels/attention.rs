//! Where the tokens of a prompt look: one head's map, the entropy of every head, and what the chosen token looks at most.
//!
//! The engine makes a map when it is asked, between two steps, and training is the same bits with it. Moving to another head
//! asks again; while an answer is under way the screen keeps the last wish and asks it afterwards.

use engine::link::{Attention as Map, Command};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::field::{Field, Typed};
use super::list::{self, Place};
use super::{Panel, PanelKey};
use crate::lang::{Lang, Missing, Phrase, Text};
use crate::paint;
use crate::state::State;
use crate::text;
use crate::view::{Scene, View};

mod draw;

/// What is looked at before anybody says what.
const PROMPT: &str = "The small fox sees a red house near the river.";

/// The screen; see the module's page.
pub struct Attention {
    prompt: String,
    layer: usize,
    head: usize,
    /// The token whose row is read.
    place: Place,
    typing: Option<Field>,
    /// Whether the wish has changed since it was asked.
    wanted: bool,
    /// What was asked last.
    asked: Option<(String, usize, usize)>,
}

impl Default for Attention {
    fn default() -> Self {
        Self {
            prompt: PROMPT.to_owned(),
            layer: 0,
            head: 0,
            place: Place::default(),
            typing: None,
            wanted: false,
            asked: None,
        }
    }
}

impl Attention {
    /// Asks for what is wanted, unless an answer is under way.
    fn ask(&mut self, state: &State, asked: &mut Vec<Command>) {
        let under_way = state
            .pending
            .iter()
            .any(|p| p.command.word() == "attention");
        if !self.wanted || under_way {
            return;
        }
        self.wanted = false;
        self.asked = Some((self.prompt.clone(), self.layer, self.head));
        asked.push(Command::Attention {
            prompt: self.prompt.clone(),
            layer: self.layer,
            head: self.head,
        });
    }

    /// Moves to another layer and head of those that the last map has.
    fn go(&mut self, state: &State, layers: isize, heads: isize) {
        if let Some(map) = &state.attention {
            let to = |at: usize, by: isize, len: usize| {
                at.saturating_add_signed(by).min(len.saturating_sub(1))
            };
            self.layer = to(self.layer, layers, map.entropies.len());
            let heads_here = map.entropies.get(self.layer).map_or(0, Vec::len);
            self.head = to(self.head, heads, heads_here);
        }
        self.wanted = true;
    }

    /// A line for a map that is not the wished one, or none.
    fn trouble<'a>(&self, state: &'a State) -> Option<&'a Phrase> {
        let (prompt, layer, head) = self.asked.as_ref()?;
        let is = |map: &Map| (&map.prompt, map.layer, map.head) == (prompt, *layer, *head);
        let under_way = state
            .pending
            .iter()
            .any(|p| p.command.word() == "attention");
        if under_way || state.attention.as_ref().is_some_and(|map| is(map)) {
            return None;
        }
        let mut log = state.log.iter().rev();
        let line = log.find(|line| line.text.get(Lang::En).starts_with("attention"))?;
        Some(&line.text)
    }
}

impl Panel for Attention {
    fn title(&self) -> Text {
        Text::new("Attention", "注意力")
    }

    fn keys(&self) -> &'static [PanelKey] {
        const KEYS: &[PanelKey] = &[
            PanelKey {
                keys: &["enter"],
                label: Text::new("prompt", "提示"),
                help: Text::new(
                    "edit the text that the model reads; Enter shows where its tokens look",
                    "编辑模型要读的文字; Enter 显示各 token 看向何处",
                ),
            },
            PanelKey {
                keys: &["l", "h", "right", "left"],
                label: Text::new("head", "头"),
                help: Text::new("next or previous head", "下/上一个头"),
            },
            PanelKey {
                keys: &["L", "H"],
                label: Text::new("layer", "层"),
                help: Text::new("next or previous layer", "下/上一层"),
            },
            PanelKey {
                keys: &["r"],
                label: Text::new("again", "重看"),
                help: Text::new("look again, at the step of now", "用当前步重看"),
            },
            list::KEYS,
        ];
        KEYS
    }

    fn handle(&mut self, key: &str, state: &State, _: &mut View, asked: &mut Vec<Command>) -> bool {
        if let Some(field) = &mut self.typing {
            match field.handle(key) {
                Typed::Open => return true,
                Typed::Done => {
                    self.prompt = std::mem::take(&mut field.text);
                    self.place = Place::default();
                    self.wanted = true;
                }
                Typed::Cancelled => {}
            }
            self.typing = None;
            self.ask(state, asked);
            return true;
        }
        match key {
            "enter" => self.typing = Some(Field::with(&self.prompt)),
            "l" | "right" => self.go(state, 0, 1),
            "h" | "left" => self.go(state, 0, -1),
            "L" => self.go(state, 1, 0),
            "H" => self.go(state, -1, 0),
            "r" => self.wanted = true,
            key => {
                let tokens = state.attention.as_ref().map_or(0, |map| map.tokens.len());
                return self.place.handle(key, tokens);
            }
        }
        self.ask(state, asked);
        true
    }

    fn asks(&self, key: &str) -> Option<&'static str> {
        (self.typing.is_none() && matches!(key, "enter" | "r")).then_some("attention")
    }

    fn poll(&mut self, state: &State, asked: &mut Vec<Command>) -> bool {
        self.ask(state, asked);
        !asked.is_empty()
    }

    fn types(&self) -> bool {
        self.typing.is_some()
    }

    fn paste(&mut self, text: &str) {
        if let Some(field) = &mut self.typing {
            field.paste(text);
        }
    }

    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        let foot = u16::from(self.typing.is_some()).min(area.height);
        let body = Rect {
            height: area.height - foot,
            ..area
        };
        match &scene.state.attention {
            Some(map) => self.draw(scene, map, body, buf),
            None => self.empty(scene, body, buf),
        }
        if let Some(field) = &self.typing {
            let at = Rect {
                y: body.bottom(),
                height: foot,
                ..area
            };
            let label = Text::new("prompt: ", "提示: ").get(scene.view.lang);
            field.render(label, scene.view, at, buf);
        }
    }
}

impl Attention {
    fn empty(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        const NOTHING: Missing = Missing {
            said: Text::new("nothing was looked at yet", "尚未查看"),
            hint: Text::new("; Enter takes a prompt", "; 按 Enter 输入提示"),
            line: "",
        };
        let (view, theme) = (scene.view, &scene.view.theme);
        let inner = paint::frame(
            buf,
            area,
            view,
            &[(Text::new("attention", "注意力").get(view.lang), theme.title)],
            &[],
        );
        let trouble = self.trouble(scene.state);
        let (message, style) = match trouble {
            Some(line) => (line.get(view.lang).to_owned(), theme.warn),
            None => (NOTHING.get(scene), theme.dim),
        };
        paint::centred(buf, inner, &message, style);
    }

    fn draw(&self, scene: &Scene<'_>, map: &Map, area: Rect, buf: &mut Buffer) {
        let view = scene.view;
        let chosen = self.place.row(map.tokens.len());
        let trouble = self.trouble(scene.state);
        let wide = area.width >= 76 && area.height >= 8;
        let side = if wide {
            (area.width / 3).clamp(28, 44)
        } else {
            0
        };
        let below = match (wide, area.height) {
            (false, 14..) => 7,
            _ => 0,
        };
        let at = Rect {
            x: area.x + side,
            width: area.width - side,
            height: area.height - below,
            ..area
        };
        draw::map(
            map,
            chosen,
            trouble.map(|line| line.get(view.lang)),
            view,
            at,
            buf,
        );
        if wide {
            let grid =
                (map.entropies.len() as u16 + 3).clamp(4, area.height.saturating_sub(7).max(4));
            let upper = Rect {
                width: side,
                height: grid.min(area.height),
                ..area
            };
            draw::entropies(map, (self.layer, self.head), view, upper, buf);
            let lower = Rect {
                y: upper.bottom(),
                width: side,
                height: area.height - upper.height,
                ..area
            };
            draw::looks(map, chosen, view, lower, buf);
        } else if below > 0 {
            let lower = Rect {
                y: at.bottom(),
                height: below,
                ..area
            };
            draw::looks(map, chosen, view, lower, buf);
        }
    }
}

/// A token as it is shown: control characters escaped, spaces visible.
fn label(token: &str, view: &View) -> String {
    let space = match view.glyphs {
        crate::chart::glyph::GlyphSet::Ascii => '_',
        _ => '\u{2423}',
    };
    let shown = text::escape(token);
    shown
        .chars()
        .map(|c| if c == ' ' { space } else { c })
        .collect()
}

#[cfg(test)]
mod tests;
