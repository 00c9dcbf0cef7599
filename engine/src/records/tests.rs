use super::live::{Attempt, Live, loopback};
use super::tensorboard::{crc32c, masked};
use super::*;
use crate::config::TelemetryConfig;
use crate::link::{Body, ConfigValue, Eval, Layers, Started, Step};
use crate::run_folder::EventWriter;
use crate::sketch::Sketch;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const NASTY: &str = "<script>alert(\"1\")</script> & 'x'\u{1b}[2J, \"q\"\n";

fn event(body: Body) -> Event {
    let time = "2026-01-01T00:00:01.5Z".to_owned();
    Event { body, time }
}

fn step(step: u64, loss: f64) -> Event {
    event(Body::Step(Step {
        step,
        attempt: 1,
        loss,
        lr: 1e-3,
        grad_norm: 0.1,
        clipped: step == 2,
        tokens: 64 * step,
        tokens_per_second: 100.0,
        step_seconds: 0.5,
        data_wait_seconds: 0.0,
    }))
}

/// Sixteen values: one of -8 to -4, four near zero, eight of 0.5 to 1, three of 4 to 8.
fn sketch() -> Sketch {
    Sketch {
        top: 3,
        zero: 4,
        negative: vec![1],
        positive: vec![3, 0, 0, 8],
        ..Sketch::default()
    }
}

/// A run with everything in it that must be escaped or is not finite.
fn events() -> Vec<Event> {
    let started = Started {
        run: "r".to_owned(),
        attempt: 1,
        device: "cpu".to_owned(),
        config: vec![ConfigValue {
            key: "data.train".to_owned(),
            value: format!("[{NASTY:?}]"),
            class: "restart".to_owned(),
            source: "file".to_owned(),
        }],
        ..Started::default()
    };
    let mut events = vec![event(Body::Started(Box::new(started)))];
    events.extend([(1, 3.0), (2, f64::NAN), (3, f64::INFINITY), (4, 2.5)].map(|(n, x)| step(n, x)));
    events.push(event(Body::Eval(Eval {
        step: 4,
        split: "validation".to_owned(),
        loss: 2.75,
        perplexity: f64::INFINITY,
        bits_per_byte: None,
        tokens: 10,
        best: true,
    })));
    events.push(event(Body::Layers(Layers {
        step: 4,
        names: vec!["a".to_owned(), "b".to_owned(), "c".to_owned()],
        activation_rms: vec![1.0, f64::NAN, 3.0],
        gradient_rms: vec![0.5, 0.5, 0.5],
        weight_rms: vec![1.0; 3],
        update_ratio: vec![1e-3; 3],
        dead_share: vec![0.0; 3],
        activation_max: vec![4.0, f64::NAN, f64::INFINITY],
        activation_nonfinite: vec![0.0, 1.0, 1.0],
        activation_sketch: vec![sketch(), Sketch::default(), sketch()],
        gradient_sketch: vec![sketch(); 3],
    })));
    events.push(event(Body::Sample {
        step: 4,
        prompt: NASTY.to_owned(),
        text: "</pre>end".to_owned(),
        readable: None,
    }));
    events.push(event(Body::Warning {
        step: 4,
        message: NASTY.to_owned(),
        note: false,
    }));
    events
}

fn folder(events: &[Event]) -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let mut writer = EventWriter::open(&place.path().join("events.jsonl")).unwrap();
    for event in events {
        writer.append(event).unwrap();
    }
    place
}

fn export(run: &Path, name: &str) -> Vec<u8> {
    let source = Source::open(run, &ENGLISH).unwrap();
    let format = FORMATS.iter().find(|format| format.name == name).unwrap();
    let mut out = Vec::new();
    (format.write)(&source, &mut out).unwrap();
    out
}

