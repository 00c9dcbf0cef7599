//! Talking with the model as it was at a step, while training goes on.
//!
//! The chat has its own weights and its own thread ([`engine::infer::chat`]); the screen hands over what is said and draws what
//! comes back. Two pages: what to talk with and how ([`settings`]), and the conversation. Text from the model is shown escaped.

use std::time::{Duration, Instant};

use engine::checkpoint;
use engine::estimate::available_bytes;
use engine::infer::chat::{Answer, CONTEXT, Desk, Order, Partner, Ready, Source, Told};
use engine::link::Command;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::field::{Field, Typed};
use super::list::{self, Place};
use super::{Panel, PanelKey};
use crate::lang::{Lang, Phrase, Text};
use crate::state::State;
use crate::text;
use crate::view::{Scene, View};

mod draw;
mod settings;
#[cfg(test)]
mod tests;

use settings::{Settings, Weights};

/// Turns that are kept on the screen; the model's own context is shorter.
const TURNS: usize = 200;
/// How often the free memory is looked at while the settings are on show.
const LOOK: Duration = Duration::from_secs(2);
/// Rows of the settings, the last of which starts.
const START: usize = Settings::NAMES.len();

/// One turn of the conversation.
#[derive(Debug, Default)]
struct Turn {
    /// What was said; nothing lets a base model go on.
    said: String,
    /// The answer so far.
    answer: String,
    /// What is known of it once it is complete.
    end: Option<Answer>,
}

/// Who is at the other end.
enum Link {
    Nobody,
    /// A copy of the weights is ordered.
    Ordered(Desk),
    /// The weights are being read.
    Opening(Partner),
    Open {
        partner: Partner,
        ready: Ready,
        /// Whether an answer is under way.
        busy: bool,
    },
}

/// The screen; see the module's page.
pub struct Chat {
    /// Whether the settings are on show, not the conversation.
    choosing: bool,
    place: Place,
    typing: Option<Field>,
    settings: Settings,
    link: Link,
    /// What is talked with.
    label: String,
    turns: Vec<Turn>,
    /// Lines between the last of the conversation and the last on show.
    scroll: usize,
    /// A line for the person.
    note: Option<Note>,
    /// Memory that is free, when it was last looked at.
    free: Option<u64>,
    looked: Option<Instant>,
    /// Tokens per second of training before the chat.
    speed: Option<f32>,
}

impl Default for Chat {
    fn default() -> Self {
        Self {
            choosing: true,
            place: Place::default(),
            typing: None,
            settings: Settings::default(),
            link: Link::Nobody,
            label: String::new(),
            turns: Vec::new(),
            scroll: 0,
            note: None,
            free: None,
            looked: None,
            speed: None,
        }
    }
}

/// A line for the person.
struct Note {
    said: Phrase,
    /// Its end, where the engine can be asked for a checkpoint: `{}` is the key.
    hint: Option<Text>,
}

impl<T: Into<Phrase>> From<T> for Note {
    fn from(said: T) -> Self {
        Self {
            said: said.into(),
            hint: None,
        }
    }
}

impl Note {
    /// The line on a screen.
    fn get(&self, scene: &Scene<'_>) -> String {
        let said = text::escape(self.said.get(scene.view.lang));
        match self.hint.filter(|_| scene.can_ask()) {
            Some(hint) => said + &hint.with_key(scene.view, "ckpt"),
            None => said,
        }
    }
}

impl Chat {
    /// Where the weights shall come from; a copy must be ordered first.
    fn source(&self, state: &State) -> Result<Option<(Source, u64)>, Note> {
        let step = match self.settings.weights {
            Weights::Now => return Ok(None),
            Weights::Newest => None,
            Weights::Step(step) => Some(step),
        };
        let folder = state.reach.folder.as_ref();
        let folder = folder.ok_or(Note::from(Text::new(
            "the run's folder cannot be read from here",
            "从这里无法读取训练文件夹",
        )))?;
        let known = checkpoint::list(&folder.join("checkpoints"));
        let known = known.map_err(|error| Note::from(error.to_string()))?;
        let found = match step {
            None => known.last(),
            Some(step) => known.iter().find(|(known, _)| *known == step),
        };
        match (found, step) {
            (Some((step, path)), _) => Ok(Some((Source::Folder(path.clone()), *step))),
            (None, Some(step)) => {
                const NONE: Text = Text::new(
                    "there is no checkpoint of step {0}",
                    "没有第 {0} 步的检查点",
                );
                Err(NONE.fill(&[&step.to_string()]).into())
            }
            (None, None) => {
                const WRITE: Text = Text::new(": {} writes one", ": 按 {} 保存一个");
                const WRITE_OR_NOW: Text = Text::new(
                    ": {} writes one, or take the weights of now",
                    ": 按 {} 保存一个, 或用当前权重",
                );
                Err(Note {
                    said: Text::new("there is no checkpoint yet", "尚无检查点").into(),
                    hint: Some(match state.reach.desk {
                        Some(_) => WRITE_OR_NOW,
                        None => WRITE,
                    }),
                })
            }
        }
    }

