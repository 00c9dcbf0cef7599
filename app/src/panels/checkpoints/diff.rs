//! In which keys the configuration of a checkpoint differs from that in force, or from another checkpoint's.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::lang::{Phrase, Text};
use crate::paint;
use crate::panels::list::{Place, Shown};
use crate::state::{Checkpoint, State};
use crate::text;
use crate::view::Scene;

/// A comparison that is on show.
pub struct Diff {
    /// The rows' place and where they were drawn.
    pub place: Place,
    /// Where the rows were drawn.
    pub shown: Shown,
    /// What is compared with what.
    sides: [Phrase; 2],
    rows: Vec<Difference>,
}

/// A key with its values at both sides; empty where a side does not have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    key: String,
    values: [String; 2],
}

/// The keys in which two configurations differ, by their names.
pub fn differences(one: &[(String, String)], other: &[(String, String)]) -> Vec<Difference> {
    let keys = one.iter().chain(other).map(|(key, _)| key.as_str());
    let keys: std::collections::BTreeSet<&str> = keys.collect();
    let value = |side: &[(String, String)], key: &str| {
        let found = side.iter().find(|(have, _)| have == key);
        found.map_or_else(String::new, |(_, value)| value.clone())
    };
    let of = |key: &str| Difference {
        key: key.to_owned(),
        values: [value(one, key), value(other, key)],
    };
    let all = keys.into_iter().map(of);
    all.filter(|it| it.values[0] != it.values[1]).collect()
}

impl Diff {
    /// Compares a checkpoint with another, else with what is in force. None where a folder was not looked at.
    pub fn new(one: &Checkpoint, other: Option<&Checkpoint>, state: &State) -> Option<Self> {
        const NOW: Text = Text::new("now v{0}", "现在 v{0}");
        let side = |c: &Checkpoint| {
            Phrase::verbatim(format!("{} v{}", text::count(c.step), c.config_version))
        };
        let (name, values) = if let Some(other) = other {
            (side(other), other.config.as_ref()?.to_vec())
        } else {
            let values = state.config.iter();
            let values = values.map(|value| (value.key.clone(), value.value.clone()));
            let now = NOW.fill(&[&state.config_version.to_string()]);
            (now, values.collect())
        };
        Some(Self {
            place: Place::top(),
            shown: Shown::default(),
            sides: [side(one), name],
            rows: differences(one.config.as_ref()?, &values),
        })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Draws it.
    pub fn render(&self, scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
        const SAME: Text = Text::new("the same configuration", "配置相同");
        const NOTES: Text = Text::new("d or Esc goes back", "按 d 或 Esc 返回");
        let view = scene.view;
        let (theme, lang) = (&view.theme, view.lang);
        let [one, other] = &self.sides;
        let title = [
            (Text::new("configuration ", "配置 ").get(lang), theme.title),
            (one.get(lang), theme.bad),
            (" -> ", theme.dim),
            (other.get(lang), theme.good),
        ];
        let inner = paint::frame(buf, area, view, &title, &[(NOTES.get(lang), theme.dim)]);
        if self.rows.is_empty() {
            paint::centred(buf, inner, SAME.get(lang), theme.dim);
            return;
        }
        let widest = self.rows.iter().map(|row| text::width(&row.key)).max();
        let width = widest.unwrap_or(0).min(usize::from(inner.width / 2));
        let selected = self.place.row(self.rows.len());
        let visible = self.shown.rows(self.place, self.rows.len(), inner);
        for (line, index) in visible.enumerate() {
            let row = &self.rows[index];
            let [from, to] = row.values.each_ref().map(|value| match value.as_str() {
                "" => "-".to_owned(),
                value => text::escape(value),
            });
            let pieces = [
                (&*text::fit(&text::escape(&row.key), width), theme.key),
                ("  ", theme.text),
                (&*from, theme.bad),
                (" -> ", theme.dim),
                (&*to, theme.good),
            ];
            let chosen = index == selected;
            paint::item(buf, inner, line as u16, chosen, theme, &pieces);
        }
    }
}
