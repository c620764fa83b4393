//! `turboquant serve` as a user starts and stops it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout};
use std::time::Duration;

use serde_json::Value;

use crate::support::{interrupt, says};
use crate::{ends_within, fails, spawn_with};

/// A server that runs; killed where a test does not stop it.
pub struct Server {
    pub child: Child,
    said: BufReader<ChildStdout>,
    /// Where it listens first.
    pub addr: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

impl Server {
    pub fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    pub fn start_with(args: &[&str], variables: &[(&str, &str)]) -> Self {
        let mut child = spawn_with(&[&["serve", "--port", "0"], args].concat(), variables);
        let mut server = Self {
            said: BufReader::new(child.stdout.take().unwrap()),
            child,
            addr: String::new(),
        };
        server.addr = server.next_address();
        server
    }

    /// Where it listens, too, as the next line says.
    pub fn next_address(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        let (_, addr) = line.trim().split_once("://").unwrap_or_else(|| panic!("{line:?}"));
        addr.to_owned()
    }

    /// A connection on which a request has been sent.
    pub fn send(&self, request: &str, body: &str) -> TcpStream {
        let mut socket = TcpStream::connect(&self.addr).unwrap();
        socket.write_all(head(request, body).as_bytes()).unwrap();
        socket
    }

    pub fn call(&self, request: &str, body: &str) -> String {
        let mut answer = String::new();
        self.send(request, body).read_to_string(&mut answer).unwrap();
        answer
    }

    /// Nobody reads its standard output any more.
    #[cfg(unix)]
    pub fn close_output(&mut self) {
        let (reader, _) = std::io::pipe().unwrap();
        self.said = BufReader::new(ChildStdout::from(std::os::fd::OwnedFd::from(reader)));
    }

    /// Waits for its end, which must be a good one; returns what it has said on standard error.
    pub fn ended(mut self) -> String {
        assert_eq!(ends_within(&mut self.child, Duration::from_secs(10)), Some(0));
        let mut said = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        said
    }

    /// Stops it with Ctrl-C.
    pub fn stop(self) -> String {
        interrupt(&self.child);
        self.ended()
    }
}

/// A whole request, after whose answer the connection ends.
pub fn head(request: &str, body: &str) -> String {
    format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// An answer that takes a while.
pub const LONG: &str = r#"{"stream":true,"ignore_eos":true,"max_tokens":300,"prompt":"Once"}"#;

#[test]
fn a_port_in_use_is_named_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    says(&fails(&["serve", "--port", &port], 1), &[&port, "--port"]);
}

#[test]
fn it_answers_on_the_port_it_prints_and_ends_on_ctrl_c() {
    let server = Server::start(&[]);
    let body = r#"{"stream":true,"temperature":0,"messages":[{"role":"user","content":"What is turbo4?"}]}"#;
    let answer = server.call("POST /v1/chat/completions", body);
    says(&answer, &["200 OK", "text/event-stream", "data: [DONE]"]);
    server.stop();
}

#[cfg(unix)]
#[test]
fn it_finishes_a_running_answer_before_it_ends() {
    let server = Server::start(&["--drain", "60"]);
    let mut socket = server.send("POST /v1/completions", LONG);
    let mut begun = [0; 600];
    socket.read_exact(&mut begun).unwrap();
    interrupt(&server.child);
    let mut rest = String::new();
    socket.read_to_string(&mut rest).unwrap();
    says(&rest, &["\"finish_reason\":\"length\"", "data: [DONE]"]);
    says(&server.ended(), &["finished=1 cut=0"]);
}

#[cfg(unix)]
#[test]
fn sigterm_lets_a_running_answer_over_tls_finish_and_ends_with_0() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let certificate = crate::certificate::Certificate::new();
    let (key, cert) = (certificate.path("key.pem"), certificate.path("cert.pem"));
    let server = Server::start(&["--drain", "60", "--ssl-key-file", &key, "--ssl-cert-file", &cert]);
    let client = async {
        let socket = tokio::net::TcpStream::connect(&server.addr).await.unwrap();
        let name = tokio_rustls::rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let mut socket = certificate.connector().connect(name, socket).await.unwrap();
        let request = head("POST /v1/completions", LONG);
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut begun = [0; 600];
        socket.read_exact(&mut begun).await.unwrap();
        let pid = server.child.id().to_string();
        let sent = std::process::Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.unwrap().success());
        let mut rest = String::new();
        // without an error: the server says goodbye, as TLS wants it
        socket.read_to_string(&mut rest).await.unwrap();
        rest
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let rest = runtime.unwrap().block_on(client);
    says(&rest, &["\"finish_reason\":\"length\"", "data: [DONE]"]);
    says(&server.ended(), &["finished=1 cut=0"]);
}

#[test]
fn it_offers_a_folder_and_loads_its_models_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["one.gguf", "two.gguf"] {
        std::fs::copy("../models/tiny-q8_0.gguf", dir.path().join(name)).unwrap();
    }
    let folder = dir.path().to_str().unwrap();
    let server = Server::start(&["-c", "512", "--models-dir", folder]);
    let get = |request: &str| server.call(request, "");
    says(&get("GET /health"), &["200 OK"]);
    says(&get("GET /models"), &["\"one\"", "\"two\"", "unloaded"]);
    says(&get("GET /props?model=two"), &["200 OK", "\"loaded\":false", "two"]);
    says(
        &server.call("POST /tokenize", r#"{"model":"two","content":"x"}"#),
        &["200 OK", "x-turboquant-loaded: ms=", "tokens"],
    );
    says(&get("GET /models"), &["\"loaded\"", "\"unloaded\""]);
    server.stop();
}

