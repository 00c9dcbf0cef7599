//! What is looked at and how: language, colours, axes, zoom, the data cursor.
//!
//! Belongs to the screen alone; nothing here reaches the engine. Changed by the actions and panels, read by everything
//! that draws.

use std::time::Duration;

use crate::chart::axis::Scale;
use crate::chart::glyph::GlyphSet;
use crate::chart::series::{Track, XUnit};
use crate::lang::Lang;
use crate::seat::Seat;
use crate::state::State;
use crate::theme::Theme;

/// Decays of the smoothed line, in the order in which the key walks through them.
pub const SMOOTHINGS: [f64; 6] = [0.9, 0.95, 0.98, 0.99, 0.0, 0.5];

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
            to_charts: false,
        }
    }

    /// Decay of the smoothed line.
    pub fn beta(&self) -> f64 {
        SMOOTHINGS[self.smoothing % SMOOTHINGS.len()]
    }

    /// The horizontal window: around the cursor where there is one, else at the end of the run.
    pub fn window(&self, track: &Track) -> (f64, f64) {
        let Some((first, last)) = track.extent(self.unit) else {
            return (0.0, 1.0);
        };
        if last <= first {
            return (first, first + 1.0);
        }
        let span = (last - first) / f64::from(2u32.pow(self.zoom.min(30)));
        let centre = self
            .cursor
            .map_or(last, |step| track.x_of_step(step, self.unit));
        let lo = (centre - span / 2.0).min(last - span).max(first);
        (lo, lo + span)
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
        self.cursor = Some(track.step(row));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::theme::Palette;

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
