//! Which layers, and which side of them, cost most.

use super::{Block, Maker, Section, distinct, heading, interval};
use crate::commands::report::charts::axis::{Axis, Scale, Unit, nats, number};
use crate::commands::report::charts::columns::{Column, ColumnChart};
use crate::commands::report::html::{Cell, Table};
use crate::commands::report::read::{Results, Source};
use crate::commands::report::records::{Layer, Sensitivity};

pub fn section(sources: &[Source], maker: &mut Maker) -> Option<Section> {
    let mut blocks = Vec::new();
    for source in sources {
        if let Results::Sensitivity(sensitivity) = &source.results {
            blocks.push(heading(source));
            add(sensitivity, maker, &mut blocks);
        }
    }
    (!blocks.is_empty()).then_some(Section {
        id: "sensitivity",
        title: "Sensitivity of layers".into(),
        how: "One side of one layer at a time is compressed, everything else stays as it is: a tall bar is a layer that should keep \
              more bits. Layers are counted among those that have a KV cache, from 0. Whiskers are 95 % intervals.",
        blocks,
    })
}

fn add(sensitivity: &Sensitivity, maker: &mut Maker, blocks: &mut Vec<Block>) {
    let layers = distinct(
        sensitivity
            .layers
            .iter()
            .filter(|layer| layer.kl.is_some())
            .filter_map(|layer| layer.layer),
    );
    let (Some(first), Some(last)) = (layers.first().copied(), layers.last().copied()) else {
        blocks.push(Block::LeftOut("the chart; the record has no layers yet.".into()));
        return;
    };
    let base = sensitivity.base.as_deref().unwrap_or("the base");
    let probe = sensitivity.probe.as_deref().unwrap_or("a compressed type");
    let side = |layer: &Layer| match layer.side.as_deref() {
        Some("k" | "K") => Some(0),
        Some("v" | "V") => Some(1),
        _ => None,
    };
    let columns: Vec<Column> = sensitivity
        .layers
        .iter()
        .filter_map(|layer| {
            let (series, number_of, kl) = (side(layer)?, layer.layer?, layer.kl?);
            let title = format!(
                "layer {number_of}, {}: {} nats",
                ["K", "V"][series],
                super::interval_text(kl, nats)
            );
            Some(Column {
                group: number_of,
                series,
                value: kl.estimate.max(0.0),
                spread: kl.bounds,
                title,
            })
        })
        .collect();
    let high = columns
        .iter()
        .map(|column| column.spread.map_or(column.value, |(_, high)| high.max(column.value)))
        .fold(0.0, f64::max);
    let groups = (last - first) as usize + 1;
    let mut x = Axis::new(
        Scale::Linear {
            low: first - 0.5,
            high: last + 0.5,
        },
        Unit::Count,
        "layer with a KV cache",
    );
    x.ticks = Some(layers.clone());
    let chart = ColumnChart {
        description: format!("KL divergence per layer and side with {probe}; the table below has the numbers"),
        x,
        y: Axis::new(
            Scale::from_zero(high, Unit::Number),
            Unit::Number,
            format!("KL divergence from {base}, nats"),
        ),
        series: vec![
            (format!("K as {probe}"), maker.styles.of("turbo4")),
            (format!("V as {probe}"), maker.styles.of("turbo3")),
        ],
        groups,
        columns,
    };
    blocks.push(maker.figure(
        "layer-sensitivity",
        format!("Cost of {probe} per layer and side"),
        chart,
    ));
    let kl = |wanted: usize, at: f64| {
        let found = sensitivity
            .layers
            .iter()
            .find(|layer| layer.layer == Some(at) && side(layer) == Some(wanted));
        interval(found.and_then(|layer| layer.kl), nats)
    };
    let mut table = Table::new("KL divergence in nats; brackets: 95 % interval")
        .column("layer", layers.iter().map(|layer| Cell::text(number(*layer))))
        .column("K", layers.iter().map(|layer| kl(0, *layer)))
        .column("V", layers.iter().map(|layer| kl(1, *layer)));
    match &sensitivity.map {
        Some(map) => {
            let of = |layer: f64, value: bool| {
                let pair = map.layers.get(layer as usize)?;
                if value { pair.v.clone() } else { pair.k.clone() }
            };
            for (name, value) in [("map: K", false), ("map: V", true)] {
                let cells = layers
                    .iter()
                    .map(|layer| of(*layer, value).map_or(Cell::Missing, Cell::Text));
                table = table.column(name, cells);
            }
            if let Some(bits) = map.bits_per_value {
                blocks.push(Block::Text(format!(
                    "The map in the table has {} bits per value on average.",
                    number(bits)
                )));
            }
        }
        None => blocks.push(Block::LeftOut("a layer map; the record has none.".into())),
    }
    blocks.push(Block::Table(table));
}
