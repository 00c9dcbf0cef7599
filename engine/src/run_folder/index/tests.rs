use super::build::ROWS;
use super::*;
use crate::link::{Body, Layers, Started, Step};
use crate::run_folder::{EventReader, EventWriter};
use proptest::prelude::*;
use std::time::Instant;
use tempfile::TempDir;

const TIME: &str = "2026-01-01T00:00:00.25Z";

fn event(body: Body) -> Event {
    let time = TIME.to_owned();
    Event { body, time }
}

fn step(step: u64, attempt: u32, loss: f64) -> Event {
    event(Body::Step(Step {
        step,
        attempt,
        loss,
        lr: 1e-3 / step as f64,
        grad_norm: loss * 2.0,
        clipped: step.is_multiple_of(3),
        tokens: 64 * step,
        tokens_per_second: 100.0,
        step_seconds: 0.5,
        data_wait_seconds: 0.0,
    }))
}

fn eval(step: u64, loss: f64) -> Event {
    event(Body::Eval(Eval {
        step,
        split: "validation".to_owned(),
        loss,
        perplexity: loss.exp(),
        bits_per_byte: step.is_multiple_of(4).then_some(loss * 0.5),
        tokens: 100,
        best: step == 4,
    }))
}

fn takeover(step: u64, attempt: u32) -> [Event; 2] {
    let started = Started {
        attempt,
        step,
        ..Started::default()
    };
    let path = "checkpoints/x".to_owned();
    [
        event(Body::Started(Box::new(started))),
        event(Body::Resumed {
            step,
            path,
            attempt,
        }),
    ]
}

/// A run's folder with these events, its index written in segments of `rows`.
fn folder(events: &[Event], rows: usize) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let mut writer = EventWriter::open(&place.path().join(EVENTS)).unwrap();
    writer.keep(IndexWriter::open_with(place.path(), rows).unwrap());
    for event in events {
        writer.append(event).unwrap();
    }
    place
}

