use super::events::Append;
use super::*;
use crate::checkpoint::{Contents, TensorSource, TrainerState};
use crate::link::{Body, Eval, Event, Started, Step};
use crate::safetensors::TensorInfo;
use serde_json::json;
use std::io::Write;
use std::process::Command;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

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
    let contents = Contents {
        model: &Nothing,
        optimizer: &Nothing,
        config: &json!({}),
        generation_config: &json!({}),
        tokenizer: None,
        trainer: &TrainerState {
            step,
            ..TrainerState::default()
        },
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
fn a_torn_last_line_is_tolerated_and_mended() {
    let runs = scratch();
    let folder = create(runs.path(), "a");
    set_up_events(&folder);
    let path = folder.path().join(EVENTS);
    let whole = fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1]
        .iter()
        .rposition(|&b| b == b'\n')
        .unwrap()
        + 1;
    for length in last..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let kept = if length == whole.len() { 3 } else { 2 };
        assert_eq!(steps(folder.path()).len(), kept, "{length}");
        let mut events = folder.events().unwrap();
        events.append(&step(9, 1)).unwrap();
        // A line that lacks only its end is whole.
        let kept = if length + 1 >= whole.len() { 4 } else { 3 };
        assert_eq!(steps(folder.path()).len(), kept, "{length}");
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.lines()
                .all(|line| serde_json::from_str::<Event>(line).is_ok())
        );
    }
    // A torn line longer than what is looked at in one go, in a file of nothing else.
    fs::write(&path, "x".repeat(200_000)).unwrap();
    folder.events().unwrap().append(&step(1, 1)).unwrap();
    assert_eq!(steps(folder.path()), [(1, 1)]);
}

#[test]
fn lines_that_are_no_event_are_skipped() {
    let runs = scratch();
    let folder = create(runs.path(), "a");
    let good = serde_json::to_string(&step(1, 1)).unwrap();
    let later = good.replace("\"step\":1,", "\"step\":2,\"added_later\":[1],");
    let text = format!("{good}\n{{\"event\":\"of_2030\"}}\n\n\u{0}\u{0}\nnull\n{later}\n");
    fs::write(folder.path().join(EVENTS), text).unwrap();
    let mut events = EventReader::open(folder.path()).unwrap();
    assert_eq!(events.by_ref().count(), 2);
    assert_eq!(events.skipped(), 4);
}

#[test]
fn of_a_step_trained_twice_the_last_attempt_counts() {
    let runs = scratch();
    let folder = create(runs.path(), "a");
    let mut events = folder.events().unwrap();
    let resumed = |step: u64, attempt: u32| {
        event(Body::Resumed {
            step,
            path: String::new(),
            attempt,
        })
    };
    let warning = event(Body::Warning {
        step: 6,
        message: "seen".to_owned(),
        note: false,
    });
    let mut put = |event: &Event| drop(events.append(event).unwrap());
    put(&started(1, 0));
    (1..=6).for_each(|s| put(&step(s, 1)));
    put(&eval(4, 0.4));
    put(&eval(5, 0.5));
    put(&warning);
    put(&started(2, 4));
    put(&resumed(4, 2));
    (5..=8).for_each(|s| put(&step(s, 2)));
    // A rollback within a process, to before the earlier takeover.
    put(&resumed(2, 3));
    (3..=5).for_each(|s| put(&step(s, 3)));
    let expected = [(1, 1), (2, 1), (3, 3), (4, 3), (5, 3)];
    assert_eq!(steps(folder.path()), expected);
    let all: Vec<Event> = EventReader::open(folder.path()).unwrap().collect();
    assert!(all.contains(&warning), "history stays");
    assert!(!all.iter().any(|event| matches!(event.body, Body::Eval(_))));
    // An old file, whose `started` does not say its step: the `resumed` behind it does.
    let text = fs::read_to_string(folder.path().join(EVENTS)).unwrap();
    let old = text.replace("\"step\":4,\"max_steps\"", "\"max_steps\"");
    assert_ne!(old, text);
    fs::write(folder.path().join(EVENTS), old).unwrap();
    assert_eq!(steps(folder.path()), expected);
    // A start from the beginning leaves nothing.
    let mut events = folder.events().unwrap();
    events.append(&started(4, 0)).unwrap();
    events.append(&step(1, 4)).unwrap();
    assert_eq!(steps(folder.path()), [(1, 4)]);
}

#[test]
fn a_growing_file_is_followed() {
    let runs = scratch();
    let folder = create(runs.path(), "a");
    let path = folder.path().join(EVENTS);
    let mut tail = EventTail::open(&path).unwrap();
    assert_eq!(tail.poll(), None);
    let (one, two) = (step(1, 1), step(2, 1));
    folder.events().unwrap().append(&one).unwrap();
    assert_eq!(tail.poll(), Some(one));
    assert_eq!(tail.poll(), None);
    let line = serde_json::to_string(&two).unwrap() + "\n";
    let (head, rest) = line.split_at(30);
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(head.as_bytes()).unwrap();
    assert_eq!(tail.poll(), None, "half a line is no event");
    file.write_all(rest.as_bytes()).unwrap();
    assert_eq!(tail.poll(), Some(two));
    assert_eq!(tail.poll(), None);
}

/// A disk with room for so many bytes.
#[derive(Clone)]
struct Small(Arc<Mutex<(Vec<u8>, usize, usize)>>);

impl Write for Small {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (contents, room, calls) = &mut *self.0.lock().unwrap();
        *calls += 1;
        let part = bytes.len().min(*room - contents.len());
        if part == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        contents.extend(&bytes[..part]);
        Ok(part)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Append for Small {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.0.lock().unwrap().0.truncate(length as usize);
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_told_and_the_event_can_be_written_later() {
    let line = serde_json::to_string(&step(1, 1)).unwrap() + "\n";
    for room in 0..line.len() {
        let disk = Small(Arc::new(Mutex::new((Vec::new(), line.len() + room, 0))));
        let mut events = EventWriter::on(Path::new("e"), Box::new(disk.clone()), 0);
        assert_eq!(events.append(&step(1, 1)).unwrap().len() + 1, line.len());
        assert_eq!(disk.0.lock().unwrap().2, 1, "one write call a line");
        for _ in 0..2 {
            let error = events.append(&step(2, 1)).unwrap_err();
            assert!(matches!(error, RunError::DiskFull { .. }), "{error}");
            assert_eq!(
                disk.0.lock().unwrap().0.len(),
                line.len(),
                "no part of a line stays"
            );
        }
        disk.0.lock().unwrap().1 = 10 * line.len();
        events.append(&step(2, 1)).unwrap();
        let contents = disk.0.lock().unwrap().0.clone();
        let text = String::from_utf8(contents).unwrap();
        assert_eq!(
            text.lines()
                .filter_map(|l| serde_json::from_str::<Event>(l).ok())
                .count(),
            2
        );
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
