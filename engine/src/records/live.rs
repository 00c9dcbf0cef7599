//! Records that are written while a run goes on: an event file for TensorBoard, an endpoint for Prometheus.
//!
//! Both are readers of events.jsonl in threads of their own. The engine starts and stops them and otherwise does not know of
//! them: it hands nothing over, so it cannot be made to wait, and what they read is complete however slow they are.

use super::prometheus::Latest;
use super::tensorboard::{Writer, file_name};
use crate::config::TelemetryConfig;
use crate::run_folder::EventTail;
use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often a thread looks whether there is something new, or whether it shall end.
const LOOK: Duration = Duration::from_millis(50);
/// How often the event file is written through.
const FLUSH: Duration = Duration::from_secs(1);
/// How long a client may take with its request.
const PATIENCE: Duration = Duration::from_secs(1);
/// A longer request is none of ours.
const REQUEST: usize = 8192;

/// The address of an endpoint, if it can be reached from this machine alone: `127.0.0.1:9464`, `[::1]:9464`.
pub fn loopback(text: &str) -> Option<SocketAddr> {
    let address: SocketAddr = text.parse().ok()?;
    address.ip().is_loopback().then_some(address)
}

/// Where an attempt's record begins.
#[derive(Clone, Debug)]
pub(crate) struct Attempt {
    /// The run's folder.
    pub(crate) folder: PathBuf,
    /// Byte of events.jsonl.
    pub(crate) start: u64,
    /// Number, from 1.
    pub(crate) number: u32,
    /// Last step done before it.
    pub(crate) step: u64,
}

/// The readers that are wanted; dropping it ends them.
#[derive(Debug, Default)]
pub(crate) struct Live {
    tensorboard: Option<Reader>,
    prometheus: Option<(String, Reader)>,
}

/// What starting a reader came to, for engine.log or a warning.
pub(crate) type Note = Result<String, String>;

impl Live {
    /// Starts and stops readers as the configuration says.
    pub(crate) fn follow(&mut self, telemetry: &TelemetryConfig, attempt: &Attempt) -> Vec<Note> {
        let mut notes = Vec::new();
        if !telemetry.tensorboard {
            self.tensorboard = None;
        } else if self.tensorboard.is_none() {
            match event_file(attempt) {
                Ok(reader) => self.tensorboard = Some(reader),
                Err(error) => notes.push(Err(format!(
                    "telemetry.tensorboard: no event file is written: {error}"
                ))),
            }
        }
        let wanted = telemetry.prometheus.as_str();
        if self.prometheus.as_ref().map_or("", |served| &served.0) == wanted {
            return notes;
        }
        self.prometheus = None;
        if let Some(address) = loopback(wanted) {
            match serve(address, attempt) {
                Ok((address, reader)) => {
                    self.prometheus = Some((wanted.to_owned(), reader));
                    notes.push(Ok(format!("prometheus: http://{address}/metrics")));
                }
                Err(error) => notes.push(Err(format!(
                    "telemetry.prometheus: {wanted} is not served: {error}"
                ))),
            }
        }
        notes
    }
}

/// A thread that reads the record; dropping it ends the thread once it has read all there is.
#[derive(Debug)]
struct Reader {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    fn start(name: &str, work: impl FnOnce(&AtomicBool) + Send + 'static) -> io::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&over);
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || work(&flag))?;
        Ok(Self {
            over,
            thread: Some(thread),
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            // It failed on its own: the run does not care.
            drop(thread.join());
        }
    }
}

fn tail(attempt: &Attempt) -> io::Result<EventTail> {
    let path = attempt.folder.join("events.jsonl");
    EventTail::open_at(&path, attempt.start).map_err(|error| io::Error::other(error.to_string()))
}

/// Writes `tensorboard/events.out.tfevents...`, one file an attempt.
fn event_file(attempt: &Attempt) -> io::Result<Reader> {
    let folder = attempt.folder.join("tensorboard");
    fs::create_dir_all(&folder)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs_f64();
    let path = folder.join(file_name(now as u64, attempt.number));
    let mut options = OpenOptions::new();
    // Switched off and on within the attempt: written anew, from the attempt's beginning.
    let file = options.create(true).write(true).truncate(true).open(path)?;
    let mut writer = Writer::new(BufWriter::new(file), now, attempt.step)?;
    let mut tail = tail(attempt)?;
    Reader::start("tensorboard", move |over| {
        let mut flushed = Instant::now();
        loop {
            // Read before the record is: what it says is then the end.
            let last = over.load(Ordering::SeqCst);
            while let Some(event) = tail.poll() {
                if writer.event(&event).is_err() {
                    return;
                }
            }
            if last || flushed.elapsed() >= FLUSH {
                if writer.flush().is_err() || last {
                    return;
                }
                flushed = Instant::now();
            }
            std::thread::sleep(LOOK);
        }
    })
}

/// Answers `GET /metrics`.
fn serve(address: SocketAddr, attempt: &Attempt) -> io::Result<(SocketAddr, Reader)> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let mut tail = tail(attempt)?;
    let run = crate::run_folder::name_of(&attempt.folder);
    let mut latest = Latest::default();
    let reader = Reader::start("prometheus", move |over| {
        while !over.load(Ordering::SeqCst) {
            while let Some(event) = tail.poll() {
                latest.apply(&event);
            }
            match listener.accept() {
                Ok((client, _)) => {
                    // What came while nobody asked.
                    while let Some(event) = tail.poll() {
                        latest.apply(&event);
                    }
                    // A client that has gone has its answer no more.
                    drop(answer(client, &latest.page(&run)));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(LOOK),
                Err(_) => std::thread::sleep(PATIENCE),
            }
        }
    })?;
    Ok((address, reader))
}

fn answer(mut client: TcpStream, page: &str) -> io::Result<()> {
    client.set_nonblocking(false)?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.set_write_timeout(Some(PATIENCE))?;
    let begin = Instant::now();
    let mut request = Vec::new();
    let mut piece = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = client.read(&mut piece)?;
        request.extend_from_slice(&piece[..read]);
        if read == 0 || request.len() > REQUEST || begin.elapsed() > PATIENCE {
            return Ok(());
        }
    }
    let text = String::from_utf8_lossy(&request);
    let mut words = text.split_ascii_whitespace();
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let (status, body) = match (method, path.split('?').next().unwrap_or("")) {
        ("GET" | "HEAD", "/" | "/metrics") => ("200 OK", page),
        ("GET" | "HEAD", _) => ("404 Not Found", "there is /metrics\n"),
        _ => ("405 Method Not Allowed", "only GET is answered\n"),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
        Connection: close\r\n\r\n",
        body.len()
    );
    client.write_all(head.as_bytes())?;
    if method != "HEAD" {
        client.write_all(body.as_bytes())?;
    }
    client.flush()
}
