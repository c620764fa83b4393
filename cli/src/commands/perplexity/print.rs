//! What people read: llama-perplexity's lines, and tables of our own.

use super::results::{ArmResult, Results};
use crate::console;
use crate::report::table;
use anyhow::{Context, Result};
use llama_turboquant::measure::stats::Interval;
use llama_turboquant::measure::{Distribution, Divergence, Estimate, Mode, Statistics};
use std::io::Write;
use std::time::Duration;

/// A mode in words.
pub fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Batched => "batched",
        Mode::Decode => "decode",
    }
}

/// The perplexity of the chunks up to this one, on a line that grows.
///
/// # Errors
/// If standard output is closed.
pub fn running(chunk: usize, ppl: f64) -> Result<()> {
    let mut out = std::io::stdout().lock();
    write!(out, "[{chunk}]{ppl:.4},")
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}

/// After the first chunk, how long the rest takes.
pub fn eta(per_chunk: Duration, chunks: usize) {
    let minutes = per_chunk.as_secs_f64() * chunks as f64 / 60.0;
    console::say!(
        "{:.2} seconds per chunk, {minutes:.2} minutes in all",
        per_chunk.as_secs_f64()
    );
}

/// The last line of a cache.
pub fn final_estimate(arm: &ArmResult, complete: bool) {
    let Estimate { value, error } = arm.ppl_estimate;
    if !complete {
        print!("(interrupted after {} chunks) ", arm.n_chunks);
    }
    println!("Final estimate: PPL = {value:.4} +/- {error:.5}");
}

/// What the columns of [`running_pairs`] are.
pub fn running_header(title: &str, names: &[&str]) -> String {
    if let [name] = names {
        return format!(
            "{name} {title}\nchunk             PPL               ln(PPL(Q)/PPL(base))          KL Divergence              \
             \u{394}p RMS            Same top p"
        );
    }
    let columns: String = names.iter().map(|name| format!("{name:>14}")).collect();
    format!("mean KLD {title}, in nats\nchunk {columns}")
}

/// The state after so many chunks: llama-perplexity's columns for one cache, the mean divergence of each of several.
pub fn running_pairs(done: usize, pairs: &[&Divergence]) -> String {
    if let [pair] = pairs {
        let s = pair.statistics();
        return format!(
            "{done:4}    {:9.4} \u{b1} {:9.4}    {:10.5} \u{b1} {:10.5}    {:10.5} \u{b1} {:10.5}    {:6.3} \u{b1} {:6.3} %    \
             {:6.3} \u{b1} {:6.3} %",
            s.ppl.value,
            s.ppl.error,
            s.ln_ratio.value,
            s.ln_ratio.error,
            s.kl.value,
            s.kl.error,
            100.0 * s.delta_p_rms.value,
            100.0 * s.delta_p_rms.error,
            100.0 * s.same_top.value,
            100.0 * s.same_top.error
        );
    }
    let columns: String = pairs.iter().map(|pair| format!("{:14.6}", pair.mean_kl())).collect();
    format!("{done:5} {columns}")
}

/// Everything, once it is measured.
pub fn results(results: &Results, complete: bool) {
    if results.base.is_none() {
        if results.arms.len() > 1 {
            println!("\n{}", perplexities(&results.arms));
        }
        attention(&results.arms);
        return;
    }
    for arm in &results.arms {
        if let Some(statistics) = &arm.statistics {
            println!("\n{} ({}), {} tokens scored", arm.cache, mode(arm.mode), arm.n_tokens);
            print_statistics(statistics);
            if !arm.depth.is_empty() {
                println!("\n{}", depths(arm));
            }
        }
    }
    let base = results.base.as_deref().unwrap_or_default();
    if !results.arms.is_empty() {
        println!(
            "\nAgainst {base}; KLD in nats times 1000; \u{b1} is a 95 % bootstrap over {} chunks{}.\n{}",
            results.arms[0].n_chunks,
            if complete { "" } else { " (interrupted)" },
            divergences(&results.arms)
        );
        attention(&results.arms);
    }
    if results.arms.iter().any(|arm| arm.kl_between_modes.is_some()) {
        println!(
            "\nOne token at a time beside batches, on the chunks that both have; KLD times 1000.\n{}",
            both_modes(results)
        );
    }
    for (what, floor) in [
        ("one token at a time against batches", &results.floor),
        ("the same again", &results.floor_repeat),
    ] {
        if let Some(floor) = floor {
            println!(
                "Noise floor, {} {what}: mean KLD {:.3e}, same top {:.3} % ({} chunks)",
                floor.cache,
                floor.mean_kl(),
                100.0 * floor.top(),
                floor.n_chunks
            );
        }
    }
    for pair in &results.paired {
        println!(
            "{} against {}, {}, paired by chunk: mean KLD {} times as large; lower in {} of {} chunks",
            pair.cache,
            pair.against,
            mode(pair.mode),
            range(pair.kl_ratio, 3),
            pair.lower_in,
            pair.n_chunks
        );
    }
    if !results.bars.is_empty() {
        println!(
            "\nBars for the embedded model at 512 tokens against f16; KLD times 1000.\n{}",
            bars(results)
        );
    }
}

