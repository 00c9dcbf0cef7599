//! What the screen itself costs, for the `debug` overlay: measured by [`crate::ui`], shown here.

use std::collections::VecDeque;
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Clear, Widget as _};

use crate::lang::Text;
use crate::paint;
use crate::text;
use crate::view::View;

/// Frames that the figures are taken over.
const FRAMES: usize = 64;

/// One frame.
#[derive(Clone, Copy, Debug)]
struct Frame {
    at: Duration,
    took: Duration,
    bytes: usize,
    cpu: Option<Duration>,
}

/// The figures; see the module's page.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Whether they are shown.
    pub shown: bool,
    /// Events that were heard.
    pub events: u64,
    /// Steps that did not arrive, as a screen that is far too slow loses the oldest; the record has them.
    pub missed: u64,
    /// Requests that could not be sent.
    pub unsent: u64,
    /// Most events that were folded in before one frame.
    pub most_events: usize,
    frames: VecDeque<Frame>,
}

impl Figures {
    /// Notes a frame: when it was drawn, how long that took, what went to the terminal, and what the screen's threads have
    /// had of the processors so far.
    pub fn drew(&mut self, at: Duration, took: Duration, bytes: usize, cpu: Option<Duration>) {
        if self.frames.len() == FRAMES {
            self.frames.pop_front();
        }
        self.frames.push_back(Frame {
            at,
            took,
            bytes,
            cpu,
        });
    }

    /// Share of one processor that the screen's threads took over the last frames, where the system says it.
    fn share(&self) -> Option<f64> {
        let (first, last) = (self.frames.front()?, self.frames.back()?);
        let span = last.at.checked_sub(first.at)?.as_secs_f64();
        let cpu = last.cpu?.checked_sub(first.cpu?)?.as_secs_f64();
        (span > 0.0).then(|| cpu / span)
    }

    /// Draws them in the upper right corner. `pace` is the seconds that a step takes, where that is known.
    pub fn render(&self, view: &View, pace: Option<f64>, area: Rect, buf: &mut Buffer) {
        if !self.shown {
            return;
        }
        let num = self.frames.len().max(1) as f64;
        let span = match (self.frames.front(), self.frames.back()) {
            (Some(first), Some(last)) => last.at.saturating_sub(first.at).as_secs_f64(),
            _ => 0.0,
        };
        let rate = if span > 0.0 { (num - 1.0) / span } else { 0.0 };
        let took = self.frames.iter().map(|f| f.took.as_secs_f64());
        let (sum, most) = took.fold((0.0, 0.0), |(sum, most), t| (sum + t, f64::max(most, t)));
        let bytes = self.frames.iter().map(|f| f.bytes).sum::<usize>() as f64 / num;
        let widest = self.frames.iter().map(|f| f.bytes).max().unwrap_or(0);
        const CORE: Text = Text::new("{0}% of a core", "单核的 {0}%");
        const A_STEP: Text = Text::new("{0}% of a core, {1} ms a step", "单核的 {0}%, 每步 {1} ms");
        let lang = view.lang;
        let share = self.share();
        let cpu = match (share, pace) {
            (None, _) => "-".to_owned(),
            (Some(share), pace) => {
                let share_of_core = format!("{:.2}", share * 1e2);
                match pace {
                    None => CORE.filled(lang, &[&share_of_core]),
                    Some(pace) => {
                        let a_step = format!("{:.2}", share * pace * 1e3);
                        A_STEP.filled(lang, &[&share_of_core, &a_step])
                    }
                }
            }
        };
        let at_most = |text: Text, mean: String, most: String| text.filled(lang, &[&mean, &most]);
        let rows = [
            (Text::new("frames/s", "帧/秒"), format!("{rate:.1}")),
            (
                Text::new("frame", "每帧"),
                at_most(
                    Text::new("{0} ms, at most {1}", "{0} ms, 最多 {1}"),
                    format!("{:.2}", sum / num * 1e3),
                    format!("{:.2}", most * 1e3),
                ),
            ),
            (
                Text::new("bytes", "字节"),
                at_most(
                    Text::new("{0} a frame, at most {1}", "每帧 {0}, 最多 {1}"),
                    format!("{bytes:.0}"),
                    widest.to_string(),
                ),
            ),
            (Text::new("cpu", "处理器"), cpu),
            (
                Text::new("events", "事件"),
                at_most(
                    Text::new("{0}, at most {1} a frame", "{0}, 每帧最多 {1}"),
                    self.events.to_string(),
                    self.most_events.to_string(),
                ),
            ),
            (
                Text::new("dropped", "丢失"),
                at_most(
                    Text::new("{0} steps, {1} requests", "{0} 步, {1} 个请求"),
                    self.missed.to_string(),
                    self.unsent.to_string(),
                ),
            ),
        ];
        let width = 46.min(area.width);
        let at = Rect {
            x: area.right() - width,
            y: area.y + area.height.min(2),
            width,
            height: (rows.len() as u16 + 2).min(area.height.saturating_sub(2)),
        };
        Clear.render(at.intersection(buf.area), buf);
        let theme = &view.theme;
        let inner = paint::frame(
            buf,
            at,
            view,
            &[(Text::new("screen", "界面").get(lang), theme.title)],
            &[],
        );
        for (row, (name, value)) in rows.iter().enumerate() {
            let name = text::fit(name.get(lang), 9);
            let pieces = [(" ", theme.text), (&*name, theme.dim), (value, theme.text)];
            paint::line(buf, inner, row as u16, &pieces);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chart::glyph::GlyphSet;
    use crate::lang::Lang;
    use crate::theme::{Palette, Theme};

    #[test]
    fn the_pace_is_that_of_the_last_frames() {
        let mut figures = Figures {
            shown: true,
            ..Figures::default()
        };
        for i in 0..200 {
            figures.drew(
                Duration::from_millis(100 * i),
                Duration::from_millis(2),
                500,
                Some(Duration::from_micros(250 * i)),
            );
        }
        let view = View::new(Lang::En, Theme::new(Palette::Mono), GlyphSet::Ascii);
        let area = Rect::new(0, 0, 60, 12);
        let mut buf = Buffer::empty(area);
        figures.render(&view, Some(0.04), area, &mut buf);
        let text: String = buf
            .content
            .iter()
            .map(ratatui::buffer::Cell::symbol)
            .collect();
        let cpu = "0.25% of a core, 0.10 ms a step";
        for part in ["frames/s 10.0", "2.00 ms", "500 a frame", cpu] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}
