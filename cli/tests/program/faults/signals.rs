//! Signals, and readers of its output that go away.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use rustix::process::Signal;

use super::signal;
use crate::ends_within;
use crate::serve::{LONG, Server};
use crate::support::says;

#[test]
fn what_does_not_end_in_time_is_cut_with_the_reason_and_counted() {
    let server = Server::start(&["--drain", "0"]);
    let mut socket = server.send("POST /v1/completions", LONG);
    socket.read_exact(&mut [0; 600]).unwrap();
    signal(&server.child, Signal::TERM);
    let mut rest = String::new();
    socket.read_to_string(&mut rest).unwrap();
    // a whole event, and the end of the chunks
    says(&rest, &["data: {\"error\"", "}\n\n\r\n0\r\n\r\n"]);
    assert!(!rest.contains("[DONE]"), "{rest}");
    says(&server.ended(), &["finished=0 cut=1"]);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut server = Server::start(&["--drain", "3600"]);
    let mut socket = server.send("POST /v1/completions", &LONG.replace("300", "100000"));
    socket.read_exact(&mut [0; 600]).unwrap();
    signal(&server.child, Signal::TERM);
    // the first must have been seen: two that wait together are one
    let mut late = String::new();
    while !late.starts_with("HTTP/1.1 503") {
        late = server.call("GET /health", "");
    }
    says(&late.to_ascii_lowercase(), &["retry-after: 5"]);
    signal(&server.child, Signal::TERM);
    assert_eq!(ends_within(&mut server.child, Duration::from_secs(10)), Some(130));
}

/// Whether these tests run under nohup: what they start inherits that SIGHUP is ignored.
#[cfg(target_os = "linux")]
fn outlives_its_terminal() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 << (Signal::HUP.as_raw() - 1) != 0
}

#[cfg(target_os = "linux")]
#[test]
fn the_end_of_its_terminal_is_a_signal_to_stop_unless_it_was_started_to_outlive_it() {
    let server = Server::start(&["--drain", "60"]);
    let mut socket = server.send("POST /v1/completions", LONG);
    socket.read_exact(&mut [0; 600]).unwrap();
    signal(&server.child, Signal::HUP);
    let mut rest = String::new();
    socket.read_to_string(&mut rest).unwrap();
    says(&rest, &["data: [DONE]"]);
    if outlives_its_terminal() {
        says(&server.call("GET /health", ""), &["200 OK"]);
        server.stop();
    } else {
        says(&server.ended(), &["finished=1 cut=0"]);
    }
}

#[test]
fn it_goes_on_when_nobody_reads_its_output_any_more() {
    let mut server = Server::start(&["--log-format", "text"]);
    drop(server.child.stderr.take());
    server.close_output();
    for _ in 0..3 {
        // each is a line in the log
        let answer = server.call("POST /v1/completions", r#"{"prompt":"Once","max_tokens":2}"#);
        says(&answer, &["200 OK"]);
    }
    signal(&server.child, Signal::PIPE);
    says(&server.call("GET /health", ""), &["200 OK"]);
    signal(&server.child, Signal::TERM);
    let ended = server.child.wait().unwrap();
    assert_eq!((ended.code(), ended.signal()), (Some(0), None));
}
