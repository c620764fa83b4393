//! Charts as SVG. Text stays text, colours are CSS variables of the page, and every label's box is known, so that tests can
//! assert that none covers another.

pub mod axis;
pub mod bars;
pub mod columns;
pub mod heatmap;
pub mod line;
pub mod scatter;
pub mod style;

use super::html::escape;
use std::fmt::Write;
use style::Style;

/// Width of a chart on a laptop, in CSS pixels; it is shown at this size, so that 12 px letters are 12 px.
pub const WIDE: f64 = 860.0;
/// Width of a chart on a phone.
pub const NARROW: f64 = 350.0;
/// Height of a line of text.
pub const LINE: f64 = 16.0;
/// Size of the letters.
const FONT: f64 = 12.0;

/// Something that can be drawn at any width.
pub trait Chart: std::fmt::Debug {
    /// Draws it.
    fn draw(&self, width: f64) -> Canvas;
}

/// A rectangle, in pixels from the upper left corner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rect {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

impl Rect {
    /// Whether they share more than an edge.
    pub fn meets(&self, other: &Self) -> bool {
        self.x < other.x + other.width
            && other.x < self.x + self.width
            && self.y < other.y + other.height
            && other.y < self.y + self.height
    }

    /// Whether `other` is inside.
    pub fn holds(&self, other: &Self) -> bool {
        other.x >= self.x
            && other.y >= self.y
            && other.x + other.width <= self.x + self.width
            && other.y + other.height <= self.y + self.height
    }
}

/// Which end of a text its position is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// Estimated width of a text. System fonts differ: this is the width in the widest common one (DejaVu Sans), so that labels
/// keep their distance in every other.
pub fn text_width(text: &str) -> f64 {
    let em = |c: char| match c {
        'i' | 'j' | 'l' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' | ' ' => 0.33,
        'f' | 'r' | 't' | '-' | '(' | ')' | '[' | ']' | '/' => 0.40,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 0.98,
        'A'..='Z' | '±' | '÷' | '<' | '>' | '=' | '+' => 0.76,
        c if c.is_ascii() => 0.64,
        // scripts with full-width letters
        _ => 1.05,
    };
    text.chars().map(em).sum::<f64>() * FONT
}

/// The text, or its beginning with an ellipsis where it is wider than `width`.
pub fn fit(text: &str, width: f64) -> String {
    if text_width(text) <= width {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        if text_width(&short) + text_width(&c.to_string()) + text_width("…") > width {
            break;
        }
        short.push(c);
    }
    short + "…"
}

/// A drawing that grows downwards.
#[derive(Debug)]
pub struct Canvas {
    pub width: f64,
    pub height: f64,
    /// What a screen reader says; the table beside the chart has the numbers.
    description: String,
    body: String,
    /// Every text with its box.
    pub labels: Vec<(String, Rect)>,
    /// Texts for which there was no place.
    pub left_out: Vec<String>,
}

