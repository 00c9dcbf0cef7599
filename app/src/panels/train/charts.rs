//! The loss chart and the three strips beside or below it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::bars::{Group, fitting};
use crate::chart::axis::Scale;
use crate::chart::draw::{Chart, ChartStyle, Curve, Line, Marker, Other};
use crate::chart::series::XUnit;
use crate::chart::spark::{self, Shows};
use crate::lang::{self, Text};
use crate::paint;
use crate::state::{Mark, Metric, Plotted, Superseded};
use crate::text;
use crate::view::Scene;

const NOT_FINITE: Text = Text::new("not finite", "非有限");
/// The data's own entropy.
const FLOOR: Text = Text::new("floor", "下限");

/// A group of owned pieces: shown whole or not at all.
pub type Owned = Vec<(String, Style)>;

/// The figures of the moment, or of the data cursor.
pub struct Figures {
    /// Loss: smoothed, raw, validation, best, floor.
    pub loss: Vec<Owned>,
    /// The others.
    pub rest: Vec<Owned>,
}

/// Groups as [`fitting`] takes them.
pub fn borrow(groups: &[Owned]) -> Vec<Group<'_>> {
    groups
        .iter()
        .map(|group| group.iter().map(|(t, s)| (t.as_str(), *s)).collect())
        .collect()
}

/// The row that figures are taken from: the cursor's, else the last.
fn row(scene: &Scene<'_>) -> Option<usize> {
    let track = &scene.state.track;
    let last = track.len().checked_sub(1)?;
    let cursor = scene.view.cursor;
    Some(cursor.map_or(last, |step| track.rows_before_step(step).min(last)))
}

fn at(metric: &Metric, row: usize) -> (f64, f64) {
    let get = |value: Option<f32>| f64::from(value.unwrap_or(f32::NAN));
    (get(metric.series.at(row)), get(metric.ema.at(row)))
}

/// The figures of the moment, or of the data cursor.
pub fn figures(scene: &Scene<'_>) -> Figures {
    let (state, theme) = (scene.state, &scene.view.theme);
    let mut loss: Vec<Owned> = Vec::new();
    let mut rest: Vec<Owned> = Vec::new();
    let lang = scene.view.lang;
    let figure = |name: Text, value: String, style: Style| -> Owned {
        vec![
            (format!("{} ", name.get(lang)), theme.dim),
            (format!("{value}  "), style),
        ]
    };
    let Some(row) = row(scene) else {
        loss.push(vec![("loss".to_owned(), theme.title)]);
        return Figures { loss, rest };
    };
    if scene.view.cursor.is_some() {
        let step = text::count(state.track.step(row));
        loss.push(vec![(format!("@{step}  "), theme.warn)]);
    }
    let (raw, smooth) = at(&state.loss, row);
    let of_raw = if raw.is_finite() {
        theme.text
    } else {
        theme.bad
    };
    loss.push(vec![
        ("loss ".to_owned(), theme.title),
        (format!("{}  ", text::value(smooth, 4)), theme.strong),
    ]);
    loss.push(figure(
        Text::new("raw", "原始"),
        text::value(raw, 4),
        of_raw,
    ));
    let step = state.track.step(row);
    let eval = state.evals.iter().rev().find(|e| e.step <= step);
    if let Some(eval) = eval {
        let style = if eval.loss.is_finite() {
            theme.point
        } else {
            theme.bad
        };
        loss.push(figure(
            Text::new("val", "验证"),
            text::value(eval.loss, 4),
            style,
        ));
        if let Some(bits) = eval.bits_per_byte {
            loss.push(figure(
                Text::new("bits/byte", "bits/byte"),
                text::value(bits, 3),
                theme.text,
            ));
        }
    }
    let rows = state.loss.series.query(0..state.track.len());
    let num_nonfinite = state.num_nonfinite.max(rows.num_nonfinite as usize);
    if num_nonfinite > 0 {
        loss.push(figure(NOT_FINITE, num_nonfinite.to_string(), theme.bad));
    }
    if let Some(floor) = state.started.as_ref().and_then(|s| s.floor_loss) {
        loss.push(figure(FLOOR, text::value(floor, 3), theme.floor));
    }
    if let Some(best) = state.best_eval() {
        let value = format!("{} @{}", text::value(best.loss, 4), text::count(best.step));
        loss.push(figure(Text::new("best", "最好"), value, theme.text));
    }
    for which in [Which::Lr, Which::GradNorm, Which::Speed] {
        rest.push(figure(
            Text::new(which.name(), which.name()),
            which.value(scene, row),
            theme.text,
        ));
    }
    Figures { loss, rest }
}

