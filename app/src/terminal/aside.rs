//! What others print while the screen is up: a library's warning, a child's complaint. It would stand between the cells, so
//! standard output and error lead to a file meanwhile; they lead back before the terminal is given back.

use std::fs::OpenOptions;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::{io, mem};

use rustix::stdio::{dup2_stderr, dup2_stdout};

/// Where the two led before; none while they lead there still.
static ASIDE: Mutex<Option<Streams>> = Mutex::new(None);

struct Streams {
    out: OwnedFd,
    err: OwnedFd,
}

/// Lets standard output and error lead to the end of `file` until [`give_back`]. Where that cannot be, nothing happens: the
/// screen is drawn anew when it is asked for.
pub fn turn(file: &Path) {
    let mut aside = ASIDE.lock().unwrap_or_else(PoisonError::into_inner);
    if aside.is_none() {
        *aside = try_turn(file).ok();
    }
}

fn try_turn(file: &Path) -> io::Result<Streams> {
    let log = OpenOptions::new().create(true).append(true).open(file)?;
    let out = io::stdout().as_fd().try_clone_to_owned()?;
    let err = io::stderr().as_fd().try_clone_to_owned()?;
    dup2_stderr(&log)?;
    if let Err(error) = dup2_stdout(&log) {
        let _ = dup2_stderr(&err);
        return Err(error.into());
    }
    Ok(Streams { out, err })
}

/// Lets them lead where they led before.
pub fn give_back() {
    let mut aside = ASIDE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(streams) = mem::take(&mut *aside) else {
        return;
    };
    // Nothing can be done about a system that refuses.
    let _ = dup2_stderr(&streams.err);
    let _ = dup2_stdout(&streams.out);
}

/// Whether the terminal that standard output led to is still there.
pub fn is_alive() -> bool {
    let aside = ASIDE.lock().unwrap_or_else(PoisonError::into_inner);
    match aside.as_ref() {
        Some(streams) => rustix::termios::tcgetattr(&streams.out).is_ok(),
        None => rustix::termios::tcgetattr(io::stdout()).is_ok(),
    }
}
