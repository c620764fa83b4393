//! Jobs over a scheduler, and what came of them.
#![allow(dead_code)] // each test program uses its part

use super::tiny;
use llama_turboquant::generate::GenParams;
use llama_turboquant::scheduler::{Job, JobEvent, JobSink, JobStats, Scheduler, SchedulerConfig, SlotState};
use llama_turboquant::vision::MediaPrompt;
use llama_turboquant::{CancelToken, ContextConfig, Error, KvCacheConfig, KvType, LoraSet, Model, Token};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Settings of a scheduler under test.
pub struct Setup {
    pub model: Model,
    pub slots: u32,
    pub n_ctx: u32,
    pub n_ubatch: u32,
    pub kv: KvCacheConfig,
    pub prompt_cache: Option<u64>,
    pub checkpoints: usize,
    pub checkpoint_min_step: usize,
}

impl Setup {
    /// `slots` slots over the embedded model; f16, whose answers do not depend on where in the cache they are.
    pub fn of(slots: u32) -> Self {
        Self {
            model: tiny(),
            slots,
            n_ctx: 4096,
            n_ubatch: 256,
            kv: KvCacheConfig::uniform(KvType::F16),
            prompt_cache: Some(0),
            checkpoints: 32,
            checkpoint_min_step: 8192,
        }
    }

    pub fn start(self) -> Scheduler {
        let kv = KvCacheConfig {
            unified: self.slots > 1,
            ..self.kv
        };
        let context = self.model.context(ContextConfig {
            n_ctx: self.n_ctx,
            n_ubatch: self.n_ubatch,
            n_seq_max: self.slots,
            n_threads: 1,
            kv,
            ..Default::default()
        });
        let config = SchedulerConfig {
            queue_limit: 16,
            prompt_cache: self.prompt_cache,
            checkpoints: self.checkpoints,
            checkpoint_min_step: self.checkpoint_min_step,
        };
        Scheduler::with(context.expect("a context"), config)
    }
}

/// A job on its way.
pub struct Running {
    events: Receiver<JobEvent>,
    pub cancel: CancelToken,
}

/// A job that has ended.
#[derive(Debug)]
pub struct Ended {
    pub tokens: Vec<Token>,
    /// `n_cached` and `n_done` of every progress event.
    pub progress: Vec<(usize, usize)>,
    pub stats: JobStats,
}

/// Starts a greedy answer of `n` tokens.
pub fn submit(scheduler: &Scheduler, prompt: &[Token], n: usize) -> Running {
    submit_with(scheduler, prompt, n, true)
}

pub fn submit_with(scheduler: &Scheduler, prompt: &[Token], n: usize, reuse_prefix: bool) -> Running {
    submit_under(scheduler, prompt, n, LoraSet::default(), reuse_prefix)
}

/// The same with these adapters.
pub fn submit_under(scheduler: &Scheduler, prompt: &[Token], n: usize, loras: LoraSet, reuse_prefix: bool) -> Running {
    submit_prompt(
        scheduler,
        MediaPrompt::of_tokens(prompt.to_vec()),
        n,
        loras,
        reuse_prefix,
    )
}

/// Starts a greedy answer of `n` tokens to text and images.
pub fn submit_media(scheduler: &Scheduler, prompt: MediaPrompt, n: usize) -> Running {
    submit_prompt(scheduler, prompt, n, LoraSet::default(), true)
}

fn submit_prompt(scheduler: &Scheduler, prompt: MediaPrompt, n: usize, loras: LoraSet, reuse_prefix: bool) -> Running {
    let (prompt, images) = prompt.into_parts();
    let (sender, events) = channel();
    let cancel = CancelToken::new();
    let mut params = GenParams::greedy().max_tokens(n).cancel(cancel.clone());
    params.sampling.ignore_eos = Some(true);
    let sink = move |event| match sender.send(event) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    let job = Job {
        prompt,
        images,
        params,
        loras,
        reuse_prefix,
        progress: true,
        sink: JobSink::new(sink),
    };
    scheduler
        .submit(job)
        .map_err(|(error, _)| error)
        .expect("a place in the queue");
    Running { events, cancel }
}

impl Running {
    /// Waits until the prompt is being computed.
    pub fn started(&self) {
        match self.next() {
            JobEvent::Started { .. } => {}
            other => panic!("{other:?} before the start"),
        }
    }

    /// Waits for the first piece of the answer.
    pub fn first_piece(&self) {
        while !matches!(self.next(), JobEvent::Piece(_)) {}
    }

    pub fn next(&self) -> JobEvent {
        self.events.recv_timeout(Duration::from_secs(60)).expect("an event")
    }

    pub fn end(self) -> Ended {
        self.outcome().expect("an answer")
    }

    pub fn outcome(self) -> Result<Ended, Error> {
        let (mut tokens, mut progress) = (Vec::new(), Vec::new());
        loop {
            match self.next() {
                JobEvent::Started { .. } => {}
                JobEvent::Progress { n_cached, n_done, .. } => progress.push((n_cached, n_done)),
                JobEvent::Piece(piece) => tokens.push(piece.token),
                JobEvent::Done(stats) => {
                    return Ok(Ended {
                        tokens,
                        progress,
                        stats,
                    });
                }
                JobEvent::Failed(error) => return Err(error),
            }
        }
    }
}

/// The greedy answer of a scheduler that knows nothing else.
pub fn alone(setup: Setup, prompt: &[Token], n: usize) -> Vec<Token> {
    let scheduler = Setup { slots: 1, ..setup }.start();
    submit(&scheduler, prompt, n).end().tokens
}

pub fn answer(scheduler: &Scheduler, prompt: &[Token], n: usize) -> Ended {
    submit(scheduler, prompt, n).end()
}

/// Waits until the slots are as `like` wants them, for a second at most.
pub fn slots_become(scheduler: &Scheduler, like: impl Fn(&[SlotState]) -> bool) -> Vec<SlotState> {
    let start = Instant::now();
    loop {
        let slots = scheduler.slots();
        if like(&slots) {
            return slots;
        }
        assert!(start.elapsed() < Duration::from_secs(1), "{slots:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until all slots are idle, for a second at most.
pub fn idle(scheduler: &Scheduler) -> Vec<SlotState> {
    slots_become(scheduler, |slots| slots.iter().all(|slot| !slot.busy))
}

/// `n` tokens that begin with those of `seed` only.
pub fn prompt(seed: u32, n: usize) -> Vec<Token> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (300 + (state >> 8) % 200) as Token
        })
        .collect()
}

/// Tokens of prompt `shared`, then others of `own`.
pub fn branch(shared: u32, n: usize, own: u32, m: usize) -> Vec<Token> {
    [prompt(shared, n), prompt(own, m)].concat()
}