/// What the readers of events.jsonl see is what the index says.
fn agrees(run: &Path, index: &Index) {
    let events: Vec<Event> = EventReader::open(run).unwrap().collect();
    let steps: Vec<&Step> = events
        .iter()
        .filter_map(|event| match &event.body {
            Body::Step(step) => Some(step),
            _ => None,
        })
        .collect();
    assert_eq!(index.len(Table::Steps), steps.len());
    let all = 0..steps.len();
    let counts = |name| -> Vec<u64> { index.column(name).unwrap().counts(all.clone()).collect() };
    let bits = |name| -> Vec<u64> {
        let values = index.column(name).unwrap().values(all.clone());
        values.map(f64::to_bits).collect()
    };
    let want = |of: fn(&Step) -> u64| -> Vec<u64> { steps.iter().map(|step| of(step)).collect() };
    assert_eq!(counts("step"), want(|step| step.step));
    assert_eq!(counts("attempt"), want(|step| u64::from(step.attempt)));
    assert_eq!(counts("tokens"), want(|step| step.tokens));
    assert_eq!(bits("loss"), want(|step| step.loss.to_bits()));
    assert_eq!(bits("lr"), want(|step| step.lr.to_bits()));
    assert_eq!(bits("grad_norm"), want(|step| step.grad_norm.to_bits()));
    for (row, step) in steps.iter().enumerate() {
        assert_eq!(
            index.column("loss").unwrap().get(row).to_bits(),
            step.loss.to_bits()
        );
        let seconds = index.column("seconds").unwrap().get(row);
        assert!((seconds - 0.5 * (row + 1) as f64).abs() < 1e-9);
    }
    let evals: Vec<Eval> = events
        .iter()
        .filter_map(|event| match &event.body {
            Body::Eval(eval) => Some(eval.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(index.evals().collect::<Vec<_>>(), evals);
    let rest: Vec<Event> = events
        .into_iter()
        .filter(|event| !matches!(event.body, Body::Step(_)))
        .collect();
    // As text: NaN is not equal to itself.
    let text = |events: &[Event]| serde_json::to_string(events).unwrap();
    assert_eq!(text(&index.events(&index.lines()).unwrap()), text(&rest));
}

/// The bucket of some rows, the slow way.
fn brute(values: impl Iterator<Item = f64>) -> Bucket {
    Bucket::of(values.map(f64::to_bits))
}

fn same(a: &Bucket, b: &Bucket) {
    assert_eq!((a.min, a.max), (b.min, b.max));
    assert_eq!((a.finite, a.nonfinite), (b.finite, b.nonfinite));
    // The order of a sum may differ.
    let scale = if a.finite > 0 {
        a.max.abs().max(a.min.abs())
    } else {
        0.0
    };
    assert!(
        (a.sum() - b.sum()).abs() <= 1e-13 * scale * f64::from(a.finite),
        "{a:?} {b:?}"
    );
}

/// Two attempts and a rollback, evaluations, samples, layers, values that are not finite.
fn history() -> Vec<Event> {
    let mut events = takeover(0, 1).to_vec();
    events.pop();
    let train = |from: u64, to: u64, attempt: u32, events: &mut Vec<Event>| {
        for number in from..=to {
            let loss = match number % 11 {
                3 => f64::NAN,
                7 => f64::INFINITY,
                _ => 10.0 * f64::from(attempt) + (number as f64).sin(),
            };
            events.push(step(number, attempt, loss));
            if number.is_multiple_of(4) {
                events.push(eval(number, f64::from(attempt) + 1.0 / number as f64));
            }
            if number.is_multiple_of(5) {
                events.push(event(Body::Layers(Layers {
                    step: number,
                    names: vec!["a".to_owned()],
                    activation_rms: vec![f64::NAN],
                    gradient_rms: vec![1.0],
                    weight_rms: vec![1.0],
                    update_ratio: vec![1.0],
                    dead_share: vec![0.0],
                    ..Layers::default()
                })));
            }
        }
    };
    train(1, 90, 1, &mut events);
    events.extend(takeover(70, 2));
    train(71, 75, 2, &mut events);
    events.extend(takeover(40, 3));
    train(41, 100, 3, &mut events);
    // A rollback within the attempt.
    events.push(takeover(95, 3)[1].clone());
    train(96, 120, 3, &mut events);
    events.push(eval(122, 1.0));
    events
}

#[test]
fn an_index_says_what_the_record_says() {
    for rows in [1, 3, 16, 50, 1000] {
        let events = history();
        for count in [0, 1, 2, 30, 100, 130, events.len()] {
            let place = folder(&events[..count], rows);
            agrees(place.path(), &Index::open(place.path()).unwrap());
        }
    }
}

#[test]
fn what_is_appended_is_what_a_rebuild_gives() {
    let place = folder(&history(), 16);
    let path = place.path().join(INDEX);
    let appended = fs_read(&path);
    assert!(appended.len() > 10_000, "{}", appended.len());
    std::fs::remove_file(&path).unwrap();
    drop(IndexWriter::open_with(place.path(), 16).unwrap());
    assert!(fs_read(&path) == appended, "other bytes");
}

fn fs_read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn a_torn_file_is_read_right_and_mended() {
    let events = history();
    let place = folder(&events[..100], 16);
    let (path, whole) = (place.path().join(INDEX), fs_read(&place.path().join(INDEX)));
    for length in (0..whole.len()).step_by(97).chain(0..500) {
        std::fs::write(&path, &whole[..length]).unwrap();
        agrees(place.path(), &Index::open(place.path()).unwrap());
    }
    for length in (0..whole.len()).step_by(1009) {
        std::fs::write(&path, &whole[..length]).unwrap();
        drop(IndexWriter::open_with(place.path(), 16).unwrap());
        assert!(fs_read(&path) == whole, "torn at {length}");
    }
    // Every byte of the last segments is under a checksum.
    for at in (0..whole.len()).step_by(331) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&path, &damaged).unwrap();
        agrees(place.path(), &Index::open(place.path()).unwrap());
    }
}

/// Every byte length at which a small file can be torn.
#[test]
fn a_file_torn_anywhere_is_no_trouble() {
    let place = folder(&history()[..40], 16);
    let (path, whole) = (place.path().join(INDEX), fs_read(&place.path().join(INDEX)));
    let steps = Index::open(place.path()).unwrap().len(Table::Steps);
    assert_eq!(steps, 28);
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let index = Index::open(place.path()).unwrap();
        assert_eq!(index.len(Table::Steps), steps, "torn at {length}");
        let loss = index.column("loss").unwrap();
        same(&loss.query(0..steps), &brute(loss.values(0..steps)));
    }
}

