//! The control socket: how another process asks a running engine for something.
//!
//! A Unix socket carries requests and their immediate answer, nothing else: what comes of them is in the run's record,
//! which every reader follows ([`crate::run_folder::Tail`]). [`Server`] is the engine's end, a thread that hands requests to
//! the engine's channel if there is room and never waits for anybody; [`Control`] is the other end.
//!
//! Both sides speak JSON lines. The client begins with `{"hello": {"version": 1, "role": "ctl"}}` and is answered
//! `{"hello": {"version": 1, "run": ..., "process": ..., "ids": [first, end]}}`. A request is a command with its fields,
//! `{"command": "pause", "hard": true}`, answered `{"accepted": id}`: the number under which the record will hold the
//! `reply`. It is the next of the connection's own range, or one that the request names (`"id"`), larger than those
//! before it. Whatever cannot be taken is answered `{"refused": reason}`.
//!
//! The socket lies in `XDG_RUNTIME_DIR/zerollm`, else in `/tmp/zerollm-UID`, so that long paths and network disks do not
//! matter; `control.json` in the run's folder says where, as long as the run is on. Only its owner and root can connect.

mod client;
mod place;
mod server;
#[cfg(test)]
mod tests;

pub use client::{Control, ControlError, PATIENCE};
pub use server::Server;

use super::Command;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Version of what is spoken here.
pub const VERSION: u32 = 1;
/// Longest message, in bytes, its line feed included.
pub const LONGEST_MESSAGE: usize = 64 << 10;

const ADDRESS: &str = "control.json";

/// Why a run cannot be reached from other processes; it trains all the same.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The folder for sockets is not this user's alone.
    #[error("{}: {message}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The operating system's words.
        source: std::io::Error,
    },
}

impl SocketError {
    fn io(path: &Path, action: &'static str, source: std::io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            action,
            source,
        }
    }
}

/// What a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A screen that controls the run: one at a time.
    Writer,
    /// A screen that looks on: its requests are refused.
    Viewer,
    /// A request and its answer.
    Ctl,
}

/// The first line of a client.
#[derive(Debug, Serialize, Deserialize)]
struct Greeting {
    hello: Hello,
}

#[derive(Debug, Serialize, Deserialize)]
struct Hello {
    version: u32,
    role: Role,
}

/// Any later line of a client.
#[derive(Debug, Serialize, Deserialize)]
struct Ask {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(flatten)]
    command: Command,
}

/// A line of the server.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Hello(Welcome),
    Accepted(u64),
    Refused(String),
}

/// Whom a client has reached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Version of what is spoken.
    pub version: u32,
    /// The run's name.
    pub run: String,
    /// Id of the engine's process.
    pub process: u32,
    /// First number for this connection's requests, and the end of its range.
    pub ids: [u64; 2],
}

/// What control.json says.
#[derive(Debug, Serialize, Deserialize)]
struct Address {
    version: u32,
    /// Path of the socket.
    socket: PathBuf,
    /// Id of the engine's process.
    process: u32,
    /// The machine on which that path means something.
    host: String,
}

/// A message as a line.
fn line(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}
