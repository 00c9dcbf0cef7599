//! The mouse: tabs, rows, charts, the wheel.
//!
//! What lies under the pointer is what the last frame drew there. While something is open over the screen, only the wheel
//! does anything: it scrolls there too.

use ratatui::crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Position;

use crate::bars;
use crate::workbench::Workbench;

/// Rows that one notch of the wheel goes.
const NOTCH: usize = 3;

/// What the mouse did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mouse {
    /// Where.
    pub at: Position,
    /// What.
    pub what: What,
}

/// What the mouse did there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Its left button was pressed.
    Press,
    /// It was moved with the button held.
    Drag,
    /// Its wheel was turned away from the person.
    Up,
    /// Its wheel was turned towards the person.
    Down,
}

/// What a terminal's event means here; nothing for the rest.
pub fn word(event: MouseEvent) -> Option<Mouse> {
    let what = match event.kind {
        MouseEventKind::Down(MouseButton::Left) => What::Press,
        MouseEventKind::Drag(MouseButton::Left) => What::Drag,
        MouseEventKind::ScrollUp => What::Up,
        MouseEventKind::ScrollDown => What::Down,
        _ => return None,
    };
    Some(Mouse {
        at: Position::new(event.column, event.row),
        what,
    })
}

impl Workbench {
    /// Takes the mouse.
    pub fn point(&mut self, mouse: Mouse) {
        let key = match mouse.what {
            What::Press | What::Drag => "",
            What::Up => "up",
            What::Down => "down",
        };
        if self.dialog.is_some() || self.prompt.is_some() {
            if !key.is_empty() {
                self.press(key);
            }
            return;
        }
        let parts = bars::split(self.drawn());
        if mouse.what == What::Press && parts.tabs.contains(mouse.at) {
            let titles = bars::titles(&self.state, &self.view, &self.panels, parts.tabs.width);
            let tabs = bars::tab_places(&titles, self.current, parts.tabs);
            if let Some((_, panel)) = tabs.iter().find(|(place, _)| place.contains(mouse.at)) {
                self.show(*panel);
            }
            return;
        }
        if !parts.body.contains(mouse.at) {
            return;
        }
        let state = self.frozen.as_deref().unwrap_or(&self.state);
        if self.panels[self.current].point(mouse, state, &mut self.view) {
            return;
        }
        if mouse.what == What::Drag {
            return;
        }
        if key.is_empty() {
            // A row that was chosen already is opened.
            if self.panels[self.current].click(mouse.at, state, &self.view) == Some(true) {
                self.offer("enter");
            }
        } else {
            for _ in 0..NOTCH {
                self.offer(key);
            }
        }
    }
}
