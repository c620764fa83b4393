//! Loading one model of the pool: the room it takes, and the load itself.

use super::demand::Demand;
use super::heads::{Head, reason};
use super::loaded::Loaded;
use super::memory::Plan;
use super::pool::Pool;
use super::residents::{Loading, Resident, State};
use super::slots::SlotSettings;
use crate::auto::{self, Auto, Refused};
use crate::commands::serve::backend::{BackendError, CancelToken, KeepAlive};
use crate::settings::{ModelSettings, human_bytes};
use crate::store::Entry;
use llama_turboquant::Error;
use llama_turboquant::choose::{Decision, NoFit};
use llama_turboquant::machine::Machine;
use llama_turboquant::vision::ProjectorPlan;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A model that was loaded for somebody stays at least this long, so that whoever waited for it can take its lease.
const HANDOVER: Duration = Duration::from_secs(5);

impl Pool {
    /// What the file of an entry says.
    pub(super) fn head(&self, entry: &Entry) -> Result<Arc<Head>, BackendError> {
        let unreadable = |why| BackendError::Unavailable(format!("model '{}' cannot be read: {why}", entry.name));
        self.heads.read(entry).map_err(unreadable)
    }

    /// Starts the thread that loads a model. An idle one of the same name is claimed, and goes when the new one is known to
    /// be possible.
    pub(super) fn start_loading(
        self: &Arc<Self>,
        state: &mut State,
        entry: Entry,
        demand: Demand,
        keep_alive: KeepAlive,
    ) -> Result<(), BackendError> {
        let (token, failure) = (CancelToken::new(), Arc::default());
        let loading = Loading {
            name: entry.name.clone(),
            demand: demand.clone(),
            number: state.tick(),
            waiting: 0,
            token: token.clone(),
            failure: Arc::clone(&failure),
        };
        let (pool, name) = (Arc::clone(self), entry.name.clone());
        let load = move || {
            let attempt = std::panic::AssertUnwindSafe(|| pool.load(&entry, &demand, &token));
            let loaded = std::panic::catch_unwind(attempt)
                .unwrap_or_else(|_| Err(BackendError::internal("the model cannot be loaded", "loading panicked")));
            pool.loaded(entry, keep_alive, loaded, &failure);
        };
        // the thread is on its own: what it has done is in the state
        let thread = std::thread::Builder::new().name("turboquant-load".into()).spawn(load);
        thread.map_err(|error| {
            let detail = format!("the thread that loads `{name}` could not be started: {error}");
            BackendError::internal("the model cannot be loaded", detail)
        })?;
        if let Some(resident) = state.models.get_mut(&loading.name) {
            resident.claims += 1;
        }
        state.loading = Some(loading);
        Ok(())
    }

    /// Notes how the load has ended.
    fn loaded(
        &self,
        entry: Entry,
        keep_alive: KeepAlive,
        loaded: Result<Loaded, BackendError>,
        failure: &OnceLock<BackendError>,
    ) {
        let mut state = self.lock();
        let loading = state.loading.take();
        let waiting = loading.as_ref().map_or(0, |loading| loading.waiting);
        match loaded {
            Ok(loaded) => {
                // the program announces the model of the start itself
                if self.start_up.as_ref() == Some(&entry.name) {
                    tracing::debug!("loaded {}", loaded.describe());
                } else {
                    tracing::info!("loaded {}", loaded.describe());
                }
                let tick = state.tick();
                let mut resident = Resident {
                    loaded: Arc::new(loaded),
                    number: tick,
                    leases: 0,
                    claims: 0,
                    last_use: tick,
                    keep_alive,
                    deadline: None,
                    entry,
                };
                state.loads += 1;
                resident.rest(if waiting > 0 { HANDOVER } else { Duration::ZERO });
                state.models.insert(resident.entry.name.clone(), resident);
            }
            Err(error) => {
                tracing::warn!("model `{}` is not loaded: {error}", entry.name);
                // the one that was to be replaced stays
                if let Some(resident) = state.models.get_mut(&entry.name) {
                    resident.claims -= 1;
                }
                let _ = failure.set(error); // set only here
            }
        }
        drop(state);
        self.notify();
    }