#[test]
fn an_index_of_another_record_is_made_anew() {
    let place = folder(&history(), 16);
    let record = place.path().join(EVENTS);
    let text = fs_read(&record);
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    // Shorter, other in its first line, other in its last covered one.
    let shorter = lines[..60].concat();
    let mut first = text.clone();
    first[20] ^= 1;
    let mut last = text.clone();
    let at = last.len() - lines[lines.len() - 1].len() - 40;
    last[at] = b'9';
    for record_text in [shorter, first, last] {
        let other = tempfile::tempdir().unwrap();
        std::fs::write(other.path().join(EVENTS), &record_text).unwrap();
        std::fs::copy(place.path().join(INDEX), other.path().join(INDEX)).unwrap();
        agrees(other.path(), &Index::open(other.path()).unwrap());
        drop(IndexWriter::open_with(other.path(), 16).unwrap());
        agrees(other.path(), &Index::open(other.path()).unwrap());
    }
}

#[test]
fn a_resumed_run_goes_on_with_its_index() {
    let events = history();
    let place = tempfile::tempdir().unwrap();
    for piece in events.chunks(23) {
        let mut writer = EventWriter::open(&place.path().join(EVENTS)).unwrap();
        writer.keep(IndexWriter::open_with(place.path(), 16).unwrap());
        for event in piece {
            writer.append(event).unwrap();
        }
        agrees(place.path(), &Index::open(place.path()).unwrap());
    }
    // A run that is over is read from its index alone.
    let mut writer = EventWriter::open(&place.path().join(EVENTS)).unwrap();
    writer.keep(IndexWriter::open_with(place.path(), 16).unwrap());
    let message = String::new();
    writer
        .append(&event(Body::Failed { step: 1, message }))
        .unwrap();
    assert_eq!(Index::stored(place.path()).to(), writer.length());
}

#[test]
fn a_step_without_a_takeover_before_it_supersedes_too() {
    let mut events: Vec<Event> = (1..=20).map(|number| step(number, 1, 1.0)).collect();
    events.extend((11..=14).map(|number| step(number, 2, 2.0)));
    let place = folder(&events, 4);
    let index = Index::open(place.path()).unwrap();
    let steps: Vec<u64> = index.column("step").unwrap().counts(0..14).collect();
    assert_eq!((index.len(Table::Steps), steps), (14, (1..=14).collect()));
    let attempts = index.column("attempt").unwrap();
    assert_eq!((attempts.count(9), attempts.count(10)), (1, 2));
}

