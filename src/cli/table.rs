//! Rows under a header, in columns as wide as their widest cell.
//!
//! Cells come from PBXs: control characters, which could move a terminal's cursor, are shown as `?`.
//! Bounds: a cell is cut at [`CELL_CHARS_MAX`] characters, except in the last column.

use std::fmt;

use serde_json::Value;

const CELL_CHARS_MAX: usize = 48;

pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(header: &[&str]) -> Self {
        Self { rows: vec![header.iter().map(|&name| name.to_owned()).collect()] }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        let last = cells.len().saturating_sub(1);
        let cell = |(column, text): (usize, String)| {
            let text = printable(&text);
            if column < last { cut(text) } else { text }
        };
        self.rows.push(cells.into_iter().enumerate().map(cell).collect());
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths = vec![0; columns];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        for row in &self.rows {
            let cells: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}", width = *width)).collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}

/// A value of the API as one cell: `-` for none, lists with commas, a pattern in words.
pub(super) fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".into(),
        Some(Value::Bool(value)) => if *value { "yes" } else { "no" }.into(),
        Some(Value::String(text)) if text.is_empty() => "-".into(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Array(values)) if values.is_empty() => "-".into(),
        Some(Value::Array(values)) => values.iter().map(|value| cell(Some(value))).collect::<Vec<_>>().join(","),
        Some(Value::Object(fields)) => match (fields.get("colour"), fields.get("effect")) {
            (Some(_), Some(Value::String(effect))) if effect == "off" => "off".into(),
            (Some(colour), Some(effect)) => {
                let moves = effect != "solid";
                let period = if moves { format!(" {}", cell(fields.get("period"))) } else { String::new() };
                format!("{} {}{period}", cell(Some(colour)), cell(Some(effect)))
            }
            _ => {
                let field = |(name, value): (&String, &Value)| format!("{name}={}", cell(Some(value)));
                fields.iter().map(field).collect::<Vec<_>>().join(" ")
            }
        },
    }
}

/// What a terminal shows as it is.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn cut(text: String) -> String {
    if text.chars().count() <= CELL_CHARS_MAX {
        return text;
    }
    text.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["LINK", "DEVICE", "STATE"]);
        table.row(vec!["front-desk".into(), "0101".into(), "ringing".into()]);
        table.row(vec!["w".into(), "010".into(), "-".into()]);
        assert_eq!(
            table.to_string(),
            "LINK        DEVICE  STATE\nfront-desk  0101    ringing\nw           010     -\n"
        );
    }

    #[test]
    fn a_name_from_a_pbx_cannot_move_the_cursor() {
        let mut table = Table::new(&["A", "B"]);
        table.row(vec!["\x1b[2Jgone".into(), "two\nlines".into()]);
        assert!(!table.to_string().contains('\x1b'));
        assert_eq!(table.to_string().lines().count(), 2);
    }

    #[test]
    fn a_long_cell_is_cut_unless_it_is_the_last() {
        let mut table = Table::new(&["A", "B"]);
        table.row(vec!["x".repeat(60), "y".repeat(60)]);
        let shown = table.to_string();
        assert!(shown.contains(&format!("{}…  ", "x".repeat(47))) && shown.contains(&"y".repeat(60)));
    }

    #[test]
    fn a_pattern_is_said_in_words() {
        let pattern = json!({"colour":"#ffb000","effect":"blink","period":"500ms","duty":50,"brightness":100});
        assert_eq!(cell(Some(&pattern)), "#ffb000 blink 500ms");
        assert_eq!(cell(Some(&json!({"colour":"#00ff00","effect":"solid","period":"1s"}))), "#00ff00 solid");
        assert_eq!(cell(Some(&json!({"colour":"#000000","effect":"off","period":"1s"}))), "off");
        assert_eq!(cell(Some(&json!(["a", "b"]))), "a,b");
        assert_eq!(cell(Some(&json!(null))), "-");
    }
}
