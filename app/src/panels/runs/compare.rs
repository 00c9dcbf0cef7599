//! Runs beside each other: their curves, what differs in their configurations, their final figures, and what several
//! seeds of one configuration say together.

use std::path::PathBuf;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::bars::{Group, fitting};
use crate::book::course::{Axis, Course};
use crate::book::{Entry, differences, stats};
use crate::chart::axis::Scale;
use crate::chart::columns::Columns;
use crate::chart::draw::{Chart, ChartStyle, Curve, Line, Other};
use crate::chart::means::Means;
use crate::lang::{Lang, Text, term};
use crate::paint;
use crate::panels::list::Place;
use crate::text;
use crate::view::View;

/// The comparison on show.
pub(super) struct Comparison {
    runs: Vec<Entry>,
    courses: Vec<Option<Course>>,
    /// Their losses as they were last drawn.
    means: Vec<Means>,
    /// What falls into the columns of the first one.
    columns: Columns,
    axis: Axis,
    scale: Scale,
    place: Place,
}

const READING: Text = Text::new("reading the records", "正在读取记录");
const UNKNOWN: Text = Text::new(
    "these records do not say it: t chooses another axis",
    "这些记录没有该数据: 按 t 换横轴",
);

impl Comparison {
    pub(super) fn new(runs: Vec<Entry>) -> Self {
        Self {
            courses: vec![None; runs.len()],
            means: vec![Means::default(); runs.len()],
            columns: Columns::default(),
            runs,
            axis: Axis::default(),
            scale: Scale::default(),
            place: Place::top(),
        }
    }

    /// Takes what is known of the runs now.
    pub(super) fn update(&mut self, entries: &[Entry]) {
        for run in &mut self.runs {
            let now = entries.iter().find(|e| e.summary.path == run.summary.path);
            if let Some(now) = now {
                run.clone_from(now);
            }
        }
    }

    /// Takes the courses of runs.
    pub(super) fn draw(&mut self, courses: &[(PathBuf, Course)]) {
        for (index, run) in self.runs.iter().enumerate() {
            let found = courses.iter().find(|(path, _)| *path == run.summary.path);
            if let Some((_, course)) = found {
                self.courses[index] = Some(course.clone());
                self.means[index] = Means::default();
            }
        }
        self.columns.forget();
    }

    pub(super) fn handle(&mut self, key: &str) -> bool {
        match key {
            "t" => {
                self.axis = self.axis.next();
                self.columns.forget();
            }
            "y" => {
                self.scale = match self.scale {
                    Scale::Linear => Scale::Log,
                    Scale::Log => Scale::Linear,
                }
            }
            // The lines below depend on the width; the place is cut to them when they are drawn.
            key => return self.place.handle(key, self.lines(Lang::En).len()),
        }
        true
    }

    pub(super) fn render(&self, view: &View, area: Rect, buf: &mut Buffer) {
        let chart_height = match area.height {
            0..=9 => area.height,
            height => (height / 2).max(8),
        };
        let (upper, lower) = paint::top(area, chart_height);
        self.render_chart(view, upper, buf);
        self.render_lines(view, lower, buf);
    }