/// The loss chart in its frame. Returns where its plot lies.
pub fn loss(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) -> Rect {
    let view = scene.view;
    let theme = &view.theme;
    let title = figures(scene).loss;
    let room = area.width.saturating_sub(4);
    let title = fitting(&borrow(&title), room);
    let notes = notes(scene);
    let inner = paint::frame(buf, area, view, &title, &fitting(&borrow(&notes), room));
    if scene.state.track.is_empty() {
        paint::centred(buf, inner, lang::NO_STEPS.get(view.lang), theme.dim);
        return Rect::default();
    }
    bare_loss(scene, indented(inner), buf)
}

/// One column less at the left, so that labels and frame do not touch.
fn indented(area: Rect) -> Rect {
    let indent = u16::from(area.width > 40);
    Rect {
        x: area.x + indent,
        width: area.width - indent,
        ..area
    }
}

/// How the axes are set, and what the letters mean.
fn notes(scene: &Scene<'_>) -> Vec<Owned> {
    let (state, view) = (scene.state, scene.view);
    let theme = &view.theme;
    let unit = match view.unit {
        XUnit::Step => Text::new("steps", "步数"),
        XUnit::Tokens => Text::new("tokens", "token"),
        XUnit::Time => Text::new("time", "时间"),
    };
    let scale = match view.scale {
        Scale::Linear => Text::new("linear", "线性"),
        Scale::Log => Text::new("log", "对数"),
    };
    let lang = view.lang;
    let keys = |lines: &[&str]| {
        let keys = lines.iter().map(|line| view.keys.key_of(line));
        keys.collect::<Vec<_>>().join("/")
    };
    let note = |name: &str, value: String, lines: &[&str]| -> Owned {
        vec![
            (format!("{name} "), theme.dim),
            (value, theme.text),
            (format!(" ({})  ", keys(lines)), theme.dim),
        ]
    };
    let mut notes = vec![
        note("x", unit.get(lang).to_owned(), &["unit"]),
        note("y", scale.get(lang).to_owned(), &["axis"]),
        note(
            Text::new("smooth", "平滑").get(lang),
            format!("{}", view.beta()),
            &["smooth"],
        ),
    ];
    if view.zoom > 0 {
        notes.push(note(
            Text::new("zoom", "缩放").get(lang),
            format!("{}x", 1u64 << view.zoom.min(40)),
            &["zoom in", "zoom out"],
        ));
    }
    if !state.superseded.is_empty() {
        let word = Text::new("earlier attempts ", "旧尝试 ").get(view.lang);
        let shown = if view.attempts {
            Text::new(" shown", " 显示")
        } else {
            Text::new(" hidden", " 隐藏")
        };
        let value = format!("{}{}", state.superseded.len(), shown.get(view.lang));
        notes.push(vec![
            (word.to_owned(), theme.dim),
            (value, theme.text),
            (" (:attempts)  ".to_owned(), theme.dim),
        ]);
    }
    if let Some(parent) = &state.parent {
        let name = text::truncate(&text::escape(&parent.name), 20);
        let name = format!("{name}@{}  ", text::count(parent.step));
        notes.push(vec![
            (
                Text::new("fork of ", "分叉自 ").get(lang).to_owned(),
                theme.dim,
            ),
            (name, theme.floor),
        ]);
    }
    let kinds = Mark::ALL.iter().rev();
    for mark in kinds.filter(|m| state.marks.iter().any(|have| have.1 == **m)) {
        let name = match mark {
            Mark::Eval => Text::new("eval", "评估"),
            Mark::Checkpoint => Text::new("checkpoint", "检查点"),
            Mark::Edit => Text::new("live edit", "在线修改"),
            Mark::Resume => Text::new("resumed", "恢复"),
            Mark::Alert => Text::new("alert", "警报"),
            Mark::Nonfinite => NOT_FINITE,
        };
        notes.push(vec![
            (mark.letter().to_string(), style_of(*mark, scene)),
            (format!(" {}  ", name.get(lang)), theme.dim),
        ]);
    }
    notes
}

