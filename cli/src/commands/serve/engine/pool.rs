//! Which models are loaded: on demand, one load at a time, the least recently used one out first.
//!
//! ```text
//! open -> resident and as wanted?            -> lease
//!         being loaded?                      -> wait with the others, who all end with a lease or the same error
//!         resident, but loaded differently?  -> wait until its leases are gone, then load it again
//!         else                               -> a thread makes room and loads
//! ```
//!
//! One mutex holds who is resident; nothing under it waits for the engine or the disk. Models are always stopped and
//! freed by a thread that may take its time: the loading one, the keeper's, or a caller of `unload` or `stop`.

use super::Limits;
use super::demand::Demand;
use super::heads::Heads;
use super::loaded::Loaded;
use super::residents::{Deadline, Resident, State};
use crate::commands::serve::backend::{
    BackendError, CancelToken, Counts, Details, KeepAlive, Lease, Opened, Running, Wanted,
};
use crate::settings::ModelSettings;
use crate::store::{Catalog, Entry};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a waiting caller looks whether its client is still there; nothing wakes it for that.
const GLANCE: Duration = Duration::from_millis(20);

/// Loads that one request waits for before it gives up; the second and third are for those that lost a race.
const MAX_LOADS: u32 = 3;

/// The models that can be loaded, and those that are.
pub(super) struct Pool {
    pub(super) catalog: Arc<dyn Catalog>,
    pub(super) settings: ModelSettings,
    pub(super) limits: Limits,
    pub(super) heads: Heads,
    /// The model that is loaded at the start.
    pub(super) start_up: Option<String>,
    state: Mutex<State>,
    /// Something in the state has changed.
    changed: Condvar,
}

/// The hold of a lease.
struct Hold {
    pool: Arc<Pool>,
    name: String,
    number: u64,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        let tick = state.tick();
        let resident = state.models.get_mut(&self.name);
        if let Some(resident) = resident.filter(|resident| resident.number == self.number) {
            resident.leases -= 1;
            resident.last_use = tick;
            if resident.leases == 0 {
                resident.rest(Duration::ZERO);
            }
        }
        drop(state);
        self.pool.changed.notify_all();
    }
}

