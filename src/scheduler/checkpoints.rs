//! Checkpoints within a prompt. A sliding window that has moved on and a recurrent state cannot be cut back, so a slot of
//! such a model keeps copies of them from places where another prompt may branch off; the other layers are cut as usual.

use super::worker::Worker;
use crate::{Model, Token};
use std::sync::Arc;

/// Tokens that are worth a checkpoint.
const WORTHWHILE: usize = 64;
/// A checkpoint this close before a place serves it as well.
const NEAR: usize = 16;
/// Tokens at the end of a prompt that the next one may have otherwise: `<think>` where reasoning is off, a trailing space.
const TAIL: usize = 4;
/// Control tokens no further apart than this are one boundary: `<|im_end|>\n<|im_start|>user`.
const BOUNDARY: usize = 4;
/// Tokens at the end of a prompt that are searched for boundaries.
const SEARCHED: usize = 4096;

/// Where checkpoints are made, and how many are kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    /// In one slot.
    pub(super) most: usize,
    /// Tokens between those on the way through a prompt.
    pub(super) min_step: usize,
    /// Tokens of a step.
    pub(super) step: usize,
}

/// The state of what cannot be cut, after the first `n` tokens.
#[derive(Debug, Clone)]
pub(super) struct Checkpoint {
    pub(super) n: usize,
    /// As [`Context::save_checkpoint`](crate::Context::save_checkpoint) wrote it; a kept prompt has the same bytes.
    pub(super) state: Arc<[u8]>,
}

/// Those of one sequence, by position.
#[derive(Debug, Clone, Default)]
pub(super) struct Checkpoints(Vec<Checkpoint>);

impl Checkpoints {
    /// The last one with at most `n` tokens.
    pub(super) fn best(&self, n: usize) -> Option<&Checkpoint> {
        self.0.iter().rev().find(|checkpoint| checkpoint.n <= n)
    }

    /// Tokens of the last one with at most `n`; 0: there is none.
    pub(super) fn reach(&self, n: usize) -> usize {
        self.best(n).map_or(0, |checkpoint| checkpoint.n)
    }

    /// Whether one serves this place as well.
    pub(super) fn near(&self, n: usize) -> bool {
        self.best(n).is_some_and(|checkpoint| n - checkpoint.n < NEAR)
    }

    /// Adds one behind the others; of more than `most` the least useful goes.
    pub(super) fn add(&mut self, checkpoint: Checkpoint, most: usize) {
        self.cut(checkpoint.n.saturating_sub(1));
        self.0.push(checkpoint);
        self.thin(most);
    }

    /// Only those with at most `n` tokens.
    pub(super) fn cut(&mut self, n: usize) {
        self.0.retain(|checkpoint| checkpoint.n <= n);
    }

    /// Keeps `most`.
    pub(super) fn thin(&mut self, most: usize) {
        while self.0.len() > most {
            self.drop_one();
        }
    }

    /// Drops the one that is missed least: whoever goes back to before the next one computes from the one before. The two
    /// that are newest are where the conversation is edited. `false`: there is none.
    fn drop_one(&mut self) -> bool {
        let start = |i: usize| if i == 0 { 0 } else { self.0[i - 1].n };
        let gap = |&i: &usize| self.0[i + 1].n - start(i);
        let older = 0..self.0.len().saturating_sub(2);
        let least = older.min_by_key(gap).unwrap_or(0);
        if self.0.is_empty() {
            return false;
        }
        self.0.remove(least);
        true
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Checkpoint> {
        self.0.iter()
    }

    /// Bytes that all of them take; what several hold counts once.
    pub(super) fn bytes<'a>(all: impl Iterator<Item = &'a Checkpoint>) -> u64 {
        let mut states: Vec<_> = all
            .map(|checkpoint| (checkpoint.state.as_ptr(), checkpoint.state.len()))
            .collect();
        states.sort_unstable();
        states.dedup();
        states.iter().map(|&(_, len)| len as u64).sum()
    }
}

