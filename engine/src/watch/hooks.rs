//! Who is told of an alert outside the program: `watch.command` and `watch.webhook`.
//!
//! A thread of its own does one alert after the other; the engine only puts them into a short queue and never waits. What the
//! command prints, and what fails, goes to the run's `engine.log`.

use super::webhook::Address;
use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Builder, JoinHandle, sleep};
use std::time::{Duration, Instant};

/// Alerts that may wait.
const QUEUE: usize = 16;
/// A command that runs longer is killed.
const LIMIT: Duration = Duration::from_mins(1);
/// Bytes of a command's output that are kept.
const OUTPUT: usize = 64 << 10;

/// An alert to be told.
#[derive(Clone, Debug)]
pub struct Job {
    /// The alert as JSON, on one line.
    pub json: String,
    /// The run's folder.
    pub run: PathBuf,
    /// The step.
    pub step: u64,
    /// The rule.
    pub rule: String,
    /// What `sh -c` runs.
    pub command: Option<String>,
    /// Where to post to.
    pub webhook: Option<String>,
}

/// The thread that tells, and its queue.
#[derive(Debug)]
pub struct Hooks {
    queue: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    limit: Duration,
}

impl Default for Hooks {
    fn default() -> Self {
        Self::with_limit(LIMIT)
    }
}

impl Hooks {
    /// Hooks whose commands may run for `limit`.
    pub fn with_limit(limit: Duration) -> Self {
        Self {
            queue: None,
            thread: None,
            limit,
        }
    }

    /// Queues an alert; one that finds the queue full is left out, with a line in the log.
    pub fn tell(&mut self, job: &Job) {
        if job.command.is_none() && job.webhook.is_none() {
            return;
        }
        if self.queue.is_none() {
            let (sender, receiver) = sync_channel(QUEUE);
            let limit = self.limit;
            let thread = Builder::new().name("watch".to_owned());
            match thread.spawn(move || work(&receiver, limit)) {
                Ok(thread) => self.thread = Some(thread),
                Err(error) => log(
                    job,
                    &format!("left out, the system gives no thread: {error}"),
                ),
            }
            self.queue = Some(sender);
        }
        if let Some(queue) = &self.queue
            && let Err(error) = queue.try_send(job.clone())
        {
            log(job, &format!("left out: {error}"));
        }
    }

    /// Lets what is queued be told, for at most `patience`: the alert that ended the run is the most important one.
    pub fn finish(&mut self, patience: Duration) {
        self.queue = None;
        let Some(thread) = self.thread.take() else {
            return;
        };
        let begin = Instant::now();
        while !thread.is_finished() && begin.elapsed() < patience {
            sleep(Duration::from_millis(5));
        }
        if thread.is_finished() {
            drop(thread.join());
        }
    }
}

fn work(queue: &Receiver<Job>, limit: Duration) {
    for job in queue {
        if let Some(address) = &job.webhook {
            match Address::parse(address).and_then(|address| address.post(&job.json)) {
                Ok(200..300) => {}
                Ok(status) => log(&job, &format!("watch.webhook was answered {status}")),
                Err(error) => log(&job, &format!("watch.webhook: {error}")),
            }
        }
        if let Some(line) = &job.command {
            match command(&job, line, limit) {
                Ok((status, output)) => {
                    let end = match status {
                        Some(status) => status.to_string(),
                        None => format!("killed after {} s", limit.as_secs_f64()),
                    };
                    log(&job, &format!("watch.command: {end}{}", indented(&output)));
                }
                Err(error) => log(&job, &format!("watch.command could not be run: {error}")),
            }
        }
    }
}

/// Runs a command. Returns how it ended, `None` where it had to be killed, and what it printed.
fn command(job: &Job, line: &str, limit: Duration) -> io::Result<(Option<ExitStatus>, Vec<u8>)> {
    let (output, pipe) = io::pipe()?;
    let mut command = Command::new("sh");
    command
        .args(["-c", line])
        .env("ZEROLLM_RUN", &job.run)
        .env("ZEROLLM_STEP", job.step.to_string())
        .env("ZEROLLM_RULE", &job.rule)
        .stdin(Stdio::piped())
        .stdout(pipe.try_clone()?)
        .stderr(pipe);
    // A group of its own, so that what it starts can be ended with it, and Ctrl-C does not reach it.
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = command.spawn()?;
    // It holds the pipe's end, which must close with the child.
    drop(command);
    if let Some(mut stdin) = child.stdin.take() {
        // A pipe holds it all; a child that does not read it is no fault.
        drop(stdin.write_all(format!("{}\n", job.json).as_bytes()));
    }
    let kept = Arc::new(Mutex::new(Vec::new()));
    let reader = collect(output, kept.clone())?;
    let begin = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if begin.elapsed() >= limit => {
                kill(&mut child);
                break None;
            }
            None => sleep(Duration::from_millis(10)),
        }
    };
    // What it left running may hold the pipe open for ever.
    let end = Instant::now();
    while !reader.is_finished() && end.elapsed() < Duration::from_millis(500) {
        sleep(Duration::from_millis(5));
    }
    let kept = kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((status, kept))
}

/// Reads to the end, and keeps the beginning.
fn collect(mut output: io::PipeReader, kept: Arc<Mutex<Vec<u8>>>) -> io::Result<JoinHandle<()>> {
    let thread = Builder::new().name("watch-output".to_owned());
    thread.spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = output.read(&mut piece) {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            let room = OUTPUT.saturating_sub(kept.len());
            kept.extend(&piece[..count.min(room)]);
        }
    })
}

fn kill(child: &mut Child) {
    #[cfg(unix)]
    {
        use rustix::process::{Pid, Signal, kill_process_group};
        // It may have ended by itself just now.
        let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    }
    drop(child.kill());
    drop(child.wait());
}

/// Output as lines of the log, without control characters.
fn indented(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let lines = text.lines().map(|line| {
        let plain: String = line
            .chars()
            .map(|c| if c.is_control() && c != '\t' { '?' } else { c })
            .collect();
        format!("\n  | {plain}")
    });
    lines.collect()
}

fn log(job: &Job, text: &str) {
    let line = format!(
        "{} alert {} at step {}: {text}\n",
        crate::run_folder::now(),
        job.rule,
        job.step
    );
    let opened = open(&job.run);
    // The log is for people; where it cannot be written there is nowhere to say so.
    drop(opened.and_then(|mut file| file.write_all(line.as_bytes())));
}

fn open(run: &Path) -> io::Result<std::fs::File> {
    let path = run.join("engine.log");
    OpenOptions::new().create(true).append(true).open(path)
}
