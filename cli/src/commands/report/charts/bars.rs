//! Horizontal bars: one number per name.

use super::axis::Scale;
use super::style::Style;
use super::{Anchor, Canvas, Chart, LINE, Rect, fit, text_width};

/// A bar.
#[derive(Debug, Clone)]
pub struct Bar {
    pub name: String,
    pub style: Style,
    pub value: f64,
    pub spread: Option<(f64, f64)>,
    /// Written behind it.
    pub text: String,
    /// Drawn as an outline: planned, not measured.
    pub open: bool,
}

/// Bars from 0.
#[derive(Debug)]
pub struct BarChart {
    pub description: String,
    /// Of the axis, with the unit.
    pub title: String,
    pub bars: Vec<Bar>,
}

impl Chart for BarChart {
    fn draw(&self, width: f64) -> Canvas {
        let mut canvas = Canvas::new(width, &self.description);
        canvas.text(2.0, 10.0, Anchor::Start, "title", &fit(&self.title, width - 8.0));
        let widest = |texts: &mut dyn Iterator<Item = f64>| texts.fold(0.0, f64::max);
        let names = widest(&mut self.bars.iter().map(|b| text_width(&b.name))).min(width * 0.3);
        let values = widest(&mut self.bars.iter().map(|b| text_width(&b.text)));
        let left = names + 12.0;
        let length = (width - left - values - 16.0).max(20.0);
        let high = self
            .bars
            .iter()
            .map(|bar| bar.spread.map_or(bar.value, |(_, high)| high.max(bar.value)))
            .fold(0.0, f64::max);
        let scale = Scale::Linear {
            low: 0.0,
            high: if high > 0.0 { high } else { 1.0 },
        };
        let mut y = LINE + 8.0;
        let top = y;
        for bar in &self.bars {
            let middle = y + 12.0;
            let end = scale.at(bar.value).clamp(0.0, 1.0) * length;
            let name = fit(&bar.name, names);
            canvas.text(left - 6.0, middle, Anchor::End, "label", &name);
            let class = format!("area k{}{}", bar.style.colour, if bar.open { " open" } else { "" });
            let rect = Rect {
                x: left,
                y: y + 3.0,
                width: end,
                height: 18.0,
            };
            canvas.rect(rect, &class, &format!("{}: {}", bar.name, bar.text));
            let mut reach = end;
            if let Some((low, up)) = bar.spread {
                let place = |v: f64| left + scale.at(v).clamp(0.0, 1.0) * length;
                canvas.line((place(low), middle), (place(up), middle), "over");
                for x in [place(low), place(up)] {
                    canvas.line((x, middle - 4.0), (x, middle + 4.0), "over");
                }
                reach = reach.max(place(up) - left);
            }
            canvas.text(left + reach + 8.0, middle, Anchor::Start, "label", &bar.text);
            y += 26.0;
        }
        canvas.line((left, top), (left, y), "base");
        canvas.height = y + 4.0;
        canvas
    }
}
