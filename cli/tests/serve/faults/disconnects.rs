//! A client that goes away at any stage leaves nothing behind.

use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::{CHAT, Rules, STREAMED, Site, WHOLE, post, read_until, within_a_second};
use crate::certificate::Certificate;
use crate::serve::backend::{Event, Finish};
use crate::serve::start;
use crate::support::{Scripted, Step, done, greeting, started};

fn hanging(steps: impl IntoIterator<Item = Step>) -> Scripted {
    Scripted::playing([steps.into_iter().chain([Step::Hang]).collect()])
}

#[tokio::test]
async fn before_its_request_is_whole() {
    let site = Site::new(Scripted::answering(greeting())).await;
    let request = post(CHAT, WHOLE);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    for sent in ["", "POST /v1/cha", head, &format!("{head}\r\n\r\n{}", &body[..9])] {
        let socket = site.send(sent).await;
        within_a_second("accepted", || site.crowd.len() == 1).await;
        drop(socket);
        within_a_second("no connection", || site.crowd.is_empty()).await;
    }
    site.is_left_alone().await;
    assert_eq!(site.backend.started(), 0);
}

#[tokio::test]
async fn in_the_tls_handshake() {
    let certificate = Certificate::new();
    let (key, cert) = (certificate.path("key.pem"), certificate.path("cert.pem"));
    let listen = crate::listening::args(&["--ssl-key-file", &key, "--ssl-cert-file", &cert]).listen;
    let tls = start::connections(&listen).unwrap().tls;
    let site = Site::with(
        Scripted::answering(greeting()),
        Rules {
            tls,
            ..Rules::default()
        },
    )
    .await;
    for hello in [
        &b""[..],
        b"\x16\x03\x01\x02",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ] {
        let mut socket = site.connect().await;
        socket.write_all(hello).await.unwrap();
        within_a_second("accepted", || site.crowd.len() == 1).await;
        drop(socket);
        within_a_second("no connection", || site.crowd.is_empty()).await;
    }
    site.is_left_alone().await;
}

#[tokio::test]
async fn while_its_job_is_queued_in_prefill_or_in_decode() {
    let stages = [
        vec![],
        vec![started().into()],
        vec![started().into(), Event::text("Hel").into()],
    ];
    for steps in stages {
        for body in [STREAMED, WHOLE] {
            let site = Site::new(hanging(steps.clone())).await;
            let socket = site.send(&post(CHAT, body)).await;
            within_a_second("a job", || site.backend.started() == 1).await;
            drop(socket);
            site.is_left_alone().await;
        }
    }
}

/// hyper looks for the end of a connection only while it has nothing unread of it.
#[tokio::test]
async fn while_something_that_it_sent_after_its_request_was_not_read() {
    for body in [STREAMED, WHOLE] {
        let site = Site::new(hanging([started().into()])).await;
        let socket = site.send(&(post(CHAT, body) + "\r\n" + &post(CHAT, body))).await;
        within_a_second("a job", || site.backend.started() == 1).await;
        drop(socket);
        site.is_left_alone().await;
        assert_eq!(site.backend.started(), 1, "the second request was not begun");
    }
}

#[tokio::test]
async fn after_the_last_token_and_before_done() {
    let script = vec![
        started().into(),
        Event::text("Hello").into(),
        done(Finish::Stop).into(),
        Step::Hang,
    ];
    let site = Site::new(Scripted::playing([script])).await;
    let mut socket = site.send(&post(CHAT, STREAMED)).await;
    read_until(&mut socket, "Hello").await;
    drop(socket);
    site.is_left_alone().await;
}

#[tokio::test]
async fn between_two_requests() {
    let site = Site::new(Scripted::answering(greeting())).await;
    let mut socket = site.send(&post(CHAT, STREAMED)).await;
    read_until(&mut socket, "\r\n0\r\n\r\n").await;
    socket.write_all(post(CHAT, WHOLE).as_bytes()).await.unwrap();
    read_until(&mut socket, "Hello!").await;
    drop(socket);
    site.is_left_alone().await;
}

#[tokio::test]
async fn and_a_hundred_do_so_at_once() {
    let site = Site::new(hanging([started().into(), Event::text("Hel").into()])).await;
    let mut sockets = Vec::new();
    for _ in 0..100 {
        sockets.push(site.send(&post(CHAT, STREAMED)).await);
    }
    within_a_second("jobs", || site.backend.running() == 100).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    drop(sockets);
    site.is_left_alone().await;
}
