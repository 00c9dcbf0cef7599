//! What tests of a running engine share: a run started in this process, its events, and answers to commands.

use engine::infer::chat::Desk;
use engine::launch::{Launched, Request as Launch, launch};
use engine::link::{Body, Client, Command, Event, Interrupt, Request};
use engine::run_folder::EventReader;
use engine::train::run::Ending;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// A run that is on.
pub struct Running {
    pub interrupt: Interrupt,
    pub folder: PathBuf,
    pub desk: Desk,
    client: Client,
    thread: JoinHandle<Ending>,
    asked: u64,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub refused: bool,
    pub message: String,
    /// The events between the question and the answer.
    pub before: Vec<Body>,
}

/// Starts, or with `resume` goes on with, the run `name` below `place`, whose configuration is `c.toml` there.
pub fn start(place: &Path, name: &str, sets: &[&str], resume: bool) -> Running {
    let interrupt = Interrupt::default();
    let request = Launch {
        file: Some(place.join("c.toml")),
        flags: sets.iter().map(|set| (*set).to_owned()).collect(),
        runs: place.join("runs"),
        name: Some(name.to_owned()),
        resume,
        ..Launch::default()
    };
    let Launched {
        client,
        thread,
        folder,
        desk,
        ..
    } = launch(&request, &interrupt, &mut |_| {}).expect("it starts");
    Running {
        interrupt,
        folder,
        desk,
        client,
        thread,
        asked: 0,
    }
}

impl Running {
    fn next(&self, what: &str) -> Event {
        let event = self.client.events.recv_timeout(PATIENCE);
        event.unwrap_or_else(|error| panic!("no {what}: {error}"))
    }

    /// Waits for an event.
    pub fn wait(&self, what: &str, is: impl Fn(&Body) -> bool) -> Body {
        loop {
            let event = self.next(what);
            assert!(!matches!(event.body, Body::Failed { .. }), "{event:?}");
            if is(&event.body) {
                return event.body;
            }
        }
    }

    /// Waits until a step is done.
    pub fn wait_for_step(&self, step: u64) {
        self.wait(
            "step",
            |body| matches!(body, Body::Step(done) if done.step >= step),
        );
    }

    /// Asks, and waits for nothing. Returns the request's number.
    pub fn post(&mut self, command: Command) -> u64 {
        self.asked += 1;
        let id = self.asked;
        let request = Request { id, command };
        self.client.requests.send(request).expect("an engine");
        id
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, command: Command) -> Answer {
        let id = self.post(command);
        let mut before = Vec::new();
        loop {
            match self.next("answer").body {
                Body::Reply {
                    id: of,
                    refused,
                    message,
                    ..
                } if of == id => {
                    return Answer {
                        refused,
                        message,
                        before,
                    };
                }
                body => before.push(body),
            }
        }
    }

    /// Asks for what must not be refused.
    pub fn obeys(&mut self, command: Command) -> Answer {
        let word = command.word();
        let answer = self.ask(command);
        assert!(!answer.refused, "{word}: {}", answer.message);
        answer
    }

    /// Asks for what must be refused; returns why.
    pub fn refuses(&mut self, command: Command) -> String {
        let word = command.word();
        let answer = self.ask(command);
        assert!(answer.refused, "{word}: {}", answer.message);
        answer.message
    }

    /// Changes a live key.
    pub fn set(&mut self, key: &str, value: &str) {
        self.obeys(Command::Set {
            key: key.to_owned(),
            value: value.to_owned(),
        });
    }

    /// Waits for the end, and asks then. Returns how many commands an engine still took.
    pub fn after_the_end(self, commands: impl Iterator<Item = Command>) -> (usize, Ending) {
        let Self { client, thread, .. } = self;
        let Client { requests, events } = client;
        for event in events {
            drop(event);
        }
        let ending = thread.join().expect("an engine that does not panic");
        let taken = commands.filter(|command| {
            let command = command.clone();
            requests.send(Request { id: 1, command }).is_ok()
        });
        (taken.count(), ending)
    }

    /// Waits for the end.
    pub fn end(self) -> Ending {
        let begin = Instant::now();
        let Self { client, thread, .. } = self;
        for _ in client.events {
            assert!(begin.elapsed() < PATIENCE, "it does not end");
        }
        thread.join().expect("an engine that does not panic")
    }
}

/// Loss and gradient norm of every step that counts, as bits, with the attempt that made it.
pub fn rows(run: &Path) -> BTreeMap<u64, (u64, u64, u32)> {
    let mut rows = BTreeMap::new();
    for event in EventReader::open(run).expect("a record") {
        if let Body::Step(step) = event.body {
            let row = (step.loss.to_bits(), step.grad_norm.to_bits(), step.attempt);
            rows.insert(step.step, row);
        }
    }
    rows
}

/// The same without the attempts.
pub fn losses(run: &Path) -> BTreeMap<u64, (u64, u64)> {
    let rows = rows(run).into_iter();
    rows.map(|(step, (loss, norm, _))| (step, (loss, norm)))
        .collect()
}
