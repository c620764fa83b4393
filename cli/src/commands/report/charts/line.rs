//! Lines over a numeric axis, with whiskers.

use super::axis::{Axis, Plot};
use super::style::Style;
use super::{Anchor, Canvas, Chart, Sign, legend};

/// A measured point with its spread.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
    /// Lower and upper end.
    pub spread: Option<(f64, f64)>,
    /// Computed, not measured: the line goes there, but has no sign.
    pub computed: bool,
}

/// A line.
#[derive(Debug, Clone)]
pub struct Series {
    pub name: String,
    pub style: Style,
    pub points: Vec<Point>,
}

/// A line that is no measurement: a limit, or the baseline.
#[derive(Debug, Clone)]
pub struct Reference {
    pub at: f64,
    pub name: String,
}

/// Lines, their axes, and what they are compared with.
#[derive(Debug)]
pub struct LineChart {
    pub description: String,
    pub x: Axis,
    pub y: Axis,
    pub series: Vec<Series>,
    /// Across the plot, from left to right.
    pub levels: Vec<Reference>,
    /// Across the plot, from top to bottom.
    pub moments: Vec<Reference>,
    /// Above this many points a line has no signs.
    pub signs_up_to: usize,
}

impl Chart for LineChart {
    fn draw(&self, width: f64) -> Canvas {
        let mut canvas = Canvas::new(width, &self.description);
        let entries: Vec<_> = self
            .series
            .iter()
            .map(|series| (series.name.clone(), series.style, Sign::Line))
            .collect();
        let top = legend(&mut canvas, 2.0, &entries);
        // a row for the names of what stands in the plot, so that they never lie on a line
        let top = self.reference_names(&mut canvas, top);
        let height = if width < 500.0 { 210.0 } else { 280.0 };
        let plot = Plot::frame(&mut canvas, top, height, &self.x, &self.y);
        let area = plot.area;
        for level in &self.levels {
            let y = plot.py(level.at);
            canvas.line((area.x, y), (area.x + area.width, y), "ref");
        }
        for moment in &self.moments {
            let x = plot.px(moment.at);
            canvas.line((x, area.y), (x, area.y + area.height), "ref");
        }
        for series in &self.series {
            let places: Vec<_> = series.points.iter().map(|p| (plot.px(p.x), plot.py(p.y))).collect();
            canvas.polyline(&places, series.style);
            for point in &series.points {
                if let Some((low, high)) = point.spread {
                    canvas.whisker(plot.px(point.x), plot.py(low), plot.py(high), series.style);
                }
            }
            if series.points.len() <= self.signs_up_to {
                let measured = series.points.iter().zip(places).filter(|(point, _)| !point.computed);
                for (point, (x, y)) in measured {
                    let title = format!(
                        "{}: {} at {}",
                        series.name,
                        self.y.unit.show(point.y),
                        self.x.unit.show(point.x)
                    );
                    canvas.marker(x, y, series.style, false, &title);
                }
            }
        }
        canvas
    }
}

impl LineChart {
    fn reference_names(&self, canvas: &mut Canvas, top: f64) -> f64 {
        let mut y = top;
        for reference in self.levels.iter().chain(&self.moments) {
            canvas.line((2.0, y + 8.0), (22.0, y + 8.0), "ref");
            let name = super::fit(&reference.name, canvas.width - 34.0);
            canvas.text(28.0, y + 8.0, Anchor::Start, "note", &name);
            y += 18.0;
        }
        y
    }
}

#[cfg(test)]
mod tests {
    use super::super::axis::{Scale, Unit};
    use super::super::{NARROW, WIDE};
    use super::*;

    #[test]
    fn many_series_with_long_names_keep_their_distance() {
        let series = (0..12)
            .map(|i| Series {
                name: format!("q8_0/turbo4@{i} n_threads 16, n_batch 2048"),
                style: Style::of(i),
                points: (0..9)
                    .map(|n| Point {
                        x: f64::from(n) * 16384.0,
                        y: 1e5 / f64::from(n + 1),
                        spread: Some((0.0, 2e5)),
                        computed: false,
                    })
                    .collect(),
            })
            .collect();
        let chart = LineChart {
            description: "test".into(),
            x: Axis::new(
                Scale::FromZero {
                    unit: 16384.0,
                    high: 131_072.0,
                },
                Unit::Tokens,
                "depth, tokens",
            ),
            y: Axis::new(Scale::from_zero(2e5, Unit::Number), Unit::Number, "tokens per second"),
            series,
            levels: vec![Reference {
                at: 9e4,
                name: "a limit with a name that is longer than a phone is wide, and then some".into(),
            }],
            moments: vec![],
            signs_up_to: 20,
        };
        for width in [NARROW, WIDE] {
            let canvas = chart.draw(width);
            assert_eq!(canvas.collisions(), Vec::<String>::new());
            assert!(!canvas.inline("").contains("NaN"));
        }
    }
}
