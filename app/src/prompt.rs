//! What lies over the screen and takes every key: the command line, the palette, a question, the form of a key.
//!
//! The [`crate::workbench`] hands it the keys and carries out what comes back.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Clear, Widget as _};

use crate::command_line::CommandLine;
use crate::edit::Edit;
use crate::lang::Text;
use crate::paint;
use crate::palette::Palette;
use crate::view::View;
use crate::workbench::Workbench;

/// The open prompt.
pub enum Prompt {
    /// A line is typed.
    Line(CommandLine),
    /// A line is looked for.
    Palette(Palette),
    /// A line is asked about.
    Confirm(Confirm),
    /// A key of the configuration is changed.
    Edit(Box<Edit>),
}

/// What a key did to a prompt.
pub enum Said {
    /// It stays open.
    Open,
    /// It is closed.
    Closed,
    /// This line was typed.
    Typed(String),
    /// This line was chosen; what weighs is still to be asked.
    Chosen(String),
    /// This line was asked about, and the answer is yes.
    Sure(String),
    /// This edit is confirmed.
    Change,
}

impl Prompt {
    /// Takes a key.
    pub fn handle(&mut self, key: &str, bench: &Workbench) -> Said {
        match self {
            Self::Line(line) => line.handle(key, bench),
            Self::Palette(palette) => palette.handle(key, bench),
            Self::Confirm(confirm) => confirm.handle(key),
            Self::Edit(edit) => edit.handle(key, &bench.state, bench.file.is_some()),
        }
    }

    /// Takes pasted text.
    pub fn paste(&mut self, text: &str) {
        match self {
            Self::Line(line) => line.paste(text),
            Self::Palette(palette) => palette.paste(text),
            Self::Confirm(_) => {}
            Self::Edit(edit) => edit.paste(text),
        }
    }

    /// Draws it over `area`.
    pub fn render(&self, bench: &Workbench, area: Rect, buf: &mut Buffer) {
        match self {
            Self::Line(line) => line.render(bench, area, buf),
            Self::Palette(palette) => palette.render(bench, area, buf),
            Self::Confirm(confirm) => confirm.render(&bench.view, area, buf),
            Self::Edit(edit) => edit.render(bench, area, buf),
        }
    }
}

/// A box of at most that size in the middle of `area`, emptied.
pub fn centred(width: u16, height: u16, area: Rect, buf: &mut Buffer) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    let at = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    Clear.render(at.intersection(buf.area), buf);
    at
}

/// A question before a line that weighs.
#[derive(Clone, Debug)]
pub struct Confirm {
    /// The line.
    line: String,
    /// What comes of it.
    result: Vec<String>,
}

impl Confirm {
    /// Asks about a line.
    pub fn new(line: &str, result: Vec<String>) -> Self {
        Self {
            line: line.to_owned(),
            result,
        }
    }

    fn handle(&self, key: &str) -> Said {
        match key {
            "enter" | "y" => Said::Sure(self.line.clone()),
            "esc" | "n" | "q" => Said::Closed,
            _ => Said::Open,
        }
    }

    fn render(&self, view: &View, area: Rect, buf: &mut Buffer) {
        const HINT: Text = Text::new("Enter do it  Esc not", "Enter 确认  Esc 取消");
        let theme = &view.theme;
        let width = area.width.min(72);
        let room = usize::from(width.saturating_sub(4));
        let wrapped = self
            .result
            .iter()
            .flat_map(|line| crate::text::wrap(line, room));
        let lines: Vec<String> = wrapped.collect();
        let at = centred(width, lines.len() as u16 + 2, area, buf);
        let title = format!("{}?", self.line);
        let title = [(&*title, theme.title)];
        let inner = paint::frame(buf, at, view, &title, &[(HINT.get(view.lang), theme.dim)]);
        for (row, line) in lines.iter().enumerate() {
            paint::line(
                buf,
                inner,
                row as u16,
                &[(" ", theme.text), (line, theme.text)],
            );
        }
    }
}
