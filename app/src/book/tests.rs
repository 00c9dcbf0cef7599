//! Reading, sorting and arranging runs.

use super::fixture::{entry, with};
use super::*;

fn names(entries: &[Entry], order: &[(usize, usize)]) -> Vec<String> {
    let rows = order.iter();
    rows.map(|(index, depth)| format!("{}{}", "-".repeat(*depth), entries[*index].summary.name))
        .collect()
}

#[test]
fn runs_are_filtered_sorted_and_put_below_their_parents() {
    let child = |name: &str, parent: Option<&str>, lr: &str| {
        let mut entry = with(entry(name), "optimizer.lr", lr);
        entry.summary.parent = parent.map(|parent| format!("{parent}@100"));
        entry
    };
    let mut entries = vec![
        child("c", Some("b"), "1e-3"),
        child("b", Some("base"), "0.1"),
        child("d", Some("base"), "0.01"),
        child("base", None, "1"),
    ];
    entries[2].figures.config.clear();
    let every = Query::Every;
    let plain = arrange(&entries, &every, None, false);
    assert_eq!(names(&entries, &plain), ["c", "b", "d", "base"]);
    let tree = arrange(&entries, &every, None, true);
    assert_eq!(names(&entries, &tree), ["base", "-b", "--c", "-d"]);
    let sort = Sort::parse("optimizer.lr").unwrap();
    let sorted = arrange(&entries, &every, Some(&sort), false);
    // What has no such key comes last, whichever way.
    assert_eq!(names(&entries, &sorted), ["c", "b", "base", "d"]);
    let sort = Sort::parse("-optimizer.lr").unwrap();
    let sorted = arrange(&entries, &every, Some(&sort), false);
    assert_eq!(names(&entries, &sorted), ["base", "b", "c", "d"]);
    let query = query::parse("name != base").unwrap();
    let orphans = arrange(&entries, &query, None, true);
    assert_eq!(names(&entries, &orphans), ["b", "-c", "d"]);
    for (sort, said) in [
        ("nope", "no key `nope`; did you mean note?"),
        ("-stpe", "no key `stpe`; did you mean step?"),
    ] {
        assert_eq!(Sort::parse(sort).unwrap_err(), said);
    }
    // An order is a key, not the beginning of an expression.
    assert!(Sort::parse("name == x or step").is_err());
}

mod figures {
    //! What runs tell without their steps being read.

    use crate::book::Figures;
    use crate::book::course::{Axis, Course};
    use crate::chart::series::XUnit;
    use crate::workbench::fixture::{event, events, step};
    use engine::link::{Body, Change, Event};
    use engine::run_folder::{EventReader, IndexWriter};
    use std::path::Path;
    use std::time::{Duration, Instant};

    /// A resumed run of 720 steps with an edit and a pause.
    fn history() -> Vec<Event> {
        let mut all = events(640);
        let changes = vec![Change {
            key: "optimizer.lr".to_owned(),
            from: "0.001".to_owned(),
            to: "0.002".to_owned(),
        }];
        let applied = Body::ConfigApplied {
            step: 640,
            version: 2,
            changes,
        };
        all.push(event(applied, 0));
        let resumed = Body::Resumed {
            step: 500,
            path: "checkpoints/x".to_owned(),
            attempt: 2,
        };
        all.push(event(resumed, 0));
        all.extend((501..=720).map(step));
        let paused = Body::Paused {
            step: 720,
            reason: None,
            hard: false,
        };
        all.push(event(paused, 0));
        all
    }

    fn write(run: &Path, events: &[Event]) {
        let lines = events.iter().map(serde_json::to_string);
        let text: Vec<String> = lines.map(|line| line.unwrap() + "\n").collect();
        std::fs::write(run.join("events.jsonl"), text.concat()).unwrap();
    }

    /// The same from the whole record, event by event: best evaluation, bits per byte, seconds.
    fn from_the_log(run: &Path) -> (Option<(f64, u64)>, Option<f64>, f64) {
        let (mut best, mut bits, mut seconds) = (None, None, 0.0);
        for event in EventReader::open(run).unwrap() {
            match event.body {
                Body::Step(step) => seconds += step.step_seconds,
                Body::Eval(eval) if best.is_none_or(|(loss, _)| eval.loss < loss) => {
                    (best, bits) = (Some((eval.loss, eval.step)), eval.bits_per_byte);
                }
                _ => {}
            }
        }
        (best, bits, seconds)
    }

