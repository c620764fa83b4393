//! JSON: one array, or one object per line.

use super::Exporter;
use crate::commands::bench::row::Row;

/// An array that grows row by row and is whole after the footer.
#[derive(Default)]
pub struct Json {
    rows: usize,
}

impl Exporter for Json {
    fn header(&mut self) -> String {
        "[\n".into()
    }

    fn row(&mut self, row: &Row) -> String {
        let separator = if self.rows == 0 { "" } else { ",\n" };
        self.rows += 1;
        let mut text = format!("{separator}  {{\n");
        if let serde_json::Value::Object(fields) = row.json() {
            let lines: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("    \"{name}\": {value}"))
                .collect();
            text += &lines.join(",\n");
        }
        text + "\n  }"
    }

    fn footer(&mut self) -> String {
        "\n]\n".into()
    }
}

/// One object per line.
pub struct JsonLines;

impl Exporter for JsonLines {
    fn row(&mut self, row: &Row) -> String {
        format!("{}\n", row.json())
    }
}
