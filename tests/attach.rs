//! A run that one process trains, reached from others: asked for things, followed, left, and never disturbed.

#![cfg(unix)]

mod common;

use common::{ENDLESS, PATIENCE, Place, Process, config};
use rustix::process::{Pid, Signal, getsid, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

const SLOW: (&str, &str) = ("train.batch_size", "32");

/// A run `r` without a screen that has made a step.
fn on(place: &Place) -> Process {
    let mut process = place.start(&["train", "c.toml", "--run", "r", "--ui", "none"]);
    place.wait_for(&mut process, "r", "step", |_| true);
    process
}

fn socket(place: &Place, run: &str) -> PathBuf {
    let text = fs::read(place.run_path(run, "control.json")).expect("an address");
    let address: Value = serde_json::from_slice(&text).expect("JSON");
    address["socket"].as_str().expect("a path").into()
}

/// What a command says on stdout; its exit code must be this.
fn said(place: &Place, code: i32, arguments: &[&str]) -> String {
    let output = place.run(arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).expect("text")
}

fn count(place: &Place, kind: &str) -> usize {
    let events = place.events("r");
    events.iter().filter(|event| event["event"] == kind).count()
}

#[test]
fn ctl_asks_for_every_word_and_says_what_came_of_it() {
    let place = Place::new(&[ENDLESS, SLOW]);
    let mut process = on(&place);
    let ctl = |code, words: &[&str]| said(&place, code, &[&["ctl", "r"], words].concat());
    assert!(ctl(0, &["pause"]).starts_with("paused after step "));
    assert_eq!(count(&place, "paused"), 1);
    let refusal = place.expect(1, &["ctl", "r", "pause"]);
    assert!(
        refusal.contains("pause is refused: training is paused"),
        "{refusal}"
    );
    assert!(ctl(0, &["resume"]).starts_with("goes on"));
    assert_eq!(count(&place, "resumed_from_pause"), 1);
    let reply = ctl(0, &["checkpoint", "--tag", "mine", "--json"]);
    let reply: Value = serde_json::from_str(&reply).expect("one object");
    assert_eq!(
        (&reply["event"], &reply["refused"]),
        (&"reply".into(), &false.into())
    );
    let written = reply["message"].as_str().expect("a line");
    let path = written.strip_suffix(" is written").expect("a path");
    let tag = fs::read_to_string(place.run_path("r", path).join("tag")).expect("a tag");
    assert_eq!(tag.trim(), "mine");
    ctl(0, &["rollback", "--lr-scale", "0.5"]);
    let back = place.wait_for(&mut process, "r", "resumed", |_| true);
    assert_eq!(back["path"].as_str(), Some(path));
    assert_eq!(ctl(0, &["profile"]), "the next steps are timed\n");
    place.wait_for(&mut process, "r", "profile", |event| {
        event["step"].as_u64() > back["step"].as_u64()
    });
    ctl(0, &["set", "schedule.lr_scale=1.0"]);
    assert_eq!(ctl(0, &["eval"]), "evaluated\n");
    assert_eq!(ctl(0, &["sample"]), "sampled\n");
    assert_eq!((count(&place, "eval"), count(&place, "sample")), (1, 1));
    ctl(0, &["set", "optimizer.lr=5e-3"]);
    place.wait_for(&mut process, "r", "step", |event| event["lr"] == 0.005);
    let refusal = place.expect(1, &["ctl", "r", "set", "model.dim=32", "--json"]);
    assert!(refusal.contains("model.dim"), "{refusal}");
    // The file still says what it said; nothing changes by reading it again.
    ctl(0, &["reload"]);
    assert_eq!(ctl(0, &["note", "two", "words"]), "two words\n");
    assert!(ctl(0, &["pause", "--hard"]).starts_with("paused"));
    let steps = place.losses("r").len() as u64;
    assert_eq!(place.checkpoints("r").last(), Some(&steps));
    let (newest, tagged) = (steps.to_string(), path.rsplit('_').next());
    let mine: u64 = tagged.and_then(|step| step.parse().ok()).expect("a step");
    assert!(ctl(0, &["tag", &newest, "kept"]).contains("is tagged kept"));
    assert!(ctl(0, &["verify", &newest]).contains("is what was written"));
    let refusal = place.expect(1, &["ctl", "r", "delete", &newest]);
    assert!(refusal.contains("delete is refused"), "{refusal}");
    assert!(ctl(0, &["delete", &mine.to_string()]).contains("is deleted"));
    assert!(!place.checkpoints("r").contains(&mine));
    assert!(ctl(0, &["untag", &newest]).contains("has no tag any more"));
    assert_eq!(count(&place, "checkpoint_tagged"), 3);
    assert!(ctl(0, &["resume"]).starts_with("goes on"));
    assert!(ctl(0, &["stop", "--no-checkpoint"]).starts_with("stops after"));
    process.expect(0);
    let ids: Vec<u64> = place
        .events("r")
        .iter()
        .filter(|event| event["event"] == "reply")
        .map(|event| event["id"].as_u64().expect("a number"))
        .collect();
    assert_eq!(ids.len(), 21);
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");

    let refusal = place.expect(2, &["ctl", "r", "pause"]);
    assert!(
        refusal.contains("not running") && refusal.contains("--resume"),
        "{refusal}"
    );
    assert_eq!(refusal.lines().count(), 1);
    for words in [
        &["nobody", "pause"][..],
        &["r"],
        &["r", "fly"],
        &["r", "set", "lr"],
    ] {
        place.expect(2, &[&["ctl"], words].concat());
    }
}

#[test]
fn ctl_does_not_wait_for_ever_and_the_request_stands() {
    let place = Place::new(&[ENDLESS, ("train.batch_size", "1024")]);
    let mut process = on(&place);
    let late = place.expect(1, &["ctl", "r", "pause", "--timeout", "0"]);
    assert!(late.contains("no answer within 0 s"), "{late}");
    place.wait_for(&mut process, "r", "paused", |_| true);
    process.signal(Signal::INT);
    process.expect(0);
}

#[test]
fn ctl_waits_for_a_stopped_process_no_longer_than_it_was_told() {
    let place = Place::new(&[ENDLESS]);
    let mut process = on(&place);
    process.signal(Signal::STOP);
    let begin = Instant::now();
    for words in [&["eval"][..], &["fork"]] {
        let words = [&["ctl", "r"], words, &["--timeout", "0.5"]].concat();
        let late = place.expect(1, &words);
        assert!(late.contains("no answer within 0.5 s"), "{late}");
    }
    // By itself it would wait for ten seconds each time.
    assert!(begin.elapsed() < Duration::from_secs(10));
    process.signal(Signal::CONT);
    process.signal(Signal::INT);
    process.expect(0);
}

#[test]
fn storms_of_connections_change_no_bit() {
    let place = Place::new(&[ENDLESS, SLOW]);
    let mut process = on(&place);
    let socket = socket(&place, "r");
    let mut followers = Vec::new();
    let mut kept = Vec::new();
    for round in 0..20 {
        let broken: &[u8] = match round % 10 {
            0 => b"",
            2 => b"\xff\xfe garbage\n",
            4 => b"{\"hello\": {\"version\": 1, \"ro",
            6 => b"{\"hello\": {\"version\": 1, \"role\": \"writer\"}}\n{\"command\": \"fl",
            8 => {
                b"{\"hello\": {\"version\": 1, \"role\": \"viewer\"}}\n{\"command\": \"resume\"}\n"
            }
            1 => {
                followers.push(place.start(&["attach", "r", "--ui", "json"]));
                continue;
            }
            3 => {
                followers.push(place.start(&["watch", "r", "--ui", "plain"]));
                continue;
            }
            5 => {
                said(&place, 0, &["ctl", "r", "eval"]);
                continue;
            }
            7 => {
                said(&place, 0, &["ctl", "r", "sample"]);
                continue;
            }
            _ => {
                said(&place, 0, &["ctl", "r", "pause"]);
                said(&place, 0, &["ctl", "r", "resume"]);
                continue;
            }
        };
        let mut stream = UnixStream::connect(&socket).expect("it listens");
        stream.write_all(broken).expect("it takes a few bytes");
        kept.push(stream);
    }
    // Half of the followers are killed, the others see the end.
    followers.truncate(2);
    drop(kept);
    said(&place, 0, &["ctl", "r", "stop"]);
    process.expect(0);
    for follower in &mut followers {
        follower.expect(0);
    }
    let stormy = place.losses("r");
    let steps = stormy.len().to_string();
    place.expect(
        0,
        &[
            "train",
            "c.toml",
            "--run",
            "calm",
            "--ui",
            "none",
            "--max-steps",
            &steps,
        ],
    );
    assert!(stormy.len() > 3);
    assert_eq!(stormy, place.losses("calm"));
}

#[test]
fn the_socket_refuses_what_it_should_and_is_its_owners() {
    let place = Place::new(&[ENDLESS, SLOW]);
    let mut process = on(&place);
    let socket = socket(&place, "r");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(socket.parent().expect("a folder")), 0o700);
    let connect = |greeting: &str| {
        let stream = UnixStream::connect(&socket).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        let mut reader = BufReader::new(stream);
        let answer = tell(&mut reader, greeting);
        (reader, answer)
    };
    fn tell(reader: &mut BufReader<UnixStream>, line: &str) -> String {
        let said = writeln!(reader.get_mut(), "{line}");
        let mut answer = String::new();
        reader.read_line(&mut answer).expect("an answer");
        said.expect("it takes a line");
        answer
    }
    let hello = |role| format!("{{\"hello\": {{\"version\": 1, \"role\": \"{role}\"}}}}");
    let (mut writer, answer) = connect(&hello("writer"));
    assert!(answer.starts_with("{\"hello\":"), "{answer}");
    assert!(connect(&hello("writer")).1.starts_with("{\"refused\":"));
    assert!(connect("what").1.starts_with("{\"refused\":"));
    let (mut viewer, _) = connect(&hello("viewer"));
    for command in ["\"pause\"", "\"delete\", \"step\": 1"] {
        let asked = format!("{{\"command\": {command}}}");
        assert!(tell(&mut viewer, &asked).starts_with("{\"refused\":"));
    }
    let accepted = tell(&mut writer, "{\"command\": \"pause\"}");
    assert!(accepted.starts_with("{\"accepted\":"), "{accepted}");
    place.wait_for(&mut process, "r", "paused", |_| true);
    assert_eq!(count(&place, "reply"), 1);
    process.signal(Signal::INT);
    process.expect(0);
    assert!(!socket.exists() && !place.run_path("r", "control.json").exists());
}