fn style_of(mark: Mark, scene: &Scene<'_>) -> Style {
    let theme = &scene.view.theme;
    match mark {
        Mark::Eval => theme.point,
        Mark::Checkpoint => theme.good,
        Mark::Edit | Mark::Resume | Mark::Alert => theme.warn,
        Mark::Nonfinite => theme.bad,
    }
}

/// The loss chart without a frame. Returns where its plot lies.
pub fn bare_loss(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) -> Rect {
    let (state, view) = (scene.state, scene.view);
    let points: Vec<(f64, f64)> = state
        .evals
        .iter()
        .map(|e| (state.track.x_of_step(e.step, view.unit), e.loss))
        .collect();
    let markers: Vec<Marker> = Mark::ALL
        .iter()
        .flat_map(|kind| state.marks.iter().filter(move |have| have.1 == *kind))
        .map(|(step, mark)| Marker {
            x: state.track.x_of_step(*step, view.unit),
            symbol: mark.letter(),
            style: style_of(*mark, scene),
        })
        .collect();
    let floor = state.started.as_ref().and_then(|s| s.floor_loss);
    let label = floor.map(|f| format!("{} {}", FLOOR.get(view.lang), text::value(f, 3)));
    let mut chart = chart(scene, &state.loss, true);
    chart.scale = view.scale;
    chart.points = &points;
    chart.markers = &markers;
    chart.floor = floor.zip(label.as_deref());
    if state.track.is_empty() {
        return Rect::default();
    }
    let parent = state.parent.as_ref().map(|parent| Other {
        track: &parent.track,
        series: &parent.loss,
        means: &parent.means,
        style: view.theme.floor,
    });
    let mut others = superseded(scene, Plotted::Loss);
    others.extend(parent);
    chart.render_over(&others, area, buf)
}

/// What earlier attempts measured, where that is to be seen.
fn superseded<'a>(scene: &Scene<'a>, metric: Plotted) -> Vec<Other<'a>> {
    let shown = scene
        .state
        .superseded
        .iter()
        .filter(|_| scene.view.attempts);
    let other = |attempt: &'a Superseded| {
        let (series, means) = attempt.line(metric);
        Other {
            track: &attempt.track,
            series,
            means,
            style: scene.view.theme.dim,
        }
    };
    shown.map(other).collect()
}

fn chart<'a>(scene: &Scene<'a>, metric: &'a Metric, smooth: bool) -> Chart<'a> {
    let (state, view) = (scene.state, scene.view);
    let theme = &view.theme;
    Chart {
        track: &state.track,
        curve: Curve {
            series: &metric.series,
            columns: &metric.columns,
            line: match smooth {
                true if view.beta() > 0.0 => Line::Ema(&metric.ema),
                true => Line::Mean,
                false => Line::None,
            },
            band_style: if smooth { theme.band } else { theme.line },
            line_style: theme.line,
        },
        unit: view.unit,
        window: view.window(&state.track),
        scale: Scale::Linear,
        points: &[],
        floor: None,
        markers: &[],
        cursor: view
            .cursor
            .map(|step| state.track.x_of_step(step, view.unit)),
        glyphs: view.glyphs,
        style: ChartStyle {
            axis: theme.border,
            label: theme.dim,
            point: theme.point,
            floor: theme.floor,
            cursor: theme.cursor,
            alert: theme.bad,
        },
    }
}

