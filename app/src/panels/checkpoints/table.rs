//! The rows of the list: columns that are as wide as what they hold, and fall away where there is no room for all.

use ratatui::style::Style;

use crate::lang::{Text, term};
use crate::state::{Checked, Checkpoint, Kept, State};
use crate::text;
use crate::view::View;

/// Widest tag that is shown whole.
const TAG: usize = 24;
/// Columns between two columns.
const GAP: usize = 2;

/// One column: its head, and a cell for each checkpoint.
struct Column {
    head: &'static str,
    /// Numbers end at the same place.
    right: bool,
    /// Of two columns that have no room the greater goes first; those of 0 stay.
    goes: u8,
    cells: Vec<(String, Style)>,
}

impl Column {
    fn width(&self) -> usize {
        let widest = self.cells.iter().map(|cell| text::width(&cell.0)).max();
        widest.unwrap_or(0).max(text::width(self.head))
    }
}

/// A line of pieces.
pub type Row = Vec<(String, Style)>;

/// The head of the list and its rows, as wide as `width` allows.
pub fn rows(state: &State, view: &View, width: u16) -> (Row, Vec<Row>) {
    let mut columns = columns(state, view);
    let needs = |columns: &[Column]| -> usize {
        let widths = columns.iter().map(|column| column.width() + GAP);
        widths.sum::<usize>().saturating_sub(GAP)
    };
    while needs(&columns) > usize::from(width) {
        let first = columns.iter().enumerate().max_by_key(|(_, c)| c.goes);
        match first.filter(|(_, column)| column.goes > 0) {
            Some((at, _)) => drop(columns.remove(at)),
            None => break,
        }
    }
    let line = |cell: &dyn Fn(&Column) -> (String, Style)| -> Row {
        let mut pieces = Row::new();
        for column in &columns {
            let (words, style) = cell(column);
            let words = if column.right {
                text::fit_right(&words, column.width())
            } else {
                text::fit(&words, column.width())
            };
            pieces.push((words, style));
            pieces.push((" ".repeat(GAP), view.theme.text));
        }
        pieces
    };
    let head = line(&|column| (column.head.to_owned(), view.theme.dim));
    let rows = (0..state.checkpoints.len()).map(|row| line(&|column| column.cells[row].clone()));
    (head, rows.collect())
}

fn columns(state: &State, view: &View) -> Vec<Column> {
    let (theme, lang) = (&view.theme, view.lang);
    let column =
        |head: Text, right: bool, goes: u8, cell: &dyn Fn(&Checkpoint) -> (String, Style)| Column {
            head: head.get(lang),
            right,
            goes,
            cells: state.checkpoints.iter().map(cell).collect(),
        };
    let loss = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |v| text::value(v, 4));
    vec![
        column(Text::new("step", "步"), true, 0, &|c| {
            (text::count(c.step), theme.strong)
        }),
        column(Text::new("loss", "loss"), true, 0, &|c| {
            (loss(c.loss.map(f64::from)), theme.text)
        }),
        column(Text::new("val", "验证"), true, 3, &|c| {
            (loss(state.validation_at(c.step)), theme.text)
        }),
        column(Text::new("size", "大小"), true, 4, &|c| {
            (text::bytes(c.bytes), theme.text)
        }),
        column(Text::new("took", "用时"), true, 6, &|c| {
            let took = c.seconds.map(text::duration);
            (took.unwrap_or_else(|| "-".to_owned()), theme.text)
        }),
        column(Text::new("verified", "校验"), false, 2, &|c| {
            checked(c, view)
        }),
        column(Text::new("kept", "保留"), false, 1, &|c| {
            kept(state, c, view)
        }),
        column(Text::new("config", "配置"), false, 5, &|c| {
            let version = match c.config_version {
                0 => "-".to_owned(),
                version => format!("v{version}"),
            };
            (version, theme.dim)
        }),
        column(Text::new("why", "原因"), false, 7, &|c| {
            (text::escape(term(&c.reason).get(view.lang)), theme.dim)
        }),
    ]
}

fn checked(checkpoint: &Checkpoint, view: &View) -> (String, Style) {
    let theme = &view.theme;
    let (words, style) = match &checkpoint.checked {
        _ if checkpoint.damage().is_some() => (Text::new("damaged", "已损坏"), theme.bad),
        Checked::Good(when) => return (when.clone(), theme.good),
        _ => (Text::new("unverified", "未校验"), theme.dim),
    };
    (words.get(view.lang).to_owned(), style)
}

/// Why it stays: as many reasons as there are, in the colour of the first.
fn kept(state: &State, checkpoint: &Checkpoint, view: &View) -> (String, Style) {
    let (theme, lang) = (&view.theme, view.lang);
    let mut style = None;
    let mut words: Vec<String> = Vec::new();
    for kept in state.kept(checkpoint) {
        let (word, colour) = match kept {
            Kept::Tag(tag) => {
                let tag = text::truncate(&text::escape(tag), TAG);
                let word = Text::new("tag", "标签").get(lang);
                (format!("{word} {tag}"), theme.key)
            }
            Kept::Best => (Text::new("best", "最佳").get(lang).to_owned(), theme.good),
            Kept::Last => ("keep_last".to_owned(), theme.dim),
            Kept::All => (
                Text::new("all stay", "全部保留").get(lang).to_owned(),
                theme.dim,
            ),
            Kept::Damaged => (
                Text::new("not counted", "不计入").get(lang).to_owned(),
                theme.dim,
            ),
            Kept::Not => (
                Text::new("goes next", "下次删除").get(lang).to_owned(),
                theme.warn,
            ),
        };
        style.get_or_insert(colour);
        words.push(word);
    }
    (words.join(", "), style.unwrap_or(theme.text))
}
