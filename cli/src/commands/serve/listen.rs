//! Sockets and signals.

use crate::console;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower_http::timeout::RequestBodyTimeoutLayer;

use crate::commands::serve::app::app;
use crate::commands::serve::state::AppState;
use crate::interrupt::INTERRUPTED;

/// How long open connections may take to end after the jobs were cancelled.
const GRACE: Duration = Duration::from_secs(5);

/// The longest that the head of a request may take, and the TLS handshake before it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The most bytes that the head of a request may have.
const HEAD_LIMIT: usize = 64 << 10;

/// What a failure to accept waits for: usually the process has too many open files, and some are about to close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How connections are served.
#[derive(Clone)]
pub struct Connections {
    /// Turns connections into encrypted ones; None: plain HTTP.
    pub tls: Option<TlsAcceptor>,
    /// How long a client may take to go on with a request it has begun to send.
    pub timeout: Duration,
    /// Connections at once, on all sockets together; more wait to be accepted.
    pub limit: Arc<Semaphore>,
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            tls: None,
            timeout: Duration::from_secs(60),
            limit: Arc::new(Semaphore::new(1024)),
        }
    }
}

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

/// Serves on one socket, as [`serve_all`] does on several.
pub async fn serve(
    listener: TcpListener,
    state: AppState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    serve_all(vec![listener], Connections::default(), state, shutdown).await
}

/// Serves until `shutdown`, then stops accepting, cancels all jobs, and returns when the
/// connections have ended. Every socket has all routes.
pub async fn serve_all(
    listeners: Vec<TcpListener>,
    connections: Connections,
    state: AppState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<()> {
    let graceful = GracefulShutdown::new();
    let mut accepting = Vec::new();
    for listener in listeners {
        let addr = listener.local_addr().context("cannot read the address of the socket")?;
        let state = state.clone().for_socket(addr.ip().is_loopback());
        let stop = state.closing();
        let router = app(state).layer(RequestBodyTimeoutLayer::new(connections.timeout));
        accepting.push(accept(listener, router, connections.clone(), &graceful, stop));
    }
    let accepting = futures::future::join_all(accepting);
    let closing = state.clone();
    let stop = async move {
        shutdown.await;
        closing.close();
    };
    tokio::join!(accepting, stop);
    // connections that do not end by themselves are dropped with the runtime
    let _ = tokio::time::timeout(GRACE, graceful.shutdown()).await;
    Ok(())
}

/// Accepts connections until `stop` becomes true, and serves each in a task of its own.
async fn accept(
    listener: TcpListener,
    router: Router,
    connections: Connections,
    graceful: &GracefulShutdown,
    mut stop: watch::Receiver<bool>,
) {
    let builder = builder(connections.timeout);
    loop {
        // The permit comes first: what cannot be served stays in the system's queue.
        let next = async {
            let permit = Arc::clone(&connections.limit).acquire_owned().await.ok();
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            // an error means that the state is gone, and with it everything to serve
            _ = stop.wait_for(|closing| *closing) => return,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (builder, router, watcher, tls) = (
            builder.clone(),
            router.clone(),
            graceful.watcher(),
            connections.tls.clone(),
        );
        tokio::spawn(async move {
            if let Err(error) = serve_connection(socket, tls, &builder, router, watcher).await {
                tracing::debug!(%peer, error, "a connection ended early");
            }
            drop(permit);
        });
    }
}

/// A server of HTTP/1.1 and HTTP/2 that does not wait for ever, nor read without end.
fn builder(timeout: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(timeout.min(HEAD_TIMEOUT))
        .max_buf_size(HEAD_LIMIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_LIMIT as u32)
        .keep_alive_interval(HEAD_TIMEOUT);
    builder
}

async fn serve_connection(
    socket: TcpStream,
    tls: Option<TlsAcceptor>,
    builder: &Builder<TokioExecutor>,
    router: Router,
    watcher: Watcher,
) -> Result<(), String> {
    // Without this, a small event may wait for the client to acknowledge the one before.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    match tls {
        None => speak(socket, builder, router, watcher).await,
        Some(tls) => {
            let handshake = tokio::time::timeout(HEAD_TIMEOUT, tls.accept(socket));
            let socket = handshake.await.map_err(|_| "the TLS handshake took too long")?;
            let socket = socket.map_err(|error| format!("TLS handshake: {error}"))?;
            speak(socket, builder, router, watcher).await
        }
    }
}

async fn speak<S>(socket: S, builder: &Builder<TokioExecutor>, router: Router, watcher: Watcher) -> Result<(), String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = TowerToHyperService::new(router);
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(socket), service);
    watcher
        .watch(connection.into_owned())
        .await
        .map_err(|error| error.to_string())
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
    console::say!("stopping; press Ctrl-C again to stop at once");
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
