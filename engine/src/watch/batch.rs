//! `alerts/step_00000012.json`: the rows that a bad step was made from, to be read by a person.
//!
//! Written by the engine for alerts about a single step (`spike`, `nonfinite`); read by `zerollm show RUN --alert STEP`.

use crate::checkpoint::{RealDisk, folder_name, step_of, write_atomic};
use crate::data::{Dataset, StepData};
use crate::link::number;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tokenizer::Tokenizer;

/// Folder of the files, below the run's.
pub const FOLDER: &str = "alerts";
/// Files of a run: whoever has as many has other troubles than one more would tell of.
const MOST: usize = 200;

/// The rows of a step, and why they were kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptBatch {
    /// Version of this form.
    pub schema: u32,
    /// The step.
    pub step: u64,
    /// The rule that raised the alert.
    pub rule: String,
    /// What it said.
    pub message: String,
    /// The rows, in order.
    pub rows: Vec<KeptRow>,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeptRow {
    /// Its number in the order of training, counted over all epochs.
    pub row: u64,
    /// Its number in the stream of the data: it begins at token `data_row * sequence_length`.
    pub data_row: u64,
    /// Mean loss of its targets under the weights that the step began with, in nats, without dropout; NaN where a signal cut
    /// the measuring short.
    #[serde(with = "number")]
    pub loss: f64,
    /// Its ids, the last target included.
    pub ids: Vec<i32>,
    /// The text that they stand for; none without a tokenizer.
    pub text: Option<String>,
}

impl KeptBatch {
    /// The rows of `data` with their ids and texts; `measure` gives the loss of a row by its number.
    pub fn new(
        rule: &str,
        message: &str,
        data: &StepData,
        dataset: &Dataset,
        tokenizer: Option<&Tokenizer>,
        mut measure: impl FnMut(u64) -> f64,
    ) -> Self {
        let length = dataset.sequence_length();
        let mut rows = Vec::new();
        for batch in &data.micro_batches {
            for number in 0..batch.rows {
                let span = number * length..(number + 1) * length;
                let row = batch.row0 + number as u64;
                let mut ids = batch.tokens[span.clone()].to_vec();
                ids.extend(batch.targets[span].last().filter(|id| **id >= 0));
                let text = tokenizer.map(|tokenizer| {
                    let ids: Vec<u32> = ids.iter().map(|id| *id as u32).collect();
                    tokenizer.decode_lossy(&ids)
                });
                rows.push(KeptRow {
                    row,
                    data_row: dataset.place(row),
                    loss: measure(row),
                    ids,
                    text,
                });
            }
        }
        Self {
            schema: 1,
            step: data.step,
            rule: rule.to_owned(),
            message: message.to_owned(),
            rows,
        }
    }

    /// Writes it below the folder of a run; in place of an earlier one of the same step. Returns its path.
    ///
    /// # Errors
    /// If the disk refuses, or the run has kept as many batches as it may.
    pub fn write(&self, run: &Path) -> io::Result<PathBuf> {
        let path = path(run, self.step);
        if !path.exists() && steps(run).len() >= MOST {
            return Err(io::Error::other(format!(
                "{FOLDER} holds {MOST} batches already; delete some to keep more"
            )));
        }
        fs::create_dir_all(run.join(FOLDER))?;
        write_atomic(&RealDisk, &path, &serde_json::to_vec(self)?)?;
        Ok(path)
    }

    /// Reads the batch of a step of a run.
    ///
    /// # Errors
    /// If there is none, or it is damaged.
    pub fn read(run: &Path, step: u64) -> io::Result<Self> {
        let bytes = fs::read(path(run, step))?;
        serde_json::from_slice(&bytes).map_err(io::Error::from)
    }
}

/// The file of a step.
pub fn path(run: &Path, step: u64) -> PathBuf {
    run.join(FOLDER).join(format!("{}.json", folder_name(step)))
}

/// The steps whose batches a run has kept, ascending.
pub fn steps(run: &Path) -> Vec<u64> {
    let entries = fs::read_dir(run.join(FOLDER)).into_iter().flatten();
    let mut steps: Vec<u64> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            (path.extension()? == "json").then_some(())?;
            step_of(&path.with_extension(""))
        })
        .collect();
    steps.sort_unstable();
    steps
}