#[test]
fn what_attempts_left_behind_is_still_to_be_found() {
    let mut events: Vec<Event> = (1..=30).map(|s| step(s, 1, s as f64)).collect();
    events.extend(takeover(10, 2));
    events.extend((11..=20).map(|s| step(s, 2, 100.0 + s as f64)));
    events.push(step(21, 2, f64::NAN));
    events.extend(takeover(15, 3));
    events.extend((16..=18).map(|s| step(s, 3, 200.0 + s as f64)));
    for rows in [4, 7, 1000] {
        let place = folder(&events, rows);
        let index = Index::open_with(place.path(), rows).unwrap();
        agrees(place.path(), &index);
        let left = index.superseded(1000);
        let steps = |left: &Superseded| left.rows.iter().map(|row| row.step).collect::<Vec<_>>();
        assert_eq!(left.len(), 2, "{rows}");
        assert_eq!((left[0].after, left[1].after), (10, 15));
        assert_eq!(steps(&left[0]), (11..=30).collect::<Vec<_>>());
        assert_eq!(steps(&left[1]), (16..=21).collect::<Vec<_>>());
        assert_eq!(left[1].rows[0].figures[0], 116.0);
        assert!(left[1].rows[5].figures[0].is_nan());
        // The second attempt began behind ten steps of half a second.
        assert_eq!(
            (left[1].rows[0].seconds, left[1].rows[0].tokens),
            (8.0, 1024)
        );
        // Means, as few as are asked for, that leave no row out.
        let few = &index.superseded(3)[0].rows;
        assert_eq!(few.len(), 3);
        let losses: Vec<f64> = few.iter().map(|row| row.figures[0]).collect();
        assert_eq!(losses, [14.0, 21.0, 27.5]);
        assert_eq!(few[2].step, 30);
    }
    let whole: Vec<Event> = (1..=9).map(|s| step(s, 1, 1.0)).collect();
    let place = folder(&whole, 4);
    assert_eq!(Index::open(place.path()).unwrap().superseded(9), []);
}

#[test]
fn lines_that_are_no_events_are_left_out() {
    let place = tempfile::tempdir().unwrap();
    let good = serde_json::to_string(&step(1, 1, 1.0)).unwrap();
    let other = r#"{"step":2,"time":"x","event":"step","attempt":1,"loss":"NaN","lr":1,"grad_norm":1,"clipped":true,"tokens":1,"tokens_per_second":1,"step_seconds":1,"data_wait_seconds":0}"#;
    let text = format!(
        "{good}\nnothing\n{{\"event\":\"step\"}}\n{other}\n{{\"event\":\"new\",\"time\":\"\"}}\n{{\"ev"
    );
    std::fs::write(place.path().join(EVENTS), text).unwrap();
    let index = Index::open(place.path()).unwrap();
    assert_eq!(index.len(Table::Steps), 2);
    assert!(index.column("loss").unwrap().get(1).is_nan());
    assert!(index.events(&index.lines()).unwrap().is_empty());
    assert!(Index::open(&place.path().join("none")).is_err());
    assert!(index.column("nothing").is_none() && index.buckets("nothing", 0, 9, 3).is_none());
}

#[test]
fn looks_at_the_machine_are_a_kind_that_no_attempt_supersedes() {
    let look = event(Body::System(Box::default()));
    let [started, resumed] = takeover(0, 2);
    let place = folder(&[step(1, 1, 1.0), look, started, resumed], 4);
    let lines = Index::open(place.path()).unwrap().lines();
    let kinds: Vec<LineKind> = lines.iter().map(|line| line.kind).collect();
    assert_eq!(kinds, [LineKind::System, LineKind::Other, LineKind::Other]);
    let text = fs_read(&place.path().join(EVENTS));
    let line = text.split(|byte| *byte == b'\n').nth(1).unwrap();
    assert_eq!(Line::of_bytes(line), Line::Listed(LineKind::System, 0));
}

/// Values as they come, with spikes, NaN and infinities.
fn series() -> impl Strategy<Value = Vec<f64>> {
    let value = prop_oneof![
        8 => -10.0..10.0_f64,
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY)],
        1 => prop_oneof![Just(1e9), Just(-1e9)],
    ];
    proptest::collection::vec(value, 1..700)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn buckets_are_what_the_rows_say(
        values in series(),
        rows in prop_oneof![Just(7_usize), Just(64), Just(100), Just(300)],
        edges in (0_usize..700, 0_usize..700),
        columns in 1_usize..90,
    ) {
        let events: Vec<Event> = (1..).zip(&values).map(|(i, value)| step(i, 1, *value)).collect();
        let place = folder(&events, rows);
        let index = Index::open(place.path()).unwrap();
        let loss = index.column("loss").unwrap();
        let range = edges.0.min(edges.1)..edges.0.max(edges.1).min(values.len());
        let range = range.start.min(range.end)..range.end;
        same(&loss.query(range.clone()), &brute(values[range.clone()].iter().copied()));
        // Every row is in one bucket, whatever the window.
        let (from, to) = (range.start as u64 + 1, range.end as u64);
        let buckets = index.buckets("loss", from, to.max(from), columns).unwrap();
        let joined = Bucket::joined(&buckets);
        let seen = &values[range.start..(to.max(from) as usize).min(values.len())];
        same(&joined, &brute(seen.iter().copied()));
        // Smoothed values do not depend on where segments end.
        for beta in BETAS {
            let (mut average, mut weight) = (0.0, 0.0);
            for (row, value) in values.iter().enumerate() {
                if value.is_finite() {
                    average = beta * average + (1.0 - beta) * value;
                    weight = beta * weight + (1.0 - beta);
                }
                let want = (weight > 0.0).then(|| average / weight);
                prop_assert_eq!(loss.smoothed(beta, row), want);
            }
        }
        prop_assert_eq!(loss.smoothed(0.123, 0), None);
    }
}

