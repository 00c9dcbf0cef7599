//! What comes from the terminal: keys, the mouse, pasted text, and the answer to the question for its background.
//!
//! A thread of its own waits for it ([`crate::ui`] drains the channel), and ends with the terminal.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SendError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event};

use crate::background::{GAP, LATEST, PATIENCE, Sieve, Sieved};
use crate::cost::Clock;
use crate::terminal;

/// How long the thread waits before it looks whether it is still wanted.
const WAIT: Duration = Duration::from_millis(100);

/// Something that came.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// A key, the mouse, pasted text, a new size.
    Event(Event),
    /// Whether the terminal's background is light.
    Light(bool),
}

/// The thread that waits; dropping it ends the thread.
pub struct Inputs {
    /// What came.
    pub channel: Receiver<Input>,
    /// Processor time of the thread.
    pub clock: Clock,
    wanted: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    asked: bool,
    start: Instant,
}

impl Inputs {
    /// Starts it. `asked` says whether the terminal was just asked for its background.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(asked: bool) -> io::Result<Self> {
        let (sender, channel) = channel();
        let wanted = Arc::new(AtomicBool::new(true));
        let flag = Arc::clone(&wanted);
        let start = Instant::now();
        let clock = Clock::default();
        let own = clock.clone();
        let thread = std::thread::Builder::new()
            .name("keys".to_owned())
            // It ends, and with it the channel, once the terminal is gone or nobody listens.
            .spawn(move || drop(read(&sender, &flag, &own, Sieve::new(asked), start)))?;
        Ok(Self {
            channel,
            clock,
            wanted,
            thread,
            asked,
            start,
        })
    }

    /// Waits a moment for the terminal's background, if it was asked for. Returns all that came meanwhile.
    pub fn first(&self) -> Vec<Input> {
        let mut inputs = Vec::new();
        while self.asked && !matches!(inputs.last(), Some(Input::Light(_))) {
            let left = PATIENCE.saturating_sub(self.start.elapsed());
            match self.channel.recv_timeout(left) {
                Ok(input) => inputs.push(input),
                Err(_) => break,
            }
        }
        inputs
    }
}

impl Drop for Inputs {
    fn drop(&mut self) {
        self.wanted.store(false, Ordering::SeqCst);
        // Half an escape sequence keeps the thread in a read until the next key; it is not worth waiting for.
        let begin = Instant::now();
        let under_way = if self.asked {
            LATEST.saturating_sub(self.start.elapsed())
        } else {
            Duration::ZERO
        };
        while !self.thread.is_finished() && begin.elapsed() < under_way + 3 * WAIT {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn read(
    sender: &Sender<Input>,
    wanted: &AtomicBool,
    clock: &Clock,
    mut sieve: Sieve,
    start: Instant,
) -> Result<(), SendError<Input>> {
    let send = |events: Vec<Event>| {
        let mut inputs = events.into_iter().map(Input::Event);
        inputs.try_for_each(|input| sender.send(input))
    };
    // An answer that is under way is not left to whoever reads next.
    while wanted.load(Ordering::SeqCst) || (sieve.awaits() && start.elapsed() < LATEST) {
        clock.note();
        match event::poll(if sieve.holds() { GAP } else { WAIT }) {
            Ok(true) => {
                let Ok(event) = event::read() else { break };
                match sieve.take(event) {
                    Sieved::Keys(events) => send(events)?,
                    Sieved::Answer(Some(light)) => sender.send(Input::Light(light))?,
                    Sieved::Answer(None) | Sieved::Held => {}
                }
            }
            Ok(false) if sieve.holds() => send(sieve.release())?,
            // A terminal that was closed has no input and says nothing else.
            Ok(false) if terminal::is_alive() => {}
            _ => break,
        }
    }
    Ok(())
}
