//! Clients that send or take too slowly.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{CHAT, STREAMED, Site, WHOLE, post, read_until, rest, within_a_second};
use crate::serve::backend::{Event, Finish};
use crate::support::{Scripted, Step, done, greeting, started};

/// So much that no buffer of the system holds it.
const PIECES: usize = 400;
const PIECE: usize = 64 << 10;

fn long_answer() -> Vec<Step> {
    let text = || Step::from(Event::text("x".repeat(PIECE)));
    let pieces = std::iter::repeat_with(text).take(PIECES);
    let end = Step::from(done(Finish::Stop));
    [started().into()].into_iter().chain(pieces).chain([end]).collect()
}

async fn ends(site: &Site) {
    let wait = async {
        while site.backend.running() > 0 || !site.crowd.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait)
        .await
        .expect("given up");
}

#[tokio::test]
async fn a_client_that_never_reads_loses_its_connection_and_others_are_served() {
    let site = Site::impatient(Scripted::playing([
        long_answer(),
        greeting().into_iter().map(Step::from).collect(),
    ]))
    .await;
    let _socket = site.send(&post(CHAT, STREAMED)).await;
    within_a_second("a job", || site.backend.started() == 1).await;
    let mut other = site.send(&post(CHAT, WHOLE)).await;
    read_until(&mut other, "Hello!").await;
    assert_eq!(site.backend.running(), 1, "the first is still at it");
    drop(other);
    ends(&site).await;
}

#[tokio::test]
async fn so_does_one_that_reads_a_byte_now_and_then() {
    let site = Site::impatient(Scripted::playing([long_answer()])).await;
    let mut socket = site.send(&post(CHAT, STREAMED)).await;
    within_a_second("a job", || site.backend.started() == 1).await;
    let reader = tokio::spawn(async move {
        while let Ok(1..) = socket.read(&mut [0; 1]).await {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    ends(&site).await;
    reader.abort();
}

#[tokio::test]
async fn one_that_reads_slowly_but_steadily_gets_its_whole_answer() {
    let site = Site::impatient(Scripted::playing([long_answer()])).await;
    let mut socket = site.send(&post(CHAT, STREAMED)).await;
    let (mut read, mut end, mut buffer) = (0, Vec::new(), vec![0; 256 << 10]);
    // about three seconds, three times what it may take for a part
    while !end.ends_with(b"\r\n0\r\n\r\n") {
        let count = socket.read(&mut buffer).await.unwrap();
        assert!(count > 0, "cut after {read} bytes");
        read += count;
        end = buffer[count.saturating_sub(7)..count].to_vec();
        if read < 20 << 20 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert!(read > PIECES * PIECE);
}

/// In HTTP/2 such a client gives no window, and its connection is never blocked.
#[tokio::test]
async fn a_client_of_http_2_that_opens_no_window_loses_its_connection() {
    let site = Site::impatient(Scripted::answering(greeting())).await;
    let mut socket = site.connect().await;
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS_INITIAL_WINDOW_SIZE = 0
    sent.extend([0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0]);
    // GET / without indexing: indexes of the static table, and an authority
    let mut head = vec![0x82, 0x84, 0x86, 0x01, 9];
    head.extend(b"localhost");
    sent.extend([0, 0, head.len() as u8, 1, 5, 0, 0, 0, 1]);
    sent.extend(head);
    socket.write_all(&sent).await.unwrap();
    let mut answer = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut answer)).await;
    assert!(closed.is_ok(), "closed");
    assert!(!answer.is_empty() && !String::from_utf8_lossy(&answer).contains("Ollama"));
}

#[tokio::test]
async fn a_head_that_comes_too_slowly_is_408() {
    let site = Site::impatient(Scripted::answering(greeting())).await;
    let mut socket = site.send("GET /health HTTP/1.1\r\nHost: localhost\r\n").await;
    let (mut reading, mut writing) = socket.split();
    let write = async {
        loop {
            let _ = writing.write_all(b"x").await; // it is closed at some time
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let mut answer = [0; 100];
    let count = tokio::select! {
        count = reading.read(&mut answer) => count.unwrap(),
        () = write => unreachable!(),
    };
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    assert!(
        answer.starts_with("HTTP/1.1 408 Request Timeout\r\nconnection: close"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_408() {
    let site = Site::impatient(Scripted::answering(greeting())).await;
    let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n";
    for pause in [60_000, 300] {
        let mut socket = site.send(head).await;
        let (mut reading, mut writing) = socket.split();
        let write = async {
            loop {
                let _ = writing.write_all(b" ").await;
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
        };
        let mut answer = [0; 100];
        let count = tokio::select! {
            count = reading.read(&mut answer) => count.unwrap(),
            () = write => unreachable!(),
        };
        let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
        assert!(answer.starts_with("HTTP/1.1 408"), "{pause}: {answer}");
    }
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_413_before_it_is_sent() {
    let site = Site::new(Scripted::answering(greeting())).await;
    let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n";
    for more in ["\r\n", "Expect: 100-continue\r\n\r\n"] {
        let answer = rest(&mut site.send(&format!("{head}{more}")).await).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_sends_too_much_still_reads_its_413() {
    let site = Site::new(Scripted::answering(greeting())).await;
    let head = "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut socket = site.send(head).await;
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..264 {
        // 16.5 MiB: a client that writes first and reads then
        if socket.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
}

/// The limits of a body do not hide that there is none.
#[tokio::test]
async fn a_request_without_a_body_that_may_have_none_is_understood() {
    let site = Site::new(Scripted::answering(greeting())).await;
    let request = "POST /slots/0?action=erase HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answer = site.exchange(request).await;
    assert!(!answer.contains("missing request body"), "{answer}");
}
