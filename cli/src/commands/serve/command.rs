//! The command itself: settings, port, model, then the server.

use crate::args::ServeArgs;
use crate::commands::serve::defaults::{Defaults, chat_template};
use crate::commands::serve::engine::Engine;
use crate::commands::serve::{AppState, interrupted, serve_all, start};
use crate::options::Origin;
use crate::settings::ModelSettings;
use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

/// Serves until interrupted. The port is taken first, so that a mistake there costs no loading; requests that arrive
/// while the model loads get 503.
///
/// # Errors
/// Bad settings, a port in use, a model that does not load.
pub fn run(args: &ServeArgs, origin: &Origin) -> Result<ExitCode> {
    if args.print_config {
        println!("{}", origin.shown.join("\n"));
        return Ok(ExitCode::SUCCESS);
    }
    if args.serving.parallel == 0 {
        bail!("--parallel must be at least 1");
    }
    let mut settings = ModelSettings::new(&args.model, args.serving.parallel)?;
    settings.chat_template = chat_template(args)?;
    let defaults = Defaults::new(args)?;
    let server_settings = start::settings(args)?;
    let connections = start::connections(&args.listen)?;
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

        let engine = Arc::new(Engine::new(
            args.serving
                .alias
                .clone()
                .unwrap_or_else(|| settings.engine.model_name()),
            args.serving.queue,
        ));
        let state = AppState::new(Arc::new(defaults.over(engine.clone())), server_settings);

        let loading = engine.clone();
        let mut load = tokio::task::spawn_blocking(move || loading.load(&settings));
        let (stop_sender, stop) = tokio::sync::oneshot::channel::<()>();
        let mut server = tokio::spawn(serve_all(listeners, connections, state, async {
            let _ = stop.await; // an error means that the sender is gone, which is a reason to stop as well
        }));
        let signal = interrupted();
        tokio::pin!(signal);
        tokio::select! {
            loaded = &mut load => {
                loaded.context("the loading thread failed")??;
                announce(&engine, scheme, &addrs);
                tokio::select! {
                    () = &mut signal => {}
                    served = &mut server => return served.context("the server failed")?,
                }
            }
            () = &mut signal => {
                engine.cancel_loading();
                let _ = load.await; // cancelled on purpose
            }
        }
        let stopping = engine.clone();
        tokio::task::spawn_blocking(move || stopping.stop())
            .await
            .context("the engine did not stop")?;
        drop(stop_sender);
        server.await.context("the server failed")?
    })?;
    Ok(ExitCode::SUCCESS)
}

fn announce(engine: &Engine, scheme: &str, addrs: &[SocketAddr]) {
    eprintln!("{}", engine.describe());
    for addr in addrs {
        println!("listening on {scheme}://{addr}");
    }
    if let Some(addr) = addrs.first() {
        eprintln!(
            "try: curl -N {scheme}://{addr}/v1/chat/completions -H 'Content-Type: application/json' \\\n       \
             -d '{{\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"What is turbo4?\"}}]}}'"
        );
    }
}
