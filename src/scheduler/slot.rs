//! One sequence of the context and the job that uses it.

use super::job::{JobEvent, JobSink, JobStats, Queued};
use crate::generate::{FinishReason, Generation, Piece, keep_prefix};
use crate::{Batch, CancelToken, Context, Error, Result, Token};
use std::time::Instant;

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) seq: i32,
    /// What the cache holds of this sequence, by position.
    pub(super) cached: Vec<Token>,
    pub(super) last_used: Instant,
    pub(super) running: Option<Running>,
    /// Tokens of this slot in the batch that is being computed.
    in_batch: Vec<Token>,
    /// The batch entry whose logits continue this slot's answer.
    entry: Option<usize>,
}

#[derive(Debug)]
pub(super) struct Running {
    sink: JobSink,
    cancel: Option<CancelToken>,
    generation: Generation,
    /// Tokens still to be computed: the rest of the prompt, or the token chosen last.
    pending: Vec<Token>,
    n_prompt: usize,
    n_cached: usize,
    queued: Instant,
    started: Instant,
    first_token: Option<Instant>,
}

impl Running {
    pub(super) fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(CancelToken::is_cancelled)
    }

    pub(super) fn cancel_token(&self) -> Option<&CancelToken> {
        self.cancel.as_ref()
    }

    /// Whether the prompt is computed and tokens are being generated.
    pub(super) fn is_decoding(&self) -> bool {
        self.first_token.is_some()
    }

    fn finish(mut self, piece: Option<Piece>) {
        let now = Instant::now();
        let first = self.first_token.unwrap_or(now);
        if let Some(piece) = piece
            && self.sink.send(JobEvent::Piece(piece)).is_break()
        {
            return;
        }
        let stats = JobStats {
            reason: self.generation.finished().cloned().unwrap_or(FinishReason::Cancelled),
            n_prompt: self.n_prompt,
            n_cached: self.n_cached,
            n_generated: self.generation.n_tokens(),
            waited: self.started - self.queued,
            prefill: first - self.started,
            decode: now - first,
        };
        let _ = self.sink.send(JobEvent::Done(stats)); // nothing follows either way
    }
}

impl Slot {
    pub(super) fn new(seq: i32) -> Self {
        Self {
            seq,
            cached: Vec::new(),
            last_used: Instant::now(),
            running: None,
            in_batch: Vec::new(),
            entry: None,
        }
    }

    pub(super) fn common_prefix(&self, prompt: &[Token]) -> usize {
        self.cached
            .iter()
            .zip(prompt)
            .take_while(|(have, want)| have == want)
            .count()
    }

    /// Begins a job in this idle slot.
    pub(super) fn begin(&mut self, context: &mut Context, mut queued: Queued) {
        let prompt = std::mem::take(&mut queued.job.prompt);
        let generation = match Generation::new(context.model(), &queued.job.params, &prompt) {
            Ok(generation) => generation,
            Err(error) => return queued.fail(error),
        };
        // The last token is computed in any case: its logits are needed.
        let keep = if queued.job.reuse_prefix {
            self.common_prefix(&prompt).min(prompt.len() - 1)
        } else {
            0
        };
        self.cut(context, keep);
        let n_cached = self.cached.len();
        let started = JobEvent::Started {
            n_prompt: prompt.len(),
            n_cached,
        };
        if queued.job.sink.send(started).is_break() {
            return;
        }
        self.running = Some(Running {
            sink: queued.job.sink,
            cancel: queued.job.params.cancel.clone(),
            generation,
            pending: prompt[n_cached..].to_vec(),
            n_prompt: prompt.len(),
            n_cached,
            queued: queued.since,
            started: Instant::now(),
            first_token: None,
        });
    }

    /// Adds up to `budget` pending tokens to the batch; returns how many.
    pub(super) fn fill(&mut self, batch: &mut Batch, budget: usize) -> usize {
        self.in_batch.clear();
        self.entry = None;
        let Some(running) = &mut self.running else { return 0 };
        let n = running.pending.len().min(budget);
        for (i, token) in running.pending.drain(..n).enumerate() {
            let position = (self.cached.len() + i) as i32;
            self.in_batch.push(token);
            // logits only where the next token is chosen: after the last pending one
            let last = i + 1 == n;
            let entry = batch.push(token, position, self.seq, last);
            self.entry = last.then_some(entry);
        }
        if !running.pending.is_empty() {
            self.entry = None; // more of the prompt to come
        }
        n
    }

    /// The batch was computed: its tokens are in the cache, and the next one is chosen if it is time.
    pub(super) fn computed(&mut self, context: &mut Context) {
        self.cached.append(&mut self.in_batch);
        let (Some(running), Some(entry)) = (&mut self.running, self.entry.take()) else {
            return;
        };
        running.first_token.get_or_insert_with(Instant::now);
        match running.generation.step(context, entry) {
            Err(error) => self.fail(error),
            Ok(piece) if running.generation.finished().is_some() => self.finish(piece),
            Ok(None) => self.finish(None),
            Ok(Some(piece)) => {
                running.pending.push(piece.token);
                if running.sink.send(JobEvent::Piece(piece)).is_break() {
                    self.drop_job();
                } else if self.cached.len() + 1 >= context.n_ctx_seq() as usize {
                    self.end(FinishReason::Length);
                }
            }
        }
    }

    /// The batch was not computed: what it held is pending again, and the cache is what it was.
    pub(super) fn not_computed(&mut self, context: &mut Context) {
        self.entry = None;
        if self.in_batch.is_empty() {
            return;
        }
        let mut pending = std::mem::take(&mut self.in_batch);
        let before = self.cached.clone();
        self.cut(context, before.len());
        if let Some(running) = &mut self.running {
            // a memory that cannot be cut there lost more than this batch: compute that again, too
            let mut again = before[self.cached.len()..].to_vec();
            again.append(&mut pending);
            again.append(&mut running.pending);
            running.pending = again;
        }
    }

    /// Ends the job from outside, with the text held back so far.
    pub(super) fn end(&mut self, reason: FinishReason) {
        if let Some(mut running) = self.running.take() {
            let piece = running.generation.end(reason);
            self.last_used = Instant::now();
            running.finish(piece);
        }
    }

    pub(super) fn fail(&mut self, error: Error) {
        self.last_used = Instant::now();
        if let Some(mut running) = self.running.take() {
            let _ = running.sink.send(JobEvent::Failed(error)); // the job is over either way
        }
    }

    fn finish(&mut self, piece: Option<Piece>) {
        self.last_used = Instant::now();
        if let Some(running) = self.running.take() {
            running.finish(piece);
        }
    }

    /// The sink has gone: nobody is to be told.
    fn drop_job(&mut self) {
        self.last_used = Instant::now();
        self.running = None;
    }

    /// When the job in this slot began.
    pub(super) fn started(&self) -> Option<Instant> {
        self.running.as_ref().map(|running| running.started)
    }

    pub(super) fn prompt_len(&self) -> usize {
        self.running.as_ref().map_or(0, |running| running.n_prompt)
    }

    /// Forgets all but the first `n` cached tokens, or everything where the memory cannot be cut there.
    pub(super) fn cut(&mut self, context: &mut Context, n: usize) {
        let kept = keep_prefix(context, self.seq, n.min(self.cached.len()));
        self.cached.truncate(kept);
    }
}

/// Whether an error concerns one job's request rather than the engine.
pub(super) fn is_full(result: &Result<()>) -> bool {
    matches!(result, Err(Error::ContextFull { .. }))
}
