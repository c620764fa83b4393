//! What a request demands of the way its model is loaded, and the settings that come of it.

use super::load::unsupported;
use super::loaded::Loaded;
use super::pool::Pool;
use crate::commands::serve::backend::{BackendError, Wanted, kv_cache_type};
use crate::loras::LoraFiles;
use crate::projector::ProjectorSettings;
use crate::settings::{CacheType, ModelSettings};
use crate::store::Entry;
use llama_turboquant::KvSpec;
use llama_turboquant::kv::LayerTypes;
use std::fmt;

/// How a request wants its model loaded. What it leaves open is as the server's settings say, or as the model is loaded.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Demand {
    /// Tokens the request may use; the context may be longer.
    pub(super) n_ctx: Option<u32>,
    /// Types of the KV cache.
    pub(super) kv: Option<KvSpec>,
    /// What they are, layer by layer.
    layers: Option<Vec<LayerTypes>>,
}

impl Demand {
    /// Tokens the request may use; None: all that there are.
    pub(super) fn n_ctx(&self) -> Option<u32> {
        self.n_ctx
    }

    /// Whether every load will do.
    pub(super) fn is_open(&self) -> bool {
        *self == Self::default()
    }

    /// A context longer than asked for will do: what a request may use is the same, and loading a model again costs more
    /// than its memory.
    pub(super) fn is_met_by(&self, loaded: &Loaded) -> bool {
        self.n_ctx.is_none_or(|n_ctx| n_ctx <= loaded.card.n_ctx)
            && self.layers.as_ref().is_none_or(|layers| *layers == loaded.kv)
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.n_ctx, self.kv) {
            (Some(n_ctx), Some(kv)) => write!(f, "for {n_ctx} tokens and with the KV cache {kv}"),
            (Some(n_ctx), None) => write!(f, "for {n_ctx} tokens"),
            (None, Some(kv)) => write!(f, "with the KV cache {kv}"),
            (None, None) => f.write_str("because its file has changed or its engine has failed"),
        }
    }
}

impl Pool {
    /// What a request demands of a model: its own wishes first, then what an alias says. Checked against the head of the
    /// file, so that a mistake costs no model that is loaded.
    pub(super) fn demand(&self, entry: &Entry, wanted: &Wanted) -> Result<Demand, BackendError> {
        let head = self.head(entry)?;
        let meta = &head.meta;
        let option = |name: &str| entry.parameters.get(name);
        let n_ctx = wanted.n_ctx.or_else(|| {
            let n_ctx = option("num_ctx").and_then(serde_json::Value::as_u64)?;
            u32::try_from(n_ctx).ok()
        });
        let kv = match (wanted.kv, option("kv_cache_type").and_then(serde_json::Value::as_str)) {
            (Some(kv), _) => Some(kv),
            (None, Some(text)) => Some(kv_cache_type(text).map_err(BackendError::invalid)?),
            (None, None) => None,
        };
        let most = meta.n_ctx_train.max(self.settings.context.n_ctx);
        if let Some(n_ctx) = n_ctx.filter(|&n_ctx| n_ctx > most) {
            // at every request that asks for it: what it gets is on the card
            tracing::debug!(
                "model `{}`: a context of {n_ctx} tokens was asked for; it gets {most}, for which it was trained",
                entry.name
            );
        }
        let mut demand = Demand {
            n_ctx: n_ctx.map(|n_ctx| n_ctx.clamp(1, most)),
            kv,
            layers: None,
        };
        if kv.is_some() {
            let cache = self.settings_for(entry, &demand).caches().remove(0);
            demand.layers = Some(cache.resolve(meta).map_err(unsupported)?.layers);
        }
        Ok(demand)
    }

    /// The projector of a model: its own, or, for the model of the start, the one that was named for all.
    pub(super) fn projector_of(&self, name: &str) -> Option<&ProjectorSettings> {
        let own = self.limits.per_model.get(name);
        let own = own.and_then(|own| own.settings.projector.as_ref());
        let first = self.start_up.as_deref() == Some(name);
        own.or_else(|| self.settings.projector.as_ref().filter(|_| first))
    }

    /// The server's settings for this model and this demand.
    pub(super) fn settings_for(&self, entry: &Entry, demand: &Demand) -> ModelSettings {
        let own = self.limits.per_model.get(&entry.name);
        let mut settings = own.map_or(&self.settings, |own| &own.settings).clone();
        settings.chat_template.clone_from(&self.settings.chat_template);
        settings.engine = settings.engine.of(entry.file.clone());
        // adapters are made for one model: those of the options are for the model of the options
        if own.is_none_or(|own| own.settings.loras.is_empty()) {
            settings.loras = match self.start_up.as_ref() == Some(&entry.name) {
                true => self.settings.loras.clone(),
                false => LoraFiles::default(),
            };
        }
        settings.projector = self.projector_of(&entry.name).cloned();
        if let Some(n_ctx) = demand.n_ctx {
            settings.context.n_ctx = n_ctx;
        }
        if let Some(kv) = demand.kv {
            settings.map = None;
            (settings.k, settings.v) = (CacheType::Fixed(kv.k), CacheType::Fixed(kv.v));
            settings.context.kv.layers = kv.config().layers;
        }
        settings
    }
}