/// Rows of RFC 4180, read strictly.
fn rows(text: &str) -> Vec<Vec<String>> {
    let mut rows = vec![vec![String::new()]];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let row = rows.last_mut().unwrap();
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                row.last_mut().unwrap().push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(String::new()),
            '\r' if !quoted => {
                assert_eq!(chars.next(), Some('\n'));
                rows.push(vec![String::new()]);
            }
            _ => row.last_mut().unwrap().push(c),
        }
    }
    assert_eq!(rows.pop().unwrap(), [""]);
    rows
}

#[test]
fn csv_parses_back() {
    let place = folder(&events());
    let text = String::from_utf8(export(place.path(), "csv")).unwrap();
    let rows = rows(&text);
    assert_eq!(rows.len(), 5);
    assert!(rows.iter().all(|row| row.len() == 15), "{text}");
    let column = |name: &str| {
        let at = rows[0].iter().position(|known| known == name).unwrap();
        rows[1..]
            .iter()
            .map(|row| row[at].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(column("step"), ["1", "2", "3", "4"]);
    assert_eq!(column("loss"), ["3.0", "NaN", "inf", "2.5"]);
    assert_eq!(column("clipped"), ["0", "1", "0", "0"]);
    assert_eq!(column("seconds"), ["0.5", "1.0", "1.5", "2.0"]);
    assert_eq!(column("validation_loss"), ["", "", "", "2.75"]);
    assert_eq!(column("validation_perplexity")[3], "inf");
    assert_eq!(column("validation_bits_per_byte"), [""; 4]);
    assert_eq!(column("time")[0], "2026-01-01T00:00:01.5Z");
    assert_eq!(csv::quoted("a\"b,c\n"), "\"a\"\"b,c\n\"");
}

#[test]
fn statistics_of_the_layers_parse_back_and_old_ones_have_gaps() {
    let mut all = events();
    let mut old = all.clone();
    for event in &mut old {
        if let Body::Layers(layers) = &mut event.body {
            *layers = Layers {
                step: 2,
                dead_share: Vec::new(),
                activation_max: Vec::new(),
                activation_nonfinite: Vec::new(),
                activation_sketch: Vec::new(),
                gradient_sketch: Vec::new(),
                ..layers.clone()
            };
            let text = serde_json::to_string(&*layers).unwrap();
            assert!(!text.contains("max") && !text.contains("sketch"), "{text}");
        }
    }
    old.retain(|event| matches!(event.body, Body::Layers(_)));
    all.splice(1..1, old);
    let place = folder(&all);
    let text = String::from_utf8(export(place.path(), "layers-csv")).unwrap();
    let rows = rows(&text);
    let head = "step,layer,activation_rms,gradient_rms,weight_rms,update_ratio,dead_share,activation_max,activation_nonfinite";
    assert_eq!(rows[0].join(","), head);
    assert_eq!(rows[2].join(","), "2,b,NaN,0.5,1.0,0.001,,,");
    assert_eq!(rows[4].join(","), "4,a,1.0,0.5,1.0,0.001,0.0,4.0,0");
    assert_eq!(rows[6].join(","), "4,c,3.0,0.5,1.0,0.001,0.0,inf,1");
    assert_eq!(rows.len(), 7);
    // An old record in the other forms.
    all.retain(|event| !matches!(&event.body, Body::Layers(layers) if layers.step == 4));
    let place = folder(&all);
    let page = String::from_utf8(export(place.path(), "prometheus")).unwrap();
    assert!(!page.contains("layer_activation_max"), "{page}");
    assert!(scalars(&export(place.path(), "tensorboard")).contains_key("layers/gradient_rms/b"));
}

#[test]
fn an_evaluation_without_a_step_has_a_row_of_its_own() {
    let mut all = events();
    all.retain(|event| !matches!(&event.body, Body::Step(step) if step.step == 4));
    let place = folder(&all);
    let rows = rows(&String::from_utf8(export(place.path(), "csv")).unwrap());
    assert_eq!(
        (
            rows[4][0].as_str(),
            rows[4][5].as_str(),
            rows[4][12].as_str()
        ),
        ("4", "", "2.75")
    );
}

/// Records of an event file, their checksums checked.
fn records(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let sum = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(sum(8), masked(&bytes[..8]));
        let data = &bytes[12..12 + length];
        assert_eq!(sum(12 + length), masked(data));
        found.push(data);
        bytes = &bytes[16 + length..];
    }
    found
}

/// Fields of a protocol buffer: number, and bytes (of a number, its eight).
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut x = 0;
        for shift in (0..).step_by(7) {
            let byte = bytes[0];
            *bytes = &bytes[1..];
            x |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        x
    }
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                found.push((key >> 3, varint(&mut bytes).to_le_bytes().to_vec()));
                continue;
            }
            1 => 8,
            5 => 4,
            _ => varint(&mut bytes) as usize,
        };
        found.push((key >> 3, bytes[..length].to_vec()));
        bytes = &bytes[length..];
    }
    found
}

