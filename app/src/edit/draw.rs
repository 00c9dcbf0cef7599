//! How the form of a change looks.

use engine::config::{self, Config};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{Edit, when};
use crate::chart::draw::ChartStyle;
use crate::chart::function::{self, Function};
use crate::lang::Text;
use crate::paint;
use crate::prompt::centred;
use crate::text;
use crate::workbench::Workbench;

/// Rows of the curve.
const CURVE: u16 = 9;

impl Edit {
    /// Draws the form over the middle of `area`.
    pub fn render(&self, bench: &Workbench, area: Rect, buf: &mut Buffer) {
        const HINT: Text = Text::new(
            "Enter apply  Tab also to the file  Esc cancel",
            "Enter 应用  Tab 同时写入文件  Esc 取消",
        );
        const UNDO: Text = Text::new("undo v{0}", "撤销 v{0}");
        const SET: Text = Text::new("set {0}", "修改 {0}");
        const BARE_HINT: Text = Text::new("Enter apply  Esc cancel", "Enter 应用  Esc 取消");
        let (view, state) = (&bench.view, &bench.state);
        let (theme, lang) = (&view.theme, view.lang);
        let num = self.wanted.len() as u16;
        let curve = if self.has_curve() { CURVE + 1 } else { 0 };
        let at = centred(76, 7 + num + curve, area, buf);
        let title = match self.undoes {
            Some(version) => UNDO.filled(lang, &[&version.to_string()]),
            None => SET.filled(lang, &[&self.wanted[0].key]),
        };
        let hint = if bench.file.is_some() {
            HINT
        } else {
            BARE_HINT
        };
        let notes = [(hint.get(lang), theme.dim)];
        let inner = paint::frame(buf, at, view, &[(&title, theme.title)], &notes);
        let room = usize::from(inner.width.saturating_sub(2));
        let mut row = 0;
        let mut line = |pieces: &[(&str, ratatui::style::Style)], buf: &mut Buffer| {
            let mut with = vec![(" ", theme.text)];
            with.extend_from_slice(pieces);
            paint::line(buf, inner, row, &with);
            row += 1;
        };
        let first = &self.wanted[0];
        let now = state.config.iter().find(|v| v.key == first.key);
        if let (None, Some(form)) = (self.undoes, config::form(&first.key)) {
            let class = now.map_or(form.class.word(), |v| v.class.as_str());
            let doc = text::truncate(&lang.say(form.doc), room);
            line(&[(&doc, theme.text)], buf);
            let takes = format!("{}  ", lang.say(&form.takes));
            line(&[(&takes, theme.dim), (when(class, lang), theme.dim)], buf);
        }
        for wanted in &self.wanted {
            let from = if wanted.from.is_empty() {
                "-".to_owned()
            } else {
                text::escape(&wanted.from)
            };
            let source = now.map_or("", |v| v.source.as_str());
            let key = format!("{} ", wanted.key);
            if self.undoes.is_some() {
                let to = text::escape(&wanted.to);
                let pieces = [
                    (&*key, theme.key),
                    (&*from, theme.text),
                    (" -> ", theme.dim),
                    (&*to, theme.strong),
                ];
                line(&pieces, buf);
            } else {
                let words = Text::new("now ", "当前 ").get(lang);
                let source = format!("  ({})", text::escape(source));
                line(
                    &[
                        (words, theme.dim),
                        (&from, theme.text),
                        (&source, theme.dim),
                    ],
                    buf,
                );
            }
        }
        if self.undoes.is_none() {
            if self.choices.is_empty() {
                let at = Rect {
                    y: inner.y + row.min(inner.height),
                    height: inner.height.saturating_sub(row).min(1),
                    ..inner
                };
                self.field
                    .render(&format!("{} = ", first.key), view, at, buf);
                row += 1;
            } else {
                let mut pieces = vec![(" ", theme.text)];
                for choice in &self.choices {
                    let chosen = *choice == first.to;
                    let (open, close) = if chosen { ("[", "]") } else { (" ", " ") };
                    let style = if chosen { theme.key } else { theme.text };
                    pieces.extend([(open, style), (*choice, style), (close, style)]);
                }
                paint::line(buf, inner, row, &pieces);
                row += 1;
            }
        }
        let (message, style) = match self.check(state) {
            Err(message) => (
                text::truncate(&text::escape(message.get(lang)), room),
                theme.bad,
            ),
            Ok(()) => (
                Text::new("can be applied", "可以应用").get(lang).to_owned(),
                theme.good,
            ),
        };
        paint::line(buf, inner, row, &[(" ", theme.text), (&message, style)]);
        row += 1;
        if let Some(file) = &bench.file {
            let mark = if self.to_file { "[x] " } else { "[ ] " };
            let words = Text::new("also write to ", "同时写入 ").get(lang);
            let name = text::escape(&file.display().to_string());
            let pieces = [
                (" ", theme.text),
                (mark, theme.key),
                (words, theme.text),
                (&*name, theme.dim),
            ];
            paint::line(buf, inner, row, &pieces);
            row += 1;
        }
        if curve > 0 {
            let rest = Rect {
                x: inner.x + inner.width.min(1),
                y: inner.y + row.min(inner.height),
                width: inner.width.saturating_sub(2),
                height: inner.height.saturating_sub(row),
            };
            self.curve(bench, rest, buf);
        }
    }

