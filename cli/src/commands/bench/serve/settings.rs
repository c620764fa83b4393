//! From options to a load, checked.

use crate::args::bench_serve::BenchServeArgs;
use crate::load::api::Sampling;
use crate::load::client::base;
use crate::load::mix::Class;
use crate::load::tally::Tally;
use crate::load::{Api, Drive, Loop, Plan, Target};
use anyhow::{Context, Result, bail};
use llama_turboquant::CancelToken;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// Without an end that was asked for.
const DURATION: u64 = 30;
/// Requests per second, at most.
const FASTEST: f64 = 100_000.0;

/// What is asked for.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Settings {
    pub(super) url: Option<String>,
    pub(super) api: Api,
    pub(super) clients: u32,
    /// Requests per second; null: a closed loop.
    pub(super) rate: Option<f64>,
    pub(super) duration: Option<u64>,
    pub(super) requests: Option<u64>,
    pub(super) mix: Vec<Class>,
    pub(super) ignore_eos: bool,
    pub(super) cache_prompt: bool,
    pub(super) temperature: f64,
    pub(super) disconnect: f64,
    pub(super) retry: u32,
    pub(super) verify: u32,
    pub(super) timeout: u64,
    pub(super) seed: u64,
    /// Of a server that was started here.
    pub(super) parallel: Option<u32>,
    pub(super) queue: Option<usize>,
    #[serde(skip)]
    key: Option<String>,
    #[serde(skip)]
    model: Option<String>,
    #[serde(skip)]
    plan: Plan,
}

impl Settings {
    /// Checks what was typed.
    ///
    /// # Errors
    /// Numbers out of range, a URL that is none, a file without a key.
    pub(super) fn new(args: &BenchServeArgs) -> Result<Self> {
        if let Some(rate) = args
            .rate
            .filter(|rate| !(rate.is_finite() && *rate > 0.0 && *rate <= FASTEST))
        {
            bail!("--rate {rate}: a number of requests per second above 0, at most {FASTEST}, is needed");
        }
        if !(0.0..=1.0).contains(&args.disconnect) {
            bail!(
                "--disconnect {}: a share is between 0 (nobody leaves) and 1 (everybody)",
                args.disconnect
            );
        }
        if !(0.0..=2.0).contains(&args.temperature) {
            bail!("--temperature {}: a temperature is between 0 and 2", args.temperature);
        }
        let duration = args.duration.or((args.requests.is_none()).then_some(DURATION));
        Ok(Self {
            url: args.url.as_deref().map(base).transpose()?,
            api: args.api,
            clients: args.clients,
            rate: args.rate,
            duration,
            requests: args.requests,
            mix: args.mix.classes().to_vec(),
            ignore_eos: !args.no_ignore_eos,
            cache_prompt: !args.no_cache_prompt,
            temperature: args.temperature,
            disconnect: args.disconnect,
            retry: args.retry,
            verify: args.verify,
            timeout: args.timeout,
            seed: args.seed,
            parallel: args.url.is_none().then_some(args.parallel),
            queue: args.url.is_none().then_some(args.queue),
            key: args.api_key_file.as_deref().map(key).transpose()?,
            model: args.model_name.clone(),
            plan: Plan {
                seed: args.seed,
                mix: args.mix.clone(),
                leaving: args.disconnect,
            },
        })
    }

    /// Whom to ask: the server of the URL, or the one at `own`.
    ///
    /// # Errors
    /// Neither is there.
    pub(super) fn target(&self, own: Option<String>) -> Result<Target> {
        Ok(Target {
            base: own
                .or_else(|| self.url.clone())
                .context("no server was named and none was started")?,
            api: self.api,
            model: self.model.clone().unwrap_or_default(),
            key: self.key.clone(),
            timeout: Duration::from_secs(self.timeout),
            sampling: Sampling {
                temperature: self.temperature,
                ignore_eos: self.ignore_eos,
                reuse: self.cache_prompt,
            },
        })
    }

    /// Counts of nothing yet.
    pub(super) fn tally(&self) -> Tally {
        Tally::new(&self.plan.mix, self.clients as usize, self.verify as usize, self.seed)
    }

    /// The load.
    pub(super) fn drive(&self, cancel: &CancelToken) -> Drive {
        Drive {
            plan: self.plan.clone(),
            pace: self.rate.map_or(Loop::Closed, Loop::Open),
            clients: self.clients as usize,
            duration: self.duration.map(Duration::from_secs),
            requests: self.requests,
            retries: self.retry,
            cancel: cancel.clone(),
        }
    }
}

fn key(file: &Path) -> Result<String> {
    let name = file.display();
    let text =
        std::fs::read_to_string(file).with_context(|| format!("cannot read the key in {name} (--api-key-file)"))?;
    let mut lines = text.lines().map(str::trim);
    let key = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    let key = key.with_context(|| format!("{name} holds no key (--api-key-file)"))?;
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        bail!("{name}: a key has visible ASCII characters only (--api-key-file)");
    }
    Ok(key.to_owned())
}
