//! The lines around every screen: what runs, which screens there are, how far it is, what keys do.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::chart::glyph::GlyphSet;
use crate::keymap::Binding;
use crate::lang::{self, Phrase, Text};
use crate::paint;
use crate::panels::{self, Panel, PanelKey};
use crate::state::{Level, State, Status};
use crate::text;
use crate::view::{Scene, View};

/// Where the lines and the screen between them lie; what has no room is empty.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// What runs.
    pub header: Rect,
    /// Which screens there are.
    pub tabs: Rect,
    /// The screen.
    pub body: Rect,
    /// How far it is.
    pub progress: Rect,
    /// What keys do.
    pub footer: Rect,
}

/// Shares the rows out: the header first, then the screen, footer, tabs and progress as there is room.
pub fn split(area: Rect) -> Parts {
    let h = area.height;
    let rows = [
        h.min(1),
        u16::from(h >= 14),
        0,
        u16::from(h >= 22),
        u16::from(h >= 6),
    ];
    let body = h - rows.iter().sum::<u16>();
    let mut y = area.y;
    let mut take = |height| {
        let part = Rect { y, height, ..area };
        y += height;
        part
    };
    Parts {
        header: take(rows[0]),
        tabs: take(rows[1]),
        body: take(body),
        progress: take(rows[3]),
        footer: take(rows[4]),
    }
}

/// A group of pieces that is shown whole or not at all.
pub type Group<'a> = Vec<(&'a str, Style)>;

/// As many groups as fit into `width`, from the left; later groups that still fit are taken too.
pub fn fitting<'a>(groups: &[Group<'a>], width: u16) -> Group<'a> {
    let mut used = 0;
    let mut pieces = Vec::new();
    for group in groups {
        let needs: usize = group.iter().map(|p| text::width(p.0)).sum();
        if used + needs <= usize::from(width) {
            used += needs;
            pieces.extend(group.iter().copied());
        }
    }
    pieces
}

/// What runs and how it does.
pub fn header(scene: &Scene<'_>, frozen: bool, area: Rect, buf: &mut Buffer) {
    let (state, view) = (scene.state, scene.view);
    let (theme, lang) = (&view.theme, view.lang);
    let (word, style) = match &state.status {
        Status::Waiting => (lang::WAITING, theme.dim),
        Status::Running => (lang::RUNNING, theme.good),
        Status::Paused(_) if state.memory_free => (lang::PAUSED_HARD, theme.warn),
        Status::Paused(_) => (lang::PAUSED, theme.warn),
        Status::Finished(reason) if reason == "diverged" => (lang::DIVERGED, theme.bad),
        Status::Finished(_) => (lang::FINISHED, theme.good),
        Status::Failed(_) => (lang::FAILED, theme.bad),
        Status::Interrupted => (lang::INTERRUPTED, theme.warn),
    };
    let dot = if view.glyphs == GlyphSet::Ascii {
        "*"
    } else {
        "\u{25cf}"
    };
    let head = state.started.as_ref();
    let run = head.map_or_else(|| "zerollm".to_owned(), |h| text::escape(&h.run));
    let run = text::truncate(&run, usize::from(area.width / 3).max(8));
    let step = match state.max_steps() {
        Some(most) => format!("{}/{}", text::count(state.step()), text::count(most)),
        None => text::count(state.step()),
    };
    let mut groups: Vec<Group<'_>> = vec![
        vec![(" ", theme.text), (&run, theme.title), ("  ", theme.text)],
        vec![(dot, style), (" ", style), (word.get(lang), style)],
    ];
    let pending = state
        .pending
        .last()
        .map(|p| lang::pending(p.command.word()).get(lang));
    let silence = silence(scene);
    let reason = match &state.status {
        Status::Paused(Some(reason)) => text::escape(&lang.say(reason)),
        _ => String::new(),
    };
    let gap = ("  ", theme.text);
    let leave = lang::LEAVE_NOW.with_key(view, "leave");
    let go_on = lang::GO_ON.with_key(view, "pause toggle");
    if let Some(word) = scene.seat.word(scene.open) {
        groups.push(vec![gap, (word.get(lang), theme.key)]);
    }
    if state.gone {
        groups.push(vec![gap, (lang::GONE.get(lang), theme.bad)]);
    }
    if let Some(pending) = pending {
        groups.push(vec![gap, (pending, theme.warn)]);
    } else if state.status.is_over() {
        groups.push(vec![gap, (&leave, theme.dim)]);
    } else if let Status::Paused(_) = state.status {
        if scene.seat.controls() {
            groups.push(vec![gap, (&go_on, theme.dim)]);
        }
        if !reason.is_empty() {
            groups.push(vec![gap, (&reason, theme.warn)]);
        }
    }
    if frozen {
        groups.push(vec![
            ("  ", theme.text),
            (lang::FROZEN.get(lang), theme.warn),
        ]);
    }
    if let Some(silence) = &silence {
        groups.push(vec![("  ", theme.text), (silence, theme.warn)]);
    }
    let step_word = Text::new("step ", "步 ").get(lang);
    groups.push(vec![
        ("  ", theme.text),
        (step_word, theme.dim),
        (&step, theme.strong),
    ]);
    let left = state.remaining().map(text::duration);
    if let Some(left) = &left {
        groups.push(vec![("  ETA ", theme.dim), (left, theme.text)]);
    }
    let tokens = text::number(state.tokens() as f64, 3);
    groups.push(vec![
        ("  ", theme.text),
        (&tokens, theme.text),
        (" tok", theme.dim),
    ]);
    let elapsed = text::duration(state.elapsed());
    let elapsed_word = Text::new("  elapsed ", "  已用 ").get(lang);
    groups.push(vec![(elapsed_word, theme.dim), (&elapsed, theme.text)]);
    let device = head.map_or_else(String::new, |h| {
        let parameters = text::number(h.parameters as f64, 3);
        let device = text::escape(&h.device);
        format!(
            "{parameters} params  {device} {} x{}",
            text::escape(&h.isa),
            h.threads
        )
    });
    let pieces = fitting(&groups, area.width);
    let end = paint::line(buf, area, 0, &pieces);
    paint::line_right(
        buf,
        area,
        0,
        end + 2,
        &[(&device, theme.dim), (" ", theme.text)],
    );
}

