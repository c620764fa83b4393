//! Prompts that slots had to give up, kept in main memory: loading a state back is a copy, computing it again is not. A
//! compressed cache makes them small.

use super::checkpoints::{Checkpoint, Checkpoints};
use super::slot::common_prefix;
use crate::vision::whole_images;
use crate::{LoraSet, Token};
use std::collections::VecDeque;

/// What the prompt cache holds and has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PromptCacheStatus {
    /// Bytes it may hold; `None`: no limit. 0: it is off.
    pub limit: Option<u64>,
    /// Prompts it holds.
    pub entries: usize,
    /// Tokens of all of them.
    pub tokens: usize,
    /// Bytes of all of them, with the checkpoints within them.
    pub bytes: u64,
    /// Checkpoints that slots hold.
    pub checkpoints: usize,
    /// Bytes of these, without those that a prompt has, too.
    pub checkpoint_bytes: u64,
    /// Times a slot went back to a checkpoint.
    pub went_back: u64,
    /// Times a prompt was taken in.
    pub stored: u64,
    /// Times a job went on from one.
    pub hits: u64,
    /// Tokens that were not computed because of that.
    pub tokens_saved: u64,
}

impl PromptCacheStatus {
    /// Bytes one token takes, on average; `None` when it is empty.
    pub fn bytes_per_token(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.bytes as f64 / self.tokens as f64)
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) tokens: Vec<Token>,
    pub(super) checkpoints: Checkpoints,
    /// The adapters that it was computed with.
    pub(super) loras: LoraSet,
    pub(super) state: Vec<u8>,
}

impl Entry {
    /// Without checkpoints.
    fn bytes(&self) -> u64 {
        (self.state.len() + size_of_val(&self.tokens[..])) as u64
    }

    /// Of the first `n` tokens, how many a slot that loads this can be cut to.
    fn reach(&self, n: usize, removable: bool) -> usize {
        if removable || n == self.tokens.len() {
            return n;
        }
        self.checkpoints.reach(n)
    }
}

/// The least recently used goes first.
#[derive(Debug)]
pub(super) struct PromptCache {
    limit: Option<u64>,
    /// The newest last.
    entries: VecDeque<Entry>,
    stored: u64,
    hits: u64,
    tokens_saved: u64,
}

impl PromptCache {
    pub(super) fn new(limit: Option<u64>) -> Self {
        Self {
            limit,
            entries: VecDeque::new(),
            stored: 0,
            hits: 0,
            tokens_saved: 0,
        }
    }

    /// Whether a state of about this many bytes would be kept.
    pub(super) fn takes(&self, bytes: u64) -> bool {
        self.limit.is_none_or(|limit| bytes <= limit)
    }

