//! What the options say for requests that leave it open: a backend in front of the engine fills it in, so that it holds
//! for every dialect.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use llama_turboquant::CancelToken;
use llama_turboquant::engine::sampler::{SamplerKind, SamplingParams};
use serde_json::{Map, Value};

use crate::args::serve::ServeArgs;
use crate::commands::serve::backend::{
    Backend, BackendError, ChatJob, ChatPrompt, CompletionJob, Counts, Details, EmbedJob, Embeddings, EventStream,
    Generation, Health, Inside, LoraScale, LoraStatus, Offer, Opened, RerankJob, Running, Scores, SlotAction,
    SlotReport, TokenPiece, TokenizeJob, Wanted,
};
use crate::settings::sampling;

/// Defaults for requests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Defaults {
    /// How to pick tokens.
    pub sampling: SamplingParams,
    /// Tokens of an answer at most; None: until the context is full.
    pub max_tokens: Option<u32>,
    /// Whether cached beginnings of prompts may be reused; false holds for all requests.
    pub cache_prompt: bool,
    /// Whether to go on past the end of text.
    pub ignore_eos: bool,
    /// Whether to reason; None leaves it to the template.
    pub thinking: Option<bool>,
    /// How hard.
    pub reasoning_effort: Option<String>,
    /// Variables for the chat template.
    pub template_kwargs: Map<String, Value>,
}

impl Defaults {
    /// What was typed.
    ///
    /// # Errors
    /// Numbers out of range, as in requests; samplers that do not exist; template variables that are no JSON object.
    pub fn new(args: &ServeArgs) -> Result<Self> {
        let (answers, more) = (&args.answers, &args.more_sampling);
        let breakers = &more.dry_sequence_breaker;
        let sampling = SamplingParams {
            dynatemp_range: more.dynatemp_range,
            dynatemp_exponent: more.dynatemp_exp,
            typical_p: more.typical_p,
            top_n_sigma: more.top_n_sigma,
            xtc_probability: more.xtc_probability,
            xtc_threshold: more.xtc_threshold,
            repeat_last_n: more.repeat_last_n,
            frequency_penalty: more.frequency_penalty,
            presence_penalty: more.presence_penalty,
            dry_multiplier: more.dry_multiplier,
            dry_base: more.dry_base,
            dry_allowed_length: more.dry_allowed_length,
            dry_penalty_last_n: more.dry_penalty_last_n,
            dry_sequence_breakers: (!breakers.is_empty())
                .then(|| breakers.iter().filter(|text| *text != "none").cloned().collect()),
            adaptive_target: more.adaptive_target,
            adaptive_decay: more.adaptive_decay,
            mirostat: more.mirostat,
            mirostat_tau: more.mirostat_ent,
            mirostat_eta: more.mirostat_lr,
            samplers: more.samplers.as_deref().map(samplers).transpose()?,
            reasoning_budget: (answers.reasoning_budget > 0).then_some(answers.reasoning_budget),
            reasoning_budget_message: answers.reasoning_budget_message.clone(),
            ..sampling(&args.sampling)
        };
        check(&sampling)?;
        let template_kwargs = match &answers.chat_template_kwargs {
            None => Map::new(),
            Some(text) => serde_json::from_str(text)
                .with_context(|| format!("--chat-template-kwargs takes a JSON object, not `{text}`"))?,
        };
        Ok(Self {
            sampling,
            max_tokens: u32::try_from(answers.predict).ok(),
            cache_prompt: answers.cache_prompt,
            ignore_eos: answers.ignore_eos,
            thinking: (answers.reasoning_budget == 0).then_some(false),
            reasoning_effort: answers.reasoning_effort.clone(),
            template_kwargs,
        })
    }

    /// `backend` with these defaults.
    pub fn over(self, backend: Arc<dyn Backend>) -> WithDefaults {
        WithDefaults {
            backend,
            defaults: self,
        }
    }

    fn generation(&self, asked: Generation) -> Generation {
        Generation {
            sampling: fill(asked.sampling, &self.sampling),
            max_tokens: asked.max_tokens.or(self.max_tokens),
            cache_prompt: asked.cache_prompt && self.cache_prompt,
            ignore_eos: asked.ignore_eos || self.ignore_eos,
            ..asked
        }
    }

