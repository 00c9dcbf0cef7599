//! The terminal: claimed for the screen, given back whatever happens.
//!
//! [`Screen::claim`] takes raw mode and the alternate screen; dropping it, [`restore`] and the panic hook of
//! [`install_panic_hook`] give them back. A frame is one synchronized update (DEC 2026), so that no half-drawn frame is
//! seen. An error of [`Surface::draw`] or a false [`is_alive`] means that the terminal is gone; training goes on without
//! it. What others print meanwhile goes to a file ([`aside`]). Signals are not handled here: who handles them calls
//! [`restore`] or [`Surface::suspend`].

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::time::{Duration, Instant};

use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{
    DisableBracketedPaste, DisableFocusChange, DisableMouseCapture, EnableBracketedPaste,
    EnableFocusChange, EnableMouseCapture,
};
use ratatui::crossterm::terminal::{
    Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{cursor, execute};
use ratatui::layout::Size;

#[cfg(unix)]
mod aside;
mod painter;

pub use painter::Painter;

/// True while the terminal is in raw mode and shows the alternate screen.
static CLAIMED: AtomicBool = AtomicBool::new(false);

/// True while the terminal reports the mouse.
static MOUSE: AtomicBool = AtomicBool::new(false);

/// Held while a frame is written: what is written when the terminal is given back does not stand in the middle of one.
static WRITING: Mutex<()> = Mutex::new(());

/// How long a frame is waited for.
const FRAME: Duration = Duration::from_millis(200);

/// Messages of panics in threads other than the screen's, kept until the screen can show them.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

thread_local! {
    /// True in the thread that draws.
    static OWNS_SCREEN: Cell<bool> = const { Cell::new(false) };
}

/// What [`crate::ui`] draws on: the claimed terminal, or in a measurement something that counts.
pub trait Surface {
    /// Takes the mouse, or leaves it to the terminal.
    ///
    /// # Errors
    /// If the terminal does not take what is written.
    fn set_mouse(&mut self, on: bool) -> io::Result<()>;

    /// Hands the terminal a sequence that shows nothing, such as one for its clipboard.
    ///
    /// # Errors
    /// If the terminal does not take it.
    fn send(&mut self, sequence: &str) -> io::Result<()>;

    /// Bytes that went to the terminal since the last call.
    fn take_bytes(&self) -> usize;

    /// Draws one frame.
    ///
    /// # Errors
    /// If the terminal does not take it, as when it was closed.
    fn draw(&mut self, render: impl FnOnce(&mut Buffer)) -> io::Result<()>;

    /// Gives the terminal back and stops the whole process group, training included, as Ctrl-Z does in a shell. Returns,
    /// with the terminal claimed anew, once the process is continued.
    ///
    /// # Errors
    /// If the terminal cannot be claimed again.
    fn suspend(&mut self) -> io::Result<()>;

    /// Claims the terminal again after something else wrote on it or stopped the process, and forgets what it showed.
    ///
    /// # Errors
    /// If the terminal does not take what is written.
    fn reclaim(&mut self) -> io::Result<()>;
}

/// The claimed terminal.
pub struct Screen {
    /// Standard output as it was when the terminal was claimed.
    terminal: Arc<File>,
    painter: Painter<FrameWriter>,
    mouse: bool,
    bytes: Arc<AtomicUsize>,
    /// Where what others print goes meanwhile.
    log: Option<PathBuf>,
}

impl Screen {
    /// Claims the terminal of standard output for the calling thread; without the mouse at first. What others print goes to
    /// the end of `log` meanwhile, where there is one.
    ///
    /// # Errors
    /// If standard output is no terminal or does not take what is written; then nothing is claimed.
    pub fn claim(log: Option<&Path>) -> io::Result<Self> {
        let (terminal, bytes) = (Arc::new(stdout()?), Arc::default());
        let writer = FrameWriter::new(&terminal, &bytes);
        let mut painter = Painter::new(writer, size(&terminal)?);
        enter(painter.out())?;
        OWNS_SCREEN.set(true);
        let screen = Self {
            terminal,
            painter,
            mouse: false,
            bytes,
            log: log.map(Path::to_owned),
        };
        screen.turn_others_aside();
        Ok(screen)
    }

    fn turn_others_aside(&self) {
        #[cfg(unix)]
        if let Some(log) = &self.log {
            aside::turn(log);
        }
    }
}

impl Surface for Screen {
    fn set_mouse(&mut self, on: bool) -> io::Result<()> {
        if self.mouse != on {
            self.mouse = on;
            report_mouse(self.painter.out(), on)?;
        }
        Ok(())
    }

    fn send(&mut self, sequence: &str) -> io::Result<()> {
        let out = self.painter.out();
        out.write_all(sequence.as_bytes())?;
        out.flush()
    }

    fn take_bytes(&self) -> usize {
        self.bytes.swap(0, Ordering::Relaxed)
    }

    fn draw(&mut self, render: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        self.painter.draw(size(&self.terminal)?, render)
    }

    fn suspend(&mut self) -> io::Result<()> {
        restore();
        #[cfg(unix)]
        rustix::process::kill_current_process_group(rustix::process::Signal::STOP)?;
        self.reclaim()
    }

    fn reclaim(&mut self) -> io::Result<()> {
        CLAIMED.store(false, Ordering::SeqCst);
        #[cfg(unix)]
        aside::give_back();
        // A new painter remembers nothing of the old screen.
        let writer = FrameWriter::new(&self.terminal, &self.bytes);
        self.painter = Painter::new(writer, size(&self.terminal)?);
        enter(self.painter.out())?;
        if self.mouse {
            report_mouse(self.painter.out(), true)?;
        }
        self.turn_others_aside();
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
        OWNS_SCREEN.set(false);
    }
}

/// Standard output, for this screen alone: what others print is turned aside meanwhile.
fn stdout() -> io::Result<File> {
    #[cfg(unix)]
    let handle = std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned()?;
    #[cfg(windows)]
    let handle = std::os::windows::io::AsHandle::as_handle(&io::stdout()).try_clone_to_owned()?;
    Ok(File::from(handle))
}

/// Columns and rows: one call of the system a frame, where asking `/dev/tty` by name takes three.
#[cfg(unix)]
fn size(out: &File) -> io::Result<Size> {
    let size = rustix::termios::tcgetwinsize(out)?;
    Ok(Size::new(size.ws_col, size.ws_row))
}

/// Columns and rows.
#[cfg(not(unix))]
fn size(_: &File) -> io::Result<Size> {
    ratatui::crossterm::terminal::size().map(Size::from)
}

fn enter(out: &mut impl Write) -> io::Result<()> {
    enable_raw_mode()?;
    CLAIMED.store(true, Ordering::SeqCst);
    let entered = execute!(
        out,
        EnterAlternateScreen,
        Clear(ClearType::All),
        EnableBracketedPaste,
        EnableFocusChange,
        cursor::Hide
    );
    if entered.is_err() {
        restore();
    }
    entered
}

fn report_mouse(out: &mut impl Write, on: bool) -> io::Result<()> {
    MOUSE.store(on, Ordering::SeqCst);
    if on {
        execute!(out, EnableMouseCapture)
    } else {
        execute!(out, DisableMouseCapture)
    }
}

/// Gives the terminal back if it is claimed; otherwise nothing happens. Safe to call from any thread, before
/// `process::exit` for instance.
pub fn restore() {
    if !CLAIMED.swap(false, Ordering::SeqCst) {
        return;
    }
    let begin = Instant::now();
    // The frame under way is the last one.
    while matches!(WRITING.try_lock(), Err(TryLockError::WouldBlock)) && begin.elapsed() < FRAME {
        std::thread::sleep(Duration::from_millis(1));
    }
    #[cfg(unix)]
    aside::give_back();
    // Nothing can be done about a terminal that refuses to be tidied up, so errors end here. Its modes come first: they
    // are set also where it takes no more bytes.
    let _ = disable_raw_mode();
    if MOUSE.swap(false, Ordering::SeqCst) {
        let _ = execute!(io::stdout(), DisableMouseCapture);
    }
    let _ = execute!(
        io::stdout(),
        EndSynchronizedUpdate,
        DisableBracketedPaste,
        DisableFocusChange,
        LeaveAlternateScreen,
        cursor::Show
    );
}

/// Whether the screen is up.
pub fn is_claimed() -> bool {
    CLAIMED.load(Ordering::SeqCst)
}

/// False once the terminal is gone: hung up, or its other end closed.
pub fn is_alive() -> bool {
    #[cfg(unix)]
    return aside::is_alive();
    #[cfg(not(unix))]
    return true;
}

/// Installs the hook that keeps panics off the screen. Call once, before threads start.
///
/// Threads whose name begins with `engine` are silent: their panics are caught and reported as events. A panic of the
/// thread that draws gives the terminal back first. Panics of other threads while the screen is up are kept for
/// [`take_panics`]; without a screen they are printed as usual.
pub fn install_panic_hook() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("unnamed");
        if name.starts_with("engine") {
            return;
        }
        if CLAIMED.load(Ordering::SeqCst) && !OWNS_SCREEN.get() {
            let place = info
                .location()
                .map_or_else(String::new, |l| format!(" at {}:{}", l.file(), l.line()));
            let what = info.payload_as_str().unwrap_or("no message");
            if let Ok(mut panics) = PANICS.lock() {
                panics.push(format!("thread '{name}' panicked{place}: {what}"));
            }
            return;
        }
        restore();
        usual(info);
    }));
}

