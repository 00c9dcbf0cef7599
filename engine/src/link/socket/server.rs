//! The engine's end of the control socket: one thread that waits for all clients at once.
//!
//! Nothing here waits for a client, and the engine never waits for this thread: a request is put into the engine's channel
//! or refused. What a client may cost is bounded in number, length and time.

use super::{
    ADDRESS, Address, Answer, Ask, Greeting, LONGEST_MESSAGE, Role, SocketError, VERSION, Welcome,
    line, place,
};
use crate::checkpoint::{RealDisk, write_atomic};
use crate::link::Request;
use crate::run_folder::host;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Most clients at a time.
const MOST_CLIENTS: usize = 32;
/// Most connections taken before the clients are looked at again.
const MOST_AT_ONCE: usize = 16;
/// How long a greeting may take, and any message from its first byte to its last.
const SLOWEST: Duration = Duration::from_secs(2);
/// How long a client that only has a request may be quiet.
const IDLE: Duration = Duration::from_secs(20);
/// First number of requests from here: screens of the engine's own process count from 1.
const FIRST_ID: u64 = 1 << 40;
/// Numbers of a connection.
const IDS: u64 = 1 << 20;

const TOO_LONG: &str = "too long: a message has at most 64 KiB";
const TOO_SLOW: &str =
    "too slow: a message is whole within 2 s, and ctl says something within 20 s";

/// The socket of a run that is on; dropping it ends its thread and removes the socket and its address.
#[derive(Debug)]
pub struct Server {
    socket: PathBuf,
    address: PathBuf,
    /// Its closing wakes the thread, and ends it.
    wake: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Binds the socket of the run in this folder, whose lock the caller holds, and serves it. Requests go to `requests`.
    ///
    /// # Errors
    /// If there is no place for a socket, or its address cannot be written. Nothing is left behind then.
    pub fn start(run: &Path, requests: SyncSender<Request>) -> Result<Self, SocketError> {
        Self::start_in(run, &place::folders(), requests)
    }

    /// As [`Self::start`], in the first of these folders that can hold the socket.
    pub(super) fn start_in(
        run: &Path,
        folders: &[PathBuf],
        requests: SyncSender<Request>,
    ) -> Result<Self, SocketError> {
        let (listener, socket) = place::bind(run, folders)?;
        let address = run.join(ADDRESS);
        // From here on, an error removes what was made: it is dropped.
        let mut server = Self {
            socket,
            address,
            wake: None,
            thread: None,
        };
        let fault = |action| {
            let path = server.socket.clone();
            move |error| SocketError::io(&path, action, error)
        };
        listener
            .set_nonblocking(true)
            .map_err(fault("set up the socket"))?;
        let (wake, woken) = UnixStream::pair().map_err(fault("set up the socket"))?;
        let name = run.canonicalize().unwrap_or_else(|_| run.to_owned());
        let mut serving = Serving {
            run: name
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned(),
            listener,
            woken,
            requests,
            clients: Vec::new(),
            next_id: FIRST_ID,
        };
        let thread = std::thread::Builder::new()
            .name("control".to_owned())
            .spawn(move || serving.run())
            .map_err(fault("start a thread for the socket"))?;
        let text = line(&Address {
            version: VERSION,
            socket: server.socket.clone(),
            process: std::process::id(),
            host: host(),
        });
        (server.wake, server.thread) = (Some(wake), Some(thread));
        write_atomic(&RealDisk, &server.address, &text)
            .map_err(|error| SocketError::io(&server.address, "write", error))?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already where somebody tidied up.
        drop(fs::remove_file(&self.address));
        drop(fs::remove_file(&self.socket));
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed, and concerns nobody else.
            drop(thread.join());
        }
    }
}

/// A connection.
struct Client {
    stream: UnixStream,
    /// None before its greeting.
    role: Option<Role>,
    /// What it has sent of a line.
    message: Vec<u8>,
    /// When it must have said more.
    deadline: Option<Instant>,
    /// Number for its next request, and the end of its range.
    ids: [u64; 2],
}

/// The thread's own.
struct Serving {
    run: String,
    listener: UnixListener,
    woken: UnixStream,
    requests: SyncSender<Request>,
    clients: Vec<Client>,
    next_id: u64,
}

impl Serving {
    fn run(&mut self) {
        while let Some((arrived, ready)) = self.wait() {
            if arrived {
                self.accept();
            }
            let now = Instant::now();
            for index in (0..self.clients.len()).rev() {
                // New clients stand behind those that were waited for.
                let alive = ready
                    .get(index)
                    .is_none_or(|ready| !ready || self.hear(index));
                let client = &mut self.clients[index];
                let late = alive && client.deadline.is_some_and(|deadline| deadline <= now);
                if late {
                    client.refuse(TOO_SLOW);
                }
                if !alive || late {
                    self.clients.swap_remove(index);
                }
            }
        }
    }