    fn start(&mut self, state: &State, asked: &mut Vec<Command>) {
        self.end();
        self.free = available_bytes();
        if let (Some(need), Some(free)) = (need(state), self.free)
            && need > free
        {
            let (need, free) = (text::bytes(need), text::bytes(free));
            const NEEDS: Text = Text::new(
                "a chat needs {0} of memory, {1} are free",
                "对话需要 {0} 内存, 空闲 {1}",
            );
            self.note = Some(NEEDS.fill(&[&need, &free]).into());
            return;
        }
        self.speed = (!state.status.is_over())
            .then(|| state.speed.ema.last())
            .flatten();
        match self.source(state) {
            Err(why) => self.note = Some(why),
            Ok(Some((source, step))) => self.open(source, step),
            Ok(None) => match &state.reach.desk {
                Some(desk) if !state.status.is_over() => {
                    desk.order(Order { context: CONTEXT });
                    self.link = Link::Ordered(desk.clone());
                    asked.push(Command::Weights);
                }
                _ => {
                    self.note = Some(Note {
                        said: Text::new(
                            "the weights of now are in the process that trains only",
                            "当前权重只在训练所在的进程里",
                        )
                        .into(),
                        hint: Some(Text::new(
                            ": {} writes a checkpoint to chat with",
                            ": 按 {} 保存检查点再与它对话",
                        )),
                    });
                }
            },
        }
    }

    fn open(&mut self, source: Source, step: u64) {
        self.label = format!("@{}", text::count(step));
        match Partner::start(source, CONTEXT) {
            Ok(partner) => {
                self.link = Link::Opening(partner);
                self.choosing = false;
            }
            Err(error) => {
                self.note = Some(format!("the system gives no thread: {error}").into());
            }
        }
    }

    /// Ends the chat and lets its memory go.
    fn end(&mut self) {
        if let Link::Ordered(desk) = &self.link {
            desk.cancel();
        }
        self.link = Link::Nobody;
        self.turns.clear();
        self.typing = None;
        self.note = None;
        self.scroll = 0;
    }

    fn say(&mut self, said: String) {
        let Link::Open {
            partner,
            ready,
            busy,
        } = &mut self.link
        else {
            return;
        };
        if said.is_empty() && !ready.continues {
            self.typing = Some(Field::default());
            return;
        }
        partner.say(&said, self.settings.writing());
        *busy = true;
        self.note = None;
        self.scroll = 0;
        if self.turns.len() == TURNS {
            self.turns.remove(0);
        }
        self.turns.push(Turn {
            said,
            ..Turn::default()
        });
    }

    /// Takes what the partner has told.
    fn take(&mut self, told: Told) {
        match told {
            Told::Ready(ready) => {
                let link = std::mem::replace(&mut self.link, Link::Nobody);
                if let Link::Opening(partner) = link {
                    self.link = Link::Open {
                        partner,
                        ready,
                        busy: false,
                    };
                    self.typing = Some(Field::default());
                }
            }
            Told::Piece(piece) => {
                if let Some(turn) = self.turns.last_mut() {
                    turn.answer.push_str(&piece);
                }
            }
            Told::Answer(answer) => {
                if let Link::Open { busy, .. } = &mut self.link {
                    *busy = false;
                }
                // The next answer draws anew, and this one can be had again by its seed.
                self.settings.seed = answer.seed.wrapping_add(1);
                if let Some(turn) = self.turns.last_mut() {
                    turn.answer.clone_from(&answer.text);
                    turn.end = Some(answer);
                }
                if !self.choosing {
                    self.typing = Some(Field::default());
                }
            }
            Told::Failed(why) => {
                self.link = Link::Nobody;
                self.typing = None;
                self.choosing = true;
                self.note = Some(why.into());
            }
        }
    }

    fn busy(&self) -> bool {
        matches!(self.link, Link::Open { busy: true, .. })
    }

