//! The engine as an executor: a context per arm.

use super::{Executor, Run, ThroughputOptions, Workload};
use crate::engine::{MemoryUse, heap};
use crate::kv::{KvBytes, LayerTypes};
use crate::measure::attention::{AttentionMeter, AttentionUse};
use crate::measure::resident::{PeakMeter, wait_until_idle};
use crate::verify::rng::Rng;
use crate::{Backend, Batch, CancelToken, Context, ContextConfig, Error, Model, ModelBuilder, Result, Token, memory};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A loaded model, how long that took, and what the process occupied before.
#[derive(Debug)]
pub struct Host {
    model: Model,
    mmap: bool,
    load: Duration,
    resident_before: Option<u64>,
}

impl Host {
    /// Loads a model, mapping its file or reading it, and takes the time. Files that were read lately come from the system's
    /// cache: only the first load after a start of the machine is a cold one.
    ///
    /// # Errors
    /// As [`ModelBuilder::load`].
    pub fn load(builder: ModelBuilder, mmap: bool) -> Result<Self> {
        // what was freed before is not occupied, although the C library may keep its pages
        heap::trim();
        let resident_before = memory::resident();
        let started = Instant::now();
        let model = builder.mmap(mmap).load()?;
        Ok(Self {
            model,
            mmap,
            load: started.elapsed(),
            resident_before,
        })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Bytes of main memory that weights in these buffers occupy. Pages of a mapped file count like others; those that were
    /// only read to rearrange weights for this CPU stay in the mapping, too.
    fn weights(&self, buffers: &BTreeMap<String, u64>) -> u64 {
        const PLAIN: &str = "CPU";
        let host = host_bytes(buffers);
        let in_place = buffers.get(PLAIN).copied().unwrap_or(0);
        let rearranged = host > in_place;
        if !self.mmap || !rearranged {
            return host;
        }
        let on_cards: u64 = buffers.values().sum::<u64>() - host;
        host + self.model.meta().size.saturating_sub(in_place + on_cards)
    }

    /// Whether the caches of all workloads fit the memory at the same time, by plan. Workloads that cannot run at all fit:
    /// the reason is found when they are opened.
    pub fn fits(&self, workloads: &[Workload]) -> bool {
        let meta = self.model.meta();
        let need: u64 = workloads
            .iter()
            .filter_map(|workload| Some(workload.kv.resolve(meta).ok()?.bytes(meta, &workload.shape()).total()))
            .sum();
        let free = Backend::init()
            .and_then(|backend| backend.devices())
            .ok()
            .and_then(|devices| memory::available_bytes(&devices));
        free.is_none_or(|free| need <= free)
    }
}

/// What an arm took, and where it ran.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Facts {
    /// The types of its layers, as guards and policies left them.
    pub layers: Vec<LayerTypes>,
    /// Bytes of the cache by plan; the engine allocates the same.
    pub kv: KvBytes,
    /// Bytes that one more token takes.
    pub kv_bytes_per_token: u64,
    /// Where attention over this cache was computed, and by which kernels, in all timed runs together.
    pub attention: AttentionUse,
    /// Loading the model and creating the context.
    pub load: Duration,
    /// Threads.
    pub n_threads: u32,
    /// Most bytes of main memory that the process occupied, all arms that were open at the time included.
    pub rss_peak: Option<u64>,
    /// The same by plan: what it occupied before the model was loaded, and weights, caches and compute buffers in main
    /// memory. Where weights are rearranged from a mapped file it is an upper bound: the engine gives back the pages behind
    /// the last weights that it uses in place.
    pub rss_predicted: Option<u64>,
}

struct Arm {
    context: Context,
    batch: Batch,
    /// Bytes in main memory: cache by plan and compute buffers.
    host_bytes: u64,
}

/// Contexts over one model, one per workload; an [`Executor`].
pub struct Contexts<'a> {
    host: &'a Host,
    workloads: &'a [Workload],
    warm_up: bool,
    delay: Duration,
    cancel: Option<CancelToken>,
    arms: Vec<Option<Arm>>,
    facts: Vec<Option<Facts>>,
    peak: PeakMeter,
    random: Rng,
}

impl<'a> Contexts<'a> {
    /// None is open yet.
    pub fn new(host: &'a Host, workloads: &'a [Workload], options: &ThroughputOptions) -> Self {
        Self {
            host,
            workloads,
            warm_up: options.warm_up,
            delay: options.delay,
            cancel: options.cancel.clone(),
            arms: workloads.iter().map(|_| None).collect(),
            facts: vec![None; workloads.len()],
            peak: PeakMeter::start(),
            random: Rng::new(1),
        }
    }

