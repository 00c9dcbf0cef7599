//! The table of samples: a row a prompt, a column a step, in each cell how the text begins.

use std::cell::Cell as Remembered;
use std::ops::Range;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use super::grid::{Cell, Grid};
use super::page;
use crate::bars::{Group, fitting};
use crate::lang::Text;
use crate::paint;
use crate::panels::{past_mark, past_note};
use crate::text;
use crate::view::{Scene, View};

/// Least width of a column where there is room for several.
const COLUMN: u16 = 18;
/// Least width of the only one.
const NARROW: u16 = 12;
/// Most cells of the column of prompts.
const PROMPT: usize = 24;
/// Most lines of a cell.
const LINES: u16 = 3;
/// Columns wide enough to show the share of readable sentences before the text.
const SHARE: usize = 16;

/// Where the cells were drawn last: what the mouse points at.
#[derive(Clone, Debug, Default)]
pub(super) struct Drawn {
    at: Remembered<Places>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Places {
    /// The first cell.
    first: Cell,
    /// Its place.
    area: Rect,
    columns: u16,
    rows: u16,
}

impl Drawn {
    /// The cell under a position, if there is one.
    pub(super) fn at(&self, at: Position) -> Option<Cell> {
        let places = self.at.get();
        let Places { first, area, .. } = places;
        let column = at.x.checked_sub(area.x)?.checked_div(area.width)?;
        let row = at.y.checked_sub(area.y)?.checked_div(area.height)?;
        (column < places.columns && row < places.rows).then(|| Cell {
            row: first.row + usize::from(row),
            column: first.column + usize::from(column),
        })
    }

    /// Nothing was drawn.
    pub(super) fn forget(&self) {
        self.at.set(Places::default());
    }
}

const EMPTY: Text = Text::new("(empty)", "(空)");

/// How the table lies in an area.
struct Plan {
    /// Cells of the column of prompts.
    prompt: u16,
    /// Cells of a column, the space before it included.
    column: u16,
    /// Lines of a row.
    lines: u16,
    rows: Range<usize>,
    columns: Range<usize>,
}

/// Rows of the screen that the table takes at most where `most` are there.
pub(super) fn height(grid: &Grid<'_>, most: u16) -> u16 {
    let rows = (grid.prompts.len() as u16).max(1);
    let lines = most.saturating_sub(3) / rows;
    (rows.saturating_mul(lines.clamp(1, LINES)) + 3).min(most)
}

/// Whether an area of that width can hold it.
pub(super) fn fits(width: u16) -> bool {
    width >= 2 + 1 + 6 + 1 + NARROW + 16
}

impl Plan {
    /// The window of the table that has the chosen cell: the one from `first` on, where that does.
    fn new(grid: &Grid<'_>, chosen: Cell, first: Cell, inner: Rect) -> Self {
        let widest = grid
            .prompts
            .iter()
            .map(|prompt| text::width(&label(prompt)));
        let widest = widest.max().unwrap_or(0).clamp(6, PROMPT);
        let prompt = (widest as u16)
            .min((inner.width / 4).max(6))
            .min(inner.width);
        // The mark of the chosen row stands before it.
        let room = inner.width.saturating_sub(prompt + 1);
        let num_columns = usize::from((room / (COLUMN + 1)).max(1)).min(grid.steps.len().max(1));
        let column = (room / num_columns as u16).max(1);
        let height = inner.height.saturating_sub(1);
        let lines = (height / (grid.prompts.len() as u16).max(1)).clamp(1, LINES);
        let num_rows = usize::from(height / lines);
        let window = |len: usize, at: usize, first: usize, shown: usize| {
            let first = first.min(at).max((at + 1).saturating_sub(shown));
            let first = first.min(len.saturating_sub(shown));
            first..len.min(first + shown)
        };
        Self {
            prompt,
            column,
            lines,
            rows: window(grid.prompts.len(), chosen.row, first.row, num_rows),
            columns: window(grid.steps.len(), chosen.column, first.column, num_columns),
        }
    }
}

/// Draws the table in a frame.
pub(super) fn draw(
    scene: &Scene<'_>,
    grid: &Grid<'_>,
    chosen: Cell,
    drawn: &Drawn,
    area: Rect,
    buf: &mut Buffer,
) {
    let (view, theme) = (scene.view, &scene.view.theme);
    // As the frame will leave it.
    let inside = Rect {
        x: area.x + 1,
        y: area.y + 1,
        width: area.width.saturating_sub(2),
        height: area.height.saturating_sub(2),
    };
    // What stands still is found again.
    let plan = Plan::new(grid, chosen, drawn.at.get().first, inside);
    let count = text::count(scene.state.samples_until(view.cursor) as u64);
    let of = Text::new("of", "/").get(view.lang);
    let window = |word: Text, shown: &Range<usize>, len: usize| {
        if shown.len() >= len {
            return format!("  {} {}", text::count(len as u64), word.get(view.lang));
        }
        let (first, last) = (shown.start + 1, shown.end);
        format!("  {} {first}-{last} {of} {len}", word.get(view.lang))
    };
    let prompts = window(Text::new("prompts", "提示"), &plan.rows, grid.prompts.len());
    let steps = window(Text::new("steps", "步"), &plan.columns, grid.steps.len());
    let mark = past_mark(view);
    let title: Vec<Group<'_>> = vec![
        vec![(Text::new("samples ", "样本 ").get(view.lang), theme.title)],
        vec![(&*count, theme.dim)],
        vec![(&*mark, theme.warn)],
        vec![(&*steps, theme.dim)],
        vec![(&*prompts, theme.dim)],
    ];
    let notes: Vec<Group<'_>> = vec![
        vec![
            ("C ", theme.good),
            (
                Text::new("checkpoint  ", "检查点  ").get(view.lang),
                theme.dim,
            ),
        ],
        vec![(past_note(view), theme.dim)],
    ];
    let room = area.width.saturating_sub(4);
    let (title, notes) = (fitting(&title, room), fitting(&notes, room));
    let inner = paint::frame(buf, area, view, &title, &notes);
    if inner.is_empty() {
        drawn.forget();
        return;
    }
    drawn.at.set(Places {
        first: Cell {
            row: plan.rows.start,
            column: plan.columns.start,
        },
        area: Rect {
            x: inner.x + 1 + plan.prompt,
            y: inner.y + 1,
            width: plan.column,
            height: plan.lines,
        },
        columns: plan.columns.len() as u16,
        rows: plan.rows.len() as u16,
    });
    draw_head(scene, grid, chosen, &plan, inner, buf);
    for (number, row) in plan.rows.clone().enumerate() {
        let top = 1 + number as u16 * plan.lines;
        let lines = plan.lines.min(inner.height.saturating_sub(top));
        let here = Rect {
            y: inner.y + top,
            height: lines,
            ..inner
        };
        draw_row(scene, grid, (row, chosen), &plan, here, buf);
    }
}

