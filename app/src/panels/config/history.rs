//! The live edits of a run, with what each changed.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::lang::Text;
use crate::paint;
use crate::panels::list::{Place, Shown};
use crate::text;
use crate::view::Scene;

/// Draws the list, and the chosen edit's changes below it.
pub fn render((place, shown): (Place, &Shown), scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
    const NOTES: Text = Text::new(
        "Enter takes the chosen edit back, as a new version",
        "Enter 撤销所选修改 (生成新版本)",
    );
    const NONE: Text = Text::new("no live edit yet", "尚无在线修改");
    let (state, view) = (scene.state, scene.view);
    let (theme, lang) = (&view.theme, view.lang);
    let versions = &state.versions;
    let title = Text::new("config history ", "配置历史 ").get(lang);
    let now = format!("v{}", state.config_version);
    let title = [(title, theme.title), (&*now, theme.strong)];
    let notes = [(NOTES.get(lang), theme.dim)];
    let notes = if scene.can_ask() { &notes[..] } else { &[] };
    let inner = paint::frame(buf, area, view, &title, notes);
    if versions.is_empty() {
        paint::centred(buf, inner, NONE.get(lang), theme.dim);
        return;
    }
    let selected = place.row(versions.len());
    let changes = &versions[selected].changes;
    let below = (changes.len() as u16 + 1).min(inner.height / 2);
    let list = Rect {
        height: inner.height - below,
        ..inner
    };
    for (row, index) in shown.rows(place, versions.len(), list).enumerate() {
        let version = &versions[index];
        let chosen = index == selected;
        let number = text::fit(&format!("v{}", version.number), 6);
        let step = format!("@{}", text::count(version.step));
        let keys: Vec<&str> = version.changes.iter().map(|c| c.key.as_str()).collect();
        let pieces = [
            (&*number, theme.strong),
            (&*version.clock, theme.dim),
            ("  ", theme.text),
            (&*text::fit(&step, 10), theme.text),
            (&*text::escape(&keys.join(", ")), theme.text),
        ];
        paint::item(buf, list, row as u16, chosen, theme, &pieces);
    }
    let below = Rect {
        y: list.bottom() + below.min(1),
        height: below.saturating_sub(1),
        ..inner
    };
    for (row, change) in changes.iter().enumerate() {
        let key = format!("{}  ", text::escape(&change.key));
        let side = |value: &str| match value {
            "" => "-".to_owned(),
            value => text::escape(value),
        };
        let (from, to) = (side(&change.from), side(&change.to));
        let pieces = [
            (" ", theme.text),
            (&*key, theme.key),
            (&*from, theme.bad),
            (" -> ", theme.dim),
            (&*to, theme.good),
        ];
        paint::line(buf, below, row as u16, &pieces);
    }
}