/// The metrics of the strips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Learning rate.
    Lr,
    /// Gradient norm.
    GradNorm,
    /// Tokens per second.
    Speed,
}

impl Which {
    fn name(self) -> &'static str {
        match self {
            Self::Lr => "lr",
            Self::GradNorm => "|grad|",
            Self::Speed => "tok/s",
        }
    }

    fn metric<'a>(self, scene: &Scene<'a>) -> &'a Metric {
        match self {
            Self::Lr => &scene.state.lr,
            Self::GradNorm => &scene.state.grad_norm,
            Self::Speed => &scene.state.speed,
        }
    }

    fn plotted(self) -> Plotted {
        match self {
            Self::Lr => Plotted::Lr,
            Self::GradNorm => Plotted::GradNorm,
            Self::Speed => Plotted::Speed,
        }
    }

    fn value(self, scene: &Scene<'_>, row: usize) -> String {
        let (raw, smooth) = at(self.metric(scene), row);
        match self {
            Self::Lr => text::number(raw, 3),
            Self::GradNorm => text::value(raw, 2),
            // At the cursor that step's own; otherwise a pace that can be read.
            Self::Speed if scene.view.cursor.is_some() => text::number(raw, 3),
            Self::Speed => text::number(smooth, 3),
        }
    }
}

/// One metric in a frame: with axes where there is room, else as bars. Returns where its plot lies.
pub fn strip(scene: &Scene<'_>, which: Which, area: Rect, buf: &mut Buffer) -> Rect {
    let (state, view) = (scene.state, scene.view);
    let theme = &view.theme;
    let mut title: Vec<Owned> = vec![vec![(format!("{} ", which.name()), theme.title)]];
    if let Some(row) = row(scene) {
        let value = which.value(scene, row);
        let finite = at(which.metric(scene), row).0.is_finite();
        let style = if finite { theme.strong } else { theme.bad };
        title[0].push((format!("{value}  "), style));
        title.extend(details(scene, which, row).map(|d| vec![(format!("{d}  "), theme.dim)]));
    }
    let title = fitting(&borrow(&title), area.width.saturating_sub(4));
    let inner = paint::frame(buf, area, view, &title, &[]);
    if state.track.is_empty() {
        return Rect::default();
    }
    let metric = which.metric(scene);
    if inner.height >= 5 {
        let others = superseded(scene, which.plotted());
        chart(scene, metric, which != Which::Lr).render_over(&others, indented(inner), buf)
    } else {
        let window = (view.unit, view.window(&state.track));
        let looks = (view.glyphs, theme.line);
        let shows = if which == Which::Speed {
            Shows::Least
        } else {
            Shows::Greatest
        };
        spark::render(
            (&state.track, &metric.series),
            &metric.columns,
            window,
            shows,
            looks,
            inner,
            buf,
        );
        inner
    }
}

/// A figure that explains the metric.
fn details(scene: &Scene<'_>, which: Which, row: usize) -> Option<String> {
    let (state, lang) = (scene.state, scene.view.lang);
    match which {
        Which::Lr => {
            let scale = state.config.iter().find(|v| v.key == "schedule.lr_scale")?;
            (!matches!(scale.value.as_str(), "1" | "1.0")).then(|| format!("x{}", scale.value))
        }
        Which::GradNorm => {
            let share = at(&state.clipped, row).1;
            let clipped = Text::new("clipped", "裁剪").get(lang);
            (share > 0.0).then(|| format!("{clipped} {:.0}%", share * 100.0))
        }
        Which::Speed => {
            let pace = at(&state.step_seconds, row).1;
            const A_STEP: Text = Text::new("{0} a step", "每步 {0}");
            pace.is_finite()
                .then(|| A_STEP.filled(lang, &[&text::duration(pace)]))
        }
    }
}
