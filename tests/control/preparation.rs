//! A signal while a run is prepared: nothing was trained, so it is obeyed at once and leaves nothing behind.

use crate::common::{ENDLESS, Place, Random};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Words of random letters: much to count, much to merge, much to encode.
fn strange_text(bytes: usize) -> String {
    let mut random = Random(11);
    let mut text = String::with_capacity(bytes + 16);
    while text.len() < bytes {
        for _ in 0..2 + random.below(7) {
            text.push(char::from(b'a' + random.below(26) as u8));
        }
        text.push(if random.below(9) == 0 { '\n' } else { ' ' });
    }
    text
}

fn in_cache(place: &Place, is: impl Fn(&str) -> bool) -> Vec<String> {
    let entries = fs::read_dir(place.path("cache")).into_iter().flatten();
    let names = entries.flatten().map(|entry| entry.file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| is(name))
        .collect()
}

#[test]
fn a_signal_during_preparation_ends_it_and_leaves_nothing() {
    let bpe = [
        ENDLESS,
        ("data.train", "[\"large.jsonl\"]"),
        ("tokenizer.algorithm", "\"bpe\""),
        ("tokenizer.vocab_size", "30000"),
    ];
    // Bytes need no training: the same text is encoded at once.
    let bytes = [ENDLESS, ("data.train", "[\"large.jsonl\"]")];
    let lines: Vec<String> = strange_text(48 << 20)
        .lines()
        .map(|line| format!("{{\"text\": \"{line}\"}}\n"))
        .collect();
    let large = lines.concat();
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 75), (Signal::USR1, 75)] {
        for (phase, keys) in [("tokenizer", &bpe[..]), ("encoding", &bytes)] {
            let what = format!("{signal:?} in {phase}");
            let place = Place::new(keys);
            place.write("large.jsonl", &large);
            let mut process = place.start(&["train", "c.toml", "--run", "r", "--ui", "none"]);
            if phase == "encoding" {
                process.wait_until("a shard being written", || {
                    (!in_cache(&place, |name| name.contains(".part")).is_empty()).then_some(())
                });
            } else {
                sleep(Duration::from_millis(500));
            }
            let begin = Instant::now();
            process.signal(signal);
            let said = process.expect(code);
            let after = begin.elapsed();
            assert!(after < Duration::from_secs(5), "{what}: {after:?}");
            assert!(said.contains("before the first step"), "{what}: {said}");
            assert!(!place.path("runs").exists(), "{what}: a run is left");
            assert_eq!(
                in_cache(&place, |_| true),
                [""; 0],
                "{what}: the cache has something"
            );
        }
    }
}

#[test]
fn a_resume_that_is_interrupted_leaves_the_run_as_it_was() {
    let place = Place::new(&[("train.checkpoint_interval", "5")]);
    place.expect(0, &["train", "c.toml", "--run", "r", "--ui", "none"]);
    let before = place.events("r");
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 75)] {
        // The program reads its configuration from a pipe that nobody fills, and so waits for it.
        let pipe = place.path(&format!("pipe-{code}.toml"));
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, &pipe, FileType::Fifo, mode, 0).expect("a named pipe");
        let name = pipe.to_str().expect("UTF-8");
        let resume = ["train", name, "--run", "r", "--resume", "--ui", "none"];
        let mut process = place.start(&resume);
        let writer = fs::OpenOptions::new()
            .write(true)
            .open(&pipe)
            .expect("its reader");
        process.signal(signal);
        process.expect(code);
        drop(writer);
        assert_eq!(place.events("r"), before);
    }
    let resume = ["train", "--run", "r", "--resume", "--max-steps", "25"];
    place.expect(0, &resume);
    assert_eq!(place.losses("r").len(), 25);
}
