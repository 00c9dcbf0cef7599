//! What the screens want done in the folder of runs: looking through it, tagging, setting aside, deleting, forking, reading
//! what another run has written.
//!
//! Threads of its own do it, so that no disk makes the screen wait: one that does errand after errand in their order, and one
//! for those that read whole checkpoints ([`Errand::reads_checkpoints`]), which takes minutes where they are large and holds
//! up nothing else. What comes of it goes to every panel ([`crate::panels::Panel::hear`]). How each is done is [`desk`]'s.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use engine::checkpoint::Surveyed;
use engine::run_folder::shelf;
use engine::watch::batch::KeptBatch;

use crate::book::Entry;
use crate::book::course::Course;
use crate::book::samples::Samples;
use crate::cost::Clock;

mod desk;

use desk::Desk;

/// Something to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Look through the folder of runs.
    List,
    /// Read the courses of runs.
    Courses(Vec<PathBuf>),
    /// Set a run's tags.
    Tag(PathBuf, BTreeSet<String>),
    /// Write a note about a run.
    Note(PathBuf, String),
    /// Look what a run's folder holds.
    Measure(PathBuf),
    /// Set a run aside.
    Archive(PathBuf),
    /// Delete a run.
    Delete(PathBuf),
    /// Say what a fork of the run on show would be.
    PlanFork(ForkWish),
    /// Start it in the background.
    Fork(ForkWish),
    /// Read the rows that an alert of the run on show has kept of a step.
    Rows(u64),
    /// Read what a run has written after its prompts.
    Samples(PathBuf),
    /// Look what checkpoints the run on show has, as it is after so many changes that its engine has told of.
    Survey(u64),
    /// Look whether the run on show still has its record.
    Look,
    /// Compare the checkpoint of a step of the run on show with its hashes.
    Verify(u64),
}

impl Errand {
    /// Whether a checkpoint is read whole for it, to compare its hashes: before it is forked from, too.
    fn reads_checkpoints(&self) -> bool {
        matches!(self, Self::PlanFork(_) | Self::Fork(_) | Self::Verify(_))
    }
}

/// A fork that a person asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForkWish {
    /// The checkpoint's step.
    pub step: u64,
    /// The new run's name, if one was given.
    pub name: Option<String>,
    /// `key=value` changes.
    pub changes: Vec<String>,
}

impl ForkWish {
    /// Reads `[NAME] [key=value...]`, separated by spaces.
    pub fn parse(step: u64, text: &str) -> Self {
        let (changes, names): (Vec<String>, Vec<String>) = text
            .split_whitespace()
            .map(str::to_owned)
            .partition(|word| word.contains('='));
        Self {
            step,
            // More words than one are a name with spaces, which the engine judges.
            name: (!names.is_empty()).then(|| names.join(" ")),
            changes,
        }
    }
}

/// What came of an errand.
#[derive(Clone, Debug)]
pub enum News {
    /// The runs, the newest first.
    Runs(Arc<Vec<Entry>>),
    /// The courses of runs, by folder.
    Courses(Arc<Vec<(PathBuf, Course)>>),
    /// What a run's folder holds.
    Measured(PathBuf, shelf::Contents),
    /// What a fork would be, or why it is refused, line by line.
    Plan(Result<Vec<String>, String>),
    /// The rows of a step, or why there are none.
    Rows(u64, Result<KeptBatch, String>),
    /// What a run has written, by its folder, or why it cannot be read.
    Samples(PathBuf, Result<Arc<Samples>, String>),
    /// The checkpoints that the run has, as they are after so many changes, or why they cannot be looked at.
    Survey(u64, Result<Arc<Vec<Surveyed>>, String>),
    /// Whether the run's record is gone from its place.
    Gone(bool),
    /// Whether the checkpoint of a step is what was written, and when that was found.
    Verified(u64, String, Verdict),
    /// What was done, or why not, in a line.
    Done(Result<String, String>),
}

