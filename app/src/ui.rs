//! The screen's loop: keys and events in, commands out, and frames at the pace that [`crate::pace`] keeps.
//!
//! Runs in the caller's thread; a second thread waits for keys. The engine is never waited for and never waits: commands
//! are handed over if there is room, events are drained before each frame. A terminal that goes away, or a panic while
//! drawing, ends the screen and nothing else: the caller gets the link back and goes on without. The link is a pair of
//! channels: to an engine in this process, or to one in another ([`crate::remote`]).

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, TrySendError};
use std::time::Instant;

use engine::link::{Client, Command, Interrupt, Urgency};
use ratatui::crossterm::event::Event;

use crate::actions::Refused;
use crate::background;
use crate::bell::{self, Bell};
use crate::chart::glyph::GlyphSet;
use crate::config_file;
use crate::cost::{self, Clock};
use crate::errand::Errands;
use crate::export;
use crate::input::{Input, Inputs};
use crate::keymap::{self, Keymap};
use crate::lang::{Lang, Text};
use crate::mouse;
use crate::pace::Pace;
use crate::seat::Seat;
use crate::state::{History, Level, Parent, Reach, Status};
use crate::terminal::{self, Screen, Surface};
use crate::theme::{Palette, Theme};
use crate::view::View;
use crate::workbench::{Exit, Wants, Workbench};

/// Most events that are folded in before the next frame.
const MOST_EVENTS: usize = 20_000;

/// How the screen looks at first, and the flags that signals set.
#[derive(Clone, Debug)]
pub struct Options {
    /// Language.
    pub lang: Lang,
    /// Colours.
    pub palette: Palette,
    /// Whether the terminal is asked if its background is light, and its answer beats `palette`.
    pub ask_background: bool,
    /// Characters of charts.
    pub glyphs: GlyphSet,
    /// Keys.
    pub keys: Arc<Keymap>,
    /// Whether the screen takes the mouse.
    pub mouse: bool,
    /// How the person is told of alerts.
    pub bell: bell::Wishes,
    /// The run's configuration file, where there is one to write to.
    pub file: Option<config_file::File>,
    /// Flags that signal handlers set.
    pub signals: Signals,
    /// What is recorded of the run so far: by its earlier attempts where the screen is the engine's own, else by all.
    pub history: History,
    /// Of a fork, the course of its parent.
    pub parent: Option<Parent>,
    /// What the screen is to the run.
    pub seat: Seat,
    /// Number of its first request: the engine tells requests apart by it, wherever they come from.
    pub first_id: u64,
    /// What of the run this process reaches besides its events.
    pub reach: Reach,
}

impl Options {
    /// What the environment asks for: `NO_COLOR`, `TERM`, `COLORFGBG`, the locale.
    pub fn from_environment() -> Self {
        let var = |name: &str| std::env::var(name).ok();
        let console = matches!(
            var("TERM").as_deref(),
            Some("linux" | "vt100" | "vt220" | "ansi")
        );
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|n| var(n).filter(|v| !v.is_empty()));
        let unicode = locale.is_none_or(|l| {
            let l = l.to_ascii_lowercase();
            l.contains("utf-8") || l.contains("utf8")
        });
        let palette = Palette::detect(var);
        Self {
            lang: if unicode { Lang::detect(var) } else { Lang::En },
            palette,
            ask_background: palette.suits_background(),
            glyphs: match (unicode, console) {
                (false, _) => GlyphSet::Ascii,
                (true, true) => GlyphSet::Block,
                (true, false) => GlyphSet::Braille,
            },
            keys: Arc::default(),
            mouse: true,
            bell: bell::Wishes::default(),
            file: None,
            signals: Signals::default(),
            history: History::default(),
            parent: None,
            seat: Seat::Own,
            first_id: 1,
            reach: Reach::default(),
        }
    }
}

/// What signals ask of the screen. Handlers only set flags; the loop reads them.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// SIGINT, SIGTERM: the engine stops by itself; the screen closes once it has.
    pub interrupt: Interrupt,
    /// SIGHUP: the terminal is gone; the screen closes at once.
    pub hangup: Arc<AtomicBool>,
    /// SIGTSTP: suspend as Ctrl-Z does.
    pub suspend: Arc<AtomicBool>,
    /// SIGCONT: claim the terminal again and draw everything anew.
    pub resumed: Arc<AtomicBool>,
}

/// Why the screen closed.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The run is over, as the status says.
    Ended(Status),
    /// The person asked to go on without this screen.
    Detached,
    /// The person asked twice to stop: exit at once, without waiting for the engine.
    HardExit,
    /// The terminal is gone or drawing failed; training goes on without a screen.
    Lost(String),
}

/// Runs the screen until it closes, and gives the link back with the reason. The terminal is restored in every case.
pub fn run(client: Client, options: &Options) -> (Outcome, Client) {
    let outcome = catch_unwind(AssertUnwindSafe(|| run_screen(&client, options)));
    let outcome = match outcome {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => Outcome::Lost(format!("terminal: {error}")),
        Err(_) => Outcome::Lost("the screen failed while drawing".to_owned()),
    };
    (outcome, client)
}

