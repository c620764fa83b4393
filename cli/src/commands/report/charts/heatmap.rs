//! Found or not, by depth and length: one panel per cache, the percentage written in each cell.

use super::axis::tokens;
use super::style::Style;
use super::{Anchor, Canvas, Chart, LINE, Rect, Sign, fit, legend, text_width};

/// One cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cell {
    pub n_ctx: f64,
    /// 0: start, 1: end of the text.
    pub depth: f64,
    pub trials: u64,
    pub found: u64,
}

/// The cells of one cache.
#[derive(Debug, Clone)]
pub struct Panel {
    pub name: String,
    pub cells: Vec<Cell>,
}

/// Panels with the same rows and columns.
#[derive(Debug)]
pub struct HeatMap {
    pub description: String,
    pub lengths: Vec<f64>,
    pub depths: Vec<f64>,
    pub panels: Vec<Panel>,
}

const CLASSES: [(f64, &str); 5] = [
    (0.5, "below 50 %"),
    (0.8, "50 to 79 %"),
    (0.95, "80 to 94 %"),
    (1.0, "95 to 99 %"),
    (f64::INFINITY, "100 %"),
];

/// The class of a share: text and colour say the same.
fn class(share: f64) -> usize {
    CLASSES
        .iter()
        .position(|(below, _)| share < *below)
        .unwrap_or(CLASSES.len() - 1)
}

/// 99.6 is not 100: only all of them are.
fn percent(cell: &Cell) -> String {
    let share = 100.0 * cell.found as f64 / cell.trials as f64;
    let rounded = if cell.found < cell.trials {
        share.min(99.0)
    } else {
        share
    };
    format!("{rounded:.0}")
}

impl Chart for HeatMap {
    fn draw(&self, width: f64) -> Canvas {
        const ROW: f64 = 24.0;
        const GAP: f64 = 26.0;
        let mut canvas = Canvas::new(width, &self.description);
        let entries: Vec<_> = CLASSES
            .iter()
            .enumerate()
            .map(|(i, (_, name))| ((*name).to_owned(), Style::of(0), Sign::Area(format!("h{i}"))))
            .collect();
        let mut top = legend(&mut canvas, 2.0, &entries) + 6.0;
        let left = text_width("100 %") + 9.0;
        let columns = self.lengths.len().max(1) as f64;
        // a cell holds "100"; wider where there is room, but not so wide that the panel no longer looks like a map
        let smallest = text_width("100") + 4.0;
        let most = ((width + GAP) / (left + columns * smallest.max(36.0) + GAP))
            .floor()
            .max(1.0);
        let across = most.min(self.panels.len().max(1) as f64).min(4.0);
        let cell = ((width - (across - 1.0) * GAP) / across - left - 2.0) / columns;
        let cell = cell.min(64.0);
        let panel_width = left + columns * cell;
        let panel_height = LINE * 2.0 + 4.0 + ROW * self.depths.len() as f64 + LINE * 2.0 + 12.0;
        for (i, panel) in self.panels.iter().enumerate() {
            let column = i % across as usize;
            if i > 0 && column == 0 {
                top += panel_height + 8.0;
            }
            let x = column as f64 * (panel_width + GAP);
            self.panel(&mut canvas, panel, (x, top), (left, cell, ROW));
        }
        canvas.height = top + panel_height;
        canvas
    }
}

impl HeatMap {
    fn panel(&self, canvas: &mut Canvas, panel: &Panel, at: (f64, f64), (left, cell, row): (f64, f64, f64)) {
        let wide = left + cell * self.lengths.len() as f64;
        canvas.text(
            at.0 + 2.0,
            at.1 + 8.0,
            Anchor::Start,
            "title",
            &fit(&panel.name, wide - 4.0),
        );
        canvas.text(at.0 + 2.0, at.1 + 8.0 + LINE, Anchor::Start, "tick", "depth");
        let body = at.1 + LINE * 2.0 + 4.0;
        for (r, depth) in self.depths.iter().enumerate() {
            let y = body + r as f64 * row;
            let name = format!("{:.0} %", 100.0 * depth);
            canvas.text(at.0 + left - 6.0, y + row / 2.0, Anchor::End, "tick", &name);
            for (c, n_ctx) in self.lengths.iter().enumerate() {
                let rect = Rect {
                    x: at.0 + left + c as f64 * cell,
                    y,
                    width: cell - 1.5,
                    height: row - 1.5,
                };
                let found = panel
                    .cells
                    .iter()
                    .find(|it| it.n_ctx == *n_ctx && it.depth == *depth && it.trials > 0);
                let middle = (rect.x + rect.width / 2.0, y + row / 2.0 - 0.75);
                let place = format!("{}, {} tokens, depth {name}", panel.name, tokens(*n_ctx));
                match found {
                    Some(it) => {
                        let class = class(it.found as f64 / it.trials as f64);
                        canvas.rect(
                            rect,
                            &format!("h{class}"),
                            &format!("{place}: {} of {} found", it.found, it.trials),
                        );
                        let on = if class == 4 { "on4" } else { "on" };
                        canvas.text(middle.0, middle.1, Anchor::Middle, on, &percent(it));
                    }
                    None => {
                        canvas.rect(rect, "hn", &format!("{place}: not run"));
                        canvas.text(middle.0, middle.1, Anchor::Middle, "tick", "–");
                    }
                }
            }
        }
        let y = body + row * self.depths.len() as f64 + LINE / 2.0 + 2.0;
        let mut end = f64::NEG_INFINITY;
        for (c, n_ctx) in self.lengths.iter().enumerate() {
            let text = tokens(*n_ctx);
            let x = at.0 + left + (c as f64 + 0.5) * cell;
            let place = Canvas::text_box(x, y, Anchor::Middle, &text);
            if place.x > end + 4.0 && place.x + place.width <= at.0 + wide + 12.0 {
                end = place.x + place.width;
                canvas.text(x, y, Anchor::Middle, "tick", &text);
            }
        }
        canvas.text(at.0 + wide, y + LINE, Anchor::End, "tick", "length, tokens");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_all_is_not_all() {
        let cell = |found| Cell {
            n_ctx: 1.0,
            depth: 0.0,
            trials: 1000,
            found,
        };
        assert_eq!((percent(&cell(999)), percent(&cell(1000))), ("99".into(), "100".into()));
        assert_eq!((class(0.999), class(1.0), class(0.0)), (3, 4, 0));
    }
}