/// What a comparison with its hashes says of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is what was written.
    Whole,
    /// It is not, with what is wrong.
    Damaged(String),
    /// It went while it was read: deleted, or set aside.
    Gone,
}

/// The threads; dropping this lets each end after its present errand.
pub struct Errands {
    quick: Clerk,
    reading: Clerk,
    news: Receiver<News>,
}

impl Errands {
    /// Starts the threads of a screen that shows the run in `run`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(run: &Path) -> io::Result<Self> {
        let (sender, news) = channel();
        Ok(Self {
            quick: Clerk::start("errands", run, sender.clone())?,
            reading: Clerk::start("verify", run, sender)?,
            news,
        })
    }

    /// Asks for errands.
    pub fn send(&self, errands: impl IntoIterator<Item = Errand>) {
        for errand in errands {
            let clerk = if errand.reads_checkpoints() {
                &self.reading
            } else {
                &self.quick
            };
            // The thread ends only with this.
            drop(clerk.asked.send(errand));
        }
    }

    /// What the threads have had of the processors.
    pub fn time(&self) -> Duration {
        self.quick.clock.read() + self.reading.clock.read()
    }

    /// What has come of errands since the last call.
    pub fn news(&self) -> impl Iterator<Item = News> + '_ {
        self.news.try_iter()
    }
}

/// One of the threads.
struct Clerk {
    asked: Sender<Errand>,
    clock: Clock,
}

