//! Results on stdout. A reader that closes the pipe has seen enough: the command then ends quietly, with exit code 0.

use crate::cli::Failure;
use std::io::{ErrorKind, Write as _};

/// Writes `text` as it is and flushes it.
///
/// # Errors
/// If the reader is gone (a failure without a message and with code 0), or the disk behind it is full.
pub fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(Failure::new(0, "")),
        Err(error) => Err(Failure::new(1, format!("stdout: {error}"))),
    }
}

/// As [`bytes`], for text.
///
/// # Errors
/// As [`bytes`].
pub fn text(text: &str) -> Result<(), Failure> {
    bytes(text.as_bytes())
}

/// As [`text`], with a line feed behind it.
///
/// # Errors
/// As [`bytes`].
pub fn line(line: &str) -> Result<(), Failure> {
    text(&format!("{line}\n"))
}

/// One JSON object on a line.
///
/// # Errors
/// As [`bytes`].
pub fn json(value: &serde_json::Value) -> Result<(), Failure> {
    line(&value.to_string())
}

/// Makes text of a model or a file fit for a terminal: control characters are shown escaped, newline and tab stay.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (number, line) in text.split('\n').enumerate() {
        if number > 0 {
            out.push('\n');
        }
        for (number, cell) in line.split('\t').enumerate() {
            if number > 0 {
                out.push('\t');
            }
            out.push_str(&crate::text::escape(cell));
        }
    }
    out
}

/// Columns of text, each as wide as its widest cell: the first to the left, the others to the right.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with a head.
    pub fn new(head: &[&str]) -> Self {
        let mut table = Self::default();
        let cells: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
        table.row(&cells);
        table
    }

    /// Adds a row. Control characters are escaped.
    pub fn row(&mut self, cells: &[String]) {
        self.rows
            .push(cells.iter().map(|cell| crate::text::escape(cell)).collect());
    }

    /// The lines.
    pub fn lines(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column));
                cells
                    .map(|cell| crate::text::width(cell))
                    .max()
                    .unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let room = " ".repeat(widths[column] - crate::text::width(cell));
                let (left, right) = if column == 0 {
                    (cell.as_str(), room.as_str())
                } else {
                    (room.as_str(), cell.as_str())
                };
                if column > 0 {
                    line.push_str("  ");
                }
                line.push_str(left);
                line.push_str(right);
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_but_newline_and_tab_stay() {
        assert_eq!(visible("a\tb\nc\x1b[2J\r\n"), "a\tb\nc\\x1b[2J\\r\n");
        assert_eq!(visible("\u{4ece}\u{524d}"), "\u{4ece}\u{524d}");
    }

    #[test]
    fn columns_line_up_by_cells() {
        let mut table = Table::new(&["name", "loss"]);
        table.row(&["\u{4e2d}\u{6587}x".to_owned(), "1.5".to_owned()]);
        table.row(&["a".to_owned()]);
        assert_eq!(table.lines(), "name   loss\n\u{4e2d}\u{6587}x   1.5\na\n");
    }
}
