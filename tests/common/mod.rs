//! What the end-to-end tests share: a temporary place with data and configuration, the built program started there, and
//! its record of events read back.
//!
//! Nothing here waits for a fixed time: it waits for an event, an exit or [`PATIENCE`], which is long enough for a loaded
//! machine.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take before the test fails.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A tiny model on a tiny text, with dropout and two micro-batches, so that a resume has something to get wrong.
const CONFIG: &[(&str, &str)] = &[
    ("data.sequence_length", "16"),
    ("data.train", "[\"text.txt\"]"),
    ("data.validation_fraction", "0.1"),
    ("device.threads", "1"),
    ("model.dim", "16"),
    ("model.dropout", "0.1"),
    ("model.ffn.hidden", "32"),
    ("model.ffn.kind", "\"swiglu\""),
    ("model.heads", "2"),
    ("model.layers", "1"),
    ("optimizer.kind", "\"adamw\""),
    ("optimizer.lr", "1e-2"),
    ("sample.interval", "0"),
    ("sample.max_tokens", "4"),
    ("sample.prompts", "[\"the \"]"),
    ("telemetry.layer_interval", "0"),
    ("tokenizer.algorithm", "\"bytes\""),
    ("train.batch_size", "2"),
    ("train.checkpoint_interval", "0"),
    ("train.eval_batches", "2"),
    ("train.eval_interval", "0"),
    ("train.keep_last", "2"),
    ("train.max_steps", "20"),
    ("train.micro_batch", "1"),
];

/// Steps that are never reached: the run goes on until it is stopped.
pub const ENDLESS: (&str, &str) = ("train.max_steps", "100000000");

/// A temporary folder with `text.txt`, `c.toml`, and the runs and the cache of what is started there.
pub struct Place {
    dir: TempDir,
}

impl Place {
    /// A place whose configuration differs from the usual one in `keys`.
    pub fn new(keys: &[(&str, &str)]) -> Self {
        let dir = TempDir::new().expect("a temporary folder");
        let place = Self { dir };
        place.write("text.txt", text(4000));
        place.write("c.toml", config(keys));
        place
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A path in the folder of run `run`.
    pub fn run_path(&self, run: &str, name: &str) -> PathBuf {
        self.path("runs").join(run).join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path(name), contents).expect("a temporary file can be written");
    }

    /// The program, to be started here.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_zerollm"));
        self.settle(&mut command);
        command.args(arguments);
        command
    }

    /// Lets a command run here.
    pub fn settle(&self, command: &mut Command) {
        command
            .current_dir(self.dir.path())
            .env("ZEROLLM_RUNS", self.path("runs"))
            .env("ZEROLLM_CACHE", self.path("cache"))
            .env("XDG_RUNTIME_DIR", self.dir.path())
            .env("XDG_CONFIG_HOME", self.path("settings"))
            .env_remove("ZEROLLM_ISA")
            .env_remove("CI")
            .stdin(Stdio::null());
    }

    /// Starts the program with its outputs kept in files.
    pub fn start(&self, arguments: &[&str]) -> Process {
        let mut command = self.command(arguments);
        self.start_command(&mut command)
    }

    /// Starts a command with its outputs kept in files, so that no full pipe stops it.
    pub fn start_command(&self, command: &mut Command) -> Process {
        let number = fs::read_dir(self.dir.path()).expect("its folder").count();
        let out = self.path(&format!("stdout-{number}"));
        let err = self.path(&format!("stderr-{number}"));
        let file = |path: &Path| fs::File::create(path).expect("a temporary file");
        let child = command
            .stdout(file(&out))
            .stderr(file(&err))
            .spawn()
            .expect("the program starts");
        Process {
            child,
            out,
            err,
            ended: false,
        }
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Output {
        self.start(arguments).end()
    }

    /// Runs the program to its end, which must have this exit code; returns what it said on stderr.
    pub fn expect(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        stderr
    }

    /// Whole lines of a run's events.jsonl; none where there is no file yet.
    pub fn events(&self, run: &str) -> Vec<Value> {
        let text = fs::read(self.run_path(run, "events.jsonl")).unwrap_or_default();
        let text = String::from_utf8(text).expect("events are UTF-8");
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}")))
            .collect()
    }

    /// Waits until an event of this kind, and for which `is` holds, is in the record; returns it.
    pub fn wait_for(
        &self,
        process: &mut Process,
        run: &str,
        kind: &str,
        is: impl Fn(&Value) -> bool,
    ) -> Value {
        process.wait_until(&format!("a {kind} event of {run}"), || {
            let mut events = self.events(run).into_iter().rev();
            events.find(|event| event["event"] == kind && is(event))
        })
    }

    /// Loss, gradient norm and learning rate of every step, as the record writes them; of a step that was trained twice,
    /// the last attempt's.
    pub fn losses(&self, run: &str) -> BTreeMap<u64, String> {
        losses(&self.events(run))
    }

    /// The checkpoints of a run that are whole by their manifests, ascending.
    pub fn checkpoints(&self, run: &str) -> Vec<u64> {
        let entries = fs::read_dir(self.run_path(run, "checkpoints")).expect("a run's folder");
        let names = entries.map(|entry| entry.expect("an entry").path());
        let mut steps: Vec<u64> = names
            .filter(|path| path.join("manifest.json").is_file())
            .map(|path| {
                let manifest = fs::read(path.join("manifest.json")).expect("a manifest");
                let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
                for (name, record) in manifest["files"].as_object().expect("a table") {
                    let size = fs::metadata(path.join(name)).expect("listed files are there");
                    assert_eq!(record["bytes"], size.len(), "{name} of {}", path.display());
                }
                manifest["step"].as_u64().expect("a number")
            })
            .collect();
        steps.sort_unstable();
        steps
    }
}

