//! The screen's core: keys in, frames and commands out, all of it pure.
//!
//! A key goes from the top down: the dialog, the prompt, the panel on show, then the [`crate::keymap`]. What an action
//! asks of the engine waits in [`Workbench::outbox`]; what it asks of the terminal and the disk in [`Workbench::wants`] and
//! its neighbours; [`crate::ui`] does both. The clock is a number that the caller sets, so every test sees the same frames.

use std::cell::Cell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::link::{Body, Command, Event, Request};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::actions::{Ran, Refused};
use crate::bars;
use crate::bell::{Bell, Least};
use crate::errand::{Errand, News, Verdict};
use crate::lang::{Phrase, Text};
use crate::leave::{Choice, Leave};
use crate::panels::{self, Panel};
use crate::prompt::{Prompt, Said};
use crate::seat::Seat;
use crate::state::{Level, State};
use crate::view::{Scene, View};

#[cfg(test)]
mod alerts;
#[cfg(test)]
pub mod chinese;
mod figures;
#[cfg(test)]
pub mod fixture;
#[cfg(test)]
mod forms;
#[cfg(all(test, unix))]
mod frames;
#[cfg(test)]
mod hands;
mod lines;
#[cfg(test)]
mod looks;
#[cfg(test)]
mod seats;
#[cfg(test)]
mod tests;

pub use figures::Figures;

