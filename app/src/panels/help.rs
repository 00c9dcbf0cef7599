//! The help: every key of every screen and what the signs mean, generated from the tables that do the work.

use engine::link::Command;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::list::{self, Place};
use super::{Panel, PanelKey};
use crate::keymap;
use crate::lang::{Lang, Text};
use crate::paint;
use crate::state::State;
use crate::text;
use crate::theme::Theme;
use crate::view::{Scene, View};

/// The screen; see the module's page.
pub struct Help {
    place: Place,
}

impl Default for Help {
    fn default() -> Self {
        Self {
            place: Place::top(),
        }
    }
}

/// Cells of the column of keys.
const KEY_WIDTH: usize = 19;

/// What the signs of charts mean.
const SIGNS: [(&str, Text); 7] = [
    (
        "C E",
        Text::new("checkpoint written, evaluated", "保存检查点, 评估"),
    ),
    (
        "L R",
        Text::new(
            "live edit of the configuration, resumed from a checkpoint",
            "在线修改配置, 从检查点恢复",
        ),
    ),
    ("!", Text::new("alert of a watcher", "监视规则的警报")),
    (
        "N",
        Text::new("loss or gradient was not finite", "损失或梯度非有限"),
    ),
    (
        "band",
        Text::new(
            "least and greatest raw value of all steps in that column",
            "该列所有步的最小与最大原始值",
        ),
    ),
    (
        "line",
        Text::new(
            "moving average over all steps, free of start-up bias",
            "全部步的指数滑动平均(无偏)",
        ),
    ),
    (
        "floor",
        Text::new(
            "entropy of the data: no model can be better",
            "数据的熵: 任何模型的下限",
        ),
    ),
];

type Line = (String, String, bool);

fn lines(lang: Lang) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut section = |title: &str, rows: Vec<(String, String)>| {
        if !rows.is_empty() {
            lines.push((title.to_owned(), String::new(), true));
            lines.extend(rows.into_iter().map(|(k, h)| (k, h, false)));
        }
    };
    let everywhere = keymap::KEYMAP
        .iter()
        .map(|b| (keys(b.keys), b.action.help.get(lang).to_owned()));
    section(
        Text::new("everywhere", "所有界面").get(lang),
        everywhere.collect(),
    );
    for panel in super::all() {
        let rows = panel
            .keys()
            .iter()
            .map(|k| (keys(k.keys), k.help.get(lang).to_owned()));
        section(panel.title().get(lang), rows.collect());
    }
    let signs = SIGNS
        .iter()
        .map(|(s, t)| ((*s).to_owned(), t.get(lang).to_owned()));
    section(Text::new("signs", "图例").get(lang), signs.collect());
    lines
}

/// Keys as the help shows them; runs of digits in short.
fn keys(keys: &[&str]) -> String {
    if keys.len() == 9 && keys[0] == "1" {
        return "1 ... 9".to_owned();
    }
    keys.join(" ")
}

impl Panel for Help {
    fn title(&self) -> Text {
        Text::new("Help", "帮助")
    }

    fn keys(&self) -> &'static [PanelKey] {
        const KEYS: &[PanelKey] = &[list::KEYS];
        KEYS
    }

    fn handle(&mut self, key: &str, _: &State, view: &mut View, _: &mut Vec<Command>) -> bool {
        self.place.handle(key, lines(view.lang).len())
    }

    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        let view = scene.view;
        let theme = &view.theme;
        let title = [
            ("zerollm ", theme.title),
            (env!("CARGO_PKG_VERSION"), theme.dim),
        ];
        let inner = paint::frame(buf, area, view, &title, &[]);
        let lines = lines(view.lang);
        for (row, index) in self
            .place
            .visible(lines.len(), usize::from(inner.height))
            .enumerate()
        {
            draw(&lines[index], theme, inner, row as u16, buf);
        }
    }
}

fn draw((key, help, is_title): &Line, theme: &Theme, area: Rect, row: u16, buf: &mut Buffer) {
    let plain = Style::new();
    if *is_title {
        paint::line(buf, area, row, &[(" ", plain), (key, theme.title)]);
        return;
    }
    // Long lists of keys keep their help in the same column.
    let key = text::fit(key, KEY_WIDTH);
    paint::line(
        buf,
        area,
        row,
        &[
            ("   ", plain),
            (&key, theme.key),
            ("  ", plain),
            (help, theme.text),
        ],
    );
}
