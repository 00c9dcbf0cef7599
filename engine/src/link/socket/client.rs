//! The other end of the control socket: a process that asks a running engine for something.

use super::{
    ADDRESS, Address, Answer, Ask, Greeting, Hello, LONGEST_MESSAGE, Role, VERSION, Welcome, line,
};
use crate::link::Command;
use crate::run_folder::{Holder, holder, host};
use std::fs;
use std::io::{self, BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the engine's process may take for an answer: it answers between two instructions, not between two steps.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// No answer is worth a longer wait, and the clock has an end.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

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
    /// How long it waits for an answer.
    limit: Duration,
}

impl Control {
    /// Connects to the engine of the run in this folder.
    ///
    /// # Errors
    /// If it is not on, cannot be reached, or refuses.
    pub fn connect(run: &Path, role: Role) -> Result<Self, ControlError> {
        Self::connect_within(run, role, PATIENCE)
    }

    /// As [`Self::connect`], by a process that waits no longer than `limit` for the connection, and as long for each answer
    /// later on, unless it says otherwise ([`Self::wait_at_most`]).
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub fn connect_within(run: &Path, role: Role, limit: Duration) -> Result<Self, ControlError> {
        let limit = limit.min(LONGEST_WAIT);
        let deadline = Instant::now() + limit;
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
        // That waits for nobody: the system takes connections in the name of a process that is stopped.
        let stream = match UnixStream::connect(&address.socket) {
            Ok(stream) => stream,
            Err(_) if address.host != host() => {
                let host = address.host;
                return Err(ControlError::Elsewhere { run: name(), host });
            }
            Err(error) => return Err(unreachable(why(&error, limit))),
        };
        let mut connection = Line::new(stream);
        let greeting = Greeting {
            hello: Hello {
                version: VERSION,
                role,
            },
        };
        match connection.exchange(&line(&greeting), deadline) {
            Ok(Answer::Hello(welcome)) => Ok(Self {
                line: connection,
                welcome,
                limit,
            }),
            Ok(Answer::Refused(reason)) => Err(ControlError::Refused(reason)),
            Ok(Answer::Accepted(_)) => Err(unreachable("it greets in another way".to_owned())),
            Err(error) => Err(unreachable(why(&error, limit))),
        }
    }

    /// Waits no longer than `limit` for an answer from now on.
    pub fn wait_at_most(&mut self, limit: Duration) {
        self.limit = limit.min(LONGEST_WAIT);
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
        let deadline = Instant::now() + self.limit;
        match self.line.exchange(&line(&Ask { id, command }), deadline) {
            Ok(Answer::Accepted(id)) => Ok(id),
            Ok(Answer::Refused(reason)) => Err(ControlError::Refused(reason)),
            Ok(Answer::Hello(_)) => Err(ControlError::Refused(
                "the engine's process answered something else".to_owned(),
            )),
            Err(error) => Err(ControlError::Refused(format!(
                "the engine's process does not answer ({}); if it was stopped, it may still obey later",
                why(&error, self.limit)
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

    /// Sends a line and reads the one that answers it, both until `deadline`.
    fn exchange(&mut self, line: &[u8], deadline: Instant) -> io::Result<Answer> {
        let stream = self.stream.get_mut();
        let left = deadline.saturating_duration_since(Instant::now());
        // The system takes no time at all for no limit.
        stream.set_write_timeout(Some(left.max(Duration::from_millis(1))))?;
        // A server that refuses at once may be gone before it has read this: its answer is there all the same.
        let sent = stream.write_all(line);
        self.owed += 1;
        let mut answer = Vec::new();
        while self.owed > 0 {
            self.read_line(&mut answer, deadline)?;
            if answer.is_empty() {
                sent?;
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.owed -= 1;
        }
        Ok(serde_json::from_slice(&answer)?)
    }

    /// Reads a line, or as much of one as a message may have; nothing at the end of the connection.
    fn read_line(&mut self, line: &mut Vec<u8>, deadline: Instant) -> io::Result<()> {
        line.clear();
        while line.last() != Some(&b'\n') && line.len() < LONGEST_MESSAGE {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.stream.get_ref().set_read_timeout(Some(left))?;
            let block = match self.stream.fill_buf() {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                block => block?,
            };
            let room = &block[..block.len().min(LONGEST_MESSAGE - line.len())];
            let end = room.iter().position(|&byte| byte == b'\n');
            let taken = end.map_or(room.len(), |end| end + 1);
            line.extend_from_slice(&room[..taken]);
            self.stream.consume(taken);
            if taken == 0 {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// What went wrong, in words: a time that ran out has a poor name in the system.
fn why(error: &io::Error, limit: Duration) -> String {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("no answer within {} s", limit.as_secs_f64())
        }
        _ => error.to_string(),
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
        let mut questions = Line::new(here);
        let soon = |millis| Instant::now() + Duration::from_millis(millis);
        for _ in 0..2 {
            assert!(questions.exchange(b"now?\n", soon(50)).is_err());
        }
        for answer in [
            Answer::Accepted(1),
            Answer::Refused("no".to_owned()),
            Answer::Accepted(3),
        ] {
            there.write_all(&line(&answer)).unwrap();
        }
        assert_eq!(
            questions.exchange(b"now?\n", soon(20_000)).unwrap(),
            Answer::Accepted(3)
        );
        there.write_all(&line(&Answer::Accepted(4))).unwrap();
        drop(there);
        assert_eq!(
            questions.exchange(b"now?\n", soon(20_000)).unwrap(),
            Answer::Accepted(4)
        );
        assert!(questions.exchange(b"now?\n", soon(50)).is_err());
    }

    #[test]
    fn an_answer_in_drops_does_not_stretch_the_limit() {
        let (here, mut there) = UnixStream::pair().unwrap();
        let begin = Instant::now();
        std::thread::scope(|scope| {
            // Each byte comes well within the limit; the line does not.
            scope.spawn(move || {
                while there.write_all(b"{").is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            let limit = begin + Duration::from_millis(200);
            let error = Line::new(here).exchange(b"now?\n", limit).unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                "{error}"
            );
        });
    }
}