    /// Makes room for a model and loads it. Blocks; `token` ends it early.
    fn load(&self, entry: &Entry, demand: &Demand, token: &CancelToken) -> Result<Loaded, BackendError> {
        // a file that cannot be read is said so in the words of its head
        self.head(entry)?;
        let mut settings = self.settings_for(entry, demand);
        let projector = settings.projector.as_ref();
        let projector = projector.map(|projector| projector.plan(&mut settings.context));
        let projector = projector
            .transpose()
            .map_err(|error| not_loaded(&entry.name, &error.into()))?;
        let mut auto = Auto::open(&settings, projector.as_ref().map_or(0, ProjectorPlan::bytes))
            .map_err(|error| refused_by_engine(&entry.name, error))?;
        let machine = Machine::detect().map_err(|error| not_loaded(&entry.name, &error.into()))?;
        let decision = self.settle(&mut auto, &mut settings, &machine, entry, demand)?;
        let plan = Plan::new(&mut auto, &settings, &machine).map_err(|error| refused_by_engine(&entry.name, error))?;
        drop(auto);
        let available = (self.limits.available)();
        let most = available.map(|available| available.saturating_add(self.lock().occupied()));
        if !plan.fits(most) {
            return Err(too_large(entry, demand, &plan, most));
        }
        self.take_away(entry, demand);
        self.make_room(entry, demand, &plan, token)?;
        let loaded = Loaded::load(
            entry.name.clone(),
            entry.template.as_deref(),
            &settings,
            self.limits.queue,
            &self.slot_settings(),
            projector.as_ref(),
            token,
        );
        let loaded = loaded.map(|mut loaded| {
            loaded.remote_images = self.limits.remote_images;
            if let Some(decision) = &decision {
                auto::say(decision);
            }
            // the engine reports its buffers, and takes the rest when it first computes
            loaded.memory.compute = loaded.memory.compute.max(plan.scratch());
            loaded
        });
        loaded.map_err(|error| match error.downcast::<Error>() {
            Ok(Error::Cancelled) => given_up(&entry.name),
            Ok(error @ (Error::UnsupportedKv(_) | Error::Invalid(_))) if demand.kv.is_some() => unsupported(error),
            Ok(error) => not_loaded(&entry.name, &error.into()),
            Err(error) => not_loaded(&entry.name, &error),
        })
    }

    /// Fills in what was left open. What fits beside the models that are loaded comes first; where that is less than the usual
    /// context, what fits once they have gone.
    fn settle(
        &self,
        auto: &mut Auto,
        settings: &mut ModelSettings,
        machine: &Machine,
        entry: &Entry,
        demand: &Demand,
    ) -> Result<Option<Decision>, BackendError> {
        if let Some(n_ctx) = demand.n_ctx {
            // who asks for a context in a request gets it or an error: a shorter one would be loaded anew by the next request
            settings.asked.n_ctx = Some(n_ctx);
            settings.asked.min_ctx = Some(n_ctx);
        }
        let occupied = self.lock().occupied_by_kind();
        if occupied != (0, 0)
            && let Ok(decision) = auto.settle(settings, machine, true)
        {
            return Ok(decision);
        }
        let alone = machine.clone().with_freed(occupied.0, occupied.1);
        auto.settle(settings, &alone, false).map_err(|refused| match refused {
            Refused::NoFit(NoFit::Memory(advice)) if demand.is_open() => {
                BackendError::Unavailable(format!("model '{}' cannot be loaded: {advice}", entry.name))
            }
            Refused::NoFit(NoFit::Memory(advice)) => {
                BackendError::invalid(format!("model '{}' cannot be loaded {demand}: {advice}", entry.name))
            }
            Refused::NoFit(other) => BackendError::invalid(format!("model '{}': {other}", entry.name)),
            Refused::Engine(error) => refused_by_engine(&entry.name, error),
        })
    }

    /// The settings about slots for one more model, with its share of the memory for prompts: what others were given before
    /// more models were on offer is not taken back, so that there may be less left.
    fn slot_settings(&self) -> SlotSettings {
        let on_offer = self.catalog.entries().map_or(usize::MAX, |entries| entries.len());
        let at_once = match self.limits.models {
            0 => on_offer,
            models => models.min(on_offer),
        };
        let state = self.lock();
        let given = state
            .models
            .values()
            .filter_map(|resident| resident.loaded.slots.prompt_cache);
        let given: u64 = given.sum();
        let share = |limit: u64| (limit / at_once.max(1) as u64).min(limit.saturating_sub(given));
        SlotSettings {
            prompt_cache: self.limits.slots.prompt_cache.map(share),
            ..self.limits.slots.clone()
        }
    }