    /// What is known of each arm; `None`: it was never opened.
    pub fn into_facts(self) -> Vec<Option<Facts>> {
        self.facts
    }

    fn tokens(&mut self, n: u32) -> Vec<Token> {
        let meta = self.host.model.meta();
        let n_vocab = meta.n_vocab as usize;
        let mut tokens: Vec<Token> = (0..n).map(|_| self.random.below(n_vocab) as Token).collect();
        if let Some(first) = tokens.first_mut().filter(|_| meta.add_bos) {
            *first = meta.bos;
        }
        tokens
    }

    /// Fills an empty cache to the depth of the arm's test.
    fn fill(&mut self, number: usize) -> Result<()> {
        let depth = self.tokens(self.workloads[number].test.n_depth);
        self.arm(number)?.prompt(&depth, 0)
    }

    /// Leaves in the cache what was there before the run before.
    fn rewind(&mut self, number: usize) -> Result<()> {
        let depth = self.workloads[number].test.n_depth as i32;
        let meta = self.host.model.meta();
        // a window has moved on, a state has no memory: what is left after a removal is not what was there
        let moves_on = meta.swa && !self.workloads[number].kv.swa_full;
        let exact = !(moves_on || meta.recurrent || meta.hybrid);
        let mut memory = self.arm(number)?.context.memory();
        if depth > 0 && exact && memory.remove(0, depth..i32::MAX) {
            return Ok(());
        }
        if !memory.remove_all(0) {
            memory.clear();
        }
        self.fill(number)
    }

    /// Whether a context has threads of its own, beside the one that calls it.
    fn has_workers(&self) -> bool {
        self.arms.iter().flatten().any(|arm| arm.context.config().n_threads > 1)
    }

    fn arm(&mut self, number: usize) -> Result<&mut Arm> {
        self.arms
            .get_mut(number)
            .and_then(Option::as_mut)
            .ok_or_else(|| Error::Invalid(format!("arm {number} is not open")))
    }

    /// What the process should occupy now.
    fn predicted(&self) -> Option<u64> {
        let open = self.arms.iter().flatten();
        let arms: u64 = open.clone().map(|arm| arm.host_bytes).sum();
        let buffers = open.last()?.context.memory_use().ok()?.model;
        Some(self.host.resident_before? + self.host.weights(&buffers) + arms)
    }
}

impl Executor for Contexts<'_> {
    type Sample = Run;

    fn open(&mut self, number: usize) -> Result<()> {
        let workload = &self.workloads[number];
        workload.check(self.host.model.meta())?;
        if self.arms.iter().all(Option::is_none) {
            // the arms before are closed: their memory is not this one's
            heap::trim();
            self.peak.restart();
        }
        std::thread::sleep(self.delay);
        let started = Instant::now();
        let mut context = self.host.model.context(ContextConfig {
            n_ctx: workload.test.n_ctx(),
            n_batch: workload.n_batch,
            n_ubatch: workload.n_ubatch,
            n_threads: workload.n_threads,
            kv: workload.kv.clone(),
            ..Default::default()
        })?;
        let load = self.host.load + started.elapsed();
        context.set_cancel(self.cancel.clone());
        let memory_use = context.memory_use()?;
        let (kv, in_main_memory): (u64, u64) = (memory_use.kv.values().sum(), host_bytes(&memory_use.kv));
        // by plan, as far as it lies in main memory
        let kv_host = if kv == in_main_memory {
            context.kv_bytes().total()
        } else {
            in_main_memory
        };
        self.facts[number] = Some(Facts {
            layers: context.kv().layers.clone(),
            kv: context.kv_bytes(),
            kv_bytes_per_token: bytes_per_token(&context, workload),
            attention: AttentionUse::of(&context)?,
            load,
            n_threads: context.config().n_threads,
            rss_peak: None,
            rss_predicted: None,
        });
        let batch = Batch::new(context.n_batch() as usize);
        self.arms[number] = Some(Arm {
            context,
            batch,
            host_bytes: kv_host + host_bytes(&memory_use.compute),
        });
        self.fill(number)?;
        if self.warm_up {
            let test = self.workloads[number].test;
            let prompt = self.tokens(test.n_prompt);
            let generated = self.tokens(test.n_gen.min(1));
            let arm = self.arm(number)?;
            arm.prompt(&prompt, test.n_depth)?;
            arm.generate(&generated, test.n_depth + test.n_prompt)?;
            arm.check_answer()?;
        }
        Ok(())
    }

    fn run(&mut self, number: usize) -> Result<Run> {
        let test = self.workloads[number].test;
        self.rewind(number)?;
        if self.arms.iter().flatten().count() > 1 && self.has_workers() {
            // the other contexts' threads must be asleep, and this one's awake, as they are when it runs alone
            wait_until_idle();
            let token = self.tokens(1);
            self.arm(number)?.generate(&token, test.n_depth)?;
            self.rewind(number)?;
        }
        let prompt = self.tokens(test.n_prompt);
        let generated = self.tokens(test.n_gen);
        let arm = self
            .arms
            .get_mut(number)
            .and_then(Option::as_mut)
            .ok_or_else(|| Error::Invalid(format!("arm {number} is not open")))?;
        let attention = AttentionMeter::start()?;
        let run = self.peak.pause(|| arm.time(&prompt, &generated, test.n_depth))?;
        arm.check_answer()?;
        let attention = attention.counts()?;
        let (peak, predicted) = (self.peak.peak(), self.predicted());
        if let Some(facts) = &mut self.facts[number] {
            facts.attention.add(attention);
            facts.rss_peak = peak;
            facts.rss_predicted = predicted;
        }
        Ok(run)
    }

    fn close(&mut self, number: usize) {
        self.arms[number] = None;
    }
}

