//! Requests of every route, through router, guards and readers to the jobs that a backend would get.
//!
//! Promises: no panic; no status of 500 and more but 501 for what this server says it does not do; an error is an object of the
//! dialect's shape; what is JSON by its content type is JSON.

use crate::serve::backend::LoraStatus;
use crate::serve::{AppState, Settings, app};
use crate::support::{Scripted, Watched, card, greeting};
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Method, Request, Uri, header};
use http_body_util::BodyExt;
use serde_json::Value;
use std::cell::RefCell;
use std::sync::Arc;
use tokio::runtime::Runtime;
use tower::ServiceExt;

struct Server {
    runtime: Runtime,
    router: Router,
    answered: u32,
}

/// The scripted backend remembers its jobs, so a new one comes now and then.
const REQUESTS: u32 = 512;

thread_local! {
    static SERVER: RefCell<Option<Server>> = const { RefCell::new(None) };
}

fn server() -> Server {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let mut card = card("tiny");
    card.loras = 2;
    let all = &mut card.abilities;
    (all.thinking, all.insert, all.embedding, all.rerank, all.vision) = (true, true, true, true, true);
    let mut backend = Scripted::answering(greeting());
    backend.cards = vec![card];
    let lora = |id| LoraStatus {
        id,
        scale: 1.0,
        ..LoraStatus::default()
    };
    backend.watched = Watched {
        loras: vec![lora(0), lora(1)],
        ..Watched::default()
    };
    let router = app(AppState::new(
        Arc::new(backend),
        Settings {
            max_choices: 16,
            ..Settings::default()
        },
    ));
    Server {
        runtime,
        router,
        answered: 0,
    }
}

/// A request as text: `METHOD path`, header lines, an empty line, the body.
fn read(data: &[u8]) -> Option<Request<Body>> {
    let end = data.windows(2).position(|pair| pair == b"\n\n")?;
    let (head, body) = (std::str::from_utf8(&data[..end]).ok()?, &data[end + 2..]);
    let mut lines = head.lines();
    let (method, path) = lines.next()?.split_once(' ')?;
    let mut request = Request::new(Body::from(body.to_vec()));
    *request.method_mut() = method.parse().ok()?;
    *request.uri_mut() = path.parse::<Uri>().ok().filter(|uri| uri.path().starts_with('/'))?;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let value = HeaderValue::from_str(value.trim()).ok()?;
        request.headers_mut().append(name.parse::<HeaderName>().ok()?, value);
    }
    Some(request)
}

pub fn request(data: &[u8]) {
    let Some(request) = read(data) else { return };
    let (head, path) = (request.method() == Method::HEAD, request.uri().path().to_owned());
    SERVER.with_borrow_mut(|slot| {
        if slot.as_ref().is_some_and(|server| server.answered >= REQUESTS) {
            *slot = None;
        }
        let server = slot.get_or_insert_with(server);
        server.answered += 1;
        let router = server.router.clone();
        let (parts, bytes) = server.runtime.block_on(async {
            let response = router.oneshot(request).await.expect("the router does not fail");
            let (parts, body) = response.into_parts();
            (parts, body.collect().await.expect("a whole body").to_bytes())
        });
        let text = std::str::from_utf8(&bytes).expect("answers are UTF-8");
        let status = parts.status.as_u16();
        assert!(status < 500 || status == 501, "{path}: {status} {text}");
        if head || bytes.is_empty() {
            return;
        }
        let kind = parts
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok())
            .unwrap_or_default();
        let json = kind.starts_with("application/json");
        assert!(status < 400 || json, "{path}: {status} of type {kind}: {text}");
        if json {
            let body: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{path}: {error} in {text}"));
            assert!(status < 400 || is_error(&path, &body), "{path}: {status} {body}");
        }
    });
}

/// Whether an error has the shape that the dialect of its path gives it.
fn is_error(path: &str, body: &Value) -> bool {
    let error = &body["error"];
    let says = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    let plain = path.strip_prefix("/v1").unwrap_or(path);
    if path.starts_with("/api/") {
        says(error)
    } else if plain == "/messages" || plain.starts_with("/messages/") {
        body["type"] == "error" && says(&error["type"]) && says(&error["message"])
    } else {
        says(&error["message"]) && says(&error["type"]) && error.get("param").is_some() && error.get("code").is_some()
    }
}
