//! The screen's core: keys in, frames and commands out, all of it pure.
//!
//! A key goes from the top down: the dialog, the panel on show, then the [`keymap`]. What an action asks of the engine
//! waits in [`Workbench::outbox`]; what it asks of the terminal in [`Workbench::wants`]; [`crate::ui`] does both. The
//! clock is a number that the caller sets, so every test sees the same frames.

use std::time::Duration;

use engine::link::{Body, Command, Event, Request};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::errand::{Errand, News};
use crate::leave::{Choice, Leave};
use crate::panels::{self, Panel};
use crate::seat::Seat;
use crate::state::{Level, State};
use crate::view::{Scene, View};
use crate::{bars, keymap};

#[cfg(test)]
pub mod fixture;
#[cfg(all(test, unix))]
mod frames;
#[cfg(test)]
mod tests;

/// Why the screen closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The run is over.
    Ended,
    /// Training goes on without this screen.
    Detach,
    /// Exit at once, without waiting for the engine.
    Hard,
}

/// What the terminal shall do before the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Stop the process until it is continued.
    Suspend,
    /// Draw every cell anew.
    Redraw,
}

/// The core; see the module's page.
pub struct Workbench {
    /// The run.
    pub state: State,
    /// The run as it was when the display was frozen.
    pub frozen: Option<Box<State>>,
    /// How it is looked at.
    pub view: View,
    /// The screens, the help last.
    pub panels: Vec<Box<dyn Panel>>,
    /// The screen on show.
    pub current: usize,
    /// The screen before it.
    pub previous: usize,
    /// The dialog on top, if one is open.
    pub dialog: Option<Leave>,
    /// Requests to be sent.
    pub outbox: Vec<Request>,
    /// What shall be done in the folder of runs.
    pub errands: Vec<Errand>,
    /// What the terminal shall do.
    pub wants: Option<Wants>,
    /// Set once the screen shall close.
    pub exit: Option<Exit>,
    /// Close as soon as the run is over: leaving was already asked for.
    pub leaving: bool,
    /// Time since the start of the screen, set by the caller.
    pub now: Duration,
    /// When the first Ctrl-C came.
    pub interrupted: Option<Duration>,
    /// When the engine last said something.
    pub heard: Duration,
    /// What this screen is to the run.
    pub seat: Seat,
    /// Number of the next request.
    pub next_id: u64,
    /// Whether the engine may say more.
    open: bool,
}

impl Workbench {
    /// The workbench before the first event.
    pub fn new(view: View) -> Self {
        Self {
            state: State::new(view.beta()),
            frozen: None,
            view,
            panels: panels::all(),
            current: 0,
            previous: 0,
            dialog: None,
            outbox: Vec::new(),
            errands: Vec::new(),
            wants: None,
            exit: None,
            leaving: false,
            now: Duration::ZERO,
            interrupted: None,
            heard: Duration::ZERO,
            seat: Seat::Own,
            next_id: 1,
            open: true,
        }
    }

    /// Takes an event of the engine.
    pub fn hear(&mut self, event: &Event) {
        self.state.apply(event);
        self.heard = self.now;
        // The machine is wanted; a screen of another process may stay.
        let preempted = self.seat == Seat::Own
            && matches!(&event.body, Body::Finished { reason, .. } if reason == "preempted");
        if self.state.status.is_over() && (self.leaving || preempted) {
            self.exit = Some(Exit::Ended);
        }
    }

    /// The engine is gone: nothing more will come.
    pub fn disconnected(&mut self) {
        self.open = false;
        self.state.disconnected();
        if self.leaving {
            self.exit = Some(Exit::Ended);
        }
    }

    /// Takes a key.
    pub fn press(&mut self, key: &str) {
        // Ctrl-C works everywhere, in dialogs and fields too.
        if key == "ctrl-c" {
            self.dialog = None;
        } else if let Some(dialog) = &mut self.dialog {
            if let Some(choice) = dialog.handle(key) {
                self.dialog = None;
                self.choose(choice);
            }
            return;
        } else {
            let state = self.frozen.as_deref().unwrap_or(&self.state);
            let mut asked = Vec::new();
            let taken = self.panels[self.current].handle(key, state, &mut self.view, &mut asked);
            for command in asked {
                self.ask(command);
            }
            self.collect();
            if std::mem::take(&mut self.view.to_charts) {
                self.show(0);
            }
            if taken {
                return;
            }
        }
        if let Some(action) = keymap::find(key) {
            (action.run)(key, self);
        }
    }

    /// Lets every screen do what waits for no key. Returns whether there is something new to draw.
    pub fn poll(&mut self) -> bool {
        let mut asked = Vec::new();
        let mut news = false;
        for panel in &mut self.panels {
            news |= panel.poll(&self.state, &mut asked);
        }
        for command in asked {
            self.ask(command);
        }
        news
    }

    fn choose(&mut self, choice: Choice) {
        match choice {
            Choice::Stop => self.stop(true),
            Choice::Discard => self.stop(false),
            Choice::Detach => self.exit = Some(Exit::Detach),
            Choice::Cancel => {}
        }
    }

    /// Lets the screen on show ask for what it needs from time to time.
    pub fn tick(&mut self) {
        self.panels[self.current].tick(self.now);
        self.collect();
    }

    fn collect(&mut self) {
        let current = &mut self.panels[self.current];
        self.errands.append(&mut current.errands());
    }

    /// Hands what came of an errand to the screens.
    pub fn deliver(&mut self, news: &News) {
        for panel in &mut self.panels {
            panel.hear(news);
        }
    }

    /// Asks the engine for something.
    pub fn ask(&mut self, command: Command) {
        if !self.seat.controls() {
            let message = format!("{}: this screen looks on only", command.word());
            self.state.note(Level::Warn, &message);
            return;
        }
        if self.state.status.is_over() {
            let message = format!("{}: the run is over", command.word());
            self.state.note(Level::Warn, &message);
            return;
        }
        let id = self.next_id;
        self.next_id += 1;
        self.state.sent(id, command.clone());
        self.outbox.push(Request { id, command });
    }

    /// Asks the engine to stop, and leaves once it has.
    pub fn stop(&mut self, checkpoint: bool) {
        self.leaving = true;
        self.ask(Command::Stop { checkpoint });
    }

    /// Goes to a screen, if there is one of that number.
    pub fn show(&mut self, panel: usize) {
        if panel < self.panels.len() && panel != self.current {
            self.previous = self.current;
            self.current = panel;
        }
    }

    /// The view, to be changed, with the run that is on show.
    pub fn looked_at(&mut self) -> (&mut View, &State) {
        let state = self.frozen.as_deref().unwrap_or(&self.state);
        (&mut self.view, state)
    }

    /// Draws everything.
    pub fn render(&self, area: Rect, buf: &mut Buffer) {
        let live = Scene {
            state: &self.state,
            view: &self.view,
            silence: self.now.saturating_sub(self.heard),
            seat: self.seat,
            open: self.open,
        };
        let parts = bars::split(area);
        bars::header(&live, self.frozen.is_some(), parts.header, buf);
        bars::tabs(&live, &self.panels, self.current, parts.tabs, buf);
        let shown = Scene {
            state: self.frozen.as_deref().unwrap_or(&self.state),
            ..live
        };
        self.panels[self.current].render(&shown, parts.body, buf);
        bars::progress(&live, parts.progress, buf);
        bars::footer(&live, &*self.panels[self.current], parts.footer, buf);
        if let Some(dialog) = &self.dialog {
            dialog.render(&self.state, &self.view, area, buf);
        }
    }
}