impl Arm {
    fn time(&mut self, prompt: &[Token], generated: &[Token], depth: u32) -> Result<Run> {
        let mut run = Run::default();
        let started = Instant::now();
        self.prompt(prompt, depth)?;
        if !prompt.is_empty() {
            run.prompt = started.elapsed();
            std::hint::black_box(self.most_probable());
            run.first_token = Some(started.elapsed());
        }
        run.tokens = self.generate(generated, depth + prompt.len() as u32)?;
        Ok(run)
    }

    /// Computes tokens in batches, and waits for the last of them.
    fn prompt(&mut self, tokens: &[Token], first: u32) -> Result<()> {
        let at_once = self.context.n_batch().max(1) as usize;
        for (part, tokens) in tokens.chunks(at_once).enumerate() {
            self.batch.clear();
            for (i, &token) in tokens.iter().enumerate() {
                let position = first as usize + part * at_once + i;
                self.batch.push(token, position as i32, 0, i + 1 == tokens.len());
            }
            self.context.decode(&self.batch)?;
        }
        self.wait();
        Ok(())
    }

    /// Computes tokens one by one; the time of each.
    fn generate(&mut self, tokens: &[Token], first: u32) -> Result<Vec<Duration>> {
        let mut times = Vec::with_capacity(tokens.len());
        let mut before = Instant::now();
        for (i, &token) in tokens.iter().enumerate() {
            self.batch.clear();
            self.batch.push(token, (first as usize + i) as i32, 0, true);
            self.context.decode(&self.batch)?;
            self.wait();
            let now = Instant::now();
            times.push(now - before);
            before = now;
        }
        Ok(times)
    }

    /// Devices compute on their own; asking for the logits waits for them.
    fn wait(&self) {
        std::hint::black_box(self.last_logits().map(<[f32]>::len));
    }

    fn last_logits(&self) -> Option<&[f32]> {
        self.context.logits(self.batch.len().checked_sub(1)?)
    }

    fn most_probable(&self) -> Option<usize> {
        let logits = self.last_logits()?;
        let mut best = 0;
        for (i, logit) in logits.iter().enumerate() {
            if *logit > logits[best] {
                best = i;
            }
        }
        Some(best)
    }

    /// A broken kernel can be very fast: what it computed must at least be numbers.
    fn check_answer(&self) -> Result<()> {
        let kv = &self.context.config().kv;
        let logits = self
            .last_logits()
            .ok_or_else(|| Error::Engine("the engine returned no logits".into()))?;
        if logits.iter().all(|logit| logit.is_finite()) {
            return Ok(());
        }
        Err(Error::Engine(format!(
            "the logits are not numbers with a {}/{} cache; a speed measured with it would mean nothing",
            kv.k, kv.v
        )))
    }
}

/// Bytes that one more token takes at this length: layers with a full window take none.
fn bytes_per_token(context: &Context, workload: &Workload) -> u64 {
    const STEP: u32 = 256; // cells come in multiples of it
    let meta = context.model().meta();
    let at = |n_ctx: u32| {
        let shape = crate::kv::CacheShape {
            n_ctx,
            ..workload.shape()
        };
        context.kv().bytes(meta, &shape).cache()
    };
    let n_ctx = workload.test.n_ctx();
    (at(n_ctx + STEP) - at(n_ctx)) / u64::from(STEP)
}

/// The bytes that lie in main memory, of bytes by the engine's buffer names.
fn host_bytes(buffers: &BTreeMap<String, u64>) -> u64 {
    buffers.values().sum::<u64>() - MemoryUse::on_cards(buffers)
}
