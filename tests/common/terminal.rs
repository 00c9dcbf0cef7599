//! A pseudo-terminal with a program in it: what it writes is kept with the time at which it came, keys are pressed from
//! outside.
//!
//! `setsid --ctty` makes the pseudo-terminal the program's own; where there is none, nothing can be started.

use crate::PATIENCE;
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

/// What the program has written.
#[derive(Default)]
pub struct Written {
    /// All of it.
    pub bytes: Vec<u8>,
    /// When it came, since the start, and how many bytes there were then.
    pub pieces: Vec<(Duration, usize)>,
}

/// A terminal with a program in it.
pub struct Terminal {
    pub child: Child,
    keys: File,
    /// Kept open, so that the terminal's modes can be looked at when the program is gone.
    pub screen: File,
    pub written: Arc<Mutex<Written>>,
    pub reader: Option<JoinHandle<()>>,
    size: (u16, u16),
}

impl Terminal {
    /// Starts `program` in a terminal of `size` (columns, rows), as `settle` wants it; none where that cannot be done.
    pub fn open(
        program: impl AsRef<OsStr>,
        size: (u16, u16),
        settle: impl FnOnce(&mut Command),
    ) -> Option<Self> {
        if Command::new("setsid")
            .args(["--ctty", "true"])
            .output()
            .is_err()
        {
            eprintln!("skipped: no setsid here");
            return None;
        }
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let cells = Winsize {
            ws_row: size.1,
            ws_col: size.0,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, cells).expect("a size");
        let name = ptsname(&master, Vec::new()).expect("a name");
        let screen = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NOCTTY.bits().cast_signed())
            .open(name.to_str().expect("a path"))
            .expect("its other end");
        let end = || screen.try_clone().expect("a descriptor");
        let mut command = Command::new("setsid");
        command
            .arg("--ctty")
            .arg(program)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .env("COLORFGBG", "")
            .env("LC_ALL", "C.UTF-8")
            .env("LANG", "C.UTF-8");
        settle(&mut command);
        let begin = Instant::now();
        let child = command
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .expect("the program starts");
        let keys = File::from(master);
        let mut from = keys.try_clone().expect("a descriptor");
        let written = Arc::new(Mutex::new(Written::default()));
        let kept = Arc::clone(&written);
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            // It ends with an error once every other end is closed.
            while let Ok(read @ 1..) = from.read(&mut piece) {
                let mut kept = kept.lock().expect("no panic");
                kept.bytes.extend(&piece[..read]);
                let length = kept.bytes.len();
                kept.pieces.push((begin.elapsed(), length));
            }
        });
        Some(Self {
            child,
            keys,
            screen,
            written,
            reader: Some(reader),
            size,
        })
    }

    /// What the terminal shows.
    pub fn shown(&self) -> vt100::Parser {
        let mut parser = vt100::Parser::new(self.size.1, self.size.0, 0);
        let written = self.written.lock().expect("no panic");
        show(&mut parser, &String::from_utf8_lossy(&written.bytes));
        parser
    }

    /// Waits until what it shows `is` so.
    pub fn wait(&mut self, what: &str, is: impl Fn(&str) -> bool) {
        let begin = Instant::now();
        loop {
            let contents = self.shown().screen().contents();
            if is(&contents) {
                return;
            }
            let over = self.child.try_wait().expect("a child");
            assert!(
                over.is_none(),
                "ended ({over:?}) without {what}:\n{contents}"
            );
            assert!(begin.elapsed() < PATIENCE, "no {what} in time:\n{contents}");
            sleep(Duration::from_millis(20));
        }
    }

    /// Presses keys.
    pub fn press(&mut self, keys: &str) {
        self.keys
            .write_all(keys.as_bytes())
            .expect("the terminal takes keys");
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the process is there");
    }
}

/// Shows a text. What stands for a character that is none ([`REPLACEMENT`]) is a character like others in a terminal; the
/// emulator leaves it out, and all behind it would stand too far left.
pub fn show(parser: &mut vt100::Parser, text: &str) {
    parser.process(
        text.replace(char::REPLACEMENT_CHARACTER, REPLACEMENT)
            .as_bytes(),
    );
}

/// What is shown in the place of U+FFFD.
pub const REPLACEMENT: &str = "\u{25af}";

impl Drop for Terminal {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
