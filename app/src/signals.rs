//! Signals set flags and do nothing else; the engine and the screen read them.
//!
//! Before training runs, what is being prepared ends at once ([`engine::launch`]). From then on, SIGINT: stop at the next
//! boundary with a checkpoint; a second one exits at once with 130. SIGTERM and SIGUSR1: write a checkpoint and leave the
//! machine (exit 75); a second SIGTERM exits at once with 143. SIGUSR2: write a checkpoint and go on. SIGHUP: the terminal
//! is gone, training goes on. SIGTSTP and SIGCONT: the screen gives the terminal back and claims it again; without a screen
//! the process stops and goes on. A signal that is not answered in time ends the process ([`grace`]).

mod grace;

use crate::ui::Signals;
use engine::link::Urgency;
pub use grace::Grace;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals as Iterator;
use signal_hook::low_level::emulate_default_handler;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Installs the handlers. A thread turns signals into flags, so that no handler does anything that it may not. With `grace`
/// this process trains, and ends by itself if a signal is not answered.
///
/// # Errors
/// If the system refuses.
pub fn install(grace: Option<Grace>) -> io::Result<Signals> {
    let signals = Signals::default();
    // A closed pipe is an error of the write, not the end of training.
    signal_hook::flag::register(SIGPIPE, Arc::new(AtomicBool::new(false)))?;
    let mut received =
        Iterator::new([SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGHUP, SIGTSTP, SIGCONT])?;
    let flags = signals.clone();
    let work = move || {
        let (mut interrupts, mut terminations) = (0, 0);
        let mut grace = grace;
        let mut ask = |urgency, signal| {
            flags.interrupt.raise(urgency);
            if let Some(grace) = grace.take() {
                grace.begin(&flags.interrupt, signal);
            }
        };
        for signal in received.forever() {
            match signal {
                SIGINT => {
                    interrupts += 1;
                    if interrupts > 1 {
                        leave(130);
                    }
                    ask(Urgency::Stop, "SIGINT");
                }
                SIGTERM => {
                    terminations += 1;
                    if terminations > 1 {
                        leave(143);
                    }
                    ask(Urgency::Preempt, "SIGTERM");
                }
                SIGUSR1 => ask(Urgency::Preempt, "SIGUSR1"),
                SIGUSR2 => flags.interrupt.raise_checkpoint(),
                SIGHUP => flags.hangup.store(true, Ordering::SeqCst),
                SIGTSTP if crate::terminal::is_claimed() => {
                    flags.suspend.store(true, Ordering::SeqCst);
                }
                // Without a screen there is nothing to give back: stop as any program does. It fails for no signal that
                // has a default action, and this one has.
                SIGTSTP => drop(emulate_default_handler(SIGTSTP)),
                SIGCONT => flags.resumed.store(true, Ordering::SeqCst),
                _ => {}
            }
        }
    };
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(work)?;
    Ok(signals)
}

/// Exits at once: the terminal is given back, nothing else is waited for.
pub fn leave(code: u8) -> ! {
    grace::exit(code, String::new())
}