    /// Whether all of `tokens` are in one of the prompts, computed with `loras`.
    pub(super) fn has(&self, tokens: &[Token], loras: &LoraSet) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.loras == *loras && entry.tokens.starts_with(tokens))
    }

    /// Bytes it may hold; `None`: no limit.
    pub(super) fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Takes a prompt in; what is a part of it goes, and then the oldest until it fits.
    pub(super) fn store(&mut self, entry: Entry) {
        if !self.takes(entry.bytes() + Checkpoints::bytes(entry.checkpoints.iter())) {
            return;
        }
        self.entries
            .retain(|old| old.loras != entry.loras || !entry.tokens.starts_with(&old.tokens));
        self.entries.push_back(entry);
        self.stored += 1;
        while self.limit.is_some_and(|limit| self.bytes() > limit) && self.drop_oldest() {}
    }

    /// `false`: there is none.
    pub(super) fn drop_oldest(&mut self) -> bool {
        self.entries.pop_front().is_some()
    }

    /// The prompt computed with `loras` of which a slot can hold most of the first `wanted` tokens of `prompt`: its number, and how many. One
    /// that is not `removable` is cut where it has checkpoints only.
    pub(super) fn best(
        &self,
        prompt: &[Token],
        loras: &LoraSet,
        wanted: usize,
        removable: bool,
    ) -> Option<(usize, usize)> {
        let reach = |(number, entry): (usize, &Entry)| {
            let common = whole_images(prompt, common_prefix(&entry.tokens, prompt).min(wanted));
            (number, entry.reach(common, removable))
        };
        let alike = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| entry.loras == *loras);
        alike.map(reach).max_by_key(|&(_, n)| n)
    }

    /// Takes a prompt out, to load it: [`put_back`](Self::put_back) it if that goes well.
    pub(super) fn take(&mut self, number: usize) -> Option<Entry> {
        self.entries.remove(number)
    }

    /// A job goes on from this prompt and need not compute `saved` tokens.
    pub(super) fn put_back(&mut self, entry: Entry, saved: usize) {
        self.hits += 1;
        self.tokens_saved += saved as u64;
        self.entries.push_back(entry);
    }

    /// Bytes of a prompt's state.
    pub(super) fn size(&self, number: usize) -> Option<u64> {
        self.entries.get(number).map(Entry::bytes)
    }

    /// Bytes of all of it.
    pub(super) fn bytes(&self) -> u64 {
        self.states() + Checkpoints::bytes(self.checkpoints())
    }

    /// Bytes of all prompts without their checkpoints.
    pub(super) fn states(&self) -> u64 {
        self.entries.iter().map(Entry::bytes).sum()
    }

    /// The checkpoints of all prompts.
    pub(super) fn checkpoints(&self) -> impl Iterator<Item = &Checkpoint> {
        self.entries.iter().flat_map(|entry| entry.checkpoints.iter())
    }

    /// What it holds; slots know the rest.
    pub(super) fn status(&self) -> PromptCacheStatus {
        PromptCacheStatus {
            limit: self.limit,
            entries: self.entries.len(),
            tokens: self.entries.iter().map(|entry| entry.tokens.len()).sum(),
            bytes: self.bytes(),
            stored: self.stored,
            hits: self.hits,
            tokens_saved: self.tokens_saved,
            ..PromptCacheStatus::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Entry, PromptCache};
    use crate::scheduler::checkpoints::{Checkpoint, Checkpoints};
    use crate::{LoraSet, Token};

    fn entry(tokens: Vec<Token>, state: usize) -> Entry {
        Entry {
            tokens,
            loras: LoraSet::default(),
            checkpoints: Checkpoints::default(),
            state: vec![0; state],
        }
    }

    /// A cache with room for three of these entries: 10 tokens and 60 bytes make 100.
    fn three() -> PromptCache {
        let mut cache = PromptCache::new(Some(300));
        for first in 1..=3 {
            cache.store(entry(vec![first; 10], 60));
        }
        cache
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut cache = three();
        let first = cache.take(0).expect("three entries");
        cache.put_back(first, 10);
        cache.store(entry(vec![4; 10], 60));
        let has = |tokens: &[Token]| cache.has(tokens, &LoraSet::default());
        assert!(has(&[1; 10]) && !has(&[2; 10]) && has(&[4; 5]));
        assert_eq!(cache.status().bytes, 300);
        assert_eq!(cache.status().bytes_per_token(), Some(10.0));
    }

    #[test]
    fn a_longer_prompt_replaces_its_beginning() {
        let mut cache = three();
        cache.store(entry(vec![1; 15], 40));
        assert_eq!(cache.status().entries, 3);
        assert_eq!(
            cache.best(&[1; 12], &LoraSet::default(), 12, true).map(|(_, n)| n),
            Some(12)
        );
    }

    #[test]
    fn what_is_larger_than_the_limit_is_not_kept() {
        let mut cache = three();
        cache.store(entry(vec![5; 10], 300));
        assert_eq!(cache.status().entries, 3);
        assert!(PromptCache::new(None).takes(u64::MAX) && !PromptCache::new(Some(0)).takes(1));
    }

    /// Two prompts that share a checkpoint of 50 bytes, and have one of 10 bytes each.
    #[test]
    fn checkpoints_take_room_and_are_where_a_prompt_can_be_cut() {
        let shared = Checkpoint {
            n: 4,
            state: [0; 50].as_slice().into(),
        };
        let mut cache = PromptCache::new(Some(300));
        for first in [1, 2] {
            let own = Checkpoint {
                n: 8,
                state: [0; 10].as_slice().into(),
            };
            cache.store(Entry {
                checkpoints: [own, shared.clone()].into_iter().collect(),
                ..entry(vec![first; 10], 60)
            });
        }
        assert_eq!(cache.status().bytes, 200 + 50 + 20);
        for (common, reach) in [(3, 0), (4, 4), (7, 4), (9, 8), (10, 10)] {
            assert_eq!(
                cache.best(&vec![2; common], &LoraSet::default(), common, false),
                Some((1, reach))
            );
        }
        assert_eq!(
            cache.best(&[1; 9], &LoraSet::default(), 9, true),
            Some((0, 9)),
            "a plain cache is cut anywhere"
        );
    }
}
