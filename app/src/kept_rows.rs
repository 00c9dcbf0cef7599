//! The rows that an alert has kept, as lines for a person: on the screen and by `zerollm show RUN --alert STEP`.

use engine::watch::batch::KeptRow;

use crate::lang::{Phrase, Text};
use crate::text;

/// The numbers of a row: where it stands, and its loss.
pub fn heading(row: &KeptRow) -> Phrase {
    const ROW: Text = Text::new(
        "row {0} (row {1} of the data)  loss {2}",
        "第 {0} 行 (数据的第 {1} 行)  loss {2}",
    );
    ROW.fill(&[
        &row.row.to_string(),
        &row.data_row.to_string(),
        &text::value(row.loss, 4),
    ])
}

/// Its text without control characters, or its ids where there is no tokenizer.
pub fn body(row: &KeptRow) -> Vec<String> {
    if let Some(text) = &row.text {
        return text::escape_lines(text);
    }
    let ids: Vec<String> = row.ids.iter().map(i32::to_string).collect();
    vec![ids.join(" ")]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lang::Lang;

    #[test]
    fn a_row_is_shown_with_its_numbers_and_without_control_characters() {
        let row = |text: Option<&str>| KeptRow {
            row: 70,
            data_row: 3,
            loss: f64::NAN,
            ids: vec![104, 27, 10],
            text: text.map(str::to_owned),
        };
        let shown = row(Some("h\x1b[31m\nx"));
        let heading = heading(&shown);
        assert_eq!(
            heading.get(Lang::En),
            "row 70 (row 3 of the data)  loss NaN"
        );
        assert_eq!(heading.get(Lang::Zh), "第 70 行 (数据的第 3 行)  loss NaN");
        assert_eq!(body(&shown), ["h\\x1b[31m", "x"]);
        assert_eq!(body(&row(None)), ["104 27 10"]);
    }
}