/// How often it is looked whether the run's folder is still there.
const LOOK: Duration = Duration::from_secs(2);
/// How long a message stands in the footer.
const MESSAGE: Duration = Duration::from_secs(5);

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
    /// What lies over the screen and takes the keys, if anything does.
    pub prompt: Option<Prompt>,
    /// Lines that were typed, the last one last.
    pub history: Vec<String>,
    /// What was just done or refused, and when.
    pub message: Option<(Duration, Level, Phrase)>,
    /// Who tells of alerts.
    pub bell: Bell,
    /// Text for the terminal's clipboard.
    pub clipboard: Option<String>,
    /// The run's configuration file, where this screen may write to it.
    pub file: Option<PathBuf>,
    /// Keys with the values that the file shall say.
    pub to_file: Vec<(String, String)>,
    /// Those that wait for the engine to take them, by request.
    awaited: Vec<(u64, String, String)>,
    /// Whether the screen takes the mouse.
    pub mouse: bool,
    /// What the screen itself costs.
    pub figures: Figures,
    /// Where the last frame was drawn.
    drawn: Cell<Rect>,
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
    /// When the run's folder was last looked for.
    looked: Duration,
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
            prompt: None,
            history: Vec::new(),
            message: None,
            bell: Bell::default(),
            clipboard: None,
            file: None,
            to_file: Vec::new(),
            awaited: Vec::new(),
            mouse: true,
            figures: Figures::default(),
            drawn: Cell::default(),
            outbox: Vec::new(),
            errands: Vec::new(),
            wants: None,
            exit: None,
            leaving: false,
            now: Duration::ZERO,
            interrupted: None,
            heard: Duration::ZERO,
            looked: Duration::ZERO,
            seat: Seat::Own,
            next_id: 1,
            open: true,
        }
    }

    /// Takes an event of the engine.
    pub fn hear(&mut self, event: &Event) {
        if let Body::Step(step) = &event.body
            && !self.state.track.is_empty()
        {
            self.figures.missed += step.step.saturating_sub(self.state.step() + 1);
        }
        self.show_answer(event);
        self.state.apply(event);
        self.bell.hear(event);
        self.heard = self.now;
        self.figures.events += 1;
        self.write_what_was_taken(event);
        // The machine is wanted; a screen of another process may stay.
        let preempted = self.seat == Seat::Own
            && matches!(&event.body, Body::Finished { reason, .. } if reason == "preempted");
        if self.state.status.is_over() && (self.leaving || preempted) {
            self.exit = Some(Exit::Ended);
        }
    }

    /// What the terminal is to be sent for who does not look, if anything.
    pub fn ring(&mut self) -> Option<String> {
        let run = self.state.started.as_ref().map_or("", |head| &head.run);
        self.bell.ring(self.now, run)
    }

    /// The engine is gone: nothing more will come.
    pub fn disconnected(&mut self) {
        self.open = false;
        if !self.state.status.is_over() {
            self.bell
                .note(Least::Error, "the engine ended without a word");
        }
        self.state.disconnected();
        if self.leaving {
            self.exit = Some(Exit::Ended);
        }
    }

    /// Takes a key.
    pub fn press(&mut self, key: &str) {
        self.message = None;
        let bound = self.view.keys.find(key).map(|b| b.line.clone());
        // Whatever is open, there is a way out.
        if key.starts_with("ctrl-") && bound.as_deref() == Some("interrupt") {
            self.dialog = None;
            self.prompt = None;
        } else if let Some(dialog) = &mut self.dialog {
            if let Some(choice) = dialog.handle(key) {
                self.dialog = None;
                self.choose(choice);
            }
            return;
        } else if let Some(mut prompt) = self.prompt.take() {
            match prompt.handle(key, self) {
                Said::Open => self.prompt = Some(prompt),
                said => self.said(said, prompt),
            }
            return;
        } else if self.offer_pressed(key) {
            return;
        }
        if let Some(line) = bound {
            self.start(&line);
        }
    }

    /// Offers a key that was pressed to the panel on show, as the panel's own table spells it. Whether it took it.
    fn offer_pressed(&mut self, key: &str) -> bool {
        let panel = &*self.panels[self.current];
        if panel.types() {
            return self.offer(key);
        }
        let keys = Arc::clone(&self.view.keys);
        let usual = keys
            .panels
            .usual(&panels::name(panel), key)
            .map(str::to_owned);
        usual.is_some_and(|usual| self.offer(&usual))
    }

    /// Offers a key of its table to the panel on show. Whether it took it.
    pub fn offer(&mut self, key: &str) -> bool {
        let request = self.panels[self.current].asks(key);
        if let Some(Err(refused)) = request.map(|word| self.may_ask(word)) {
            self.complain(Err(refused));
            return true;
        }
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
        if let Some(line) = self.view.wish.take() {
            self.start(&line);
        }
        taken
    }

    /// Takes pasted text.
    pub fn paste(&mut self, text: &str) {
        if self.dialog.is_some() {
            return;
        }
        match &mut self.prompt {
            Some(prompt) => prompt.paste(text),
            None => self.panels[self.current].paste(text),
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
        let done = match choice {
            Choice::Stop => self.stop(true),
            Choice::Discard => self.stop(false),
            Choice::Detach => {
                self.exit = Some(Exit::Detach);
                Ok(())
            }
            Choice::Cancel => Ok(()),
        };
        self.complain(done);
    }

    /// Whether the engine may be asked.
    ///
    /// # Errors
    /// If nobody is there to answer, or this screen looks on only.
    pub fn may_ask(&self, word: &str) -> Ran {
        if !self.seat.controls() {
            const LOOKS_ON: Text =
                Text::new("{0}: this screen looks on only", "{0}: 本界面只能旁观");
            return Err(Refused::Because(LOOKS_ON.fill(&[&word])));
        }
        if self.state.status.is_over() {
            const OVER: Text = Text::new("{0}: the run is over", "{0}: 训练已结束");
            return Err(Refused::Because(OVER.fill(&[&word])));
        }
        Ok(())
    }

    /// Lets the screen on show ask for what it needs from time to time.
    pub fn tick(&mut self) {
        if self.state.reach.folder.is_some() && self.now.saturating_sub(self.looked) >= LOOK {
            self.looked = self.now;
            self.errands.push(Errand::Look);
        }
        self.panels[self.current].tick(self.now);
        self.collect();
    }

    fn collect(&mut self) {
        let current = &mut self.panels[self.current];
        self.errands.append(&mut current.errands());
    }

    /// Hands what came of an errand to the screens.
    pub fn deliver(&mut self, news: &News) {
        match news {
            News::Survey(number, Ok(found)) => self.state.survey(*number, found),
            News::Gone(gone) => self.state.find_folder(*gone),
            News::Verified(step, time, found) => {
                match found {
                    Verdict::Whole => self.state.checked(*step, time, Ok(())),
                    Verdict::Damaged(why) => self.state.checked(*step, time, Err(why)),
                    // The next look at the folder says so.
                    Verdict::Gone => {}
                }
                self.tell_verified(*step, found);
            }
            _ => {}
        }
        for panel in &mut self.panels {
            panel.hear(news);
        }
    }

    /// Asks the engine for something.
    ///
    /// # Errors
    /// As [`Self::may_ask`].
    pub fn try_ask(&mut self, command: Command) -> Ran {
        self.may_ask(command.word())?;
        let id = self.next_id;
        self.next_id += 1;
        self.state.sent(id, command.clone());
        self.outbox.push(Request { id, command });
        Ok(())
    }

    /// Asks the engine for something; that it cannot be asked is noted.
    pub fn ask(&mut self, command: Command) {
        let done = self.try_ask(command);
        self.complain(done);
    }

    /// Asks the engine to stop, and leaves once it has.
    ///
    /// # Errors
    /// As [`Self::may_ask`].
    pub fn stop(&mut self, checkpoint: bool) -> Ran {
        self.leaving = true;
        self.try_ask(Command::Stop { checkpoint })
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

    /// What is on show.
    pub fn scene(&self) -> Scene<'_> {
        Scene {
            state: self.frozen.as_deref().unwrap_or(&self.state),
            ..self.live()
        }
    }

    /// Where the last frame was drawn.
    pub fn drawn(&self) -> Rect {
        self.drawn.get()
    }

    fn live(&self) -> Scene<'_> {
        Scene {
            state: &self.state,
            view: &self.view,
            silence: self.now.saturating_sub(self.heard),
            seat: self.seat,
            open: self.open,
        }
    }

    /// Draws everything.
    pub fn render(&self, area: Rect, buf: &mut Buffer) {
        self.drawn.set(area);
        let live = self.live();
        let parts = bars::split(area);
        bars::header(&live, self.frozen.is_some(), parts.header, buf);
        bars::tabs(&live, &self.panels, self.current, parts.tabs, buf);
        self.panels[self.current].render(&self.scene(), parts.body, buf);
        bars::progress(&live, parts.progress, buf);
        let fresh = |m: &&(Duration, Level, Phrase)| self.now.saturating_sub(m.0) < MESSAGE;
        match self.message.as_ref().filter(fresh) {
            Some((_, level, text)) => bars::message(&live, *level, text, parts.footer, buf),
            None => bars::footer(&live, &*self.panels[self.current], parts.footer, buf),
        }
        let pace = self.state.step_seconds.ema.last().map(f64::from);
        self.figures.render(&self.view, pace, area, buf);
        if let Some(prompt) = &self.prompt {
            prompt.render(self, area, buf);
        }
        if let Some(dialog) = &self.dialog {
            dialog.render(&self.state, &self.view, area, buf);
        }
    }
}
