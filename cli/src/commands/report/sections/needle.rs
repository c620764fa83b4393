//! Facts found in long texts.

use super::{Block, Maker, Section, cache, distinct, heading};
use crate::commands::report::charts::axis::tokens;
use crate::commands::report::charts::heatmap::{Cell as MapCell, HeatMap, Panel};
use crate::commands::report::html::{Cell, Table};
use crate::commands::report::read::{Results, Source};
use crate::commands::report::records::Needle;

pub fn section(sources: &[Source], maker: &mut Maker) -> Option<Section> {
    let mut blocks = Vec::new();
    for source in sources {
        if let Results::Needle(needle) = &source.results {
            blocks.push(heading(source));
            add(needle, maker, &mut blocks);
        }
    }
    (!blocks.is_empty()).then_some(Section {
        id: "needle",
        title: "Needle in a haystack".into(),
        how: "A fact is hidden in a long text and asked for at its end. Each cell is the percentage of trials in which the answer \
              was exactly right, by length of the text and by depth: 0 % is its beginning, 100 % its end. Compare with the f16 \
              panel: what f16 does not find either is the model's limit, not the cache's.",
        blocks,
    })
}

fn add(needle: &Needle, maker: &mut Maker, blocks: &mut Vec<Block>) {
    let mut panels: Vec<Panel> = Vec::new();
    let mut unusable = 0;
    for cell in &needle.cells {
        let fields = (cell.n_ctx, cell.depth, cell.trials, cell.found);
        let (Some(n_ctx), Some(depth), Some(trials), Some(found)) = fields else {
            unusable += 1;
            continue;
        };
        let name = cache(cell.cache.as_ref());
        let index = panels.iter().position(|panel| panel.name == name).unwrap_or_else(|| {
            panels.push(Panel { name, cells: vec![] });
            panels.len() - 1
        });
        let cells = &mut panels[index].cells;
        match cells.iter_mut().find(|it| it.n_ctx == n_ctx && it.depth == depth) {
            Some(known) => {
                known.trials += trials;
                known.found += found.min(trials);
            }
            None => cells.push(MapCell {
                n_ctx,
                depth,
                trials,
                found: found.min(trials),
            }),
        }
    }
    if unusable > 0 {
        blocks.push(Block::LeftOut(format!(
            "{unusable} of {} cells, which lack a length, a depth or a count.",
            needle.cells.len()
        )));
    }
    if panels.is_empty() {
        blocks.push(Block::LeftOut("the map; the record has no cells yet.".into()));
        return;
    }
    let cells = || panels.iter().flat_map(|panel| &panel.cells);
    let map = HeatMap {
        description: "found needles in percent, by cache, depth and length; the table below has the sums".into(),
        lengths: distinct(cells().map(|cell| cell.n_ctx)),
        depths: distinct(cells().map(|cell| cell.depth)),
        panels: panels.clone(),
    };
    let table = by_length(&panels, &map.lengths);
    blocks.push(maker.figure("needle", "Found, in percent, by depth and length", map));
    blocks.push(Block::Table(table));
}

fn by_length(panels: &[Panel], lengths: &[f64]) -> Table {
    let sum = |panel: &Panel, n_ctx: Option<f64>| {
        let cells = panel
            .cells
            .iter()
            .filter(|cell| n_ctx.is_none_or(|n_ctx| cell.n_ctx == n_ctx));
        let (found, trials) = cells.fold((0, 0), |sum, cell| (sum.0 + cell.found, sum.1 + cell.trials));
        if trials == 0 {
            Cell::Missing
        } else {
            Cell::Number(format!("{found}/{trials}"))
        }
    };
    let mut table = Table::new("Found of all trials, over all depths")
        .column("cache", panels.iter().map(|panel| Cell::text(&panel.name)))
        .column("all", panels.iter().map(|panel| sum(panel, None)));
    for n_ctx in lengths {
        table = table.column(
            format!("{} tokens", tokens(*n_ctx)),
            panels.iter().map(|panel| sum(panel, Some(*n_ctx))),
        );
    }
    table
}
