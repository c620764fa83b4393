//! Counters and histograms, kept from the start of the server.

use std::time::{Duration, Instant};

use prometheus::core::Collector;
use prometheus::{
    Counter, Encoder, Error, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
    TextEncoder,
};

use crate::commands::serve::backend::{Backend, Done, Finish};
use crate::commands::serve::observe::gauges;

/// Content type of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Whole requests, in seconds: from a look-up to a long answer.
const REQUEST_BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0,
];
/// Waiting for a slot, and for the first token, which includes the prompt's computation.
const WAIT_BUCKETS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0,
];
/// Between tokens: from a small model on a GPU to a large one on a CPU.
const TOKEN_BUCKETS: [f64; 14] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 5.0,
];

/// What one server has counted. Each server has its own, so that several in a process do not mix.
#[derive(Debug)]
pub struct Meter {
    registry: Registry,
    since: Instant,
    prompt_tokens: IntCounter,
    prompt_seconds: Counter,
    predicted_tokens: IntCounter,
    predicted_seconds: Counter,
    cached_tokens: IntCounter,
    drafted: IntCounter,
    accepted: IntCounter,
    jobs: IntCounterVec,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    queue: Histogram,
    first_token: Histogram,
    between_tokens: Histogram,
}

impl Default for Meter {
    fn default() -> Self {
        Self::new()
    }
}

impl Meter {
    /// A meter at zero.
    pub fn new() -> Self {
        Self::registered(Registry::new()).expect("names and labels below are valid and differ")
    }

    fn registered(registry: Registry) -> Result<Self, Error> {
        let own = &registry;
        Ok(Self {
            since: Instant::now(),
            prompt_tokens: count(
                own,
                "llamacpp:prompt_tokens_total",
                "Prompt tokens processed; those found in the cache are not.",
            )?,
            prompt_seconds: seconds(
                own,
                "llamacpp:prompt_seconds_total",
                "Prompt process time, summed over answers that ran side by side.",
            )?,
            predicted_tokens: count(own, "llamacpp:tokens_predicted_total", "Generated tokens.")?,
            predicted_seconds: seconds(
                own,
                "llamacpp:tokens_predicted_seconds_total",
                "Generation time, summed over answers that ran side by side.",
            )?,
            cached_tokens: count(
                own,
                "turboquant_cached_tokens_total",
                "Prompt tokens found in the KV cache.",
            )?,
            drafted: count(
                own,
                "turboquant_draft_tokens_total",
                "Tokens proposed by speculative decoding.",
            )?,
            accepted: count(
                own,
                "turboquant_draft_tokens_accepted_total",
                "Proposed tokens that the model accepted.",
            )?,
            jobs: kept(
                own,
                IntCounterVec::new(
                    Opts::new("turboquant_jobs_total", "Answers by how they ended."),
                    &["outcome"],
                )?,
            )?,
            requests: kept(
                own,
                IntCounterVec::new(
                    Opts::new(
                        "turboquant_http_requests_total",
                        "Requests by route and status; 499: the client went away before the answer began.",
                    ),
                    &["method", "route", "status"],
                )?,
            )?,
            request_seconds: kept(
                own,
                HistogramVec::new(
                    HistogramOpts::new(
                        "turboquant_http_request_seconds",
                        "Time from a request to the last byte of its answer.",
                    )
                    .buckets(REQUEST_BUCKETS.to_vec()),
                    &["route"],
                )?,
            )?,
            queue: times(
                own,
                "turboquant_queue_seconds",
                "Time until a slot took the job, its template and tokenizer included.",
                WAIT_BUCKETS,
            )?,
            first_token: times(
                own,
                "turboquant_time_to_first_token_seconds",
                "Time until the first piece of the answer.",
                WAIT_BUCKETS,
            )?,
            between_tokens: times(
                own,
                "turboquant_inter_token_seconds",
                "Time between pieces of an answer; a piece is a token, or the few that make a character.",
                TOKEN_BUCKETS,
            )?,
            registry,
        })
    }