    #[test]
    fn the_index_tells_what_the_record_does() {
        let place = tempfile::tempdir().unwrap();
        let run = place.path();
        assert_eq!(Figures::read(run), Figures::default());
        assert!(Course::read(run).is_err());
        write(run, &history());
        // Without metrics.idx, with it, and with it while the record has gone on.
        for round in 0..3 {
            match round {
                0 => {}
                1 => drop(IndexWriter::open(run).unwrap()),
                _ => write(run, &[history(), (721..=730).map(step).collect()].concat()),
            }
            let figures = Figures::read(run);
            let (best, bits, seconds) = from_the_log(run);
            assert_eq!((figures.best, figures.bits_per_byte), (best, bits));
            assert!(figures.best.is_some_and(|best| best.1 <= 500));
            assert!((figures.seconds - seconds).abs() < 1e-9, "{seconds}");
            assert_eq!(figures.value("optimizer.lr").as_deref(), Some("0.002"));
            assert!(figures.is_paused);

            let course = Course::read(run).unwrap();
            let mut rows = 0;
            let mut trained = 0.0;
            for event in EventReader::open(run).unwrap() {
                let Body::Step(step) = event.body else {
                    continue;
                };
                trained += step.step_seconds;
                assert_eq!(course.loss.at(rows), Some(step.loss as f32));
                let x = |axis: Axis| course.along(axis).unwrap().x(rows, axis.unit());
                assert_eq!(x(Axis::Step), step.step as f64);
                assert_eq!(x(Axis::Tokens), step.tokens as f64);
                assert!((x(Axis::Time) - trained).abs() < 1e-9);
                // 6 N + 12 L C T of the made-up model.
                let cost = 6.0 * 3_412_608.0 + 12.0 * 6.0 * 256.0 * 256.0;
                let work = (step.tokens as f64 * (cost / 1e9)).floor();
                assert!((x(Axis::Work) - work).abs() <= 1.0);
                rows += 1;
            }
            assert_eq!(rows, if round < 2 { 720 } else { 730 });
            let work = course.along(Axis::Work).unwrap();
            assert_eq!(work.len(), rows);
            let (lo, hi) = work.extent(XUnit::Tokens).unwrap();
            let middle = f64::midpoint(lo, hi);
            let before = work.rows_before(middle, XUnit::Tokens);
            assert!(work.x(before - 1, XUnit::Tokens) < middle);
            assert!(work.x(before, XUnit::Tokens) >= middle);
        }
    }

    /// Bytes that this thread has read by calls; mapped files are not in it. None where the system does not say.
    fn bytes_read() -> Option<u64> {
        let text = std::fs::read_to_string("/proc/thread-self/io").ok()?;
        text.lines()
            .find_map(|line| line.strip_prefix("rchar: "))
            .and_then(|bytes| bytes.parse().ok())
    }

    #[test]
    fn of_a_run_of_a_million_steps_only_the_index_is_read() {
        const STEPS: u64 = 1_000_000;
        let place = tempfile::tempdir().unwrap();
        let run = place.path();
        // Lines of steps that nothing can be read from: whoever reads the record has no figures.
        let mut text = serde_json::to_string(&events(0)[0]).unwrap().into_bytes();
        text.push(b'\n');
        std::fs::write(run.join("events.jsonl"), "").unwrap();
        let mut index = IndexWriter::open(run).unwrap();
        let head = String::from_utf8(text.clone()).unwrap();
        index.take(0, head.trim_end(), &events(0)[0]).unwrap();
        let mut one = step(1);
        one.time = String::new();
        for number in 1..=STEPS {
            if let Body::Step(step) = &mut one.body {
                (step.step, step.tokens) = (number, number * 10);
            }
            index.take(text.len() as u64, "{}", &one).unwrap();
            text.extend_from_slice(b"{}\n");
        }
        let end = Body::Finished {
            step: STEPS,
            loss: 1.0,
            seconds: 1.0,
            reason: "max_steps".to_owned(),
        };
        let end = event(end, 0);
        let line = serde_json::to_string(&end).unwrap();
        index.take(text.len() as u64, &line, &end).unwrap();
        text.extend_from_slice(line.as_bytes());
        text.push(b'\n');
        std::fs::write(run.join("events.jsonl"), text).unwrap();

        let (begin, before) = (Instant::now(), bytes_read());
        let figures = Figures::read(run);
        let course = Course::read(run).unwrap();
        let (after, took) = (bytes_read(), begin.elapsed());
        assert!((figures.seconds - 0.174 * STEPS as f64).abs() < 1.0);
        assert!(!figures.config.is_empty());
        assert_eq!(course.loss.len() as u64, STEPS);
        assert_eq!(course.along(Axis::Work).unwrap().last_step(), Some(STEPS));
        assert!(took < Duration::from_secs(1), "{took:?}");
        match before.zip(after) {
            // The record has 3 MB, as real ones have 250.
            Some((before, after)) => assert!(after - before < 200_000, "{}", after - before),
            None => eprintln!("skipped: no /proc here, so what is read is not counted"),
        }
    }
}
