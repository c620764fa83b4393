//! Sockets and signals.

use crate::console;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use axum::body::Body;
use axum::extract::Request;
use axum::{BoxError, Router};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::commands::serve::activity::{Activity, Closed, Noted, Patience};
use crate::commands::serve::app::app;
use crate::commands::serve::crowd::Crowd;
use crate::commands::serve::paced::Paced;
use crate::commands::serve::state::AppState;
use crate::commands::serve::wire::{OverTcp, Wire};
use crate::interrupt::INTERRUPTED;

/// How long open connections may take to end after the jobs were cancelled.
const GRACE: Duration = Duration::from_secs(5);

/// The longest that the head of a request may take, and the TLS handshake before it.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The most bytes that the head of a request may have.
const HEAD_LIMIT: usize = 64 << 10;

/// What a failure to accept waits for: usually the process has too many open files, and some are about to close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How often such failures are told.
const ACCEPT_NOTICE: Duration = Duration::from_secs(60);

/// When a silent peer is asked whether it is still there, and how often until it counts as gone.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(30), Duration::from_secs(10), 3);

/// How connections are served.
#[derive(Clone)]
pub struct Connections {
    /// Turns connections into encrypted ones; None: plain HTTP.
    pub tls: Option<TlsAcceptor>,
    /// How long a client may take to go on with a request it has begun to send, and to take a part of its answer.
    pub timeout: Duration,
    /// Connections at once, on all sockets together; more wait.
    pub crowd: Arc<Crowd>,
}

impl Connections {
    fn patience(&self) -> Patience {
        Patience {
            head: self.timeout.min(HEAD_TIMEOUT),
            answer: self.timeout,
        }
    }
}

