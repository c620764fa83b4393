//! Sockets and signals.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::serve::ListenerExt;
use tokio::net::TcpListener;

use crate::commands::serve::app::app;
use crate::commands::serve::guard::HostCheck;
use crate::commands::serve::state::AppState;
use crate::interrupt::INTERRUPTED;

/// How long open connections may take to end after the jobs were cancelled.
const GRACE: Duration = Duration::from_secs(5);

/// Takes the address. Do it before loading a model: a port that is in use should cost a second, not
/// a minute.
pub async fn bind(addr: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(addr).await.map_err(|error| {
        let advice = match error.kind() {
            std::io::ErrorKind::AddrInUse => "; another program uses this port, choose one with --port",
            std::io::ErrorKind::PermissionDenied => "; ports below 1024 need privileges, choose one with --port",
            std::io::ErrorKind::AddrNotAvailable => "; this machine has no such address, choose one with --host",
            _ => "",
        };
        anyhow::Error::new(error).context(format!("cannot listen on {addr}{advice}"))
    })
}

/// Serves until `shutdown`, then stops accepting, cancels all jobs, and returns when the
/// connections have ended.
pub async fn serve(
    listener: TcpListener,
    state: AppState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let addr = listener.local_addr().context("cannot read the address of the socket")?;
    let state = if addr.ip().is_loopback() {
        state.with_host_check(HostCheck::LocalNames)
    } else {
        state
    };

    let closing = state.clone();
    let stop = async move {
        shutdown.await;
        closing.close();
    };
    let mut closed = state.closing();
    let overtime = async move {
        // An error means that the state is gone, and with it everything to wait for.
        let _ = closed.wait_for(|closing| *closing).await;
        tokio::time::sleep(GRACE).await;
    };

    // Without this, a small event may wait for the client to acknowledge the one before.
    let listener = listener.tap_io(|socket| {
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "cannot set TCP_NODELAY");
        }
    });
    tokio::select! {
        served = axum::serve(listener, app(state)).with_graceful_shutdown(stop) => {
            served.with_context(|| format!("serving on {addr} failed"))
        }
        () = overtime => Ok(()),
    }
}

/// Takes the address, says so, and serves until `shutdown`.
pub async fn listen(
    addr: SocketAddr,
    state: AppState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let listener = bind(addr).await?;
    println!("listening on http://{}", listener.local_addr()?);
    serve(listener, state, shutdown).await
}

/// Completes on the first Ctrl-C or SIGTERM; a second one ends the process with exit code 130.
pub async fn interrupted() {
    stop_signal(signal(), signal, || std::process::exit(INTERRUPTED.into())).await;
}

/// Completes with `first`; from then on, `force` is called when `second` completes.
async fn stop_signal<F>(
    first: impl Future<Output = ()>,
    second: impl FnOnce() -> F,
    force: impl FnOnce() + Send + 'static,
) where
    F: Future<Output = ()> + Send + 'static,
{
    first.await;
    eprintln!("stopping; press Ctrl-C again to stop at once");
    let second = second();
    tokio::spawn(async move {
        second.await;
        force();
    });
}

async fn signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
            }
            return;
        }
    }
    if interrupt.await.is_err() {
        // No handler could be installed: the default action of the signal still ends the process.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn the_second_signal_forces_the_exit_and_the_first_does_not() {
        let (first, first_seen) = oneshot::channel::<()>();
        let (second, second_seen) = oneshot::channel::<()>();
        let (forced, mut was_forced) = oneshot::channel();
        first.send(()).unwrap();
        stop_signal(
            async move { first_seen.await.unwrap() },
            || async move { second_seen.await.unwrap() },
            move || forced.send(()).unwrap(),
        )
        .await;
        tokio::task::yield_now().await;
        assert!(was_forced.try_recv().is_err());
        second.send(()).unwrap();
        was_forced.await.unwrap();
    }
}
