//! One sequence of the context and the job that uses it.

use super::cells::Cells;
use super::checkpoints::{Checkpoints, Policy};
use super::job::{JobEvent, JobSink, JobStats, Queued};
use crate::generate::{FinishReason, Generation, Piece};
use crate::vision::{self, Next, PlacedImage};
use crate::{Batch, CancelToken, Context, Error, LoraSet, Result, Token};
use std::time::Instant;

/// A slot, at one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SlotState {
    /// Its number, from 0.
    pub id: usize,
    /// Whether a job runs in it.
    pub busy: bool,
    /// Tokens the cache holds of it.
    pub n_cached: usize,
    /// Checkpoints within these, for models whose caches cannot be cut anywhere.
    pub n_checkpoints: usize,
    /// Tokens of the running job's prompt; 0 when idle, and so the rest.
    pub n_prompt: usize,
    /// Of these, tokens computed or found in the cache so far.
    pub n_prompt_done: usize,
    /// Tokens generated so far.
    pub n_decoded: usize,
}

impl SlotState {
    pub(super) fn idle(id: usize) -> Self {
        Self { id, ..Self::default() }
    }
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) seq: i32,
    /// What the cache holds of this sequence, by position.
    pub(super) cached: Vec<Token>,
    /// The adapters that this was computed with, and the running job is.
    pub(super) loras: LoraSet,
    pub(super) cells: Cells,
    /// Places within `cached` that the sequence can go back to where it cannot be cut.
    pub(super) checkpoints: Checkpoints,
    /// Times it went back to one.
    pub(super) went_back: u64,
    /// Embeddings in the cache of an image that is not all there; it is no part of `cached`.
    pub(super) image_done: usize,
    pub(super) last_used: Instant,
    pub(super) running: Option<Running>,
    /// Tells the jobs of this slot apart.
    pub(super) serial: u64,
    /// Tokens of this slot in the batch that is being computed.
    in_batch: usize,
    /// The batch entry whose logits continue this slot's answer.
    entry: Option<usize>,
}

#[derive(Debug)]
pub(super) struct Running {
    sink: JobSink,
    cancel: Option<CancelToken>,
    generation: Generation,
    /// The prompt and what was generated. The cache holds the beginning; the rest is to be computed.
    known: Vec<Token>,
    /// Where within the prompt a step ends, so that a checkpoint can be made; ascending.
    places: Vec<usize>,
    images: Vec<PlacedImage>,
    progress: bool,
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

    /// The last place within the first `n` tokens where a checkpoint will be made.
    pub(super) fn last_place(&self, n: usize) -> Option<usize> {
        self.places.iter().rev().copied().find(|&place| place <= n)
    }

    /// The prompt.
    pub(super) fn prompt(&self) -> &[Token] {
        &self.known[..self.n_prompt]
    }

    /// Tokens that the first `n` positions take: images can take more.
    fn n_tokens(&self, n: usize) -> usize {
        n + vision::extra(&self.images, n)
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
            n_prompt: self.n_tokens(self.n_prompt),
            n_cached: self.n_tokens(self.n_cached),
            n_generated: self.generation.n_tokens(),
            waited: self.started - self.queued,
            prefill: first - self.started,
            decode: now - first,
        };
        let _ = self.sink.send(JobEvent::Done(stats)); // nothing follows either way
    }
}

