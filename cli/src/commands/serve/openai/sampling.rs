//! Sampling fields.

use serde_json::Value;

use llama_turboquant::Token;
use llama_turboquant::engine::sampler::{SamplerKind, SamplingParams};

use crate::commands::serve::backend::ModelCard;
use crate::commands::serve::body::Fields;
use crate::commands::serve::error::ApiError;

/// Sequence breakers one request may have; the engine tokenizes each of them.
const MAX_BREAKERS: usize = 64;

/// llama-server's letters for samplers.
const LETTERS: [(char, SamplerKind); 10] = [
    ('e', SamplerKind::Penalties),
    ('d', SamplerKind::Dry),
    ('s', SamplerKind::TopNSigma),
    ('k', SamplerKind::TopK),
    ('y', SamplerKind::TypicalP),
    ('p', SamplerKind::TopP),
    ('m', SamplerKind::MinP),
    ('x', SamplerKind::Xtc),
    ('t', SamplerKind::Temperature),
    ('a', SamplerKind::AdaptiveP),
];

/// Reads the fields that steer the choice of tokens.
pub fn sampling(fields: Fields<'_>, card: &ModelCard) -> Result<SamplingParams, ApiError> {
    let top_k: Option<i32> = fields.int("top_k", -1..=i64::from(i32::MAX))?;
    let look_back = -1..=i64::from(i32::MAX);
    let budget = -1..=i64::from(i32::MAX);
    Ok(SamplingParams {
        temperature: fields.float("temperature", 0.0..=100.0)?,
        top_p: fields.float("top_p", 0.0..=1.0)?,
        // llama-server takes every k below 1 for "off".
        top_k: top_k.map(|k| k.max(0)),
        min_p: fields.float("min_p", 0.0..=1.0)?,
        typical_p: match fields.float("typical_p", 0.0..=1.0)? {
            None => fields.float("typ_p", 0.0..=1.0)?,
            given => given,
        },
        min_keep: fields.int("min_keep", 0..=i64::from(i32::MAX))?,
        dynatemp_range: fields.float("dynatemp_range", 0.0..=100.0)?,
        dynatemp_exponent: fields.float("dynatemp_exponent", 0.0..=100.0)?,
        // Negative: off.
        adaptive_target: fields.float("adaptive_target", -1.0..=1.0)?,
        adaptive_decay: fields.float("adaptive_decay", 0.0..=0.99)?,
        dry_sequence_breakers: breakers(fields)?,
        samplers: samplers(fields)?,
        reasoning_budget: match fields.int("thinking_budget_tokens", budget.clone())? {
            None => fields.int("reasoning_budget", budget)?,
            given => given,
        },
        reasoning_budget_message: fields.str("reasoning_budget_message")?.map(str::to_owned),
        top_n_sigma: fields.float("top_n_sigma", -1.0..=100.0)?,
        // Logits are divided by it, so it must stay away from zero. The second name is that of
        // Hugging Face and vLLM.
        repeat_penalty: match fields.float("repeat_penalty", 0.01..=100.0)? {
            None => fields.float("repetition_penalty", 0.01..=100.0)?,
            given => given,
        },
        repeat_last_n: fields.int("repeat_last_n", look_back.clone())?,
        presence_penalty: fields.float("presence_penalty", -2.0..=2.0)?,
        frequency_penalty: fields.float("frequency_penalty", -2.0..=2.0)?,
        xtc_probability: fields.float("xtc_probability", 0.0..=1.0)?,
        xtc_threshold: fields.float("xtc_threshold", 0.0..=1.0)?,
        dry_multiplier: fields.float("dry_multiplier", 0.0..=100.0)?,
        dry_base: fields.float("dry_base", 1.0..=100.0)?,
        dry_allowed_length: fields.int("dry_allowed_length", 0..=i64::from(i32::MAX))?,
        dry_penalty_last_n: fields.int("dry_penalty_last_n", look_back)?,
        mirostat: fields.int("mirostat", 0..=2)?,
        mirostat_tau: fields.float("mirostat_tau", 0.0..=100.0)?,
        mirostat_eta: fields.float("mirostat_eta", 0.0..=1.0)?,
        seed: seed(fields)?,
        logit_bias: Some(logit_bias(fields, card)?).filter(|biases| !biases.is_empty()),
        ..SamplingParams::default()
    })
}

/// Texts at which DRY stops looking for repetitions.
fn breakers(fields: Fields<'_>) -> Result<Option<Vec<String>>, ApiError> {
    let wrong = |message: String| ApiError::param("dry_sequence_breakers", message);
    let Some(given) = fields.array("dry_sequence_breakers")? else {
        return Ok(None);
    };
    if given.len() > MAX_BREAKERS {
        return Err(wrong(format!("may have at most {MAX_BREAKERS} entries")));
    }
    let breaker = |value: &Value| {
        let text = value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        text.ok_or_else(|| wrong("must be an array of non-empty strings".into()))
    };
    given.iter().map(breaker).collect::<Result<_, _>>().map(Some)
}

