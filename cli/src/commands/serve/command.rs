//! The command itself: settings, port, model, then the server.

use crate::args::ServeArgs;
use crate::commands::serve::engine::{Engine, SlotSettings};
use crate::commands::serve::guard::ApiKeys;
use crate::commands::serve::{AppState, Settings, bind, interrupted, serve};
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
pub fn run(args: ServeArgs) -> Result<ExitCode> {
    if args.parallel == 0 {
        bail!("--parallel must be at least 1");
    }
    let settings = ModelSettings::new(&args.model, args.parallel)?;
    let slots = SlotSettings::new(&args.slots)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2) // the engine needs the cores; two threads move bytes fast enough
        .enable_all()
        .build()
        .context("cannot start the server's threads")?;
    runtime.block_on(async {
        let addr = SocketAddr::new(args.host, args.port);
        let listener = bind(addr).await?;
        let addr = listener.local_addr().context("cannot read the address of the socket")?;

        let name = args.alias.clone().unwrap_or_else(|| settings.engine.model_name());
        let engine = Arc::new(Engine::new(name, args.queue).with_slots(slots));
        let keys = ApiKeys::new(args.api_key.clone());
        let state = AppState::new(
            engine.clone(),
            Settings {
                api_keys: keys,
                ..Settings::default()
            },
        );

        let loading = engine.clone();
        let mut load = tokio::task::spawn_blocking(move || loading.load(&settings));
        let (stop_sender, stop) = tokio::sync::oneshot::channel::<()>();
        let mut server = tokio::spawn(serve(listener, state, async {
            let _ = stop.await; // an error means that the sender is gone, which is a reason to stop as well
        }));
        let signal = interrupted();
        tokio::pin!(signal);
        tokio::select! {
            loaded = &mut load => {
                loaded.context("the loading thread failed")??;
                announce(&engine, addr);
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

fn announce(engine: &Engine, addr: SocketAddr) {
    eprintln!("{}", engine.describe());
    println!("listening on http://{addr}");
    eprintln!(
        "try: curl -N http://{addr}/v1/chat/completions -H 'Content-Type: application/json' \\\n       \
         -d '{{\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"What is turbo4?\"}}]}}'"
    );
}