/// Tokens that `a` and `b` begin with alike.
pub(super) fn common_prefix(a: &[Token], b: &[Token]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

impl Slot {
    pub(super) fn new(seq: i32) -> Self {
        Self {
            seq,
            cached: Vec::new(),
            loras: LoraSet::default(),
            cells: Cells::default(),
            checkpoints: Checkpoints::default(),
            went_back: 0,
            image_done: 0,
            last_used: Instant::now(),
            running: None,
            serial: 0,
            in_batch: 0,
            entry: None,
        }
    }

    pub(super) fn state(&self, id: usize) -> SlotState {
        let running = self.running.as_ref();
        SlotState {
            id,
            busy: running.is_some(),
            n_cached: self.cached.len(),
            n_checkpoints: self.checkpoints.len(),
            n_prompt: running.map_or(0, |running| running.n_tokens(running.n_prompt)),
            n_prompt_done: running.map_or(0, |running| running.n_tokens(running.n_prompt.min(self.cached.len()))),
            n_decoded: running.map_or(0, |running| running.generation.n_tokens()),
        }
    }

    /// Begins a job in this idle slot, whose cache holds a beginning of the prompt and nothing else.
    pub(super) fn begin(&mut self, context: &mut Context, mut queued: Queued, policy: Option<&Policy>) {
        let prompt = std::mem::take(&mut queued.job.prompt);
        let images = std::mem::take(&mut queued.job.images);
        let generation = match Generation::new(context.model(), &queued.job.params, &prompt) {
            Ok(generation) => generation,
            Err(error) => return queued.fail(error),
        };
        let (n_prompt, n_cached) = (prompt.len(), self.cached.len());
        let started = JobEvent::Started {
            n_prompt: n_prompt + vision::extra(&images, n_prompt),
            n_cached: n_cached + vision::extra(&images, n_cached),
        };
        if queued.job.sink.send(started).is_break() {
            return;
        }
        let mut places = policy.map_or_else(Vec::new, |policy| policy.places(context.model(), &prompt, n_cached));
        places.retain(|&n| !self.checkpoints.near(n));
        self.serial += 1;
        self.running = Some(Running {
            sink: queued.job.sink,
            cancel: queued.job.params.cancel.clone(),
            generation,
            known: prompt,
            places,
            images,
            progress: queued.job.progress,
            n_prompt,
            n_cached,
            queued: queued.since,
            started: Instant::now(),
            first_token: None,
        });
    }

    /// Tokens to be computed.
    pub(super) fn pending(&self) -> usize {
        self.running
            .as_ref()
            .map_or(0, |running| running.known.len() - self.cached.len())
    }

    /// Adds up to `budget` pending tokens to the batch; returns how many.
    pub(super) fn fill(&mut self, batch: &mut Batch, budget: usize) -> usize {
        self.in_batch = 0;
        self.entry = None;
        let Some(running) = &self.running else { return 0 };
        let from = self.cached.len();
        let Next::Tokens(text) = vision::next(&running.known, &running.images, from) else {
            return 0;
        };
        let place = running.places.iter().find(|&&place| place > from);
        let end = place.map_or(usize::MAX, |&place| place).min(from + text.len());
        let to = end.min(from + budget);
        for (position, &token) in running.known[from..to].iter().enumerate() {
            let position = from + position;
            // logits only where the next token is chosen: after the last pending one
            let last = position + 1 == running.known.len();
            let entry = batch.push(token, position as i32, self.seq, last);
            self.entry = last.then_some(entry);
        }
        self.in_batch = to - from;
        self.in_batch
    }

    /// Whether the batch has tokens of this slot.
    pub(super) fn is_in_batch(&self) -> bool {
        self.in_batch > 0
    }

    /// The batch was computed: its tokens are in the cache, and the next one is chosen if it is time.
    pub(super) fn computed(&mut self, context: &mut Context) {
        let n = std::mem::take(&mut self.in_batch);
        self.add_known(n);
        let Some(running) = &mut self.running else { return };
        let Some(entry) = self.entry.take() else { return };
        running.first_token.get_or_insert_with(Instant::now);
        match running.generation.step(context, entry) {
            Err(error) => self.fail(error),
            Ok(piece) if running.generation.finished().is_some() => self.finish(piece),
            Ok(None) => self.finish(None),
            Ok(Some(piece)) => {
                running.known.push(piece.token);
                if running.sink.send(JobEvent::Piece(piece)).is_break() {
                    self.drop_job();
                } else if self.cached.len() + 1 >= context.n_ctx_seq() as usize {
                    self.end(FinishReason::Length);
                }
            }
        }
    }

    /// The next `n` positions of what is known are in the cache now.
    fn add_known(&mut self, n: usize) {
        let Some(running) = &mut self.running else { return };
        let from = self.cached.len();
        self.cached.extend_from_slice(&running.known[from..from + n]);
        self.cells.grow(self.cached.len());
        if running.progress && n > 0 && !running.is_decoding() {
            let progress = JobEvent::Progress {
                n_prompt: running.n_tokens(running.n_prompt),
                n_cached: running.n_tokens(running.n_cached),
                n_done: running.n_tokens(self.cached.len()),
                elapsed: running.started.elapsed(),
            };
            if running.sink.send(progress).is_break() {
                self.drop_job();
            }
        }
    }

    /// The image that is to be computed next.
    pub(super) fn next_image(&self) -> Option<&PlacedImage> {
        let running = self.running.as_ref()?;
        match vision::next(&running.known, &running.images, self.cached.len()) {
            Next::Image(image) => Some(image),
            Next::Tokens(_) => None,
        }
    }

    /// So many embeddings of the next image were computed.
    pub(super) fn image_computed(&mut self, n: usize) {
        self.image_done += n;
        let ended = self
            .next_image()
            .filter(|image| image.n_tokens() == self.image_done)
            .map(PlacedImage::end);
        if let Some(end) = ended {
            self.image_done = 0;
            self.add_known(end - self.cached.len());
        }
    }

    /// Whether the cache holds parts of images.
    pub(super) fn holds_images(&self) -> bool {
        self.image_done > 0 || vision::without_images(&self.cached).len() < self.cached.len()
    }

    /// The batch was not computed: the cache is what it was. Where it could not be cut there it holds less, and that is
    /// computed again.
    pub(super) fn not_computed(&mut self, context: &mut Context) {
        self.entry = None;
        if std::mem::take(&mut self.in_batch) > 0 {
            self.cut(context, self.cached.len());
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

    /// Whether a job runs whose prompt is computed.
    pub(super) fn is_decoding(&self) -> bool {
        self.running.as_ref().is_some_and(Running::is_decoding)
    }

    /// Whether a job's prompt is being computed.
    pub(super) fn is_computing_prompt(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.is_decoding())
    }

    /// Whether the running job's prompt is computed up to one of the places for checkpoints.
    pub(super) fn is_at_place(&self) -> bool {
        let places = self.running.as_ref().map(|running| &running.places);
        places.is_some_and(|places| places.contains(&self.cached.len()))
    }
}

/// Whether an error concerns one job's request rather than the engine.
pub(super) fn is_full(result: &Result<()>) -> bool {
    matches!(result, Err(Error::ContextFull { .. }))
}
