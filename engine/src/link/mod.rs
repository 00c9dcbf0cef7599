//! What crosses the border between the engine and everybody else: [`Event`]s out, [`Command`]s in.
//!
//! The engine writes every event to the run's folder itself; the terminal UI, headless mode and readers of old runs all
//! understand the same lines. The JSON form is a contract: fields are added, never renamed (schema 1).

mod attention;
mod command;
mod event;
mod interrupt;
pub mod number;
pub mod numbers;
#[cfg(unix)]
pub mod socket;
mod system;
#[cfg(test)]
mod tests;

pub use attention::Attention;
pub use command::{Command, Request};
pub use event::{
    Alert, AlertBatch, Body, Change, ConfigValue, Eval, Event, Layers, Memory, SCHEMA, Started,
    Step,
};
pub use interrupt::{Doing, Interrupt, Urgency};
pub use system::{Gpu, Planned, PlannedAt, PlannedBuffer, Profiled, ProfiledLine, System};

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// The engine's end of the link.
#[derive(Debug)]
pub struct EngineLink {
    /// Requests, to be read at boundaries.
    pub requests: Receiver<Request>,
    events: Option<SyncSender<Event>>,
    waiting: VecDeque<Event>,
    dropped: u64,
}

/// The other end: a screen, a printer, a test.
#[derive(Debug)]
pub struct Client {
    /// Where commands go.
    pub requests: SyncSender<Request>,
    /// What happens.
    pub events: Receiver<Event>,
}

const EVENTS: usize = 1024;
const WAITING: usize = 65_536;

/// A link between an engine and a client, with bounded channels.
pub fn link() -> (EngineLink, Client) {
    let (request_sender, request_receiver) = sync_channel(64);
    let (event_sender, event_receiver) = sync_channel(EVENTS);
    let engine = EngineLink {
        requests: request_receiver,
        events: Some(event_sender),
        waiting: VecDeque::new(),
        dropped: 0,
    };
    (
        engine,
        Client {
            requests: request_sender,
            events: event_receiver,
        },
    )
}

impl EngineLink {
    /// Hands an event over without ever waiting: a slow reader gets it later, a very slow one loses the oldest (they are
    /// in the run's folder), a reader that has gone is forgotten.
    pub fn emit(&mut self, event: Event) {
        let Some(sender) = &self.events else { return };
        self.waiting.push_back(event);
        while let Some(event) = self.waiting.pop_front() {
            match sender.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.waiting.push_front(event);
                    if self.waiting.len() > WAITING {
                        self.waiting.pop_front();
                        self.dropped += 1;
                    }
                    return;
                }
                Err(TrySendError::Disconnected(_)) => {
                    self.events = None;
                    self.waiting.clear();
                    return;
                }
            }
        }
    }

    /// Delivers what is left, waiting for the reader: for the last events of a run.
    pub fn flush(&mut self) {
        if let Some(sender) = &self.events {
            for event in self.waiting.drain(..) {
                if sender.send(event).is_err() {
                    break;
                }
            }
        }
    }

    /// Events that a very slow reader lost.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}