    /// A key for the open field.
    fn type_key(&mut self, key: &str) -> bool {
        let Some(field) = &mut self.typing else {
            return false;
        };
        match field.handle(key) {
            Typed::Open => return true,
            Typed::Cancelled => self.typing = None,
            Typed::Done => {
                let typed = std::mem::take(&mut field.text);
                if self.choosing {
                    let row = self.place.row(START + 1);
                    match self.settings.set(row, &typed) {
                        Ok(()) => (self.typing, self.note) = (None, None),
                        Err(why) => {
                            field.text = typed;
                            self.note = Some(why.into());
                        }
                    }
                } else {
                    self.typing = None;
                    self.say(typed);
                }
            }
        }
        true
    }

    fn scroll_by(&mut self, key: &str) -> bool {
        self.scroll = match key {
            "k" | "up" => self.scroll + 1,
            "j" | "down" => self.scroll.saturating_sub(1),
            "pgup" | "ctrl-u" => self.scroll + 10,
            "pgdn" | "ctrl-d" => self.scroll.saturating_sub(10),
            "g" | "home" => usize::MAX / 2,
            "G" | "end" => 0,
            _ => return false,
        };
        true
    }
}

/// What a chat adds, as the engine has said.
fn need(state: &State) -> Option<u64> {
    let head = state.started.as_ref()?;
    (head.chat_bytes > 0).then_some(head.chat_bytes)
}

impl Panel for Chat {
    fn title(&self) -> Text {
        Text::new("Chat", "对话")
    }

    fn keys(&self) -> &'static [PanelKey] {
        const KEYS: &[PanelKey] = &[
            PanelKey {
                keys: &["enter"],
                label: Text::new("say", "输入"),
                help: Text::new(
                    "say something, or change the chosen setting; Esc stops an answer or leaves the field",
                    "输入文字或修改所选设置; Esc 停止回答或离开输入框",
                ),
            },
            PanelKey {
                keys: &["o"],
                label: Text::new("settings", "设置"),
                help: Text::new("settings, or back to the conversation", "设置, 或回到对话"),
            },
            PanelKey {
                keys: &["n"],
                label: Text::new("new", "重新开始"),
                help: Text::new("begin the conversation anew", "重新开始对话"),
            },
            PanelKey {
                keys: &["d"],
                label: Text::new("end", "结束"),
                help: Text::new(
                    "end the chat and give its memory back",
                    "结束对话并释放其内存",
                ),
            },
            list::KEYS,
        ];
        KEYS
    }

    fn handle(&mut self, key: &str, state: &State, _: &mut View, asked: &mut Vec<Command>) -> bool {
        if self.type_key(key) {
            return true;
        }
        match key {
            "esc" if self.busy() => {
                if let Link::Open { partner, .. } = &self.link {
                    partner.stop();
                }
            }
            "o" => {
                self.choosing = !self.choosing;
                self.note = None;
            }
            "n" => {
                if let (Link::Open { partner, .. }, false) = (&self.link, self.busy()) {
                    partner.forget();
                    self.turns.clear();
                }
            }
            "d" => {
                self.end();
                self.choosing = true;
            }
            "enter" if self.choosing => {
                let row = self.place.row(START + 1);
                if row == START {
                    self.start(state, asked);
                } else {
                    self.typing = Some(Field::with(&self.settings.value(row)));
                }
            }
            "enter" => {
                if matches!(self.link, Link::Open { busy: false, .. }) {
                    self.typing = Some(Field::default());
                }
            }
            key if self.choosing => return self.place.handle(key, START + 1),
            key => return self.scroll_by(key),
        }
        true
    }

    fn poll(&mut self, state: &State, _: &mut Vec<Command>) -> bool {
        let mut news = false;
        if let Link::Ordered(desk) = &self.link {
            let waiting = state.pending.iter().any(|p| p.command == Command::Weights);
            if let Some(copied) = desk.fetch() {
                let step = copied.step;
                self.open(Source::Copy(copied), step);
                news = true;
            } else if !waiting {
                // The engine's line says why.
                const NONE: Text = Text::new("the engine gave no weights", "引擎没有给出权重");
                let mut log = state.log.iter().rev();
                let why = log.find(|line| line.text.get(Lang::En).starts_with("weights"));
                let why = why.map_or_else(|| NONE.into(), |line| line.text.clone());
                self.end();
                self.note = Some(why.into());
                news = true;
            }
        }
        while let Link::Opening(partner) | Link::Open { partner, .. } = &mut self.link {
            let Some(told) = partner.poll() else { break };
            self.take(told);
            news = true;
        }
        if self.choosing && self.looked.is_none_or(|at| at.elapsed() > LOOK) {
            self.looked = Some(Instant::now());
            let free = available_bytes();
            news |= free != self.free;
            self.free = free;
        }
        news
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
        if self.choosing {
            self.draw_settings(scene, area, buf);
        } else {
            self.draw_talk(scene, area, buf);
        }
    }
}