/// Messages of panics that happened behind the screen since the last call.
pub fn take_panics() -> Vec<String> {
    PANICS
        .lock()
        .map(|mut p| std::mem::take(&mut *p))
        .unwrap_or_default()
}

/// Collects what is written until it is flushed, and drops it instead once the terminal is given back: a panic in the
/// middle of a frame leaves half of it here.
struct FrameWriter {
    out: Arc<File>,
    pending: Vec<u8>,
    sent: Arc<AtomicUsize>,
}

impl FrameWriter {
    /// `sent` counts what reaches the terminal.
    fn new(out: &Arc<File>, sent: &Arc<AtomicUsize>) -> Self {
        Self {
            out: Arc::clone(out),
            pending: Vec::new(),
            sent: Arc::clone(sent),
        }
    }
}

impl Write for FrameWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let writing = WRITING.lock();
        let sent = if CLAIMED.load(Ordering::SeqCst) {
            self.sent.fetch_add(self.pending.len(), Ordering::Relaxed);
            (&*self.out).write_all(&self.pending)
        } else {
            Ok(())
        };
        drop(writing);
        self.pending.clear();
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_reach_a_claimed_terminal_only_and_a_lost_one_is_an_error() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let writer = |out| FrameWriter::new(&Arc::new(out), &Arc::default());
        let mut open = writer(path.reopen().unwrap());
        let mut lost = writer(File::open(path.path()).unwrap());
        assert!(take_panics().is_empty());
        restore();
        open.write_all(b"half a frame").unwrap();
        open.flush().unwrap();
        assert_eq!(std::fs::read(path.path()).unwrap(), b"");
        CLAIMED.store(true, Ordering::SeqCst);
        open.write_all(b"frame").unwrap();
        open.flush().unwrap();
        lost.write_all(b"frame").unwrap();
        let error = lost.flush();
        // Not `restore`: it would write to the terminal that runs this test.
        CLAIMED.store(false, Ordering::SeqCst);
        assert_eq!(std::fs::read(path.path()).unwrap(), b"frame");
        assert_eq!(open.sent.load(Ordering::Relaxed), 5);
        assert!(error.is_err());
    }
}
