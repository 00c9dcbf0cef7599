//! What is looked at and how: language, colours, axes, zoom, the data cursor.
//!
//! Belongs to the screen alone; nothing here reaches the engine. Changed by the actions and panels, read by everything
//! that draws.

use std::sync::Arc;
use std::time::Duration;

use crate::chart::axis::Scale;
use crate::chart::glyph::GlyphSet;
use crate::chart::series::{Track, XUnit};
use crate::keymap::Keymap;
use crate::lang::Lang;
use crate::seat::Seat;
use crate::state::State;
use crate::theme::{Palette, Theme};

/// Decays of the smoothed line, in the order in which the key walks through them.
pub const SMOOTHINGS: [f64; 6] = [0.9, 0.95, 0.98, 0.99, 0.0, 0.5];

/// Jumps in which the window moves on by its own width, at least.
const JUMPS: f64 = 1024.0;

/// How the run is looked at.
#[derive(Clone, Debug)]
pub struct View {
    /// Language of titles, footers, help and dialogs.
    pub lang: Lang,
    /// Colours.
    pub theme: Theme,
    /// Characters of charts, bars and frames.
    pub glyphs: GlyphSet,
    /// What the horizontal axes count.
    pub unit: XUnit,
    /// Vertical scale of the loss.
    pub scale: Scale,
    /// Index into [`SMOOTHINGS`].
    pub smoothing: usize,
    /// The window is 2^-zoom of the run.
    pub zoom: u32,
    /// The step that the data cursor stands on.
    pub cursor: Option<u64>,
    /// A step that stays at its share of the window's width while zooming, as under the mouse.
    pub pinned: Option<(u64, f64)>,
    /// The keys in force.
    pub keys: Arc<Keymap>,
    /// A line that a panel asks for with the key that it takes.
    pub wish: Option<String>,
    /// Whether the charts show the steps that were trained again.
    pub attempts: bool,
    /// Whether a panel asks for the first screen, where the cursor is seen.
    pub to_charts: bool,
}

impl View {
    /// The usual view.
    pub fn new(lang: Lang, theme: Theme, glyphs: GlyphSet) -> Self {
        Self {
            lang,
            theme,
            glyphs,
            unit: XUnit::default(),
            scale: Scale::default(),
            smoothing: 0,
            zoom: 0,
            cursor: None,
            pinned: None,
            keys: Arc::default(),
            wish: None,
            attempts: false,
            to_charts: false,
        }
    }

    /// Decay of the smoothed line.
    pub fn beta(&self) -> f64 {
        SMOOTHINGS[self.smoothing % SMOOTHINGS.len()]
    }

    /// The horizontal window: around the cursor where there is one, else at the end of the run. It moves on in jumps of less
    /// than a thousandth of its width, so that of a long run's chart most stays as it was drawn.
    pub fn window(&self, track: &Track) -> (f64, f64) {
        let Some((first, last)) = track.extent(self.unit) else {
            return (0.0, 1.0);
        };
        if last <= first {
            return (first, first + 1.0);
        }
        let zoom = f64::from(2u32.pow(self.zoom.min(30)));
        let jump = ((last - first) / zoom / JUMPS).log2().floor().exp2();
        let last = first + ((last - first) / jump).ceil() * jump;
        let span = (last - first) / zoom;
        let lo = match (self.pinned, self.cursor) {
            (Some((step, share)), _) => track.x_of_step(step, self.unit) - share * span,
            (None, Some(step)) => track.x_of_step(step, self.unit) - span / 2.0,
            (None, None) => last,
        };
        let lo = lo.min(last - span).max(first);
        (lo, lo + span)
    }

    /// Shows the whole run.
    pub fn unzoom(&mut self) {
        self.zoom = 0;
        self.pinned = None;
    }

    /// Puts the data cursor on a step, or takes it away; the window follows it.
    pub fn look_at(&mut self, step: Option<u64>) {
        self.cursor = step;
        self.pinned = None;
    }

    /// The step at `share` of the window's width.
    fn step_at(&self, share: f64, track: &Track) -> Option<u64> {
        let (lo, hi) = self.window(track);
        let row = track.rows_before(lo + share * (hi - lo), self.unit);
        let last = track.last_row()?;
        Some(track.step(row.min(last)))
    }

    /// Puts the data cursor on the step at `share` of the window's width; the window stays.
    pub fn point_at(&mut self, share: f64, track: &Track) {
        self.cursor = self.step_at(share, track);
        self.pinned = self.cursor.map(|step| (step, share));
    }

