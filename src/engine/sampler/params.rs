//! What a sampler is made from: parameters, the order of the chain, and what the answer must look like.

use super::Sampler;
use crate::engine::grammar::{Grammar, limits};
use crate::engine::model::{Model, Token};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One step of a sampling chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SamplerKind {
    /// Repetition, frequency and presence penalties.
    Penalties,
    /// DRY: a growing penalty for continuing a repetition.
    Dry,
    /// Keeps logits within n standard deviations of the best.
    TopNSigma,
    /// Keeps the k best.
    TopK,
    /// Keeps tokens of typical information content.
    #[serde(alias = "typ_p", alias = "typical")]
    TypicalP,
    /// Keeps the smallest set with this much probability.
    TopP,
    /// Keeps tokens at least this probable compared with the best.
    MinP,
    /// Sometimes drops all but the least probable of the probable tokens.
    Xtc,
    /// Divides the logits.
    #[serde(alias = "temp")]
    Temperature,
    /// Steers towards a target probability over time.
    AdaptiveP,
}

/// How to choose tokens. `None` leaves the engine's default; see [`Sampler::new`].
///
/// Deserializes from the names that llama.cpp's server uses, so a request body can be read into it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // the fields are the samplers' parameters by their known names
pub struct SamplingParams {
    /// Equal seeds give equal answers; `None` or negative: random.
    pub seed: Option<i64>,
    /// Samplers that drop tokens keep at least this many (default 0).
    pub min_keep: Option<u32>,
    /// 0: always the most probable token (default 0.8).
    pub temperature: Option<f32>,
    pub dynatemp_range: Option<f32>,
    pub dynatemp_exponent: Option<f32>,
    /// 0 or less: all (default 40).
    pub top_k: Option<i32>,
    /// 1: off (default 0.95).
    pub top_p: Option<f32>,
    /// 0: off (default 0.05).
    pub min_p: Option<f32>,
    /// 1: off (default 1).
    pub typical_p: Option<f32>,
    /// Not positive: off (default off).
    pub top_n_sigma: Option<f32>,
    pub xtc_probability: Option<f32>,
    pub xtc_threshold: Option<f32>,
    /// Tokens the penalties look back; -1: the model's context length (default 64).
    pub repeat_last_n: Option<i32>,
    /// 1: off (default 1).
    pub repeat_penalty: Option<f32>,
    pub frequency_penalty: Option<f32>,
    pub presence_penalty: Option<f32>,
    /// 0: off (default 0).
    pub dry_multiplier: Option<f32>,
    pub dry_base: Option<f32>,
    pub dry_allowed_length: Option<i32>,
    /// -1: the model's context length (default 64).
    pub dry_penalty_last_n: Option<i32>,
    pub dry_sequence_breakers: Option<Vec<String>>,
    pub adaptive_target: Option<f32>,
    pub adaptive_decay: Option<f32>,
    /// 0, 1 or 2; replaces all samplers but the temperature (default 0).
    pub mirostat: Option<u8>,
    pub mirostat_tau: Option<f32>,
    pub mirostat_eta: Option<f32>,
    /// Added to logits; negative infinity bans a token.
    pub logit_bias: Option<Vec<(Token, f32)>>,
    /// Never end by an end token.
    pub ignore_eos: Option<bool>,
    /// The chain, in order; only what is named takes part.
    pub samplers: Option<Vec<SamplerKind>>,
    /// Tokens a model may think before it must answer; negative: no limit.
    pub reasoning_budget: Option<i32>,
    /// Written when the budget is spent, before the end-of-thinking tag.
    pub reasoning_budget_message: Option<String>,
}

impl SamplingParams {
    /// Always the most probable token.
    pub fn greedy() -> Self {
        Self {
            temperature: Some(0.0),
            samplers: Some(vec![SamplerKind::Temperature]),
            ..Self::default()
        }
    }

    /// The chain for what leaves it open. At temperature 0 the most probable token is chosen, and samplers that always keep
    /// it (top_k, top_p, min_p, top_n_sigma) cannot change that: sorting the vocabulary for them is left out.
    fn chain(&self) -> Option<Vec<SamplerKind>> {
        let off = |value: Option<f32>| value.is_none_or(|value| value <= 0.0);
        let sure = self.temperature.is_some_and(|temperature| temperature <= 0.0)
            && off(self.dynatemp_range)
            && off(self.xtc_probability)
            && self.typical_p.is_none_or(|p| p >= 1.0)
            && self.adaptive_target.is_none_or(|target| target < 0.0)
            && self.mirostat.is_none_or(|mirostat| mirostat == 0);
        match &self.samplers {
            None if sure => Some(vec![SamplerKind::Penalties, SamplerKind::Dry, SamplerKind::Temperature]),
            given => given.clone(),
        }
    }
}

