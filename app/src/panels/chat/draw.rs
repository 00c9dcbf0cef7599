//! The two pages.

use engine::infer::generate::Finish;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::settings::Settings;
use super::{Chat, Link, START, Turn, need};
use crate::bars::{Group, fitting};
use crate::lang::{Lang, Text, Words};
use crate::paint;
use crate::text;
use crate::view::{Scene, View};

/// What a chat costs training, said before it starts.
const COST: Text = Text::new(
    "one thread at low priority: training loses at most a tenth of one core; not a bit of its losses changes",
    "单个低优先级线程: 训练最多失去十分之一个核; loss 逐位不变",
);

const SEED: Text = Text::new("seed", "种子");

impl Chat {
    pub(super) fn draw_settings(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        let (view, theme) = (scene.view, &scene.view.theme);
        let title = [
            (Text::new("chat", "对话").get(view.lang), theme.title),
            (Text::new("  settings", "  设置").get(view.lang), theme.dim),
        ];
        let inner = paint::frame(buf, area, view, &title, &[]);
        let foot = u16::from(self.typing.is_some()).min(inner.height);
        let list = Rect {
            height: inner.height - foot,
            ..inner
        };
        let chosen = self.place.row(START + 1);
        let mut row = 0;
        for (index, (name, hint)) in Settings::NAMES.iter().enumerate() {
            let value = text::fit(&self.settings.value(index), 10);
            let name = text::fit(name, 12);
            let pieces = [
                (&*name, theme.dim),
                (&*value, theme.strong),
                (" ", theme.text),
                (hint.get(view.lang), theme.dim),
            ];
            paint::item(buf, list, row, index == chosen, theme, &pieces);
            row += 1;
        }
        let start = Text::new("start a chat", "开始对话").get(view.lang);
        let pieces = [(start, theme.key)];
        paint::item(buf, list, row, chosen == START, theme, &pieces);
        row += 2;
        for (line, style) in self.facts(scene) {
            for piece in text::wrap(&line, usize::from(list.width).saturating_sub(2)) {
                paint::line(buf, list, row, &[(" ", theme.text), (&piece, style)]);
                row += 1;
            }
        }
        if let Some(field) = &self.typing {
            let label = Settings::NAMES.get(chosen).map_or("", |(name, _)| name);
            let at = Rect {
                y: list.bottom(),
                height: foot,
                ..inner
            };
            field.render(&format!("{label} = "), view, at, buf);
        }
    }

    /// What a person should know before a chat starts, the most urgent first.
    fn facts(&self, scene: &Scene<'_>) -> Vec<(String, Style)> {
        let (view, theme) = (scene.view, &scene.view.theme);
        let mut facts = Vec::new();
        if let Some(note) = &self.note {
            facts.push((note.get(scene), theme.warn));
        }
        let need = need(scene.state);
        let fits = need.zip(self.free).is_none_or(|(need, free)| need <= free);
        let shown = |bytes: Option<u64>| bytes.map_or_else(|| "-".to_owned(), text::bytes);
        let adds = Text::new("memory: a chat adds", "内存: 对话需要").get(view.lang);
        let free = Text::new("free:", "空闲:").get(view.lang);
        let refused = if fits {
            ""
        } else {
            Text::new("  it does not fit", "  内存不足").get(view.lang)
        };
        let style = if fits { theme.text } else { theme.bad };
        let line = format!(
            "{adds} {}, {free} {}{refused}",
            shown(need),
            shown(self.free)
        );
        facts.push((line, style));
        facts.push((COST.get(view.lang).to_owned(), theme.dim));
        facts
    }

