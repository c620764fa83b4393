//! Tokens per second, by depth.

use super::{Block, Maker, Section, distinct, interval, show};
use crate::commands::report::charts::axis::{Axis, Scale, Unit, bytes, number, tokens};
use crate::commands::report::charts::bars::{Bar, BarChart};
use crate::commands::report::charts::line::{LineChart, Point, Reference, Series};
use crate::commands::report::html::{Cell, Table};
use crate::commands::report::read::{Results, Source};
use crate::commands::report::records::BenchRow;
use serde_json::Value;

pub fn section(sources: &[Source], maker: &mut Maker) -> Option<Section> {
    let mut blocks = Vec::new();
    for group in groups(sources) {
        blocks.push(Block::Heading(group.title.clone(), vec![]));
        add(&group, maker, &mut blocks);
    }
    (!blocks.is_empty()).then_some(Section {
        id: "speed",
        title: "Speed".into(),
        how: "Tokens per second, higher is better. ppN: reading a prompt of N tokens. tgN: writing N tokens, one at a time. Depth: \
              tokens that are already in the cache. Whiskers reach from the slowest to the fastest run, or, where single runs were \
              not kept, one standard deviation to each side.",
        blocks,
    })
}

/// Names of the models of a benchmark's rows.
pub fn models(source: &Source) -> Vec<String> {
    let Results::Bench(rows) = &source.results else {
        return Vec::new();
    };
    let mut names: Vec<String> = rows
        .iter()
        .filter_map(|row| row.model_filename.as_deref().map(file_name))
        .collect();
    names.dedup();
    names
}

/// When the first row was measured.
pub fn date(source: &Source) -> Option<String> {
    match &source.results {
        Results::Bench(rows) => rows.iter().find_map(|row| row.test_time.clone()),
        _ => None,
    }
}

/// A path without its directories, of either kind.
pub fn file_name(path: &str) -> String {
    path.rsplit(['/', '\\']).next().unwrap_or(path).to_owned()
}

/// A measured row under the name of its line.
struct Row<'a> {
    series: String,
    row: &'a BenchRow,
}

/// Rows that may be compared: one model on one machine.
struct Machine<'a> {
    title: String,
    rows: Vec<Row<'a>>,
}

/// Settings that are part of a line's name where rows differ in them.
fn settings(row: &BenchRow) -> [(&'static str, Option<String>); 6] {
    let of = |value: &Option<Value>| value.as_ref().and_then(show);
    [
        ("threads", of(&row.n_threads)),
        ("batch", of(&row.n_batch)),
        ("ubatch", of(&row.n_ubatch)),
        ("ngl", of(&row.n_gpu_layers)),
        ("fa", of(&row.flash_attn)),
        ("build", row.build_commit.clone()),
    ]
}

fn groups(sources: &[Source]) -> Vec<Machine<'_>> {
    let mut found: Vec<(String, Vec<(&Source, &BenchRow)>)> = Vec::new();
    for source in sources {
        let Results::Bench(rows) = &source.results else {
            continue;
        };
        for row in rows {
            let model = row.model_filename.as_deref().map(file_name);
            let parts = [
                model,
                row.model_type.clone(),
                row.cpu_info.clone(),
                row.gpu_info.clone(),
                row.backends.clone(),
            ];
            let parts: Vec<String> = parts
                .into_iter()
                .flatten()
                .filter(|part| !part.trim().is_empty())
                .collect();
            let title = if parts.is_empty() {
                "model and machine not recorded".to_owned()
            } else {
                parts.join(", ")
            };
            match found.iter_mut().find(|(known, _)| *known == title) {
                Some((_, rows)) => rows.push((source, row)),
                None => found.push((title, vec![(source, row)])),
            }
        }
    }
    found
        .into_iter()
        .map(|(title, rows)| Machine {
            title,
            rows: named(&rows),
        })
        .collect()
}

