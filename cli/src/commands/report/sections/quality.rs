//! How much a cache changes what the model predicts, for its size.

use super::{Block, Maker, Section, cache, heading, interval, percent, show};
use crate::commands::report::charts::axis::{Axis, Scale, Unit, bytes, nats, number};
use crate::commands::report::charts::line::Reference;
use crate::commands::report::charts::scatter::{Dot, Group, Scatter};
use crate::commands::report::html::{Cell, Table};
use crate::commands::report::read::{Results, Source};
use crate::commands::report::records::{Arm, Perplexity};

pub fn section(sources: &[Source], maker: &mut Maker) -> Option<Section> {
    let mut blocks = Vec::new();
    for source in sources {
        if let Results::Perplexity(perplexity) = &source.results {
            blocks.push(heading(source));
            add(perplexity, maker, &mut blocks);
        }
    }
    (!blocks.is_empty()).then_some(Section {
        id: "quality",
        title: "Quality by size".into(),
        how: "KL divergence says how far the predictions with a compressed cache are from those with the base cache, in nats per \
              token: 0 is no difference, lower is better, and each grid line is a fixed factor. Further left is smaller. Batched: \
              the text is read in batches, as a prompt is. Decode: token by token, as an answer is written; drawn a little to the right. Whiskers and brackets \
              are 95 % intervals; caches whose intervals overlap are not told apart by this measurement.",
        blocks,
    })
}

fn add(perplexity: &Perplexity, maker: &mut Maker, blocks: &mut Vec<Block>) {
    if perplexity.arms.is_empty() {
        blocks.push(Block::LeftOut("the record has no measured cache yet.".into()));
        return;
    }
    let base = perplexity.base.as_deref().unwrap_or("the base");
    let (figure, missing) = chart(perplexity, base, maker);
    blocks.extend(figure);
    if !missing.is_empty() {
        blocks.push(Block::LeftOut(format!("{}.", missing.join("; "))));
    }
    blocks.push(Block::Table(table(perplexity, base)));
}

/// The chart, if there are two numbers for one cache at least, and the caches that are not on it.
fn chart(perplexity: &Perplexity, base: &str, maker: &mut Maker) -> (Option<Block>, Vec<String>) {
    let mut groups: Vec<Group> = Vec::new();
    let mut missing = Vec::new();
    for arm in &perplexity.arms {
        let name = cache(arm.cache.as_ref());
        let hollow = arm.mode.as_deref() == Some("decode");
        let Some((bits, kl)) = arm
            .bits_per_value
            .zip(arm.kl)
            .filter(|(b, kl)| *b > 0.0 && kl.estimate > 0.0)
        else {
            if arm.cache.as_deref() != Some(base) {
                let mode = if hollow { " in decode mode" } else { "" };
                missing.push(format!(
                    "{name}{mode}, without a divergence above 0 or without bits per value"
                ));
            }
            continue;
        };
        let mode = arm.mode.as_deref().unwrap_or("mode not recorded");
        let dot = Dot {
            x: bits,
            y: kl.estimate,
            spread: kl.bounds,
            hollow,
            title: format!(
                "{name}, {mode}: {} nats at {} bits",
                super::interval_text(kl, nats),
                number(bits)
            ),
        };
        match groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.dots.push(dot),
            None => groups.push(Group {
                style: maker.styles.of(&name),
                name,
                dots: vec![dot],
            }),
        }
    }
    if groups.is_empty() {
        return (None, missing);
    }
    let dots = || groups.iter().flat_map(|group| &group.dots);
    // an interval may reach down to 0, which a logarithm has no place for: its whisker then ends at the edge
    let ends = |dot: &Dot| {
        let (low, high) = dot.spread.unwrap_or((dot.y, dot.y));
        [dot.y, if low > dot.y / 20.0 { low } else { dot.y }, high.max(dot.y)]
    };
    let mut low = dots().flat_map(ends).fold(f64::INFINITY, f64::min);
    let high = dots().flat_map(ends).fold(0.0, f64::max);
    let mut levels = Vec::new();
    if let Some(floor) = perplexity.floor.as_ref().and_then(|floor| floor.kl) {
        // far below everything it would press the measured caches together
        let text = format!("noise floor, {base} against itself: {} nats", nats(floor.estimate));
        if floor.estimate > low / 30.0 {
            low = low.min(floor.estimate);
            levels.push(Reference {
                at: floor.estimate,
                name: text,
            });
        } else {
            missing.push(format!("the {text}, far below the axis"));
        }
    }
    let widest = dots().map(|dot| dot.x).fold(0.0, f64::max);
    let narrowest = dots().map(|dot| dot.x).fold(f64::INFINITY, f64::min);
    let chart = Scatter {
        description: format!("KL divergence against {base} by bits per value; the table below has the numbers"),
        x: Axis::new(
            Scale::Linear {
                low: (narrowest - 0.4).floor().max(0.0),
                high: (widest + 0.4).ceil(),
            },
            Unit::Number,
            "KV cache, bits per value",
        ),
        y: Axis::new(
            Scale::log_around(low, high),
            Unit::Number,
            format!("KL divergence from {base}, nats (log scale)"),
        ),
        groups,
        kinds: ("batched".into(), "decode".into()),
        levels,
    };
    let title = format!("KL divergence from {base} by bits per value");
    (Some(maker.figure("kld-by-bits", title, chart)), missing)
}

