//! Very many connections.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{limit, status};
use crate::serve::Server;
use crate::support::says;

/// Connections that this process may have, of `wanted`.
fn permitted(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let _ = setrlimit(Resource::Nofile, raised); // if not, there are fewer
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    wanted.min(usize::try_from(files).unwrap_or(usize::MAX).saturating_sub(256))
}

/// Connections that have been served and are kept.
fn kept(server: &Server, count: usize) -> Vec<TcpStream> {
    let open = |_| {
        let mut socket = TcpStream::connect(&server.addr).unwrap();
        socket
            .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .unwrap();
        let mut answer = [0; 15];
        socket.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        socket
    };
    (0..count).map(open).collect()
}

#[test]
fn ten_thousand_idle_connections_cost_little_and_keep_nobody_out() {
    const WANTED: usize = 10_000;
    let count = permitted(WANTED);
    if count < WANTED {
        println!(
            "skipped: {} of {WANTED} connections, the limit of open files permits {count}",
            WANTED - count
        );
    }
    let server = Server::start(&["-c", "512", "--max-connections", "20000"]);
    drop(kept(&server, 100));
    let before = status(&server.child, "VmRSS");
    let sockets = kept(&server, count);
    let each = (status(&server.child, "VmRSS").saturating_sub(before) << 10) / count as u64;
    println!("{count} idle connections take {each} bytes each");
    assert!(each < 32 << 10, "{each} bytes for each connection");
    let answer = server.call("POST /v1/completions", r#"{"prompt":"Once","max_tokens":2}"#);
    says(&answer, &["200 OK"]);
    drop(sockets);
    server.stop();
}

#[test]
fn without_files_to_open_it_says_so_serves_on_and_recovers() {
    let server = Server::start(&["-c", "512"]);
    let first = kept(&server, 1);
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.child.id()))
        .unwrap()
        .count() as u64;
    // four more: the others wait in the system's queue, and take the places of those that were idle for a second
    limit(&server.child, Resource::Nofile, Some(open + 4));
    let waiting: Vec<TcpStream> = (0..8).map(|_| TcpStream::connect(&server.addr).unwrap()).collect();
    says(&server.call("GET /health", ""), &["200 OK"]);
    limit(&server.child, Resource::Nofile, Some(1024));
    drop((first, waiting));
    says(
        &server.call("POST /v1/completions", r#"{"prompt":"Once","max_tokens":2}"#),
        &["200 OK"],
    );
    says(&server.stop(), &["cannot accept a connection", "ulimit -n"]);
}