    /// Waits until there is something to do: whether somebody wants to connect, and which clients have said something.
    /// None once the server is dropped.
    fn wait(&self) -> Option<(bool, Vec<bool>)> {
        let flags = PollFlags::IN;
        let mut fds = vec![
            PollFd::new(&self.woken, flags),
            PollFd::new(&self.listener, flags),
        ];
        fds.extend(self.clients.iter().map(|c| PollFd::new(&c.stream, flags)));
        let next = self.clients.iter().filter_map(|c| c.deadline).min();
        let limit = next.map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        match poll(&mut fds, limit.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            // No memory for a moment, at worst.
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        (!ready[0]).then(|| (ready[1], ready[2..].to_vec()))
    }

    fn accept(&mut self) {
        for _ in 0..MOST_AT_ONCE {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    // Out of file descriptors, say: the connection waits, and this thread does not spin meanwhile.
                    std::thread::sleep(Duration::from_millis(50));
                    return;
                }
            };
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            let ids = [self.next_id, self.next_id + IDS];
            let mut client = Client {
                stream,
                role: None,
                message: Vec::new(),
                deadline: Some(Instant::now() + SLOWEST),
                ids,
            };
            if !may_connect(&client.stream) {
                client.refuse("this run belongs to another user");
            } else if self.clients.len() >= MOST_CLIENTS {
                client.refuse("too many connections; try again");
            } else {
                self.next_id += IDS;
                self.clients.push(client);
            }
        }
    }

    /// Takes what a client has sent; false once it is gone, or is to go.
    fn hear(&mut self, index: usize) -> bool {
        let client = &mut self.clients[index];
        let mut piece = [0; 4096];
        let read = match client.stream.read(&mut piece) {
            Ok(read) => read,
            Err(error) => {
                return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted);
            }
        };
        client.message.extend_from_slice(&piece[..read]);
        while let Some(end) = self.clients[index].message.iter().position(|&b| b == b'\n') {
            let rest = self.clients[index].message.split_off(end + 1);
            let message = std::mem::replace(&mut self.clients[index].message, rest);
            if end >= LONGEST_MESSAGE {
                self.clients[index].refuse(TOO_LONG);
                return false;
            }
            if !self.answer(index, &message[..end]) {
                return false;
            }
        }
        let client = &mut self.clients[index];
        if client.message.len() >= LONGEST_MESSAGE {
            client.refuse(TOO_LONG);
            return false;
        }
        // A greeting counts from the connection, any other message from its first byte.
        let limit = match (client.role, client.message.is_empty()) {
            (None, _) => client.deadline,
            (Some(_), false) if client.deadline.is_some() => client.deadline,
            (Some(_), false) => Some(Instant::now() + SLOWEST),
            (Some(Role::Ctl), true) => Some(Instant::now() + IDLE),
            (Some(_), true) => None,
        };
        client.deadline = limit;
        read > 0
    }

    /// Answers a message; false if the connection shall end.
    fn answer(&mut self, index: usize, message: &[u8]) -> bool {
        let Some(role) = self.clients[index].role else {
            return self.greet(index, message);
        };
        let client = &mut self.clients[index];
        client.deadline = None;
        if role == Role::Viewer {
            return client.refuse("this connection looks on only: attach without --read-only");
        }
        let ask: Ask = match serde_json::from_slice(message) {
            Ok(ask) => ask,
            Err(error) => return client.refuse(&format!("not a request: {error}")),
        };
        let [next, end] = client.ids;
        let id = ask.id.unwrap_or(next);
        if !(next..end).contains(&id) {
            return client.refuse(&format!("id {id}: expected one from {next} below {end}"));
        }
        client.ids[0] = id + 1;
        let request = Request {
            id,
            command: ask.command,
        };
        match self.requests.try_send(request) {
            Ok(()) => client.say(&Answer::Accepted(id)),
            Err(TrySendError::Full(_)) => {
                client.refuse("the engine has too many commands waiting; try again")
            }
            Err(TrySendError::Disconnected(_)) => client.refuse("the run is over"),
        }
    }

    fn greet(&mut self, index: usize, message: &[u8]) -> bool {
        let greeting: Result<Greeting, _> = serde_json::from_slice(message);
        let taken = self
            .clients
            .iter()
            .any(|client| client.role == Some(Role::Writer));
        let client = &mut self.clients[index];
        let hello = match greeting {
            Ok(greeting) => greeting.hello,
            Err(error) => {
                client.refuse(&format!("not a greeting: {error}"));
                return false;
            }
        };
        if hello.version != VERSION {
            client.refuse(&format!(
                "this engine speaks version {VERSION}, not {}: use the same zerollm at both ends",
                hello.version
            ));
            return false;
        }
        if hello.role == Role::Writer && taken {
            client.refuse(
                "another terminal is attached and controls this run: leave there, or look on with --read-only",
            );
            return false;
        }
        client.role = Some(hello.role);
        client.deadline = None;
        let ids = client.ids;
        client.say(&Answer::Hello(Welcome {
            version: VERSION,
            run: self.run.clone(),
            process: std::process::id(),
            ids,
        }))
    }
}

impl Client {
    /// Says it at once or not at all; false if it was not taken: such a client does not listen.
    fn say(&mut self, answer: &Answer) -> bool {
        let line = line(answer);
        self.stream
            .write(&line)
            .is_ok_and(|sent| sent == line.len())
    }

    fn refuse(&mut self, reason: &str) -> bool {
        self.say(&Answer::Refused(reason.to_owned()))
    }
}

/// Whether a client's process is this user's, or root's.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn may_connect(stream: &UnixStream) -> bool {
    let uid = rustix::net::sockopt::socket_peercred(stream).map(|peer| peer.uid);
    uid.is_ok_and(|uid| uid.is_root() || uid == rustix::process::getuid())
}

/// Elsewhere the modes of folder and socket say who can connect at all.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn may_connect(_stream: &UnixStream) -> bool {
    true
}