fn run_screen(client: &Client, options: &Options) -> io::Result<Outcome> {
    // A screen of another process has no libraries of the engine beside it.
    let own = options
        .reach
        .folder
        .as_ref()
        .filter(|_| options.seat == Seat::Own);
    let log = own.map(|folder| folder.join("engine.log"));
    let mut screen = Screen::claim(log.as_deref())?;
    if options.ask_background {
        screen.send(background::QUESTION)?;
    }
    let inputs = Inputs::start(options.ask_background)?;
    let keys = Keys {
        channel: &inputs.channel,
        first: inputs.first(),
        clock: &inputs.clock,
    };
    drive(&mut screen, keys, client, options)
}

/// Where keys come from.
pub struct Keys<'a> {
    /// What comes.
    pub channel: &'a Receiver<Input>,
    /// What came before the first frame.
    pub first: Vec<Input>,
    /// The processor time of the thread that waits for them.
    pub clock: &'a Clock,
}

/// The loop: keys and events in, commands and frames out, until the screen shall close.
///
/// # Errors
/// If the terminal is gone, or the system gives no thread.
pub fn drive(
    screen: &mut impl Surface,
    keys: Keys<'_>,
    client: &Client,
    options: &Options,
) -> io::Result<Outcome> {
    let Keys {
        channel,
        first,
        clock,
    } = keys;
    let mut view = View::new(options.lang, Theme::new(options.palette), options.glyphs);
    view.keys = Arc::clone(&options.keys);
    let mut bench = Workbench::new(view);
    (bench.seat, bench.next_id) = (options.seat, options.first_id);
    bench.mouse = options.mouse;
    bench.bell = Bell::new(options.bell);
    bench.file = options.file.as_ref().map(|file| file.path().to_owned());
    bench.state.parent.clone_from(&options.parent);
    let folder = options.reach.folder.as_deref();
    let errands = Errands::start(folder.unwrap_or(Path::new("")))?;
    if options.seat == Seat::Own {
        bench.state.recall(&options.history);
    } else {
        bench.state.catch_up(&options.history);
    }
    bench.state.reach.clone_from(&options.reach);
    let signals = &options.signals;
    let begin = Instant::now();
    let mut pace = Pace::default();
    let mut connected = true;
    for input in first {
        take(&input, options.palette, &mut bench);
    }
    loop {
        let now = begin.elapsed();
        if pace.is_due(now) {
            pace.drew(now);
            screen.set_mouse(bench.mouse)?;
            screen.take_bytes();
            let before = Instant::now();
            screen.draw(|buffer| {
                bench.render(buffer.area, buffer);
                #[cfg(debug_assertions)]
                drill(bench.state.step());
            })?;
            let took = before.elapsed();
            let cpu = cost::thread_time().map(|own| own + clock.read() + errands.time());
            let figures = &mut bench.figures;
            figures.drew(begin.elapsed(), took, screen.take_bytes(), cpu);
        }
        // Keys wake the loop at once; events are looked for at the pace of frames, so that no thread has to forward
        // them and the link can be handed on when the screen closes.
        match channel.recv_timeout(pace.wait(begin.elapsed())) {
            Ok(input) => {
                bench.now = begin.elapsed();
                for input in std::iter::once(input).chain(channel.try_iter()) {
                    match input {
                        Input::Event(Event::FocusGained) => pace.look(true),
                        Input::Event(Event::FocusLost) => pace.look(false),
                        input => {
                            take(&input, options.palette, &mut bench);
                            pace.press(bench.now);
                        }
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Ok(Outcome::Lost("terminal: no more input".to_owned()));
            }
        }
        bench.now = begin.elapsed();
        if connected {
            let heard = listen(client, &mut bench);
            let most = &mut bench.figures.most_events;
            *most = heard.unwrap_or(0).max(*most);
            if heard.is_none_or(|num| num > 0) {
                pace.news();
            }
            connected = heard.is_some();
        }
        bench.tick();
        errands.send(bench.errands.drain(..));
        for news in errands.news() {
            bench.deliver(&news);
            pace.news();
        }
        if bench.poll() {
            pace.news();
        }
        for panic in terminal::take_panics() {
            bench.state.note(Level::Bad, panic);
            pace.news();
        }
        send(client, &mut bench);
        if let Some(text) = bench.clipboard.take() {
            screen.send(&export::osc52(&text))?;
        }
        if let Some(sequence) = bench.ring() {
            screen.send(&sequence)?;
        }
        for (key, value) in std::mem::take(&mut bench.to_file) {
            write(options.file.as_ref(), &key, &value, &mut bench);
            pace.news();
        }
        if signals.hangup.load(Ordering::SeqCst) {
            return Ok(Outcome::Lost("terminal: hung up".to_owned()));
        }
        if signals.interrupt.urgency() != Urgency::None {
            if bench.seat == Seat::Own {
                bench.leaving = true;
            } else {
                // The signal is for this process, which is not the one that trains.
                bench.exit.get_or_insert(Exit::Detach);
            }
        }
        if bench.leaving && bench.state.status.is_over() {
            bench.exit.get_or_insert(Exit::Ended);
        }
        if let Some(exit) = bench.exit {
            return Ok(match exit {
                Exit::Ended => Outcome::Ended(bench.state.status),
                Exit::Detach => Outcome::Detached,
                Exit::Hard => Outcome::HardExit,
            });
        }
        if signals.suspend.swap(false, Ordering::SeqCst) {
            bench.wants = Some(Wants::Suspend);
        }
        if signals.resumed.swap(false, Ordering::SeqCst) {
            bench.wants.get_or_insert(Wants::Redraw);
        }
        if let Some(wants) = bench.wants.take() {
            match wants {
                Wants::Suspend => {
                    screen.suspend()?;
                    // The signal that continued this process is answered by this very return.
                    signals.resumed.store(false, Ordering::SeqCst);
                }
                Wants::Redraw => screen.reclaim()?,
            }
            bench.heard = begin.elapsed();
            pace.anew();
        }
    }
}

/// A drill: fails on purpose in the middle of a frame, as a defect of ours would, so that a test sees what becomes of the run
/// and of the terminal. Not in programs that are built for people.
#[cfg(debug_assertions)]
fn drill(step: u64) {
    let wanted = std::env::var_os("ZEROLLM_DRILL").is_some_and(|drill| drill == "screen");
    assert!(!wanted || step < 3, "a drill");
}

/// Takes what came from the terminal; `palette` is the one that the screen began with.
fn take(input: &Input, palette: Palette, bench: &mut Workbench) {
    let event = match input {
        Input::Event(event) => event,
        Input::Light(light) => {
            // Colours that somebody has chosen since stay.
            if bench.view.theme.palette() == palette {
                bench.view.colour(Palette::on(*light));
            }
            return;
        }
    };
    match event {
        // Windows reports releases too.
        Event::Key(key) if !key.is_release() => {
            if let Some(word) = keymap::word(key) {
                bench.press(&word);
            }
        }
        Event::Paste(text) => bench.paste(text),
        Event::Mouse(event) => {
            if let Some(mouse) = mouse::word(*event) {
                bench.point(mouse);
            }
        }
        _ => {}
    }
}

/// Folds in what the engine has said. Returns how many events that were; none once the engine is gone.
fn listen(client: &Client, bench: &mut Workbench) -> Option<usize> {
    for num in 0..MOST_EVENTS {
        match client.events.try_recv() {
            Ok(event) => bench.hear(&event),
            Err(TryRecvError::Empty) => return Some(num),
            Err(TryRecvError::Disconnected) => {
                bench.disconnected();
                return None;
            }
        }
    }
    Some(MOST_EVENTS)
}

fn send(client: &Client, bench: &mut Workbench) {
    for request in std::mem::take(&mut bench.outbox) {
        let (id, word) = (request.id, request.command.word());
        let why = match client.requests.try_send(request) {
            Ok(()) => continue,
            Err(TrySendError::Full(_)) => "the engine has too many commands waiting",
            Err(TrySendError::Disconnected(_)) => "the engine is gone",
        };
        bench.figures.unsent += 1;
        bench.state.pending.retain(|p| p.id != id);
        bench
            .state
            .note(Level::Warn, format!("{word} was not sent: {why}"));
    }
}

/// Writes a value into the run's configuration file, and says so.
fn write(file: Option<&config_file::File>, key: &str, value: &str, bench: &mut Workbench) {
    let Some(file) = file else { return };
    match file.set(key, value) {
        Ok(()) => {
            const WRITTEN: Text = Text::new("{0} = {1} written to {2}", "{0} = {1} 已写入 {2}");
            let told = WRITTEN.fill(&[&key, &value, &file.path().display().to_string()]);
            bench.state.note(Level::Good, told.clone());
            bench.tell(told);
            // What was an edit becomes the file's: an edit of the file counts again.
            bench.ask(Command::Reload);
        }
        Err(why) => bench.complain(Err(Refused::because(why))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch_file::Known;

    #[test]
    fn the_engine_reads_what_was_written_into_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, "optimizer.lr = 1.0\n").unwrap();
        let file = config_file::File::new(&path, Known::of(&path));
        let theme = Theme::new(Palette::Dark);
        let mut bench = Workbench::new(View::new(Lang::En, theme, GlyphSet::Ascii));
        write(Some(&file), "optimizer.lr", "0.5", &mut bench);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "optimizer.lr = 0.5\n");
        let asked: Vec<Command> = bench.outbox.drain(..).map(|r| r.command).collect();
        assert_eq!(asked, [Command::Reload]);
        // Nothing was written, so there is nothing to read.
        write(Some(&file), "optimizer.lr", "fast", &mut bench);
        write(None, "optimizer.lr", "0.5", &mut bench);
        assert!(bench.outbox.is_empty());
    }
}
