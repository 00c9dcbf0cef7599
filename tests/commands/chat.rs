//! chat.

use super::{Place, Told, trained};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// How long anything may take before a test fails.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a chat answers to lines of stdin.
fn chat(place: &Place, arguments: &[&str], lines: &str) -> Told {
    let mut command = place.command(&[&["chat"], arguments].concat());
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    // One that refuses has gone before it reads.
    drop(stdin.write_all(lines.as_bytes()));
    drop(stdin);
    Told::new(child.wait_with_output().expect("it ends"))
}

#[test]
fn a_chat_says_what_generate_writes_and_ends_with_its_input() {
    for drawing in [
        &["--temperature", "0"][..],
        &["--seed", "5", "--top-k", "20", "--top-p", "0.9"],
    ] {
        let usual = [&["--run", "tiny", "--max-tokens", "9"], drawing].concat();
        let told = chat(trained(), &usual, "One day\n").good();
        let written = [&["generate", "--prompt", "One day"], &usual[..]].concat();
        assert_eq!(told, trained().run(&written).good());
    }
    assert_eq!(chat(trained(), &["--run", "tiny"], "").good(), "");
}

#[test]
fn control_characters_stay_visible_and_a_long_talk_is_cut_with_a_word() {
    let hot = ["--run", "tiny", "--max-tokens", "20", "--temperature", "50"];
    let told = chat(trained(), &hot, &"abc\n".repeat(12));
    assert_eq!(told.code, 0);
    let visible = |c: char| c == '\n' || c == '\t' || !c.is_control();
    assert!(told.out.contains("\\x") && told.out.chars().all(visible));
    assert!(
        told.err.contains("cut to fit the context of 32"),
        "{}",
        told.err
    );
}

#[test]
fn nobody_to_talk_with_is_one_line() {
    let place = Place::new();
    for (arguments, words) in [
        (&["--run", "nobody"][..], "nobody"),
        (&["--model", "nowhere"], "there is no such folder"),
        (&["--run", "tiny", "--context", "1"], "2 or more"),
    ] {
        let told = chat(&place, arguments, "hello\n");
        assert_eq!((told.code, told.out.as_str()), (2, ""), "{arguments:?}");
        assert!(told.err.contains(words), "{}", told.err);
    }
}

#[test]
fn an_interrupt_stops_the_answer_and_two_leave() {
    let mut command = trained().command(&[
        "chat",
        "--run",
        "tiny",
        "--temperature",
        "0",
        "--max-tokens",
        "9",
    ]);
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    let mut stdout = child.stdout.take().expect("piped");
    stdin.write_all(b"One\n").expect("it listens");
    // The answer has come: it waits for the next line.
    let mut first = [0; 1];
    stdout.read_exact(&mut first).expect("an answer");
    let pid = Pid::from_child(&child);
    let begin = Instant::now();
    while child.try_wait().expect("a child").is_none() {
        assert!(begin.elapsed() < PATIENCE, "it does not leave");
        kill_process(pid, Signal::INT).expect("it was not waited for");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(child.wait().expect("ended").code(), Some(130));
    drop(stdin);
}