    fn prompt(&self, mut asked: ChatPrompt) -> ChatPrompt {
        // who says how hard to reason wants it
        if asked.reasoning_effort.is_none() {
            asked.thinking = asked.thinking.or(self.thinking);
        }
        if asked.thinking != Some(false) {
            asked.reasoning_effort = asked.reasoning_effort.or_else(|| self.reasoning_effort.clone());
        }
        if !self.template_kwargs.is_empty() {
            let mut kwargs = self.template_kwargs.clone();
            if let Some(Value::Object(own)) = asked.template_kwargs {
                kwargs.extend(own);
            }
            asked.template_kwargs = Some(Value::Object(kwargs));
        }
        asked
    }
}

/// The chat template of the options, if they name one.
///
/// # Errors
/// A file that cannot be read.
pub fn chat_template(args: &ServeArgs) -> Result<Option<String>> {
    let read = |file: &Path| {
        std::fs::read_to_string(file)
            .with_context(|| format!("cannot read the template {} (--chat-template-file)", file.display()))
    };
    let file = args.answers.chat_template_file.as_deref();
    let template = args.answers.chat_template.clone();
    if let Some(name) = template.as_deref().filter(|text| !text.contains('{')) {
        bail!(
            "--chat-template takes a Jinja template, and `{name}` is none; to use the model's own leave it out, to read a \
             file use --chat-template-file"
        );
    }
    file.map(read).transpose().map(|text| text.or(template))
}

/// `asked`, with `defaults` for what it leaves open.
fn fill(asked: SamplingParams, defaults: &SamplingParams) -> SamplingParams {
    let d = defaults.clone();
    SamplingParams {
        seed: asked.seed.or(d.seed),
        min_keep: asked.min_keep.or(d.min_keep),
        temperature: asked.temperature.or(d.temperature),
        dynatemp_range: asked.dynatemp_range.or(d.dynatemp_range),
        dynatemp_exponent: asked.dynatemp_exponent.or(d.dynatemp_exponent),
        top_k: asked.top_k.or(d.top_k),
        top_p: asked.top_p.or(d.top_p),
        min_p: asked.min_p.or(d.min_p),
        typical_p: asked.typical_p.or(d.typical_p),
        top_n_sigma: asked.top_n_sigma.or(d.top_n_sigma),
        xtc_probability: asked.xtc_probability.or(d.xtc_probability),
        xtc_threshold: asked.xtc_threshold.or(d.xtc_threshold),
        repeat_last_n: asked.repeat_last_n.or(d.repeat_last_n),
        repeat_penalty: asked.repeat_penalty.or(d.repeat_penalty),
        frequency_penalty: asked.frequency_penalty.or(d.frequency_penalty),
        presence_penalty: asked.presence_penalty.or(d.presence_penalty),
        dry_multiplier: asked.dry_multiplier.or(d.dry_multiplier),
        dry_base: asked.dry_base.or(d.dry_base),
        dry_allowed_length: asked.dry_allowed_length.or(d.dry_allowed_length),
        dry_penalty_last_n: asked.dry_penalty_last_n.or(d.dry_penalty_last_n),
        dry_sequence_breakers: asked.dry_sequence_breakers.or(d.dry_sequence_breakers),
        adaptive_target: asked.adaptive_target.or(d.adaptive_target),
        adaptive_decay: asked.adaptive_decay.or(d.adaptive_decay),
        mirostat: asked.mirostat.or(d.mirostat),
        mirostat_tau: asked.mirostat_tau.or(d.mirostat_tau),
        mirostat_eta: asked.mirostat_eta.or(d.mirostat_eta),
        samplers: asked.samplers.or(d.samplers),
        reasoning_budget: asked.reasoning_budget.or(d.reasoning_budget),
        reasoning_budget_message: asked.reasoning_budget_message.or(d.reasoning_budget_message),
        ..asked
    }
}

/// Samplers as llama-server takes them: separated by `;`, dashes or underscores.
fn samplers(list: &str) -> Result<Vec<SamplerKind>> {
    list.split(';')
        .map(|name| name.trim().replace('-', "_"))
        .filter(|name| !name.is_empty())
        .map(|name| {
            serde_json::from_value(Value::String(name.clone())).map_err(|error| anyhow!("--samplers `{name}`: {error}"))
        })
        .collect()
}