impl FromIterator<Checkpoint> for Checkpoints {
    fn from_iter<I: IntoIterator<Item = Checkpoint>>(iter: I) -> Self {
        let mut all: Vec<Checkpoint> = iter.into_iter().collect();
        all.sort_by_key(|checkpoint| checkpoint.n);
        Self(all)
    }
}

impl Policy {
    /// Where the prompt is left by prompts to come, as far as can be told from it, from `from` on: before its last turn,
    /// where that is edited; before what begins the answer, where that is written anew or without its reasoning; and a
    /// step earlier, for text that has no turns.
    pub(super) fn places(&self, model: &Model, prompt: &[Token], from: usize) -> Vec<usize> {
        let end = prompt.len().saturating_sub(TAIL);
        let mut places = boundaries(prompt, from, |token| model.is_control(token));
        places.extend([end, end.saturating_sub(self.step)]);
        places.retain(|&n| n >= from.max(WORTHWHILE) && n <= end);
        places.sort_unstable();
        places.dedup_by(|later, earlier| *later - *earlier < NEAR);
        places
    }

    /// Whether a prompt of which `n` tokens are computed is worth a checkpoint that is no place of its own.
    fn is_due(&self, n: usize, last: usize) -> bool {
        n >= WORTHWHILE && n - last >= self.min_step.max(1)
    }
}

/// The starts of the last two groups of control tokens, from `from` on, last first.
fn boundaries(prompt: &[Token], from: usize, is_control: impl Fn(Token) -> bool) -> Vec<usize> {
    let (mut starts, mut group) = (Vec::new(), None);
    let first = from.max(prompt.len().saturating_sub(SEARCHED));
    for i in (first..prompt.len()).rev().filter(|&i| is_control(prompt[i])) {
        if let Some(start) = group.filter(|start| start - i > BOUNDARY) {
            starts.push(start);
        }
        if starts.len() == 2 {
            return starts;
        }
        group = Some(i);
    }
    starts.extend(group);
    starts
}

impl Worker {
    /// Before a step: keeps the states of slots that are at a place where another prompt may branch off.
    pub(super) fn take_checkpoints(&mut self) {
        let Some(policy) = self.policy else { return };
        for number in 0..self.slots.len() {
            let slot = &mut self.slots[number];
            let n = slot.cached.len();
            let at_place = slot.is_at_place() && !slot.checkpoints.near(n);
            let due = at_place || policy.is_due(n, slot.checkpoints.reach(n));
            // what there is of an unfinished image is no part of the tokens
            if !slot.is_computing_prompt() || !due || slot.image_done > 0 {
                continue;
            }
            let mut state = Vec::new();
            let saved = self
                .context
                .set_loras(&slot.loras)
                .and_then(|()| self.context.save_checkpoint(slot.seq, &mut state));
            match saved {
                Ok(_) => self.keep_checkpoint(number, Checkpoint { n, state: state.into() }, policy.most),
                Err(error) => tracing::warn!("no checkpoint is kept after {n} tokens of a prompt: {error}"),
            }
        }
    }

    /// Checkpoints of slots take half of the memory for prompts at most: first those of slots that were not used for the
    /// longest time go, then those of this slot.
    pub(super) fn keep_checkpoint(&mut self, number: usize, checkpoint: Checkpoint, most: usize) {
        let bytes = checkpoint.state.len() as u64;
        if let Some(limit) = self.prompts.limit() {
            if bytes > limit / 2 {
                return;
            }
            while self.checkpoint_bytes() + bytes > limit / 2 {
                let others = self.slots.iter_mut().filter(|slot| slot.running.is_none());
                let oldest = others
                    .filter(|slot| slot.checkpoints.len() > 0)
                    .min_by_key(|slot| slot.last_used);
                let dropped = match oldest {
                    Some(slot) => slot.checkpoints.drop_one(),
                    None => self.slots[number].checkpoints.drop_one(),
                };
                if !dropped {
                    return; // other jobs that run have them
                }
            }
        }
        self.slots[number].checkpoints.add(checkpoint, most);
        self.fit_prompts();
    }