    /// Zooms as [`Self::zoom_by`] does; the step at `share` of the window's width stays there.
    pub fn zoom_at(&mut self, share: f64, inward: bool, track: &Track) {
        self.pinned = self.step_at(share, track).map(|step| (step, share));
        self.zoom_by(inward, track);
    }

    /// Changes the colours.
    pub fn colour(&mut self, palette: Palette) {
        self.theme = Theme::new(palette);
    }

    /// Zooms in (or out), as long as a few rows stay visible.
    pub fn zoom_by(&mut self, inward: bool, track: &Track) {
        if !inward {
            self.zoom = self.zoom.saturating_sub(1);
        } else if track.len() >> self.zoom.min(40) > 16 {
            self.zoom += 1;
        }
    }

    /// Moves the data cursor by about `cells` cells of a chart; it starts at the last row.
    pub fn move_cursor(&mut self, cells: i64, track: &Track) {
        let Some(last) = track.len().checked_sub(1) else {
            return;
        };
        let row = match self.cursor {
            None => last,
            Some(step) => {
                let here = track.rows_before_step(step).min(last) as i64;
                let stride = (track.len() as i64 >> self.zoom.min(40)) / 100;
                let moved = here + cells * stride.max(1);
                usize::try_from(moved).unwrap_or(0).min(last)
            }
        };
        self.look_at(Some(track.step(row)));
    }
}

/// Everything that drawing may look at.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// The run.
    pub state: &'a State,
    /// How it is looked at.
    pub view: &'a View,
    /// Time since the engine last said something.
    pub silence: Duration,
    /// What this screen is to the run.
    pub seat: Seat,
    /// Whether the engine may say more.
    pub open: bool,
}

impl Scene<'_> {
    /// Whether the engine can be asked for something from here: else no key that does is named.
    pub fn can_ask(&self) -> bool {
        self.seat.controls() && !self.state.status.is_over()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(len: u64) -> Track {
        let mut track = Track::default();
        (1..=len).for_each(|s| track.push(s, s * 10, s as f64));
        track
    }

    fn view() -> View {
        View::new(Lang::En, Theme::new(Palette::Mono), GlyphSet::Braille)
    }

    #[test]
    fn windows_stay_within_the_run() {
        let track = track(1000);
        let mut view = view();
        assert_eq!(view.window(&Track::default()), (0.0, 1.0));
        assert_eq!(view.window(&track), (1.0, 1000.0));
        for cursor in [None, Some(1), Some(500), Some(1000), Some(5000)] {
            view.cursor = cursor;
            for zoom in 0..40 {
                view.zoom = zoom;
                let (lo, hi) = view.window(&track);
                assert!(lo >= 1.0 && hi <= 1000.0 + 1e-6 && lo <= hi, "{lo} {hi}");
            }
        }
    }

    #[test]
    fn what_lies_under_the_pointer_stays_there() {
        let track = track(1000);
        let mut view = view();
        let share = 0.3;
        let under = |view: &View| {
            let (lo, hi) = view.window(&track);
            lo + share * (hi - lo)
        };
        let before = under(&view);
        for inward in [true, true, true, false, true] {
            view.zoom_at(share, inward, &track);
            assert!((under(&view) - before).abs() < 3.0, "{}", under(&view));
        }
        assert_eq!(view.zoom, 3);
        // At the end of the run there is nothing to pan to.
        view.unzoom();
        view.zoom_at(1.0, true, &track);
        assert_eq!(view.window(&track).1, 1000.0);
    }

    #[test]
    fn zooming_stops_at_a_few_rows_and_the_cursor_at_the_ends() {
        let track = track(1000);
        let mut view = view();
        (0..50).for_each(|_| view.zoom_by(true, &track));
        assert_eq!(view.zoom, 6);
        (0..50).for_each(|_| view.zoom_by(false, &track));
        assert_eq!(view.zoom, 0);
        view.move_cursor(-1, &Track::default());
        assert_eq!(view.cursor, None);
        view.move_cursor(-1, &track);
        assert_eq!(view.cursor, Some(1000));
        view.move_cursor(-1, &track);
        assert_eq!(view.cursor, Some(990));
        view.move_cursor(-1000, &track);
        assert_eq!(view.cursor, Some(1));
        view.move_cursor(1000, &track);
        assert_eq!(view.cursor, Some(1000));
    }
}
