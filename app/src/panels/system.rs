//! The machine, and where the time of a step goes: the table of `zerollm bench step --profile` for the run itself.

use engine::link::{Command, Gpu, Profiled, System};
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::list::{self, Place, Shown};
use super::{Panel, PanelKey};
use crate::lang::{self, Text};
use crate::paint;
use crate::state::State;
use crate::text;
use crate::view::{Scene, View};

/// Narrowest block of figures about the host or a GPU.
const BLOCK: u16 = 40;
/// Columns of a bar's label and of its figures.
const LABEL: u16 = 10;
const FIGURES: u16 = 24;

/// The screen; see the module's page.
pub struct SystemPanel {
    place: Place,
    shown: Shown,
}

impl Default for SystemPanel {
    fn default() -> Self {
        Self {
            place: Place::top(),
            shown: Shown::default(),
        }
    }
}

impl Panel for SystemPanel {
    fn title(&self) -> Text {
        Text::new("System", "系统")
    }

    fn keys(&self) -> &'static [PanelKey] {
        const KEYS: &[PanelKey] = &[
            list::KEYS,
            PanelKey {
                keys: &["r"],
                label: Text::new("time steps", "测量"),
                help: Text::new(
                    "take the time of every operation of the next five steps",
                    "测量接下来五步中每个运算的时间",
                ),
            },
        ];
        KEYS
    }

    fn handle(&mut self, key: &str, state: &State, _: &mut View, asked: &mut Vec<Command>) -> bool {
        if key == "r" {
            asked.push(Command::Profile);
            return true;
        }
        let rows = state.profile.as_ref().map_or(0, |p| p.lines.len());
        self.place.handle(key, rows)
    }

    fn click(&mut self, at: Position, _: &State, _: &View) -> Option<bool> {
        self.shown.click(&mut self.place, at)
    }

    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        let gpus = scene
            .state
            .system
            .back()
            .map_or(0, |system| system.gpus.len());
        let blocks = 1 + gpus as u16;
        let beside = (area.width / BLOCK).clamp(1, blocks);
        let height = if area.height < 14 {
            0
        } else {
            7 * blocks.div_ceil(beside).min(2)
        };
        let (upper, lower) = cut(area, height);
        if height > 0 {
            machine(scene, upper, beside, buf);
        }
        self.table(scene, lower, buf);
    }
}

fn cut(area: Rect, height: u16) -> (Rect, Rect) {
    let upper = Rect { height, ..area };
    let lower = Rect {
        y: area.y + height,
        height: area.height - height,
        ..area
    };
    (upper, lower)
}

/// The host and the GPUs, `beside` of them in a row.
fn machine(scene: &Scene<'_>, area: Rect, beside: u16, buf: &mut Buffer) {
    let view = scene.view;
    let Some(system) = scene.state.system.back() else {
        let inner = paint::frame(
            buf,
            area,
            view,
            &[(
                Text::new("machine", "机器").get(view.lang),
                view.theme.title,
            )],
            &[],
        );
        paint::centred(buf, inner, lang::NO_SYSTEM.get(view.lang), view.theme.dim);
        return;
    };
    let width = area.width / beside;
    let at = |index: u16| Rect {
        x: area.x + index % beside * width,
        y: area.y + index / beside * 7,
        width,
        height: 7,
    };
    host(scene, system, at(0), buf);
    for (index, gpu) in system.gpus.iter().enumerate() {
        let block = at(index as u16 + 1);
        if block.bottom() <= area.bottom() {
            device(scene, gpu, block, buf);
        }
    }
}

/// One line: label, bar, figures.
fn gauge(
    buf: &mut Buffer,
    area: Rect,
    row: u16,
    label: &str,
    share: Option<f64>,
    figures: &str,
    view: &View,
) {
    let theme = &view.theme;
    paint::line(
        buf,
        area,
        row,
        &[(&text::fit(label, usize::from(LABEL)), theme.dim)],
    );
    if row >= area.height {
        return;
    }
    let room = area.width.saturating_sub(LABEL + FIGURES + 1);
    let bar = Rect {
        x: area.x + LABEL.min(area.width),
        y: area.y + row,
        width: room,
        height: 1,
    };
    if let Some(share) = share {
        paint::bar(buf, bar, share, view);
    }
    let at = Rect {
        x: (bar.x + room + 1).min(area.right()),
        width: area.right().saturating_sub(bar.x + room + 1),
        ..area
    };
    paint::line(buf, at, row, &[(figures, theme.text)]);
}

