//! Scales, round ticks, and the frame around a plot.

use super::{Anchor, Canvas, LINE, Rect, fit, text_width};

/// What numbers on an axis are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Written as they are.
    Number,
    /// 4096 is 4K.
    Tokens,
    /// KiB, MiB, GiB.
    Bytes,
    /// Counted things: no tick between two of them.
    Count,
}

impl Unit {
    /// The number with its unit's prefix.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Number => number(value),
            Self::Count => format!("{value:.0}"),
            Self::Tokens => tokens(value),
            Self::Bytes => bytes(value),
        }
    }
}

/// Where a value is between the ends of an axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scale {
    Linear {
        low: f64,
        high: f64,
    },
    /// Both ends above 0.
    Log {
        low: f64,
        high: f64,
    },
    /// From 0: even up to `unit`, then more and more like a logarithm. For depths, where 0 is the most important value.
    FromZero {
        unit: f64,
        high: f64,
    },
}

impl Scale {
    /// 0 at the low end, 1 at the high end.
    pub fn at(self, value: f64) -> f64 {
        match self {
            Self::Linear { low, high } => (value - low) / (high - low),
            Self::Log { low, high } => (value / low).ln() / (high / low).ln(),
            Self::FromZero { unit, high } => (value / unit).ln_1p() / (high / unit).ln_1p(),
        }
    }

    /// From 0 to a round number at or above `high`; never empty.
    pub fn from_zero(high: f64, unit: Unit) -> Self {
        let high = if high > 0.0 { high } else { 1.0 };
        let step = step(high, 5, unit);
        Self::Linear {
            low: 0.0,
            high: (high / step * 0.9999).ceil().max(1.0) * step,
        }
    }

    /// Around values that are all above 0, with some air.
    pub fn log_around(low: f64, high: f64) -> Self {
        let (low, high) = (low * 0.72, high * 1.4);
        Self::Log {
            low,
            high: high.max(low * 4.0),
        }
    }

    /// Where to write numbers.
    pub fn ticks(self, unit: Unit) -> Vec<f64> {
        match self {
            Self::Linear { low, high } => {
                let step = step(high - low, 5, unit);
                let first = (low / step - 1e-6).ceil();
                (0..=24)
                    .map(|i| (first + f64::from(i)) * step)
                    .take_while(|tick| *tick <= high + step * 1e-6)
                    .collect()
            }
            Self::Log { low, high } => {
                let decades = (high / low).log10();
                let factors: &[f64] = if decades > 2.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
                // beyond nine decades every other one is enough
                let every = (decades / 9.0).ceil().max(1.0) as i32;
                (low.log10().floor() as i32..=high.log10().ceil() as i32)
                    .filter(|power| power.rem_euclid(every) == 0)
                    .flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power)))
                    .filter(|tick| (low..=high).contains(tick))
                    .collect()
            }
            Self::FromZero { unit, high } => {
                let doublings = (high / unit).log2().ceil().clamp(0.0, 40.0) as i32;
                let mut ticks = vec![0.0];
                ticks.extend(
                    (0..=doublings)
                        .map(|n| unit * 2_f64.powi(n))
                        .filter(|tick| *tick <= high),
                );
                ticks
            }
        }
    }
}

/// A round step that cuts `range` into about `parts`.
fn step(range: f64, parts: u32, unit: Unit) -> f64 {
    let rough = range / f64::from(parts);
    if matches!(unit, Unit::Tokens | Unit::Bytes) && rough >= 1.0 {
        return 2_f64.powf(rough.log2().ceil());
    }
    let power = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0]
        .into_iter()
        .find(|factor| rough <= factor * power * 1.0001)
        .unwrap_or(10.0);
    if unit == Unit::Count {
        (factor * power).max(1.0)
    } else {
        factor * power
    }
}

/// A number with about four digits that count.
pub fn number(value: f64) -> String {
    digits(value, 4)
}

/// A number with about three: the fourth of a divergence is noise.
pub fn nats(value: f64) -> String {
    digits(value, 3)
}

fn digits(value: f64, count: i32) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".into();
    }
    if !(1e-4..1e9).contains(&size) {
        let text = format!("{value:.2e}");
        let (digits, power) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{power}", trim(digits));
    }
    // digits behind the point so that four count
    let digits = (count - 1 - size.log10().floor() as i32).clamp(0, 8) as usize;
    let text = format!("{value:.digits$}");
    group(trim(&text))
}

