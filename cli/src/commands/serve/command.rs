//! The command itself: settings, port, model, then the server.

use crate::args::ServeArgs;
use crate::commands::serve::engine::{Catalogs, Engine, FixedCatalog, FolderCatalog, Limits, SlotSettings};
use crate::commands::serve::guard::ApiKeys;
use crate::commands::serve::{AppState, Settings, bind, interrupted, serve};
use crate::settings::ModelSettings;
use crate::store::Catalog;
use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

/// Serves until interrupted. The port is taken first, so that a mistake there costs no loading; requests that arrive
/// while the model of `-m` loads get 503. With `--models-dir` and no `-m`, models are loaded as requests name them.
///
/// # Errors
/// Bad settings, a port in use, a model that does not load.
pub fn run(args: ServeArgs) -> Result<ExitCode> {
    if args.parallel == 0 {
        bail!("--parallel must be at least 1");
    }
    let settings = ModelSettings::new(&args.model, args.parallel)?;
    let (catalog, start_up) = on_offer(&args, &settings)?;
    let limits = limits(&args)?;
    let file = settings.engine.file.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2) // the engine needs the cores; two threads move bytes fast enough
        .enable_all()
        .build()
        .context("cannot start the server's threads")?;
    runtime.block_on(async {
        let addr = SocketAddr::new(args.host, args.port);
        let listener = bind(addr).await?;
        let addr = listener.local_addr().context("cannot read the address of the socket")?;

        let engine = Arc::new(Engine::new(catalog, settings, limits, start_up)?);
        let keys = ApiKeys::new(args.api_key.clone());
        let state = AppState::new(
            engine.clone(),
            Settings {
                api_keys: keys,
                ..Settings::default()
            },
        );

        let loading = engine.clone();
        let mut load = tokio::task::spawn_blocking(move || loading.load_start_up());
        let (stop_sender, stop) = tokio::sync::oneshot::channel::<()>();
        let mut server = tokio::spawn(serve(listener, state, async {
            let _ = stop.await; // an error means that the sender is gone, which is a reason to stop as well
        }));
        let signal = interrupted();
        tokio::pin!(signal);
        tokio::select! {
            loaded = &mut load => {
                let loaded = loaded.context("the loading thread failed")?;
                // the engine tells clients too, so it leaves the path to us
                match &file {
                    Some(file) => loaded.with_context(|| format!("cannot load model {}", file.display()))?,
                    None => loaded.context("cannot load the embedded model")?,
                }
                announce(&engine, addr);
                tokio::select! {
                    () = &mut signal => {}
                    served = &mut server => return served.context("the server failed")?,
                }
            }
            () = &mut signal => {}
        }
        // also ends a load that is running
        let stopping = engine.clone();
        tokio::task::spawn_blocking(move || stopping.stop())
            .await
            .context("the engine did not stop")?;
        drop(stop_sender);
        server.await.context("the server failed")?
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The models on offer, and the name of the one that is loaded now: that of `-m`, or the embedded one if nothing else is
/// offered.
fn on_offer(args: &ServeArgs, settings: &ModelSettings) -> Result<(Arc<dyn Catalog>, Option<String>)> {
    let named = || {
        let name = args.alias.clone().unwrap_or_else(|| settings.engine.model_name());
        (FixedCatalog::of_file(&name, settings.engine.file.clone()), name)
    };
    let Some(folder) = &args.pool.models_dir else {
        let (catalog, name) = named();
        return Ok((Arc::new(catalog), Some(name)));
    };
    let folder = FolderCatalog::new(folder.clone()).context("--models-dir")?;
    if settings.engine.file.is_none() {
        return Ok((Arc::new(folder), None));
    }
    let (catalog, name) = named();
    Ok((
        Arc::new(Catalogs(vec![Arc::new(catalog), Arc::new(folder)])),
        Some(name),
    ))
}

/// What the pool keeps to.
///
/// # Errors
/// If the folder for saved slots is none.
pub fn limits(args: &ServeArgs) -> Result<Limits> {
    let limits = Limits::default();
    Ok(Limits {
        queue: args.queue,
        models: args.pool.models_max,
        keep_alive: args.pool.keep_alive.unwrap_or(limits.keep_alive),
        keep_start_up: args.pool.keep_alive.unwrap_or(limits.keep_start_up),
        slots: SlotSettings::new(&args.slots)?,
        ..limits
    })
}

fn announce(engine: &Engine, addr: SocketAddr) {
    match engine.describe() {
        loaded if loaded.is_empty() => {
            eprintln!("models are loaded when requests name them; GET /v1/models lists them")
        }
        loaded => eprintln!("{loaded}"),
    }
    println!("listening on http://{addr}");
    eprintln!(
        "try: curl -N http://{addr}/v1/chat/completions -H 'Content-Type: application/json' \\\n       \
         -d '{{\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"What is turbo4?\"}}]}}'"
    );
}
