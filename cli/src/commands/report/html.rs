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
    notes: Vec<Option<String>>,
}

impl Table {
    pub fn new(caption: impl Into<String>) -> Self {
        Self {
            caption: caption.into(),
            columns: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a column with a field for each row.
    pub fn column(mut self, name: impl Into<String>, cells: impl IntoIterator<Item = Cell>) -> Self {
        self.columns.push((name.into(), cells.into_iter().collect()));
        self
    }

    /// Adds a sentence below each row, as wide as the table: a column of them would make it scroll. On a phone the rows of
    /// such a table become cards.
    pub fn notes(mut self, notes: impl IntoIterator<Item = Option<String>>) -> Self {
        self.notes = notes.into_iter().collect();
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
            "<div class=\"bleed\"><div class=\"table\"><p class=\"caption\">{caption}</p>\n\
             <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\">\
             <table aria-label=\"{caption}\"{cards}>\n<thead><tr>",
            caption = escape(&self.caption),
            cards = if self.notes.is_empty() { "" } else { " class=\"cards\"" }
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
            let note = self.notes.get(row).and_then(Option::as_ref);
            html.push_str(if note.is_some() { "<tr class=\"noted\">" } else { "<tr>" });
            for (i, (name, cells)) in columns.iter().enumerate() {
                let numeric = cells.iter().any(|cell| matches!(cell, Cell::Number(_)));
                html.push_str(&field(i == 0, name, numeric, cells.get(row).unwrap_or(&Cell::Missing)));
            }
            html.push_str("</tr>\n");
            if let Some(note) = note {
                let _ = writeln!(
                    html,
                    "<tr class=\"note\"><td colspan=\"{}\"><p>{}</p></td></tr>",
                    columns.len(),
                    escape(note)
                );
            }
        }
        html.push_str("</tbody></table></div></div></div>\n");
        html
    }
}

/// One field; where rows are cards it says what it is.
fn field(first: bool, name: &str, numeric: bool, cell: &Cell) -> String {
    let (tag, attributes) = if first {
        ("th", " scope=\"row\"".to_owned())
    } else {
        ("td", format!(" data-label=\"{}\"", escape(name)))
    };
    let (class, content) = match cell {
        // what is long may break, or one field would make the whole table scroll
        Cell::Text(text) if text.chars().count() > LONG => ("long", escape(text)),
        Cell::Text(text) => ("", escape(text)),
        Cell::Number(text) => ("n", number(text)),
        Cell::Badge(tone, text) => ("", badge(*tone, text)),
        Cell::Missing => (if numeric { "none n" } else { "none" }, "–".into()),
    };
    let class = if class.is_empty() {
        String::new()
    } else {
        format!(" class=\"{class}\"")
    };
    format!("<{tag}{attributes}{class}>{content}</{tag}>")
}

/// A number whose interval may stand below it where there is no room beside it.
fn number(text: &str) -> String {
    match text.split_once(" (") {
        Some((estimate, interval)) => format!(
            "<span>{}</span> <span class=\"interval\">({}</span>",
            escape(estimate),
            escape(interval)
        ),
        None => format!("<span>{}</span>", escape(text)),
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
    fn a_note_is_a_row_of_its_own_below_the_row_it_belongs_to() {
        let hostile = "<script>\" onload=\"";
        let html = Table::new("t")
            .column("cache", [Cell::text("f16"), Cell::text("turbo4")])
            .column("empty", [Cell::Missing, Cell::Missing])
            .column("speed", [Cell::Number("5 (4 to 6)".into()), Cell::Number("6".into())])
            .notes([None, Some(hostile.into())])
            .html();
        let document = roxmltree::Document::parse(&html).unwrap();
        let rows: Vec<_> = document.descendants().filter(|node| node.has_tag_name("tr")).collect();
        assert_eq!(rows.len(), 4, "head, two rows, one note: {html}");
        let note = rows[3].first_element_child().unwrap();
        assert_eq!(
            note.attribute("colspan"),
            Some("2"),
            "columns that are left out do not count"
        );
        assert_eq!(note.first_element_child().unwrap().text(), Some(hostile));
        assert!(
            html.contains("data-label=\"speed\"") && html.contains("class=\"cards\""),
            "{html}"
        );
        assert!(
            html.contains("<span>5</span> <span class=\"interval\">(4 to 6)</span>"),
            "{html}"
        );
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