    /// The learning rate of every step: as it is, and as it would be from the next step on.
    fn curve(&self, bench: &Workbench, area: Rect, buf: &mut Buffer) {
        let (view, state) = (&bench.view, &bench.state);
        let (theme, lang) = (&view.theme, view.lang);
        let Ok(old) = config::with_edits(&state.config, &[]) else {
            let none = Text::new(
                "the learning rate cannot be foretold here",
                "无法预测学习率",
            );
            paint::line(buf, area, 0, &[(none.get(lang), theme.dim)]);
            return;
        };
        let new = config::with_edits(&state.config, &self.pairs()).ok();
        let rate = |config: &Config, step: f64| {
            let steps = config.train.max_steps;
            let lr = config.optimizer.lr;
            config.schedule.lr(step.round().max(1.0) as u64, lr, steps)
        };
        let next = state.step() + 1;
        let at = |config: &Config| text::number(rate(config, next as f64), 3);
        let most = |config: &Config| config.train.max_steps;
        let last = most(&old).max(new.as_ref().map_or(0, most));
        let is = Text::new("lr next step: now ", "下一步学习率: 当前 ").get(lang);
        let would = Text::new("  then ", "  之后 ").get(lang);
        let (before, after) = (at(&old), new.as_ref().map_or_else(|| "-".to_owned(), at));
        let pieces = [
            (is, theme.dim),
            (&*before, theme.point),
            (would, theme.dim),
            (&*after, theme.title),
        ];
        paint::line(buf, area, 0, &pieces);
        let chart = Rect {
            y: area.y + area.height.min(1),
            height: area.height.saturating_sub(1),
            ..area
        };
        let is_now = |x: f64| rate(&old, x);
        // What is done is done: the new rates begin with the next step.
        let would_be = |x: f64| match &new {
            Some(new) if x + 0.5 >= next as f64 => rate(new, x),
            _ => f64::NAN,
        };
        let mut curves = vec![Function {
            of: &is_now,
            style: theme.point,
            line: false,
        }];
        if new.is_some() {
            curves.push(Function {
                of: &would_be,
                style: theme.line,
                line: true,
            });
        }
        let style = ChartStyle {
            axis: theme.border,
            label: theme.dim,
            cursor: theme.cursor,
            ..ChartStyle::default()
        };
        function::render(
            &curves,
            (1.0, last as f64),
            Some(next as f64),
            view.glyphs,
            style,
            chart,
            buf,
        );
    }
}