/// 6.3125 has five digits that count.
fn bits(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// What a cache costs shows in the fourth decimal.
fn ratio(value: f64) -> String {
    format!("{value:.5}")
}

fn table(perplexity: &Perplexity, base: &str) -> Table {
    let rows: Vec<(String, &Arm)> = perplexity
        .arms
        .iter()
        .map(|arm| (cache(arm.cache.as_ref()), arm))
        .chain(
            perplexity
                .floor
                .iter()
                .map(|arm| (format!("noise floor ({base})"), arm.as_ref())),
        )
        .collect();
    let flips = |arm: &Arm| {
        let shares = arm.flips_by_depth.as_ref()?.as_array()?;
        let shares: Option<Vec<String>> = shares
            .iter()
            .map(|share| share.as_f64().map(|s| number(100.0 * s)))
            .collect();
        shares
            .filter(|shares| !shares.is_empty())
            .map(|shares| shares.join(" · "))
    };
    Table::new(format!("Compared with {base}; brackets: 95 % interval"))
        .column("cache", rows.iter().map(|(name, _)| Cell::text(name)))
        .column(
            "mode",
            rows.iter()
                .map(|(_, arm)| arm.mode.clone().map_or(Cell::Missing, Cell::Text)),
        )
        .column(
            "bits/value",
            rows.iter().map(|(_, arm)| Cell::number(arm.bits_per_value, bits)),
        )
        .column(
            "KV cache",
            rows.iter().map(|(_, arm)| Cell::number(arm.kv_bytes, bytes)),
        )
        .column("KL, nats", rows.iter().map(|(_, arm)| interval(arm.kl, nats)))
        .column(
            "KL 99.9\u{a0}%",
            rows.iter().map(|(_, arm)| Cell::number(arm.kl_p999, nats)),
        )
        .column(
            "same top token",
            rows.iter().map(|(_, arm)| interval(arm.same_top, percent)),
        )
        .column("perplexity", rows.iter().map(|(_, arm)| interval(arm.ppl, number)))
        .column(
            "perplexity ratio",
            rows.iter().map(|(_, arm)| interval(arm.ppl_ratio, ratio)),
        )
        .column(
            "changed top token by depth, %",
            rows.iter().map(|(_, arm)| {
                flips(arm)
                    .or_else(|| {
                        arm.flips_by_depth
                            .as_ref()
                            .and_then(show)
                            .filter(|text| !text.is_empty())
                    })
                    .map_or(Cell::Missing, Cell::Text)
            }),
        )
}
