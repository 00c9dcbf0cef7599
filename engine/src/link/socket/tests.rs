//! A server without an engine: what it takes, what it refuses, and that nobody can make it wait.

use super::*;
use crate::link::{Client, EngineLink, Request, link};
use crate::run_folder::{NameFrom, Origin, RunFolder};
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

/// A run's folder that this process has, with a server and the engine's end of the link.
struct Place {
    dir: tempfile::TempDir,
    folder: RunFolder,
    engine: EngineLink,
    client: Client,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runs = dir.path().join("runs");
        let folder = RunFolder::create(&runs, "r", NameFrom::Flag, &Origin::default()).unwrap();
        let (engine, client) = link();
        Self {
            dir,
            folder,
            engine,
            client,
        }
    }

    fn sockets(&self) -> PathBuf {
        self.dir.path().join("sockets")
    }

    fn serve(&self) -> Server {
        let requests = self.client.requests.clone();
        Server::start_in(self.folder.path(), &[self.sockets()], requests).unwrap()
    }

    fn socket(&self) -> PathBuf {
        let text = fs::read(self.folder.path().join(ADDRESS)).unwrap();
        serde_json::from_slice::<Address>(&text).unwrap().socket
    }

    fn connect(&self, role: Role) -> Result<Control, ControlError> {
        Control::connect(self.folder.path(), role)
    }

    /// A connection that says what it likes.
    fn raw(&self) -> Raw {
        let stream = UnixStream::connect(self.socket()).unwrap();
        let limit = Some(Duration::from_secs(20));
        stream.set_read_timeout(limit).unwrap();
        Raw(BufReader::new(stream))
    }

    fn received(&self) -> Vec<Request> {
        self.engine.requests.try_iter().collect()
    }
}

struct Raw(BufReader<UnixStream>);

impl Raw {
    fn say(&mut self, text: &str) {
        // A server that has refused already is gone.
        drop(self.0.get_mut().write_all(text.as_bytes()));
    }

    /// The next answer; none at the end of the connection.
    fn answer(&mut self) -> Option<Answer> {
        let mut line = String::new();
        // What the server did not read is a reset for us, and an end as well.
        let read = self.0.read_line(&mut line).unwrap_or(0);
        (read > 0).then(|| serde_json::from_str(&line).unwrap())
    }

