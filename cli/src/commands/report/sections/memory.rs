//! Bytes of the KV cache by context, and the longest context that fits.

use super::{Block, Maker, Section, cache, heading, show, speed};
use crate::commands::report::charts::axis::{Axis, Scale, Unit, bytes, grouped, number, tokens};
use crate::commands::report::charts::bars::{Bar, BarChart};
use crate::commands::report::charts::line::{LineChart, Point, Series};
use crate::commands::report::html::{Cell, Table};
use crate::commands::report::read::{Results, Source};
use crate::commands::report::records::Ceiling;
use serde_json::Value;

/// What is known of one model.
#[derive(Debug, Default)]
struct ModelMemory {
    name: String,
    n_ctx_train: Option<f64>,
    /// Longest planned context.
    planned: Option<f64>,
    /// Bytes per token of each cache, in the order of the records.
    per_token: Vec<(String, f64)>,
    /// Bytes that were allocated: cache, context, bytes.
    allocated: Vec<(String, f64, f64)>,
}

pub fn section(sources: &[Source], maker: &mut Maker) -> Option<Section> {
    let mut blocks = Vec::new();
    for model in models(sources) {
        add(&model, maker, &mut blocks);
    }
    for source in sources {
        if let Results::Ceiling(ceiling) = &source.results {
            blocks.push(heading(source));
            add_ceiling(ceiling, maker, &mut blocks);
        }
    }
    (!blocks.is_empty()).then_some(Section {
        id: "memory",
        title: "Memory by context".into(),
        how: "What the KV cache takes at each context length, lower is better. Lines are the bytes per token that the engine \
              allocates, times the context; signs on them are contexts that were really allocated. Ceiling: the longest context \
              before memory refuses, by plan (outline) and by trial (filled).",
        blocks,
    })
}

fn models(sources: &[Source]) -> Vec<ModelMemory> {
    let mut models: Vec<ModelMemory> = Vec::new();
    fn at(models: &mut Vec<ModelMemory>, name: Option<String>) -> &mut ModelMemory {
        let name = name.unwrap_or_else(|| "model not recorded".into());
        let index = models.iter().position(|model| model.name == name).unwrap_or_else(|| {
            models.push(ModelMemory {
                name,
                ..ModelMemory::default()
            });
            models.len() - 1
        });
        &mut models[index]
    }
    for source in sources {
        let name = source.record.model.as_ref().and_then(|model| model.file.clone());
        match &source.results {
            Results::Bench(rows) => {
                for row in rows {
                    let Some(cache) = row.cache() else { continue };
                    let model = at(&mut models, row.model_filename.as_deref().map(speed::file_name));
                    if let Some(each) = row.kv_bytes_per_token {
                        model.per_token(&cache, each);
                    }
                }
            }
            Results::Ceiling(ceiling) => {
                let model = at(&mut models, name);
                for row in &ceiling.caches {
                    if let Some(each) = row.bytes_per_token {
                        model.per_token(&cache(row.cache.as_ref()), each);
                    }
                    if row.planned_n_ctx > model.planned {
                        model.planned = row.planned_n_ctx;
                    }
                }
            }
            Results::Perplexity(perplexity) => {
                let n_ctx = source
                    .record
                    .settings
                    .as_ref()
                    .and_then(|s| s.get("n_ctx"))
                    .and_then(Value::as_f64);
                let model = at(&mut models, name);
                for arm in &perplexity.arms {
                    if let Some((n_ctx, bytes)) = n_ctx.zip(arm.kv_bytes) {
                        let row = (cache(arm.cache.as_ref()), n_ctx, bytes);
                        if !model.allocated.contains(&row) {
                            model.allocated.push(row);
                        }
                    }
                }
            }
            _ => {}
        }
    }
    // any record of a model may say how long its contexts are
    for facts in sources.iter().filter_map(|source| source.record.model.as_ref()) {
        if let Some(model) = models.iter_mut().find(|model| Some(&model.name) == facts.file.as_ref()) {
            model.n_ctx_train = model.n_ctx_train.or(facts.n_ctx_train);
        }
    }
    models.retain(|model| !model.per_token.is_empty());
    models
}

impl ModelMemory {
    fn per_token(&mut self, cache: &str, bytes: f64) {
        if bytes > 0.0 && !self.per_token.iter().any(|(known, _)| known == cache) {
            self.per_token.push((cache.to_owned(), bytes));
        }
    }
}