fn trim(text: &str) -> &str {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        text
    }
}

/// A whole number, thousands apart from five digits on.
pub fn grouped(value: f64) -> String {
    group(&format!("{value:.0}"))
}

/// Thousands apart, from five digits on.
fn group(text: &str) -> String {
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (whole, part) = text.split_once('.').map_or((text, ""), |(w, p)| (w, p));
    if whole.len() < 5 {
        return format!("{sign}{text}");
    }
    let mut grouped = String::from(sign);
    for (i, c) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(c);
    }
    if !part.is_empty() {
        grouped.push('.');
        grouped.push_str(part);
    }
    grouped
}

/// 4096 is 4K, 1000 is 1000.
pub fn tokens(value: f64) -> String {
    const K: f64 = 1024.0;
    if value >= K * K && (value / (K * K)).fract() == 0.0 {
        format!("{}M", value / (K * K))
    } else if value >= K && (value / K).fract() == 0.0 {
        format!("{}K", group(&format!("{:.0}", value / K)))
    } else {
        grouped(value)
    }
}

/// With the largest prefix that leaves at least 1.
pub fn bytes(value: f64) -> String {
    let mut value = value;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value.abs() < 1024.0 {
            return format!("{} {unit}", trim(&format!("{value:.1}")));
        }
        value /= 1024.0;
    }
    format!("{} TiB", trim(&format!("{value:.1}")))
}

/// An axis: its scale, what its numbers are, and its title with the unit.
#[derive(Debug, Clone)]
pub struct Axis {
    pub scale: Scale,
    pub unit: Unit,
    pub title: String,
    /// Ticks at these values instead of round ones.
    pub ticks: Option<Vec<f64>>,
}

impl Axis {
    pub fn new(scale: Scale, unit: Unit, title: impl Into<String>) -> Self {
        Self {
            scale,
            unit,
            title: title.into(),
            ticks: None,
        }
    }

    fn marks(&self) -> Vec<f64> {
        self.ticks.clone().unwrap_or_else(|| self.scale.ticks(self.unit))
    }
}

/// The area inside the axes.
#[derive(Debug)]
pub struct Plot {
    pub area: Rect,
    x: Scale,
    y: Scale,
}

impl Plot {
    /// Draws both axes; the plot's top is below `top`, its height is `height`. The canvas ends below the axis title.
    pub fn frame(canvas: &mut Canvas, top: f64, height: f64, x: &Axis, y: &Axis) -> Self {
        let y_labels: Vec<(f64, String)> = y.marks().into_iter().map(|v| (v, y.unit.show(v))).collect();
        let left = 10.0 + y_labels.iter().map(|(_, text)| text_width(text)).fold(16.0, f64::max);
        let top = top + LINE + 12.0;
        let area = Rect {
            x: left,
            y: top + 4.0,
            width: canvas.width - left - 18.0,
            height,
        };
        let plot = Self {
            area,
            x: x.scale,
            y: y.scale,
        };
        canvas.text(
            2.0,
            top - LINE / 2.0 - 8.0,
            Anchor::Start,
            "title",
            &fit(&y.title, canvas.width - 8.0),
        );
        let mut last = f64::INFINITY;
        for (value, text) in y_labels {
            let at = plot.py(value);
            // a label needs its own line
            if last - at < LINE || !(area.y - 1.0..=area.y + height + 1.0).contains(&at) {
                continue;
            }
            last = at;
            canvas.line((area.x, at), (area.x + area.width, at), "grid");
            canvas.text(area.x - 6.0, at, Anchor::End, "tick", &text);
        }
        let floor = area.y + height;
        canvas.line((area.x, floor), (area.x + area.width, floor), "base");
        plot.x_ticks(canvas, x, floor);
        canvas.text(
            area.x + area.width,
            floor + 8.0 + LINE * 1.75,
            Anchor::End,
            "title",
            &fit(&x.title, area.x + area.width - 4.0),
        );
        canvas.height = floor + 8.0 + LINE * 2.5;
        plot
    }

