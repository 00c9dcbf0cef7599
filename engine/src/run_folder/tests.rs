use super::*;
use crate::checkpoint::{Contents, TensorSource, TrainerState};
use crate::link::{Body, Eval, Event, Started, Step};
use crate::safetensors::TensorInfo;
use serde_json::json;
use std::io::Write;
use std::process::Command;
use tempfile::TempDir;

mod events;
mod summaries;

fn origin() -> Origin {
    Origin {
        what: "demo".to_owned(),
        command: vec!["zerollm".to_owned(), "train".to_owned()],
        commit: "abc".to_owned(),
        ..Origin::default()
    }
}

fn create(runs: &Path, name: &str) -> RunFolder {
    RunFolder::create(runs, name, NameFrom::Flag, &origin()).unwrap()
}

fn scratch() -> TempDir {
    tempfile::tempdir().unwrap()
}

struct Nothing;

impl TensorSource for Nothing {
    fn tensors(&self) -> Vec<TensorInfo> {
        Vec::new()
    }
    fn write(&self, _: usize, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

fn save(folder: &RunFolder, step: u64) -> PathBuf {
    let trainer = TrainerState {
        step,
        ..TrainerState::default()
    };
    save_as(folder, &trainer)
}

fn save_as(folder: &RunFolder, trainer: &TrainerState) -> PathBuf {
    let contents = Contents {
        model: &Nothing,
        optimizer: &Nothing,
        config: &json!({}),
        generation_config: &json!({}),
        tokenizer: None,
        trainer,
    };
    checkpoint::write(&folder.checkpoints(), &contents, "interval")
        .unwrap()
        .path
}

fn event(body: Body) -> Event {
    Event { body, time: now() }
}

fn started(attempt: u32, step: u64) -> Event {
    event(Body::Started(Box::new(Started {
        attempt,
        step,
        parameters: 1234,
        max_steps: 100,
        ..Started::default()
    })))
}

fn step(step: u64, attempt: u32) -> Event {
    event(Body::Step(Step {
        step,
        attempt,
        loss: f64::from(attempt) + step as f64 / 1000.0,
        tokens: 10 * step,
        ..Step::default()
    }))
}

fn eval(step: u64, loss: f64) -> Event {
    event(Body::Eval(Eval {
        step,
        loss,
        ..Eval::default()
    }))
}

/// Step and attempt of all `step` events.
fn steps(run: &Path) -> Vec<(u64, u32)> {
    let events = EventReader::open(run).unwrap();
    events
        .filter_map(|event| match event.body {
            Body::Step(step) => Some((step.step, step.attempt)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_run_is_there_whole_or_not_at_all() {
    let runs = scratch();
    let looked = RunFolder::create_with(runs.path(), "a", NameFrom::Flag, &origin(), |folder| {
        assert!(list(runs.path()).unwrap().is_empty() && folder.path().join(LOCK).exists());
        folder.save_config(1, "x = 1").map(drop)
    });
    let folder = looked.unwrap();
    assert_eq!(folder.record().name, "a");
    assert_eq!(config_versions(folder.path()), [1]);
    assert_eq!(fs::read_dir(runs.path()).unwrap().count(), 1);
}

#[test]
fn names_follow_the_rules() {
    let runs = scratch();
    let runs = runs.path().join("deep/runs");
    let first = create(&runs, "a");
    assert_eq!(first.name(), "a");
    let error = RunFolder::create(&runs, "a", NameFrom::Flag, &origin()).unwrap_err();
    assert!(error.to_string().contains("--resume"), "{error}");
    assert_eq!(error.exit_code(), 2);
    for expected in ["a-2", "a-3"] {
        let next = RunFolder::create(&runs, "a", NameFrom::Config, &origin()).unwrap();
        assert_eq!(next.name(), expected);
    }
    for bad in [
        "",
        ".",
        "..",
        "a/b",
        "../x",
        "-x",
        "a\u{1b}b",
        "x@3",
        &"n".repeat(300),
    ] {
        let error = RunFolder::create(&runs, bad, NameFrom::Config, &origin()).unwrap_err();
        assert!(matches!(error, RunError::Name { .. }), "{bad:?}: {error}");
        assert!(!error.to_string().chars().any(char::is_control));
    }
    assert_eq!(fs::read_dir(&runs).unwrap().count(), 3);
    first.discard().unwrap();
    assert_eq!(fs::read_dir(&runs).unwrap().count(), 2);
    assert_eq!(split_step("a@12"), ("a", Some(12)));
    assert_eq!(split_step("a@b"), ("a@b", None));
    assert_eq!(split_step("a"), ("a", None));
    assert_eq!(runs_dir(Some(Path::new("x"))), Path::new("x"));
}

#[test]
fn a_run_has_one_writer() {
    let runs = scratch();
    let folder = create(runs.path(), "a");
    let error = RunFolder::open_for_resume(runs.path(), Some("a")).unwrap_err();
    let me = std::process::id();
    assert!(
        error.to_string().contains(&format!("process {me}")),
        "{error}"
    );
    assert_eq!(summary(folder.path()).state, State::Running);
    assert_eq!(summary(folder.path()).process, Some(me));
    drop(folder);
    assert_eq!(summary(&runs.path().join("a")).state, State::New);
    RunFolder::open_for_resume(runs.path(), Some("a")).unwrap();
}

const HOLD: &str = "ZEROLLM_TEST_HOLDS_RUN_IN";

/// Run by [`the_lock_dies_with_its_process`] in a process of its own; elsewhere it has nothing to do.
#[test]
fn hold_a_run_until_killed() {
    if let Some(runs) = std::env::var_os(HOLD) {
        let _folder = create(Path::new(&runs), "held");
        std::thread::sleep(std::time::Duration::from_mins(1));
    }
}

#[test]
fn the_lock_dies_with_its_process() {
    let runs = scratch();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "run_folder::tests::hold_a_run_until_killed"])
        .env(HOLD, runs.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let path = runs.path().join("held");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while summary(&path).state != State::Running {
        assert!(
            std::time::Instant::now() < deadline,
            "the other process never took the run"
        );
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let error = RunFolder::open_for_resume(runs.path(), None).unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("process {}", child.id())),
        "{error}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(RunFolder::open_for_resume(runs.path(), None).is_ok());
}

#[test]
fn a_run_is_resumed_from_its_newest_valid_checkpoint() {
    let runs = scratch();
    let folder = create(runs.path(), "a");
    save(&folder, 10);
    let newer = save(&folder, 20);
    assert_eq!(folder.relative(&newer), "checkpoints/step_00000020");
    fs::create_dir(folder.checkpoints().join(".tmp-step_00000030-1")).unwrap();
    fs::write(folder.path().join(".tmp-run.json-1"), "x").unwrap();
    drop(folder);
    let resumed = RunFolder::open_for_resume(runs.path(), Some("a")).unwrap();
    assert_eq!(resumed.checkpoint.unwrap().manifest.step, 20);
    assert!(!resumed.torn && resumed.warnings.is_empty());
    assert!(
        !resumed
            .folder
            .checkpoints()
            .join(".tmp-step_00000030-1")
            .exists()
    );
    assert!(!resumed.folder.path().join(".tmp-run.json-1").exists());
    let mut folder = resumed.folder;
    let created = folder.record().created.clone();
    assert_eq!(folder.begin_attempt(&origin()).unwrap(), 2);
    assert_eq!(RunRecord::read(folder.path()).unwrap().attempt, 2);
    assert_eq!(folder.record().created, created);
    drop(folder);
    fs::write(newer.join("model.safetensors"), "x").unwrap();
    let resumed = RunFolder::open_for_resume(runs.path(), Some("a")).unwrap();
    assert_eq!(resumed.checkpoint.unwrap().manifest.step, 10);
    assert_eq!(resumed.warnings.len(), 1);
}

#[test]
fn a_torn_record_is_no_obstacle() {
    let runs = scratch();
    drop(create(runs.path(), "a"));
    for torn in ["", "{\"schema\": 1, \"name\": \"a", "null"] {
        fs::write(runs.path().join("a/run.json"), torn).unwrap();
        let mut resumed = RunFolder::open_for_resume(runs.path(), None).unwrap();
        assert!(resumed.torn && resumed.checkpoint.is_none());
        assert!(resumed.warnings[0].contains("run.json"));
        let mut events = resumed.folder.events().unwrap();
        events.append(&started(7, 0)).unwrap();
        resumed.folder.begin_attempt(&origin()).unwrap();
        let record = RunRecord::read(resumed.folder.path()).unwrap();
        assert!(!record.created.is_empty());
    }
    // The events remember the attempts: 7 was the last of them.
    fs::remove_file(runs.path().join("a/run.json")).unwrap();
    let mut resumed = RunFolder::open_for_resume(runs.path(), Some("a")).unwrap();
    assert_eq!(resumed.folder.begin_attempt(&origin()).unwrap(), 8);
    // Of a record of another schema, what is known is read.
    let path = resumed.folder.path().join("run.json");
    fs::write(
        path,
        r#"{"schema": 0, "created": "2025-01-01T00:00:00Z", "new": 1}"#,
    )
    .unwrap();
    let record = RunRecord::read(resumed.folder.path()).unwrap();
    assert_eq!(record.created, "2025-01-01T00:00:00Z");
}

#[test]
fn the_newest_run_is_the_one_whose_attempt_began_last() {
    let runs = scratch();
    let error = RunFolder::open_for_resume(runs.path(), None).unwrap_err();
    assert!(matches!(error, RunError::NoRuns { .. }), "{error}");
    for name in ["b", "a", "c"] {
        drop(create(runs.path(), name));
        std::thread::sleep(std::time::Duration::from_millis(3));
    }
    let mut folder = RunFolder::open_for_resume(runs.path(), Some("a"))
        .unwrap()
        .folder;
    folder.begin_attempt(&origin()).unwrap();
    drop(folder);
    fs::create_dir(runs.path().join("no-run")).unwrap();
    assert_eq!(
        RunFolder::open_for_resume(runs.path(), None)
            .unwrap()
            .folder
            .name(),
        "a"
    );
    let names: Vec<String> = list(runs.path())
        .unwrap()
        .into_iter()
        .map(|run| run.name)
        .collect();
    assert_eq!(names, ["a", "c", "b"]);
    for missing in ["no-run", "zzz", "./zzz"] {
        let error = RunFolder::open_for_resume(runs.path(), Some(missing)).unwrap_err();
        assert!(matches!(error, RunError::NotFound { .. }), "{error}");
    }
    assert_eq!(list(&runs.path().join("none")).unwrap(), []);
}

#[test]
fn a_copied_folder_opens() {
    let runs = scratch();
    let folder = create(runs.path(), "a");
    save(&folder, 5);
    set_up_events(&folder);
    drop(folder);
    let elsewhere = scratch();
    let copy = elsewhere.path().join("copy");
    copy_all(&runs.path().join("a"), &copy);
    drop(runs);
    let name = copy.to_str().unwrap();
    let resumed = RunFolder::open_for_resume(Path::new("nowhere"), Some(name)).unwrap();
    assert_eq!(resumed.folder.name(), "copy");
    assert_eq!(resumed.checkpoint.unwrap().manifest.step, 5);
    assert_eq!(steps(&copy).len(), 3);
}

fn set_up_events(folder: &RunFolder) {
    let mut events = folder.events().unwrap();
    events.append(&started(1, 0)).unwrap();
    for s in 1..=3 {
        events.append(&step(s, 1)).unwrap();
    }
    events.sync().unwrap();
}

fn copy_all(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            copy_all(&entry.path(), &to.join(entry.file_name()));
        } else {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn configurations_are_numbered() {
    let runs = scratch();
    let folder = create(runs.path(), "a");
    for version in [1, 2, 12] {
        let path = folder.save_config(version, "# text\n").unwrap();
        assert_eq!(path, config_path(folder.path(), version));
    }
    assert!(folder.path().join("config/v012.toml").is_file());
    fs::write(folder.path().join("config/notes.txt"), "").unwrap();
    assert_eq!(config_versions(folder.path()), [1, 2, 12]);
    writeln!(folder.log().unwrap(), "line").unwrap();
    writeln!(folder.log().unwrap(), "line").unwrap();
    let log = fs::read_to_string(folder.path().join("engine.log")).unwrap();
    assert_eq!(log, "line\nline\n");
}

#[test]
fn a_summary_tells_how_a_run_stands() {
    let runs = scratch();
    let folder = create(runs.path(), "a");
    save(&folder, 2);
    checkpoint::set_best(folder.path(), 2).unwrap();
    set_up_events(&folder);
    let path = folder.path().to_owned();
    drop(folder);
    let mut found = summary(&path);
    assert_eq!(found.state, State::Interrupted);
    assert_eq!(
        (found.step, found.max_steps, found.tokens),
        (3, Some(100), 30)
    );
    assert_eq!((found.parameters, found.loss), (Some(1234), Some(1.003)));
    assert_eq!(
        (found.checkpoints.as_slice(), found.best),
        ([2].as_slice(), Some(2))
    );
    found.loss = Some(f64::NAN);
    assert!(
        serde_json::to_string(&found)
            .unwrap()
            .contains("\"loss\":\"NaN\"")
    );
    let folder = RunFolder::open_for_resume(runs.path(), None)
        .unwrap()
        .folder;
    let mut events = folder.events().unwrap();
    // More than is looked at: the first line and the end of the file are enough.
    for s in 4..=6000 {
        events.append(&step(s, 1)).unwrap();
    }
    events.append(&eval(6000, 0.75)).unwrap();
    for (reason, state) in [
        ("max_steps", State::Finished),
        ("stopped", State::Stopped),
        ("diverged", State::Failed),
    ] {
        let finished = Body::Finished {
            step: 6000,
            loss: 1.0,
            seconds: 2.0,
            reason: reason.to_owned(),
        };
        events.append(&event(finished)).unwrap();
        assert_eq!(summary(&path).state, State::Running);
        let elsewhere = scratch();
        copy_all(&path, &elsewhere.path().join("b"));
        let found = summary(&elsewhere.path().join("b"));
        assert_eq!((found.state, found.step), (state, 6000));
        assert_eq!(
            (found.parameters, found.validation_loss),
            (Some(1234), Some(0.75))
        );
    }
    assert!(fs::metadata(path.join(EVENTS)).unwrap().len() > 1 << 20);
}
