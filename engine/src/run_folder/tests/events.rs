//! The record: what of it is read whatever happened to it, and what a full disk leaves.

use super::super::events::Append;
use super::*;
use std::sync::{Arc, Mutex};

#[test]
fn a_torn_last_line_is_tolerated_and_mended() {
    let runs = scratch();
    let folder = create(runs.path(), "a");
    set_up_events(&folder);
    let path = folder.path().join(EVENTS);
    let whole = fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1]
        .iter()
        .rposition(|&b| b == b'\n')
        .unwrap()
        + 1;
    for length in last..=whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let kept = if length == whole.len() { 3 } else { 2 };
        assert_eq!(steps(folder.path()).len(), kept, "{length}");
        let mut events = folder.events().unwrap();
        events.append(&step(9, 1)).unwrap();
        // A line that lacks only its end is whole.
        let kept = if length + 1 >= whole.len() { 4 } else { 3 };
        assert_eq!(steps(folder.path()).len(), kept, "{length}");
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.lines()
                .all(|line| serde_json::from_str::<Event>(line).is_ok())
        );
    }
    // A torn line longer than what is looked at in one go, in a file of nothing else.
    fs::write(&path, "x".repeat(200_000)).unwrap();
    folder.events().unwrap().append(&step(1, 1)).unwrap();
    assert_eq!(steps(folder.path()), [(1, 1)]);
}

#[test]
fn lines_that_are_no_event_are_skipped() {
    let runs = scratch();
    let folder = create(runs.path(), "a");
    let good = serde_json::to_string(&step(1, 1)).unwrap();
    let later = good.replace("\"step\":1,", "\"step\":2,\"added_later\":[1],");
    let text = format!("{good}\n{{\"event\":\"of_2030\"}}\n\n\u{0}\u{0}\nnull\n{later}\n");
    fs::write(folder.path().join(EVENTS), text).unwrap();
    let mut events = EventReader::open(folder.path()).unwrap();
    assert_eq!(events.by_ref().count(), 2);
    assert_eq!(events.skipped(), 4);
}

#[test]
fn of_a_step_trained_twice_the_last_attempt_counts() {
    let runs = scratch();
    let folder = create(runs.path(), "a");
    let mut events = folder.events().unwrap();
    let resumed = |step: u64, attempt: u32| {
        event(Body::Resumed {
            step,
            path: String::new(),
            attempt,
        })
    };
    let warning = event(Body::Warning {
        step: 6,
        message: "seen".to_owned(),
        note: false,
    });
    let mut put = |event: &Event| drop(events.append(event).unwrap());
    put(&started(1, 0));
    (1..=6).for_each(|s| put(&step(s, 1)));
    put(&eval(4, 0.4));
    put(&eval(5, 0.5));
    put(&warning);
    put(&started(2, 4));
    put(&resumed(4, 2));
    (5..=8).for_each(|s| put(&step(s, 2)));
    // A rollback within a process, to before the earlier takeover.
    put(&resumed(2, 3));
    (3..=5).for_each(|s| put(&step(s, 3)));
    let expected = [(1, 1), (2, 1), (3, 3), (4, 3), (5, 3)];
    assert_eq!(steps(folder.path()), expected);
    let all: Vec<Event> = EventReader::open(folder.path()).unwrap().collect();
    assert!(all.contains(&warning), "history stays");
    assert!(!all.iter().any(|event| matches!(event.body, Body::Eval(_))));
    // An old file, whose `started` does not say its step: the `resumed` behind it does.
    let text = fs::read_to_string(folder.path().join(EVENTS)).unwrap();
    let old = text.replace("\"step\":4,\"max_steps\"", "\"max_steps\"");
    assert_ne!(old, text);
    fs::write(folder.path().join(EVENTS), old).unwrap();
    assert_eq!(steps(folder.path()), expected);
    // A start from the beginning leaves nothing.
    let mut events = folder.events().unwrap();
    events.append(&started(4, 0)).unwrap();
    events.append(&step(1, 4)).unwrap();
    assert_eq!(steps(folder.path()), [(1, 4)]);
}

#[test]
fn a_growing_file_is_followed() {
    let runs = scratch();
    let folder = create(runs.path(), "a");
    let path = folder.path().join(EVENTS);
    let mut tail = EventTail::open(&path).unwrap();
    assert_eq!(tail.poll(), None);
    let (one, two) = (step(1, 1), step(2, 1));
    folder.events().unwrap().append(&one).unwrap();
    assert_eq!(tail.poll(), Some(one));
    assert_eq!(tail.poll(), None);
    let line = serde_json::to_string(&two).unwrap() + "\n";
    let (head, rest) = line.split_at(30);
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(head.as_bytes()).unwrap();
    assert_eq!(tail.poll(), None, "half a line is no event");
    file.write_all(rest.as_bytes()).unwrap();
    assert_eq!(tail.poll(), Some(two));
    assert_eq!(tail.poll(), None);
}

/// A disk with room for so many bytes.
#[derive(Clone)]
struct Small(Arc<Mutex<(Vec<u8>, usize, usize)>>);

impl Write for Small {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (contents, room, calls) = &mut *self.0.lock().unwrap();
        *calls += 1;
        let part = bytes.len().min(*room - contents.len());
        if part == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        contents.extend(&bytes[..part]);
        Ok(part)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Append for Small {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.0.lock().unwrap().0.truncate(length as usize);
        Ok(())
    }
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_told_and_the_event_can_be_written_later() {
    let line = serde_json::to_string(&step(1, 1)).unwrap() + "\n";
    for room in 0..line.len() {
        let disk = Small(Arc::new(Mutex::new((Vec::new(), line.len() + room, 0))));
        let mut events = EventWriter::on(Path::new("e"), Box::new(disk.clone()), 0);
        assert_eq!(events.append(&step(1, 1)).unwrap().len() + 1, line.len());
        assert_eq!(disk.0.lock().unwrap().2, 1, "one write call a line");
        for _ in 0..2 {
            let error = events.append(&step(2, 1)).unwrap_err();
            assert!(matches!(error, RunError::DiskFull { .. }), "{error}");
            assert_eq!(
                disk.0.lock().unwrap().0.len(),
                line.len(),
                "no part of a line stays"
            );
        }
        disk.0.lock().unwrap().1 = 10 * line.len();
        events.append(&step(2, 1)).unwrap();
        let contents = disk.0.lock().unwrap().0.clone();
        let text = String::from_utf8(contents).unwrap();
        assert_eq!(
            text.lines()
                .filter_map(|l| serde_json::from_str::<Event>(l).ok())
                .count(),
            2
        );
    }
}
