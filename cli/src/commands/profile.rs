//! `turboquant profile`: one file for a client and the server it uses.

use crate::args::profile::ProfileArgs;
use crate::decide::{self, Place};
use crate::profile::{self, AGENT_CONTEXT, Endpoint, Form, Outcome, Profile, Server};
use crate::settings::{CacheType, EngineSettings, layer_policy};
use anyhow::{Context as _, Result, bail};
use llama_turboquant::choose::{Decision, Wishes};
use llama_turboquant::{GpuLayers, KvType, LayerPolicy};
use std::path::Path;
use std::process::ExitCode;

/// Chooses, writes, and says why.
///
/// # Errors
/// Wishes that cannot be fulfilled, a file that must not be replaced.
pub fn run(args: &ProfileArgs) -> Result<ExitCode> {
    let wishes = wishes(args)?;
    let place = Place::new(args.facts.as_deref())?;
    let footprint = decide::footprint(args.model.as_deref())?;
    let mut decision = place.decide(&footprint, &wishes)?;
    if args.form == Form::Hermes && !has_turbo(&decision) {
        decision = with_turbo(args, &wishes, &decision, |wishes| place.decide(&footprint, wishes))?;
    }
    let profile = profile(args, &decision)?;
    let text = profile.text(args.form)?;
    for reason in &decision.reasons {
        eprintln!("{}", reason.text);
    }
    for warning in &decision.warnings {
        eprintln!("warning: {}", warning.text);
    }
    let path = args.output.as_deref().unwrap_or_else(|| args.form.default_path());
    if path == Path::new("-") {
        print!("{text}");
        return Ok(ExitCode::SUCCESS);
    }
    let outcome = profile::write(path, &text, args.force)?;
    let server = &profile.server;
    eprintln!(
        "{} {}: {} with K {} and V {}, layer-adaptive mode {}, {} tokens for {} requests at once",
        match outcome {
            Outcome::Written => "wrote",
            Outcome::Unchanged => "already there, unchanged:",
        },
        path.display(),
        profile.model,
        server.k,
        server.v,
        server.layer_adaptive,
        server.n_ctx,
        server.n_slots
    );
    if let Err(why) = profile.endpoint.listens() {
        eprintln!("note: {why}");
    }
    let word = path.to_string_lossy();
    let word = shlex::try_quote(&word).unwrap_or_else(|_| word.clone());
    println!("turboquant serve --profile {word}");
    Ok(ExitCode::SUCCESS)
}

fn wishes(args: &ProfileArgs) -> Result<Wishes> {
    let side = |text: &str| -> Result<Option<KvType>> { Ok(text.parse::<CacheType>()?.named()) };
    let layers = layer_policy(args.layer_adaptive.as_deref())?;
    if args.form == Form::Hermes
        && let Some(n_ctx) = args.ctx_size.filter(|n_ctx| *n_ctx < AGENT_CONTEXT)
    {
        bail!("-c {n_ctx} is too short for an agent: its profile needs {AGENT_CONTEXT} tokens at least");
    }
    Ok(Wishes {
        n_ctx: args.ctx_size,
        min_ctx: (args.form == Form::Hermes).then_some(AGENT_CONTEXT),
        n_slots: args.parallel,
        k: side(&args.cache_type_k).context("--cache-type-k")?,
        v: side(&args.cache_type_v).context("--cache-type-v")?,
        layers: (layers != LayerPolicy::Auto).then_some(layers),
        gpu_layers: args.gpu_layers.map(GpuLayers::Count),
        ..Wishes::default()
    })
}

fn has_turbo(decision: &Decision) -> bool {
    [decision.kv.k, decision.kv.v].iter().any(is_turbo)
}

fn is_turbo(ty: &KvType) -> bool {
    matches!(ty, KvType::Turbo4 | KvType::Turbo3 | KvType::Turbo2)
}

/// An agent's profile is for a turbo cache, also where there is room for a larger one.
fn with_turbo(
    args: &ProfileArgs,
    wishes: &Wishes,
    without: &Decision,
    decide: impl Fn(&Wishes) -> Result<Decision>,
) -> Result<Decision> {
    let kv = &without.kv;
    if wishes.v.is_some() {
        bail!(
            "--cache-type-k {} and --cache-type-v {} leave no turbo type, and an agent's profile is for one (turbo2, turbo3, turbo4); \
             `turboquant profile openai` takes any type",
            args.cache_type_k,
            args.cache_type_v
        );
    }
    let wishes = Wishes {
        v: Some(KvType::Turbo4),
        ..wishes.clone()
    };
    let decision = decide(&wishes).with_context(|| {
        format!(
            "an agent's profile is for a turbo cache, and this model on this machine would run {}/{}; `turboquant profile openai` \
             takes any type",
            kv.k, kv.v
        )
    })?;
    eprintln!(
        "{}/{} would fit as well; an agent's profile is for a turbo cache",
        kv.k, kv.v
    );
    Ok(decision)
}

fn profile(args: &ProfileArgs, decision: &Decision) -> Result<Profile> {
    let Some(layer_adaptive) = decision.kv.layers.effective_mode(decision.kv.v) else {
        bail!("types of single layers have no place in a profile; name a mode with --layer-adaptive");
    };
    let endpoint = match &args.endpoint {
        Some(endpoint) => endpoint.clone(),
        None => Endpoint::new(args.form.default_endpoint())?,
    };
    let model = args.model.as_deref().map(profile::from_anywhere).transpose()?;
    let server = Server {
        k: decision.kv.k,
        v: decision.kv.v,
        layer_adaptive,
        n_ctx: decision.n_ctx,
        n_slots: decision.n_slots,
        gpu_layers: match decision.gpu_layers {
            GpuLayers::Count(layers) => Some(layers),
            // all, which is what no option means
            _ => None,
        },
        listen: (args.endpoint.as_ref())
            .and_then(|endpoint| endpoint.listens().ok())
            .map(|(host, port)| (host.to_owned(), port)),
        ollama: args.form == Form::Ollama,
        model,
    };
    Ok(Profile {
        endpoint,
        model: EngineSettings::name_of(server.model.as_deref()),
        server,
    })
}
