//! The other end of the control socket: a process that asks a running engine for something.

use super::{
    ADDRESS, Address, Answer, Ask, Greeting, Hello, LONGEST_MESSAGE, Role, VERSION, Welcome, line,
};
use crate::link::Command;
use crate::run_folder::{Holder, holder, host};
use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long the engine's process may take for an answer: it answers between two instructions, not between two steps.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a run is not reached, or does not take a request.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody trains this run.
    #[error(
        "run {run} is not running: zerollm train --run {run} --resume goes on with it, zerollm watch {run} shows its record"
    )]
    NotRunning {
        /// The run.
        run: String,
    },
    /// The run is on, on another machine.
    #[error(
        "run {run} is on another machine, {host}: ask there, or make a file such as ctl/pause in its folder"
    )]
    Elsewhere {
        /// The run.
        run: String,
        /// The machine.
        host: String,
    },
    /// The run is on, but cannot be reached.
    #[error(
        "run {run} is on but cannot be reached ({why}): make a file such as ctl/pause in its folder instead"
    )]
    Unreachable {
        /// The run.
        run: String,
        /// Why.
        why: String,
    },
    /// The engine's process refused the connection or the request.
    #[error("{0}")]
    Refused(String),
}

/// A connection to a running engine.
#[derive(Debug)]
pub struct Control {
    line: Line,
    welcome: Welcome,
}

impl Control {
    /// Connects to the engine of the run in this folder.
    ///
    /// # Errors
    /// If it is not on, cannot be reached, or refuses.
    pub fn connect(run: &Path, role: Role) -> Result<Self, ControlError> {
        let name = || name(run);
        match holder(run) {
            Holder::Process(_) => {}
            Holder::Elsewhere(host) => return Err(ControlError::Elsewhere { run: name(), host }),
            Holder::Nobody => return Err(ControlError::NotRunning { run: name() }),
        }
        let unreachable = |why: String| ControlError::Unreachable { run: name(), why };
        let Some(address) = address(run) else {
            return Err(unreachable("it has no control socket".to_owned()));
        };
        let stream = match UnixStream::connect(&address.socket) {
            Ok(stream) => stream,
            Err(_) if address.host != host() => {
                let host = address.host;
                return Err(ControlError::Elsewhere { run: name(), host });
            }
            Err(error) => return Err(unreachable(error.to_string())),
        };
        let mut connection = Line::new(stream);
        let greeting = Greeting {
            hello: Hello {
                version: VERSION,
                role,
            },
        };
        let answered = [UnixStream::set_read_timeout, UnixStream::set_write_timeout]
            .iter()
            .try_for_each(|limit| limit(connection.stream.get_ref(), Some(PATIENCE)))
            .and_then(|()| connection.exchange(&line(&greeting)));
        match answered {
            Ok(Answer::Hello(welcome)) => Ok(Self {
                line: connection,
                welcome,
            }),
            Ok(Answer::Refused(reason)) => Err(ControlError::Refused(reason)),
            Ok(Answer::Accepted(_)) => Err(unreachable("it greets in another way".to_owned())),
            Err(error) => Err(unreachable(error.to_string())),
        }
    }

    /// Whom it has reached.
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Asks for something, under a number of the connection's range or the next one; returns the number under which the
    /// run's record will hold the reply.
    ///
    /// # Errors
    /// If the request is refused at once, or the engine's process is gone.
    pub fn ask(&mut self, id: Option<u64>, command: Command) -> Result<u64, ControlError> {
        match self.line.exchange(&line(&Ask { id, command })) {
            Ok(Answer::Accepted(id)) => Ok(id),
            Ok(Answer::Refused(reason)) => Err(ControlError::Refused(reason)),
            Ok(Answer::Hello(_)) => Err(ControlError::Refused(
                "the engine's process answered something else".to_owned(),
            )),
            Err(error) => Err(ControlError::Refused(format!(
                "the engine's process does not answer ({error}); if it was stopped, it may still obey later"
            ))),
        }
    }
}

/// Lines out, and for each a line back.
#[derive(Debug)]
struct Line {
    stream: BufReader<UnixStream>,
    /// Answers that have not come yet: a process that was suspended gives them later, in order.
    owed: usize,
}

impl Line {
    fn new(stream: UnixStream) -> Self {
        Self {
            stream: BufReader::new(stream),
            owed: 0,
        }
    }

    /// Sends a line and reads the one that answers it.
    fn exchange(&mut self, line: &[u8]) -> io::Result<Answer> {
        // A server that refuses at once may be gone before it has read this: its answer is there all the same.
        let sent = self.stream.get_mut().write_all(line);
        self.owed += 1;
        let mut answer = Vec::new();
        while self.owed > 0 {
            answer.clear();
            (&mut self.stream)
                .take(LONGEST_MESSAGE as u64)
                .read_until(b'\n', &mut answer)?;
            if answer.is_empty() {
                sent?;
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.owed -= 1;
        }
        Ok(serde_json::from_slice(&answer)?)
    }
}

fn address(run: &Path) -> Option<Address> {
    serde_json::from_slice(&fs::read(run.join(ADDRESS)).ok()?).ok()
}

/// A run's name, as its folder says it.
fn name(run: &Path) -> String {
    let whole = run.canonicalize().unwrap_or_else(|_| run.to_owned());
    let name = whole.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_answers_are_not_taken_for_those_of_later_questions() {
        let (here, mut there) = UnixStream::pair().unwrap();
        here.set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let mut questions = Line::new(here);
        for _ in 0..2 {
            assert!(questions.exchange(b"now?\n").is_err());
        }
        for answer in [
            Answer::Accepted(1),
            Answer::Refused("no".to_owned()),
            Answer::Accepted(3),
        ] {
            there.write_all(&line(&answer)).unwrap();
        }
        assert_eq!(questions.exchange(b"now?\n").unwrap(), Answer::Accepted(3));
        there.write_all(&line(&Answer::Accepted(4))).unwrap();
        drop(there);
        assert_eq!(questions.exchange(b"now?\n").unwrap(), Answer::Accepted(4));
        assert!(questions.exchange(b"now?\n").is_err());
    }
}