    /// As many ticks as have room; the last one is the end of the measured range and always written.
    fn x_ticks(&self, canvas: &mut Canvas, x: &Axis, floor: f64) {
        let y = floor + 6.0 + LINE / 2.0;
        let place = |value: f64| {
            let text = x.unit.show(value);
            let half = text_width(&text) / 2.0;
            let at = self.px(value);
            // a wide label at the edge moves inwards
            (at, at.clamp(half + 1.0, canvas.width - half - 1.0), text)
        };
        let mut marks: Vec<_> = x.marks().into_iter().map(place).collect();
        let mut kept: Vec<(f64, f64, String)> = Vec::new();
        let room = |a: &(f64, f64, String), b: &(f64, f64, String)| {
            b.1 - a.1 >= (text_width(&a.2) + text_width(&b.2)) / 2.0 + 8.0
        };
        // counted things are an even row: every second, third, ... of them, not as many as happen to fit
        if x.unit == Unit::Count {
            let every = (1..marks.len().max(1))
                .find(|every| marks.iter().step_by(*every).is_sorted_by(|a, b| room(a, b)))
                .unwrap_or(1);
            marks = marks.into_iter().step_by(every).collect();
        }
        let last = marks.last().cloned();
        for mark in marks {
            let before = kept.last().is_none_or(|k| room(k, &mark));
            let behind = last.as_ref().is_none_or(|l| *l == mark || room(&mark, l));
            if before && behind {
                kept.push(mark);
            }
        }
        for (at, middle, text) in kept {
            canvas.line((at, floor), (at, floor + 4.0), "base");
            canvas.text(middle, y, Anchor::Middle, "tick", &text);
        }
    }

    /// Pixel of a value of the horizontal axis.
    pub fn px(&self, value: f64) -> f64 {
        self.area.x + self.x.at(value).clamp(-0.01, 1.01) * self.area.width
    }

    /// Pixel of a value of the vertical axis; what is off the scale is at its edge.
    pub fn py(&self, value: f64) -> f64 {
        let share = self.y.at(value);
        // the logarithm of 0 or less is below everything
        let share = if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) };
        self.area.y + (1.0 - share) * self.area.height
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_inside() {
        let scale = Scale::from_zero(437.0, Unit::Number);
        assert_eq!(scale.ticks(Unit::Number), [0.0, 100.0, 200.0, 300.0, 400.0, 500.0]);
        let gib = 1024.0 * 1024.0 * 1024.0;
        let ticks = Scale::from_zero(5.1 * gib, Unit::Bytes).ticks(Unit::Bytes);
        assert!(ticks.iter().all(|tick| (tick / gib).fract() == 0.0), "{ticks:?}");
        let log = Scale::Log { low: 3e-5, high: 0.4 };
        assert_eq!(log.ticks(Unit::Number).len(), 4);
        assert_eq!(
            Scale::from_zero(3.0, Unit::Count).ticks(Unit::Count),
            [0.0, 1.0, 2.0, 3.0]
        );
        let depths = Scale::FromZero {
            unit: 1024.0,
            high: 4096.0,
        };
        assert_eq!(depths.ticks(Unit::Tokens), [0.0, 1024.0, 2048.0, 4096.0]);
        assert_eq!((depths.at(0.0), depths.at(4096.0)), (0.0, 1.0));
    }

    #[test]
    fn scales_of_nothing_are_still_scales() {
        for scale in [Scale::from_zero(0.0, Unit::Number), Scale::log_around(0.5, 0.5)] {
            assert!(
                scale.at(0.5).is_finite() && !scale.ticks(Unit::Number).is_empty(),
                "{scale:?}"
            );
        }
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.000_012_34, "1.23e-5"),
            (0.001_2, "0.0012"),
            (0.5, "0.5"),
            (12.3456, "12.35"),
            (1234.5, "1234"),
            (-12345.6, "-12,346"),
            (100_000.0, "100,000"),
            (2e10, "2e10"),
        ] {
            assert_eq!(number(value), text);
        }
        assert_eq!(bytes(1536.0), "1.5 KiB");
        assert_eq!(bytes(5.0 * 1024.0 * 1024.0 * 1024.0), "5 GiB");
        assert_eq!((tokens(131_072.0), tokens(1000.0)), ("128K".into(), "1000".into()));
    }
}
