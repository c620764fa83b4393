//! Points with labels that keep clear of each other, of the points and of their intervals.

use super::axis::{Axis, Plot};
use super::line::Reference;
use super::style::Style;
use super::{Anchor, Canvas, Chart, Rect, Sign, fit, legend, text_width};

/// A point.
#[derive(Debug, Clone)]
pub struct Dot {
    pub x: f64,
    pub y: f64,
    pub spread: Option<(f64, f64)>,
    /// An outline instead of an area: the second way to measure the same thing.
    pub hollow: bool,
    pub title: String,
}

/// Points of one thing, joined by a thin line and labelled once.
#[derive(Debug, Clone)]
pub struct Group {
    pub name: String,
    pub style: Style,
    pub dots: Vec<Dot>,
}

/// Groups on two axes.
#[derive(Debug)]
pub struct Scatter {
    pub description: String,
    pub x: Axis,
    pub y: Axis,
    pub groups: Vec<Group>,
    /// Names of the solid and the hollow points.
    pub kinds: (String, String),
    pub levels: Vec<Reference>,
}

impl Chart for Scatter {
    fn draw(&self, width: f64) -> Canvas {
        let mut canvas = Canvas::new(width, &self.description);
        let mut kinds = Vec::new();
        let any = |hollow| self.groups.iter().any(|g| g.dots.iter().any(|d| d.hollow == hollow));
        for (hollow, name) in [(false, &self.kinds.0), (true, &self.kinds.1)] {
            if any(hollow) {
                kinds.push((name.clone(), Style::of(0), Sign::Point { hollow }));
            }
        }
        let mut top = legend(&mut canvas, 2.0, &kinds);
        for level in &self.levels {
            canvas.line((2.0, top + 8.0), (22.0, top + 8.0), "ref");
            canvas.text(28.0, top + 8.0, Anchor::Start, "note", &fit(&level.name, width - 34.0));
            top += 18.0;
        }
        let height = if width < 500.0 { 300.0 } else { 340.0 };
        let plot = Plot::frame(&mut canvas, top, height, &self.x, &self.y);
        let mut taken = Vec::new();
        for level in &self.levels {
            let y = plot.py(level.at);
            canvas.line((plot.area.x, y), (plot.area.x + plot.area.width, y), "ref");
            taken.push(around((plot.area.x, y), (plot.area.x + plot.area.width, y), 1.0));
        }
        self.dots(&mut canvas, &plot, &mut taken);
        self.names(&mut canvas, &plot, &mut taken);
        canvas
    }
}

/// The box around a line from one point to another, or around one point.
fn around(a: (f64, f64), b: (f64, f64), air: f64) -> Rect {
    Rect {
        x: a.0.min(b.0) - air,
        y: a.1.min(b.1) - air,
        width: (a.0 - b.0).abs() + 2.0 * air,
        height: (a.1 - b.1).abs() + 2.0 * air,
    }
}

impl Group {
    /// Where each point is drawn. Two ways to measure one thing often agree, so they stand beside, not on, each other.
    fn places(&self, plot: &Plot) -> Vec<(f64, f64)> {
        const ASIDE: f64 = 5.5;
        let both = self.dots.iter().any(|dot| dot.hollow) && self.dots.iter().any(|dot| !dot.hollow);
        let aside = |dot: &Dot| match (both, dot.hollow) {
            (false, _) => 0.0,
            (true, false) => -ASIDE,
            (true, true) => ASIDE,
        };
        self.dots
            .iter()
            .map(|dot| (plot.px(dot.x) + aside(dot), plot.py(dot.y)))
            .collect()
    }
}

impl Scatter {
    fn dots(&self, canvas: &mut Canvas, plot: &Plot, taken: &mut Vec<Rect>) {
        for group in &self.groups {
            for pair in group.places(plot).windows(2) {
                let (a, b) = (pair[0], pair[1]);
                canvas.line(a, b, "link");
                taken.push(around(a, b, 1.5));
            }
        }
        for group in &self.groups {
            for (dot, (x, y)) in group.dots.iter().zip(group.places(plot)) {
                if let Some((low, high)) = dot.spread {
                    let (low, high) = (plot.py(low), plot.py(high));
                    canvas.whisker(x, low, high, group.style);
                    taken.push(around((x, low), (x, high), 3.5));
                }
                taken.push(around((x, y), (x, y), 5.5));
            }
        }
        for group in &self.groups {
            for (dot, (x, y)) in group.dots.iter().zip(group.places(plot)) {
                canvas.marker(x, y, group.style, dot.hollow, &dot.title);
            }
        }
    }

