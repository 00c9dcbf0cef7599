//! The course of a run: its loss over steps, tokens, time and arithmetic, for comparisons.

use std::path::Path;

use engine::link::{Body, Started};
use engine::run_folder::{EventReader, RunError};

use crate::chart::series::{Series, Track, XUnit};

/// The loss of a run, row by row.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// Steps, tokens, seconds.
    pub track: Track,
    /// The same rows with billions of floating-point operations where the tokens would be; empty where the model's size
    /// is not known.
    pub work: Track,
    /// Training loss, nats per token.
    pub loss: Series,
}

/// What the horizontal axis of a comparison counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Axis {
    /// Optimizer steps.
    #[default]
    Step,
    /// Tokens trained on.
    Tokens,
    /// Seconds spent training.
    Time,
    /// Floating-point operations, in billions.
    Work,
}

impl Axis {
    /// The next one, in the order in which the key walks through them.
    pub fn next(self) -> Self {
        match self {
            Self::Step => Self::Tokens,
            Self::Tokens => Self::Time,
            Self::Time => Self::Work,
            Self::Work => Self::Step,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Step => "steps",
            Self::Tokens => "tokens",
            Self::Time => "time",
            Self::Work => "GFLOP",
        }
    }

    /// The unit under which a track holds it.
    pub fn unit(self) -> XUnit {
        match self {
            Self::Step => XUnit::Step,
            Self::Tokens | Self::Work => XUnit::Tokens,
            Self::Time => XUnit::Time,
        }
    }
}

impl Course {
    /// Reads a run's record. Of a step that was trained twice, what the last attempt measured.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn read(run: &Path) -> Result<Self, RunError> {
        let mut course = Self::default();
        let mut seconds = super::seconds_before(run);
        let mut cost = None;
        for event in EventReader::open(run)? {
            match event.body {
                Body::Started(started) => cost = flops_per_token(&started).or(cost),
                Body::Step(step) => {
                    seconds += step.step_seconds.max(0.0);
                    course.track.push(step.step, step.tokens, seconds);
                    if let Some(cost) = cost {
                        let work = step.tokens as f64 * cost / 1e9;
                        course.work.push(step.step, work as u64, seconds);
                    }
                    course.loss.push(step.loss);
                }
                _ => {}
            }
        }
        Ok(course)
    }

    /// The coordinates for an axis, if they are known for every row.
    pub fn along(&self, axis: Axis) -> Option<&Track> {
        let track = if axis == Axis::Work {
            &self.work
        } else {
            &self.track
        };
        (track.len() == self.loss.len() && !track.is_empty()).then_some(track)
    }
}

/// Operations that training on a token takes: `6 N + 12 L C T` (Chowdhery et al., 2022, appendix B: six a parameter, and
/// the attention matrices).
fn flops_per_token(started: &Started) -> Option<f64> {
    let value = |key: &str| -> Option<f64> {
        let found = started.config.iter().find(|value| value.key == key)?;
        found.value.parse().ok()
    };
    let attention =
        12.0 * value("model.layers")? * value("model.dim")? * value("data.sequence_length")?;
    Some(6.0 * started.parameters as f64 + attention)
}