    pub(super) fn draw_talk(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        let (view, theme) = (scene.view, &scene.view.theme);
        let room = area.width.saturating_sub(4);
        let [kind, cost, speed] = self.heading(scene);
        let title: [Group<'_>; 4] = [
            vec![
                (Text::new("chat ", "对话 ").get(view.lang), theme.title),
                (&self.label, theme.strong),
            ],
            vec![("  ", theme.text), (&kind, theme.dim)],
            vec![("  ", theme.text), (&cost, theme.dim)],
            vec![("  ", theme.text), (&speed, theme.dim)],
        ];
        let s = &self.settings;
        let drawing = format!(
            "T {}  top-k {}  top-p {}  max {}  {} {}",
            s.temperature,
            s.top_k,
            s.top_p,
            s.max_tokens,
            SEED.get(view.lang),
            s.seed
        );
        let note = self.note.as_ref();
        let note = note.map_or_else(String::new, |note| note.get(scene));
        let notes: [Group<'_>; 2] = [vec![(&note, theme.warn)], vec![(&drawing, theme.dim)]];
        let inner = paint::frame(
            buf,
            area,
            view,
            &fitting(&title, room),
            &fitting(&notes, room),
        );
        let foot = inner.height.min(1);
        let page = Rect {
            height: inner.height - foot,
            ..inner
        };
        let lines = self.lines(view, usize::from(page.width).saturating_sub(2));
        let height = usize::from(page.height);
        let last = lines.len() - self.scroll.min(lines.len().saturating_sub(height));
        let first = last.saturating_sub(height);
        for (row, (line, style)) in lines[first..last].iter().enumerate() {
            paint::line(buf, page, row as u16, &[(" ", theme.text), (line, *style)]);
        }
        let at = Rect {
            y: page.bottom(),
            height: foot,
            ..inner
        };
        if let Some(field) = &self.typing {
            field.render("> ", view, at, buf);
        } else {
            let hint = self.hint().get(view.lang);
            paint::line(buf, at, 0, &[(" ", theme.text), (hint, theme.dim)]);
        }
    }

    /// What kind of model it is, its memory, and how fast training is beside it.
    fn heading(&self, scene: &Scene<'_>) -> [String; 3] {
        let Link::Open { ready, .. } = &self.link else {
            return Default::default();
        };
        let kind = if ready.continues {
            Text::new("continues text", "续写文字")
        } else {
            Text::new("ChatML", "ChatML")
        };
        const CONTEXT: Text = Text::new("{0}  ctx {1}", "{0}  上下文 {1}");
        const TRAIN: Text = Text::new("train {0} tok/s (was {1})", "训练 {0} tok/s (之前 {1})");
        let lang = scene.view.lang;
        let kind = CONTEXT.filled(lang, &[&kind, &text::count(ready.context as u64)]);
        let over = scene.state.status.is_over();
        let speeds = self.speed.zip(scene.state.speed.ema.last());
        let speed = speeds.filter(|_| !over).map(|(before, now)| {
            let [before, now] = [before, now].map(|speed| text::number(f64::from(speed), 3));
            TRAIN.filled(lang, &[&now, &before])
        });
        [
            kind,
            text::bytes(ready.need.total()),
            speed.unwrap_or_default(),
        ]
    }

    fn hint(&self) -> Text {
        match &self.link {
            Link::Nobody => Text::new(
                "nobody is there; o goes to the settings",
                "未连接; 按 o 打开设置",
            ),
            Link::Ordered(_) => Text::new("copying the weights...", "正在复制权重..."),
            Link::Opening(_) => Text::new("reading the weights...", "正在读取权重..."),
            Link::Open { busy: true, .. } => Text::new("Esc stops", "按 Esc 停止"),
            Link::Open { .. } => Text::new("Enter says something", "按 Enter 输入"),
        }
    }

    /// The conversation, wrapped.
    fn lines(&self, view: &View, width: usize) -> Vec<(String, Style)> {
        let theme = &view.theme;
        let mut lines = Vec::new();
        for turn in &self.turns {
            let said = format!("> {}", text::escape(&turn.said));
            let wrapped = text::wrap(&said, width).into_iter();
            lines.extend(wrapped.map(|line| (line, theme.key)));
            for line in text::escape_lines(&turn.answer) {
                let wrapped = text::wrap(&line, width).into_iter();
                lines.extend(wrapped.map(|line| (line, theme.text)));
            }
            if let Some(end) = end(turn, view.lang) {
                let wrapped = text::wrap(&end, width).into_iter();
                lines.extend(wrapped.map(|line| (line, theme.dim)));
            }
        }
        lines
    }
}

/// What is known of an answer that is complete.
fn end(turn: &Turn, lang: Lang) -> Option<String> {
    const CUT: Text = Text::new(
        "  (the oldest {0} tokens were cut to fit the context)",
        "  (为放入上下文, 截去了最早的 {0} 个 token)",
    );
    const END: Text = Text::new(
        "[{0} tokens  {1}  {2} {3}{4}{5}]",
        "[{0} token  {1}  {2} {3}{4}{5}]",
    );
    let answer = turn.end.as_ref()?;
    let why = match answer.finish {
        Finish::EndOfText => Text::new("ended", "结束"),
        Finish::MaxTokens => Text::new("max-tokens", "max-tokens"),
        Finish::Context => Text::new("context full", "上下文已满"),
        Finish::Caller => Text::new("stopped", "已停止"),
    };
    let speed = answer.tokens_per_second;
    let speed = speed.map_or_else(String::new, |s| format!("  {} tok/s", text::number(s, 3)));
    let cut = match answer.cut {
        0 => String::new(),
        cut => CUT.filled(lang, &[&cut.to_string()]),
    };
    let figures = [answer.tokens.to_string(), answer.seed.to_string()];
    let parts: [&dyn Words; 6] = [&figures[0], &why, &SEED, &figures[1], &speed, &cut];
    Some(END.filled(lang, &parts))
}