// L18
#[test]
fn variables_of_ollama_decide_where_it_listens_what_it_offers_and_how() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy("../models/tiny-q8_0.gguf", dir.path().join("one.gguf")).unwrap();
    let variables = [
        ("OLLAMA_HOST", "127.0.0.1:0"),
        ("OLLAMA_MODELS", dir.path().to_str().unwrap()),
        ("OLLAMA_CONTEXT_LENGTH", "512"),
        ("OLLAMA_NUM_PARALLEL", "3"),
        ("OLLAMA_KV_CACHE_TYPE", "q8_0:turbo3"),
        ("OLLAMA_MAX_QUEUE", "12"),
        ("OLLAMA_KEEP_ALIVE", "-1"),
        ("OLLAMA_DEBUG", "1"),
    ];
    let mut server = Server::start_with(&["--ollama"], &variables);
    server.addr = server.next_address(); // that of OLLAMA_HOST
    says(
        &server.call("POST /api/generate", r#"{"model":"one","stream":false}"#),
        &["\"load\""],
    );
    let running = server.call("GET /api/ps", "");
    let kv = "\"type_k\":\"q8_0\",\"type_v\":\"turbo3\"";
    says(&running, &["\"one:latest\"", "\"context_length\":512", kv]);
    let year = running.split("\"expires_at\":\"").nth(1).unwrap()[..4].parse::<u32>();
    assert!(year.unwrap() > 2200, "it stays: {running}");
    let props = server.call("GET /props?model=one", "");
    says(&props, &["\"total_slots\":3", "\"limit\":12"]);
    says(&server.stop(), &["DEBUG", "--models-dir is set by OLLAMA_MODELS"]);
}

// L18
#[test]
fn a_variable_of_ollama_that_is_wrong_is_named_before_anything_starts() {
    for (name, value, code, words) in [
        ("OLLAMA_HOST", "ftp://x", 1, "`ftp://x` is no address"),
        ("OLLAMA_MODELS", "Cargo.toml", 1, "not a directory"),
        ("OLLAMA_ORIGINS", "http://*.a.*", 1, "one * in each"),
        ("OLLAMA_NUM_PARALLEL", "100000", 1, "between 1 and 256"),
        ("OLLAMA_GPU_OVERHEAD", "1GB", 2, "a whole number"),
        (
            "OLLAMA_FLASH_ATTENTION",
            "0",
            2,
            "compressed caches need flash attention",
        ),
    ] {
        let mut child = spawn_with(&["serve", "--ollama", "--port", "0"], &[(name, value)]);
        assert_eq!(ends_within(&mut child, Duration::from_secs(10)), Some(code), "{name}");
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let error = said.lines().last().unwrap();
        says(error, &["error: ", name, words]);
    }
}

#[test]
fn options_of_the_pool_are_checked() {
    says(
        &fails(&["serve", "--port", "0", "--models-dir", "Cargo.toml"], 1),
        &["--models-dir", "Cargo.toml"],
    );
    says(&fails(&["serve", "--keep-alive", "soon"], 2), &["--keep-alive", "10m"]);
}

#[test]
fn a_models_folder_that_is_not_there_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("none");
    let folder = folder.to_str().unwrap();
    let said = Server::start(&["--models-dir", folder]).stop();
    says(&said, &["models folder", folder, "is not there"]);
}

/// The records of a log whose every line must be one.
#[track_caller]
fn records(log: &str) -> Vec<Value> {
    let record = |line: &str| -> Value {
        let record = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        for field in ["timestamp", "level", "message"] {
            assert!(
                matches!(&record, Value::Object(fields) if fields.contains_key(field)),
                "{field}: {line}"
            );
        }
        record
    };
    log.lines().map(record).collect()
}

#[cfg(unix)]
#[test]
fn as_json_the_log_is_json_from_the_first_line_to_the_last() {
    let options = [
        "--log-format",
        "json",
        "--cors-origins",
        "*",
        "--jinja",
        "--drain",
        "60",
    ];
    let server = Server::start_with(&options, &[("LLAMA_ARG_CTX_SISE", "1"), ("LLAMA_ARG_N_PARALLEL", "2")]);
    server.call(
        "POST /api/generate",
        r#"{"model":"x","prompt":"Once","options":{"mistyped":1}}"#,
    );
    server.call("GET /nowhere", "");
    let mut running = server.send("POST /v1/completions", LONG);
    running.read_exact(&mut [0; 600]).unwrap();
    interrupt(&server.child);
    running.read_to_string(&mut String::new()).unwrap();
    let address = format!("http://{}", server.addr);
    let records = records(&server.ended());
    let messages: Vec<&str> = records
        .iter()
        .map(|record| record["message"].as_str().unwrap())
        .collect();
    for words in [
        "--parallel is set by LLAMA_ARG_N_PARALLEL",
        "LLAMA_ARG_CTX_SISE is set and means nothing here",
        "--jinja changes nothing",
        "every web page that you open can use this server",
        "Using the embedded model",
        "tokens of context, 2 slots",
        "stopping; press Ctrl-C again",
        "running requests had",
    ] {
        assert!(
            messages.iter().any(|message| message.contains(words)),
            "{words}: {messages:#?}"
        );
    }
    let listening = records.iter().find(|record| record["message"] == "listening").unwrap();
    assert_eq!(listening["address"], address);
    let drained = records.last().unwrap();
    assert_eq!((&drained["finished"], &drained["cut"]), (&1.into(), &0.into()));
}

#[test]
fn as_json_the_reason_why_it_does_not_start_is_a_record_too() {
    let said = fails(
        &["serve", "--port", "0", "--log-format", "json", "-m", "/no/such.gguf"],
        1,
    );
    let records = records(&said);
    let last = records.last().unwrap();
    assert_eq!(last["level"], "ERROR");
    says(last["message"].as_str().unwrap(), &["/no/such.gguf"]);
}