/// The samplers to apply, in order: names, or llama-server's letters for them.
fn samplers(fields: Fields<'_>) -> Result<Option<Vec<SamplerKind>>, ApiError> {
    let unknown = |name: &str| {
        ApiError::param(
            "samplers",
            format_args!(
                "names '{name}'; known are penalties, dry, top_n_sigma, top_k, typ_p, top_p, min_p, xtc, temperature \
                 and adaptive_p"
            ),
        )
    };
    let named = |name: &str| serde_json::from_value(Value::from(name)).map_err(|_| unknown(name));
    let kinds: Vec<SamplerKind> = match fields.get("samplers") {
        None => return Ok(None),
        Some(Value::String(letters)) => letters
            .chars()
            .map(|letter| {
                let known = LETTERS.iter().find(|(known, _)| *known == letter);
                known.map(|(_, kind)| *kind).ok_or_else(|| unknown(&letter.to_string()))
            })
            .collect::<Result<_, _>>()?,
        Some(Value::Array(names)) => names
            .iter()
            .map(|name| named(name.as_str().unwrap_or_default()))
            .collect::<Result<_, _>>()?,
        Some(_) => {
            return Err(ApiError::param(
                "samplers",
                "must be an array of names or a string of letters",
            ));
        }
    };
    // each is made and run anew: DRY reads the whole vocabulary for each of its breakers
    let repeats = || (1..kinds.len()).any(|at| kinds[..at].contains(&kinds[at]));
    if kinds.len() > LETTERS.len() || repeats() {
        return Err(ApiError::param("samplers", "may name each sampler once"));
    }
    Ok(Some(kinds))
}

/// The seed. Clients send up to 64 bits and the engine takes 32: larger ones are folded, so that
/// equal seeds stay equal.
fn seed(fields: Fields<'_>) -> Result<Option<i64>, ApiError> {
    let Some(value) = fields.get("seed") else {
        return Ok(None);
    };
    match (value.as_u64(), value.as_i64()) {
        // llama.cpp's spelling of "random", and -1, which clients of llama-server send.
        (Some(seed), _) if seed == u64::from(u32::MAX) => Ok(None),
        (None, Some(-1)) => Ok(None),
        (Some(seed), _) => {
            let folded = (seed ^ (seed >> 32)) as u32;
            Ok(Some(if folded == u32::MAX { 0 } else { folded.into() }))
        }
        _ => Err(ApiError::param("seed", "must be an integer of at least -1")),
    }
}

/// The seed of the choice at `index`: answers to the same prompt should differ.
pub fn seed_for(seed: Option<i64>, index: usize) -> Option<i64> {
    // Modulo 2^32 - 1, which skips the value that means "random".
    seed.map(|seed| (seed + index as i64) % i64::from(u32::MAX))
}

/// `{"id": bias}` as OpenAI has it, or `[[id, bias], ...]` as llama-server has it; there, `false`
/// forbids a token.
fn logit_bias(fields: Fields<'_>, card: &ModelCard) -> Result<Vec<(Token, f32)>, ApiError> {
    let wrong = |message: &str| ApiError::param("logit_bias", message);
    let entry = |token: &Value, bias: &Value| {
        let token = card
            .token(token)
            .ok_or_else(|| wrong("must name tokens by their ids in the vocabulary"))?;
        let bias = match bias {
            Value::Bool(false) => f32::NEG_INFINITY,
            bias => match bias.as_f64() {
                Some(bias) if (-100.0..=100.0).contains(&bias) => bias as f32,
                _ => return Err(wrong("must have biases between -100 and 100")),
            },
        };
        Ok((token, bias))
    };
    match fields.get("logit_bias") {
        None => Ok(Vec::new()),
        Some(Value::Object(map)) => map
            .iter()
            .map(|(token, bias)| entry(&token.parse::<u32>().map_or(Value::Null, Value::from), bias))
            .collect(),
        Some(Value::Array(pairs)) => pairs
            .iter()
            .map(|pair| match pair.as_array().map(Vec::as_slice) {
                Some([token, bias]) => entry(token, bias),
                _ => Err(wrong("must consist of pairs of a token id and a bias")),
            })
            .collect(),
        Some(_) => Err(wrong("must be an object or an array of pairs")),
    }
}

#[cfg(test)]
mod tests {
    use super::seed_for;

    #[test]
    fn choices_get_seeds_of_their_own_and_never_the_random_one() {
        assert_eq!(seed_for(None, 3), None);
        assert_eq!(seed_for(Some(7), 0), Some(7));
        assert_eq!(seed_for(Some(i64::from(u32::MAX) - 1), 1), Some(0));
    }
}
