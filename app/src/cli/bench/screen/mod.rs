//! `zerollm bench screen`: what the workbench costs, measured on its own widgets and its own loop.
//!
//! A made-up run ([`record`]) is written to a temporary folder as the engine would write it and opened as a screen would
//! open it; frames go through the real backend into something that counts bytes ([`canvas`]); the loop runs beside a real
//! training ([`live`]).

mod canvas;
mod live;
mod record;

use super::machine::Machine;
use crate::book::course::Course;
use crate::book::{Entry, Figures};
use crate::chart::glyph::GlyphSet;
use crate::cli::Failure;
use crate::errand::{Errand, News};
use crate::lang::Lang;
use crate::out::{self, Table};
use crate::seat::Seat;
use crate::state::History;
use crate::terminal::Surface as _;
use crate::theme::{Palette, Theme};
use crate::ui::Options;
use crate::view::View;
use crate::workbench::Workbench;
use canvas::Canvas;
use clap::Args;
use engine::estimate::allowed_threads;
use engine::run_folder::{Meta, NameFrom, Origin, RunFolder, summary};
use live::Live;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Flags of `zerollm bench screen`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "The workbench: frames, bytes, keys, and what it takes from the training",
    long_about = "Measure the workbench without a terminal. A made-up run of --rows steps is written to a temporary folder as \
        the engine writes it (about 250 bytes a step) and opened as a screen opens it: its steps stay in metrics.idx. Every \
        screen is then drawn --frames times, a new step before each, through the backend of the terminal into something that \
        counts bytes; a frame is widgets, comparison with the frame before, and bytes. `compare` is the screen of runs with \
        one curve for each metric beyond the six that a run has, each a run of --rows steps opened for itself. `train, heard` \
        is a run whose steps all came in this session and lie in memory.\n\n\
        Then the embedded demo is trained with the real loop of the screen: for --seconds with nobody at the keys, as long at \
        30 inputs a second that change nothing, and as long at 30 keys a second that change the screen. The share of a core is \
        the processor time of the loop's thread, which the system counts whatever else runs. From a key to its frame is from \
        handing the key to the loop to the last byte of the first frame that shows what it did; the terminal's own part is \
        not in it.",
    after_help = "Example:\n  zerollm bench screen\n  zerollm bench screen --width 80 --height 24 --rows 10000 --json\n\n\
        JSON: width, height, rows, metrics, write_seconds, open_seconds (the run as `watch` opens it), figures_seconds (its line \
        of `runs`), hear_seconds (one step), screens (screen, frame_seconds, frame_seconds_p99, both also as frame_cpu_seconds: processor time, which other programs disturb less, bytes, bytes_p99, first_bytes: \
        the frame that changes to it), calm and lively (frames_per_second, core_share), key_seconds, key_seconds_p99, \
        step_seconds, machine. Figures are medians; calm, lively, keys and steps are null with --seconds 0."
)]
pub struct Arguments {
    /// Columns of the screen
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..))]
    width: u16,
    /// Rows of the screen
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..))]
    height: u16,
    /// Steps of the made-up run
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows: u64,
    /// Metrics of that many rows: six of the run, one for each other run in the comparison
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(7..))]
    metrics: u16,
    /// Frames of each screen
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..))]
    frames: u16,
    /// Seconds of each part beside the training; 0 trains nothing
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    seconds: u16,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Metrics that a run has itself.
const OWN: u16 = 6;

/// The value below which a share of the values lies.
fn percentile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len().saturating_sub(1) as f64 * share).round() as usize;
    values.get(at).copied().unwrap_or(f64::NAN)
}

/// One screen.
struct Shown {
    screen: String,
    /// Seconds of each frame but the first.
    took: Vec<f64>,
    /// Processor time of the same.
    work: Vec<f64>,
    /// Their bytes.
    bytes: Vec<f64>,
    /// Bytes of the first, which changes to the screen.
    first: usize,
}