fn percent(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0} %"))
}

/// `used / total`, and its share.
fn of_total(used: Option<u64>, total: Option<u64>) -> (Option<f64>, String) {
    match (used, total) {
        (Some(used), Some(total)) if total > 0 => (
            Some(used as f64 / total as f64),
            format!("{} / {}", text::bytes(used), text::bytes(total)),
        ),
        (Some(used), _) => (None, text::bytes(used)),
        _ => (None, "-".to_owned()),
    }
}

fn host(scene: &Scene<'_>, system: &System, area: Rect, buf: &mut Buffer) {
    let view = scene.view;
    let left = system
        .seconds_left
        .map(|seconds| format!("job ends in {}", text::duration(seconds as f64)));
    let notes = [(left.as_deref().unwrap_or(""), view.theme.warn)];
    let title = [(Text::new("host", "主机").get(view.lang), view.theme.title)];
    let inner = paint::frame(buf, area, view, &title, &notes);
    let own = system.process_cpu_percent.map(|own| format!("{own:.0} %"));
    let threads = scene.state.started.as_ref().map_or(0, |head| head.threads);
    let own_share = system
        .process_cpu_percent
        .map(|own| own / 100.0 / threads.max(1) as f64);
    let cpu = system.cpu_percent;
    gauge(
        buf,
        inner,
        0,
        "cpu",
        cpu.map(|cpu| cpu / 100.0),
        &percent(cpu),
        view,
    );
    let own = format!("{} of {threads} threads", own.as_deref().unwrap_or("-"));
    gauge(buf, inner, 1, "own", own_share, &own, view);
    let total = system.memory_total_bytes;
    let used = total
        .zip(system.memory_available_bytes)
        .map(|(total, free)| total.saturating_sub(free));
    let (share, figures) = of_total(used, total);
    gauge(buf, inner, 2, "memory", share, &figures, view);
    let (share, figures) = of_total(Some(system.rss_bytes), total);
    gauge(buf, inner, 3, "resident", share, &figures, view);
    let largest = scene.state.checkpoints.iter().map(|c| c.bytes).max();
    let disk = match (system.disk_free_bytes, largest) {
        (Some(free), Some(size)) if size > 0 => {
            format!("{}  {} ckpts", text::bytes(free), text::count(free / size))
        }
        (Some(free), _) => text::bytes(free),
        _ => "-".to_owned(),
    };
    gauge(buf, inner, 4, "disk free", None, &disk, view);
}

fn device(scene: &Scene<'_>, gpu: &Gpu, area: Rect, buf: &mut Buffer) {
    let view = scene.view;
    let name = text::escape(&gpu.name);
    let title = [
        (&*gpu.device, view.theme.title),
        (" ", view.theme.dim),
        (&*name, view.theme.text),
    ];
    let inner = paint::frame(buf, area, view, &title, &[]);
    let used = gpu.utilisation_percent;
    gauge(
        buf,
        inner,
        0,
        "busy",
        used.map(|used| used / 100.0),
        &percent(used),
        view,
    );
    let (share, figures) = of_total(gpu.memory_used_bytes, gpu.memory_total_bytes);
    gauge(buf, inner, 1, "memory", share, &figures, view);
    let watts = gpu
        .power_watts
        .map_or_else(|| "-".to_owned(), |watts| format!("{watts:.0} W"));
    gauge(buf, inner, 2, "power", None, &watts, view);
    let celsius = gpu
        .temperature_celsius
        .map_or_else(|| "-".to_owned(), |heat| format!("{heat:.0} C"));
    gauge(buf, inner, 3, "heat", None, &celsius, view);
}