    /// Kept prompts go, oldest first, until they and the checkpoints of slots are within the limit.
    pub(super) fn fit_prompts(&mut self) {
        while self.prompts.limit().is_some_and(|limit| self.memory() > limit) && self.prompts.drop_oldest() {}
    }

    /// Bytes of the checkpoints of slots.
    fn checkpoint_bytes(&self) -> u64 {
        Checkpoints::bytes(self.slots.iter().flat_map(|slot| slot.checkpoints.iter()))
    }

    /// Bytes of kept prompts and of checkpoints.
    fn memory(&self) -> u64 {
        let slots = self.slots.iter().flat_map(|slot| slot.checkpoints.iter());
        self.prompts.states() + Checkpoints::bytes(slots.chain(self.prompts.checkpoints()))
    }

    /// Checkpoints of slots, and the bytes of those that no kept prompt has.
    pub(super) fn count_checkpoints(&self) -> (usize, u64) {
        let n = self.slots.iter().map(|slot| slot.checkpoints.len()).sum();
        (n, self.memory() - self.prompts.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::{Checkpoint, Checkpoints, boundaries};

    fn at(places: &[usize]) -> Checkpoints {
        let one = |&n| Checkpoint {
            n,
            state: [0; 8].as_slice().into(),
        };
        places.iter().map(one).collect()
    }

    fn places(checkpoints: &Checkpoints) -> Vec<usize> {
        checkpoints.iter().map(|checkpoint| checkpoint.n).collect()
    }

    #[test]
    fn the_last_one_before_a_place_serves_it() {
        let checkpoints = at(&[100, 200, 300]);
        for (n, reach) in [(99, 0), (100, 100), (299, 200), (1000, 300)] {
            assert_eq!(checkpoints.reach(n), reach);
        }
        assert!(checkpoints.near(115) && !checkpoints.near(116) && !checkpoints.near(99));
    }

    #[test]
    fn what_goes_first_is_nearest_to_others_and_never_the_newest() {
        let mut checkpoints = at(&[100, 200, 210, 300, 310]);
        checkpoints.thin(4);
        assert_eq!(places(&checkpoints), [100, 200, 300, 310]);
        checkpoints.thin(3);
        assert_eq!(places(&checkpoints), [200, 300, 310]);
        checkpoints.thin(1);
        assert_eq!(places(&checkpoints), [310]);
        checkpoints.thin(0);
        assert!(places(&checkpoints).is_empty());
    }

    #[test]
    fn one_made_anew_replaces_what_was_there_and_behind() {
        let mut checkpoints = at(&[100, 200, 300]);
        let again = at(&[200]).best(200).cloned().expect("one");
        checkpoints.add(again, 5);
        assert_eq!(places(&checkpoints), [100, 200]);
    }

    #[test]
    fn what_several_hold_counts_once() {
        let (one, other) = (at(&[100, 200]), at(&[100]));
        let copy = one.clone();
        assert_eq!(
            Checkpoints::bytes(one.iter().chain(copy.iter()).chain(other.iter())),
            24
        );
    }

    /// Letters are text, `<` and `>` control tokens.
    fn turns(prompt: &str, from: usize) -> Vec<usize> {
        let tokens: Vec<i32> = prompt.bytes().map(i32::from).collect();
        boundaries(&tokens, from, |token| {
            token == i32::from(b'<') || token == i32::from(b'>')
        })
    }

    #[test]
    fn control_tokens_that_are_close_are_one_boundary_and_the_last_two_count() {
        let chat = "<sys>be kind</\n<me>what is it?</\n<it>";
        let [user, answer] = ["</\n<me", "</\n<it"].map(|text| chat.find(text).expect("a turn"));
        assert_eq!(turns(chat, 0), [answer, user]);
        assert_eq!(turns(chat, user), [answer, user], "a turn may be all that is new");
        assert_eq!(turns(chat, user + 8), [answer]);
        assert!(turns("plain text", 0).is_empty());
    }
}
