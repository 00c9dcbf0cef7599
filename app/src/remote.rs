//! A run of another process behind the same pair of channels as an engine of this one.
//!
//! Events come from the run's record, which everybody sees alike; requests go to whoever takes them, usually the control
//! socket. So a screen that is attached, one that looks on and one that reads a dead run are the screen of `train`.

use engine::link::{Body, Client, Event, Request};
use engine::run_folder::{Holder, Next, Tail, holder, is_gone, now};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::Duration;

/// Events that may wait for the screen; the record has all the others.
const EVENTS: usize = 1024;
/// Requests that may wait for the socket.
const REQUESTS: usize = 64;
/// How long the follower waits at a time.
const WAIT: Duration = Duration::from_secs(1);
/// How often a folder that is gone is looked for.
const LOOK: Duration = Duration::from_millis(200);

/// Follows the record of the run in a folder, of which all up to `last_step` has been read, and hands requests to `ask`, each
/// in a thread. The events end with the run, not with a folder that is moved away; a request that `ask` does not take is
/// answered with a refusal that says why.
///
/// # Errors
/// If the system gives no thread.
pub fn client(
    run: &Path,
    mut tail: Tail,
    last_step: u64,
    mut ask: impl FnMut(Request) -> Result<(), String> + Send + 'static,
) -> io::Result<Client> {
    let (requests, asked) = sync_channel::<Request>(REQUESTS);
    let (sender, events) = sync_channel(EVENTS);
    // The channel ends with the record: whoever refuses holds no end of it for longer than a moment.
    let open: Arc<Mutex<Option<SyncSender<Event>>>> = Arc::new(Mutex::new(Some(sender.clone())));
    let last_step = Arc::new(AtomicU64::new(last_step));
    let run = run.to_owned();
    let (to, at) = (Arc::clone(&open), Arc::clone(&last_step));
    std::thread::Builder::new()
        .name("record".to_owned())
        .spawn(move || {
            while let Some(line) = next(&mut tail, &run) {
                let Ok(event) = serde_json::from_str::<Event>(&line) else {
                    continue;
                };
                if let Some(step) = step(&event) {
                    at.store(step, Ordering::Relaxed);
                }
                if sender.send(event).is_err() {
                    break;
                }
            }
            if let Ok(mut open) = to.lock() {
                *open = None;
            }
        })?;
    std::thread::Builder::new()
        .name("requests".to_owned())
        .spawn(move || {
            for request in asked {
                let (id, word) = (request.id, request.command.word());
                let Err(message) = ask(request) else { continue };
                let refusal = Event {
                    body: Body::Reply {
                        step: last_step.load(Ordering::Relaxed),
                        id,
                        command: word.to_owned(),
                        refused: true,
                        message,
                    },
                    time: now(),
                };
                let sender = open.lock().ok().and_then(|open| open.clone());
                if let Some(sender) = sender {
                    // A screen that is gone needs no refusal.
                    drop(sender.send(refusal));
                }
            }
        })?;
    Ok(Client { requests, events })
}

/// The next line of a record; none once the run is over. Where its folder was moved away nobody seems to have it, but that is
/// known only once the folder is there again: its engine has the files open and trains on.
fn next(tail: &mut Tail, run: &Path) -> Option<String> {
    loop {
        match tail.wait(WAIT) {
            Next::Line(line) => return Some(line),
            Next::Quiet => {}
            Next::Over if tail.has_ended() => return None,
            // The last lines were written before the lock was given back.
            Next::Over if !is_gone(run) && holder(run) == Holder::Nobody => return tail.poll(),
            Next::Over => sleep(LOOK),
        }
    }
}

/// The step that an event says is done.
fn step(event: &Event) -> Option<u64> {
    match &event.body {
        Body::Step(step) => Some(step.step),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::link::Command;
    use engine::run_folder::{NameFrom, Origin, RunFolder};
    use std::sync::mpsc::RecvTimeoutError;

    #[test]
    fn the_record_comes_out_of_the_channel_and_refusals_between_it() {
        let runs = tempfile::tempdir().unwrap();
        let folder =
            RunFolder::create(runs.path(), "r", NameFrom::Flag, &Origin::default()).unwrap();
        let path = folder.path().to_owned();
        let mut writer = folder.events().unwrap();
        let event = |step| Event {
            body: Body::ResumedFromPause { step },
            time: now(),
        };
        writer.append(&event(1)).unwrap();
        let before = crate::state::History::read(&path).unwrap();
        assert_eq!(before.events.len(), 1);
        assert_eq!(before.events[0].body, event(1).body);
        let tail = Tail::open_at(&path, before.end, before.is_over()).unwrap();
        let ask = |request: Request| match request.command {
            Command::Eval => Ok(()),
            _ => Err("not today".to_owned()),
        };
        let Client { requests, events } = client(&path, tail, 1, ask).unwrap();
        let patience = Duration::from_secs(20);
        writer.append(&event(2)).unwrap();
        let heard = events.recv_timeout(patience).unwrap();
        assert_eq!(heard.body, event(2).body);
        for (id, command) in [(7, Command::Eval), (8, Command::Sample)] {
            requests.send(Request { id, command }).unwrap();
        }
        let heard = events.recv_timeout(patience).unwrap();
        assert!(
            matches!(&heard.body, Body::Reply { id: 8, refused: true, message, .. } if message == "not today"),
            "{heard:?}"
        );
        writer.append(&event(3)).unwrap();
        drop((writer, folder));
        let rest: Vec<Body> = events.iter().map(|event| event.body).collect();
        assert_eq!(rest, [event(3).body], "the channel ends with the run");
    }

    #[test]
    fn a_run_whose_folder_is_moved_away_for_a_while_is_followed_on() {
        let runs = tempfile::tempdir().unwrap();
        let folder =
            RunFolder::create(runs.path(), "r", NameFrom::Flag, &Origin::default()).unwrap();
        let (path, aside) = (folder.path().to_owned(), runs.path().join("aside"));
        let mut writer = folder.events().unwrap();
        let event = |step| Event {
            body: Body::ResumedFromPause { step },
            time: now(),
        };
        let tail = Tail::open(&path).unwrap();
        let Client { events, .. } = client(&path, tail, 0, |_| Ok(())).unwrap();
        std::fs::rename(&path, &aside).unwrap();
        let silence = events.recv_timeout(Duration::from_millis(1500));
        assert_eq!(silence.err(), Some(RecvTimeoutError::Timeout), "not over");
        std::fs::rename(&aside, &path).unwrap();
        writer.append(&event(1)).unwrap();
        let heard = events.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(heard.body, event(1).body);
        let silence = events.recv_timeout(Duration::from_millis(1500));
        assert_eq!(silence.err(), Some(RecvTimeoutError::Timeout), "it is on");
        writer.append(&event(2)).unwrap();
        drop((writer, folder));
        let rest: Vec<Body> = events.iter().map(|event| event.body).collect();
        assert_eq!(rest, [event(2).body], "it is over");
    }
}
