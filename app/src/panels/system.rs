//! The machine, and where the time of a step goes: the table of `zerollm bench step --profile` for the run itself.

use engine::link::{Command, Gpu, Profiled, System};
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::list::{self, Place, Shown};
use super::{Panel, PanelKey};
use crate::lang::{self, Lang, Text};
use crate::paint;
use crate::state::State;
use crate::text;
use crate::view::{Scene, View};

/// Narrowest block of figures about the host or a GPU.
const BLOCK: u16 = 40;
/// Columns of a bar's label and of its figures.
const LABEL: u16 = 10;
const FIGURES: u16 = 24;

const MEMORY: Text = Text::new("memory", "内存");

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

    fn asks(&self, key: &str) -> Option<&'static str> {
        (key == "r").then_some("profile")
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
        let (upper, lower) = paint::top(area, height);
        if height > 0 {
            machine(scene, upper, beside, buf);
        }
        self.table(scene, lower, buf);
    }
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
    const ENDS: Text = Text::new("job ends in {0}", "作业还剩 {0}");
    const OF_THREADS: Text = Text::new("{0} of {1} threads", "{0}, 共 {1} 线程");
    const MORE: Text = Text::new("{0}  {1} ckpts", "{0}  {1} 个检查点");
    let lang = view.lang;
    let left = system
        .seconds_left
        .map(|seconds| ENDS.filled(lang, &[&text::duration(seconds as f64)]));
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
        Text::new("cpu", "处理器").get(lang),
        cpu.map(|cpu| cpu / 100.0),
        &percent(cpu),
        view,
    );
    let own = own.unwrap_or_else(|| "-".to_owned());
    let own = OF_THREADS.filled(lang, &[&own, &threads.to_string()]);
    let name = Text::new("own", "本程序").get(lang);
    gauge(buf, inner, 1, name, own_share, &own, view);
    let total = system.memory_total_bytes;
    let used = total
        .zip(system.memory_available_bytes)
        .map(|(total, free)| total.saturating_sub(free));
    let (share, figures) = of_total(used, total);
    gauge(buf, inner, 2, MEMORY.get(lang), share, &figures, view);
    let (share, figures) = of_total(Some(system.rss_bytes), total);
    let name = Text::new("resident", "常驻").get(lang);
    gauge(buf, inner, 3, name, share, &figures, view);
    let largest = scene.state.checkpoints.iter().map(|c| c.bytes).max();
    let disk = match (system.disk_free_bytes, largest) {
        (Some(free), Some(size)) if size > 0 => {
            MORE.filled(lang, &[&text::bytes(free), &text::count(free / size)])
        }
        (Some(free), _) => text::bytes(free),
        _ => "-".to_owned(),
    };
    let name = Text::new("disk free", "磁盘空闲").get(lang);
    gauge(buf, inner, 4, name, None, &disk, view);
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
    let lang = view.lang;
    let used = gpu.utilisation_percent;
    gauge(
        buf,
        inner,
        0,
        Text::new("busy", "占用").get(lang),
        used.map(|used| used / 100.0),
        &percent(used),
        view,
    );
    let (share, figures) = of_total(gpu.memory_used_bytes, gpu.memory_total_bytes);
    gauge(buf, inner, 1, MEMORY.get(lang), share, &figures, view);
    let watts = gpu
        .power_watts
        .map_or_else(|| "-".to_owned(), |watts| format!("{watts:.0} W"));
    let name = Text::new("power", "功率").get(lang);
    gauge(buf, inner, 2, name, None, &watts, view);
    let celsius = gpu
        .temperature_celsius
        .map_or_else(|| "-".to_owned(), |heat| format!("{heat:.0} C"));
    let name = Text::new("heat", "温度").get(lang);
    gauge(buf, inner, 3, name, None, &celsius, view);
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
            paint::centred(buf, inner, &lang::NO_PROFILE.get(scene), theme.dim);
            return;
        };
        let step = seconds(profile.step_seconds);
        let roofline = format!(
            "{} ({:.0} %)",
            seconds(profile.roofline_seconds),
            100.0 * profile.roofline_seconds / profile.step_seconds.max(1e-12)
        );
        const STEPS: Text = Text::new("  steps {0} to {1}", "  第 {0} 到 {1} 步");
        const LIMITS: Text = Text::new(
            "peak {0} GFLOP/s  reads {1} GB/s (measured)  f of operations, m of memory",
            "峰值 {0} GFLOP/s  读取 {1} GB/s (实测)  f 运算, m 内存",
        );
        let lang = view.lang;
        let first = profile.step + 1 - profile.steps.min(profile.step);
        let when = STEPS.filled(lang, &[&first.to_string(), &profile.step.to_string()]);
        let at_limits = Text::new("  at the machine's limits ", "  按本机极限 ").get(lang);
        let title = [
            (Text::new("a step ", "一步 ").get(view.lang), theme.title),
            (&*step, theme.strong),
            (at_limits, theme.dim),
            (&*roofline, theme.strong),
            (&*when, theme.dim),
        ];
        let limits = if profile.peak_gflops > 0.0 {
            let rates = [
                format!("{:.0}", profile.peak_gflops),
                format!("{:.1}", profile.read_gbps),
            ];
            LIMITS.filled(lang, &[&rates[0], &rates[1]])
        } else {
            let unknown = Text::new(
                "limits of this device: not measured",
                "此设备的极限: 未测量",
            );
            unknown.get(lang).to_owned()
        };
        let inner = paint::frame(buf, area, view, &title, &[(&limits, theme.dim)]);
        let head = format!(
            " {} {} {} {} {} {} {} {}",
            text::fit(Text::new("op", "运算").get(lang), 18),
            text::fit(Text::new("part", "部分").get(lang), 9),
            text::fit_right(Text::new("calls", "次数").get(lang), 5),
            text::fit_right(Text::new("time", "时间").get(lang), 8),
            text::fit_right(Text::new("share", "占比").get(lang), 7),
            text::fit_right("GFLOP/s", 8),
            text::fit_right("GB/s", 7),
            text::fit_right(Text::new("peak", "峰值").get(lang), 6),
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
            text::fit(Text::new("rest", "其余").get(lang), 18),
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
        text::fit(&operation(&line.op, view.lang), 18),
        text::fit(&part(&line.part, view.lang), 9),
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

/// The name of an operation: those of the model are the program's own, also in Chinese.
fn operation(name: &str, lang: Lang) -> String {
    let text = match name {
        "clip norm" => Text::new("clip norm", "裁剪范数"),
        "optimizer" => Text::new("optimizer", "优化器"),
        name => return text::escape(name),
    };
    text.get(lang).to_owned()
}

/// The name of a part of a step.
fn part(name: &str, lang: Lang) -> String {
    let text = match name {
        "forward" => Text::new("forward", "前向"),
        "recompute" => Text::new("recompute", "重算"),
        "backward" => Text::new("backward", "反向"),
        "update" => Text::new("update", "更新"),
        name => return text::escape(name),
    };
    text.get(lang).to_owned()
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
