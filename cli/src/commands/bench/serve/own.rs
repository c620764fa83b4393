//! A server in this process, on a free port, for loads without `--url`.

use crate::args::bench_serve::BenchServeArgs;
use crate::commands::serve::backend::Backend;
use crate::commands::serve::engine::{Engine, Limits, SlotSettings};
use crate::commands::serve::{AppState, Settings, bind, serve};
use crate::console;
use crate::settings::ModelSettings;
use anyhow::{Context, Result};
use llama_turboquant::CancelToken;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The server.
pub(super) struct Own {
    engine: Arc<Engine>,
    addr: SocketAddr,
    state: AppState,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<()>>,
    /// Its model, as records have it.
    pub(super) facts: Value,
}

impl Own {
    /// Loads the model and listens.
    ///
    /// # Errors
    /// Bad settings, a model that cannot be loaded, no free port.
    pub(super) fn start(args: &BenchServeArgs, runtime: &Runtime, cancel: &CancelToken) -> Result<Self> {
        let settings = ModelSettings::for_slots(&args.model, Some(args.parallel))?;
        let limits = Limits {
            queue: args.queue,
            slots: SlotSettings::new(&args.slots)?,
            ..Limits::default()
        };
        let name = settings.engine.model_name();
        let engine = Arc::new(Engine::of_model(&name, &settings, limits).context("cannot load the model")?);
        if cancel.is_cancelled() {
            return Err(llama_turboquant::Error::Cancelled.into());
        }
        console::say!("{}", engine.describe());
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = runtime
            .block_on(bind(loopback))
            .context("cannot listen on this machine")?;
        let addr = listener.local_addr().context("cannot read the address of the socket")?;
        let state = AppState::new(
            engine.clone(),
            Settings {
                log_requests: false,
                ..Settings::default()
            },
        );
        let (stop, stopped) = oneshot::channel();
        let task = runtime.spawn(serve(listener, state.clone(), async {
            let _ = stopped.await; // an error means that the sender is gone, which is a reason to stop as well
        }));
        let card = engine.running().into_iter().next().map(|running| running.card);
        let facts = json!({
            "file": name, "description": engine.describe(), "size": card.as_ref().map(|card| card.size),
            "n_params": card.as_ref().map(|card| card.n_params), "n_kv_layers": null,
            "n_ctx_train": card.as_ref().map(|card| card.n_ctx_train),
        });
        Ok(Self {
            engine,
            addr,
            state,
            stop,
            task,
            facts,
        })
    }

    /// Where it listens.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Ends it; the model is freed.
    pub(super) fn stop(self, runtime: &Runtime) {
        self.state.close();
        self.engine.stop();
        let _ = self.stop.send(()); // an error means that it has ended already
        match runtime.block_on(self.task) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => console::say!("warning: the server did not end well: {error:#}"),
            Err(error) => console::say!("warning: the server did not end well: {error}"),
        }
    }
}
