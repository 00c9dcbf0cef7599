//! What was recorded before the screen opened: steps as columns of the run's index, everything else as events.
//!
//! A run of ten million steps opens at once: its steps stay where they are, in the memory-mapped index, and of the rest
//! only what the screen can show is read.

use std::path::Path;
use std::sync::Arc;

use engine::link::{Body, Event};
use engine::run_folder::index::{LineKind, LinePlace};
use engine::run_folder::{EVENTS, EventTail, Index, RunError};

use super::{Metric, SAMPLES, State, Status};
use crate::chart::series::{Recorded, Series, Track};

/// Statistics of layers that are read. Of more, evenly spaced ones are; the heat map has no room for others.
const LAYERS: usize = 4096;

/// A run's past.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Everything but the steps, oldest first.
    pub events: Vec<Event>,
    /// The steps; none where the events have them.
    pub index: Option<Arc<Index>>,
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
        let mut lines = index.lines();
        thin(&mut lines, LineKind::Layers, |number, all| {
            all <= LAYERS || (all - 1 - number).is_multiple_of(all.div_ceil(LAYERS))
        });
        thin(&mut lines, LineKind::Sample, |number, all| {
            number + SAMPLES >= all
        });
        let mut evals = index.eval_events();
        let mut events = Vec::with_capacity(lines.len());
        for part in lines.chunk_by(|a, b| (a.kind == LineKind::Eval) == (b.kind == LineKind::Eval))
        {
            if part[0].kind == LineKind::Eval {
                events.extend(evals.by_ref().take(part.len()));
            } else {
                events.extend(index.events(part)?);
            }
        }
        drop(evals);
        Ok(Self {
            events,
            end: index.to(),
            index: Some(Arc::new(index)),
        })
    }

    /// The same behind `past`, what came before the run in this folder: a fork's forebears. All steps are events then.
    #[must_use]
    pub fn behind(self, past: Vec<Event>, folder: &Path) -> Self {
        let mut events = past;
        if self.index.is_some() {
            let record = EventTail::open(&folder.join(EVENTS));
            let mut record = record.ok().filter(|record| record.position() < self.end);
            while let Some(event) = record.as_mut().and_then(EventTail::poll) {
                events.push(event);
                record = record.filter(|record| record.position() < self.end);
            }
        }
        Self {
            events,
            index: None,
            end: self.end,
        }
    }
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
        let Some(index) = &history.index else { return };
        self.track = Track::behind(index);
        let metrics: [(&mut Metric, &'static str); 6] = [
            (&mut self.loss, "loss"),
            (&mut self.lr, "lr"),
            (&mut self.grad_norm, "grad_norm"),
            (&mut self.speed, "tokens_per_second"),
            (&mut self.step_seconds, "step_seconds"),
            (&mut self.clipped, "clipped"),
        ];
        for (metric, name) in metrics {
            metric.series = Series::behind(Recorded::new(index, name));
            metric.smooth(metric.ema.beta());
        }
        for checkpoint in &mut self.checkpoints {
            let rows = self
                .track
                .rows_before_step(checkpoint.step.saturating_add(1));
            let loss = rows.checked_sub(1).and_then(|row| self.loss.ema.at(row));
            checkpoint.loss = loss.filter(|loss| loss.is_finite());
        }
    }
}