impl Pool {
    pub(super) fn new(
        catalog: Arc<dyn Catalog>,
        settings: ModelSettings,
        limits: Limits,
        start_up: Option<String>,
    ) -> Self {
        Self {
            catalog,
            settings,
            limits,
            heads: Heads::default(),
            start_up,
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // every change under the lock is a few assignments that cannot panic half-way
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until something has changed, at most `limit`.
    pub(super) fn wait<'a>(&self, state: MutexGuard<'a, State>, limit: Duration) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, limit);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits until something has changed or a client may have gone.
    pub(super) fn glance<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.wait(state, GLANCE)
    }

    /// Tells all who wait that something has changed.
    pub(super) fn notify(&self) {
        self.changed.notify_all();
    }

    /// Stops a model that was [removed](State::remove) and gives its memory back. Blocks.
    pub(super) fn free(&self, loaded: Arc<Loaded>) {
        loaded.scheduler.stop();
        drop(loaded);
        self.lock().freeing -= 1;
        self.notify();
    }

    /// All models on offer.
    pub(super) fn entries(&self) -> Result<Vec<Entry>, BackendError> {
        self.catalog.entries().map_err(|error| unreadable(&error))
    }

    /// The entry that a request means.
    pub(super) fn resolve(&self, wanted: &Wanted) -> Result<Entry, BackendError> {
        if let Some(name) = &wanted.name
            && let Some(entry) = self.catalog.find(name).map_err(|error| unreadable(&error))?
        {
            return Ok(entry);
        }
        let mut entries = self.entries()?;
        match (&wanted.name, entries.len()) {
            (None, 1) => Ok(entries.remove(0)),
            (Some(_), 1) if !wanted.exact => Ok(entries.remove(0)),
            (Some(name), _) => Err(BackendError::UnknownModel(name.clone())),
            (None, n) => Err(BackendError::InvalidRequest {
                message: format!("'model' is required, because {n} models are served; GET /v1/models lists them"),
                param: Some("model".into()),
            }),
        }
    }

    /// See [`Backend::details`](crate::commands::serve::backend::Backend::details).
    pub(super) fn details(&self, name: &str) -> Result<Details, BackendError> {
        let entry = self.resolve(&exactly(name))?;
        let mut details = self.head(&entry)?.details(&entry);
        details.offer.abilities.vision = self.projector_of(&entry.name).is_some();
        Ok(details)
    }

    /// How long a model stays when no request has said so.
    fn default_keep_alive(&self, name: &str) -> KeepAlive {
        let own = self.limits.per_model.get(name);
        if let Some(own) = own.and_then(|own| own.keep_alive) {
            own
        } else if self.start_up.as_deref() == Some(name) {
            self.limits.keep_start_up
        } else {
            self.limits.keep_alive
        }
    }

    /// See [`Backend::open`](crate::commands::serve::backend::Backend::open).
    pub(super) fn open(self: &Arc<Self>, wanted: &Wanted, cancel: &CancelToken) -> Result<Opened, BackendError> {
        let entry = self.resolve(wanted)?;
        let demand = self.demand(&entry, wanted)?;
        let opened = self.open_as(&entry, &demand, wanted.keep_alive, cancel);
        if opened.is_err() {
            self.notify(); // a claim that was given up lets others go on
        }
        opened
    }

    fn open_as(
        self: &Arc<Self>,
        entry: &Entry,
        demand: &Demand,
        keep_alive: Option<KeepAlive>,
        cancel: &CancelToken,
    ) -> Result<Opened, BackendError> {
        let began = Instant::now();
        let mut loads = 0;
        let mut state = self.lock();
        loop {
            if let Some(why) = &state.stopped {
                return Err(BackendError::Unavailable(why.clone()));
            }
            // before looking whether the client has gone: a load that this call has just started must not lose its only
            // waiter unnoticed, because nobody would cancel it
            let was_loading = state.is_loading(&entry.name);
            if was_loading {
                let joined;
                (state, joined) = self.join(state, demand, cancel)?;
                loads += u32::from(joined);
            }
            if cancel.is_cancelled() {
                return Err(BackendError::Unavailable("the client has gone".into()));
            }
            if was_loading {
                continue;
            }
            let (tick, is_loading) = (state.tick(), state.loading.is_some());
            match state.models.get_mut(&entry.name) {
                Some(resident) if resident.suits(entry, demand) => {
                    if resident.claims > 0 {
                        state = self.glance(state); // it is about to go
                        continue;
                    }
                    let load = if loads > 0 { began.elapsed() } else { Duration::ZERO };
                    resident.keep_alive = keep_alive.unwrap_or(resident.keep_alive);
                    return Ok(self.lease(resident, demand, tick, load));
                }
                Some(resident) if resident.leases > 0 => {
                    if began.elapsed() > self.limits.patience {
                        return Err(self.busy(&entry.name));
                    }
                    let number = resident.number;
                    resident.claims += 1;
                    state = self.glance(state);
                    let resident = state.models.get_mut(&entry.name);
                    if let Some(resident) = resident.filter(|resident| resident.number == number) {
                        resident.claims -= 1;
                    }
                }
                Some(resident) if resident.claims > 0 => state = self.glance(state),
                // one load at a time: each has to know what memory the one before has left
                _ if is_loading => state = self.glance(state),
                _ if loads >= MAX_LOADS => {
                    let detail = format!("`{}` was loaded {loads} times, never {demand}", entry.name);
                    return Err(BackendError::internal(
                        "the model cannot be loaded as asked for",
                        detail,
                    ));
                }
                _ => {
                    let keep_alive = keep_alive.unwrap_or_else(|| self.default_keep_alive(&entry.name));
                    self.start_loading(&mut state, entry.clone(), demand.clone(), keep_alive)?;
                }
            }
        }
    }

    fn lease(self: &Arc<Self>, resident: &mut Resident, demand: &Demand, tick: u64, load: Duration) -> Opened {
        resident.leases += 1;
        resident.last_use = tick;
        resident.deadline = None;
        Opened {
            card: resident.loaded.card.clone().within(demand.n_ctx()),
            load,
            lease: Lease::new(Hold {
                pool: Arc::clone(self),
                name: resident.entry.name.clone(),
                number: resident.number,
            }),
        }
    }

    /// Waits for the load of the model wanted; true if it is good for this caller too. Otherwise the caller just goes on
    /// from the state after it.
    fn join<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        demand: &Demand,
        cancel: &CancelToken,
    ) -> Result<(MutexGuard<'a, State>, bool), BackendError> {
        let Some(loading) = &mut state.loading else {
            return Ok((state, false));
        };
        let same = loading.demand == *demand;
        // one that was given up is no use to us, but its end is worth waiting for
        let ours = (same || demand.is_open()) && !loading.token.is_cancelled();
        let (number, failure) = (loading.number, Arc::clone(&loading.failure));
        loading.waiting += usize::from(ours);
        let in_progress = |state: &State| state.loading.as_ref().is_some_and(|loading| loading.number == number);
        while in_progress(&state) && !cancel.is_cancelled() && state.stopped.is_none() {
            state = self.glance(state);
        }
        let loading = state.loading.as_mut();
        if let Some(loading) = loading.filter(|loading| loading.number == number && ours) {
            loading.waiting -= 1;
            if loading.waiting == 0 {
                loading.token.cancel();
            }
        }
        match failure.get().filter(|_| ours && same) {
            Some(error) => Err(error.clone()),
            None => Ok((state, ours)),
        }
    }

    fn busy(&self, name: &str) -> BackendError {
        BackendError::Busy {
            message: format!(
                "model '{name}' would have to be loaded again to serve this request, and others have been using it as it is \
                 for {:.0} s; try again later, or leave num_ctx and kv_cache_type open",
                self.limits.patience.as_secs_f64()
            ),
            retry_after: self.limits.patience,
        }
    }

    /// See [`Backend::unload`](crate::commands::serve::backend::Backend::unload).
    pub(super) fn unload(&self, name: &str) -> Result<bool, BackendError> {
        let name = match self.resolve(&exactly(name)) {
            // its file may have gone while it was loaded
            Err(BackendError::UnknownModel(name)) if self.lock().models.contains_key(&name) => name,
            resolved => resolved?.name,
        };
        let mut state = self.lock();
        if let Some(loading) = state.loading.as_ref().filter(|loading| loading.name == name) {
            loading.token.cancel();
        }
        while state.is_loading(&name) {
            state = self.glance(state);
        }
        let Some(resident) = state.models.get_mut(&name) else {
            return Ok(false);
        };
        let number = resident.number;
        resident.claims += 1;
        loop {
            match state.models.get_mut(&name).filter(|resident| resident.number == number) {
                // gone in another way: its time was over, or the server stops
                None => break,
                Some(resident) if resident.leases == 0 => {
                    let loaded = state.remove(&name);
                    drop(state);
                    tracing::info!("model `{name}` is unloaded: it was asked for");
                    loaded.into_iter().for_each(|loaded| self.free(loaded));
                    break;
                }
                Some(_) => state = self.glance(state),
            }
        }
        Ok(true)
    }

    /// The loaded model that a job names; the caller has a lease on it.
    pub(super) fn resident(&self, name: &str) -> Result<Arc<Loaded>, BackendError> {
        let state = self.lock();
        if let Some(why) = &state.stopped {
            return Err(BackendError::Unavailable(why.clone()));
        }
        match state.models.get(name) {
            Some(resident) => Ok(Arc::clone(&resident.loaded)),
            None => Err(BackendError::UnknownModel(name.to_owned())),
        }
    }

    /// What the loaded models are doing.
    pub(super) fn running(&self) -> Vec<Running> {
        let state = self.lock();
        let running = |resident: &Resident| {
            let in_use = match resident.keep_alive {
                KeepAlive::For(time) if resident.leases > 0 => Deadline::after(time),
                _ => None,
            };
            Running {
                expires: resident.deadline.or(in_use).map(|deadline| deadline.clock),
                ..resident.loaded.running()
            }
        };
        state.models.values().map(running).collect()
    }

    /// See [`Backend::counts`](crate::commands::serve::backend::Backend::counts).
    pub(super) fn counts(&self) -> Counts {
        let state = self.lock();
        let mut decoded = state.past;
        let resident = state.models.values();
        resident.for_each(|resident| decoded.add(&resident.loaded));
        Counts {
            loads: Some(state.loads),
            unloads: Some(state.unloads),
            decodes: Some(decoded.batches),
            decoded_slots: Some(decoded.slots),
        }
    }

    /// The model that is being loaded, unless the load was given up and only has to end.
    pub(super) fn loading(&self) -> Vec<String> {
        let state = self.lock();
        let wanted = state.loading.iter().filter(|loading| !loading.token.is_cancelled());
        wanted.map(|loading| loading.name.clone()).collect()
    }

    /// Serves no more: ends running jobs and loads, and frees all models. Blocks until they are gone.
    pub(super) fn stop(&self) {
        let mut state = self.lock();
        state.stopped.get_or_insert_with(|| "the server is stopping".into());
        if let Some(loading) = &state.loading {
            loading.token.cancel();
        }
        self.notify();
        loop {
            if let Some(name) = state.models.keys().next().cloned() {
                let loaded = state.remove(&name);
                drop(state);
                loaded.into_iter().for_each(|loaded| self.free(loaded));
                state = self.lock();
            } else if state.loading.is_some() || state.freeing > 0 {
                state = self.glance(state);
            } else {
                return;
            }
        }
    }
}

/// The model of this very name.
pub(super) fn exactly(name: &str) -> Wanted {
    Wanted {
        exact: true,
        ..Wanted::named(Some(name))
    }
}

fn unreadable(error: &anyhow::Error) -> BackendError {
    BackendError::internal("the list of models cannot be read", format!("{error:#}"))
}
