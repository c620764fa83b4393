//! The command itself: settings, sockets, models, then the server.

use crate::args::ServeArgs;
use crate::commands::serve::defaults::{Defaults, chat_template};
use crate::commands::serve::engine::Engine;
use crate::commands::serve::listen::file_size_limit_as_error;
use crate::commands::serve::on_offer::{OnOffer, limits};
use crate::commands::serve::{AppState, interrupted, serve_all, start};
use crate::console;
use crate::loras::LoraFiles;
use crate::options::Origin;
use crate::settings::ModelSettings;
use anyhow::{Context, Result, bail};
use llama_turboquant::{CancelToken, memory};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Serves until interrupted. The sockets are taken first, so that a mistake there costs no download and no loading; requests
/// that arrive while the model of `-m` loads get 503. Models of a folder are loaded as requests name them.
///
/// # Errors
/// Bad settings, a port in use, a model that cannot be had or does not load.
pub fn run(args: &ServeArgs, origin: &Origin) -> Result<ExitCode> {
    if args.print_config {
        println!("{}", origin.shown.join("\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let mut settings = ModelSettings::for_slots(&args.model, args.serving.parallel)?;
    settings.chat_template = chat_template(args)?;
    settings.loras = LoraFiles::from(&args.lora);
    settings.asked.kept_back = args.pool.gpu_overhead;
    let defaults = Defaults::new(args)?;
    llama_turboquant::Backend::init()?.explain_faults()?;
    let server_settings = start::settings(args)?;
    let connections = start::connections(&args.listen)?;
    let limits = limits(args, &origin.models)?;
    memory::prepare_heap_to_last();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(args.listen.threads_http.into())
        .enable_all()
        .build()
        .context("cannot start the server's threads")?;
    runtime.block_on(async {
        let sockets = start::bind_all(&args.listen).await?;
        for warning in start::warnings(&server_settings, &sockets, connections.tls.is_some()) {
            tracing::warn!("{warning}");
        }
        let scheme = if connections.tls.is_some() { "https" } else { "http" };
        let addrs: Vec<SocketAddr> = sockets.iter().map(|socket| socket.addr).collect();
        let listeners = sockets.into_iter().map(|socket| socket.listener).collect();
        let _limits = file_size_limit_as_error()?;
        let signal = interrupted();
        tokio::pin!(signal);

        if args.remote.hf_repo.is_some() {
            let cancel = CancelToken::new();
            let (remote, folder, token) = (args.remote.clone(), args.pool.models_dir.clone(), cancel.clone());
            let mut download = tokio::task::spawn_blocking(move || remote.obtain(folder, &token));
            let file = tokio::select! {
                file = &mut download => file,
                () = &mut signal => {
                    cancel.cancel(); // what has come is kept
                    let _ = download.await;
                    return Err(llama_turboquant::Error::Cancelled.into());
                }
            };
            settings.engine.file = file.context("the download failed")??;
        }
        let offered = OnOffer::new(args, &origin.models, &settings)?;
        if offered.start_up.is_none() && !settings.loras.is_empty() {
            bail!(
                "--lora and --lora-scaled are for the model of -m, and none is named; name it, or give a model of the folder its \
                 adapters in the configuration file: [models.\"NAME\"] lora = [\"FILE\"]"
            );
        }
        if settings.projector.is_some() && offered.start_up.is_none() {
            bail!(
                "--mmproj is the projector of the model that -m or -hf names, and none is named; give one to a model of the \
                 folder in the configuration file, as mmproj in its [models.\"NAME\"]"
            );
        }
        let file = settings.engine.file.clone();
        let engine = Arc::new(Engine::new(offered.catalog, settings, limits, offered.start_up)?);
        let mut state = AppState::new(Arc::new(defaults.over(engine.clone())), server_settings);
        if let Some((store, hub)) = offered.store {
            state = state.with_store(store, hub);
        }

        let doors = Arc::clone(&state.doors);
        let loading = engine.clone();
        let mut load = tokio::task::spawn_blocking(move || loading.load_start_up());
        let (stop_sender, stop) = tokio::sync::oneshot::channel::<()>();
        let mut server = tokio::spawn(serve_all(listeners, connections, state, async {
            let _ = stop.await; // an error means that the sender is gone, which is a reason to stop as well
        }));
        tokio::select! {
            loaded = &mut load => {
                let loaded = loaded.context("the loading thread failed")?;
                match &file {
                    Some(file) => loaded.with_context(|| format!("cannot load model {}", file.display()))?,
                    None => loaded.context("cannot load the embedded model")?,
                }
                announce(&engine, scheme, &addrs, args.serving.webui);
                tokio::select! {
                    () = &mut signal => {}
                    served = &mut server => return served.context("the server failed")?,
                }
            }
            () = &mut signal => {}
        }
        let drained = doors.close(Duration::from_secs(args.listen.drain)).await;
        if drained.finished + drained.left > 0 {
            let (finished, cut) = (drained.finished, drained.left);
            tracing::info!(finished, cut, "running requests had {} s to end", args.listen.drain);
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

fn announce(engine: &Engine, scheme: &str, addrs: &[SocketAddr], webui: bool) {
    let loaded = engine.describe();
    if loaded.is_empty() {
        console::say!("models are loaded when requests name them");
    } else {
        console::say!("{loaded}");
    }
    for addr in addrs {
        console::out(format_args!("listening on {scheme}://{addr}"));
        if console::is_json() {
            tracing::info!(address = %format_args!("{scheme}://{addr}"), "listening");
        }
    }
    if let Some(addr) = addrs.first().filter(|_| webui) {
        console::hint(format_args!("web page: open {scheme}://{addr} in a browser"));
    }
    match addrs.first() {
        None => {}
        Some(addr) if loaded.is_empty() => console::hint(format_args!("try: curl {scheme}://{addr}/v1/models")),
        Some(addr) => console::hint(format_args!(
            "try: curl -N {scheme}://{addr}/v1/chat/completions -H 'Content-Type: application/json' \\\n       \
             -d '{{\"model\":\"{}\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"What is turbo4?\"}}]}}'",
            loaded.split(": ").next().unwrap_or_default()
        )),
    }
}
