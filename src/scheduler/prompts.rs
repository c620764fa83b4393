//! Prompts that slots had to give up, kept in main memory: loading a state back is a copy, computing it again is not. A
//! compressed cache makes them small.

use super::slot::common_prefix;
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
    /// Bytes of all of them.
    pub bytes: u64,
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
    /// The adapters that it was computed with.
    pub(super) loras: LoraSet,
    pub(super) state: Vec<u8>,
}

impl Entry {
    fn bytes(&self) -> u64 {
        (self.state.len() + size_of_val(&self.tokens[..])) as u64
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

    /// Takes a prompt in; what is a part of it goes, and then the oldest until it fits.
    pub(super) fn store(&mut self, tokens: Vec<Token>, loras: LoraSet, state: Vec<u8>) {
        let entry = Entry { tokens, loras, state };
        if !self.takes(entry.bytes()) {
            return;
        }
        self.entries
            .retain(|old| old.loras != entry.loras || !entry.tokens.starts_with(&old.tokens));
        self.entries.push_back(entry);
        self.stored += 1;
        while self.limit.is_some_and(|limit| self.bytes() > limit) {
            self.entries.pop_front();
        }
    }

    /// The prompt computed with `loras` that begins most like `prompt`: its number, and how many tokens they have in common.
    pub(super) fn best(&self, prompt: &[Token], loras: &LoraSet) -> Option<(usize, usize)> {
        let entries = self.entries.iter().enumerate();
        let alike = entries.filter(|(_, entry)| entry.loras == *loras);
        let common = alike.map(|(number, entry)| (number, common_prefix(&entry.tokens, prompt)));
        common.max_by_key(|&(_, n)| n)
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

    /// Tokens of a prompt, and bytes of its state.
    pub(super) fn size(&self, number: usize) -> Option<(usize, u64)> {
        self.entries
            .get(number)
            .map(|entry| (entry.tokens.len(), entry.bytes()))
    }

    fn bytes(&self) -> u64 {
        self.entries.iter().map(Entry::bytes).sum()
    }

    pub(super) fn status(&self) -> PromptCacheStatus {
        PromptCacheStatus {
            limit: self.limit,
            entries: self.entries.len(),
            tokens: self.entries.iter().map(|entry| entry.tokens.len()).sum(),
            bytes: self.bytes(),
            stored: self.stored,
            hits: self.hits,
            tokens_saved: self.tokens_saved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::PromptCache;
    use crate::LoraSet;

    /// A cache with room for three of these entries: 10 tokens and 60 bytes make 100.
    fn three() -> PromptCache {
        let mut cache = PromptCache::new(Some(300));
        for first in 1..=3 {
            cache.store(vec![first; 10], LoraSet::default(), vec![0; 60]);
        }
        cache
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut cache = three();
        let first = cache.take(0).expect("three entries");
        cache.put_back(first, 10);
        cache.store(vec![4; 10], LoraSet::default(), vec![0; 60]);
        assert!(
            cache.has(&[1; 10], &LoraSet::default())
                && !cache.has(&[2; 10], &LoraSet::default())
                && cache.has(&[4; 5], &LoraSet::default())
        );
        assert_eq!(cache.status().bytes, 300);
        assert_eq!(cache.status().bytes_per_token(), Some(10.0));
    }

    #[test]
    fn a_longer_prompt_replaces_its_beginning() {
        let mut cache = three();
        cache.store(vec![1; 15], LoraSet::default(), vec![0; 40]);
        assert_eq!(cache.status().entries, 3);
        assert_eq!(cache.best(&[1; 12], &LoraSet::default()).map(|(_, n)| n), Some(12));
    }

    #[test]
    fn what_is_larger_than_the_limit_is_not_kept() {
        let mut cache = three();
        cache.store(vec![5; 10], LoraSet::default(), vec![0; 300]);
        assert_eq!(cache.status().entries, 3);
        assert!(PromptCache::new(None).takes(u64::MAX) && !PromptCache::new(Some(0)).takes(1));
    }
}