/// A running engine that has not finished a step for suspiciously long.
fn silence(scene: &Scene<'_>) -> Option<String> {
    let state = scene.state;
    let pace = f64::from(state.step_seconds.ema.last().unwrap_or(1.0));
    let quiet = scene.silence.as_secs_f64();
    let busy = state.status == Status::Running && !state.track.is_empty();
    (busy && quiet > (10.0 * pace).max(5.0)).then(|| {
        let words = Text::new("silent for", "无响应").get(scene.view.lang);
        format!("{words} {}", text::duration(quiet.floor()))
    })
}

/// The screens by number, the one on show marked; warnings at the right.
pub fn tabs(
    scene: &Scene<'_>,
    panels: &[Box<dyn Panel>],
    current: usize,
    area: Rect,
    buf: &mut Buffer,
) {
    let theme = &scene.view.theme;
    let mut end = area.x;
    let titles = titles(scene.state, scene.view, panels, area.width);
    for (place, index) in tab_places(&titles, current, area) {
        let title = titles[index].as_str();
        let number = digit(index);
        let bare = usize::from(place.width) < number.len() + text::width(title) + 2;
        let title = if bare { "" } else { title };
        let (open, close, style) = if index == current {
            ("[", "]", theme.title)
        } else {
            (" ", " ", theme.dim)
        };
        let space = if title.is_empty() || number.is_empty() {
            ""
        } else {
            " "
        };
        let key = if index == current {
            theme.title
        } else {
            theme.key
        };
        let pieces = [
            (open, style),
            (&*number, key),
            (space, style),
            (title, style),
            (close, style),
        ];
        end = paint::line(buf, place, 0, &pieces);
    }
    if scene.state.num_alerts > 0 {
        let alerts = format!("!{}", scene.state.num_alerts);
        paint::line_right(
            buf,
            area,
            0,
            end + 1,
            &[(&alerts, theme.warn), (" ", theme.text)],
        );
    }
}

/// The screens' names in a row of that width, with what shall be seen from everywhere.
pub fn titles(state: &State, view: &View, panels: &[Box<dyn Panel>], width: u16) -> Vec<String> {
    let titles = panels.iter().map(|panel| panel.tab(state, view, width));
    titles.collect()
}

/// Where the screens' names stand, with the screen of each; a screen without a name has its digit only.
pub fn tab_places(titles: &[String], current: usize, area: Rect) -> Vec<(Rect, usize)> {
    let named = named(titles, current, usize::from(area.width));
    let mut places = Vec::new();
    let mut end = area.x;
    for (index, title) in titles.iter().enumerate() {
        let number = digit(index).len();
        let title = if named.contains(&index) {
            text::width(title) + usize::from(number > 0)
        } else {
            0
        };
        if number + title == 0 {
            continue;
        }
        let width = (number + title + 2).min(usize::from(area.right().saturating_sub(end))) as u16;
        let place = Rect {
            x: end,
            width,
            ..area
        };
        end += width;
        places.push((place, index));
    }
    places
}