#[test]
fn a_follower_prints_every_line_and_ends_with_the_run() {
    let place = Place::new(&[ENDLESS, SLOW, ("telemetry.layer_interval", "1")]);
    let mut process = on(&place);
    let mut followers = [
        place.start(&["watch", "r", "--ui", "json"]),
        place.start(&["attach", "r", "--ui", "json"]),
        place.start(&["watch", "r", "--ui", "plain"]),
    ];
    let at = place.losses("r").len() as u64;
    place.wait_for(&mut process, "r", "step", |event| event["step"] == at + 10);
    process.signal(Signal::TERM);
    process.expect(75);
    let record = fs::read_to_string(place.run_path("r", "events.jsonl")).expect("a record");
    let printed = followers.each_mut().map(|follower| {
        let output = follower.end();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stdout).expect("text")
    });
    assert!(printed[0] == record && printed[1] == record);
    assert!(printed[2].starts_with("run r attempt 1"), "{}", printed[2]);
    assert!(printed[2].contains("finished at step"), "{}", printed[2]);
}

#[test]
fn a_dead_run_is_watched_and_its_socket_replaced() {
    let place = Place::new(&[ENDLESS, SLOW, ("train.checkpoint_interval", "2")]);
    let mut process = on(&place);
    place.wait_for(&mut process, "r", "checkpoint", |_| true);
    let mut follower = place.start(&["watch", "r", "--ui", "json"]);
    let before = socket(&place, "r");
    process.signal(Signal::KILL);
    process.end();
    assert!(before.exists(), "nobody was left to remove it");
    let record = fs::read_to_string(place.run_path("r", "events.jsonl")).expect("a record");
    let whole = record.rfind('\n').map_or("", |end| &record[..=end]);
    let output = follower.end();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == whole.as_bytes());
    assert_eq!(said(&place, 0, &["watch", "r", "--ui", "json"]), whole);
    for words in [&["attach", "r"][..], &["ctl", "r", "resume"]] {
        let refusal = place.expect(2, words);
        assert!(
            refusal.contains("not running") && refusal.contains("zerollm watch r"),
            "{refusal}"
        );
    }
    place.expect(2, &["watch", "nobody"]);

    let attempt = place.events("r").len();
    let mut process = place.start(&["train", "--run", "r", "--resume", "--ui", "none"]);
    process.wait_until("a step of the second attempt", || {
        let events = place.events("r");
        let new = events.get(attempt..)?;
        new.iter()
            .any(|event| event["event"] == "step")
            .then_some(())
    });
    assert_eq!(socket(&place, "r"), before);
    said(&place, 0, &["ctl", "r", "stop"]);
    process.expect(0);
    assert!(!before.exists());
}