/// Gives each row the name of its line: the cache, the settings that differ, and the file where the same was measured twice.
fn named<'a>(rows: &[(&'a Source, &'a BenchRow)]) -> Vec<Row<'a>> {
    let first = rows.first().map(|(_, row)| settings(row));
    let varies: Vec<bool> = (0..6)
        .map(|i| {
            rows.iter()
                .any(|(_, row)| first.as_ref().is_some_and(|first| settings(row)[i].1 != first[i].1))
        })
        .collect();
    let mut named: Vec<(Row<'a>, &str)> = Vec::new();
    for (source, row) in rows {
        let mut series = super::cache(row.cache().as_ref());
        for ((name, value), _) in settings(row).into_iter().zip(&varies).filter(|(_, varies)| **varies) {
            series += &format!(", {name} {}", value.as_deref().unwrap_or("unknown"));
        }
        let place = |row: &BenchRow| (row.test(), row.n_depth.unwrap_or(0));
        let taken = |series: &str, named: &[(Row<'a>, &str)]| {
            named
                .iter()
                .any(|(other, _)| other.series == series && place(other.row) == place(row))
        };
        let file_of_same = named
            .iter()
            .find(|(other, _)| other.series == series)
            .map(|(_, file)| *file);
        if taken(&series, &named) && file_of_same != Some(source.file.as_str()) {
            series += &format!(" ({})", source.file);
        }
        let base = series.clone();
        let mut again = 2;
        while taken(&series, &named) {
            series = format!("{base} #{again}");
            again += 1;
        }
        named.push((Row { series, row }, source.file.as_str()));
    }
    named.into_iter().map(|(row, _)| row).collect()
}

/// Slowest and fastest run, or a standard deviation to each side.
fn spread(row: &BenchRow) -> Option<(f64, f64)> {
    let fold = |f: fn(f64, f64) -> f64| row.samples_ts.iter().copied().reduce(f);
    if row.samples_ts.len() > 1 {
        return fold(f64::min).zip(fold(f64::max));
    }
    let mean = row.avg_ts?;
    row.stddev_ts
        .filter(|s| *s > 0.0)
        .map(|s| ((mean - s).max(0.0), mean + s))
}

fn add(group: &Machine<'_>, maker: &mut Maker, blocks: &mut Vec<Block>) {
    let mut tests: Vec<String> = Vec::new();
    for row in &group.rows {
        if !tests.contains(&row.row.test()) {
            tests.push(row.row.test());
        }
    }
    // reading before writing before both, as llama-bench does
    tests.sort_by_key(|test| (test.contains('+'), test.starts_with("tg")));
    for test in &tests {
        let rows: Vec<&Row<'_>> = group.rows.iter().filter(|row| row.row.test() == *test).collect();
        let title = format!("{test}: tokens per second by depth");
        let speeds: Vec<_> = rows
            .iter()
            .filter_map(|row| Some((*row, row.row.avg_ts?, spread(row.row))))
            .collect();
        if let Some(chart) = chart(&speeds, &format!("{test}, tokens per second"), None, maker) {
            blocks.push(figure(maker, &format!("speed-{test}"), title, chart));
        }
        let ratios: Vec<_> = rows
            .iter()
            .filter_map(|row| row.row.ratio.map(|ratio| (*row, ratio.estimate, ratio.bounds)))
            .collect();
        let baseline = rows.iter().find_map(|row| row.row.baseline.as_ref().and_then(show));
        let baseline = baseline.as_deref().unwrap_or("the baseline");
        let y = format!("{test}, speed relative to {baseline}");
        if let Some(chart) = chart(&ratios, &y, Some(baseline), maker) {
            let title = format!("{test}: speed relative to {baseline}, with 95 % intervals");
            blocks.push(figure(maker, &format!("ratio-{test}"), title, chart));
        }
    }
    if !group.rows.iter().any(|row| row.row.ratio.is_some()) {
        blocks.push(Block::LeftOut(
            "ratios to a baseline; they need runs that alternate (bench --ab).".into(),
        ));
    }
    if !group.rows.iter().any(|row| row.row.kv_bytes_per_token.is_some()) {
        blocks.push(Block::LeftOut(
            "memory by context; the rows have no KV bytes per token, which llama-bench does not measure.".into(),
        ));
    }
    blocks.push(Block::Table(table(&group.rows)));
}

/// Lines where there are depths, bars where there is only one.
enum Either {
    Lines(LineChart),
    Bars(BarChart),
}

fn figure(maker: &mut Maker, name: &str, title: String, chart: Either) -> Block {
    match chart {
        Either::Lines(chart) => maker.figure(name, title, chart),
        Either::Bars(chart) => maker.figure(name, title.replace(" by depth", ""), chart),
    }
}

type Measured<'a> = (&'a Row<'a>, f64, Option<(f64, f64)>);

fn chart(rows: &[Measured<'_>], y: &str, baseline: Option<&str>, maker: &mut Maker) -> Option<Either> {
    let depth = |row: &Row<'_>| row.row.n_depth.unwrap_or(0) as f64;
    let depths = distinct(rows.iter().map(|(row, _, _)| depth(row)));
    let deepest = *depths.last()?;
    if depths.len() == 1 {
        let bars = rows.iter().map(|(row, value, spread)| Bar {
            name: row.series.clone(),
            style: maker.styles.of(&row.series),
            value: *value,
            spread: *spread,
            text: number(*value),
            open: false,
        });
        let at = if deepest > 0.0 {
            format!(" at depth {}", tokens(deepest))
        } else {
            String::new()
        };
        return Some(Either::Bars(BarChart {
            description: format!("{y}{at}; the table below has the numbers"),
            title: format!("{y}{at}"),
            bars: bars.collect(),
        }));
    }
    let mut series: Vec<Series> = Vec::new();
    for (row, value, spread) in rows {
        let point = Point {
            x: depth(row),
            y: *value,
            spread: *spread,
            computed: false,
        };
        match series.iter_mut().find(|series| series.name == row.series) {
            Some(series) => series.points.push(point),
            None => series.push(Series {
                name: row.series.clone(),
                style: maker.styles.of(&row.series),
                points: vec![point],
            }),
        }
    }
    for series in &mut series {
        series.points.sort_by(|a, b| a.x.total_cmp(&b.x));
    }
    let ends = || {
        rows.iter().flat_map(|(_, value, spread)| {
            [
                *value,
                spread.map_or(*value, |(low, _)| low),
                spread.map_or(*value, |(_, high)| high),
            ]
        })
    };
    let high = ends().fold(0.0, f64::max);
    let low = ends().fold(f64::INFINITY, f64::min);
    let (scale, levels) = match baseline {
        None => (Scale::from_zero(high, Unit::Number), vec![]),
        Some(name) => (
            Scale::Linear {
                low: ((low.min(0.95) * 10.0).floor() / 10.0).max(0.0),
                high: (high.max(1.05) * 10.0).ceil() / 10.0,
            },
            vec![Reference {
                at: 1.0,
                name: format!("as fast as {name}"),
            }],
        ),
    };
    let first = depths.iter().copied().find(|depth| *depth > 0.0).unwrap_or(1.0);
    let mut x = Axis::new(
        Scale::FromZero {
            unit: first,
            high: deepest,
        },
        Unit::Tokens,
        "depth, tokens in the cache (compressed scale)",
    );
    x.ticks = Some(depths);
    Some(Either::Lines(LineChart {
        description: format!("{y} by depth; the table below has the numbers"),
        x,
        y: Axis::new(scale, Unit::Number, y),
        series,
        levels,
        moments: vec![],
        signs_up_to: 20,
    }))
}

fn table(rows: &[Row<'_>]) -> Table {
    let ms = |pick: fn(&BenchRow) -> Option<f64>| {
        rows.iter()
            .map(move |row| Cell::number(pick(row.row), number))
            .collect::<Vec<_>>()
    };
    let memory = |pick: fn(&BenchRow) -> Option<f64>| {
        rows.iter()
            .map(move |row| Cell::number(pick(row.row), bytes))
            .collect::<Vec<_>>()
    };
    Table::new("Speed; t/s: tokens per second, mean ± standard deviation; TTFT: time to the first token; ITL: time between two tokens")
        .column("cache", rows.iter().map(|row| Cell::text(&row.series)))
        .column("test", rows.iter().map(|row| Cell::text(row.row.test())))
        .column(
            "depth",
            rows.iter().map(|row| Cell::number(row.row.n_depth.map(|depth| depth as f64), tokens)),
        )
        .column(
            "t/s",
            rows.iter().map(|row| {
                let with = row.row.stddev_ts.map_or(String::new(), |s| format!(" ± {}", number(s)));
                Cell::number(row.row.avg_ts, |mean| number(mean) + &with)
            }),
        )
        .column(
            "runs",
            rows.iter().map(|row| match row.row.samples_ts.len() {
                0 => Cell::Missing,
                runs => Cell::Number(runs.to_string()),
            }),
        )
        .column("ratio (95 %)", rows.iter().map(|row| interval(row.row.ratio, number)))
        .column("TTFT, ms", ms(|row| row.ttft_ms))
        .column("ITL p50, ms", ms(|row| row.itl_p50_ms))
        .column("ITL p95, ms", ms(|row| row.itl_p95_ms))
        .column("ITL p99, ms", ms(|row| row.itl_p99_ms))
        .column(
            "attention on",
            rows.iter().map(|row| row.row.attention_on.as_ref().and_then(show).map_or(Cell::Missing, Cell::Text)),
        )
        .column("KV cache", memory(|row| row.kv_bytes))
        .column("KV per token", memory(|row| row.kv_bytes_per_token))
        .column("peak memory", memory(|row| row.rss_peak))
        .column("predicted", memory(|row| row.rss_predicted))
        .column("load, ms", ms(|row| row.load_ms))
}