    fn refusal(&mut self) -> String {
        match self.answer() {
            Some(Answer::Refused(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    fn greet(&mut self, role: &str) -> [u64; 2] {
        self.say(&format!(
            "{{\"hello\": {{\"version\": 1, \"role\": \"{role}\"}}}}\n"
        ));
        match self.answer() {
            Some(Answer::Hello(welcome)) => welcome.ids,
            other => panic!("{other:?}"),
        }
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, ControlError>) -> String {
    match result {
        Err(error @ ControlError::Refused(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn requests_reach_the_engine_under_the_number_that_is_answered() {
    let place = Place::new();
    let _server = place.serve();
    let mut one = place.connect(Role::Ctl).unwrap();
    let mut two = place.connect(Role::Ctl).unwrap();
    assert_eq!(one.welcome().run, "r");
    assert_eq!(one.welcome().process, std::process::id());
    let first = one.ask(None, Command::Pause { hard: true }).unwrap();
    let second = one.ask(None, Command::Resume).unwrap();
    let third = two.ask(None, Command::Eval).unwrap();
    let [begin, end] = two.welcome().ids;
    let fourth = two.ask(Some(begin + 7), Command::Sample).unwrap();
    assert_eq!([first, second], [one.welcome().ids[0], first + 1]);
    assert_eq!([third, fourth], [begin, begin + 7]);
    assert!(one.welcome().ids[1] <= begin, "ranges do not overlap");
    let requests = place.received();
    assert_eq!(
        requests,
        [
            Request {
                id: first,
                command: Command::Pause { hard: true }
            },
            Request {
                id: second,
                command: Command::Resume
            },
            Request {
                id: third,
                command: Command::Eval
            },
            Request {
                id: fourth,
                command: Command::Sample
            },
        ]
    );
    for id in [begin + 7, begin - 1, end, 1] {
        let said = refused(two.ask(Some(id), Command::Eval));
        assert!(said.contains(&id.to_string()), "{said}");
    }
    assert_eq!(place.received(), []);
}

#[test]
fn one_terminal_controls_and_others_look_on() {
    let place = Place::new();
    let _server = place.serve();
    let writer = place.connect(Role::Writer).unwrap();
    let said = refused(place.connect(Role::Writer));
    assert!(said.contains("--read-only"), "{said}");
    let mut viewers: Vec<Control> = (0..5)
        .map(|_| place.connect(Role::Viewer).unwrap())
        .collect();
    for viewer in &mut viewers {
        let said = refused(viewer.ask(None, Command::Resume));
        assert!(said.contains("looks on"), "{said}");
    }
    place
        .connect(Role::Ctl)
        .unwrap()
        .ask(None, Command::Eval)
        .unwrap();
    assert_eq!(place.received().len(), 1);
    drop(writer);
    // The server may not have noticed yet.
    let begin = Instant::now();
    while place.connect(Role::Writer).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(20));
    }
}

#[test]
fn what_is_wrong_is_refused_with_a_reason_and_harms_nobody() {
    let place = Place::new();
    let _server = place.serve();
    let mut good = place.connect(Role::Ctl).unwrap();
    for (text, reason) in [
        ("nonsense\n", "not a greeting"),
        ("{\"command\": \"resume\"}\n", "not a greeting"),
        (
            "{\"hello\": {\"version\": 2, \"role\": \"ctl\"}}\n",
            "version 1",
        ),
        (
            "{\"hello\": {\"version\": 1, \"role\": \"boss\"}}\n",
            "not a greeting",
        ),
        ("\u{ff}\u{fe}\n", "not a greeting"),
        ("GET / HTTP/1.1\r\n\r\n", "not a greeting"),
    ] {
        let mut raw = place.raw();
        raw.say(text);
        let said = raw.refusal();
        assert!(said.contains(reason), "{text}: {said}");
        assert_eq!(raw.answer(), None, "{text}: the connection ends");
    }
    let mut raw = place.raw();
    let [first, _] = raw.greet("ctl");
    for text in [
        "\n",
        "{}\n",
        "[]\n",
        "{\"command\": \"fly\"}\n",
        "{\"command\": \"pause\", \"id\": -1}\n",
        "{\"command\": \"set\", \"key\": 3, \"value\": \"4\"}\n",
        "{\"command\": \"stop\"}\n",
    ] {
        raw.say(text);
        let said = raw.refusal();
        assert!(said.contains("not a request"), "{text}: {said}");
    }
    raw.say("{\"command\": \"resume\"}\n{\"command\": \"eval\"}\n");
    assert_eq!(raw.answer(), Some(Answer::Accepted(first)));
    assert_eq!(raw.answer(), Some(Answer::Accepted(first + 1)));
    // As `nc -U` does: said, and gone.
    let mut raw = place.raw();
    raw.say("{\"hello\": {\"version\": 1, \"role\": \"ctl\"}}\n{\"command\": \"sample\"}\n");
    raw.0.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    assert!(matches!(raw.answer(), Some(Answer::Hello(_))));
    assert!(matches!(raw.answer(), Some(Answer::Accepted(_))));
    assert_eq!(place.received().len(), 3);
    assert!(good.ask(None, Command::Resume).is_ok());
}

#[test]
fn a_message_has_an_end_in_length_and_time() {
    let place = Place::new();
    let _server = place.serve();
    let note = |length: usize| {
        let frame = "{\"command\":\"note\",\"text\":\"\"}".len();
        let text = "x".repeat(length - frame);
        format!("{{\"command\":\"note\",\"text\":\"{text}\"}}\n")
    };
    let mut raw = place.raw();
    raw.greet("ctl");
    raw.say(&note(LONGEST_MESSAGE - 1));
    assert!(matches!(raw.answer(), Some(Answer::Accepted(_))));
    raw.say(&note(LONGEST_MESSAGE));
    let said = raw.refusal();
    assert!(said.contains("64 KiB"), "{said}");
    assert_eq!(raw.answer(), None);
    let mut endless = place.raw();
    endless.say(&"y".repeat(3 * LONGEST_MESSAGE));
    let said = endless.refusal();
    assert!(said.contains("64 KiB"), "{said}");

    let begin = Instant::now();
    let mut silent = place.raw();
    let mut halting = place.raw();
    halting.greet("viewer");
    halting.say("{\"comm");
    let mut quiet = place.raw();
    quiet.greet("writer");
    let mut good = place.connect(Role::Ctl).unwrap();
    assert!(good.ask(None, Command::Resume).is_ok());
    assert!(begin.elapsed() < Duration::from_secs(2), "nobody waits");
    for raw in [&mut silent, &mut halting] {
        let said = raw.refusal();
        assert!(said.contains("slow"), "{said}");
    }
    quiet.say("{\"command\":\"eval\"}\n");
    assert!(matches!(quiet.answer(), Some(Answer::Accepted(_))));
}

#[test]
fn a_storm_of_connections_is_bounded_and_passes() {
    let place = Place::new();
    let _server = place.serve();
    let mut storm: Vec<Raw> = (0..100).map(|_| place.raw()).collect();
    let turned_away = storm
        .iter_mut()
        .skip(32)
        .filter_map(Raw::answer)
        .filter(|answer| matches!(answer, Answer::Refused(why) if why.contains("too many")));
    assert!(turned_away.count() >= 68 - 32);
    drop(storm);
    let begin = Instant::now();
    let mut control = loop {
        match place.connect(Role::Ctl) {
            Ok(control) => break control,
            Err(error) => assert!(begin.elapsed() < Duration::from_secs(20), "{error}"),
        }
    };
    assert!(control.ask(None, Command::Resume).is_ok());
}

#[test]
fn an_engine_that_is_busy_or_gone_is_not_waited_for() {
    let place = Place::new();
    let _server = place.serve();
    let mut control = place.connect(Role::Ctl).unwrap();
    let taken = (0..1000).take_while(|_| control.ask(None, Command::Eval).is_ok());
    assert_eq!(taken.count(), 64);
    let said = refused(control.ask(None, Command::Eval));
    assert!(said.contains("too many commands"), "{said}");
    let Place { engine, .. } = place;
    drop(engine);
    let said = refused(control.ask(None, Command::Eval));
    assert!(said.contains("over"), "{said}");
}

#[test]
fn a_folder_whose_name_is_no_text_holds_no_socket() {
    let place = Place::new();
    let foreign = place.dir.path().join(OsStr::from_bytes(b"nu\xff"));
    let folders = [foreign.clone(), place.sockets()];
    let requests = place.client.requests.clone();
    let server = Server::start_in(place.folder.path(), &folders, requests).unwrap();
    assert!(place.socket().starts_with(place.sockets()) && !foreign.exists());
    place.connect(Role::Ctl).unwrap();
    drop(server);
}

#[test]
fn the_socket_is_its_owners_and_goes_with_the_run() {
    let place = Place::new();
    let server = place.serve();
    let socket = place.socket();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&socket), 0o600);
    assert_eq!(mode(&place.sockets()), 0o700);
    let control = place.connect(Role::Viewer).unwrap();
    drop(server);
    assert!(!socket.exists() && !place.folder.path().join(ADDRESS).exists());
    drop(control);
    let error = place.connect(Role::Ctl).unwrap_err();
    assert!(
        matches!(error, ControlError::Unreachable { .. }),
        "{error}: the lock is held still"
    );
    let Place { dir, folder, .. } = place;
    let path = folder.path().to_owned();
    drop(folder);
    let error = Control::connect(&path, Role::Ctl).unwrap_err();
    assert!(matches!(error, ControlError::NotRunning { .. }), "{error}");
    drop(dir);
}

#[test]
fn what_a_killed_process_leaves_is_replaced_and_what_lives_is_left() {
    let place = Place::new();
    drop(place.serve());
    let server = place.serve();
    let socket = place.socket();
    drop(server);
    // A listener that is dropped leaves its path behind.
    drop(UnixListener::bind(&socket).unwrap());
    let older = place.sockets().join("older.sock");
    let younger = place.sockets().join("younger.sock");
    let alive = place.sockets().join("alive.sock");
    drop(UnixListener::bind(&older).unwrap());
    drop(UnixListener::bind(&younger).unwrap());
    let listener = UnixListener::bind(&alive).unwrap();
    let long_ago = rustix::fs::Timespec {
        tv_sec: 1_000_000_000,
        tv_nsec: 0,
    };
    for path in [&older, &alive] {
        let times = rustix::fs::Timestamps {
            last_access: long_ago,
            last_modification: long_ago,
        };
        let flags = rustix::fs::AtFlags::empty();
        rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags).unwrap();
    }
    let server = place.serve();
    assert_eq!(place.socket(), socket);
    assert!(place.connect(Role::Ctl).is_ok());
    assert!(!older.exists() && younger.exists() && alive.exists());
    drop((server, listener));

    let _other = UnixListener::bind(&socket).unwrap();
    let _server = place.serve();
    assert_ne!(
        place.socket(),
        socket,
        "somebody else's run of the same path"
    );
    assert!(place.connect(Role::Ctl).is_ok());
}

#[test]
fn a_folder_that_others_can_write_is_closed_or_passed_over() {
    let place = Place::new();
    let open = place.dir.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    let link = place.dir.path().join("link");
    symlink(&open, &link).unwrap();
    let deep = place.dir.path().join("x".repeat(150));
    let start = |folders: &[PathBuf]| {
        let requests = place.client.requests.clone();
        Server::start_in(place.folder.path(), folders, requests)
    };
    for folder in [&link, &deep] {
        let said = start(std::slice::from_ref(folder)).unwrap_err().to_string();
        assert!(said.contains(&*folder.to_string_lossy()), "{said}");
        assert!(!place.folder.path().join(ADDRESS).exists());
    }
    let _server = start(&[link, deep, open.clone()]).unwrap();
    assert!(place.socket().starts_with(&open));
    let mode = fs::metadata(&open).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
