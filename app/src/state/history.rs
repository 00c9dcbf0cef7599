//! What was recorded before the screen opened: steps as columns of the run's index, everything else as events.
//!
//! A run of ten million steps opens at once: its steps stay where they are, in the memory-mapped index, and of the rest
//! only what the screen can show is read.

use std::path::Path;
use std::sync::Arc;

use engine::link::{Body, Event};
use engine::run_folder::index::{LineKind, LinePlace};
use engine::run_folder::{Index, RunError};

use super::{LOOKS, Metric, SAMPLES, State, Status};
use crate::chart::recorded::{Recorded, Rows};
use crate::chart::series::{Series, Track};

#[cfg(test)]
mod tests;

/// Statistics of layers that are read. Of more, evenly spaced ones are; the heat map has no room for others.
const LAYERS: usize = 4096;

/// A run's past.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Everything but the steps, oldest first.
    pub events: Vec<Event>,
    /// The steps; none where the events have them.
    pub index: Option<Arc<Index>>,
    /// The steps before those: a fork's forebears'.
    pub before: Rows,
    /// Byte of the record up to which this tells.
    pub end: u64,
}

impl History {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// If its events cannot be read.
    pub fn read(folder: &Path) -> Result<Self, RunError> {
        let index = Index::open(folder)?;
        let events = events(&index, index.lines())?;
        Ok(Self {
            events,
            end: index.to(),
            index: Some(Arc::new(index)),
            before: Rows::default(),
        })
    }

    /// The same behind what came before the run in this folder: a fork's forebears.
    #[must_use]
    pub fn behind(self, past: Past) -> Self {
        let mut events = past.events;
        events.extend(self.events);
        Self {
            events,
            before: past.rows,
            ..self
        }
    }
}

/// What the runs before a fork measured and tried, up to where it begins; the oldest first.
#[derive(Clone, Debug, Default)]
pub struct Past {
    /// Everything but the steps.
    events: Vec<Event>,
    /// The steps.
    rows: Rows,
}

impl Past {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.rows.len() == 0
    }

    /// Goes on with the run in a folder up to step `last`, after which the next one begins. Its checkpoints are not the
    /// fork's own, and what it said of itself is past.
    ///
    /// # Errors
    /// If its events cannot be read; then nothing is added.
    pub fn then(&mut self, folder: &Path, last: u64) -> Result<(), RunError> {
        let index = Index::open(folder)?;
        let mut lines = index.lines();
        lines.retain(|line| {
            line.step <= last && !matches!(line.kind, LineKind::Checkpoint | LineKind::System)
        });
        let mut told = events(&index, lines)?;
        told.retain(|event| {
            let step = match &event.body {
                Body::Layers(layers) => layers.step,
                Body::Eval(eval) => eval.step,
                Body::Sample { step, .. } | Body::ConfigApplied { step, .. } => *step,
                // The head has the names of the layers and the configuration.
                Body::Started(started) => started.step,
                _ => return false,
            };
            step <= last
        });
        self.events.append(&mut told);
        let rows = std::mem::take(&mut self.rows);
        self.rows = rows.then(&Arc::new(index), last);
        Ok(())
    }
}

/// The events at lines of a record, of layers, samples and looks at the machine those that a screen has room for.
fn events(index: &Index, mut lines: Vec<LinePlace>) -> Result<Vec<Event>, RunError> {
    thin(&mut lines, LineKind::Layers, |number, all| {
        all <= LAYERS || (all - 1 - number).is_multiple_of(all.div_ceil(LAYERS))
    });
    thin(&mut lines, LineKind::Sample, |number, all| {
        number + SAMPLES >= all
    });
    thin(&mut lines, LineKind::System, |number, all| {
        number + LOOKS >= all
    });
    let mut evals = index.eval_events();
    let mut events = Vec::with_capacity(lines.len());
    for part in lines.chunk_by(|a, b| (a.kind == LineKind::Eval) == (b.kind == LineKind::Eval)) {
        if part[0].kind == LineKind::Eval {
            events.extend(evals.by_ref().take(part.len()));
        } else {
            events.extend(index.events(part)?);
        }
    }
    Ok(events)
}

/// Leaves out the lines of a kind that are not wanted, by their number among all of that kind.
fn thin(lines: &mut Vec<LinePlace>, kind: LineKind, wanted: impl Fn(usize, usize) -> bool) {
    let all = lines.iter().filter(|line| line.kind == kind).count();
    let mut number = 0;
    lines.retain(|line| {
        if line.kind != kind {
            return true;
        }
        number += 1;
        wanted(number - 1, all)
    });
}

impl History {
    /// Whether the last that it tells is the end of the run.
    pub fn is_over(&self) -> bool {
        let last = self.events.last().map(|event| &event.body);
        matches!(last, Some(Body::Finished { .. } | Body::Failed { .. }))
    }
}

impl State {
    /// Folds in what earlier attempts of this run have said, before its engine says anything.
    pub fn recall(&mut self, history: &History) {
        self.catch_up(history);
        // Those engines are gone; the alerts were theirs.
        self.status = Status::Waiting;
        self.num_alerts = 0;
    }

    /// Folds in all that a run has said so far.
    pub fn catch_up(&mut self, history: &History) {
        for event in &history.events {
            self.apply(event);
        }
        let mut rows = history.before.clone();
        if let Some(index) = &history.index {
            self.recall_superseded(index, rows.elapsed());
            rows = rows.then(index, u64::MAX);
        }
        if rows.len() == 0 {
            return;
        }
        self.track = Track::behind(rows.clone());
        let metrics: [(&mut Metric, &'static str); 6] = [
            (&mut self.loss, "loss"),
            (&mut self.lr, "lr"),
            (&mut self.grad_norm, "grad_norm"),
            (&mut self.speed, "tokens_per_second"),
            (&mut self.step_seconds, "step_seconds"),
            (&mut self.clipped, "clipped"),
        ];
        for (metric, name) in metrics {
            metric.series = Series::behind(Recorded::new(&rows, name));
            metric.smooth(metric.ema.beta());
        }
        let losses: Vec<Option<f32>> = self
            .checkpoints
            .iter()
            .map(|checkpoint| self.loss_at(checkpoint.step))
            .collect();
        for (checkpoint, loss) in self.checkpoints.iter_mut().zip(losses) {
            checkpoint.loss = loss;
        }
    }
}
