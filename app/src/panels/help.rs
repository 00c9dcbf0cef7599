//! The help: every key of every screen and what the signs mean, generated from the tables that do the work.

use engine::link::Command;
use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};
use ratatui::style::Style;

use super::filter::{self, Filter};
use super::list::{self, Place, Shown};
use super::{Panel, PanelKey};
use crate::actions::ALL;
use crate::lang::Text;
use crate::paint;
use crate::state::State;
use crate::text;
use crate::theme::Theme;
use crate::view::{Scene, View};

/// The screen; see the module's page.
pub struct Help {
    place: Place,
    shown: Shown,
    filter: Filter,
}

impl Default for Help {
    fn default() -> Self {
        Self {
            place: Place::top(),
            shown: Shown::default(),
            filter: Filter::default(),
        }
    }
}

/// Cells of the column of keys.
const KEY_WIDTH: usize = 19;

/// What the signs of charts mean.
const SIGNS: [(Text, Text); 7] = [
    (
        Text::new("C E", "C E"),
        Text::new("checkpoint written, evaluated", "保存检查点, 评估"),
    ),
    (
        Text::new("L R", "L R"),
        Text::new(
            "live edit of the configuration, resumed from a checkpoint",
            "在线修改配置, 从检查点恢复",
        ),
    ),
    (
        Text::new("!", "!"),
        Text::new("alert of a watcher", "监视规则的警报"),
    ),
    (
        Text::new("N", "N"),
        Text::new("loss or gradient was not finite", "loss 或梯度不是有限值"),
    ),
    (
        Text::new("band", "带"),
        Text::new(
            "least and greatest raw value of all steps in that column",
            "该列所有步的最小与最大原始值",
        ),
    ),
    (
        Text::new("line", "线"),
        Text::new(
            "moving average over all steps, free of start-up bias",
            "全部步的指数滑动平均(无偏)",
        ),
    ),
    (
        Text::new("floor", "下限"),
        Text::new(
            "entropy of the data: no model can be better",
            "数据的熵: 没有模型能更低",
        ),
    ),
];

/// A line: a title, or keys with what they do.
struct Line {
    key: String,
    help: String,
    is_title: bool,
}

/// Everything that there is to say, in lines of `width`; of a section, what passes the filter, with its title.
fn lines(view: &View, filter: &Filter, width: u16) -> Vec<Line> {
    let lang = view.lang;
    let room = usize::from(width).saturating_sub(KEY_WIDTH + 6);
    let mut lines: Vec<Line> = Vec::new();
    let mut section = |title: &str, rows: Vec<(String, String)>| {
        let whole = filter.passes(&[title]);
        let rows = rows.into_iter();
        let rows = rows.filter(|(key, help)| whole || filter.passes(&[key, help]));
        let rows: Vec<Line> = rows
            .flat_map(|(key, help)| laid_out(key, &help, room))
            .collect();
        if !rows.is_empty() {
            lines.push(Line {
                key: title.to_owned(),
                help: String::new(),
                is_title: true,
            });
            lines.extend(rows);
        }
    };
    section(
        Text::new("everywhere", "所有界面").get(lang),
        everywhere(view),
    );
    for panel in super::all() {
        let screen = super::name(&*panel);
        let rows = panel.keys().iter().map(|k| {
            let keys = view.keys.panels.pressed(&screen, k.keys);
            (keys.join(" "), k.help.get(lang).to_owned())
        });
        section(panel.title().get(lang), rows.collect());
    }
    let signs = SIGNS
        .iter()
        .map(|(s, t)| (s.get(lang).to_owned(), t.get(lang).to_owned()));
    section(Text::new("signs", "图例").get(lang), signs.collect());
    let commands = ALL.iter().map(|action| {
        let line = format!(":{} {}", action.name, action.takes);
        (line.trim_end().to_owned(), action.help.get(lang).to_owned())
    });
    section(Text::new("commands", "命令").get(lang), commands.collect());
    lines
}