    /// A request whose last byte is sent, or that nobody waits for any more.
    pub fn request(&self, method: &str, route: &str, status: u16, took: Duration) {
        let status = status.to_string();
        self.requests.with_label_values(&[method, route, &status]).inc();
        self.request_seconds
            .with_label_values(&[route])
            .observe(took.as_secs_f64());
    }

    /// Tokens that a request without a job used, such as one for embeddings: processed like a prompt.
    pub fn processed(&self, n_tokens: u32) {
        self.prompt_tokens.inc_by(n_tokens.into());
    }

    /// The text of a scrape: what was counted, and what the engine occupies now.
    ///
    /// # Errors
    /// Two metrics of one name, or a name outside Prometheus' alphabet: a mistake in this program.
    pub fn text(&self, backend: &dyn Backend) -> Result<String, Error> {
        let gauges = Registry::new();
        gauges::register(&gauges, backend, self.since.elapsed())?;
        self.register_speeds(&gauges)?;
        let mut families = self.registry.gather();
        families.extend(gauges.gather());
        families.sort_by(|a, b| a.name().cmp(b.name()));
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text)?;
        String::from_utf8(text).map_err(|error| Error::Msg(error.to_string()))
    }

    /// Llama-server's averages. It starts them again at each scrape, so that two scrapers disturb each other; a rate over
    /// the counters says the same without that.
    fn register_speeds(&self, registry: &Registry) -> Result<(), Error> {
        let speed = |tokens: &IntCounter, seconds: &Counter| match seconds.get() {
            0.0 => 0.0,
            seconds => tokens.get() as f64 / seconds,
        };
        gauges::gauge(
            registry,
            "llamacpp:prompt_tokens_seconds",
            "Average prompt throughput in tokens/s since the start.",
            speed(&self.prompt_tokens, &self.prompt_seconds),
        )?;
        gauges::gauge(
            registry,
            "llamacpp:predicted_tokens_seconds",
            "Average generation throughput in tokens/s since the start.",
            speed(&self.predicted_tokens, &self.predicted_seconds),
        )
    }

    pub(super) fn queued(&self, time: Duration) {
        self.queue.observe(time.as_secs_f64());
    }

    pub(super) fn first_token(&self, time: Duration) {
        self.first_token.observe(time.as_secs_f64());
    }

    pub(super) fn next_token(&self, time: Duration) {
        self.between_tokens.observe(time.as_secs_f64());
    }

    pub(super) fn done(&self, done: &Done) {
        let timings = &done.timings;
        self.prompt_tokens.inc_by(timings.prompt_n.into());
        self.predicted_tokens.inc_by(timings.predicted_n.into());
        self.cached_tokens.inc_by(timings.cache_n.into());
        // a counter refuses to fall, by a panic
        self.prompt_seconds.inc_by(timings.prompt_ms.max(0.0) / 1e3);
        self.predicted_seconds.inc_by(timings.predicted_ms.max(0.0) / 1e3);
        self.drafted.inc_by(timings.draft_n.unwrap_or(0).into());
        self.accepted.inc_by(timings.draft_n_accepted.unwrap_or(0).into());
        self.ended(match done.finish {
            Finish::Stop => "stop",
            Finish::Length => "length",
            Finish::ToolCalls => "tool_calls",
        });
    }

    /// `outcome` is one of few words: each makes a series.
    pub(super) fn ended(&self, outcome: &'static str) {
        self.jobs.with_label_values(&[outcome]).inc();
    }
}

fn count(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, Error> {
    kept(registry, IntCounter::new(name, help)?)
}

fn seconds(registry: &Registry, name: &str, help: &str) -> Result<Counter, Error> {
    kept(registry, Counter::new(name, help)?)
}

fn times(registry: &Registry, name: &str, help: &str, buckets: [f64; 14]) -> Result<Histogram, Error> {
    let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    kept(registry, Histogram::with_opts(opts)?)
}

fn kept<C: Collector + Clone + 'static>(registry: &Registry, metric: C) -> Result<C, Error> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