    /// Each name at the nearest free place around one of its points; a thin line leads to it where that is far.
    fn names(&self, canvas: &mut Canvas, plot: &Plot, taken: &mut Vec<Rect>) {
        // who has most neighbours has least choice, so the order is by crowd
        let crowd = |group: &Group| {
            let near = |a: &Dot, b: &Dot| {
                (plot.px(a.x) - plot.px(b.x)).abs() < 70.0 && (plot.py(a.y) - plot.py(b.y)).abs() < 24.0
            };
            let others = self.groups.iter().flat_map(|other| &other.dots);
            others.filter(|dot| group.dots.iter().any(|own| near(own, dot))).count()
        };
        let mut order: Vec<&Group> = self.groups.iter().collect();
        order.sort_by_key(|group| std::cmp::Reverse(crowd(group)));
        for group in order {
            let text = fit(&group.name, plot.area.width / 2.0);
            match place(group, plot, &text, taken) {
                Some((label, dot)) => {
                    let from = (
                        dot.0.clamp(label.x, label.x + label.width),
                        dot.1.clamp(label.y, label.y + label.height),
                    );
                    if (from.0 - dot.0).hypot(from.1 - dot.1) > 14.0 {
                        canvas.line(dot, from, "link");
                    }
                    canvas.text(label.x, label.y + label.height / 2.0, Anchor::Start, "label", &text);
                    taken.push(label);
                }
                None => canvas.left_out.push(group.name.clone()),
            }
        }
    }
}

/// The first free place on growing rings around the points.
fn place(group: &Group, plot: &Plot, text: &str, taken: &[Rect]) -> Option<(Rect, (f64, f64))> {
    let width = text_width(text);
    let half = (width / 2.0, 7.0);
    for ring in 0..16 {
        let gap = 8.0 + 9.0 * f64::from(ring);
        for at in group.places(plot) {
            // right, left, above, below, then the corners
            for (dx, dy) in [
                (1.0, 0.0),
                (-1.0, 0.0),
                (0.0, -1.0),
                (0.0, 1.0),
                (1.0, -1.0),
                (1.0, 1.0),
                (-1.0, -1.0),
                (-1.0, 1.0),
            ] {
                let middle = (at.0 + dx * (gap + half.0), at.1 + dy * (gap + half.1));
                let label = Rect {
                    x: middle.0 - half.0,
                    y: middle.1 - half.1,
                    width,
                    height: 14.0,
                };
                if plot.area.holds(&label) && !taken.iter().any(|other| other.meets(&label)) {
                    return Some((label, at));
                }
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::super::axis::{Scale, Unit};
    use super::super::{NARROW, WIDE};
    use super::*;

    fn crowded() -> Scatter {
        // 18 caches on a patch of the plot, as real ones are: between 2 and 9 bits, three decades of divergence
        let groups = (0..18)
            .map(|i| {
                let x = 2.1 + 0.35 * f64::from(i % 9);
                let y = 0.3 / 4_f64.powi(i % 6);
                let dot = |y: f64, hollow| Dot {
                    x,
                    y,
                    spread: Some((y * 0.8, y * 1.25)),
                    hollow,
                    title: String::new(),
                };
                Group {
                    name: format!("turbo4/turbo{i}@7"),
                    style: Style::of(i as usize),
                    dots: vec![dot(y, false), dot(y * 1.1, true)],
                }
            })
            .collect();
        Scatter {
            description: "test".into(),
            x: Axis::new(Scale::Linear { low: 2.0, high: 9.0 }, Unit::Number, "bits per value"),
            y: Axis::new(Scale::log_around(2e-4, 0.5), Unit::Number, "KL divergence, nats"),
            groups,
            kinds: ("batched".into(), "decode".into()),
            levels: vec![],
        }
    }

    #[test]
    fn labels_of_a_crowd_do_not_cover_each_other() {
        for width in [WIDE, NARROW] {
            let canvas = crowded().draw(width);
            assert_eq!(canvas.collisions(), Vec::<String>::new());
            let placed = canvas
                .labels
                .iter()
                .filter(|(text, _)| text.starts_with("turbo4/"))
                .count();
            assert_eq!(placed + canvas.left_out.len(), 18);
            if width == WIDE {
                assert_eq!(canvas.left_out, Vec::<String>::new());
            }
        }
    }
}