#[test]
fn files_ask_for_something_by_being_there() {
    let place = Place::new(&[ENDLESS, SLOW]);
    let mut process = on(&place);
    let touch =
        |name: &str| fs::write(place.run_path("r", &format!("ctl/{name}")), "").expect("written");
    let is_gone = |name: &str| !place.run_path("r", &format!("ctl/{name}")).exists();
    // What cannot be removed is told of once, and not obeyed again and again.
    fs::create_dir(place.run_path("r", "ctl/pause")).expect("a folder in the way");
    place.wait_for(&mut process, "r", "warning", |event| {
        let message = event["message"].as_str().unwrap_or_default();
        message.contains("ctl/pause")
    });
    fs::remove_dir(place.run_path("r", "ctl/pause")).expect("removed");
    touch("pause");
    place.wait_for(&mut process, "r", "paused", |_| true);
    touch("checkpoint");
    place.wait_for(&mut process, "r", "checkpoint", |event| {
        event["reason"] == "command"
    });
    touch("resume");
    place.wait_for(&mut process, "r", "resumed_from_pause", |_| true);
    touch("stop");
    process.expect(0);
    assert!(
        ["pause", "checkpoint", "resume", "stop"]
            .into_iter()
            .all(is_gone)
    );
    let steps = place.losses("r").len();
    assert_eq!(place.checkpoints("r").last(), Some(&(steps as u64)));

    // A queue that starts the run again and again is told to let it be.
    touch("stop");
    place.expect(0, &["train", "--run", "r", "--resume", "--ui", "none"]);
    assert_eq!(place.losses("r").len(), steps);
    assert!(is_gone("stop"));
}