    /// Unloads the model as it was loaded before; the load has claimed it.
    fn take_away(&self, entry: &Entry, demand: &Demand) {
        let old = self.lock().remove(&entry.name);
        if let Some(old) = old {
            tracing::info!(
                "model `{}` is loaded again {demand}; it was: {}",
                entry.name,
                old.describe()
            );
            self.free(old);
        }
    }

    /// Unloads idle models, least recently used first, until there is room for one more.
    fn make_room(&self, entry: &Entry, demand: &Demand, plan: &Plan, token: &CancelToken) -> Result<(), BackendError> {
        let began = Instant::now();
        loop {
            let mut state = self.lock();
            if token.is_cancelled() || state.stopped.is_some() {
                return Err(given_up(&entry.name));
            }
            // what is being freed is not free yet
            if state.freeing > 0 {
                drop(self.glance(state));
                continue;
            }
            let residents = state.models.len();
            let crowded = self.limits.models > 0 && residents >= self.limits.models;
            // asks the system, which takes its time
            drop(state);
            let available = (self.limits.available)();
            if !crowded && plan.fits(available) {
                return Ok(());
            }
            if residents == 0 {
                return Err(too_large(entry, demand, plan, available));
            }

            state = self.lock();
            if let Some(name) = state.least_recently_used() {
                let loaded = state.remove(&name);
                drop(state);
                tracing::info!(
                    "model `{name}` is unloaded: it is the least recently used one, and `{}` needs its room",
                    entry.name
                );
                loaded.into_iter().for_each(|loaded| self.free(loaded));
            } else if began.elapsed() > self.limits.patience {
                return Err(self.no_room(entry, plan, available, residents));
            } else {
                drop(self.glance(state));
            }
        }
    }

    fn no_room(&self, entry: &Entry, plan: &Plan, available: Option<u64>, residents: usize) -> BackendError {
        let limit = match self.limits.models {
            models if models > 0 && residents >= models => format!("{models} models may be loaded"),
            _ => format!("it needs {}, and {} is free", plan.describe(), free(available)),
        };
        BackendError::Busy {
            message: format!(
                "there is no room for model '{}': {limit}, and all {residents} that are loaded are in use",
                entry.name
            ),
            retry_after: self.limits.patience,
        }
    }
}

fn free(available: Option<u64>) -> String {
    available.map_or_else(|| "an unknown amount".into(), human_bytes)
}

fn too_large(entry: &Entry, demand: &Demand, plan: &Plan, available: Option<u64>) -> BackendError {
    let message = format!(
        "model '{}' does not fit the memory: it needs {}, and {} is free with no other model loaded",
        entry.name,
        plan.describe(),
        free(available)
    );
    if demand.n_ctx.is_some() || demand.kv.is_some() {
        return BackendError::invalid(format!(
            "{message}; ask for a smaller num_ctx or a smaller kv_cache_type"
        ));
    }
    BackendError::Unavailable(format!("{message}; start the server with a smaller --ctx-size"))
}

/// A cache that was asked for and does not work is the request's mistake.
pub(super) fn unsupported(error: Error) -> BackendError {
    BackendError::invalid(error.to_string())
}

/// What was asked for does not work, which is the request's mistake, or the engine failed before it knew, which is not: there
/// was no memory even for the plan.
fn refused_by_engine(name: &str, error: Error) -> BackendError {
    match error {
        Error::Load { .. } | Error::Engine(_) | Error::OutOfMemory { .. } | Error::Io(_) => {
            not_loaded(name, &error.into())
        }
        error => unsupported(error),
    }
}

fn given_up(name: &str) -> BackendError {
    BackendError::Unavailable(format!("loading model '{name}' was given up"))
}

fn not_loaded(name: &str, error: &anyhow::Error) -> BackendError {
    BackendError::Unavailable(format!("model '{name}' cannot be loaded: {}", reason(error)))
}