    fn render_chart(&self, view: &View, area: Rect, buf: &mut Buffer) {
        let theme = &view.theme;
        let names: Vec<(String, Style)> = self
            .runs
            .iter()
            .enumerate()
            .map(|(index, run)| {
                let name = text::truncate(&text::escape(&run.summary.name), 24);
                (format!("{} {name}  ", letter(index)), style(index, view))
            })
            .collect();
        let mut title: Vec<Group<'_>> = vec![vec![("loss  ", theme.title)]];
        title.extend(names.iter().map(|(name, style)| vec![(&**name, *style)]));
        let scale = match self.scale {
            Scale::Linear => Text::new("linear", "线性"),
            Scale::Log => Text::new("log", "对数"),
        };
        let notes: Vec<Group<'_>> = vec![
            vec![
                ("x ", theme.dim),
                (self.axis.name().get(view.lang), theme.text),
                (" (t)  ", theme.dim),
            ],
            vec![
                ("y ", theme.dim),
                (scale.get(view.lang), theme.text),
                (" (y)  ", theme.dim),
            ],
            vec![
                ("Esc ", theme.key),
                (Text::new("runs", "运行").get(view.lang), theme.dim),
            ],
        ];
        let room = area.width.saturating_sub(4);
        let inner = paint::frame(
            buf,
            area,
            view,
            &fitting(&title, room),
            &fitting(&notes, room),
        );
        let known: Vec<(usize, &Course)> = self
            .courses
            .iter()
            .enumerate()
            .filter_map(|(index, course)| Some((index, course.as_ref()?)))
            .collect();
        let drawn: Vec<(usize, &Course, _)> = known
            .iter()
            .filter_map(|(index, course)| Some((*index, *course, course.along(self.axis)?)))
            .collect();
        let unit = self.axis.unit();
        let extent = drawn
            .iter()
            .filter_map(|(_, _, track)| track.extent(unit))
            .reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let (Some((_, first, track)), Some((lo, hi))) = (drawn.first(), extent) else {
            let why = if known.len() < self.runs.len() {
                READING
            } else {
                UNKNOWN
            };
            paint::centred(buf, inner, why.get(view.lang), theme.dim);
            return;
        };
        let others: Vec<Other<'_>> = drawn
            .iter()
            .map(|(index, course, track)| Other {
                track,
                series: &course.loss,
                means: &self.means[*index],
                style: style(*index, view),
            })
            .collect();
        let chart = Chart {
            track,
            curve: Curve {
                series: &first.loss,
                columns: &self.columns,
                line: Line::Mean,
                band_style: theme.border,
                line_style: style(drawn[0].0, view),
            },
            unit,
            window: (lo, if hi > lo { hi } else { lo + 1.0 }),
            scale: self.scale,
            points: &[],
            floor: None,
            markers: &[],
            cursor: None,
            glyphs: view.glyphs,
            style: ChartStyle {
                axis: theme.border,
                label: theme.dim,
                point: theme.point,
                floor: theme.floor,
                cursor: theme.cursor,
                alert: theme.bad,
            },
        };
        chart.render_over(&others, inner, buf);
    }

    fn render_lines(&self, view: &View, area: Rect, buf: &mut Buffer) {
        let theme = &view.theme;
        let title = [(
            Text::new("figures and differences", "数值与差异").get(view.lang),
            theme.title,
        )];
        let inner = paint::frame(buf, area, view, &title, &[]);
        let lines = self.lines(view.lang);
        let width = usize::from(inner.width.saturating_sub(2));
        let wrapped: Vec<String> = lines
            .iter()
            .flat_map(|line| text::wrap(&text::escape(line), width.max(1)))
            .collect();
        for (row, index) in self
            .place
            .visible(wrapped.len(), usize::from(inner.height))
            .enumerate()
        {
            let line = &wrapped[index];
            let style = if line.starts_with(' ') {
                theme.text
            } else {
                theme.strong
            };
            paint::line(buf, inner, row as u16, &[(" ", theme.text), (line, style)]);
        }
    }

    /// Everything below the chart.
    fn lines(&self, lang: Lang) -> Vec<String> {
        const RUN: Text = Text::new(
            "{0}: {1} at step {2}, loss {3}, best validation {4}, {5} tokens, {6}",
            "{0}: {1}, 第 {2} 步, loss {3}, 最好的验证 {4}, {5} token, {6}",
        );
        let mut lines = Vec::new();
        for (index, run) in self.runs.iter().enumerate() {
            let (summary, figures) = (&run.summary, &run.figures);
            let loss = |loss: Option<f64>| loss.map_or("-".to_owned(), |x| text::value(x, 4));
            let best = figures.best;
            let at = best.map_or_else(String::new, |best| format!(" @{}", text::count(best.1)));
            let best = loss(best.map(|best| best.0)) + &at;
            lines.push(RUN.filled(
                lang,
                &[
                    &format!("{} {}", letter(index), summary.name),
                    &term(run.status()),
                    &text::count(summary.step),
                    &loss(summary.loss),
                    &best,
                    &text::number(summary.tokens as f64, 3),
                    &text::duration(figures.seconds),
                ],
            ));
        }
        let runs: Vec<&Entry> = self.runs.iter().collect();
        let said = stats::lines(&runs);
        lines.extend(said.iter().map(|line| line.get(lang).to_owned()));
        let configs: Vec<&[_]> = runs.iter().map(|run| &*run.figures.config).collect();
        let differences = differences(&configs);
        if runs.len() > 1 && differences.is_empty() {
            let none = Text::new("no key differs", "没有不同的配置项");
            lines.push(none.get(lang).to_owned());
        }
        for (key, values) in differences {
            let values: Vec<String> = values
                .into_iter()
                .enumerate()
                .map(|(index, value)| format!("{} {}", letter(index), value.unwrap_or("-")))
                .collect();
            lines.push(format!("  {key}: {}", values.join("  ")));
        }
        lines
    }
}

/// A run's letter: colours alone would not tell runs apart everywhere.
fn letter(index: usize) -> char {
    char::from(b'a' + (index % 26) as u8)
}

/// The colours of runs, in turn.
fn style(index: usize, view: &View) -> Style {
    let theme = &view.theme;
    let styles = [
        theme.line,
        theme.warn,
        theme.good,
        theme.point,
        theme.bad,
        theme.floor,
        theme.text,
        theme.dim,
    ];
    styles[index % styles.len()]
}
