//! Where errands are done: one desk a thread, with what it remembers from one errand to the next.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use engine::checkpoint::{self, Surveyor};
use engine::launch::{Fork, LaunchError, Request, plan_fork};
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
    /// The fork that was planned last, and whether it has a step to train.
    planned: Option<(ForkWish, bool)>,
}

impl Desk {
    /// Of a screen that shows the run in `run`.
    pub(super) fn new(run: &Path) -> Self {
        Self {
            run: run.to_owned(),
            known: Known::default(),
            surveyor: Surveyor::default(),
            samples: None,
            planned: None,
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

    fn plan(&mut self, wish: &ForkWish) -> Result<Vec<String>, String> {
        let request = Request {
            flags: wish.changes.clone(),
            runs: self.runs().to_owned(),
            name: wish.name.clone(),
            ..Request::default()
        };
        // The field below the list is no flag.
        let plan = plan_fork(&request, &self.origin(wish.step)).map_err(|error| match error {
            LaunchError::Run(RunError::Exists { name, .. }) => {
                format!("run {name} exists already: the fork needs another name")
            }
            error => {
                let why = error.to_string();
                why.strip_prefix("--set: ")
                    .map_or(why.clone(), str::to_owned)
            }
        })?;
        let trains = plan.config.train.max_steps > plan.step;
        self.planned = Some((wish.clone(), trains));
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
            let trains = match &self.planned {
                Some((planned, trains)) => planned != wish || *trains,
                None => true,
            };
            Ok(told(&said(&output.stdout), trains))
        } else {
            Err(said(&output.stderr))
        }
    }
}

/// What a screen says of a fork, from what the program said as it started it: a sentence that stays true when the fork has
/// ended. One without a step to train has ended at once.
fn told(said: &str, trains: bool) -> String {
    let parts = said
        .strip_prefix("run ")
        .and_then(|rest| rest.rsplit_once(" trains in the background "));
    match parts {
        Some((name, process)) if trains => {
            format!("run {name} was started in the background {process}")
        }
        Some((name, _)) => format!("run {name} is made; it is at its end and trains nothing"),
        None => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::run_folder::{NameFrom, Origin, RunFolder};

    #[test]
    fn a_fork_that_has_nothing_to_do_does_not_train() {
        let said = "run a trains in the background trains in the background (process 7)";
        let name = "a trains in the background";
        assert_eq!(
            told(said, true),
            format!("run {name} was started in the background (process 7)")
        );
        assert_eq!(
            told(said, false),
            format!("run {name} is made; it is at its end and trains nothing")
        );
        assert_eq!(told("something else", false), "something else");
    }

    #[test]
    fn a_name_that_cannot_be_had_is_refused_in_the_plan() {
        let home = tempfile::tempdir().unwrap();
        let create =
            |name| RunFolder::create(home.path(), name, NameFrom::Flag, &Origin::default());
        let own = create("own").unwrap();
        fs::create_dir(home.path().join("empty")).unwrap();
        fs::write(home.path().join("file"), "").unwrap();
        let mut desk = Desk::new(own.path());
        for (typed, why) in [
            ("own", "run own exists already: the fork needs another name"),
            (
                "file",
                "run file exists already: the fork needs another name",
            ),
            ("a/b", "run name \"a/b\": it contains a character"),
            (".x", "run name \".x\": it begins or ends with a character"),
            // Nothing is wrong with these: it is looked for the checkpoint.
            ("empty", "no checkpoint"),
            ("free", "no checkpoint"),
            ("", "no checkpoint"),
        ] {
            let plan = desk.plan(&ForkWish::parse(3, typed)).unwrap_err();
            assert!(plan.contains(why), "{typed}: {plan}");
        }
    }
}