impl SystemPanel {
    /// Where the time of a step goes, the longest first.
    fn table(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        let view = scene.view;
        let theme = &view.theme;
        let Some(profile) = &scene.state.profile else {
            let inner = paint::frame(
                buf,
                area,
                view,
                &[(Text::new("a step", "一步").get(view.lang), theme.title)],
                &[],
            );
            paint::centred(buf, inner, lang::NO_PROFILE.get(view.lang), theme.dim);
            return;
        };
        let step = seconds(profile.step_seconds);
        let roofline = format!(
            "{} ({:.0} %)",
            seconds(profile.roofline_seconds),
            100.0 * profile.roofline_seconds / profile.step_seconds.max(1e-12)
        );
        let when = format!(
            "  steps {} to {}",
            profile.step + 1 - profile.steps.min(profile.step),
            profile.step
        );
        let title = [
            (Text::new("a step ", "一步 ").get(view.lang), theme.title),
            (&*step, theme.strong),
            ("  at the machine's limits ", theme.dim),
            (&*roofline, theme.strong),
            (&*when, theme.dim),
        ];
        let limits = if profile.peak_gflops > 0.0 {
            format!(
                "peak {:.0} GFLOP/s  reads {:.1} GB/s (measured)  f of operations, m of memory",
                profile.peak_gflops, profile.read_gbps
            )
        } else {
            "limits of this device: not measured".to_owned()
        };
        let inner = paint::frame(buf, area, view, &title, &[(&limits, theme.dim)]);
        let head = format!(
            " {} {} {} {} {} {} {} {}",
            text::fit("op", 18),
            text::fit("part", 9),
            text::fit_right("calls", 5),
            text::fit_right("time", 8),
            text::fit_right("share", 7),
            text::fit_right("GFLOP/s", 8),
            text::fit_right("GB/s", 7),
            text::fit_right("peak", 6),
        );
        paint::line(buf, inner, 0, &[(&head, theme.dim)]);
        let list = Rect {
            y: inner.y + 1.min(inner.height),
            height: inner.height.saturating_sub(2),
            ..inner
        };
        let selected = self.place.row(profile.lines.len());
        let visible = self.shown.rows(self.place, profile.lines.len(), list);
        let rows = visible.len() as u16;
        for (row, index) in visible.enumerate() {
            let chosen = index == selected;
            line(profile, index, chosen, list, row as u16, view, buf);
        }
        let rest = format!(
            " {} {} {} {} {}",
            text::fit("rest", 18),
            text::fit("", 9),
            text::fit("", 5),
            text::fit_right(&seconds(profile.rest_seconds), 8),
            text::fit_right(
                &share(profile.rest_seconds / profile.step_seconds.max(1e-12)),
                7
            ),
        );
        paint::line(buf, inner, 1 + rows, &[(&rest, theme.dim)]);
    }
}

fn line(
    profile: &Profiled,
    index: usize,
    chosen: bool,
    area: Rect,
    row: u16,
    view: &View,
    buf: &mut Buffer,
) {
    let theme = &view.theme;
    let line = &profile.lines[index];
    let rate = |value: f64| {
        if value > 0.0 {
            format!("{value:.1}")
        } else {
            "-".to_owned()
        }
    };
    let figures = format!(
        "{} {} {} {} {} {} {} ",
        text::fit(&line.op, 18),
        text::fit(&line.part, 9),
        text::fit_right(&text::count(line.calls), 5),
        text::fit_right(&seconds(line.seconds), 8),
        text::fit_right(&share(line.share), 7),
        text::fit_right(&rate(line.gflops), 8),
        text::fit_right(&rate(line.gbps), 7),
    );
    let peak = line.peak.map(|peak| {
        let bound = line.bound.as_deref().map_or("", |bound| &bound[..1]);
        // Of operations: f, as in the table of `bench`.
        let letter = if bound == "o" { "f" } else { bound };
        format!("{:.0} {letter}", 100.0 * peak)
    });
    let style = match line.peak {
        Some(peak) if peak >= 0.7 => theme.good,
        Some(peak) if peak < 0.4 => theme.warn,
        _ => theme.text,
    };
    let peak = text::fit_right(peak.as_deref().unwrap_or("-"), 6);
    let pieces = [(&*figures, theme.text), (&*peak, style)];
    let end = paint::item(buf, area, row, chosen, theme, &pieces);
    if area.right() > end + 8 && row < area.height {
        let bar = Rect {
            x: end + 2,
            y: area.y + row,
            width: (area.right() - end - 3).min(40),
            height: 1,
        };
        paint::bar(buf, bar, line.share, view);
    }
}

fn share(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// Seconds with three figures: `4.37 s`, `31.1 ms`, `12 us`.
fn seconds(seconds: f64) -> String {
    if seconds >= 1.0 {
        format!("{seconds:.2} s")
    } else if seconds >= 1e-3 {
        format!("{:.1} ms", 1e3 * seconds)
    } else {
        format!("{:.0} us", 1e6 * seconds)
    }
}