pub(super) fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let failed =
        |what: &str, error: &dyn std::fmt::Display| Failure::new(1, format!("{what}: {error}"));
    let place = tempfile::tempdir().map_err(|error| failed("a temporary folder", &error))?;
    let begin = Instant::now();
    let folder = write(place.path(), arguments.rows)?;
    let written = begin.elapsed().as_secs_f64();

    let begin = Instant::now();
    let mut opened = bench();
    opened.seat = Seat::Watching;
    opened.state.catch_up(&History::read(&folder)?);
    let open = begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let figures = Figures::read(&folder);
    let listed = begin.elapsed().as_secs_f64();

    let drawn = |error| failed("the screen", &error);
    let mut canvas = Canvas::new(arguments.width, arguments.height);
    let mut next = arguments.rows;
    let mut screens = Vec::new();
    for panel in 0..opened.panels.len() {
        opened.show(panel);
        let name = opened.panels[panel].title().get(Lang::En).to_lowercase();
        screens.push(
            show(&mut opened, name, &mut canvas, arguments.frames, &mut next).map_err(drawn)?,
        );
    }
    compare(&mut opened, &folder, arguments.metrics - OWN, &figures)?;
    let name = "compare".to_owned();
    screens.push(show(&mut opened, name, &mut canvas, arguments.frames, &mut next).map_err(drawn)?);
    drop(opened);

    let mut heard = bench();
    let begin = Instant::now();
    let told = record::tell(arguments.rows, |event| {
        heard.hear(&event);
        Ok::<(), std::convert::Infallible>(())
    });
    match told {
        Ok(()) => {}
        Err(never) => match never {},
    }
    let hear = begin.elapsed().as_secs_f64() / arguments.rows as f64;
    let name = "train, heard".to_owned();
    let mut next = arguments.rows;
    screens.push(show(&mut heard, name, &mut canvas, arguments.frames, &mut next).map_err(drawn)?);
    drop(heard);

    let live = (arguments.seconds > 0).then(|| {
        let size = (arguments.width, arguments.height);
        live::measure(place.path(), size, f64::from(arguments.seconds), options())
    });
    let told = Told {
        written,
        open,
        listed,
        hear,
        screens,
        live: live.transpose()?,
        machine: Machine::measure(allowed_threads()),
    };
    if arguments.json {
        out::json(&told.json(arguments))?;
    } else {
        out::text(&told.text(arguments))?;
    }
    Ok(0)
}

/// The screen that most people have: dark, in true colour, charts of braille.
fn bench() -> Workbench {
    Workbench::new(View::new(
        Lang::En,
        Theme::new(Palette::Dark),
        GlyphSet::Braille,
    ))
}

fn options() -> Options {
    Options {
        lang: Lang::En,
        palette: Palette::Dark,
        glyphs: GlyphSet::Braille,
        ..Options::from_environment()
    }
}

/// Writes the made-up run with its index, as the engine does.
fn write(runs: &Path, rows: u64) -> Result<PathBuf, Failure> {
    let folder = RunFolder::create(runs, "bench", NameFrom::Flag, &Origin::default())?;
    let mut events = folder.events()?;
    record::tell(rows, |event| events.append(&event).map(drop))?;
    Ok(folder.path().to_owned())
}

/// Draws the screen on show, a new step before each frame.
fn show(
    bench: &mut Workbench,
    screen: String,
    canvas: &mut Canvas,
    frames: u16,
    next: &mut u64,
) -> std::io::Result<Shown> {
    canvas.frames.clear();
    for _ in 0..=frames {
        *next += 1;
        bench.hear(&record::step(*next));
        bench.now += std::time::Duration::from_millis(33);
        canvas.draw(|buffer| bench.render(buffer.area, buffer))?;
    }
    let (first, later) = (canvas.frames[0], &canvas.frames[1..]);
    Ok(Shown {
        screen,
        took: later.iter().map(|frame| frame.took.as_secs_f64()).collect(),
        work: later.iter().map(|frame| frame.work.as_secs_f64()).collect(),
        bytes: later.iter().map(|frame| frame.bytes as f64).collect(),
        first: first.bytes,
    })
}

/// Opens the comparison of `count` runs, by the keys that a person presses and the news that the folder's reader brings.
fn compare(
    bench: &mut Workbench,
    folder: &Path,
    count: u16,
    figures: &Figures,
) -> Result<(), Failure> {
    let entry = |number: u16| {
        let mut summary = summary(folder);
        summary.name = format!("bench-{number}");
        summary.path = folder.with_file_name(&summary.name);
        Entry {
            summary,
            meta: Meta::default(),
            figures: figures.clone(),
            age: None,
        }
    };
    let entries: Vec<Entry> = (0..count).map(entry).collect();
    let runs = bench
        .panels
        .iter()
        .position(|panel| panel.title().get(Lang::En) == "Runs");
    bench.show(runs.expect("a screen of runs"));
    bench.deliver(&News::Runs(Arc::new(entries)));
    bench.press("g");
    for _ in 0..count {
        bench.press("space");
    }
    bench.press("enter");
    for errand in std::mem::take(&mut bench.errands) {
        if let Errand::Courses(paths) = errand {
            let courses = paths
                .into_iter()
                .map(|path| Ok((path, Course::read(folder)?)));
            let courses: Result<Vec<_>, Failure> = courses.collect();
            bench.deliver(&News::Courses(Arc::new(courses?)));
        }
    }
    Ok(())
}