/// The limits of requests, for defaults.
fn check(sampling: &SamplingParams) -> Result<()> {
    let within = |name: &str, value: Option<f32>, range: RangeInclusive<f32>| match value {
        Some(value) if !range.contains(&value) => {
            bail!(
                "--{name} must be between {} and {}, not {value}",
                range.start(),
                range.end()
            )
        }
        _ => Ok(()),
    };
    within("temp", sampling.temperature, 0.0..=100.0)?;
    within("top-p", sampling.top_p, 0.0..=1.0)?;
    within("min-p", sampling.min_p, 0.0..=1.0)?;
    within("typical-p", sampling.typical_p, 0.0..=1.0)?;
    within("top-n-sigma", sampling.top_n_sigma, -1.0..=100.0)?;
    within("repeat-penalty", sampling.repeat_penalty, 0.01..=100.0)?;
    within("presence-penalty", sampling.presence_penalty, -2.0..=2.0)?;
    within("frequency-penalty", sampling.frequency_penalty, -2.0..=2.0)?;
    within("xtc-probability", sampling.xtc_probability, 0.0..=1.0)?;
    within("xtc-threshold", sampling.xtc_threshold, 0.0..=1.0)?;
    within("dry-multiplier", sampling.dry_multiplier, 0.0..=100.0)?;
    within("dry-base", sampling.dry_base, 1.0..=100.0)?;
    within("adaptive-target", sampling.adaptive_target, -1.0..=1.0)?;
    within("adaptive-decay", sampling.adaptive_decay, 0.0..=0.99)?;
    within("dynatemp-range", sampling.dynatemp_range, 0.0..=100.0)?;
    within("dynatemp-exp", sampling.dynatemp_exponent, 0.0..=100.0)?;
    within("mirostat-ent", sampling.mirostat_tau, 0.0..=100.0)?;
    within("mirostat-lr", sampling.mirostat_eta, 0.0..=1.0)?;
    for (name, value, least) in [
        ("top-k", sampling.top_k, -1),
        ("repeat-last-n", sampling.repeat_last_n, -1),
        ("dry-allowed-length", sampling.dry_allowed_length, 0),
        ("dry-penalty-last-n", sampling.dry_penalty_last_n, -1),
    ] {
        if value.is_some_and(|value| value < least) {
            bail!("--{name} must be at least {least}");
        }
    }
    if sampling.seed.is_some_and(|seed| seed > i64::from(u32::MAX)) {
        bail!("--seed must be at most {}", u32::MAX);
    }
    Ok(())
}

/// A backend whose jobs have defaults.
pub struct WithDefaults {
    backend: Arc<dyn Backend>,
    defaults: Defaults,
}

impl Backend for WithDefaults {
    fn health(&self) -> Health {
        self.backend.health()
    }

    fn offers(&self) -> Result<Vec<Offer>, BackendError> {
        self.backend.offers()
    }

    fn details(&self, name: &str) -> Result<Details, BackendError> {
        self.backend.details(name)
    }

    fn open(&self, wanted: &Wanted, cancel: &CancelToken) -> Result<Opened, BackendError> {
        self.backend.open(wanted, cancel)
    }

    fn unload(&self, name: &str) -> Result<bool, BackendError> {
        self.backend.unload(name)
    }

    fn running(&self) -> Vec<Running> {
        self.backend.running()
    }

    fn counts(&self) -> Counts {
        self.backend.counts()
    }

    fn inside(&self, model: &str) -> Option<Inside> {
        self.backend.inside(model)
    }

    fn loading(&self) -> Vec<String> {
        self.backend.loading()
    }

    fn slot(&self, model: &str, slot: u32, action: SlotAction) -> Result<SlotReport, BackendError> {
        self.backend.slot(model, slot, action)
    }

    fn loras(&self, model: &str) -> Result<Vec<LoraStatus>, BackendError> {
        self.backend.loras(model)
    }

    fn scale_loras(&self, model: &str, scales: &[LoraScale]) -> Result<(), BackendError> {
        self.backend.scale_loras(model, scales)
    }

    fn chat(&self, job: ChatJob) -> Result<EventStream, BackendError> {
        self.backend.chat(ChatJob {
            prompt: self.defaults.prompt(job.prompt),
            generation: self.defaults.generation(job.generation),
        })
    }

    fn complete(&self, job: CompletionJob) -> Result<EventStream, BackendError> {
        self.backend.complete(CompletionJob {
            generation: self.defaults.generation(job.generation),
            ..job
        })
    }

    fn render(&self, model: &str, prompt: ChatPrompt) -> Result<String, BackendError> {
        self.backend.render(model, self.defaults.prompt(prompt))
    }

    fn embed(&self, job: EmbedJob) -> Result<Embeddings, BackendError> {
        self.backend.embed(job)
    }

    fn rerank(&self, job: RerankJob) -> Result<Scores, BackendError> {
        self.backend.rerank(job)
    }

    fn tokenize(&self, job: TokenizeJob) -> Result<Vec<TokenPiece>, BackendError> {
        self.backend.tokenize(job)
    }

    fn detokenize(&self, model: &str, tokens: &[i32]) -> Result<String, BackendError> {
        self.backend.detokenize(model, tokens)
    }
}
