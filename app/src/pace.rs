//! When the screen is drawn: a key's own frame at once, news at leisure, and never more than 30 frames a second for long.
//!
//! Drawing takes time from the kernels' threads, which on two cores is felt. So news (steps, samples, clocks) wait: 66 ms
//! while somebody is at the keys, 200 ms while nobody is (nobody reads ten frames a second), 250 ms while the terminal says
//! that it is not looked at. Frames are paid for from a bucket that holds three and is filled 30 times a second: keys that
//! come in a burst are answered at once, keys that keep coming faster than that share frames.

use std::time::Duration;

/// Frames a second, over any second.
const RATE: f64 = 30.0;
/// Frames that may follow each other at once.
const BURST: f64 = 3.0;
/// Least time from a frame to one that only shows news, while somebody is at the keys. Two of them are one too many for
/// keys that come 30 times a second, which are answered by frames of their own.
const LIVELY: Duration = Duration::from_millis(66);
/// The same while nobody presses keys.
const CALM: Duration = Duration::from_millis(200);
/// The same while the terminal is not looked at.
const AWAY: Duration = Duration::from_millis(250);
/// How long after a key somebody counts as being there, so that answers are seen at once.
const PRESENT: Duration = Duration::from_secs(1);
/// How often a screen without news is drawn, for its clocks.
const IDLE: Duration = Duration::from_secs(1);
/// How long the loop sleeps at most while somebody is there.
const NAP: Duration = Duration::from_millis(33);
/// How long it sleeps at most while nobody is: its other duties are signals, and requests that have to be sent.
const SLEEP: Duration = Duration::from_millis(100);

/// What is still to be shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Owed {
    #[default]
    Nothing,
    News,
    Key,
}

/// The pace of frames; times are those since the screen began.
#[derive(Debug)]
pub struct Pace {
    /// Frames that may be drawn now.
    room: f64,
    /// When `room` was counted.
    counted: Duration,
    drawn: Option<Duration>,
    pressed: Option<Duration>,
    away: bool,
    owed: Owed,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            room: BURST,
            counted: Duration::ZERO,
            drawn: None,
            pressed: None,
            away: false,
            owed: Owed::News,
        }
    }
}

impl Pace {
    /// A key, the mouse, a new size: something that a person did.
    pub fn press(&mut self, now: Duration) {
        self.pressed = Some(now);
        self.owed = Owed::Key;
    }

    /// Something else that the next frame shows.
    pub fn news(&mut self) {
        self.owed = self.owed.max(Owed::News);
    }

    /// Whether the terminal is looked at, as far as it says.
    pub fn look(&mut self, looked_at: bool) {
        self.away = !looked_at;
    }

    /// The terminal shows nothing of what was drawn: the next frame waits for nothing.
    pub fn anew(&mut self) {
        self.drawn = None;
    }

    /// Whether a frame is due.
    pub fn is_due(&self, now: Duration) -> bool {
        let Some(drawn) = self.drawn else { return true };
        let since = now.saturating_sub(drawn);
        match self.owed {
            Owed::Key => self.room_at(now) >= 1.0,
            // One is kept for a key.
            Owed::News => since >= self.gap(now) && self.room_at(now) >= 2.0,
            Owed::Nothing => since >= IDLE,
        }
    }

    /// A frame was begun.
    pub fn drew(&mut self, now: Duration) {
        self.room = (self.room_at(now) - 1.0).max(0.0);
        (self.counted, self.drawn) = (now, Some(now));
        self.owed = Owed::Nothing;
    }

    /// How long the loop may wait for a key before it looks again.
    pub fn wait(&self, now: Duration) -> Duration {
        if self.owed == Owed::Key {
            let lacking = (1.0 - self.room_at(now)).max(0.0) / RATE;
            return Duration::from_secs_f64(lacking).min(NAP);
        }
        if self.is_present(now) { NAP } else { SLEEP }
    }

    fn is_present(&self, now: Duration) -> bool {
        self.pressed
            .is_some_and(|at| now.saturating_sub(at) < PRESENT)
    }

    fn gap(&self, now: Duration) -> Duration {
        match (self.is_present(now), self.away) {
            (true, _) => LIVELY,
            (false, false) => CALM,
            (false, true) => AWAY,
        }
    }