/// The key of a screen: a digit for the first nine.
fn digit(index: usize) -> String {
    if index < 9 {
        (index + 1).to_string()
    } else {
        String::new()
    }
}

/// The screens whose names fit into `width` columns: the one on show, then those nearest to it.
fn named(titles: &[String], current: usize, width: usize) -> Vec<usize> {
    let digits: usize = (0..titles.len()).map(|index| digit(index).len()).sum();
    // An alert's mark stands at the right.
    let mut room = width.saturating_sub(digits + 2 * titles.len() + 4);
    let mut order: Vec<usize> = (0..titles.len()).collect();
    order.sort_by_key(|index| (index.abs_diff(current), *index));
    let mut named = Vec::new();
    for index in order {
        let needed = text::width(&titles[index]) + usize::from(index < 9);
        if needed > room && index != current {
            break;
        }
        room = room.saturating_sub(needed);
        named.push(index);
    }
    named
}

/// How far the run is.
pub fn progress(scene: &Scene<'_>, area: Rect, buf: &mut Buffer) {
    let state = scene.state;
    let Some(most) = state.max_steps().filter(|_| area.height > 0) else {
        return;
    };
    let fraction = share_done(state.step(), most);
    let percent = format!("{:5.1}%", fraction * 100.0);
    let bar = Rect {
        x: area.x + 1,
        width: area.width.saturating_sub(percent.len() as u16 + 3),
        ..area
    };
    paint::bar(buf, bar, fraction, scene.view);
    let theme = &scene.view.theme;
    paint::line_right(
        buf,
        area,
        0,
        area.x,
        &[(&percent, theme.text), (" ", theme.text)],
    );
}

/// How much of a run is done. All of it where an edit has put its end before the step that it is at.
fn share_done(step: u64, most: u64) -> f64 {
    if step >= most {
        1.0
    } else {
        step as f64 / most as f64
    }
}

/// What keys do: those of the run first, then the panel's, then those of the view.
pub fn footer(scene: &Scene<'_>, panel: &dyn Panel, area: Rect, buf: &mut Buffer) {
    let (theme, lang) = (&scene.view.theme, scene.view.lang);
    let asks = scene.can_ask();
    let bound = scene.view.keys.footer();
    let bound = bound.into_iter().filter(|b| asks || b.footer > ENGINE_KEYS);
    let (run, look): (Vec<_>, Vec<_>) = bound.partition(|b| b.footer <= RUN_KEYS);
    let of = |b: &'_ Binding| (b.keys[0].clone(), b.action.label.get(lang));
    let mut hints: Vec<(String, &str)> = run.into_iter().map(of).collect();
    let screen = panels::name(panel);
    let offered = |k: &&PanelKey| asks || panel.asks(k.keys[0]).is_none();
    hints.extend(panel.keys().iter().filter(offered).filter_map(|k| {
        let keys = scene.view.keys.panels.pressed(&screen, k.keys);
        Some((keys.into_iter().next()?, k.label.get(lang)))
    }));
    hints.extend(look.into_iter().map(of));
    let groups: Vec<Group<'_>> = hints
        .iter()
        .map(|(key, label)| {
            vec![
                (" ", theme.text),
                (key.as_str(), theme.key),
                (" ", theme.text),
                (*label, theme.dim),
                (" ", theme.text),
            ]
        })
        .collect();
    paint::line(buf, area, 0, &fitting(&groups, area.width));
}

/// What was just done or refused, in the place of the footer.
pub fn message(scene: &Scene<'_>, level: Level, text: &Phrase, area: Rect, buf: &mut Buffer) {
    let theme = &scene.view.theme;
    let style = match level {
        Level::Info | Level::Good => theme.good,
        Level::Warn => theme.warn,
        Level::Bad => theme.bad,
    };
    let text = text::escape(text.get(scene.view.lang));
    paint::line(buf, area, 0, &[(" ", theme.text), (&text, style)]);
}

/// Bindings up to this place in the footer ask the engine for something; a run that is over takes nothing, and nothing
/// comes from who looks on only.
const ENGINE_KEYS: u8 = 4;
/// Bindings up to this place stand before the panel's own.
const RUN_KEYS: u8 = 6;

#[cfg(test)]
mod tests {
    use super::share_done;

    #[test]
    fn a_run_is_never_more_than_done() {
        assert_eq!(share_done(0, 8).to_bits(), 0f64.to_bits());
        assert_eq!(share_done(2, 8).to_bits(), 0.25f64.to_bits());
        for (step, most) in [(8, 8), (29, 8), (0, 0)] {
            assert_eq!(share_done(step, most).to_bits(), 1f64.to_bits());
        }
    }
}
