//! `watch.webhook`: an alert is posted by plain HTTP/1.1.
//!
//! One request a connection, with a limit on every wait; of the answer only the status is read. There is no TLS here: a
//! program that has it (curl) is a `watch.command` away, and the refusal of an https address says so.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

/// Longest time for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// Longest time for sending, and for the answer.
const ANSWER: Duration = Duration::from_secs(10);
/// A longer status line is none.
const LONGEST: usize = 4096;

/// Where to post to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// As the request names it, with the port where it was written.
    authority: String,
    host: String,
    port: u16,
    /// Path and query.
    target: String,
}

impl Address {
    /// Takes an address such as `http://127.0.0.1:8080/alerts` apart.
    ///
    /// # Errors
    /// If it is no such address; a line that says what to do.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text
            .get(..8)
            .is_some_and(|head| head.eq_ignore_ascii_case("https://"))
        {
            return Err(
                "https is not spoken here: set watch.command = \"curl -sS --data-binary @- https://...\" in its place"
                    .to_owned(),
            );
        }
        let wrong = || "expected an address such as http://127.0.0.1:8080/path".to_owned();
        let rest = text.strip_prefix("http://").ok_or_else(wrong)?;
        if !rest.chars().all(|c| c.is_ascii_graphic()) {
            return Err(
                "an address holds neither spaces nor other than ASCII; write such as %20"
                    .to_owned(),
            );
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err(
                "a password in the address is not sent: use watch.command with curl".to_owned(),
            );
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                (host, port.parse().ok().ok_or_else(wrong)?)
            }
            _ => (authority, 80),
        };
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        if host.is_empty() || (bare.is_none() && host.contains([':', '[', ']'])) {
            return Err(wrong());
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self {
            authority: authority.to_owned(),
            host: host.to_owned(),
            port,
            target: format!("{slash}{target}"),
        })
    }

    /// Posts a JSON text. Returns the status that was answered.
    ///
    /// # Errors
    /// If nobody answers as HTTP does; a line.
    pub fn post(&self, json: &str) -> Result<u16, String> {
        let failed = |what: &str, error: std::io::Error| {
            format!("{}: cannot {what}: {error}", self.authority)
        };
        let mut stream = self.connect().map_err(|error| failed("connect", error))?;
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: zerollm\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{json}",
            self.target,
            self.authority,
            json.len()
        );
        stream
            .set_write_timeout(Some(ANSWER))
            .and_then(|()| stream.write_all(request.as_bytes()))
            .map_err(|error| failed("send", error))?;
        status(&mut stream).map_err(|error| failed("read the answer", error))
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let mut last = std::io::Error::other("the name has no address");
        for address in (self.host.as_str(), self.port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// The number in `HTTP/1.1 200 OK`.
fn status(stream: &mut TcpStream) -> std::io::Result<u16> {
    let begin = Instant::now();
    let mut answer = Vec::new();
    let mut piece = [0; 512];
    while !answer.contains(&b'\n') && answer.len() < LONGEST {
        let left = ANSWER.saturating_sub(begin.elapsed());
        // A limit of zero would be none.
        stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        match stream.read(&mut piece)? {
            0 => break,
            count => answer.extend(&piece[..count]),
        }
        if left.is_zero() {
            return Err(std::io::ErrorKind::TimedOut.into());
        }
    }
    let line = String::from_utf8_lossy(&answer);
    let mut words = line.split_ascii_whitespace();
    let http = words.next().is_some_and(|word| word.starts_with("HTTP/"));
    let number = words.next().and_then(|word| word.parse().ok());
    number
        .filter(|_| http)
        .ok_or_else(|| std::io::Error::other("it is not HTTP"))
}