impl Clerk {
    fn start(name: &str, run: &Path, news: Sender<News>) -> io::Result<Self> {
        let (asked, errands) = channel();
        let mut desk = Desk::new(run);
        let clock = Clock::default();
        let own = clock.clone();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                for errand in errands {
                    let done = desk.go(errand);
                    own.note();
                    if news.send(done).is_err() {
                        break;
                    }
                }
            })?;
        Ok(Self { asked, clock })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::checkpoint;
    use engine::link::{Body, Event};
    use engine::run_folder::{EVENTS, EventWriter, NameFrom, Origin, RunFolder};
    use std::fs;
    use std::process::Command;

    #[test]
    fn a_wish_is_a_name_and_changes() {
        let wish = ForkWish::parse(7, " slow  optimizer.lr=1e-4 train.max_steps=9");
        assert_eq!(wish.name.as_deref(), Some("slow"));
        assert_eq!(wish.changes, ["optimizer.lr=1e-4", "train.max_steps=9"]);
        assert_eq!(ForkWish::parse(7, "a=1").name, None);
    }

    #[test]
    fn errands_are_done_in_their_order() {
        let home = tempfile::tempdir().unwrap();
        let create = |name| {
            RunFolder::create(home.path(), name, NameFrom::Flag, &Origin::default()).unwrap()
        };
        let own = create("own");
        let path = create("other").path().to_owned();
        let errands = Errands::start(own.path()).unwrap();
        errands.send([
            Errand::Tag(path.clone(), ["x".to_owned()].into()),
            Errand::Note(path.clone(), "why".to_owned()),
            Errand::List,
            Errand::Delete(own.path().to_owned()),
            Errand::Archive(path),
            Errand::List,
        ]);
        let news: Vec<News> = (0..6).map(|_| errands.news.recv().unwrap()).collect();
        let News::Runs(runs) = &news[2] else {
            panic!("{:?}", news[2]);
        };
        let other = runs.iter().find(|run| run.summary.name == "other").unwrap();
        assert_eq!(other.meta.note, "why");
        assert!(other.meta.tags.contains("x"));
        let News::Done(Err(refused)) = &news[3] else {
            panic!("{:?}", news[3]);
        };
        assert!(refused.contains("in use"), "{refused}");
        let News::Runs(runs) = &news[5] else {
            panic!("{:?}", news[5]);
        };
        assert_eq!(runs.len(), 1);
    }

    /// A checkpoint that takes for ever to read: its manifest is a pipe into which nobody writes.
    #[cfg(unix)]
    #[test]
    fn who_reads_a_checkpoint_holds_up_nobody() {
        let home = tempfile::tempdir().unwrap();
        let run = home.path().join("own");
        let of = |step| run.join("checkpoints").join(checkpoint::folder_name(step));
        fs::create_dir_all(of(3)).unwrap();
        let pipe = of(3).join("manifest.json");
        assert!(
            Command::new("mkfifo")
                .arg(&pipe)
                .status()
                .unwrap()
                .success()
        );
        let errands = Errands::start(&run).unwrap();
        let next = || errands.news.recv_timeout(Duration::from_mins(1)).unwrap();
        let is = |found: &News, step| matches!(found, News::Verified(of, ..) if *of == step);
        errands.send([Errand::Verify(3), Errand::Verify(4), Errand::Rows(5)]);
        let first = next();
        assert!(matches!(first, News::Rows(5, Err(_))), "{first:?}");
        fs::write(&pipe, "{}").unwrap();
        let second = next();
        assert!(is(&second, 3), "{second:?}");
        let News::Verified(_, _, Verdict::Damaged(why)) = second else {
            panic!("{second:?}");
        };
        let place = format!("checkpoints/{}: ", checkpoint::folder_name(3));
        assert!(why.starts_with(&place), "{why}");
        let News::Verified(4, _, Verdict::Gone) = next() else {
            panic!("there is no such checkpoint");
        };
    }

    #[test]
    fn a_folder_that_is_gone_is_no_folder_without_checkpoints() {
        let home = tempfile::tempdir().unwrap();
        let run = RunFolder::create(home.path(), "r", NameFrom::Flag, &Origin::default()).unwrap();
        let path = run.path().to_owned();
        let errands = Errands::start(&path).unwrap();
        let look = || {
            errands.send([Errand::Look, Errand::Survey(3)]);
            let news: Vec<News> = (0..2).map(|_| errands.news.recv().unwrap()).collect();
            match &news[..] {
                [News::Gone(gone), News::Survey(3, found)] => (*gone, found.clone()),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(look(), (false, Ok(Arc::new(Vec::new()))));
        drop(run);
        fs::remove_dir_all(&path).unwrap();
        // What else writes there makes no run of it.
        fs::create_dir_all(path.join("checkpoints")).unwrap();
        let (gone, found) = look();
        assert!(gone && found.unwrap_err().contains("is gone"));
    }

    #[test]
    fn a_record_of_samples_is_read_again_once_it_has_grown() {
        let home = tempfile::tempdir().unwrap();
        let other =
            RunFolder::create(home.path(), "other", NameFrom::Flag, &Origin::default()).unwrap();
        let path = other.path().to_owned();
        let mut writer = EventWriter::open(&path.join(EVENTS)).unwrap();
        let mut write = |step: u64| {
            let body = Body::Sample {
                step,
                prompt: "a".to_owned(),
                text: "b".to_owned(),
                readable: None,
            };
            let time = "2026-01-01T00:00:00Z".to_owned();
            writer.append(&Event { body, time }).unwrap();
        };
        let errands = Errands::start(&home.path().join("own")).unwrap();
        let read = |path: &Path| {
            errands.send([Errand::Samples(path.to_owned())]);
            match errands.news.recv().unwrap() {
                News::Samples(of, samples) if of == path => samples,
                other => panic!("{other:?}"),
            }
        };
        let step = |samples: &Samples| samples.nearest("a", 99).unwrap().sample.step;
        write(1);
        let first = read(&path).unwrap();
        assert!(Arc::ptr_eq(&first, &read(&path).unwrap()), "nothing is new");
        write(2);
        assert_eq!((step(&first), step(&read(&path).unwrap())), (1, 2));
        let why = read(&home.path().join("none")).unwrap_err();
        assert!(why.contains("events.jsonl: cannot open"), "{why}");
    }
}
