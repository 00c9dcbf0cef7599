//! Lines of the [`crate::actions`]: from keys, from the command line, from the palette; and what comes out of them.

use engine::link::{Body, Event};

use super::Workbench;
use crate::actions::{self, Action, Ran, Refused};
use crate::command_line::CommandLine;
use crate::edit::Edit;
use crate::errand::Verdict;
use crate::lang::{Phrase, Text};
use crate::palette::Palette;
use crate::prompt::{Confirm, Prompt, Said};
use crate::state::Level;
use crate::text;

/// Lines that the history keeps.
const HISTORY: usize = 200;

impl Workbench {
    /// Carries a line out.
    ///
    /// # Errors
    /// If it is refused, or wants more words.
    pub fn run_line(&mut self, line: &str) -> Ran {
        let (action, argument) = actions::parse(line).map_err(Refused::Because)?;
        // Said before more is typed for nothing.
        self.may_run(action)?;
        if argument.is_empty() && action.wants_more() {
            return Err(Refused::Unfinished);
        }
        action.run(argument, self)
    }

    fn may_run(&self, action: &Action) -> Ran {
        if action.asks {
            self.may_ask(action.name)?;
        }
        Ok(())
    }

    /// Carries a line of a key or the palette out; what weighs is asked first, what wants more words is finished on the
    /// command line.
    pub fn start(&mut self, line: &str) {
        let weighs = actions::parse(line)
            .ok()
            .filter(|(action, argument)| !(argument.is_empty() && action.wants_more()))
            .filter(|(action, _)| self.may_run(action).is_ok())
            .and_then(|(action, argument)| Some((argument, action.weighs?)));
        if let Some((argument, result)) = weighs {
            let result = result(argument, self);
            self.prompt = Some(Prompt::Confirm(Confirm::new(line, result)));
            return;
        }
        match self.run_line(line) {
            Err(Refused::Unfinished) => self.open_line(&format!("{line} ")),
            done => self.complain(done),
        }
    }

    /// Does what a prompt came to.
    pub(super) fn said(&mut self, said: Said, prompt: Prompt) {
        match said {
            Said::Open => self.prompt = Some(prompt),
            Said::Closed => {}
            Said::Typed(line) => self.typed(&line),
            Said::Chosen(line) => self.start(&line),
            Said::Sure(line) => {
                let done = self.run_line(&line);
                self.complain(done);
            }
            Said::Change => {
                if let Prompt::Edit(edit) = prompt {
                    let done = self.change(&edit);
                    self.complain(done);
                }
            }
        }
    }

    fn typed(&mut self, line: &str) {
        if line.is_empty() {
            return;
        }
        self.history.retain(|have| have != line);
        self.history.push(line.to_owned());
        let excess = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..excess);
        match self.run_line(line) {
            Ok(()) => {}
            Err(Refused::Unfinished) => self.open_line(&format!("{line} ")),
            Err(Refused::Because(why)) => {
                self.prompt = Some(Prompt::Line(CommandLine::refused(line, why)));
            }
        }
    }

    /// Opens the command line with the beginning of a line.
    pub fn open_line(&mut self, text: &str) {
        self.prompt = Some(Prompt::Line(CommandLine::with(text)));
    }

    /// Opens the palette.
    pub fn open_palette(&mut self) {
        self.prompt = Some(Prompt::Palette(Palette::new(self)));
    }

    /// Opens the form of a change.
    pub fn open_edit(&mut self, edit: Edit) {
        self.prompt = Some(Prompt::Edit(Box::new(edit)));
    }

    /// Asks the engine for a change, and notes what the file shall say once the engine has taken it.
    ///
    /// # Errors
    /// As [`Self::may_ask`].
    pub fn change(&mut self, edit: &Edit) -> Ran {
        for (command, (key, text)) in edit.commands().into_iter().zip(edit.pairs()) {
            let id = self.next_id;
            self.try_ask(command)?;
            if edit.to_file && self.file.is_some() {
                self.awaited.push((id, key, text));
            }
        }
        Ok(())
    }

    /// What the engine took goes into the file, if the person wanted that.
    pub(super) fn write_what_was_taken(&mut self, event: &Event) {
        let Body::Reply { id, refused, .. } = &event.body else {
            return;
        };
        if let Some(at) = self.awaited.iter().position(|(awaited, ..)| awaited == id) {
            let (_, key, text) = self.awaited.remove(at);
            if !refused {
                self.to_file.push((key, text));
            }
        }
    }

    /// Shows what the engine answered to a wish of this screen about checkpoints: their list has no line for it.
    pub(super) fn show_answer(&mut self, event: &Event) {
        let Body::Reply {
            id,
            command,
            refused,
            message,
            ..
        } = &event.body
        else {
            return;
        };
        let shelf = matches!(command.as_str(), "tag" | "untag" | "delete" | "verify");
        if shelf && self.state.pending.iter().any(|pending| pending.id == *id) {
            let level = if *refused { Level::Warn } else { Level::Good };
            self.message = Some((self.now, level, message.clone().into()));
        }
    }

    /// Says what was done, in the footer.
    pub fn tell(&mut self, text: impl Into<Phrase>) {
        self.message = Some((self.now, Level::Info, text.into()));
    }

    /// Says what came of verifying a checkpoint here, in the footer.
    pub(super) fn tell_verified(&mut self, step: u64, found: &Verdict) {
        const WHOLE: Text = Text::new(
            "the checkpoint of step {0} is what was written",
            "第 {0} 步的检查点与写入时一致",
        );
        const DAMAGED: Text = Text::new(
            "the checkpoint of step {0} is damaged: {1}",
            "第 {0} 步的检查点已损坏: {1}",
        );
        const GONE: Text = Text::new(
            "the checkpoint of step {0} was deleted or set aside meanwhile",
            "第 {0} 步的检查点其间已被删除或移开",
        );
        let step = text::count(step);
        let (level, told) = match found {
            Verdict::Whole => (Level::Good, WHOLE.fill(&[&step])),
            Verdict::Damaged(why) => (Level::Bad, DAMAGED.fill(&[&step, &Phrase::from(why)])),
            Verdict::Gone => (Level::Warn, GONE.fill(&[&step])),
        };
        self.message = Some((self.now, level, told));
    }

    /// Says why something was not done, in the footer and in the log.
    pub fn complain(&mut self, done: Ran) {
        if let Err(Refused::Because(why)) = done {
            self.state.note(Level::Warn, why.clone());
            self.message = Some((self.now, Level::Warn, why));
        }
    }
}