/// Which caches the same kernels attended over.
fn attention(arms: &[ArmResult]) {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for arm in arms {
        let on = arm.attention_on.as_str();
        match groups.iter_mut().find(|(known, _)| *known == on) {
            Some((_, caches)) if caches.contains(&arm.cache.as_str()) => {}
            Some((_, caches)) => caches.push(&arm.cache),
            None => groups.push((on, vec![&arm.cache])),
        }
    }
    for (on, caches) in groups {
        println!("Attention on {on}: {}", caches.join(", "));
    }
}

/// What the tables of caches begin with.
const CACHE_COLUMNS: [&str; 5] = ["K/V", "mode", "bits", "KV bytes", "PPL"];

/// A row per cache: [`CACHE_COLUMNS`], then `columns`.
fn by_cache<const N: usize>(
    arms: &[ArmResult],
    columns: [&str; N],
    rest: impl Fn(&ArmResult) -> [String; N],
) -> comfy_table::Table {
    let row = |arm: &ArmResult| {
        let first = [
            arm.cache.clone(),
            mode(arm.mode).into(),
            format!("{:.4}", arm.bits_per_value),
            arm.kv_bytes.to_string(),
            format!("{:.4}", arm.ppl_estimate.value),
        ];
        first.into_iter().chain(rest(arm)).collect()
    };
    table(&[&CACHE_COLUMNS[..], &columns].concat(), 2, arms.iter().map(row))
}

fn perplexities(arms: &[ArmResult]) -> comfy_table::Table {
    by_cache(arms, ["95 % by chunks"], |arm| {
        [format!("{:.4} .. {:.4}", arm.ppl.low, arm.ppl.high)]
    })
}

fn divergences(arms: &[ArmResult]) -> comfy_table::Table {
    let columns = ["PPL ratio", "mean KLD", "99.9 % KLD", "same top %"];
    by_cache(arms, columns, |arm| {
        [
            arm.ppl_ratio.map_or_else(String::new, |it| plus_minus(it, 1.0, 5)),
            arm.kl.map_or_else(String::new, |it| plus_minus(it, 1000.0, 4)),
            arm.kl_p999.map_or_else(String::new, |it| format!("{:.3}", 1000.0 * it)),
            arm.same_top.map_or_else(String::new, |it| plus_minus(it, 100.0, 2)),
        ]
    })
}

/// Batched and decode over the same chunks.
fn both_modes(results: &Results) -> comfy_table::Table {
    let decode = results.arms.iter().filter(|arm| arm.mode == Mode::Decode);
    let row = |decode: &ArmResult| {
        let numbers: Vec<usize> = decode.chunks.iter().map(|chunk| chunk.number).collect();
        let batched = results.arm(&decode.cache, Mode::Batched);
        let mean = |arm: &ArmResult, value: fn(&super::results::ChunkResult) -> Option<f64>| {
            let of_same = arm.chunks.iter().filter(|chunk| numbers.contains(&chunk.number));
            let values: Vec<f64> = of_same.filter_map(value).collect();
            llama_turboquant::measure::stats::mean(&values)
        };
        let both = |value: fn(&super::results::ChunkResult) -> Option<f64>, scale: f64, digits: usize| {
            [batched.map(|arm| mean(arm, value)), Some(mean(decode, value))]
                .map(|it| it.map_or_else(String::new, |it| number(scale * it, digits)))
        };
        let [kl_batched, kl_decode] = both(|chunk| chunk.kl, 1000.0, 4);
        let [top_batched, top_decode] = both(|chunk| chunk.same_top, 100.0, 2);
        let [ratio_batched, ratio_decode] = both(|chunk| chunk.nll_base.map(|base| chunk.nll - base), 1.0, 5);
        vec![
            decode.cache.clone(),
            kl_batched,
            kl_decode,
            top_batched,
            top_decode,
            ratio_batched,
            ratio_decode,
            decode
                .kl_between_modes
                .map_or_else(String::new, |it| plus_minus(it, 1000.0, 4)),
        ]
    };
    table(
        &[
            "K/V",
            "KLD batched",
            "decode",
            "same top % batched",
            "decode",
            "ln PPL ratio batched",
            "decode",
            "KLD decode from batched",
        ],
        1,
        decode.map(row),
    )
}