/// All that was measured.
struct Told {
    written: f64,
    open: f64,
    listed: f64,
    hear: f64,
    screens: Vec<Shown>,
    live: Option<Live>,
    machine: Machine,
}

impl Told {
    fn json(&self, arguments: &Arguments) -> Value {
        let screens = self.screens.iter().map(|shown| {
            json!({
                "screen": shown.screen,
                "frame_seconds": percentile(shown.took.clone(), 0.5),
                "frame_seconds_p99": percentile(shown.took.clone(), 0.99),
                "frame_cpu_seconds": percentile(shown.work.clone(), 0.5),
                "frame_cpu_seconds_p99": percentile(shown.work.clone(), 0.99),
                "bytes": percentile(shown.bytes.clone(), 0.5),
                "bytes_p99": percentile(shown.bytes.clone(), 0.99),
                "first_bytes": shown.first,
            })
        });
        let live = self.live.as_ref();
        let cost =
            |cost: &live::Cost| json!({ "frames_per_second": cost.rate, "core_share": cost.share });
        let of = |values: fn(&Live) -> &Vec<f64>, share| {
            live.map(|live| percentile(values(live).clone(), share))
        };
        json!({
            "width": arguments.width,
            "height": arguments.height,
            "rows": arguments.rows,
            "metrics": arguments.metrics,
            "write_seconds": self.written,
            "open_seconds": self.open,
            "figures_seconds": self.listed,
            "hear_seconds": self.hear,
            "screens": screens.collect::<Value>(),
            "calm": live.map(|live| cost(&live.calm)),
            "lively": live.map(|live| cost(&live.lively)),
            "key_seconds": of(|live| &live.keys, 0.5),
            "key_seconds_p99": of(|live| &live.keys, 0.99),
            "step_seconds": of(|live| &live.steps, 0.5),
            "machine": self.machine.json(),
        })
    }

    fn text(&self, arguments: &Arguments) -> String {
        let Arguments {
            width,
            height,
            rows,
            metrics,
            ..
        } = arguments;
        let head = format!(
            "a run of {rows} steps at {width} x {height}, {} frames a screen, a new step before each\n\
             written in {:.2} s, opened in {:.1} ms, listed in {:.1} ms; a step is heard in {:.2} us\n\n",
            arguments.frames,
            self.written,
            1e3 * self.open,
            1e3 * self.listed,
            1e6 * self.hear
        );
        let mut table = Table::new(&[
            "screen",
            "ms a frame",
            "p99",
            "of a core",
            "p99",
            "bytes a frame",
            "p99",
            "changing to it",
        ]);
        for shown in &self.screens {
            table.row(&[
                shown.screen.clone(),
                format!("{:.3}", 1e3 * percentile(shown.took.clone(), 0.5)),
                format!("{:.3}", 1e3 * percentile(shown.took.clone(), 0.99)),
                format!("{:.3}", 1e3 * percentile(shown.work.clone(), 0.5)),
                format!("{:.3}", 1e3 * percentile(shown.work.clone(), 0.99)),
                format!("{:.0}", percentile(shown.bytes.clone(), 0.5)),
                format!("{:.0}", percentile(shown.bytes.clone(), 0.99)),
                shown.first.to_string(),
            ]);
        }
        let note = format!(
            "compare: {} runs of {rows} steps; ms: the widgets, what differs, the bytes; of a core: processor time of the same\n",
            metrics - OWN
        );
        let beside = self.live.as_ref().map_or_else(String::new, beside);
        let machine = self.machine.line();
        format!("{head}{}{note}{beside}{machine}\n", table.lines())
    }
}

/// What was measured beside a training.
fn beside(live: &Live) -> String {
    let share = |cost: &live::Cost| {
        let share = cost.share;
        let share = share.map_or("-".to_owned(), |share| format!("{:.2} %", 1e2 * share));
        format!("{share} of a core at {:.1} frames/s", cost.rate)
    };
    format!(
        "\nbeside the demo, {} steps of {:.1} ms (processor time of the loop's thread)\n\
         nobody at the keys   {}\n30 inputs a second   {}\n\
         key to its frame     {:.1} ms, p99 {:.1} ({} keys; without the terminal's own part)\n",
        live.steps.len(),
        1e3 * percentile(live.steps.clone(), 0.5),
        share(&live.calm),
        share(&live.lively),
        1e3 * percentile(live.keys.clone(), 0.5),
        1e3 * percentile(live.keys.clone(), 0.99),
        live.keys.len(),
    )
}
