//! Speed, load time and resident memory, with f16 and the candidate taking turns.

use super::Gate;
use crate::measuring::progress::Progress;
use anyhow::Result;
use llama_turboquant::measure::gate::{Criterion, Rule, rules};
use llama_turboquant::measure::stats::{Bootstrap, Interval};
use llama_turboquant::measure::{Host, Order, Speed, Test, ThroughputOptions, Workload, throughput};
use llama_turboquant::{Error, KvSpec};

const PROMPT: u32 = 512;
const GENERATED: u32 = 32;

/// Prompt speed, generation speed, first token, load, resident memory; the worst depth counts.
pub fn run(gate: &Gate<'_>) -> Result<Vec<Criterion>> {
    let room = gate.model.meta().n_ctx_train.saturating_sub(PROMPT + GENERATED);
    let (depths, beyond): (Vec<u32>, Vec<u32>) = gate.args.depths.iter().partition(|&&depth| depth <= room);
    let all = [
        rules::PROMPT,
        rules::GENERATION,
        rules::FIRST_TOKEN,
        rules::LOAD,
        rules::RESIDENT,
    ];
    if depths.is_empty() {
        let why = format!("the model has room for depths up to {room} only");
        return Ok(all.map(|rule| rule.not_run(why.clone())).into());
    }
    // a process of its own memory: what the other parts left behind is not this cache's
    let host = Host::load(gate.engine.builder()?, gate.engine.mmap)?;
    let mut points = Vec::new();
    let mut progress = Progress::new("speed", depths.len() * 2 * 2 * (gate.args.repetitions + 1));
    let mut done = 0;
    for &depth in &depths {
        for test in [test(PROMPT, 0, depth), test(0, GENERATED, depth)] {
            let options = {
                let mut options = ThroughputOptions::default();
                options.runs = gate.args.repetitions;
                options.cancel = Some(gate.cancel.clone());
                options
            };
            let workloads = [KvSpec::F16, gate.args.kv].map(|spec| Workload {
                test,
                kv: gate.engine.cache(spec.config()),
                n_batch: 2048,
                n_ubatch: 512,
                n_threads: gate.engine.threads,
            });
            let result = throughput(&host, &workloads, &options, |_| {
                done += 1;
                progress.at(done);
            });
            if let Some(error) = result.stopped {
                return Err(error.into());
            }
            let speeds: Vec<Speed> = result.arms.into_iter().map(|(_, speed)| speed).collect();
            let pair: [Speed; 2] = speeds
                .try_into()
                .map_err(|_| Error::Engine("two workloads gave another number of results".into()))?;
            points.push(Point {
                pair,
                order: result.order,
            });
        }
    }
    let mut notes: Vec<String> = Vec::new();
    if !beyond.is_empty() {
        notes.push(format!(
            "depths {beyond:?} are beyond the model's {}",
            gate.model.meta().n_ctx_train
        ));
    }
    Ok(vec![
        worst_ratio(&rules::PROMPT, points.iter().filter(|p| p.is_prompt()), &notes),
        worst_ratio(&rules::GENERATION, points.iter().filter(|p| !p.is_prompt()), &notes),
        first_token(&points),
        load(&points),
        resident(&points),
    ])
}

fn test(n_prompt: u32, n_gen: u32, n_depth: u32) -> Test {
    Test {
        n_prompt,
        n_gen,
        n_depth,
    }
}

/// One test of both caches: f16, candidate.
struct Point {
    pair: [Speed; 2],
    order: Order,
}

impl Point {
    fn is_prompt(&self) -> bool {
        self.pair[0].test.n_prompt > 0
    }

    fn attention(&self) -> String {
        let [base, candidate] = &self.pair;
        format!(
            "attention on {} against {}",
            candidate.facts.attention, base.facts.attention
        )
    }

    fn ratio(&self) -> Interval {
        self.pair[1].ratio(&self.pair[0], &Bootstrap::default())
    }
}

fn worst_ratio<'a>(rule: &Rule, points: impl Iterator<Item = &'a Point>, notes: &[String]) -> Criterion {
    let mut worst = f64::INFINITY;
    let (mut parts, mut kernels) = (Vec::new(), Vec::new());
    for point in points {
        let ratio = point.ratio();
        worst = worst.min(ratio.estimate);
        parts.push(format!(
            "{} {:.3} ({:.3} .. {:.3})",
            point.pair[0].test, ratio.estimate, ratio.low, ratio.high
        ));
        if point.order == Order::Sequential {
            parts.push("one after the other, memory holds no more".into());
        }
        // the same kernels compute every depth, but that is to be seen, not supposed
        let on = point.attention();
        if !kernels.contains(&on) {
            kernels.push(on);
        }
    }
    parts.extend(kernels);
    parts.extend_from_slice(notes);
    rule.measured(worst, parts.join("; "))
}

fn first_token(points: &[Point]) -> Criterion {
    let mut worst = f64::NEG_INFINITY;
    let mut parts = Vec::new();
    for point in points {
        let [base, candidate] = &point.pair;
        if let (Some(base_ms), Some(ms)) = (base.first_token_ms(), candidate.first_token_ms()) {
            worst = worst.max(ms / base_ms);
            parts.push(format!("{}: {ms:.1} ms against {base_ms:.1} ms", base.test));
        }
    }
    rules::FIRST_TOKEN.measured(worst, parts.join("; "))
}

fn load(points: &[Point]) -> Criterion {
    let seconds = |arm: usize| {
        points
            .iter()
            .map(|point| point.pair[arm].facts.load.as_secs_f64())
            .fold(0.0, f64::max)
    };
    let (base, candidate) = (seconds(0), seconds(1));
    rules::LOAD.measured(
        candidate - base,
        format!(
            "model and context, {candidate:.2} s against {base:.2} s; the file may have come from the system's cache"
        ),
    )
}

fn resident(points: &[Point]) -> Criterion {
    let mut worst: f64 = f64::NEG_INFINITY;
    let mut parts = Vec::new();
    for speed in points.iter().map(|point| &point.pair[1]) {
        if let (Some(peak), Some(predicted)) = (speed.facts.rss_peak, speed.facts.rss_predicted) {
            let off = (peak as f64 / predicted as f64 - 1.0).abs();
            worst = worst.max(off);
            parts.push(format!(
                "{}: {} MiB, predicted {} MiB",
                speed.test,
                peak >> 20,
                predicted >> 20
            ));
        }
    }
    if parts.is_empty() {
        return rules::RESIDENT.not_run("the system does not say how much memory this process occupies");
    }
    rules::RESIDENT.measured(worst, parts.join("; "))
}
