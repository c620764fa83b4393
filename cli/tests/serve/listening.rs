//! Sockets: two at once, encrypted ones, slow and too many clients, and who may call over them.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use llama_turboquant_cli::args::Command;
use llama_turboquant_cli::args::serve::ServeArgs;
use llama_turboquant_cli::options::{Environment, parse};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::certificate::Certificate;
use crate::serve::address::Surface;
use crate::serve::{AppState, Settings, serve_all, start};
use crate::support::{Scripted, Server, greeting};

pub fn args(options: &[&str]) -> ServeArgs {
    let line = [&["turboquant", "serve"], options]
        .concat()
        .into_iter()
        .map(OsString::from);
    match parse(line, &Environment::of(&[])).unwrap().args.command {
        Command::Serve(args) => *args,
        other => panic!("{other:?}"),
    }
}

struct Running {
    addrs: Vec<(Surface, SocketAddr)>,
    stop: oneshot::Sender<()>,
    served: JoinHandle<anyhow::Result<()>>,
}

async fn run(options: &[&str]) -> Running {
    let args = args(options);
    let sockets = start::bind_all(&args.listen).await.unwrap();
    let addrs = sockets.iter().map(|socket| (socket.surface, socket.addr)).collect();
    let state = AppState::new(
        Arc::new(Scripted::answering(greeting())),
        start::settings(&args).unwrap(),
    );
    let connections = start::connections(&args.listen).unwrap();
    let listeners = sockets.into_iter().map(|socket| socket.listener).collect();
    let (stop, stopped) = oneshot::channel();
    let served = tokio::spawn(serve_all(listeners, connections, state, async move {
        let _ = stopped.await;
    }));
    Running { addrs, stop, served }
}

/// Everything that comes back for `text` on a connection that ends.
async fn exchange(mut socket: impl AsyncRead + AsyncWrite + Unpin, text: &str) -> String {
    socket.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await; // TLS clients mind a missing goodbye, we do not
    String::from_utf8(answer).unwrap()
}

async fn get(addr: SocketAddr, path: &str, headers: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
    exchange(TcpStream::connect(addr).await.unwrap(), &request).await
}

const LOCAL: &str = "Host: localhost\r\n";

#[tokio::test]
async fn both_ports_serve_both_apis_from_one_process() {
    // L17: the port of Ollama serves /v1 too
    let ollama = "127.0.0.1:0";
    let args = args(&["--ollama", "--ollama-host", ollama]);
    let addresses = crate::serve::address::addresses(&args.listen).unwrap();
    assert_eq!(
        addresses[0].1.to_string(),
        "127.0.0.1:8080",
        "the other has its default port"
    );
    let sockets = [&addresses[1], &addresses[1]]; // 8080 may be in use where the tests run
    let mut listeners = Vec::new();
    for (_, address) in sockets {
        listeners.push(tokio::net::TcpListener::bind(address.to_string()).await.unwrap());
    }
    let addrs: Vec<SocketAddr> = listeners
        .iter()
        .map(|listener| listener.local_addr().unwrap())
        .collect();
    let state = AppState::new(Arc::new(Scripted::answering(greeting())), Settings::default());
    let connections = start::connections(&args.listen).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(serve_all(listeners, connections, state, async move {
        let _ = stopped.await;
    }));
    for addr in &addrs {
        for path in ["/health", "/v1/models", "/"] {
            let answer = get(*addr, path, LOCAL).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{addr}{path}: {answer}");
        }
    }
    stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(3), served)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    for addr in addrs {
        assert!(TcpStream::connect(addr).await.is_err(), "stopped accepting");
    }
}

#[tokio::test]
async fn an_explicit_port_is_for_both_apis() {
    let server = run(&["--ollama", "--port", "0"]).await;
    assert_eq!(server.addrs.len(), 1);
    assert_eq!(server.addrs[0].0, Surface::Both);
}