/// Scalars of an event file: tag to (step, value).
fn scalars(bytes: &[u8]) -> BTreeMap<String, Vec<(u64, f32)>> {
    let mut found: BTreeMap<String, Vec<(u64, f32)>> = BTreeMap::new();
    for record in records(bytes) {
        let of_event = fields(record);
        let field = |number| of_event.iter().find(|field| field.0 == number);
        let step = field(2).map_or(0, |f| u64::from_le_bytes(f.1[..].try_into().unwrap()));
        let Some((_, summary)) = field(5) else {
            continue;
        };
        for (_, value) in fields(summary) {
            let value = fields(&value);
            let tag = String::from_utf8(value[0].1.clone()).unwrap();
            if let Some((_, x)) = value.iter().find(|field| field.0 == 2) {
                let x = f32::from_le_bytes(x[..].try_into().unwrap());
                found.entry(tag).or_default().push((step, x));
            }
        }
    }
    found
}

#[test]
fn checksums_are_those_of_the_standard() {
    // RFC 3720, B.4, and the usual check value.
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn event_files_parse_back() {
    let place = folder(&events());
    let bytes = export(place.path(), "tensorboard");
    let first = fields(records(&bytes)[0]);
    assert_eq!(first[1], (3, b"brain.Event:2".to_vec()));
    let scalars = scalars(&bytes);
    let loss = &scalars["train/loss"];
    assert_eq!((loss[0], loss[3], loss.len()), ((1, 3.0), (4, 2.5), 4));
    assert!(loss[1].1.is_nan() && loss[2].1 == f32::INFINITY);
    assert_eq!(scalars["validation/loss"], [(4, 2.75)]);
    assert!(!scalars.contains_key("validation/bits_per_byte"));
    assert_eq!(scalars["layers/gradient_rms/b"], [(4, 0.5)]);
    assert_eq!(scalars["layers/activation_max/c"], [(4, f32::INFINITY)]);
}

/// What Python's own reader sees.
#[test]
fn tensorboard_reads_event_files() {
    let python = std::env::var("ZEROLLM_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has = Command::new(&python)
        .args(["-c", "import tensorboard"])
        .output();
    if !has.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {python} has no package tensorboard (set ZEROLLM_TEST_PYTHON)");
        return;
    }
    let place = folder(&events());
    let logs = place.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let source = Source::open(place.path(), &ENGLISH).unwrap();
    let bytes = export(place.path(), "tensorboard");
    std::fs::write(logs.join(source.event_file()), bytes).unwrap();
    let script = r#"
import sys, json
from tensorboard.backend.event_processing import event_accumulator as ea
a = ea.EventAccumulator(sys.argv[1], size_guidance={ea.SCALARS: 0, ea.TENSORS: 0, ea.HISTOGRAMS: 0})
a.Reload()
t = a.Tags()
h = a.Histograms("over layers/activation_rms")[0]
s = a.Histograms("activations/a")[0].histogram_value
tags = [x for x in t["tensors"] if x.startswith("samples/")]
text = a.Tensors(tags[0])[0].tensor_proto.string_val[0].decode()
plugin = a.SummaryMetadata(tags[0]).plugin_data.plugin_name
print(json.dumps([
    [[s.step, repr(s.value), s.wall_time] for s in a.Scalars("train/loss")],
    [h.step, h.histogram_value.num, h.histogram_value.min, h.histogram_value.max, sum(h.histogram_value.bucket)],
    len(t["scalars"]), plugin, text,
    [s.min, s.max, s.num, len(s.bucket), [[l, n] for l, n in zip(s.bucket_limit, s.bucket) if n]],
    sorted(x for x in t["histograms"] if "/" in x and not x.startswith("over")),
]))
"#;
    let output = Command::new(&python)
        .args(["-c", script])
        .arg(&logs)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let time = 1_767_225_601.5;
    let loss = serde_json::json!([
        [1, "3.0", time],
        [2, "nan", time],
        [3, "inf", time],
        [4, "2.5", time]
    ]);
    assert_eq!(told[0], loss);
    assert_eq!(told[1], serde_json::json!([4, 2.0, 1.0, 3.0, 2.0]));
    assert_eq!(told[2], 8 + 2 + 21, "{told}");
    // The lowest bucket holds -8 to -4, so the outermost has nothing to its left.
    let zero = 1.0 / 8192.0;
    let buckets = [[-4.0, 1.0], [zero, 4.0], [1.0, 8.0], [8.0, 3.0]];
    assert_eq!(told[5], serde_json::json!([-8.0, 8.0, 16.0, 33, buckets]));
    let tags = [
        "activations/a",
        "activations/c",
        "gradients/a",
        "gradients/b",
        "gradients/c",
    ];
    assert_eq!(told[6], serde_json::json!(tags), "{told}");
    assert_eq!(told[3], "text");
    assert!(
        told[4].as_str().unwrap().starts_with("    <script>"),
        "{told}"
    );
}

#[test]
fn a_page_holds_everything_and_nothing_alive() {
    let place = folder(&events());
    let page = String::from_utf8(export(place.path(), "html")).unwrap();
    assert!(
        !page.contains("<script") && !page.contains('\u{1b}'),
        "{page}"
    );
    assert!(page.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; &#39;x&#39;"));
    assert!(page.contains("&lt;/pre&gt;end"));
    // Nothing is loaded from anywhere.
    for word in ["http:", "https:", "src=", "href=", "url(", "@import"] {
        assert!(!page.contains(word), "{word}");
    }
    assert!(page.contains("prefers-color-scheme:dark"));
    assert!(page.contains("<th>activation_max</th>"), "{page}");
    assert!(page.contains("<tr><td>b</td><td>NaN</td>"), "{page}");
    // Two scales of the loss, three more figures.
    assert_eq!(page.matches("<svg").count(), 5);
    assert_eq!(page.matches("</svg>").count(), 5);
    assert!(!page.contains("NaN\" ") && !page.contains("d=\"MNaN"));
    for tag in ["table", "h2", "pre", "div", "body", "html"] {
        let opened =
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
    }
    let words = Words {
        language: "zh",
        evaluations: "评估",
        ..ENGLISH
    };
    let source = Source::open(place.path(), &words).unwrap();
    let html = FORMATS.iter().find(|format| format.name == "html").unwrap();
    let mut chinese = Vec::new();
    (html.write)(&source, &mut chinese).unwrap();
    let chinese = String::from_utf8(chinese).unwrap();
    assert!(chinese.contains("<html lang=\"zh\">"));
    assert!(chinese.contains("评估"));
}

#[test]
fn a_run_without_steps_has_every_form() {
    let place = folder(&[]);
    for format in FORMATS {
        let out = export(place.path(), format.name);
        assert!(!out.is_empty(), "{}", format.name);
    }
}

/// Values of a Prometheus page by name.
fn gauges(page: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut typed = String::new();
    for line in page.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            typed = rest.strip_suffix(" gauge").unwrap().to_owned();
        } else if !line.starts_with('#') {
            let (name, rest) = line.split_once('{').unwrap();
            assert_eq!(name, typed);
            let (_, value) = rest.rsplit_once("} ").unwrap();
            found.insert(name.to_owned(), value.to_owned());
        }
    }
    found
}

