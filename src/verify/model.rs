//! A whole model on a device against the same model on the CPU: what single operators cannot show, such as a cache that is
//! read at the wrong place, or attention that quietly went to the processor.

use crate::engine::attention::{Implementation, UPSTREAM};
use crate::measure::{AttentionMeter, AttentionUse, compare, stats};
use crate::{
    Batch, CancelToken, Context, ContextConfig, Error, KvCacheConfig, KvType, LayerPolicy, Model, Result, Token,
};
use serde::Serialize;

/// The caches that are compared.
pub const CACHES: [KvType; 4] = [KvType::F16, KvType::Turbo4, KvType::Turbo3, KvType::Turbo2];

/// Tokens that are read at once, by the kernels for many queries.
pub const PROMPT: usize = 160;

/// Tokens that follow one by one, by the kernels for few.
pub const STEPS: usize = 64;

/// Largest mean Kullback-Leibler divergence of the device from the reference, in nats per token. Both round activations in their
/// own way, and a rounding that moves K or V over an edge of the codebook changes an index: that is why fewer bits diverge more.
/// Two sound implementations on one CPU, of which one rounds queries to q8_0, had 0 (f16), 1.6e-4 (turbo4), 5.0e-4 (turbo3) and
/// 2.1e-3 (turbo2).
pub const MOST_DIVERGENCE: f64 = 0.01;

/// Smallest share of tokens with the same most probable next token. The same two had 100, 97.8, 96.9 and 93.7 %; where two tokens
/// are nearly as probable, any rounding decides.
pub const LEAST_SAME_TOP: f64 = 0.85;

/// Who the device is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// The CPU, by this crate's kernels.
    Cpu,
    /// llama.cpp's own attention, where the CPU itself is what is checked.
    UpstreamAttention,
}

/// How a device's predictions differ with one cache.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelResult {
    /// The cache's type, K and V.
    pub kv: KvType,
    /// Tokens compared.
    pub tokens: usize,
    /// Mean Kullback-Leibler divergence from the reference, nats per token.
    pub mean_divergence: f64,
    /// The largest of a token.
    pub max_divergence: f64,
    /// Share of tokens with the same most probable next token.
    pub same_top: f64,
    /// Devices other than the CPU that attended.
    pub devices: Vec<String>,
    /// Layers whose attention was the CPU's.
    pub cpu_layers: usize,
    /// Attention operators over compressed caches that the CPU computed while the device was asked.
    pub cpu_operators: u64,
    /// What is wrong, one line each; none: passed.
    pub wrong: Vec<String>,
}

/// Compares predictions of `candidate` with those of `reference`, the same model file, with one cache type for K and V and no
/// raised layers. `text` needs [`PROMPT`] + [`STEPS`] tokens. `on_device`: attention must not be the CPU's. With
/// [`Reference::UpstreamAttention`] the reference's attention is llama.cpp's, which is a choice of the process: nothing else
/// may decode meanwhile.
///
/// # Errors
/// A text that is too short; those of [`Context::new`] and [`Context::decode`]; [`Error::Cancelled`].
pub fn check(
    (reference, how): (&Model, Reference),
    candidate: &Model,
    kv: KvType,
    text: &str,
    on_device: bool,
    cancel: &CancelToken,
) -> Result<ModelResult> {
    let mut tokens = reference.tokenize(start_of(text), true, false)?;
    if tokens.len() < PROMPT + STEPS {
        return Err(Error::Invalid(format!(
            "the text has {} tokens, and {} are compared",
            tokens.len(),
            PROMPT + STEPS
        )));
    }
    tokens.truncate(PROMPT + STEPS);
    let expected = match how {
        Reference::Cpu => predictions(reference, kv, &tokens, cancel)?,
        Reference::UpstreamAttention => {
            let active = Implementation::active()?;
            Implementation::named(UPSTREAM)?.select()?;
            let expected = predictions(reference, kv, &tokens, cancel);
            active.select()?;
            expected?
        }
    };
    let got = predictions(candidate, kv, &tokens, cancel)?;
    let n_vocab = expected.logits.len() / tokens.len();
    let rows = expected
        .logits
        .chunks_exact(n_vocab)
        .zip(got.logits.chunks_exact(n_vocab));
    // the last one has no token after it
    let scores: Vec<_> = rows
        .zip(&tokens[1..])
        .enumerate()
        .map(|(i, ((a, b), next))| compare(a, b, *next, i as u32))
        .collect();
    let divergences: Vec<f64> = scores.iter().map(|score| score.kl).collect();
    let same = scores.iter().filter(|score| score.same_top).count();
    let mut result = ModelResult {
        kv,
        tokens: scores.len(),
        mean_divergence: stats::mean(&divergences),
        max_divergence: divergences.iter().copied().fold(0.0, f64::max),
        same_top: same as f64 / scores.len() as f64,
        cpu_layers: got.attention.cpu_compressed + got.attention.cpu_plain,
        devices: got.attention.devices,
        cpu_operators: got.cpu_operators,
        wrong: Vec::new(),
    };
    result.wrong = faults(&result, on_device);
    Ok(result)
}

