//! `turboquant plan`: how much memory a model takes, before any of it is taken.

mod advice;
mod show;

use crate::args::plan::PlanArgs;
use crate::embedded;
use crate::settings::ModelSettings;
use anyhow::{Context, Result, anyhow, bail};
use llama_turboquant::machine::{Machine, parse_size};
use llama_turboquant::plan::{Allocated, Footprint, MemoryPlan, Setup};
use llama_turboquant::vision::ProjectorPlan;
use llama_turboquant::{CancelToken, Error, KvCacheConfig, Model};
use std::process::ExitCode;

/// What is printed.
pub(crate) struct Report {
    /// The model's name.
    pub(crate) model: String,
    /// For people: what it is.
    pub(crate) description: String,
    /// What it was trained for, in tokens.
    pub(crate) n_ctx_train: u32,
    /// How it is run.
    pub(crate) setup: Setup,
    /// What that takes.
    pub(crate) plan: MemoryPlan,
    /// On which machine.
    pub(crate) machine: Machine,
    /// The longest context of the same setup that fits, where this one does not.
    pub(crate) longest: Option<u32>,
    /// What it took, with `--measure`.
    pub(crate) measured: Option<Allocated>,
    /// Layers, those of a draft head included.
    pub(crate) layers: usize,
}

/// Prints the plan. Exit code 0 where it fits, 1 where it does not.
///
/// # Errors
/// A file that is no model or no facts, settings that cannot be.
pub fn run(args: &PlanArgs) -> Result<ExitCode> {
    let report = report(args)?;
    if args.json {
        println!("{:#}", show::json(&report));
    } else {
        show::print(&report);
    }
    Ok(if report.plan.fits() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    })
}

fn report(args: &PlanArgs) -> Result<Report> {
    let margin = parse_size(&args.margin).context("--margin")?;
    if args.slots == 0 {
        bail!("--slots 0: at least one request is served");
    }
    let mut settings = ModelSettings::new(&args.model, args.slots)?;
    let projector = settings.projector.as_ref();
    let projector = projector.map(|projector| projector.plan(&mut settings.context));
    let projector = projector.transpose().context("--mmproj")?;
    let engine = &settings.engine;
    let path = engine.file.clone().map_or_else(embedded::path, Ok)?;
    let machine = match &args.facts {
        Some(file) => Machine::read(file).context("--facts")?,
        None => Machine::detect()?,
    };
    let (mut footprint, model) = Footprint::open(&path, engine.gpu_layers)?;
    let n_ctx = match settings.context.n_ctx {
        0 => model.meta().n_ctx_train,
        n_ctx => n_ctx,
    };
    let mut setup = Setup {
        n_ctx,
        kv: cache(&settings, &model)?,
        margin,
        mmap: engine.mmap,
        ..Setup::of(&settings.context, engine.gpu_layers)
    };
    setup.n_ubatch = setup.n_ubatch.min(n_ctx.max(256));
    if args.measure {
        // all that is reserved is to be touched
        setup.n_outputs = setup.n_ubatch;
    }
    footprint.learn(&model, &setup)?;
    if let Some(file) = &args.draft {
        let (mut draft, model) = Footprint::open(file, engine.gpu_layers).context("--draft")?;
        let own = Setup {
            kv: KvCacheConfig {
                unified: setup.kv.unified,
                ..KvCacheConfig::default()
            },
            ..setup.clone()
        };
        draft.learn(&model, &own).context("--draft")?;
        setup.draft_kv = Some(own.kv);
        footprint = footprint.with_draft(draft);
    }
    footprint.projector = projector.as_ref().map_or(0, ProjectorPlan::bytes);
    let plan = MemoryPlan::new(&footprint, &setup, &machine)?;
    let longest = if plan.fits() {
        None
    } else {
        footprint.survey(&model)?;
        longest(&footprint, &setup, &machine)?
    };
    let report = Report {
        model: engine.model_name(),
        description: model.meta().description.clone(),
        n_ctx_train: model.meta().n_ctx_train,
        layers: model.meta().layers.len(),
        setup,
        plan,
        machine,
        longest,
        measured: None,
    };
    drop(model);
    if !args.measure {
        return Ok(report);
    }
    if !report.plan.fits() {
        bail!(
            "{} does not fit this machine, so it is not loaded to measure it",
            report.model
        );
    }
    let model = engine.load(&CancelToken::new())?;
    let measured = Allocated::measure(&model, &report.setup)?;
    Ok(Report {
        measured: Some(measured),
        ..report
    })
}

/// The cache that would be used: the first of those left to us that this model can have.
fn cache(settings: &ModelSettings, model: &Model) -> Result<KvCacheConfig> {
    let mut refused: Option<Error> = None;
    for kv in settings.caches() {
        match kv.resolve(model.meta()) {
            Ok(_) => return Ok(kv),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.map_or_else(|| anyhow!("no KV type to try"), Into::into))
}

/// The longest context that fits, a multiple of 256 tokens.
fn longest(footprint: &Footprint, setup: &Setup, machine: &Machine) -> Result<Option<u32>> {
    const STEP: u32 = 256;
    let fits = |steps: u32| {
        let shorter = Setup {
            n_ctx: steps * STEP,
            ..setup.clone()
        };
        Ok(MemoryPlan::new(footprint, &shorter, machine)?.fits())
    };
    let found = llama_turboquant::measure::ceiling::try_last_that(setup.n_ctx / STEP, fits)?;
    Ok(found.map(|steps| steps * STEP))
}
