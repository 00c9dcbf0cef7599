//! Where errands are done: one desk a thread, with what it remembers from one errand to the next.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use engine::checkpoint::{self, Surveyor};
use engine::launch::{Fork, Request, plan_fork};
use engine::run_folder::{EVENTS, Meta, RunError, is_gone, now, shelf};
use engine::watch::batch::KeptBatch;

use super::{Errand, ForkWish, News, Verdict};
use crate::book::course::Course;
use crate::book::samples::Samples;
use crate::book::{self, Known};
use crate::cli::fork;

/// What a thread knows.
pub(super) struct Desk {
    run: PathBuf,
    known: Known,
    /// Who looks at the checkpoints of the run on show.
    surveyor: Surveyor,
    /// What was read last of a run's samples, and how long its record was then.
    samples: Option<(PathBuf, u64, Arc<Samples>)>,
}

impl Desk {
    /// Of a screen that shows the run in `run`.
    pub(super) fn new(run: &Path) -> Self {
        Self {
            run: run.to_owned(),
            known: Known::default(),
            surveyor: Surveyor::default(),
            samples: None,
        }
    }

    fn runs(&self) -> &Path {
        match self.run.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// Does an errand.
    pub(super) fn go(&mut self, errand: Errand) -> News {
        let name = |run: &Path| {
            run.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        match errand {
            Errand::List => {
                let runs = self.runs().to_owned();
                match book::read(&runs, &mut self.known) {
                    Ok(entries) => News::Runs(Arc::new(entries)),
                    Err(error) => News::Done(Err(error.to_string())),
                }
            }
            Errand::Courses(runs) => {
                let courses = runs.into_iter().map(|run| {
                    let course = Course::read(&run).unwrap_or_default();
                    (run, course)
                });
                News::Courses(Arc::new(courses.collect()))
            }
            Errand::Tag(run, tags) => {
                let meta = Meta {
                    tags,
                    ..Meta::read(&run)
                };
                let written = meta
                    .write(&run)
                    .map(|()| format!("{} is tagged", name(&run)));
                News::Done(written.map_err(|error| error.to_string()))
            }
            Errand::Note(run, note) => {
                let meta = Meta {
                    note,
                    ..Meta::read(&run)
                };
                let written = meta
                    .write(&run)
                    .map(|()| format!("{} is noted", name(&run)));
                News::Done(written.map_err(|error| error.to_string()))
            }
            Errand::Measure(run) => {
                let holds = shelf::contents(&run);
                News::Measured(run, holds)
            }
            Errand::Archive(run) => {
                let moved = shelf::archive(&run);
                let moved = moved.map(|place| format!("moved to {}", place.display()));
                News::Done(moved.map_err(|error| error.to_string()))
            }
            Errand::Delete(run) => {
                let deleted = shelf::delete(&run).map(|()| format!("{} is deleted", name(&run)));
                News::Done(deleted.map_err(|error| error.to_string()))
            }
            Errand::PlanFork(wish) => News::Plan(self.plan(&wish)),
            Errand::Fork(wish) => News::Done(self.fork(&wish)),
            Errand::Rows(step) => {
                let kept = KeptBatch::read(&self.run, step);
                let failed = |error| format!("the rows of step {step} cannot be read: {error}");
                News::Rows(step, kept.map_err(failed))
            }
            Errand::Samples(run) => {
                let samples = self.samples_of(&run);
                News::Samples(run, samples.map_err(|error| error.to_string()))
            }
            Errand::Look => News::Gone(is_gone(&self.run)),
            Errand::Survey(number) if is_gone(&self.run) => {
                let why = format!("{} is gone", self.run.display());
                News::Survey(number, Err(why))
            }
            Errand::Survey(number) => {
                let found = self.surveyor.survey(&self.run).map(|mut found| {
                    for fault in found.iter_mut().filter_map(|it| it.fault.as_mut()) {
                        *fault = self.within(fault);
                    }
                    Arc::new(found)
                });
                News::Survey(
                    number,
                    found.map_err(|error| self.within(&error.to_string())),
                )
            }
            Errand::Verify(step) => {
                let name = checkpoint::folder_name(step);
                let folder = self.run.join("checkpoints").join(name);
                let found = match checkpoint::verify(&folder) {
                    Ok(_) => Verdict::Whole,
                    // Another process may train the run, and delete what is old.
                    Err(_) if !folder.exists() => Verdict::Gone,
                    Err(error) => Verdict::Damaged(self.within(&error.to_string())),
                };
                News::Verified(step, now(), found)
            }
        }
    }

    /// A sentence about a place in the run's folder, as the engine names it: a whole path leaves no room for the reason on a
    /// screen.
    fn within(&self, sentence: &str) -> String {
        sentence.replacen(&format!("{}/", self.run.display()), "", 1)
    }

    /// The samples of a run; its record is read again only where it has grown.
    fn samples_of(&mut self, run: &Path) -> Result<Arc<Samples>, RunError> {
        let record = fs::metadata(run.join(EVENTS));
        let length = record.map_or(0, |record| record.len());
        if let Some((known, then, samples)) = &self.samples
            && (known.as_path(), *then) == (run, length)
        {
            return Ok(Arc::clone(samples));
        }
        let samples = Arc::new(Samples::read(run)?);
        self.samples = Some((run.to_owned(), length, Arc::clone(&samples)));
        Ok(samples)
    }

    fn plan(&self, wish: &ForkWish) -> Result<Vec<String>, String> {
        let request = Request {
            flags: wish.changes.clone(),
            runs: self.runs().to_owned(),
            name: wish.name.clone(),
            ..Request::default()
        };
        let plan = plan_fork(&request, &self.origin(wish.step)).map_err(|error| {
            // The field below the list is no flag.
            let why = error.to_string();
            why.strip_prefix("--set: ")
                .map_or(why.clone(), str::to_owned)
        })?;
        Ok(fork::lines(&plan))
    }

    /// The run by its path: a name could be that of another folder's.
    fn origin(&self, step: u64) -> Fork {
        let run = self.runs().join(self.run.file_name().unwrap_or_default());
        Fork {
            run: run.to_string_lossy().into_owned(),
            step: Some(step),
        }
    }

    /// Starts the program anew, which trains in the background and says so.
    fn fork(&self, wish: &ForkWish) -> Result<String, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let origin = self.origin(wish.step);
        let mut command = Command::new(program);
        command
            .arg("fork")
            .arg(format!("{}@{}", origin.run, wish.step))
            .arg("--runs")
            .arg(self.runs());
        if let Some(name) = &wish.name {
            command.arg(format!("--run={name}"));
        }
        for change in &wish.changes {
            command.arg(format!("--set={change}"));
        }
        command.arg("--detach").stdin(Stdio::null());
        let output = command.output().map_err(|error| error.to_string())?;
        let said = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            text.lines().next().unwrap_or_default().to_owned()
        };
        if output.status.success() {
            Ok(said(&output.stdout))
        } else {
            Err(said(&output.stderr))
        }
    }
}