#[test]
fn prometheus_text_parses_back() {
    let place = folder(&events());
    let page = String::from_utf8(export(place.path(), "prometheus")).unwrap();
    let gauges = gauges(&page);
    assert_eq!(gauges["zerollm_loss"], "2.5");
    assert_eq!(gauges["zerollm_step"], "4");
    assert_eq!(gauges["zerollm_validation_perplexity"], "+Inf");
    assert_eq!(gauges["zerollm_over"], "0");
    assert_eq!(gauges["zerollm_layers_step"], "4");
    assert_eq!(gauges["zerollm_layer_activation_max"], "+Inf");
    let sample = ",layer=\"a\"} 4\nzerollm_layer_activation_max{run=\"";
    assert!(page.contains(sample), "{page}");
    assert!(page.ends_with('\n') && page.contains("zerollm_info{run=\""));
}

#[test]
fn only_this_machine_may_ask() {
    for good in ["127.0.0.1:9464", "127.1.2.3:1", "[::1]:9464"] {
        assert!(loopback(good).is_some(), "{good}");
    }
    for bad in [
        "0.0.0.0:9464",
        "192.168.0.1:9464",
        "[::]:9464",
        "9464",
        "localhost:9464",
        "127.0.0.1",
        "x",
    ] {
        assert!(loopback(bad).is_none(), "{bad}");
    }
}

