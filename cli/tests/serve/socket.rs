//! The same over real sockets: what hyper does between the router and the wire.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::serve::backend::{Event, Finish};
use crate::serve::doors::{Doors, Drained};
use crate::serve::{AppState, Settings, bind, listen, serve};
use crate::support::{Scripted, Step, done, greeting, started};

const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

struct Running {
    backend: Arc<Scripted>,
    doors: Arc<Doors>,
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<anyhow::Result<()>>,
}

async fn run(backend: Scripted) -> Running {
    let backend = Arc::new(backend);
    let listener = bind(ANY_PORT).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let state = AppState::new(backend.clone(), Settings::default());
    let doors = state.doors.clone();
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(serve(listener, state, async move {
        let _ = stopped.await;
    }));
    Running {
        backend,
        doors,
        addr,
        stop,
        served,
    }
}

impl Running {
    async fn send(&self, body: &str) -> TcpStream {
        self.send_to("/v1/chat/completions", body).await
    }

    async fn send_to(&self, path: &str, body: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.addr).await.unwrap();
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        socket
    }
}

async fn read_until(socket: &mut TcpStream, text: &str) -> String {
    let mut read = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&read).contains(text) {
        let count = socket.read(&mut buffer).await.unwrap();
        assert!(count > 0, "closed before {text:?}: {}", String::from_utf8_lossy(&read));
        read.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8(read).unwrap()
}

const STREAMED: &str = r#"{"messages":[{"role":"user","content":"hi"}],"stream":true}"#;
const WHOLE: &str = r#"{"messages":[{"role":"user","content":"hi"}]}"#;

// O1
#[tokio::test]
async fn a_stream_reaches_the_wire_chunk_by_chunk() {
    let server = run(Scripted::answering(greeting())).await;
    let mut socket = server.send(STREAMED).await;
    let text = read_until(&mut socket, "\r\n0\r\n\r\n").await;
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"));
    // 14 bytes (hexadecimal E), alone in their chunk.
    assert!(text.contains("\r\nE\r\ndata: [DONE]\n\n\r\n"), "{text}");
}

// L2
#[tokio::test]
async fn every_line_of_ollamas_stream_is_a_chunk_on_the_wire() {
    let server = run(Scripted::answering(greeting())).await;
    let body = r#"{"model":"tiny","prompt":"hi"}"#;
    let mut socket = server.send_to("/api/generate", body).await;
    let text = read_until(&mut socket, "\r\n0\r\n\r\n").await;
    let (head, mut rest) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/x-ndjson"), "{head}");
    let mut chunks = Vec::new();
    while let Some((size, after)) = rest.split_once("\r\n") {
        let (chunk, after) = after.split_at(usize::from_str_radix(size, 16).unwrap());
        chunks.push(chunk);
        rest = after.strip_prefix("\r\n").unwrap();
    }
    assert_eq!((chunks.len(), chunks.pop()), (4, Some("")), "three lines and the end");
    for chunk in chunks {
        let line = chunk.strip_suffix('\n').expect("a whole line");
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
}

#[tokio::test]
async fn a_token_arrives_before_the_next_is_there() {
    let script = vec![started().into(), Event::text("Hel").into(), Step::Hang];
    let server = run(Scripted::playing([script])).await;
    let mut socket = server.send(STREAMED).await;
    read_until(&mut socket, "\"content\":\"Hel\"").await;
}

// O17
#[tokio::test]
async fn a_closed_connection_cancels_at_every_stage() {
    let stages: [(Vec<Step>, &str); 4] = [
        (vec![], STREAMED),
        (vec![started().into()], STREAMED),
        (vec![started().into(), Event::text("Hel").into()], STREAMED),
        (vec![started().into(), Event::text("Hel").into()], WHOLE),
    ];
    for (steps, body) in stages {
        let script = steps.into_iter().chain([Step::Hang]).collect();
        let server = run(Scripted::playing([script])).await;
        let socket = server.send(body).await;
        while server.backend.started() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(server.backend.running(), 1);
        drop(socket);
        server.backend.all_cancelled().await;
    }
}

#[tokio::test]
async fn a_loopback_socket_refuses_foreign_host_names() {
    let server = run(Scripted::answering([])).await;
    let mut socket = TcpStream::connect(server.addr).await.unwrap();
    socket
        .write_all(b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n")
        .await
        .unwrap();
    read_until(&mut socket, "HTTP/1.1 403 Forbidden").await;
}

#[tokio::test]
async fn shutdown_cancels_running_jobs_and_returns() {
    let script = vec![started().into(), Event::text("Hel").into(), Step::Hang];
    let server = run(Scripted::playing([script])).await;
    let mut socket = server.send(STREAMED).await;
    read_until(&mut socket, "Hel").await;
    server.stop.send(()).unwrap();
    read_until(&mut socket, "shutting down").await;
    server.backend.all_cancelled().await;
    let ended = tokio::time::timeout(Duration::from_secs(2), server.served).await;
    ended.expect("returns in time").unwrap().unwrap();
    assert!(TcpStream::connect(server.addr).await.is_err(), "stopped accepting");
}

#[tokio::test]
async fn a_server_that_stops_finishes_what_it_can_and_refuses_what_comes() {
    let short = vec![
        started().into(),
        Event::text("Hel").into(),
        Step::Sleep(Duration::from_millis(300)),
        Event::text("lo!").into(),
        done(Finish::Stop).into(),
    ];
    let long = vec![started().into(), Event::text("Once").into(), Step::Hang];
    let server = run(Scripted::playing([short, long])).await;
    let mut first = server.send(STREAMED).await;
    read_until(&mut first, "Hel").await;
    let mut second = server.send(STREAMED).await;
    read_until(&mut second, "Once").await;
    let draining = tokio::spawn({
        let doors = server.doors.clone();
        async move { doors.close(Duration::from_secs(2)).await }
    });
    while server.doors.enter().is_some() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    let mut late = server.send(WHOLE).await;
    let refusal = read_until(&mut late, "shutting down").await;
    assert!(refusal.starts_with("HTTP/1.1 503"), "{refusal}");
    assert!(
        refusal.to_ascii_lowercase().contains("\r\nretry-after: 5\r\n"),
        "{refusal}"
    );
    let mut late = server.send_to("/api/chat", r#"{"model":"tiny"}"#).await;
    read_until(&mut late, r#"{"error":"the server is shutting down"}"#).await;

    read_until(&mut first, "[DONE]").await;
    assert_eq!(draining.await.unwrap(), Drained { finished: 1, left: 1 });
    server.stop.send(()).unwrap();
    read_until(&mut second, "shutting down").await;
    server.served.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_without_requests_stops_at_once() {
    let server = run(Scripted::answering(greeting())).await;
    let mut socket = server.send(WHOLE).await;
    read_until(&mut socket, "Hello!").await;
    let closed = server.doors.close(Duration::from_secs(3600));
    let drained = tokio::time::timeout(Duration::from_secs(5), closed).await;
    assert_eq!(drained.expect("nothing to wait for").left, 0);
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_way_out() {
    let taken = bind(ANY_PORT).await.unwrap();
    let addr = taken.local_addr().unwrap();
    let state = AppState::new(Arc::new(Scripted::answering([])), Settings::default());
    let error = listen(addr, state, std::future::pending())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains(&addr.to_string()) && error.contains("--port"), "{error}");
}