/// What an answer must look like: a grammar of the caller, or what a chat template demands of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Constraint(pub(in crate::engine) Map<String, Value>);

impl Constraint {
    /// Whether there is a grammar (perhaps one that only starts at a trigger).
    pub fn has_grammar(&self) -> bool {
        self.0.contains_key("grammar")
    }
}

impl From<&Grammar> for Constraint {
    fn from(grammar: &Grammar) -> Self {
        Self(Map::from_iter([("grammar".to_owned(), Value::from(grammar.as_str()))]))
    }
}

/// Builds a chain: every method that names a sampler appends it, so the order of calls is the order of the chain, and
/// nothing else takes part.
#[derive(Debug, Clone, Default)]
#[must_use]
pub struct SamplerBuilder {
    params: SamplingParams,
    constraint: Option<Constraint>,
}

impl SamplerBuilder {
    fn step(mut self, kind: SamplerKind, set: impl FnOnce(&mut SamplingParams)) -> Self {
        let chain = self.params.samplers.get_or_insert_default();
        if !chain.contains(&kind) {
            chain.push(kind);
        }
        set(&mut self.params);
        self
    }

    /// Keeps the `k` most probable tokens.
    pub fn top_k(self, k: u32) -> Self {
        self.step(SamplerKind::TopK, |p| {
            p.top_k = Some(i32::try_from(k).unwrap_or(i32::MAX))
        })
    }

    /// Keeps the smallest set of tokens with probability `p`.
    pub fn top_p(self, p: f32) -> Self {
        self.step(SamplerKind::TopP, |params| params.top_p = Some(p))
    }

    /// Keeps tokens at least `p` times as probable as the best.
    pub fn min_p(self, p: f32) -> Self {
        self.step(SamplerKind::MinP, |params| params.min_p = Some(p))
    }

    /// Keeps tokens of typical information content, up to probability `p`.
    pub fn typical(self, p: f32) -> Self {
        self.step(SamplerKind::TypicalP, |params| params.typical_p = Some(p))
    }

    /// Keeps tokens within `n` standard deviations of the best logit.
    pub fn top_n_sigma(self, n: f32) -> Self {
        self.step(SamplerKind::TopNSigma, |p| p.top_n_sigma = Some(n))
    }

    /// Divides the logits by `t`; 0 leaves only the most probable token.
    pub fn temperature(self, t: f32) -> Self {
        self.step(SamplerKind::Temperature, |p| p.temperature = Some(t))
    }

    /// With `probability`, drops all tokens above `threshold` but the least probable of them.
    pub fn xtc(self, probability: f32, threshold: f32) -> Self {
        self.step(SamplerKind::Xtc, |p| {
            p.xtc_probability = Some(probability);
            p.xtc_threshold = Some(threshold);
        })
    }

    /// Penalizes tokens among the `last_n`: `repeat` divides (1: off), `frequency` and `presence` subtract (0: off).
    pub fn penalties(self, last_n: i32, repeat: f32, frequency: f32, presence: f32) -> Self {
        self.step(SamplerKind::Penalties, |p| {
            p.repeat_last_n = Some(last_n);
            p.repeat_penalty = Some(repeat);
            p.frequency_penalty = Some(frequency);
            p.presence_penalty = Some(presence);
        })
    }

    /// DRY with `multiplier` (0: off), `base` and the length of repetition that costs nothing.
    pub fn dry(self, multiplier: f32, base: f32, allowed_length: i32) -> Self {
        self.step(SamplerKind::Dry, |p| {
            p.dry_multiplier = Some(multiplier);
            p.dry_base = Some(base);
            p.dry_allowed_length = Some(allowed_length);
        })
    }

    /// Mirostat 1 or 2 with target entropy `tau` and learning rate `eta`, instead of the chain.
    pub fn mirostat(mut self, version: u8, tau: f32, eta: f32) -> Self {
        self.params.mirostat = Some(version);
        self.params.mirostat_tau = Some(tau);
        self.params.mirostat_eta = Some(eta);
        self
    }

    /// Adds `bias` to the logit of `token`; negative infinity bans it.
    pub fn logit_bias(mut self, token: Token, bias: f32) -> Self {
        self.params.logit_bias.get_or_insert_default().push((token, bias));
        self
    }

    /// Lets only text through that follows the grammar.
    pub fn grammar(mut self, grammar: &Grammar) -> Self {
        self.constraint = Some(grammar.into());
        self
    }

    /// The seed of the random numbers.
    pub fn seed(mut self, seed: u64) -> Self {
        // the engine's seeds have 32 bits; the halves are folded here so that no bit is lost to the sign
        self.params.seed = Some(i64::from((seed ^ (seed >> 32)) as u32));
        self
    }