/// One key with its help, which goes on below where it does not fit beside.
fn laid_out(key: String, help: &str, room: usize) -> Vec<Line> {
    let beside = text::width(&key) <= KEY_WIDTH;
    let help = if room < 20 {
        vec![help.to_owned()]
    } else {
        text::wrap(help, room)
    };
    let mut keys = vec![key];
    let mut helps: Vec<String> = help;
    if !beside {
        helps.insert(0, String::new());
    }
    keys.resize(helps.len(), String::new());
    keys.into_iter()
        .zip(helps)
        .map(|(key, help)| Line {
            key,
            help,
            is_title: false,
        })
        .collect()
}

/// The keys of every action that has some.
fn everywhere(view: &View) -> Vec<(String, String)> {
    let mut rows: Vec<(&'static str, String, String)> = Vec::new();
    for binding in view.keys.bindings().iter().filter(|b| !b.keys.is_empty()) {
        let name = binding.action.name;
        let keys = binding.keys.join(" ");
        match rows.iter_mut().find(|row| row.0 == name) {
            Some(row) => {
                row.1.push(' ');
                row.1.push_str(&keys);
            }
            None => rows.push((name, keys, binding.action.help.get(view.lang).to_owned())),
        }
    }
    let short = |keys: String| keys.replace("1 2 3 4 5 6 7 8 9", "1 ... 9");
    rows.into_iter()
        .map(|(_, keys, help)| (short(keys), help))
        .collect()
}

impl Panel for Help {
    fn title(&self) -> Text {
        Text::new("Help", "帮助")
    }

    fn keys(&self) -> &'static [PanelKey] {
        const KEYS: &[PanelKey] = &[filter::KEYS, list::KEYS];
        KEYS
    }

    fn handle(&mut self, key: &str, _: &State, view: &mut View, _: &mut Vec<Command>) -> bool {
        let len = lines(view, &self.filter, self.shown.width()).len();
        self.filter.handle(key, &mut self.place, len) || self.place.handle(key, len)
    }

    fn types(&self) -> bool {
        self.filter.is_open()
    }

    fn paste(&mut self, text: &str) {
        self.filter.paste(text);
    }

    fn copied(&self, scene: &Scene<'_>) -> Option<String> {
        let lines = lines(scene.view, &self.filter, self.shown.width());
        let line = lines.get(self.place.row(lines.len()))?;
        Some(format!("{}  {}\n", line.key, line.help))
    }

    fn click(&mut self, at: Position, _: &State, _: &View) -> Option<bool> {
        self.shown.click(&mut self.place, at)
    }

    fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        let view = scene.view;
        let theme = &view.theme;
        let filter = self.filter.title();
        let title = [
            ("zerollm ", theme.title),
            (env!("CARGO_PKG_VERSION"), theme.dim),
            (&*filter, theme.warn),
        ];
        let mut inner = paint::frame(buf, area, view, &title, &[]);
        self.filter.render(view, &mut inner, buf);
        let lines = lines(view, &self.filter, inner.width);
        let chosen = self.place.row(lines.len());
        for (row, index) in self.shown.rows(self.place, lines.len(), inner).enumerate() {
            draw(&lines[index], theme, inner, row as u16, buf);
            if index == chosen && !self.filter.is_empty() {
                paint::highlight(buf, inner, row as u16, theme.selected);
            }
        }
    }
}

fn draw(line: &Line, theme: &Theme, area: Rect, row: u16, buf: &mut Buffer) {
    let Line {
        key,
        help,
        is_title,
    } = line;
    let plain = Style::new();
    if *is_title {
        paint::line(buf, area, row, &[(" ", plain), (key, theme.title)]);
        return;
    }
    // Help stands in one column; what is too long for the other has the line to itself.
    let key = if help.is_empty() {
        key.clone()
    } else {
        text::fit(key, KEY_WIDTH)
    };
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
