//! What the pool knows of the models that are loaded.

use super::demand::Demand;
use super::loaded::Loaded;
use crate::commands::serve::backend::{BackendError, CancelToken, KeepAlive};
use crate::store::Entry;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

/// Who is resident.
#[derive(Default)]
pub(super) struct State {
    pub(super) models: BTreeMap<String, Resident>,
    pub(super) loading: Option<Loading>,
    /// Why nothing is served any more.
    pub(super) stopped: Option<String>,
    /// Removed, to be freed by the keeper.
    pub(super) discarded: Vec<Arc<Loaded>>,
    /// Models that are no longer in `models` but still occupy memory.
    pub(super) freeing: usize,
    /// Models loaded and unloaded since the start.
    pub(super) loads: u64,
    pub(super) unloads: u64,
    /// Batches that models which are gone have decoded, and the slots in them.
    pub(super) past: Decoded,
    /// Counts loads and uses: numbers residents, and orders them by their last use.
    clock: u64,
}

/// How much was decoded.
#[derive(Clone, Copy, Default)]
pub(super) struct Decoded {
    pub(super) batches: u64,
    pub(super) slots: u64,
}

impl Decoded {
    pub(super) fn add(&mut self, loaded: &Loaded) {
        let status = loaded.scheduler.status();
        self.batches += status.decodes;
        self.slots += status.decoded_slots;
    }
}

/// A loaded model.
pub(super) struct Resident {
    pub(super) loaded: Arc<Loaded>,
    /// What it was loaded from.
    pub(super) entry: Entry,
    /// Tells it from an earlier one of the same name.
    pub(super) number: u64,
    pub(super) leases: usize,
    /// Callers that wait for it to be free, to unload it or load it again; while there are any, nobody gets a lease.
    pub(super) claims: usize,
    pub(super) last_use: u64,
    pub(super) keep_alive: KeepAlive,
    /// When it goes unless it is used; None: it is in use, or stays.
    pub(super) deadline: Option<Deadline>,
}

#[derive(Clone, Copy)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    pub(super) clock: SystemTime,
}

impl Deadline {
    pub(super) fn after(time: Duration) -> Option<Self> {
        // a time that no clock reaches is never
        Some(Self {
            at: Instant::now().checked_add(time)?,
            clock: SystemTime::now().checked_add(time)?,
        })
    }
}

/// A load in progress.
pub(super) struct Loading {
    pub(super) name: String,
    pub(super) demand: Demand,
    pub(super) number: u64,
    /// Callers that wait for it. The last one to go cancels it.
    pub(super) waiting: usize,
    pub(super) token: CancelToken,
    pub(super) failure: Arc<OnceLock<BackendError>>,
}

impl State {
    pub(super) fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    /// Removes the model; its memory counts as taken until [`Pool::free`](super::pool::Pool::free) has run.
    pub(super) fn remove(&mut self, name: &str) -> Option<Arc<Loaded>> {
        let resident = self.models.remove(name)?;
        self.freeing += 1;
        self.unloads += 1;
        // what it decodes before it has stopped is lost: all its jobs are done, or the server stops
        self.past.add(&resident.loaded);
        Some(resident.loaded)
    }

    /// Bytes that the loaded models occupy.
    pub(super) fn occupied(&self) -> u64 {
        self.models
            .values()
            .map(|resident| resident.loaded.memory.total())
            .sum()
    }

    /// The same apart: in main memory, and in the memory of cards.
    pub(super) fn occupied_by_kind(&self) -> (u64, u64) {
        let all = self.models.values().map(|resident| resident.loaded.memory);
        all.fold((0, 0), |(main, cards), memory| {
            (main + memory.total().saturating_sub(memory.gpu), cards + memory.gpu)
        })
    }

    /// Whether a model of that name is being loaded.
    pub(super) fn is_loading(&self, name: &str) -> bool {
        self.loading.as_ref().is_some_and(|loading| loading.name == name)
    }

    /// The idle model that was used least recently.
    pub(super) fn least_recently_used(&self) -> Option<String> {
        let idle = self.models.iter().filter(|(_, resident)| resident.is_free());
        idle.min_by_key(|(_, resident)| resident.last_use)
            .map(|(name, _)| name.clone())
    }

    /// Hands models whose time has come to the keeper; returns when the next one's comes.
    pub(super) fn expire(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let due = |resident: &Resident| {
            let deadline = resident.deadline.filter(|_| resident.is_free());
            deadline.is_some_and(|deadline| deadline.at <= now)
        };
        let names: Vec<String> = self
            .models
            .iter()
            .filter(|(_, resident)| due(resident))
            .map(|(name, _)| name.clone())
            .collect();
        for name in names {
            tracing::info!("model `{name}` is unloaded: it was not used for as long as it was to stay");
            let loaded = self.remove(&name);
            self.discarded.extend(loaded);
        }
        let idle = self.models.values().filter(|resident| resident.is_free());
        idle.filter_map(|resident| resident.deadline)
            .map(|deadline| deadline.at)
            .min()
    }
}

impl Resident {
    pub(super) fn is_free(&self) -> bool {
        self.leases == 0 && self.claims == 0
    }

    /// Starts the time it stays.
    pub(super) fn rest(&mut self, at_least: Duration) {
        self.deadline = match self.keep_alive {
            KeepAlive::Forever => None,
            KeepAlive::For(time) => Deadline::after(time.max(at_least)),
        };
    }

    pub(super) fn suits(&self, entry: &Entry, demand: &Demand) -> bool {
        let same_file = |a: &Entry, b: &Entry| {
            (&a.file, a.size, a.modified, &a.template) == (&b.file, b.size, b.modified, &b.template)
        };
        same_file(&self.entry, entry) && demand.is_met_by(&self.loaded) && self.loaded.scheduler.stopped().is_none()
    }
}