#[tokio::test]
async fn without_a_port_each_api_has_its_own() {
    let plan = |options: &[&str]| {
        let addresses = crate::serve::address::addresses(&args(options).listen).unwrap();
        addresses
            .iter()
            .map(|(_, address)| address.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(plan(&[]), ["127.0.0.1:8080"]);
    assert_eq!(plan(&["--ollama"]), ["127.0.0.1:8080", "127.0.0.1:11434"]);
    assert_eq!(plan(&["--ollama", "--host", "::1"]), ["[::1]:8080", "[::1]:11434"]);
    assert_eq!(
        plan(&["--ollama", "--ollama-host", "0.0.0.0"]),
        ["127.0.0.1:8080", "0.0.0.0:11434"]
    );
    assert_eq!(
        plan(&["--ollama", "--ollama-host", "localhost:8080"]),
        ["localhost:8080"]
    );
}

#[test]
fn a_port_that_was_named_for_ollama_is_opened_besides_that_for_both() {
    let plan = |options: &str| {
        let options: Vec<&str> = ["--ollama"].into_iter().chain(options.split(' ')).collect();
        let addresses = crate::serve::address::addresses(&args(&options).listen).unwrap();
        addresses
            .into_iter()
            .map(|(surface, address)| (surface, address.to_string()))
            .collect::<Vec<_>>()
    };
    let both = |address: &str| (Surface::Both, address.to_owned());
    let and = |address: &str| (Surface::Ollama, address.to_owned());
    for (options, planned) in [
        ("--port 1 --ollama-host :5000", vec![both("127.0.0.1:1"), and(":5000")]),
        (
            "--port 1 --ollama-host http://10.0.0.1",
            vec![both("127.0.0.1:1"), and("10.0.0.1:80")],
        ),
        (
            "--port 1 --host ::1 --ollama-host 10.0.0.1:1",
            vec![both("[::1]:1"), and("10.0.0.1:1")],
        ),
        ("--port 1 --ollama-host 0.0.0.0", vec![both("0.0.0.0:1")]),
        ("--port 1 --host ::1 --ollama-host 0.0.0.0", vec![both("[::1]:1")]),
        ("--port 1 --ollama-host 10.0.0.1:1", vec![both("10.0.0.1:1")]),
        (
            "--port 1 --host 127.0.0.1 --ollama-host localhost:1",
            vec![both("localhost:1")],
        ),
        (
            "--port 1 --host 0.0.0.0 --ollama-host 10.0.0.1:1",
            vec![both("0.0.0.0:1")],
        ),
        ("--port 1 --host 10.0.0.1 --ollama-host :1", vec![both(":1")]),
    ] {
        assert_eq!(plan(options), planned, "{options}");
    }
}

#[tokio::test]
async fn both_ports_that_were_named_answer_clients_of_both_apis() {
    let server = run(&["--port", "0", "--ollama", "--ollama-host", "127.0.0.1:0"]).await;
    let surfaces: Vec<Surface> = server.addrs.iter().map(|(surface, _)| *surface).collect();
    assert_eq!(surfaces, [Surface::Both, Surface::Ollama]);
    for (_, addr) in &server.addrs {
        for path in ["/v1/models", "/api/tags"] {
            let answer = get(*addr, path, LOCAL).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{addr}{path}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_running_ollama_is_named_with_the_way_out() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ollama = taken.local_addr().unwrap().to_string();
    let mut listen = args(&["--ollama", "--ollama-host", &ollama]).listen;
    listen.host = Some("127.0.0.1".into());
    // the other surface may not get its port where the tests run, so only this one is asked for
    let error = match crate::serve::address::addresses(&listen).unwrap().pop().unwrap() {
        (Surface::Ollama, address) => start::bind(&address, Surface::Ollama).await.unwrap_err().to_string(),
        other => panic!("{other:?}"),
    };
    for word in [ollama.as_str(), "Ollama", "--ollama-host"] {
        assert!(error.contains(word), "{error}");
    }
}

#[tokio::test]
async fn hosts_may_be_names_and_unknown_ones_are_refused() {
    let server = run(&["--host", "localhost", "--port", "0"]).await;
    assert!(server.addrs[0].1.ip().is_loopback());
    let unknown = args(&["--host", "no.such.name.invalid", "--port", "0"]).listen;
    let error = start::bind_all(&unknown).await.err().unwrap();
    assert!(format!("{error:#}").contains("no.such.name.invalid"), "{error:#}");
}

#[tokio::test]
async fn with_a_certificate_answers_are_encrypted_and_plain_http_gets_none() {
    let certificate = Certificate::new();
    let (key, cert) = (certificate.path("key.pem"), certificate.path("cert.pem"));
    let server = run(&["--port", "0", "--ssl-key-file", &key, "--ssl-cert-file", &cert]).await;
    let addr = server.addrs[0].1;
    let socket = TcpStream::connect(addr).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let socket = certificate.connector().connect(name, socket).await.unwrap();
    let answer = exchange(
        socket,
        "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");

    let mut plain = TcpStream::connect(addr).await.unwrap();
    plain
        .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");

    server.stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(3), server.served)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[test]
fn files_that_are_no_certificate_or_key_are_named() {
    let certificate = Certificate::new();
    let other = Certificate::new();
    let (key, cert) = (certificate.path("key.pem"), certificate.path("cert.pem"));
    let fails = |key: &str, cert: &str, words: &[&str]| {
        let listen = args(&["--ssl-key-file", key, "--ssl-cert-file", cert]).listen;
        let error = format!("{:#}", start::connections(&listen).err().unwrap());
        for word in words {
            assert!(error.contains(word), "`{word}` is not in: {error}");
        }
    };
    fails("/nonexistent", &cert, &["/nonexistent", "--ssl-key-file"]);
    fails(&key, "/nonexistent", &["/nonexistent", "--ssl-cert-file"]);
    fails(&key, &key, &["no certificate", "--ssl-cert-file"]);
    fails(&other.path("key.pem"), &cert, &["does not go with"]);
}

#[tokio::test]
async fn a_request_that_does_not_come_to_its_end_is_given_up() {
    let server = run(&["--port", "0", "--timeout", "1"]).await;
    let addr = server.addrs[0].1;
    let head = TcpStream::connect(addr).await.unwrap();
    let body = TcpStream::connect(addr).await.unwrap();
    let wait = Duration::from_secs(10);
    let head = tokio::time::timeout(wait, exchange(head, "GET /health HTTP/1.1\r\nHost: loc"));
    let request = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{";
    let body = tokio::time::timeout(wait, exchange(body, request));
    let (head, body) = tokio::join!(head, body);
    assert!(!head.expect("closed in time").contains("200 OK"));
    assert!(body.expect("closed in time").starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn a_head_without_end_is_refused() {
    let server = run(&["--port", "0"]).await;
    let long = format!(
        "GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    let mut socket = TcpStream::connect(server.addrs[0].1).await.unwrap();
    let _ = socket.write_all(long.as_bytes()).await; // it may be closed while we write
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"));
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_their_turn() {
    let server = run(&["--port", "0", "--max-connections", "1"]).await;
    let addr = server.addrs[0].1;
    let first = TcpStream::connect(addr).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let second = tokio::spawn(async move { get(addr, "/health", LOCAL).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!second.is_finished());
    drop(first);
    let answer = tokio::time::timeout(Duration::from_secs(3), second)
        .await
        .unwrap()
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn names_can_be_allowed_and_all_others_are_refused() {
    let server = run(&["--port", "0", "--allowed-hosts", "llm.example"]).await;
    let addr = server.addrs[0].1;
    for (host, status) in [("llm.example", 200), ("localhost", 200), ("evil.example", 403)] {
        let answer = get(addr, "/health", &format!("Host: {host}\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{host}: {answer}");
    }
    let wide = run(&[
        "--host",
        "0.0.0.0",
        "--port",
        "0",
        "--api-key",
        "k",
        "--allowed-hosts",
        "llm.example",
    ])
    .await;
    let local = SocketAddr::from(([127, 0, 0, 1], wide.addrs[0].1.port()));
    assert!(
        get(local, "/health", "Host: evil.example\r\n")
            .await
            .starts_with("HTTP/1.1 403")
    );
    assert!(
        get(local, "/health", "Host: llm.example\r\n")
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn listed_pages_may_call() {
    let origins = "https://chat.example,http://*.intra.example,app.example,*";
    for (list, origin, status) in [
        (&origins[..origins.len() - 2], "https://chat.example", 200),
        (&origins[..origins.len() - 2], "http://a.intra.example", 200),
        (&origins[..origins.len() - 2], "https://app.example", 200),
        (&origins[..origins.len() - 2], "https://evil.example", 403),
        (origins, "https://evil.example", 200),
    ] {
        let server = run(&["--port", "0", "--cors-origins", list]).await;
        let answer = get(server.addrs[0].1, "/health", &format!("{LOCAL}Origin: {origin}\r\n")).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{list} {origin}: {answer}"
        );
    }
}

#[tokio::test]
async fn keys_come_from_the_command_line_and_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keys");
    std::fs::write(&file, "# ours\nfrom-file\n\n  spaced  \n").unwrap();
    let file = file.to_str().unwrap();
    let server = run(&["--port", "0", "--api-key", "one,two", "--api-key-file", file]).await;
    let addr = server.addrs[0].1;
    for (key, status) in [
        ("one", 200),
        ("two", 200),
        ("from-file", 200),
        ("spaced", 200),
        ("# ours", 401),
        ("one,two", 401),
    ] {
        let answer = get(addr, "/v1/models", &format!("{LOCAL}Authorization: Bearer {key}\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{key}: {answer}");
    }
}

#[test]
fn a_key_file_without_keys_opens_nothing() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    let empty = empty.path().to_str().unwrap();
    for (option, value, word) in [
        ("--api-key-file", empty, "holds no key"),
        ("--api-key-file", "/nonexistent", "cannot read the keys in /nonexistent"),
        ("--api-key", "", "--api-key is empty"),
    ] {
        let error = start::settings(&args(&[option, value])).unwrap_err();
        assert!(format!("{error:#}").contains(word), "{error:#}");
    }
}

#[tokio::test]
async fn a_server_that_everybody_can_use_is_warned_about() {
    let warnings = async |options: &[&str]| {
        let args = args(options);
        let sockets = start::bind_all(&args.listen).await.unwrap();
        start::warnings(
            &start::settings(&args).unwrap(),
            &sockets,
            args.listen.ssl_key_file.is_some(),
        )
    };
    assert!(warnings(&["--port", "0"]).await.is_empty());
    let wide = ["--port", "0", "--host", "0.0.0.0"];
    assert!(warnings(&wide).await[0].contains("--api-key"));
    assert!(warnings(&[&wide[..], &["--api-key", "k"]].concat()).await[0].contains("unencrypted"));
    assert!(warnings(&["--port", "0", "--cors-origins", "*"]).await[0].contains("web page"));
}

#[tokio::test]
async fn slots_can_be_kept_private() {
    let server = run(&["--port", "0", "--no-slots"]).await;
    assert!(
        get(server.addrs[0].1, "/slots", LOCAL)
            .await
            .starts_with("HTTP/1.1 501")
    );
}

#[tokio::test]
async fn larger_bodies_than_allowed_are_refused() {
    let settings = start::settings(&args(&["--body-limit", "1"])).unwrap();
    let server = Server::with(Scripted::answering(greeting()), settings);
    let prompt = |length: usize| json!({ "prompt": "x".repeat(length) });
    assert_eq!(server.post("/v1/completions", prompt(1 << 20)).await.status, 413);
    assert_eq!(server.post("/v1/completions", prompt(1 << 19)).await.status, 200);
}
