//! The course of a run: its loss over steps, tokens, time and arithmetic, for comparisons.

use std::path::Path;

use std::sync::Arc;

use engine::link::{Body, Started};
use engine::run_folder::index::LineKind;
use engine::run_folder::{Index, RunError};

use crate::chart::recorded::{Recorded, Rows};
use crate::chart::series::{Series, Track, XUnit};
use crate::lang::Text;

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
    pub fn name(self) -> Text {
        match self {
            Self::Step => Text::new("steps", "步数"),
            Self::Tokens => Text::new("tokens", "token"),
            Self::Time => Text::new("time", "时间"),
            Self::Work => Text::new("GFLOP", "GFLOP"),
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
    /// Opens a run's index: its rows stay there. Of a step that was trained twice, what the last attempt measured.
    ///
    /// # Errors
    /// If its record cannot be opened.
    pub fn read(run: &Path) -> Result<Self, RunError> {
        let index = Arc::new(Index::open(run)?);
        let rows = Rows::after(super::seconds_before(run)).then(&index, u64::MAX);
        Ok(Self {
            loss: Series::behind(Recorded::new(&rows, "loss")),
            work: match flops_per_token(&index)? {
                Some(cost) => Track::behind(rows.clone()).with_tokens_as(cost / 1e9),
                None => Track::default(),
            },
            track: Track::behind(rows),
        })
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
/// the attention matrices), as the heads of a run's attempts tell; none where the first does not.
fn flops_per_token(index: &Index) -> Result<Option<f64>, RunError> {
    for line in index.lines() {
        // The head of an attempt is the first of its lines, but for those of a record that somebody edited.
        if line.kind == LineKind::Other
            && let Some(event) = index.events(&[line])?.pop()
            && let Body::Started(started) = event.body
        {
            return Ok(of_model(&started));
        }
    }
    Ok(None)
}

fn of_model(started: &Started) -> Option<f64> {
    let value = |key: &str| -> Option<f64> {
        let found = started.config.iter().find(|value| value.key == key)?;
        found.value.parse().ok()
    };
    let attention =
        12.0 * value("model.layers")? * value("model.dim")? * value("data.sequence_length")?;
    Some(6.0 * started.parameters as f64 + attention)
}