/// The steps above the columns, and whether there are more at either side.
fn draw_head(
    scene: &Scene<'_>,
    grid: &Grid<'_>,
    chosen: Cell,
    plan: &Plan,
    inner: Rect,
    buf: &mut Buffer,
) {
    let theme = &scene.view.theme;
    let more = [
        (0, plan.columns.start > 0, "<"),
        (
            inner.width.saturating_sub(1),
            plan.columns.end < grid.steps.len(),
            ">",
        ),
    ];
    for (number, column) in plan.columns.clone().enumerate() {
        let step = grid.steps[column];
        let written = scene.state.checkpoints.iter().any(|c| c.step == step);
        let style = if column == chosen.column {
            theme.strong
        } else {
            theme.dim
        };
        let head = format!("@{}", text::count(step));
        let at = Rect {
            x: inner.x + 1 + plan.prompt + number as u16 * plan.column + 1,
            width: plan.column.saturating_sub(2),
            ..inner
        };
        let pieces = [
            (&*head, style),
            (if written { " C" } else { "" }, theme.good),
        ];
        paint::line(buf, at.intersection(inner), 0, &pieces);
    }
    for (x, is_more, sign) in more {
        if is_more {
            let at = Rect {
                x: inner.x + x,
                width: 1,
                ..inner
            };
            paint::line(buf, at, 0, &[(sign, theme.warn)]);
        }
    }
}

/// A prompt and its cells.
fn draw_row(
    scene: &Scene<'_>,
    grid: &Grid<'_>,
    (row, chosen): (usize, Cell),
    plan: &Plan,
    area: Rect,
    buf: &mut Buffer,
) {
    let (view, theme) = (scene.view, &scene.view.theme);
    let is_chosen = row == chosen.row;
    let prompt = match grid.prompts[row] {
        "" => EMPTY.get(view.lang).to_owned(),
        prompt => label(prompt),
    };
    let style = if is_chosen { theme.strong } else { theme.dim };
    let name = Rect {
        x: area.x + 1,
        width: plan.prompt.min(area.width.saturating_sub(1)),
        ..area
    };
    for (line, piece) in beginning(&prompt, name.width, area.height)
        .iter()
        .enumerate()
    {
        paint::line(buf, name, line as u16, &[(piece, style)]);
    }
    for (number, column) in plan.columns.clone().enumerate() {
        let cell = Cell { row, column };
        let at = Rect {
            x: name.right() + number as u16 * plan.column,
            width: plan.column,
            ..area
        };
        draw_cell(
            scene,
            grid,
            (cell, cell == chosen),
            at.intersection(area),
            buf,
        );
    }
    if is_chosen {
        paint::line(buf, area, 0, &[(">", theme.key)]);
    }
}

