//! Requests that are malformed, ambiguous or from another age.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{CHAT, Site, WHOLE, post, rest};
use crate::support::{Scripted, greeting};

async fn site() -> Site {
    Site::new(Scripted::answering(greeting())).await
}

/// The first line of the answer; the connection must end after it.
async fn status(site: &Site, request: &str) -> String {
    let answer = site.exchange(request).await;
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_head_that_is_too_large_or_has_too_many_fields_is_431() {
    let site = site().await;
    let large = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX-Large: {}\r\n\r\n",
        "x".repeat(70_000)
    );
    let many: String = (0..200).map(|n| format!("X-{n}: x\r\n")).collect();
    let many = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n");
    for head in [large, many] {
        assert!(
            status(&site, &head).await.starts_with("HTTP/1.1 431"),
            "{} bytes",
            head.len()
        );
    }
    site.serves().await;
}

#[tokio::test]
async fn what_is_not_http_is_400() {
    let site = site().await;
    for nonsense in [
        "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03 a TLS client\r\n\r\n",
        "hello\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / HTTP/1.1\r\nHost localhost\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\u{0}b\r\n\r\n",
        "GET /\u{7f} HTTP/9.9\r\n\r\n",
        "\u{0}\u{1}\u{2}\u{3}\r\n\r\n",
    ] {
        assert!(
            status(&site, nonsense).await.starts_with("HTTP/1.1 400"),
            "{nonsense:?}"
        );
    }
    assert_eq!(site.backend.started(), 0);
    site.serves().await;
}

#[tokio::test]
async fn chunks_of_wrong_sizes_are_400_and_start_nothing() {
    let site = site().await;
    let head =
        format!("POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
    for chunks in [
        "zz\r\n{}\r\n0\r\n\r\n",
        "1\r\n{}\r\n0\r\n\r\n",
        "fffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
    ] {
        let status = status(&site, &format!("{head}{chunks}")).await;
        assert!(status.starts_with("HTTP/1.1 400"), "{chunks:?}: {status}");
    }
    // cut short: nobody is there to be told
    let mut socket = site.send(&format!("{head}ff\r\n{{}}")).await;
    socket.shutdown().await.unwrap();
    rest(&mut socket).await;
    assert_eq!(site.backend.started(), 0);
}

#[tokio::test]
async fn requests_in_one_piece_are_answered_in_their_order() {
    let site = site().await;
    let missing = "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let last = "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answers = site.exchange(&(post(CHAT, WHOLE) + missing + last)).await;
    let statuses: Vec<&str> = answers.matches("HTTP/1.1 ").collect();
    assert_eq!(statuses.len(), 3, "{answers}");
    let at = |text| answers.find(text).unwrap();
    assert!(
        at("Hello!") < at("404 Not Found") && at("404 Not Found") < at("\"ok\""),
        "{answers}"
    );
}

/// Where a proxy before the server would read another length than the server, the rest of a body would be a request of
/// somebody else (request smuggling).
#[tokio::test]
async fn a_request_whose_length_is_ambiguous_smuggles_nothing_in() {
    let site = site().await;
    let hidden = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let body = format!("0\r\n\r\n{hidden}");
    let length = body.len();
    for fields in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {length}"),
        format!("Content-Length: 5\r\nContent-Length: {length}"),
        "Content-Length: +5".to_owned(),
        "Content-Length: 5, 6".to_owned(),
        "Transfer-Encoding: chunked, identity".to_owned(),
        "Transfer-Encoding: xchunked".to_owned(),
    ] {
        let request = format!("POST {CHAT} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n\r\n{body}");
        let answer = site.exchange(&request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{fields}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{fields}: {answer}");
        assert!(!answer.contains("\"object\":\"list\""), "{fields}: {answer}");
    }
    assert_eq!(site.backend.started(), 0);
}

#[tokio::test]
async fn where_chunks_and_a_length_are_announced_the_chunks_count_and_the_connection_ends() {
    let site = site().await;
    let hidden = "GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let body = format!("{:x}\r\n{WHOLE}\r\n0\r\n\r\n{hidden}", WHOLE.len());
    for length in [body.len(), 4] {
        let request = format!(
            "POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\nTransfer-Encoding: chunked\r\n\r\n{body}"
        );
        let answer = site.exchange(&request).await;
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
        assert!(!answer.contains("\"object\":\"list\""), "{answer}");
    }
}

#[tokio::test]
async fn http_1_0_is_answered_and_the_connection_ends() {
    let site = site().await;
    for request in [
        "GET /health HTTP/1.0\r\n\r\n",
        "GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n",
    ] {
        let answer = site.exchange(request).await;
        assert!(
            answer.starts_with("HTTP/1.0 200") && answer.contains("\"ok\""),
            "{answer}"
        );
    }
    // a stream without chunks, which 1.0 has not
    let request = post(CHAT, super::STREAMED).replace("HTTP/1.1", "HTTP/1.0");
    let answer = site.exchange(&request).await;
    assert!(
        answer.ends_with("\n\ndata: [DONE]\n\n") && !answer.contains("chunked"),
        "{answer}"
    );
}

#[tokio::test]
async fn in_an_absolute_address_its_own_host_counts() {
    let site = site().await;
    let get = |uri: &str, host: &str| format!("GET {uri} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    for (uri, host, expected) in [
        ("http://localhost/health", "localhost", "200"),
        ("http://localhost/health", "evil.example", "200"),
        ("http://evil.example/health", "localhost", "403"),
        ("/health", "localhost\r\nHost: evil.example", "400"),
    ] {
        let status = status(&site, &get(uri, host)).await;
        assert_eq!(status.split(' ').nth(1), Some(expected), "{uri} {host}: {status}");
    }
}

#[tokio::test]
async fn upgrades_and_tunnels_are_not_offered() {
    let site = site().await;
    for (upgrade, more) in [
        (
            "websocket",
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        ),
        ("h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"),
    ] {
        let request = format!(
            "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, close\r\nUpgrade: {upgrade}\r\n{more}\r\n"
        );
        let status = status(&site, &request).await;
        assert!(status.starts_with("HTTP/1.1 200"), "{upgrade}: {status}");
    }
    let tunnel = "CONNECT localhost:22 HTTP/1.1\r\nHost: localhost:22\r\nConnection: close\r\n\r\n";
    let status = status(&site, tunnel).await;
    assert!(status.starts_with("HTTP/1.1 4"), "{status}");
}

#[tokio::test]
async fn the_preface_of_http_2_is_answered_in_http_2() {
    let site = site().await;
    let mut socket = site.connect().await;
    socket
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let mut frame = [0; 9];
    socket.read_exact(&mut frame).await.unwrap();
    assert_eq!((frame[3], &frame[5..]), (4, &[0; 4][..]), "SETTINGS of stream 0");
    drop(socket);
    // and nonsense after it ends the connection
    let mut socket = site.connect().await;
    socket.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    socket.write_all(&[0xff; 64]).await.unwrap();
    socket.read_to_end(&mut Vec::new()).await.unwrap();
    drop(socket);
    site.is_left_alone().await;
}