impl Canvas {
    pub fn new(width: f64, description: impl Into<String>) -> Self {
        Self {
            width,
            height: 0.0,
            description: description.into(),
            body: String::new(),
            labels: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// The box of a text whose middle line is at `y`.
    pub fn text_box(x: f64, y: f64, anchor: Anchor, text: &str) -> Rect {
        let width = text_width(text);
        let x = match anchor {
            Anchor::Start => x,
            Anchor::Middle => x - width / 2.0,
            Anchor::End => x - width,
        };
        Rect {
            x,
            y: y - FONT / 2.0 - 1.0,
            width,
            height: FONT + 2.0,
        }
    }

    /// A text whose middle line is at `y`.
    pub fn text(&mut self, x: f64, y: f64, anchor: Anchor, class: &str, text: &str) {
        self.labels.push((text.to_owned(), Self::text_box(x, y, anchor, text)));
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        // 0.35 em below the middle is the base line of most fonts; dominant-baseline is not everywhere the same
        self.add(format_args!(
            r#"<text x="{x:.1}" y="{:.1}" text-anchor="{anchor}" class="{class}">{}</text>"#,
            y + 0.35 * FONT,
            escape(text)
        ));
    }

    pub fn line(&mut self, from: (f64, f64), to: (f64, f64), class: &str) {
        self.add(format_args!(
            r#"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" class="{class}"/>"#,
            from.0, from.1, to.0, to.1
        ));
    }

    /// A rectangle with a text that appears when pointed at.
    pub fn rect(&mut self, rect: Rect, class: &str, title: &str) {
        self.add(format_args!(
            r#"<rect x="{:.1}" y="{:.1}" width="{:.1}" height="{:.1}" class="{class}"><title>{}</title></rect>"#,
            rect.x,
            rect.y,
            rect.width.max(0.0),
            rect.height.max(0.0),
            escape(title)
        ));
    }

    /// A line through points.
    pub fn polyline(&mut self, points: &[(f64, f64)], style: Style) {
        let points = points.iter().fold(String::new(), |mut all, (x, y)| {
            let _ = write!(all, "{x:.1},{y:.1} ");
            all
        });
        self.add(format_args!(
            r#"<polyline points="{}" class="line k{} {}"/>"#,
            points.trim_end(),
            style.colour,
            style.dash()
        ));
    }

    /// A point of a series.
    pub fn marker(&mut self, x: f64, y: f64, style: Style, hollow: bool, title: &str) {
        self.add(format_args!(
            r#"<path transform="translate({x:.1} {y:.1})" d="{}" class="{} k{}"><title>{}</title></path>"#,
            style.marker(),
            if hollow { "hollow" } else { "solid" },
            style.colour,
            escape(title)
        ));
    }

    /// An interval from `low` to `high` at `x`.
    pub fn whisker(&mut self, x: f64, low: f64, high: f64, style: Style) {
        let class = format!("whisker k{}", style.colour);
        self.line((x, low), (x, high), &class);
        for y in [low, high] {
            self.line((x - 3.0, y), (x + 3.0, y), &class);
        }
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // writing to a string cannot fail
        let _ = writeln!(self.body, "{element}");
    }

    /// The element for a page that has [`style::CSS`].
    pub fn inline(&self, class: &str) -> String {
        format!(
            "<svg class=\"chart {class}\" viewBox=\"0 0 {:.0} {:.0}\" role=\"img\" aria-label=\"{}\">\n{}</svg>\n",
            self.width,
            self.height,
            escape(&self.description),
            self.body
        )
    }

    /// A file of its own, with colours and background.
    pub fn file(&self) -> String {
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" width=\"{w:.0}\" height=\"{h:.0}\" \
             viewBox=\"0 0 {w:.0} {h:.0}\" role=\"img\" aria-label=\"{}\">\n<style>{}{}</style>\n\
             <rect width=\"{w:.0}\" height=\"{h:.0}\" class=\"paper\"><title>{}</title></rect>\n{}</svg>\n",
            escape(&self.description),
            style::VARIABLES,
            style::CSS,
            escape(&self.description),
            self.body,
            w = self.width,
            h = self.height,
        )
    }

    /// Pairs of texts that cover each other, and texts that leave the drawing.
    #[cfg(test)]
    pub fn collisions(&self) -> Vec<String> {
        let paper = Rect {
            x: 0.0,
            y: 0.0,
            width: self.width,
            height: self.height,
        };
        let mut found = Vec::new();
        for (i, (text, rect)) in self.labels.iter().enumerate() {
            if !paper.holds(rect) {
                found.push(format!("`{text}` leaves the drawing: {rect:?}"));
            }
            for (other, there) in &self.labels[i + 1..] {
                if rect.meets(there) {
                    found.push(format!("`{text}` and `{other}`"));
                }
            }
        }
        found
    }
}

/// Names with their signs, in as many rows as they need, from `top`. Returns where the next thing may begin.
pub fn legend(canvas: &mut Canvas, top: f64, entries: &[(String, Style, Sign)]) -> f64 {
    const SIGN: f64 = 26.0;
    const GAP: f64 = 18.0;
    let (mut x, mut y) = (2.0, top + LINE / 2.0);
    for (name, style, sign) in entries {
        let name = fit(name, canvas.width - SIGN - 6.0);
        let width = SIGN + text_width(&name);
        if x > 2.0 && x + width > canvas.width - 2.0 {
            (x, y) = (2.0, y + LINE + 3.0);
        }
        match sign {
            Sign::Line => {
                canvas.polyline(&[(x, y), (x + SIGN - 6.0, y)], *style);
                canvas.marker(x + (SIGN - 6.0) / 2.0, y, *style, false, &name);
            }
            Sign::Point { hollow } => canvas.marker(x + 10.0, y, *style, *hollow, &name),
            Sign::Area(class) => {
                let rect = Rect {
                    x: x + 4.0,
                    y: y - 6.0,
                    width: 14.0,
                    height: 12.0,
                };
                canvas.rect(rect, class, &name);
            }
        }
        canvas.text(x + SIGN, y, Anchor::Start, "label", &name);
        x += width + GAP;
    }
    y + LINE / 2.0 + 4.0
}

/// What stands before a name in a legend.
#[derive(Debug, Clone)]
pub enum Sign {
    Line,
    Point {
        hollow: bool,
    },
    /// A rectangle of this class.
    Area(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_to_the_width_they_have() {
        assert_eq!(fit("turbo4", 100.0), "turbo4");
        let cut = fit("a very long name of a model", 60.0);
        assert!(cut.ends_with('…') && text_width(&cut) <= 60.0, "{cut}");
        assert_eq!(fit("abc", 0.0), "…");
    }

    #[test]
    fn texts_on_top_of_each_other_are_found() {
        let mut canvas = Canvas::new(100.0, "test");
        canvas.height = 50.0;
        canvas.text(10.0, 10.0, Anchor::Start, "label", "one");
        canvas.text(12.0, 14.0, Anchor::Start, "label", "two");
        canvas.text(98.0, 40.0, Anchor::Start, "label", "out");
        assert_eq!(canvas.collisions().len(), 2, "{:?}", canvas.collisions());
    }

    #[test]
    fn texts_from_records_cannot_leave_their_element() {
        let mut canvas = Canvas::new(100.0, "\"><script>");
        canvas.text(10.0, 10.0, Anchor::Start, "label", "</text><script>alert(1)</script>");
        canvas.marker(1.0, 1.0, Style::of(0), false, "</title><img src=x>");
        for svg in [canvas.inline("wide"), canvas.file()] {
            assert!(!svg.contains("<script") && !svg.contains("<img"), "{svg}");
            roxmltree::Document::parse(&svg).unwrap();
        }
    }
}
