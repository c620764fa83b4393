//! What clients do to a server over real sockets: they vanish, stall, send nonsense, and come in crowds.

mod disconnects;
mod framing;
mod idle;
mod slow;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::serve::crowd::Crowd;
use crate::serve::{AppState, Connections, Settings, serve_all};
use crate::support::Scripted;

/// A server on a socket of its own.
struct Site {
    backend: Arc<Scripted>,
    state: AppState,
    crowd: Arc<Crowd>,
    addr: SocketAddr,
    _stop: oneshot::Sender<()>,
}

/// How it deals with connections.
struct Rules {
    timeout: Duration,
    places: usize,
    tls: Option<TlsAcceptor>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            places: 1024,
            tls: None,
        }
    }
}

impl Site {
    async fn new(backend: Scripted) -> Self {
        Self::with(backend, Rules::default()).await
    }

    /// Where a client may take a second to go on.
    async fn impatient(backend: Scripted) -> Self {
        let timeout = Duration::from_secs(1);
        Self::with(
            backend,
            Rules {
                timeout,
                ..Rules::default()
            },
        )
        .await
    }

    async fn with(backend: Scripted, rules: Rules) -> Self {
        let backend = Arc::new(backend);
        let state = AppState::new(backend.clone(), Settings::default());
        let crowd = Crowd::new(rules.places);
        let connections = Connections {
            tls: rules.tls,
            timeout: rules.timeout,
            crowd: crowd.clone(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(serve_all(vec![listener], connections, state.clone(), async move {
            let _ = stopped.await;
        }));
        Self {
            backend,
            state,
            crowd,
            addr,
            _stop: stop,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).await.unwrap()
    }

    /// A connection on which `text` was sent.
    async fn send(&self, text: &str) -> TcpStream {
        let mut socket = self.connect().await;
        socket.write_all(text.as_bytes()).await.unwrap();
        socket
    }

    /// All that comes back for `text` until the server closes.
    async fn exchange(&self, text: &str) -> String {
        rest(&mut self.send(text).await).await
    }

    /// Nothing is left of any client: no connection, no request, no job.
    #[track_caller]
    fn is_left_alone(&self) -> impl Future<Output = ()> {
        let (backend, crowd, doors) = (self.backend.clone(), self.crowd.clone(), self.state.doors.clone());
        async move {
            within_a_second("no connection", || crowd.is_empty()).await;
            within_a_second("no job", || backend.running() == 0).await;
            assert_eq!(doors.close(Duration::from_secs(1)).await.left, 0, "no request");
        }
    }

    /// Others are served.
    async fn serves(&self) {
        let request = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = tokio::time::timeout(Duration::from_secs(10), self.exchange(request)).await;
        assert!(answer.expect("in time").starts_with("HTTP/1.1 200"));
    }
}

async fn within_a_second(what: &str, so: impl Fn() -> bool) {
    let wait = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(1), wait).await;
    assert!(waited.is_ok(), "{what}");
}

/// What comes until the server closes; it must, and not by throwing away what it sent.
async fn rest(socket: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut bytes)).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    read.unwrap_or_else(|_| panic!("still open after {text:?}"))
        .unwrap_or_else(|error| panic!("{error} after {text:?}"));
    text
}

async fn read_until(socket: &mut TcpStream, end: &str) -> String {
    let (mut read, mut buffer) = (String::new(), [0; 4096]);
    while !read.contains(end) {
        let count = socket.read(&mut buffer).await.unwrap();
        assert!(count > 0, "closed before {end:?}: {read}");
        read += &String::from_utf8_lossy(&buffer[..count]);
    }
    read
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}")
}

const CHAT: &str = "/v1/chat/completions";
const STREAMED: &str = r#"{"messages":[{"role":"user","content":"hi"}],"stream":true}"#;
const WHOLE: &str = r#"{"messages":[{"role":"user","content":"hi"}]}"#;