    /// The parameters so far.
    pub fn params(&self) -> &SamplingParams {
        &self.params
    }

    /// Makes the sampler.
    ///
    /// # Errors
    /// As [`Sampler::new`].
    pub fn build(self, model: &Model) -> Result<Sampler> {
        let mut params = self.params;
        params.samplers.get_or_insert_default();
        Sampler::new(model, &params, self.constraint.as_ref())
    }
}

/// One JSON object of both; the constraint comes last, so that parameters cannot replace its grammar.
pub(super) fn to_json(params: &SamplingParams, constraint: Option<&Constraint>) -> Result<String> {
    let (mut rest, biases) = (params.clone(), params.logit_bias.clone().unwrap_or_default());
    rest.logit_bias = None;
    let value = serde_json::to_value(&rest).map_err(|e| Error::Invalid(format!("sampling parameters: {e}")))?;
    // JSON has neither infinities nor NaN: they become null, which means "default"
    let read_back: SamplingParams = serde_json::from_value(value.clone()).unwrap_or_default();
    let bad_bias = biases.iter().any(|(_, bias)| bias.is_nan() || *bias == f32::INFINITY);
    if read_back != rest || bad_bias {
        return Err(Error::Invalid("a sampling parameter is not a finite number".into()));
    }
    let Value::Object(mut all) = value else {
        unreachable!("a struct serializes to an object")
    };
    all.insert("logit_bias".into(), serde_json::json!(biases)); // null: never, in the shim's terms
    all.insert("samplers".into(), serde_json::json!(params.chain()));
    if let Some(Constraint(constraint)) = constraint {
        if let Some(gbnf) = constraint.get("grammar").and_then(Value::as_str) {
            limits::check_gbnf(gbnf).map_err(Error::Grammar)?;
        }
        all.extend(constraint.clone());
    }
    Ok(Value::Object(all).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperature_0_leaves_out_what_cannot_change_the_choice() {
        let zero = SamplingParams {
            temperature: Some(0.0),
            top_k: Some(40),
            top_p: Some(0.9),
            ..SamplingParams::default()
        };
        let short = [SamplerKind::Penalties, SamplerKind::Dry, SamplerKind::Temperature];
        assert_eq!(zero.chain().as_deref(), Some(&short[..]));
        let changes = [
            SamplingParams {
                temperature: Some(0.1),
                ..zero.clone()
            },
            SamplingParams {
                xtc_probability: Some(0.5),
                ..zero.clone()
            },
            SamplingParams {
                typical_p: Some(0.9),
                ..zero.clone()
            },
            SamplingParams {
                mirostat: Some(2),
                ..zero.clone()
            },
        ];
        for params in changes {
            assert_eq!(params.chain(), None, "{params:?}");
        }
        let own = SamplingParams {
            samplers: Some(vec![SamplerKind::TopK]),
            ..zero
        };
        assert_eq!(own.chain(), Some(vec![SamplerKind::TopK]), "what was asked for is done");
    }

    #[test]
    fn the_order_of_calls_is_the_order_of_the_chain() {
        let builder = Sampler::chain().min_p(0.1).temperature(0.7).top_k(40).min_p(0.2);
        let order = [SamplerKind::MinP, SamplerKind::Temperature, SamplerKind::TopK];
        assert_eq!(builder.params().samplers.as_deref(), Some(&order[..]));
        assert_eq!(builder.params().min_p, Some(0.2));
    }

    #[test]
    fn numbers_that_json_cannot_hold_are_refused_and_not_dropped() {
        for temperature in [f32::NAN, f32::INFINITY] {
            let params = SamplingParams {
                temperature: Some(temperature),
                ..Default::default()
            };
            assert!(to_json(&params, None).is_err());
        }
        let bias = |b| SamplingParams {
            logit_bias: Some(vec![(1, b)]),
            ..Default::default()
        };
        assert!(to_json(&bias(f32::NAN), None).is_err());
        assert!(to_json(&bias(f32::NEG_INFINITY), None).is_ok_and(|json| json.contains("[[1,null]]")));
    }

    #[test]
    fn a_request_body_reads_into_parameters() {
        let body = serde_json::json!({"temperature": 0.5, "samplers": ["top_k", "typ_p", "temp"], "messages": []});
        let params: SamplingParams = serde_json::from_value(body).expect("parameters");
        assert_eq!(params.temperature, Some(0.5));
        let order = [SamplerKind::TopK, SamplerKind::TypicalP, SamplerKind::Temperature];
        assert_eq!(params.samplers.as_deref(), Some(&order[..]));
    }
}
