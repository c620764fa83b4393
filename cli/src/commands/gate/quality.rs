//! Quality: what the cache does to predictions and to attention.

use super::Gate;
use crate::measuring::progress::Progress;
use anyhow::Result;
use llama_turboquant::measure::gate::{Bound, Criterion, QualityBar, Rule, rules};
use llama_turboquant::measure::stats::{Bootstrap, Interval};
use llama_turboquant::measure::{Arm, AttentionUse, Corpus, Divergence, MemoryPlan, Mode, Options, Pair, divergence};
use llama_turboquant::{Error, KvSpec, KvType, verify};

/// Perplexity, divergence and same-top-1 in batches and one by one, and the cosine of attention outputs.
pub fn run(gate: &Gate<'_>) -> Result<Vec<Criterion>> {
    let all = Corpus::from_text(gate.model, gate.text, gate.args.ctx_size)?;
    let corpus = match gate.chunks {
        Some(n) => all.spread(n),
        None => all,
    };
    let decode = corpus.spread(gate.decode_chunks);
    let mut criteria = Vec::new();
    for (mode, corpus) in [(Mode::Batched, &corpus), (Mode::Decode, &decode)] {
        let ([candidate, rival], attention) = compare(gate, corpus, mode)?;
        let summary = candidate.summary(&Bootstrap::default());
        let name = match mode {
            Mode::Batched => "batched",
            Mode::Decode => "decode",
        };
        let on = format!(
            "{name}, {} chunks of {} tokens, attention on {attention}",
            summary.n_chunks,
            corpus.n_ctx()
        );
        if mode == Mode::Batched {
            let delta = summary.ppl.estimate - summary.ppl_base;
            let ratio = summary.ppl_ratio;
            let why = format!(
                "{on}; {:.4} against {:.4}, ratio {}",
                summary.ppl.estimate,
                summary.ppl_base,
                range(ratio)
            );
            criteria.push(rules::PERPLEXITY.measured(delta, why));
        }
        let bar = Bar::of(gate, &rival);
        criteria.push(bar.judge(
            ["kl", name],
            "KL divergence, mean, nats",
            summary.kl.estimate,
            bar.kl.map(Bound::AtMost),
            &format!("{on}; {}", range(summary.kl)),
        ));
        criteria.push(bar.judge(
            ["same_top", name],
            "same most probable token, share",
            summary.same_top.estimate,
            bar.same_top.map(Bound::AtLeast),
            &format!("{on}; {}", range(summary.same_top)),
        ));
    }
    criteria.push(attention(gate)?);
    Ok(criteria)
}

/// The candidate and llama.cpp's rotated q4_0, both against f16, and what computed the candidate's attention.
fn compare(gate: &Gate<'_>, corpus: &Corpus, mode: Mode) -> Result<([Divergence; 2], AttentionUse)> {
    let options = Options::default()
        .threads(gate.engine.threads)
        .cancel(gate.cancel.clone());
    let q4_0 = KvSpec {
        k: KvType::Q4_0,
        v: KvType::Q4_0,
        mode: None,
    };
    let arm = |spec: KvSpec| Arm {
        kv: gate.engine.cache(spec.config()),
        mode,
    };
    let mut progress = Progress::new(
        match mode {
            Mode::Batched => "quality, batched",
            Mode::Decode => "quality, one by one",
        },
        corpus.chunks().len(),
    );
    let mut attention = Vec::new();
    let mut measure = |candidates: &[KvSpec]| -> Result<Vec<Divergence>> {
        let arms: Vec<Arm> = std::iter::once(KvSpec::F16)
            .chain(candidates.iter().copied())
            .map(arm)
            .collect();
        let pairs: Vec<Pair> = (1..arms.len()).map(|candidate| Pair { base: 0, candidate }).collect();
        let result = divergence(gate.model, corpus, &arms, &pairs, &options, |p| progress.at(p.done))?;
        if !result.complete {
            return Err(Error::Cancelled.into());
        }
        attention.extend(result.arms.into_iter().skip(1).map(|arm| arm.attention));
        Ok(result.pairs)
    };
    let all = [KvSpec::F16, gate.args.kv, q4_0].map(arm);
    let pairs = if MemoryPlan::new(gate.model, corpus, &all, &options)?.fits() {
        measure(&[gate.args.kv, q4_0])?
    } else {
        [measure(&[gate.args.kv])?, measure(&[q4_0])?].concat()
    };
    let pairs: Option<[Divergence; 2]> = pairs.try_into().ok();
    pairs
        .zip(attention.into_iter().next())
        .ok_or_else(|| Error::Engine("a comparison of two pairs gave another number".into()).into())
}

/// What a candidate is held to, and where that comes from.
struct Bar {
    kl: Option<f64>,
    same_top: Option<f64>,
    source: String,
}

impl Bar {
    fn of(gate: &Gate<'_>, rival: &Divergence) -> Self {
        let candidate = gate.args.kv;
        let embedded = gate.engine.file.is_none() && gate.args.file.is_none() && gate.args.ctx_size == 512;
        if embedded {
            return match QualityBar::of(candidate) {
                Some(bar) => Self {
                    kl: bar.kl,
                    same_top: bar.same_top,
                    source: "bar of the embedded model".into(),
                },
                None => Self::none(format!("there is no bar for {candidate}")),
            };
        }
        // elsewhere q4_0 is the measure, for caches with about as many bits
        let bits = |ty: KvType| ty.bits_per_value();
        if bits(candidate.k).min(bits(candidate.v)) < 4.0 {
            return Self::none(format!(
                "there is no bar for {candidate} on this model; q4_0, which has more bits, diverges by {}",
                rival.mean_kl()
            ));
        }
        Self {
            kl: Some(rival.mean_kl()),
            same_top: Some(rival.same_top()),
            source: "bar: what llama.cpp's rotated q4_0 does in the same run".into(),
        }
    }

    fn none(source: String) -> Self {
        Self {
            kl: None,
            same_top: None,
            source,
        }
    }

    fn judge(&self, id: [&str; 2], what: &str, value: f64, bound: Option<Bound>, how: &str) -> Criterion {
        let judged = match bound {
            Some(pass) => Rule {
                id: "",
                what: "",
                pass,
                kill: None,
            }
            .measured(value, format!("{how}; {}", self.source)),
            None => Criterion {
                measured: Some(value),
                pass: None,
                ..rules::PERPLEXITY.not_run(format!("{how}; {}", self.source))
            },
        };
        Criterion {
            id: id.join("_"),
            what: format!("{what}, {}", id[1]),
            kill: None,
            ..judged
        }
    }
}

fn attention(gate: &Gate<'_>) -> Result<Criterion> {
    const KEYS: usize = 4096;
    let resolved = gate.engine.cache(gate.args.kv.config()).resolve(gate.model.meta())?;
    let mut worst = f64::INFINITY;
    let mut seen = Vec::new();
    for types in &resolved.layers {
        let layer = &gate.model.meta().layers[types.layer];
        let case = (types.k, types.v, layer.head_dim_k);
        if !seen.contains(&case) {
            seen.push(case);
            worst = worst.min(verify::attention_accuracy(types.k, types.v, layer.head_dim_k, KEYS)?.output_cosine);
        }
    }
    Ok(rules::ATTENTION.measured(
        worst,
        format!("synthetic layers of {KEYS} keys through the engine's operator"),
    ))
}

fn range(interval: Interval) -> String {
    format!("{:.5} ({:.5} .. {:.5})", interval.estimate, interval.low, interval.high)
}