fn draw_cell(
    scene: &Scene<'_>,
    grid: &Grid<'_>,
    (cell, is_chosen): (Cell, bool),
    area: Rect,
    buf: &mut Buffer,
) {
    let theme = &scene.view.theme;
    let inner = Rect {
        x: area.x + area.width.min(1),
        width: area.width.saturating_sub(2),
        ..area
    };
    let sample = grid.sample(cell).map(|index| &scene.state.samples[index]);
    match sample {
        Some(sample) => {
            let share = match page::share(sample) {
                share if usize::from(inner.width) >= SHARE => share.trim_start().to_owned(),
                _ => String::new(),
            };
            let (text, style) = match flat(&sample.text, inner) {
                text if text.is_empty() => (EMPTY.get(scene.view.lang).to_owned(), theme.dim),
                text => (text, theme.text),
            };
            let shown = format!("{share}{text}");
            let lines = beginning(&shown, inner.width, inner.height);
            let mut left = share.len();
            for (line, piece) in lines.iter().enumerate() {
                // Digits and a sign: as many cells as bytes.
                let (share, text) = piece.split_at(left.min(piece.len()));
                left = 0;
                let pieces = [(share, theme.good), (text, style)];
                paint::line(buf, inner, line as u16, &pieces);
            }
        }
        None => drop(paint::line(buf, inner, 0, &[("-", theme.border)])),
    }
    if is_chosen {
        paint::line(buf, area, 0, &[(">", theme.key)]);
        for line in 0..area.height {
            paint::highlight(buf, area, line, theme.selected);
        }
    }
}

/// A prompt on one line.
fn label(prompt: &str) -> String {
    text::escape(prompt)
}

/// As much of a text as an area may show, its lines run together.
fn flat(text: &str, area: Rect) -> String {
    let most = usize::from(area.width) * usize::from(area.height) * 2 + 8;
    let mut flat = String::new();
    let mut taken = 0;
    for word in text.split_whitespace() {
        if taken > most {
            break;
        }
        if !flat.is_empty() {
            flat.push(' ');
        }
        let piece: String = word.chars().take(most).collect();
        taken += piece.chars().count() + 1;
        flat.push_str(&text::escape(&piece));
    }
    flat
}

/// The first lines of a text of one line; the last ends in `~` where something is cut.
fn beginning(line: &str, width: u16, lines: u16) -> Vec<String> {
    let (width, lines) = (usize::from(width), usize::from(lines));
    if lines == 0 || width < 2 {
        return Vec::new();
    }
    let mut pieces = text::wrap(line, width);
    if pieces.len() > lines {
        let rest = pieces.split_off(lines - 1).join(" ");
        pieces.push(text::truncate(&rest, width));
    }
    pieces
}

/// What is said where the table finds no room.
pub(super) fn no_room(view: &View) -> &'static str {
    Text::new("no room for the table", "空间不足以显示表格").get(view.lang)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_fit_and_say_where_they_are_cut() {
        assert_eq!(beginning("one two three", 7, 1), ["one tw~"]);
        assert_eq!(beginning("one two three", 8, 2), ["one two", "three"]);
        assert_eq!(
            beginning("one two three four", 8, 2),
            ["one two", "three f~"]
        );
        let wide = "\u{4ece}\u{524d}\u{6709}\u{4e00}\u{53ea}\u{732b}";
        for width in 2..20 {
            for lines in 1..4 {
                let shown = beginning(wide, width, lines);
                assert!(shown.len() <= usize::from(lines));
                let fits = |line: &String| text::width(line) <= usize::from(width);
                assert!(shown.iter().all(fits), "{width} {lines} {shown:?}");
            }
        }
        assert!(beginning(wide, 1, 3).is_empty());
        let area = Rect::new(0, 0, 10, 1);
        assert_eq!(flat("\n a\u{1b}[2J\n\nb ", area), "a\\x1b[2J b");
        assert!(flat(&"x".repeat(100_000), area).len() < 100);
    }
}
