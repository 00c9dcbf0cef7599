//! run.json: what is trained, where, since when, by which command and process.

use super::RECORD;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use time::OffsetDateTime;

/// Version of the record that is written.
const SCHEMA: u32 = 1;

/// What the caller knows about a run or an attempt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Origin {
    /// What is trained, in a line: the config file or preset, or `demo`.
    pub what: String,
    /// The command line.
    pub command: Vec<String>,
    /// Commit that the program was built from; empty where unknown.
    pub commit: String,
    /// The configuration file that is watched, absolute; none where nobody edits one.
    pub file: Option<PathBuf>,
    /// The run and step that this run was forked from.
    pub parent: Option<Parent>,
}

/// Where a fork comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Name of the run.
    pub run: String,
    /// Its step.
    pub step: u64,
}

/// The contents of run.json. Older records lack fields; newer ones may have more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunRecord {
    /// Version of this file's form.
    pub schema: u32,
    /// Name at the time of writing; the folder's name counts.
    pub name: String,
    /// What is trained.
    pub what: String,
    /// The machine's name; empty where unknown.
    pub host: String,
    /// Directory in which the command was given.
    pub directory: String,
    /// When the run began: RFC 3339, UTC.
    pub created: String,
    /// When the last attempt began.
    pub started: String,
    /// The command line of the last attempt.
    pub command: Vec<String>,
    /// Version of the program.
    pub version: String,
    /// Commit that the program was built from.
    pub commit: String,
    /// Id of the last attempt's process.
    pub process: u32,
    /// Number of the last attempt, from 1.
    pub attempt: u32,
    /// The configuration file that the last attempt reads and watches: absolute, on the machine of `host`. None where it
    /// reads only what is stored in the folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The run and step that this run was forked from.
    pub parent: Option<Parent>,
}

impl RunRecord {
    pub(super) fn new(name: &str, origin: &Origin) -> Self {
        let started = now();
        let directory = std::env::current_dir().unwrap_or_default();
        Self {
            schema: SCHEMA,
            name: name.to_owned(),
            what: origin.what.clone(),
            host: host(),
            directory: directory.to_string_lossy().into_owned(),
            created: started.clone(),
            started,
            command: origin.command.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: origin.commit.clone(),
            process: std::process::id(),
            attempt: 1,
            file: origin.file.clone(),
            parent: origin.parent.clone(),
        }
    }

    /// Reads a run's record; `None` where there is none or it is not whole.
    pub fn read(run: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(run.join(RECORD)).ok()?).ok()
    }
}

/// The time now, as events write it: RFC 3339, UTC, with milliseconds.
pub fn now() -> String {
    let now = OffsetDateTime::now_utc();
    let (date, time) = (now.date(), now.time());
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond()
    )
}

/// This machine's name; empty where unknown.
pub(crate) fn host() -> String {
    let from_kernel = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = from_kernel.or_else(|| std::env::var("HOSTNAME").ok());
    name.unwrap_or_default().trim().to_owned()
}