fn depths(arm: &ArmResult) -> comfy_table::Table {
    let row = |bucket: &llama_turboquant::measure::DepthBucket| {
        vec![
            format!("{}..{}", bucket.first, bucket.end),
            bucket.n_tokens.to_string(),
            number(1000.0 * bucket.kl, 4),
            number(100.0 * bucket.flips, 2),
        ]
    };
    table(
        &["position", "tokens", "mean KLD times 1000", "changed top %"],
        1,
        arm.depth.iter().map(row),
    )
}

fn bars(results: &Results) -> comfy_table::Table {
    let row = |bar: &super::bars::Verdict| {
        vec![
            bar.cache.clone(),
            mode(bar.mode).into(),
            if bar.met { "met" } else { "MISSED" }.into(),
            bar.kl_at_most
                .map_or_else(|| "-".into(), |most| format!("{:.3}", 1000.0 * most)),
            number(1000.0 * bar.kl, 4),
            bar.same_top_at_least
                .map_or_else(|| "-".into(), |least| format!("{:.1}", 100.0 * least)),
            number(100.0 * bar.same_top, 2),
            bar.remark.clone().unwrap_or_default(),
        ]
    };
    let mut table = table(
        &[
            "K/V",
            "mode",
            "bar",
            "KLD at most",
            "KLD",
            "same top % at least",
            "same top %",
            "remark",
        ],
        3,
        results.bars.iter().map(row),
    );
    if let Some(remark) = table.column_mut(7) {
        remark.set_cell_alignment(comfy_table::CellAlignment::Left);
    }
    table
}

/// As llama-perplexity prints them, name for name.
fn print_statistics(s: &Statistics) {
    let line = |name: &str, it: Estimate| println!("{name:<30}: {:10.6} \u{b1} {:10.6}", it.value, it.error);
    println!("====== Perplexity statistics ======");
    line("Mean PPL(Q)", s.ppl);
    line("Mean PPL(base)", s.ppl_base);
    println!("Cor(ln(PPL(Q)), ln(PPL(base))): {:6.2}%", 100.0 * s.correlation);
    line("Mean ln(PPL(Q)/PPL(base))", s.ln_ratio);
    line("Mean PPL(Q)/PPL(base)", s.ratio);
    line("Mean PPL(Q)-PPL(base)", s.difference);
    println!("\n====== KL divergence statistics ======");
    println!("Mean    KLD: {:10.6} \u{b1} {:10.6}", s.kl.value, s.kl.error);
    for (name, value) in quantiles(&s.kl_distribution, false) {
        println!("{name} KLD: {value:10.6}");
    }
    println!("\n====== Token probability statistics ======");
    let percent = |it: Estimate| format!("{:6.3} \u{b1} {:5.3} %", 100.0 * it.value, 100.0 * it.error);
    println!("Mean    \u{394}p: {}", percent(s.delta_p));
    for (name, value) in quantiles(&s.delta_p_distribution, true) {
        println!("{name} \u{394}p: {:6.3}%", 100.0 * value);
    }
    println!("RMS \u{394}p    : {}", percent(s.delta_p_rms));
    println!("Same top p: {}", percent(s.same_top));
}

fn quantiles(d: &Distribution, quartiles: bool) -> impl Iterator<Item = (&'static str, f64)> {
    [
        ("Maximum", d.maximum, true),
        ("99.9%  ", d.p999, true),
        ("99.0%  ", d.p99, true),
        ("95.0%  ", d.p95, true),
        ("90.0%  ", d.p90, true),
        ("75.0%  ", d.p75, quartiles),
        ("Median ", d.median, true),
        ("25.0%  ", d.p25, quartiles),
        ("10.0%  ", d.p10, true),
        (" 5.0%  ", d.p05, true),
        (" 1.0%  ", d.p01, true),
        (" 0.1%  ", d.p001, true),
        ("Minimum", d.minimum, true),
    ]
    .into_iter()
    .filter_map(|(name, value, shown)| shown.then_some((name, value)))
}

fn plus_minus(it: Interval, scale: f64, digits: usize) -> String {
    format!(
        "{:.digits$} \u{b1} {:.digits$}",
        scale * it.estimate,
        scale * it.half_width()
    )
}

fn range(it: Interval, digits: usize) -> String {
    format!("{:.digits$} ({:.digits$} .. {:.digits$})", it.estimate, it.low, it.high)
}

fn number(value: f64, digits: usize) -> String {
    if value.is_nan() {
        "-".into()
    } else {
        format!("{value:.digits$}")
    }
}
