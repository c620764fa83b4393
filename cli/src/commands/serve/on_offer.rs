//! Which models a server offers, and which of them it loads at the start.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::args::ServeArgs;
use crate::commands::serve::engine::{FixedCatalog, Limits, PerModel, SlotSettings, named};
use crate::commands::serve::keep_alive;
use crate::embedded;
use crate::hub::Hub;
use crate::loras::LoraFiles;
use crate::options::ModelOverrides;
use crate::settings::ModelSettings;
use crate::store::{Catalog, Entry, Store};

/// What a server offers.
pub struct OnOffer {
    /// The models.
    pub catalog: Arc<dyn Catalog>,
    /// The one that is loaded at the start.
    pub start_up: Option<String>,
    /// Where clients may pull models to, and from where; None: they may not.
    pub store: Option<(Arc<Store>, Arc<Hub>)>,
}

impl OnOffer {
    /// The model of `-m` (or `-hf`), those of the configuration file, and, with `--models-dir` or `--ollama`, those of the
    /// models folder. The embedded one stands in where none is named.
    ///
    /// # Errors
    /// A folder that cannot be read, a hub whose URL is none.
    pub fn new(args: &ServeArgs, models: &[ModelOverrides], settings: &ModelSettings) -> Result<Self> {
        let mut given: Vec<Entry> = models.iter().filter_map(of_file).collect();
        let folder = args.pool.models_dir.clone();
        let has_folder = folder.is_some() || args.listen.ollama;
        let start_up = (settings.engine.file.is_some() || (given.is_empty() && !has_folder)).then(|| {
            let name = args.serving.alias.clone();
            name.or_else(|| args.remote.hf_repo.clone())
                .unwrap_or_else(|| settings.engine.model_name())
        });
        if let Some(name) = &start_up {
            given.push(named(name, settings.engine.file.clone()));
        }
        if !has_folder {
            return Ok(Self {
                catalog: Arc::new(FixedCatalog::new(given)),
                start_up,
                store: None,
            });
        }
        let folder = folder.unwrap_or_else(Store::default_folder);
        if args.pool.models_dir.is_some() && !folder.is_dir() {
            tracing::warn!(
                "the models folder {} is not there; it is made when a model is pulled",
                folder.display()
            );
        }
        let mut store = Store::open(folder).context("--models-dir")?;
        if settings.engine.file.is_none() {
            store = store.with_model(embedded::entry());
        }
        for model in models.iter().filter(|model| model.model.is_none()) {
            given.extend(renamed(model, &store)?);
        }
        let store = Arc::new(given.into_iter().fold(store, Store::with_model));
        Ok(Self {
            catalog: store.clone(),
            start_up,
            store: Some((store, Arc::new(args.remote.open_hub()?))),
        })
    }
}

/// The model that the configuration file gives a file to.
fn of_file(model: &ModelOverrides) -> Option<Entry> {
    let file = model.model.clone()?;
    Some(named(model.alias.as_deref().unwrap_or(&model.name), Some(file)))
}

/// A model of the folder that the configuration file gives another name: both are good.
fn renamed(model: &ModelOverrides, store: &Store) -> Result<Option<Entry>> {
    let Some(alias) = &model.alias else { return Ok(None) };
    let entry = store.find(&model.name)?.with_context(|| {
        format!(
            "[models.\"{}\"] gives another name to a model that is not in the folder; `turboquant list` shows those that are",
            model.name
        )
    })?;
    Ok(Some(Entry {
        name: alias.clone(),
        parent: Some(entry.name.clone()),
        ..entry
    }))
}

/// What the pool keeps to.
///
/// # Errors
/// A folder for saved slots that is none; options of one model that are wrong.
pub fn limits(args: &ServeArgs, models: &[ModelOverrides]) -> Result<Limits> {
    let limits = Limits::default();
    let (available, overhead) = (limits.available.clone(), args.pool.gpu_overhead);
    Ok(Limits {
        queue: args.serving.queue,
        models: args.pool.models_max,
        keep_alive: args.pool.keep_alive.unwrap_or(limits.keep_alive),
        keep_start_up: args.pool.keep_alive.unwrap_or(limits.keep_start_up),
        slots: SlotSettings::new(&args.slots)?,
        remote_images: args.serving.allow_remote_images,
        per_model: per_model(args, models)?,
        available: Arc::new(move || available().map(|bytes| bytes.saturating_sub(overhead))),
        ..limits
    })
}

fn per_model(args: &ServeArgs, models: &[ModelOverrides]) -> Result<BTreeMap<String, PerModel>> {
    let settings = |model: &ModelOverrides| -> Result<PerModel> {
        let keep_alive = model.keep_alive.as_deref().map(keep_alive::from_text).transpose();
        let mut settings =
            ModelSettings::for_slots(&model.over(&args.model), model.parallel.or(args.serving.parallel))?;
        settings.asked.kept_back = args.pool.gpu_overhead;
        settings.loras = LoraFiles::new(model.lora.clone(), model.lora_scaled.clone());
        Ok(PerModel {
            settings,
            keep_alive: keep_alive.map_err(anyhow::Error::msg)?,
        })
    };
    let mut all = BTreeMap::new();
    for model in models {
        let settings = settings(model).with_context(|| format!("[models.\"{}\"]", model.name))?;
        if let Some(alias) = &model.alias {
            all.insert(alias.clone(), settings.clone());
        }
        all.insert(model.name.clone(), settings);
    }
    Ok(all)
}