impl Default for Connections {
    fn default() -> Self {
        Self {
            tls: None,
            timeout: Duration::from_secs(60),
            crowd: Crowd::new(1024),
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
        let router = app(state);
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
    let service = Service {
        builder: builder(connections.patience()),
        router,
        patience: connections.patience(),
        tls: connections.tls,
    };
    let mut refused = Refused::default();
    loop {
        let next = async {
            let (socket, peer) = listener.accept().await?;
            Ok((socket, peer, connections.crowd.place().await))
        };
        let accepted = tokio::select! {
            next = next => next,
            // an error means that the state is gone, and with it everything to serve
            _ = stop.wait_for(|closing| *closing) => return,
        };
        let (socket, peer, place) = match accepted {
            Ok((socket, peer, Some(place))) => (socket, peer, place),
            Ok((.., None)) => return,
            Err(error) => {
                refused.note(&error);
                connections.crowd.send_one_away();
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (service, watcher) = (service.clone(), graceful.watcher());
        let activity = Activity::new();
        let member = connections.crowd.join(&activity, place);
        tokio::spawn(async move {
            let ended = tokio::select! {
                ended = service.serve(socket, &activity, watcher) => ended,
                () = activity.crowded_out() => Err(Closed::Crowded.to_string()),
            };
            if let Err(error) = ended {
                tracing::debug!(%peer, error, "a connection ended early");
            }
            drop(member);
        });
    }
}

/// Connections that could not be accepted, told once a minute.
#[derive(Default)]
struct Refused {
    count: u64,
    told: Option<Instant>,
}

impl Refused {
    fn note(&mut self, error: &std::io::Error) {
        self.count += 1;
        if self.told.is_none_or(|told| told.elapsed() >= ACCEPT_NOTICE) {
            self.told = Some(Instant::now());
            tracing::warn!(
                %error,
                attempts = self.count,
                "cannot accept a connection; those that are served go on, idle ones are closed. Where too many files are open, \
                 raise the limit (`ulimit -n`, LimitNOFILE= in a service file) or lower --max-connections"
            );
        }
    }
}

/// A server of HTTP/1.1 and HTTP/2 that does not wait for ever, nor read without end.
fn builder(patience: Patience) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .max_buf_size(HEAD_LIMIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_LIMIT as u32)
        .keep_alive_interval(HEAD_TIMEOUT);
    builder
}

/// What a connection is served with.
#[derive(Clone)]
struct Service {
    builder: Builder<TokioExecutor>,
    router: Router,
    patience: Patience,
    tls: Option<TlsAcceptor>,
}

impl Service {
    async fn serve(self, socket: TcpStream, activity: &Arc<Activity>, watcher: Watcher) -> Result<(), String> {
        prepare(&socket);
        match self.tls.clone() {
            None => self.speak(socket, activity, watcher).await,
            Some(tls) => {
                let handshake = tokio::time::timeout(self.patience.head, tls.accept(socket));
                let socket = handshake.await.map_err(|_| "the TLS handshake took too long")?;
                let socket = socket.map_err(|error| format!("TLS handshake: {error}"))?;
                self.speak(socket, activity, watcher).await
            }
        }
    }

    async fn speak<S: OverTcp>(self, stream: S, activity: &Arc<Activity>, watcher: Watcher) -> Result<(), String> {
        let mut wire = Wire::new(stream);
        let (router, noted, timeout) = (self.router, Arc::clone(activity), self.patience.answer);
        let service = tower::service_fn(move |request: Request<Incoming>| {
            let answer = noted.begin();
            let request = request.map(|body| Body::new(Paced::new(body, timeout)));
            let response = router.clone().oneshot(request);
            async move {
                let response = response.await?;
                Ok::<_, Infallible>(response.map(|body| Noted::new(body, answer)))
            }
        });
        let service = TowerToHyperService::new(service);
        let connection = self
            .builder
            .serve_connection_with_upgrades(TokioIo::new(wire.clone()), service);
        let ended = tokio::select! {
            ended = watcher.watch(connection.into_owned()) => ended,
            closed = activity.watch(&wire, self.patience) => Err(closed.into()),
        };
        // hyper's words for a head that takes too long, and ours for what comes before it
        let late = |error: &BoxError| match (error.downcast_ref::<hyper::Error>(), error.downcast_ref::<Closed>()) {
            (Some(error), _) => error.is_timeout(),
            (_, closed) => closed == Some(&Closed::Idle),
        };
        if ended.as_ref().is_err_and(late) {
            wire.say_timed_out().await;
        }
        let lost = |error: &BoxError| matches!(error.downcast_ref(), Some(Closed::Stalled | Closed::Gone));
        if !ended.as_ref().is_err_and(lost) {
            wire.close().await;
        }
        ended.map_err(|error| error.to_string())
    }
}

/// Sets what the system does on its own.
fn prepare(socket: &TcpStream) {
    // Without this, a small event may wait for the client to acknowledge the one before.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(%error, "cannot set TCP_NODELAY");
    }
    // A client that has vanished, machine and all, says nothing; its system is asked.
    let (time, interval, retries) = KEEPALIVE;
    let keepalive = TcpKeepalive::new().with_time(time).with_interval(interval);
    #[cfg(unix)]
    let keepalive = keepalive.with_retries(retries);
    let socket = SockRef::from(socket);
    if let Err(error) = socket.set_tcp_keepalive(&keepalive) {
        tracing::debug!(%error, "cannot set SO_KEEPALIVE");
    }
    // The same for one that does not acknowledge what was sent.
    #[cfg(target_os = "linux")]
    if let Err(error) = socket.set_tcp_user_timeout(Some(time + interval * retries)) {
        tracing::debug!(%error, "cannot set TCP_USER_TIMEOUT");
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

/// As long as the result lives, a file that grows beyond the limit of this process (RLIMIT_FSIZE) is an error of whoever writes
/// it, as a full disk is, and not the end of the server by SIGXFSZ.
///
/// # Errors
/// If the system refuses the handler.
#[cfg(unix)]
pub fn file_size_limit_as_error() -> std::io::Result<tokio::signal::unix::Signal> {
    use tokio::signal::unix::{SignalKind, signal};
    signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))
}

/// There is no such limit.
///
/// # Errors
/// None.
#[cfg(not(unix))]
pub fn file_size_limit_as_error() -> std::io::Result<()> {
    Ok(())
}

/// Completes on the first Ctrl-C, SIGTERM or SIGHUP; a second one ends the process with exit code 130.
pub async fn interrupted() {
    stop_signal(signal(), signal, || llama_turboquant::exit_now(INTERRUPTED)).await;
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

/// Whether whoever started this process wants it to outlive its terminal (`nohup`): a handler would undo that. Where the system
/// does not say, SIGHUP is left as it is.
#[cfg(unix)]
fn hangup_is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let bit = 1 << (rustix::process::Signal::HUP.as_raw() - 1);
    ignored.is_none_or(|mask| mask & bit != 0)
}

async fn signal() {
    let interrupt = tokio::signal::ctrl_c();
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            let mut hangup = if hangup_is_ignored() {
                None
            } else {
                signal(SignalKind::hangup()).ok()
            };
            let hangup = async {
                match &mut hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = interrupt => {}
                _ = terminate.recv() => {}
                _ = hangup => {}
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
