//! From a buffer of cells to bytes: only the cells that changed, a frame in one synchronized update and one write.
//!
//! A write wakes whoever is behind the terminal, and on a machine that trains every thread that wakes takes a kernel's place:
//! so a frame in which nothing changed writes nothing, and no frame writes twice.

use std::io::{self, Write};

use ratatui::backend::{Backend as _, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::crossterm::queue;
use ratatui::crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate,
};
use ratatui::layout::{Position, Rect, Size};

/// Draws frames on a terminal of which it knows what it shows.
pub struct Painter<W: Write> {
    out: CrosstermBackend<W>,
    shown: Buffer,
    next: Buffer,
}

impl<W: Write> Painter<W> {
    /// For a terminal of this size that shows nothing yet.
    pub fn new(out: W, size: Size) -> Self {
        let area = Rect::from((Position::ORIGIN, size));
        Self {
            out: CrosstermBackend::new(out),
            shown: Buffer::empty(area),
            next: Buffer::empty(area),
        }
    }

    /// What is written to, for sequences that show nothing.
    pub fn out(&mut self) -> &mut impl Write {
        &mut self.out
    }

    /// What the terminal shows.
    #[cfg(test)]
    pub fn shown(&self) -> &Buffer {
        &self.shown
    }

    /// Draws one frame; the terminal has `size` now.
    ///
    /// # Errors
    /// If the terminal does not take what is written.
    pub fn draw(&mut self, size: Size, render: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        let resized = self.next.area.as_size() != size;
        if resized {
            // What a terminal makes of its cells when it is resized is its own affair.
            let area = Rect::from((Position::ORIGIN, size));
            (self.shown, self.next) = (Buffer::empty(area), Buffer::empty(area));
        }
        self.next.reset();
        render(&mut self.next);
        let mut changes = self.shown.diff_iter(&self.next).peekable();
        if resized || changes.peek().is_some() {
            queue!(self.out, BeginSynchronizedUpdate)?;
            if resized {
                queue!(self.out, Clear(ClearType::All))?;
            }
            self.out.draw(changes)?;
            queue!(self.out, EndSynchronizedUpdate)?;
            Write::flush(&mut self.out)?;
        }
        std::mem::swap(&mut self.shown, &mut self.next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::style::Style;

    /// Keeps each write that reaches the terminal apart.
    #[derive(Default)]
    struct Writes {
        pending: Vec<u8>,
        sent: Vec<String>,
    }

    impl Write for &mut Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.pending.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            let sent = std::mem::take(&mut self.pending);
            self.sent.push(String::from_utf8(sent).expect("text"));
            Ok(())
        }
    }

    #[test]
    fn a_frame_is_one_write_and_one_without_changes_none() {
        let mut writes = Writes::default();
        let size = Size::new(20, 3);
        let mut painter = Painter::new(&mut writes, size);
        for text in ["loss 3.5", "loss 3.5", "loss 3.4"] {
            let render = |buffer: &mut Buffer| buffer.set_string(2, 1, text, Style::new());
            painter.draw(size, render).unwrap();
        }
        // Larger: all of it again, on a terminal that is cleared.
        let render = |buffer: &mut Buffer| buffer.set_string(2, 1, "loss 3.4", Style::new());
        painter.draw(Size::new(30, 4), render).unwrap();
        painter.draw(Size::new(0, 0), |_| {}).unwrap();
        drop(painter);
        assert!(writes.pending.is_empty());
        let mut parser = vt100::Parser::new(3, 20, 0);
        let mut sent = writes.sent.iter();
        for want in ["  loss 3.5", "  loss 3.4"] {
            let frame = sent.next().unwrap();
            let whole = frame.starts_with("\u{1b}[?2026h") && frame.ends_with("\u{1b}[?2026l");
            assert!(whole, "{frame:?}");
            parser.process(frame.as_bytes());
            assert_eq!(parser.screen().contents().lines().nth(1), Some(want));
        }
        let mut parser = vt100::Parser::new(4, 30, 0);
        parser.process(b"what stood there before");
        parser.process(sent.next().unwrap().as_bytes());
        assert_eq!(parser.screen().contents(), "\n  loss 3.4");
        assert!(sent.next().unwrap().contains("\u{1b}[2J"));
        assert_eq!(sent.next(), None);
    }
}
