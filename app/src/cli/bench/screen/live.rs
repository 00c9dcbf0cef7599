//! The real loop of the screen beside a real training: keys that come through its channel, frames that are counted.

use super::canvas::{Canvas, Drawn};
use crate::cli::Failure;
use crate::cost::Clock;
use crate::input::Input;
use crate::state::Reach;
use crate::ui::{self, Keys, Options};
use engine::launch::{Launched, Request, launch};
use engine::link::{Body, Client, Command, Request as Ask};
use engine::run_folder::EventReader;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

/// Inputs a second: each makes a frame at once, and a screen draws no more than that.
const FRAMES_A_SECOND: f64 = 30.0;
/// Most time that the engine may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the loop took over some time.
#[derive(Debug)]
pub(super) struct Cost {
    /// Frames a second.
    pub(super) rate: f64,
    /// Share of one processor that the loop's thread took; none where the system does not say.
    pub(super) share: Option<f64>,
}

/// What was measured.
#[derive(Debug)]
pub(super) struct Live {
    /// While nobody touches the keys.
    pub(super) calm: Cost,
    /// At 30 inputs a second that change nothing.
    pub(super) lively: Cost,
    /// Seconds from a key to the frame that shows what it did.
    pub(super) keys: Vec<f64>,
    /// Seconds of the steps that were trained meanwhile.
    pub(super) steps: Vec<f64>,
}

/// Trains the embedded demo in `runs` with a screen of that size, three times `seconds`.
///
/// # Errors
/// If the engine does not start.
pub(super) fn measure(
    runs: &Path,
    size: (u16, u16),
    seconds: f64,
    options: Options,
) -> Result<Live, Failure> {
    let request = Request {
        flags: vec!["train.max_steps=1000000".to_owned()],
        runs: runs.to_owned(),
        name: Some("live".to_owned()),
        ..Request::default()
    };
    let interrupt = options.signals.interrupt.clone();
    let Launched {
        client,
        thread,
        folder,
        ..
    } = launch(&request, &interrupt, &mut |_| {})?;
    let options = Options {
        reach: Reach {
            folder: Some(folder.clone()),
            desk: None,
        },
        ..options
    };
    let live = drive(size, seconds, &client, &options);
    end(&client);
    drop(client);
    // What came of the run does not matter.
    drop(thread.join());
    let mut live = live.map_err(|error| Failure::new(1, format!("the screen: {error}")))?;
    live.steps = EventReader::open(&folder)?
        .filter_map(|event| match event.body {
            Body::Step(step) => Some(step.step_seconds),
            _ => None,
        })
        .collect();
    Ok(live)
}

/// Ends the run without a checkpoint.
fn end(client: &Client) {
    let command = Command::Stop { checkpoint: false };
    let id = u64::MAX;
    drop(client.requests.send(Ask { id, command }));
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE && client.events.recv_timeout(PATIENCE).is_ok() {}
}

/// When each part ended, and when the keys of the last one were pressed.
struct Pressed {
    calm: Instant,
    lively: Instant,
    keys: Vec<Instant>,
}

/// Nothing for some time, then inputs that change nothing, then the keys of the two first screens in turn.
fn press(inputs: &Sender<Input>, seconds: f64) -> Pressed {
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let calm = Instant::now();
    let count = (seconds * FRAMES_A_SECOND).ceil() as u32;
    let wait = |number: u32| {
        let next = calm + Duration::from_secs_f64(f64::from(number) / FRAMES_A_SECOND);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    };
    for number in 0..count {
        // Bound to nothing. A loop that has ended hears nothing more.
        let key = KeyEvent::new(KeyCode::F(24), KeyModifiers::NONE);
        drop(inputs.send(Input::Event(Event::Key(key))));
        wait(number + 1);
    }
    let lively = Instant::now();
    let keys = (0..count).map(|number| {
        let key = if number.is_multiple_of(2) { '2' } else { '1' };
        let key = KeyEvent::new(KeyCode::Char(key), KeyModifiers::NONE);
        let now = Instant::now();
        drop(inputs.send(Input::Event(Event::Key(key))));
        wait(count + number + 1);
        now
    });
    Pressed {
        keys: keys.collect(),
        calm,
        lively,
    }
}

fn drive(
    (width, height): (u16, u16),
    seconds: f64,
    client: &Client,
    options: &Options,
) -> io::Result<Live> {
    let mut canvas = Canvas::new(width, height);
    let (sender, inputs) = channel();
    let hangup = Arc::clone(&options.signals.hangup);
    let fingers = std::thread::Builder::new()
        .name("fingers".to_owned())
        .spawn(move || {
            let pressed = press(&sender, seconds);
            hangup.store(true, Ordering::SeqCst);
            // The channel stays open until the loop has seen the flag.
            (pressed, sender)
        })?;
    let keys = Keys {
        channel: &inputs,
        first: Vec::new(),
        clock: &Clock::default(),
    };
    ui::drive(&mut canvas, keys, client, options)?;
    let (pressed, _) = fingers
        .join()
        .map_err(|_panic| io::Error::other("no keys"))?;
    let frames = &canvas.frames;
    let calm = frames.partition_point(|frame| frame.at < pressed.calm);
    let lively = frames.partition_point(|frame| frame.at < pressed.lively);
    Ok(Live {
        calm: cost(&frames[..calm]),
        lively: cost(&frames[calm..lively]),
        keys: latencies(&pressed.keys, frames),
        steps: Vec::new(),
    })
}

fn cost(frames: &[Drawn]) -> Cost {
    let (first, last) = (frames.first(), frames.last());
    let between = first.zip(last);
    let span = between.map_or(0.0, |(a, b)| b.at.duration_since(a.at).as_secs_f64());
    let cpu = between.and_then(|(a, b)| Some(b.cpu?.saturating_sub(a.cpu?).as_secs_f64()));
    Cost {
        rate: frames.len().saturating_sub(1) as f64 / span,
        share: cpu.map(|cpu| cpu / span),
    }
}

/// From each key to the first frame that was begun after it and has the mark where the key puts it.
fn latencies(keys: &[Instant], frames: &[Drawn]) -> Vec<f64> {
    let home = frames.first().and_then(|frame| frame.mark);
    let latency = |(number, key): (usize, &Instant)| {
        let goes_home = number % 2 == 1;
        let shows =
            |frame: &&Drawn| frame.at >= *key + frame.took && (frame.mark == home) == goes_home;
        let shown = frames.iter().find(shows)?;
        Some(shown.at.duration_since(*key).as_secs_f64())
    };
    keys.iter().enumerate().filter_map(latency).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_answered_by_the_frame_that_shows_it() {
        let begin = Instant::now();
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        let frame = |end, mark| Drawn {
            at: at(end),
            took: Duration::from_millis(2),
            work: Duration::from_millis(1),
            bytes: 0,
            mark: Some(mark),
            cpu: Some(Duration::from_micros(end * 20)),
        };
        // The second frame was begun before the first key; the fourth does not show the second one yet.
        let frames = [
            frame(5, 0),
            frame(11, 0),
            frame(14, 9),
            frame(43, 9),
            frame(47, 0),
        ];
        let found = latencies(&[at(10), at(40)], &frames);
        let milliseconds: Vec<f64> = found.iter().map(|s| (s * 1e3).round()).collect();
        assert_eq!(milliseconds, [4.0, 7.0]);
        let cost = cost(&frames);
        assert!((cost.rate - 4.0 / 0.042).abs() < 1e-6, "{cost:?}");
        assert!((cost.share.unwrap() - 0.02).abs() < 1e-9, "{cost:?}");
    }
}