    fn room_at(&self, now: Duration) -> f64 {
        let since = now.saturating_sub(self.counted).as_secs_f64();
        (self.room + since * RATE).min(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The screen's loop for ten seconds with news at every look and keys at the given times. Returns when frames were
    /// drawn, and how long each key waited for the first one after it, both in milliseconds.
    fn play(pace: &mut Pace, keys: &[u64]) -> (Vec<u64>, Vec<u64>) {
        let (mut frames, mut waits) = (Vec::new(), Vec::new());
        let mut waiting = Vec::new();
        let mut keys = keys.iter().copied().peekable();
        let mut wake = 0;
        for now in 0..10_000 {
            let at = Duration::from_millis(now);
            let mut woken = now >= wake;
            while keys.next_if(|key| *key <= now).is_some() {
                pace.press(at);
                waiting.push(now);
                woken = true;
            }
            if !woken {
                continue;
            }
            pace.news();
            if pace.is_due(at) {
                pace.drew(at);
                frames.push(now);
                waits.extend(waiting.drain(..).map(|key| now - key));
            }
            wake = now + (pace.wait(at).as_secs_f64() * 1e3).ceil() as u64;
        }
        assert!(waiting.is_empty());
        (frames, waits)
    }

    /// Most frames within any second.
    fn most(frames: &[u64]) -> usize {
        let within = |from: u64| {
            let second = from..from + 1000;
            frames.iter().filter(|at| second.contains(at)).count()
        };
        frames.iter().map(|from| within(*from)).max().unwrap()
    }

    #[test]
    fn news_alone_are_drawn_five_times_a_second_and_four_where_nobody_looks() {
        let mut pace = Pace::default();
        let (frames, _) = play(&mut pace, &[]);
        assert!((45..=51).contains(&frames.len()), "{}", frames.len());
        let mut pace = Pace::default();
        pace.look(false);
        let (frames, _) = play(&mut pace, &[]);
        assert!((33..=41).contains(&frames.len()), "{}", frames.len());
        pace.look(true);
        assert_eq!(pace.gap(Duration::from_secs(20)), CALM);
    }

    #[test]
    fn single_keys_are_answered_at_once() {
        // Apart by anything from 70 ms to a second; some come right behind a frame of news.
        let keys: Vec<u64> = (0..40)
            .scan(11, |at, i| {
                *at += 70 + (i * 37) % 130;
                Some(*at)
            })
            .collect();
        let (frames, waits) = play(&mut Pace::default(), &keys);
        assert_eq!(waits.iter().max(), Some(&0));
        assert!(most(&frames) <= 33, "{}", most(&frames));
        // Two keys pressed together.
        let (_, waits) = play(&mut Pace::default(), &[500, 501, 1500, 1503]);
        assert_eq!(waits.iter().max(), Some(&0));
    }

    #[test]
    fn a_key_that_is_held_has_a_frame_each_time_and_no_frames_between() {
        let keys: Vec<u64> = (1..290).map(|i| i * 100 / 3).collect();
        let (frames, waits) = play(&mut Pace::default(), &keys);
        assert!(waits.iter().all(|wait| *wait < 20), "{waits:?}");
        assert!(most(&frames) <= 33, "{}", most(&frames));
        assert!(frames.len() <= 301, "{}", frames.len());
    }

    #[test]
    fn a_thousand_keys_a_second_share_thirty_frames() {
        let keys: Vec<u64> = (1..9000).collect();
        let (frames, waits) = play(&mut Pace::default(), &keys);
        assert!(most(&frames) <= 33, "{}", most(&frames));
        assert!(
            waits.iter().all(|wait| *wait <= 34),
            "{:?}",
            waits.iter().max()
        );
    }

    #[test]
    fn a_terminal_that_was_given_back_is_drawn_at_once_and_an_idle_screen_each_second() {
        let mut pace = Pace::default();
        let at = Duration::from_millis;
        pace.drew(at(0));
        assert!(!pace.is_due(at(999)) && pace.is_due(at(1000)));
        pace.anew();
        assert!(pace.is_due(at(1)));
    }
}