#[test]
fn a_spike_of_one_step_survives_every_zoom() {
    let events: Vec<Event> = (1..=5000)
        .map(|number| step(number, 1, if number == 3217 { 99.0 } else { 1.0 }))
        .collect();
    let place = folder(&events, 512);
    let index = Index::open(place.path()).unwrap();
    for columns in [1, 2, 10, 77, 80, 200, 1000, 5000] {
        let buckets = index.buckets("loss", 1, 5000, columns).unwrap();
        let with: Vec<_> = buckets.iter().filter(|bucket| bucket.max == 99.0).collect();
        assert_eq!((with.len(), buckets.len()), (1, columns));
        let rows: u32 = buckets.iter().map(|bucket| bucket.finite).sum();
        assert_eq!(rows, 5000);
    }
}

/// A million steps, made through the builder: opening must not depend on how many there are.
#[test]
fn a_long_run_opens_at_once() {
    const STEPS: u64 = 1_000_000;
    let place = tempfile::tempdir().unwrap();
    // Only the first and the last line of the record are looked at.
    let (text, line_bytes) = (b"{}\n", 3);
    std::fs::write(place.path().join(EVENTS), text.repeat(STEPS as usize)).unwrap();
    let mut file = File::create(place.path().join(INDEX)).unwrap();
    let mut memory = Index::stored(&place.path().join("none"));
    let mut builder = Builder::new(0, Carry::START, ROWS);
    for number in 1..=STEPS {
        let event = step(number, 1, 1.0 + 1.0 / number as f64);
        let Body::Step(of) = &event.body else {
            unreachable!()
        };
        let line = Line::Step {
            step: number,
            tokens: of.tokens,
            attempt: 1,
            time: 0,
            metrics: [of.loss, of.lr, of.grad_norm, 0.0, 1e5, 0.5, 0.0].map(f64::to_bits),
        };
        builder
            .take(&mut memory, line_bytes * (number - 1), b"{}", &line)
            .unwrap();
    }
    builder.seal(&mut memory).unwrap();
    for segment in &memory.built {
        io::Write::write_all(&mut file, segment).unwrap();
    }
    drop(memory);
    let begin = Instant::now();
    let index = Index::open(place.path()).unwrap();
    let opened = begin.elapsed();
    let begin = Instant::now();
    let buckets = index.buckets("loss", 1, STEPS, 400).unwrap();
    let last = index
        .column("loss")
        .unwrap()
        .smoothed(0.99, STEPS as usize - 1);
    let asked = begin.elapsed();
    eprintln!("{STEPS} steps: opened in {opened:?}, 400 buckets in {asked:?}");
    assert_eq!(index.len(Table::Steps) as u64, STEPS);
    assert_eq!(
        buckets
            .iter()
            .map(|bucket| u64::from(bucket.finite))
            .sum::<u64>(),
        STEPS
    );
    assert_eq!(buckets[0].max, 2.0);
    assert!((last.unwrap() - 1.0).abs() < 1e-5);
    assert!(opened.as_secs_f64() < 1.0, "{opened:?}");
}
