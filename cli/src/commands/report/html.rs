//! HTML from parts in which everything that came from a file is escaped.

use std::fmt::Write;

/// The text with what has a meaning in HTML and XML written as entities; control characters, which XML forbids, as �.
pub fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.push('\u{fffd}'),
            // they would turn around what stands behind them on the page
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// What a badge means; its text says so too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    Good,
    Bad,
    Warn,
    None,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Warn => "warn",
            Self::None => "none",
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Bad => "✗",
            Self::Warn => "!",
            Self::None => "–",
        }
    }
}

/// A coloured word with a sign before it.
pub fn badge(tone: Tone, text: &str) -> String {
    format!(
        "<span class=\"badge {}\"><span aria-hidden=\"true\">{}</span> {}</span>",
        tone.class(),
        tone.sign(),
        escape(text)
    )
}

/// One field of a table.
#[derive(Debug, Clone)]
pub enum Cell {
    Text(String),
    /// To the right, digits of one width.
    Number(String),
    Badge(Tone, String),
    /// No such number.
    Missing,
}

impl Cell {
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A number, or nothing.
    pub fn number(value: Option<f64>, show: impl Fn(f64) -> String) -> Self {
        value.map_or(Self::Missing, |value| Self::Number(show(value)))
    }
}

/// Characters in a field beyond which it may take several lines.
const LONG: usize = 32;

/// A table; columns that no row has anything for are left out.
#[derive(Debug)]
pub struct Table {
    caption: String,
    columns: Vec<(String, Vec<Cell>)>,
}

impl Table {
    pub fn new(caption: impl Into<String>) -> Self {
        Self {
            caption: caption.into(),
            columns: Vec::new(),
        }
    }

    /// Adds a column with a field for each row.
    pub fn column(mut self, name: impl Into<String>, cells: impl IntoIterator<Item = Cell>) -> Self {
        self.columns.push((name.into(), cells.into_iter().collect()));
        self
    }

    pub fn html(&self) -> String {
        let columns: Vec<_> = self
            .columns
            .iter()
            .filter(|(_, cells)| cells.iter().any(|cell| !matches!(cell, Cell::Missing)))
            .collect();
        let rows = columns.iter().map(|(_, cells)| cells.len()).max().unwrap_or(0);
        // a region that scrolls must be reachable with the keyboard
        let mut html = format!(
            "<div class=\"table\"><p class=\"caption\">{caption}</p>\n\
             <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\"><table aria-label=\"{caption}\">\n<thead><tr>",
            caption = escape(&self.caption)
        );
        for (name, cells) in &columns {
            let class = if cells.iter().any(|cell| matches!(cell, Cell::Number(_))) {
                " class=\"n\""
            } else {
                ""
            };
            let _ = write!(html, "<th scope=\"col\"{class}>{}</th>", escape(name));
        }
        html.push_str("</tr></thead>\n<tbody>");
        for row in 0..rows {
            html.push_str("<tr>");
            for (i, (_, cells)) in columns.iter().enumerate() {
                let numeric = cells.iter().any(|cell| matches!(cell, Cell::Number(_)));
                let cell = match cells.get(row).unwrap_or(&Cell::Missing) {
                    // what is long may break, or one note would make the whole table scroll
                    Cell::Text(text) if text.chars().count() > LONG => {
                        let tag = if i == 0 {
                            ("th scope=\"row\"", "th")
                        } else {
                            ("td", "td")
                        };
                        format!("<{} class=\"long\">{}</{}>", tag.0, escape(text), tag.1)
                    }
                    Cell::Text(text) if i == 0 => format!("<th scope=\"row\">{}</th>", escape(text)),
                    Cell::Text(text) => format!("<td>{}</td>", escape(text)),
                    Cell::Number(text) => format!("<td class=\"n\">{}</td>", escape(text)),
                    Cell::Badge(tone, text) => format!("<td>{}</td>", badge(*tone, text)),
                    Cell::Missing => format!("<td class=\"none{}\">–</td>", if numeric { " n" } else { "" }),
                };
                html.push_str(&cell);
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody></table></div></div>\n");
        html
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_from_a_file_is_only_text() {
        let hostile = "<script>alert('x')</script>\" onload=\"y\u{0}\u{202e}";
        let table = Table::new(hostile)
            .column(hostile, [Cell::text(hostile)])
            .column("b", [Cell::Badge(Tone::Good, hostile.into())])
            .column("n", [Cell::Number(hostile.into())])
            .html();
        assert!(!table.contains("<script") && !table.contains("\" onload"), "{table}");
        assert!(!table.contains('\u{0}') && !table.contains('\u{202e}'));
        roxmltree::Document::parse(&table).unwrap();
    }

    #[test]
    fn a_column_without_numbers_is_left_out() {
        let html = Table::new("t")
            .column("cache", [Cell::text("f16"), Cell::text("turbo4")])
            .column("ttft", [Cell::Missing, Cell::Missing])
            .column("speed", [Cell::Missing, Cell::Number("5".into())])
            .html();
        assert!(
            !html.contains("ttft") && html.contains("speed") && html.contains("–"),
            "{html}"
        );
    }
}