fn get(address: &str, request: &str) -> String {
    let mut client = TcpStream::connect(address).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    client.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn live_records_follow_the_run() {
    let all = events();
    let place = folder(&all[..2]);
    let mut writer = EventWriter::open(&place.path().join("events.jsonl")).unwrap();
    let attempt = Attempt {
        folder: place.path().to_owned(),
        start: 0,
        number: 1,
        step: 0,
    };
    let telemetry = |tensorboard, prometheus: &str| TelemetryConfig {
        system_interval: 0,
        layer_interval: 0,
        tensorboard,
        prometheus: prometheus.to_owned(),
    };
    let mut live = Live::default();
    let notes = live.follow(&telemetry(true, "127.0.0.1:0"), &attempt);
    let note = notes[0].as_ref().unwrap();
    let address = note.split('/').nth(2).unwrap().to_owned();
    let ask = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    for event in &all[2..] {
        writer.append(event).unwrap();
        // A client that says nothing keeps nobody waiting but other clients.
        if matches!(&event.body, Body::Step(step) if step.step == 4) {
            let silent = TcpStream::connect(&address).unwrap();
            let begin = Instant::now();
            writer.append(&step(5, 2.25)).unwrap();
            assert!(begin.elapsed() < Duration::from_millis(500));
            let answer = get(&address, ask);
            let (head, page) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
            assert!(
                head.contains(&format!("Content-Length: {}", page.len())),
                "{head}"
            );
            assert_eq!(gauges(page)["zerollm_loss"], "2.25");
            drop(silent);
        }
    }
    assert!(get(&address, "GET /x HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
    assert!(get(&address, "POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
    // A taken port is a warning, not an error.
    let mut other = Live::default();
    let notes = other.follow(&telemetry(false, &address), &attempt);
    assert!(
        notes[0].as_ref().unwrap_err().contains("is not served"),
        "{notes:?}"
    );
    // Switched off, nobody answers; the end of the run writes the event file to its end.
    assert!(live.follow(&telemetry(true, ""), &attempt).is_empty());
    assert!(TcpStream::connect(&address).is_err());
    drop(live);
    let mut files = std::fs::read_dir(place.path().join("tensorboard")).unwrap();
    let file = files.next().unwrap().unwrap();
    assert!(file.file_name().to_str().unwrap().contains("tfevents") && files.next().is_none());
    let written = scalars(&std::fs::read(file.path()).unwrap());
    assert_eq!(written["train/loss"].len(), 5);
    assert_eq!(written["validation/loss"], [(4, 2.75)]);
}