/// As much of a text as [`PROMPT`] + [`STEPS`] tokens can take; the rest would only be tokenized.
fn start_of(text: &str) -> &str {
    const BYTES_PER_TOKEN: usize = 32;
    let end = text.len().min((PROMPT + STEPS) * BYTES_PER_TOKEN);
    &text[..text.floor_char_boundary(end)]
}

/// What is wrong with a result. NaN is.
fn faults(result: &ModelResult, on_device: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    if result.mean_divergence.is_nan() || result.mean_divergence > MOST_DIVERGENCE {
        wrong.push(format!(
            "mean divergence {:.2e} nats, allowed {MOST_DIVERGENCE}",
            result.mean_divergence
        ));
    }
    if result.same_top < LEAST_SAME_TOP {
        wrong.push(format!(
            "the same most probable token in {:.1} % of the positions, {:.0} % required",
            100.0 * result.same_top,
            100.0 * LEAST_SAME_TOP
        ));
    }
    if on_device && (result.cpu_layers > 0 || result.cpu_operators > 0) {
        wrong.push(format!(
            "attention of {} layers was assigned to the CPU, which computed {} operators",
            result.cpu_layers, result.cpu_operators
        ));
    }
    wrong
}

struct Predictions {
    /// A row for each token.
    logits: Vec<f32>,
    attention: AttentionUse,
    cpu_operators: u64,
}

fn predictions(model: &Model, kv: KvType, tokens: &[Token], cancel: &CancelToken) -> Result<Predictions> {
    let mut context = model.context(ContextConfig {
        n_ctx: tokens.len().next_multiple_of(256) as u32,
        n_batch: PROMPT as u32,
        n_ubatch: PROMPT as u32,
        // threads of a small graph mostly wait for each other, and a device needs none
        n_threads: 1,
        kv: KvCacheConfig::uniform(kv).with_layers(LayerPolicy::Uniform),
        ..ContextConfig::default()
    })?;
    context.set_cancel(Some(cancel.clone()));
    let attention = AttentionUse::of(&context)?;
    let meter = AttentionMeter::start()?;
    let mut logits = Vec::new();
    let (prompt, steps) = tokens.split_at(PROMPT);
    read(&mut context, prompt, 0, &mut logits)?;
    for (i, token) in steps.iter().enumerate() {
        read(&mut context, &[*token], PROMPT + i, &mut logits)?;
    }
    let ops = meter.counts()?.ops;
    Ok(Predictions {
        logits,
        attention,
        cpu_operators: ops.turboquant + ops.upstream,
    })
}

fn read(context: &mut Context, tokens: &[Token], from: usize, logits: &mut Vec<f32>) -> Result<()> {
    let mut batch = Batch::new(tokens.len());
    for (i, token) in tokens.iter().enumerate() {
        batch.push(*token, (from + i) as i32, 0, true);
    }
    context.decode(&batch)?;
    for i in 0..tokens.len() {
        let row = context.logits(i);
        logits.extend(row.ok_or_else(|| Error::Engine(format!("position {}: no logits", from + i)))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> ModelResult {
        ModelResult {
            kv: KvType::Turbo4,
            tokens: 223,
            mean_divergence: 1e-4,
            max_divergence: 1e-2,
            same_top: 0.99,
            devices: vec!["MTL0".into()],
            cpu_layers: 0,
            cpu_operators: 0,
            wrong: Vec::new(),
        }
    }

    #[test]
    fn predictions_that_move_too_far_or_are_no_numbers_are_wrong() {
        assert_eq!(faults(&good(), true), [""; 0]);
        for mean_divergence in [0.02, f64::NAN] {
            assert_eq!(
                faults(
                    &ModelResult {
                        mean_divergence,
                        ..good()
                    },
                    true
                )
                .len(),
                1
            );
        }
        let other = ModelResult {
            same_top: 0.8,
            ..good()
        };
        assert_eq!(faults(&other, true).len(), 1);
    }

    #[test]
    fn attention_on_the_cpu_is_wrong_where_a_device_should_have_it() {
        let moved = [
            ModelResult {
                cpu_layers: 1,
                ..good()
            },
            ModelResult {
                cpu_operators: 1,
                ..good()
            },
        ];
        for result in moved {
            assert_eq!(faults(&result, true).len(), 1);
            assert_eq!(faults(&result, false), [""; 0], "the CPU itself");
        }
    }
}