/// As [`Place::losses`], of events.
pub fn losses(events: &[Value]) -> BTreeMap<u64, String> {
    let mut found = BTreeMap::new();
    for event in events {
        match event["event"].as_str() {
            Some("started" | "resumed") => {
                let step = event["step"].as_u64().expect("a step");
                found.split_off(&(step + 1));
            }
            Some("step") => {
                let step = event["step"].as_u64().expect("a step");
                let numbers = ["loss", "grad_norm", "lr"].map(|key| event[key].to_string());
                found.insert(step, numbers.join(" "));
            }
            _ => {}
        }
    }
    found
}

/// A configuration that differs from the usual one in `keys`; an empty value leaves a key out.
pub fn config(keys: &[(&str, &str)]) -> String {
    let mut all: BTreeMap<&str, &str> = CONFIG.iter().copied().collect();
    all.extend(keys.iter().copied());
    let lines: Vec<String> = all
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key} = {value}\n"))
        .collect();
    lines.concat()
}

/// Words without much sense, always the same.
pub fn text(bytes: usize) -> String {
    const WORDS: [&str; 7] = ["the ", "cat ", "sat ", "on ", "a ", "mat.\n", "dog "];
    let mut random = Random(7);
    let mut text = String::new();
    while text.len() < bytes {
        text.push_str(WORDS[random.below(WORDS.len() as u64) as usize]);
    }
    text.truncate(bytes);
    text
}

/// A small generator of random numbers (xorshift64*), for delays that are the same every time.
pub struct Random(pub u64);

impl Random {
    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % end
    }
}

/// A started program; killed if the test ends before it does.
pub struct Process {
    pub child: Child,
    out: PathBuf,
    err: PathBuf,
    ended: bool,
}

impl Process {
    /// Sends a signal, unless it has ended.
    pub fn signal(&mut self, signal: Signal) {
        if self.child.try_wait().expect("a child").is_none() {
            let pid = Pid::from_child(&self.child);
            kill_process(pid, signal).expect("a child that was not waited for");
        }
    }

    /// What it has written to stderr so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.err).unwrap_or_default()).into_owned()
    }

    /// Asks `look` until it has an answer. Fails if the program ends first, or after [`PATIENCE`].
    pub fn wait_until<T>(&mut self, what: &str, look: impl Fn() -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            let over = self.child.try_wait().expect("a child").is_some();
            if let Some(found) = look() {
                return found;
            }
            assert!(!over, "ended without {what}: {}", self.stderr());
            assert!(
                begin.elapsed() < PATIENCE,
                "no {what} in time: {}",
                self.stderr()
            );
            sleep(Duration::from_millis(5));
        }
    }

    /// Waits for its end.
    pub fn end(&mut self) -> Output {
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                break status;
            }
            assert!(
                begin.elapsed() < PATIENCE,
                "does not end: {}",
                self.stderr()
            );
            sleep(Duration::from_millis(5));
        };
        self.ended = true;
        Output {
            status,
            stdout: fs::read(&self.out).unwrap_or_default(),
            stderr: fs::read(&self.err).unwrap_or_default(),
        }
    }

    /// Waits for its end, which must have this exit code; returns what it said on stderr.
    pub fn expect(&mut self, code: i32) -> String {
        let output = self.end();
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        stderr
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.ended {
            // A test that fails leaves nothing running; an error means that it has ended already.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
