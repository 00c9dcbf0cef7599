//! Telling programs outside: what they get, and that nothing waits for them.

use crate::watch::hooks::{Hooks, Job};
use crate::watch::webhook::Address;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(30);

fn job(run: &Path) -> Job {
    Job {
        json: "{\"event\":\"alert\",\"rule\":\"spike\",\"step\":12}".to_owned(),
        run: run.to_owned(),
        step: 12,
        rule: "spike".to_owned(),
        command: None,
        webhook: None,
    }
}

fn log(run: &Path) -> String {
    fs::read_to_string(run.join("engine.log")).unwrap_or_default()
}

/// Reads one request: its head and its body.
fn request(stream: &mut TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "));
            if length.unwrap().parse() == Ok(body.len()) {
                return (head.to_owned(), body.to_owned());
            }
        }
        let count = stream.read(&mut piece).unwrap();
        assert!(count > 0, "cut short: {text}");
        bytes.extend(&piece[..count]);
    }
}

#[cfg(unix)]
#[test]
fn a_command_gets_the_alert_and_its_output_is_logged() {
    let place = tempfile::tempdir().unwrap();
    let line = "cat > seen; echo \"$ZEROLLM_RUN $ZEROLLM_STEP $ZEROLLM_RULE\" > env; echo told; printf '\\033[31m' >&2; exit 3";
    let line = format!("cd {:?}; {line}", place.path());
    let mut hooks = Hooks::default();
    hooks.tell(&Job {
        command: Some(line),
        ..job(place.path())
    });
    hooks.finish(PATIENCE);
    let read = |name: &str| fs::read_to_string(place.path().join(name)).unwrap();
    assert_eq!(read("seen").trim_end(), job(place.path()).json);
    let env = format!("{} 12 spike\n", place.path().display());
    assert_eq!(read("env"), env);
    let log = log(place.path());
    assert!(
        log.contains("alert spike at step 12: watch.command: exit status: 3"),
        "{log}"
    );
    assert!(
        log.contains("\n  | told\n") && log.contains("?[31m"),
        "{log}"
    );
}

#[cfg(unix)]
#[test]
fn one_command_at_once_and_a_hanging_one_is_ended_with_what_it_started() {
    let place = tempfile::tempdir().unwrap();
    let mut hooks = Hooks::with_limit(Duration::from_millis(300));
    let begin = Instant::now();
    let hang = format!("cd {:?}; sleep 100 & echo $! > child; wait", place.path());
    hooks.tell(&Job {
        command: Some(hang),
        ..job(place.path())
    });
    // As many as may wait, and more; none of it is waited for.
    for _ in 0..40 {
        hooks.tell(&Job {
            command: Some(format!(
                "cd {:?}; mkdir busy && rmdir busy || touch twice",
                place.path()
            )),
            ..job(place.path())
        });
    }
    assert!(begin.elapsed() < Duration::from_secs(5));
    hooks.finish(PATIENCE);
    let log = log(place.path());
    assert!(log.contains("killed after 0.3 s"), "{log}");
    assert!(log.contains("left out"), "{log}");
    assert!(!place.path().join("twice").exists());
    let child = fs::read_to_string(place.path().join("child")).unwrap();
    let status = fs::read_to_string(format!("/proc/{}/stat", child.trim()));
    assert!(
        status.is_err() || status.unwrap().contains(") Z "),
        "it still runs"
    );
}

#[test]
fn a_webhook_is_posted_to() {
    let place = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = thread::spawn(move || {
        let answers = [
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 500 Oh\r\n\r\n",
            "what?\r\n",
        ];
        answers.map(|answer| {
            let (mut stream, _) = listener.accept().unwrap();
            let request = request(&mut stream);
            stream.write_all(answer.as_bytes()).unwrap();
            request
        })
    });
    let mut hooks = Hooks::default();
    for _ in 0..3 {
        hooks.tell(&Job {
            webhook: Some(format!("http://127.0.0.1:{port}/hook?run=a#top")),
            ..job(place.path())
        });
    }
    hooks.finish(PATIENCE);
    let [(head, body), ..] = server.join().unwrap();
    assert!(head.starts_with("POST /hook?run=a HTTP/1.1\r\n"), "{head}");
    assert!(
        head.contains(&format!("\r\nHost: 127.0.0.1:{port}\r\n")),
        "{head}"
    );
    assert!(
        head.contains("\r\nContent-Type: application/json"),
        "{head}"
    );
    assert_eq!(body, job(place.path()).json);
    let log = log(place.path());
    assert_eq!(log.lines().count(), 2, "{log}");
    assert!(
        log.contains("was answered 500") && log.contains("not HTTP"),
        "{log}"
    );
}

#[test]
fn nobody_there_is_a_line_in_the_log() {
    let place = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let mut hooks = Hooks::default();
    hooks.tell(&Job {
        webhook: Some(format!("http://127.0.0.1:{port}")),
        ..job(place.path())
    });
    hooks.finish(PATIENCE);
    assert!(
        log(place.path()).contains("cannot connect"),
        "{}",
        log(place.path())
    );
}

#[test]
fn addresses() {
    for good in [
        "http://localhost",
        "http://127.0.0.1:8080/a/b?c=d",
        "http://[::1]:80/",
        "http://[::1]",
        "http://host?x=1",
    ] {
        assert!(Address::parse(good).is_ok(), "{good}");
    }
    let refused = |text: &str| Address::parse(text).expect_err(text);
    let https = refused("HTTPS://example.org/x");
    assert!(
        https.contains("watch.command") && https.contains("curl"),
        "{https}"
    );
    for bad in [
        "",
        "example.org",
        "ftp://x",
        "http://",
        "http://:80",
        "http://host:port",
        "http://host:99999",
        "http://a:b:80",
        "http://user:word@host/",
        "http://host/a b",
        "http://host/\r\nX: y",
        "http://\u{e9}.org/",
    ] {
        assert!(!refused(bad).contains('\n'), "{bad}");
    }
}
