//! Vertical bars in pairs: one group per layer, K and V side by side.

use super::axis::{Axis, Plot};
use super::style::Style;
use super::{Canvas, Chart, Rect, Sign, legend};

/// One bar.
#[derive(Debug, Clone)]
pub struct Column {
    /// Where its group is on the horizontal axis.
    pub group: f64,
    /// Which series of the group.
    pub series: usize,
    pub value: f64,
    pub spread: Option<(f64, f64)>,
    pub title: String,
}

/// Groups of bars; the horizontal scale must run from half a group before the first to half a group behind the last.
#[derive(Debug)]
pub struct ColumnChart {
    pub description: String,
    pub x: Axis,
    pub y: Axis,
    /// Names of the bars of a group.
    pub series: Vec<(String, Style)>,
    pub groups: usize,
    pub columns: Vec<Column>,
}

impl Chart for ColumnChart {
    fn draw(&self, width: f64) -> Canvas {
        let mut canvas = Canvas::new(width, &self.description);
        let entries: Vec<_> = self
            .series
            .iter()
            .map(|(name, style)| (name.clone(), *style, Sign::Area(format!("area k{}", style.colour))))
            .collect();
        let top = legend(&mut canvas, 2.0, &entries);
        let height = if width < 500.0 { 200.0 } else { 260.0 };
        let plot = Plot::frame(&mut canvas, top, height, &self.x, &self.y);
        let group = plot.area.width / self.groups.max(1) as f64;
        let bar = (group * 0.8 / self.series.len().max(1) as f64).min(28.0);
        let floor = plot.area.y + plot.area.height;
        for column in &self.columns {
            let Some((_, style)) = self.series.get(column.series) else {
                continue;
            };
            let left = plot.px(column.group) + bar * (column.series as f64 - self.series.len() as f64 / 2.0);
            let y = plot.py(column.value);
            let rect = Rect {
                x: left,
                y,
                width: (bar - 1.0).max(1.0),
                height: floor - y,
            };
            canvas.rect(rect, &format!("area k{}", style.colour), &column.title);
            // below 4 px an interval would hide its bar
            if let Some((low, high)) = column.spread.filter(|_| bar >= 4.0) {
                let x = left + (bar - 1.0) / 2.0;
                canvas.line((x, plot.py(low)), (x, plot.py(high)), "over");
            }
        }
        canvas
    }
}