/// A process that is nobody's child; killed if the test ends before it does.
struct Background(Pid);

impl Drop for Background {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = kill_process(self.0, Signal::KILL);
    }
}

#[test]
fn a_detached_run_is_on_when_the_command_returns() {
    let place = Place::new(&[ENDLESS, SLOW]);
    let output = said(&place, 0, &["train", "c.toml", "--run", "r", "--detach"]);
    let record: Value =
        serde_json::from_slice(&fs::read(place.run_path("r", "run.json")).expect("a record"))
            .expect("JSON");
    let process = record["process"].as_i64().expect("a process");
    let pid = Pid::from_raw(process as i32).expect("a process");
    let background = Background(pid);
    assert!(
        output.contains(&format!(
            "run r trains in the background (process {process})"
        )),
        "{output}"
    );
    assert!(output.contains("zerollm attach r"), "{output}");
    assert_eq!(getsid(Some(pid)), Ok(pid), "it has a session of its own");
    let command = record["command"].as_array().expect("a list");
    assert_eq!(command.last(), Some(&"--detach".into()), "as it was given");
    said(&place, 0, &["ctl", "r", "pause"]);
    let before = place.losses("r").len();
    said(&place, 0, &["ctl", "r", "resume"]);
    said(&place, 0, &["ctl", "r", "stop"]);
    said(&place, 0, &["watch", "r", "--ui", "none"]);
    let events = place.events("r");
    assert_eq!(events.last().expect("events")["event"], "finished");
    assert!(place.losses("r").len() >= before);
    let begin = Instant::now();
    while rustix::process::test_kill_process(pid).is_ok() {
        // Nobody may be there to collect it: then it stays as a zombie.
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        if stat.contains(") Z ") {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "its process ends");
        sleep(Duration::from_millis(20));
    }
    drop(background);
}

#[test]
fn a_detached_run_that_is_refused_says_so_at_once() {
    let place = Place::new(&[]);
    place.write("bad.toml", config(&[("model.dim", "\"wide\"")]));
    let here = place.expect(2, &["train", "bad.toml", "--run", "r", "--ui", "none"]);
    let detached = place.expect(2, &["train", "bad.toml", "--run", "r", "--detach"]);
    assert_eq!(here, detached);
    assert!(!place.path("runs/r").exists());
    place.expect(2, &["train", "c.toml", "--detach", "--ui", "json"]);
    // A run that is over at once was started all the same.
    said(
        &place,
        0,
        &["train", "c.toml", "--run", "short", "--detach"],
    );
    said(&place, 0, &["watch", "short", "--ui", "none"]);
    assert_eq!(place.losses("short").len(), 20);
}
