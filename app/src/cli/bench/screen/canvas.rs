//! A terminal that counts: the real backend behind it, and nobody who shows what is written.

use crate::cost;
use crate::terminal::{Painter, Surface};
use ratatui::buffer::Buffer;
use ratatui::layout::Size;
use std::cell::Cell;
use std::io::{self, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Counts bytes.
#[derive(Clone, Debug, Default)]
struct Counter(Rc<Cell<usize>>);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.set(self.0.get() + bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drawn {
    /// When it was whole.
    pub(super) at: Instant,
    /// What it took: widgets, comparison with the frame before, bytes for the terminal.
    pub(super) took: Duration,
    /// Processor time of the thread meanwhile, where the system says it; else the same as `took`.
    pub(super) work: Duration,
    /// Bytes for the terminal.
    pub(super) bytes: usize,
    /// Where the mark of the screen on show stands.
    pub(super) mark: Option<u16>,
    /// Processor time of the thread so far; none where the system does not say.
    pub(super) cpu: Option<Duration>,
}

/// The terminal, and the frames that it was given.
pub(super) struct Canvas {
    painter: Painter<Counter>,
    size: Size,
    sent: Counter,
    untold: usize,
    pub(super) frames: Vec<Drawn>,
}

impl Canvas {
    /// A terminal of so many columns and rows.
    pub(super) fn new(width: u16, height: u16) -> Self {
        let (sent, size) = (Counter::default(), Size::new(width, height));
        Self {
            painter: Painter::new(sent.clone(), size),
            size,
            sent,
            untold: 0,
            frames: Vec::new(),
        }
    }
}

/// Where the bracket of the screen on show stands in the row of screens.
fn mark(buffer: &Buffer) -> Option<u16> {
    let row = buffer.area.y + 1;
    let mut columns = buffer.area.left()..buffer.area.right();
    columns.find(|column| {
        buffer
            .cell((*column, row))
            .is_some_and(|cell| cell.symbol() == "[")
    })
}

impl Surface for Canvas {
    fn set_mouse(&mut self, _: bool) -> io::Result<()> {
        Ok(())
    }

    fn send(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn take_bytes(&self) -> usize {
        self.untold
    }

    fn draw(&mut self, render: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        let (begin, before) = (Instant::now(), cost::thread_time());
        let mut found = None;
        self.painter.draw(self.size, |buffer| {
            render(buffer);
            found = mark(buffer);
        })?;
        let (at, cpu) = (Instant::now(), cost::thread_time());
        let took = at.duration_since(begin);
        let work = before
            .zip(cpu)
            .map(|(before, after)| after.saturating_sub(before));
        self.untold = self.sent.0.replace(0);
        self.frames.push(Drawn {
            at,
            took,
            work: work.unwrap_or(took),
            bytes: self.untold,
            mark: found,
            cpu,
        });
        Ok(())
    }

    fn suspend(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn reclaim(&mut self) -> io::Result<()> {
        Ok(())
    }
}