fn add(model: &ModelMemory, maker: &mut Maker, blocks: &mut Vec<Block>) {
    const ORDINARY: f64 = 32768.0;
    blocks.push(Block::Heading(model.name.clone(), vec![]));
    let longest = model
        .n_ctx_train
        .or(model.planned)
        .filter(|n| *n > 0.0)
        .unwrap_or(ORDINARY);
    let longest = model
        .allocated
        .iter()
        .map(|(_, n_ctx, _)| *n_ctx)
        .fold(longest, f64::max);
    let series: Vec<Series> = model
        .per_token
        .iter()
        .map(|(cache, each)| {
            let mut points = vec![(0.0, 0.0, true), (longest, longest * each, true)];
            let own = model.allocated.iter().filter(|(name, _, _)| name == cache);
            points.extend(own.map(|(_, n_ctx, bytes)| (*n_ctx, *bytes, false)));
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Series {
                name: cache.clone(),
                style: maker.styles.of(cache),
                points: points
                    .into_iter()
                    .map(|(x, y, computed)| Point {
                        x,
                        y,
                        spread: None,
                        computed,
                    })
                    .collect(),
            }
        })
        .collect();
    let high = series.iter().flat_map(|s| &s.points).map(|p| p.y).fold(0.0, f64::max);
    let chart = LineChart {
        description: format!(
            "KV cache bytes by context for {}; the table below has the numbers",
            model.name
        ),
        x: Axis::new(
            Scale::Linear {
                low: 0.0,
                high: longest,
            },
            Unit::Tokens,
            "context, tokens",
        ),
        y: Axis::new(Scale::from_zero(high, Unit::Bytes), Unit::Bytes, "KV cache"),
        series,
        levels: vec![],
        moments: vec![],
        signs_up_to: 20,
    };
    blocks.push(maker.figure("memory-by-context", "KV cache by context", chart));
    let contexts: Vec<f64> = [16.0, 4.0, 1.0].iter().map(|part| (longest / part).floor()).collect();
    let mut table = Table::new(format!("KV cache of {}", model.name))
        .column("cache", model.per_token.iter().map(|(cache, _)| Cell::text(cache)))
        .column(
            "bytes per token",
            model.per_token.iter().map(|(_, each)| Cell::Number(number(*each))),
        );
    for n_ctx in contexts {
        table = table.column(
            format!("at {} tokens", tokens(n_ctx)),
            model
                .per_token
                .iter()
                .map(|(_, each)| Cell::Number(bytes(each * n_ctx))),
        );
    }
    if let Some((_, f16)) = model.per_token.iter().find(|(cache, _)| cache == "f16") {
        table = table.column(
            "smaller than f16",
            model
                .per_token
                .iter()
                .map(|(_, each)| Cell::Number(format!("{:.2} ×", f16 / each))),
        );
    }
    blocks.push(Block::Table(table));
}

fn add_ceiling(ceiling: &Ceiling, maker: &mut Maker, blocks: &mut Vec<Block>) {
    let mut bars = Vec::new();
    for row in &ceiling.caches {
        let name = cache(row.cache.as_ref());
        let style = maker.styles.of(&name);
        for (value, how, open) in [(row.tried_n_ctx, "tried", false), (row.planned_n_ctx, "planned", true)] {
            if let Some(value) = value {
                bars.push(Bar {
                    name: name.clone(),
                    style,
                    value,
                    spread: None,
                    text: format!("{} {how}", grouped(value)),
                    open,
                });
            }
        }
    }
    if bars.is_empty() {
        blocks.push(Block::LeftOut("the ceiling; the record has no context lengths.".into()));
        return;
    }
    let chart = BarChart {
        description: "longest context per cache; the table below has the numbers".into(),
        title: "longest context, tokens".into(),
        bars,
    };
    blocks.push(maker.figure("context-ceiling", "Longest context before memory refuses", chart));
    let rows = &ceiling.caches;
    let table = Table::new("Longest context")
        .column("cache", rows.iter().map(|row| Cell::text(cache(row.cache.as_ref()))))
        .column(
            "bytes per token",
            rows.iter().map(|row| Cell::number(row.bytes_per_token, number)),
        )
        .column(
            "planned, tokens",
            rows.iter().map(|row| Cell::number(row.planned_n_ctx, grouped)),
        )
        .column(
            "tried, tokens",
            rows.iter().map(|row| Cell::number(row.tried_n_ctx, grouped)),
        )
        .notes(rows.iter().map(|row| {
            let stopped_by = row.stopped_by.as_ref().and_then(show)?;
            Some(format!("stopped by: {stopped_by}"))
        }));
    blocks.push(Block::Table(table));
}
