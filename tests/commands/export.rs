//! export, and what is written beside the record while a run goes on.

use super::{Place, TINY, trained};
use serde_json::Value;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

#[test]
fn a_run_is_exported_in_every_form() {
    let place = trained();
    let csv = place.run(&["export", "tiny", "--to", "csv"]).good();
    let lines: Vec<&str> = csv.split("\r\n").collect();
    assert_eq!(lines.len(), 8, "{csv}");
    assert!(lines[0].starts_with("step,attempt,time,tokens,") && lines[6].starts_with("6,1,"));
    let loss = place.run(&["metric", "tiny", "loss"]).good();
    let (_, last) = loss.trim_end().rsplit_once('\t').expect("a value");
    assert!(lines[6].contains(last), "{last} is not in {}", lines[6]);
    let page = place.run(&["export", "tiny", "--to", "prometheus"]).good();
    assert_eq!(place.run(&["export", "tiny", "--to", "prom"]).good(), page);
    assert!(
        page.contains(&format!("zerollm_loss{{run=\"tiny\"}} {last}\n")),
        "{page}"
    );
    for (form, output) in [
        ("html", "page.html"),
        ("tensorboard", "logs"),
        ("csv", "t.csv"),
    ] {
        let output = format!("{form}/{output}");
        fs::create_dir_all(place.path().join(form)).expect("a folder");
        let arguments = [
            "export", "tiny", "--to", form, "--output", &output, "--json",
        ];
        let told = place.run(&arguments).json();
        // A second export takes the place of the first, also under the form's shorter name.
        let short = arguments.map(|word| {
            if word == "tensorboard" && form == word {
                "tb"
            } else {
                word
            }
        });
        assert_eq!(place.run(&short).json(), told);
        let path = place.path().join(told["path"].as_str().expect("a path"));
        let written = fs::metadata(&path).expect("the file").len();
        assert_eq!(
            (told["bytes"].as_u64(), &told["format"]),
            (Some(written), &form.into())
        );
    }
    assert_eq!(
        fs::read_dir(place.path().join("tensorboard/logs"))
            .expect("a folder")
            .count(),
        1
    );
    let chinese = place.run(&[
        "export", "tiny", "--to", "html", "--output", "-", "--lang", "zh",
    ]);
    assert!(chinese.good().contains("<html lang=\"zh\">"));
    for (arguments, why) in [
        (&["export", "tiny", "--to", "csv", "--json"][..], "--output"),
        (&["export", "tiny", "--to", "xml"], "tensorboard"),
        (&["export", "none", "--to", "csv"], "no run none"),
        (
            &[
                "export",
                "tiny",
                "--to",
                "html",
                "--output",
                "no/such/x.html",
            ],
            "no/such",
        ),
    ] {
        let told = place.run(arguments);
        assert_eq!((told.code, told.out.as_str()), (2, ""), "{arguments:?}");
        assert!(told.err.contains(why), "{}", told.err);
    }
}

#[test]
fn what_is_written_beside_the_record_changes_no_loss() {
    let place = Place::new();
    place.file("tiny.toml", TINY);
    let live = [
        "train",
        "tiny.toml",
        "--run",
        "live",
        "--ui",
        "none",
        "--set",
        "telemetry.tensorboard=true",
        "--set",
        "telemetry.prometheus=127.0.0.1:0",
    ];
    place.run(&live).good();
    let loss = |place: &Place, run: &str| place.run(&["metric", run, "loss"]).good();
    assert_eq!(loss(&place, "live"), loss(trained(), "tiny"));
    let files = fs::read_dir(place.path().join("runs/live/tensorboard")).expect("a folder");
    let files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    assert!(
        files.len() == 1 && fs::metadata(&files[0]).expect("a file").len() > 1000,
        "{files:?}"
    );
    // The index of a run that is over covers its record.
    assert!(place.path().join("runs/live/metrics.idx").is_file());
}

#[test]
fn only_this_machine_is_served() {
    let place = Place::new();
    place.file("tiny.toml", TINY);
    for address in ["0.0.0.0:9464", "192.168.1.2:9464", "9464"] {
        let set = format!("telemetry.prometheus=\"{address}\"");
        let told = place.run(&["train", "tiny.toml", "--ui", "none", "--set", &set]);
        assert_eq!(told.code, 2, "{}", told.err);
        assert!(told.err.contains("127.0.0.1:9464"), "{}", told.err);
    }
    assert!(!place.path().join("runs").exists());
}

/// Asks until there is an answer.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(
            begin.elapsed() < Duration::from_mins(1),
            "no {what} in time"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn events(run: &Path) -> Vec<Value> {
    let text = fs::read_to_string(run.join("events.jsonl")).unwrap_or_default();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

/// A process that ends with the test, however that ends.
struct Trains(Child);

impl Drop for Trains {
    fn drop(&mut self) {
        // Over already, perhaps.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_endpoint_of_a_run_tells_its_last_loss() {
    let place = Place::new();
    place.file("tiny.toml", TINY);
    let mut command = place.command(&[
        "train",
        "tiny.toml",
        "--run",
        "served",
        "--ui",
        "none",
        "--max-steps",
        "100000000",
        "--set",
        "telemetry.prometheus=127.0.0.1:0",
        "--set",
        "train.eval_interval=0",
        "--set",
        "train.checkpoint_interval=0",
    ]);
    let _trains = Trains(command.spawn().expect("it starts"));
    let run = place.path().join("runs/served");
    let address = until("address in engine.log", || {
        let log = fs::read_to_string(run.join("engine.log")).ok()?;
        let rest = log.split_once("http://")?.1;
        Some(rest.split_once("/metrics")?.0.to_owned())
    });
    let told = |kind: &str| events(&run).iter().any(|event| event["event"] == kind);
    until("step", || told("step").then_some(()));
    // While it trains, there is a later step by the time that an answer is compared.
    fs::write(run.join("ctl/pause"), "").expect("room");
    until("pause", || told("paused").then_some(()));
    // Who is not answered within a second is let go, which a busy machine may need.
    let answer = until("answer", || {
        let mut client = TcpStream::connect(&address).ok()?;
        client.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").ok()?;
        let mut answer = String::new();
        client.read_to_string(&mut answer).ok()?;
        (!answer.is_empty()).then_some(answer)
    });
    let gauge = |name: &str| {
        let found = answer
            .lines()
            .find(|line| line.starts_with(&format!("zerollm_{name}{{")));
        let value = found
            .and_then(|line| line.rsplit_once(' '))
            .map(|(_, value)| value.parse::<f64>());
        value.expect("a gauge").expect("a number")
    };
    let recorded = events(&run);
    let last = recorded
        .iter()
        .rfind(|event| event["event"] == "step")
        .expect("a step");
    assert_eq!(
        (Some(gauge("step")), Some(gauge("loss"))),
        (last["step"].as_f64(), last["loss"].as_f64())
    );
    assert_eq!(gauge("paused").to_bits(), 1f64.to_bits());
}
