//! Connections on which nothing happens.

use std::time::Duration;

use super::{CHAT, Rules, STREAMED, Site, WHOLE, post, read_until, rest, within_a_second};
use crate::certificate::Certificate;
use crate::serve::backend::Event;
use crate::serve::start;
use crate::support::{Scripted, Step, greeting, started};

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let site = Site::impatient(Scripted::answering(greeting())).await;
    assert_eq!(rest(&mut site.connect().await).await, "");
    // hyper waits without end for the rest of what may become HTTP/2
    assert!(site.exchange("PRI * HT").await.starts_with("HTTP/1.1 408"));
    site.is_left_alone().await;
}

#[tokio::test]
async fn a_handshake_that_does_not_come_to_its_end_is_given_up() {
    let certificate = Certificate::new();
    let (key, cert) = (certificate.path("key.pem"), certificate.path("cert.pem"));
    let listen = crate::listening::args(&["--ssl-key-file", &key, "--ssl-cert-file", &cert]).listen;
    let rules = Rules {
        tls: start::connections(&listen).unwrap().tls,
        timeout: Duration::from_secs(1),
        ..Rules::default()
    };
    let site = Site::with(Scripted::answering(greeting()), rules).await;
    assert_eq!(rest(&mut site.send("\x16\x03\x01").await).await, "");
    site.is_left_alone().await;
}

#[tokio::test]
async fn a_connection_is_kept_for_the_next_request_and_then_closed() {
    let site = Site::impatient(Scripted::answering(greeting())).await;
    let mut socket = site.send(&post(CHAT, WHOLE)).await;
    read_until(&mut socket, "Hello!").await;
    tokio::io::AsyncWriteExt::write_all(&mut socket, post(CHAT, WHOLE).as_bytes())
        .await
        .unwrap();
    let text = rest(&mut socket).await;
    assert_eq!(
        text.matches("HTTP/1.1").count(),
        1,
        "the second answer, and no 408: {text}"
    );
    drop(socket);
    site.is_left_alone().await;
}

#[tokio::test]
async fn a_long_silence_before_an_answer_closes_nothing() {
    let script = vec![
        started().into(),
        Step::Sleep(Duration::from_millis(2500)),
        Event::text("Hello!").into(),
        Step::Hang,
    ];
    let site = Site::impatient(Scripted::playing([script])).await;
    let mut socket = site.send(&post(CHAT, STREAMED)).await;
    read_until(&mut socket, "Hello!").await;
}

#[tokio::test]
async fn idle_connections_make_room_for_others_and_busy_ones_stay() {
    let script = vec![started().into(), Event::text("Hel").into(), Step::Hang];
    let site = Site::with(
        Scripted::playing([script]),
        Rules {
            places: 4,
            ..Rules::default()
        },
    )
    .await;
    let mut busy = site.send(&post(CHAT, STREAMED)).await;
    read_until(&mut busy, "Hel").await;
    let mut idle = [
        site.connect().await,
        site.send("GET /health HT").await,
        site.connect().await,
    ];
    within_a_second("accepted", || site.crowd.len() == 4).await;
    site.serves().await;
    assert_eq!(rest(&mut idle[0]).await, "", "the one that was idle for longest");
    assert_eq!(site.backend.running(), 1);
}

/// The timers that the system runs for the server's end of a connection: 2 is that of SO_KEEPALIVE.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_system_asks_silent_clients_whether_they_are_still_there() {
    let site = Site::new(Scripted::answering(greeting())).await;
    let mut socket = site.send(&post(CHAT, WHOLE)).await;
    read_until(&mut socket, "Hello!").await;
    let (server, client) = (site.addr.port(), socket.local_addr().unwrap().port());
    let ends = (format!(":{server:04X}"), format!(":{client:04X}"));
    let is_asked = || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let rows = table.lines().map(|row| row.split_whitespace().collect::<Vec<_>>());
        let mut of_server = rows.filter(|row| row[1].ends_with(&ends.0) && row[2].ends_with(&ends.1));
        of_server.next().expect("the connection")[5].starts_with("02:")
    };
    // until the client's system has acknowledged the answer, the timer is that of sending it again
    within_a_second("SO_KEEPALIVE", is_asked).await;
}
