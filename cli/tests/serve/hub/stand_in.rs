//! A hub on loopback: lists and sends files like Hugging Face, and misbehaves on demand.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use futures::stream;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// The model that travels.
pub const MODEL: &[u8] = include_bytes!("../../../../models/tiny-q8_0.gguf");

/// What the next transfer does instead of going well.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answers with this status.
    Status(u16),
    /// Ends after so many bytes, as a broken connection does.
    Cut(usize),
    /// Sends so many bytes, then nothing, and keeps the connection.
    Silence(usize),
    /// Sends pieces of so many bytes, with a pause after each.
    Slow(usize, Duration),
    /// Sends other bytes.
    Garbage,
    /// Leads to this address.
    Redirect(String),
    /// Sends the whole file whatever range was asked for.
    Whole,
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path: String,
    pub range: Option<String>,
    pub if_range: Option<String>,
    pub authorization: Option<String>,
}

#[derive(Default)]
struct Contents {
    files: BTreeMap<String, Vec<u8>>,
    etag: Option<String>,
    sha256: Option<String>,
    page: Option<usize>,
    faults: VecDeque<Fault>,
    listing: VecDeque<u16>,
    seen: Vec<Seen>,
}

/// A running hub. The repository `org/repo` is all it has.
pub struct StandIn {
    pub url: String,
    contents: Arc<Mutex<Contents>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl StandIn {
    /// With these files.
    pub fn new(files: &[(&str, &[u8])]) -> Self {
        let contents = Arc::new(Mutex::new(Contents::default()));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(contents.clone());
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, router).await.unwrap();
        });
        let hub = Self {
            url,
            contents,
            runtime: Some(runtime),
        };
        for (path, bytes) in files {
            hub.put(path, bytes);
        }
        hub
    }

    /// With the embedded model as `m-Q8_0.gguf`.
    pub fn with_model() -> Self {
        Self::new(&[("m-Q8_0.gguf", MODEL)])
    }

    /// Adds a file or replaces it.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        self.contents().files.insert(path.into(), bytes.into());
    }

    /// The next transfers go like this, one fault each.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.contents().faults.extend(faults);
    }

    /// The next listings are refused with these statuses.
    pub fn refuse_listing(&self, statuses: impl IntoIterator<Item = u16>) {
        self.contents().listing.extend(statuses);
    }

    /// Tags files with this instead of a hash of their bytes.
    pub fn set_etag(&self, etag: &str) {
        self.contents().etag = Some(etag.into());
    }

    /// Lists files with this SHA-256.
    pub fn set_sha256(&self, digits: &str) {
        self.contents().sha256 = Some(digits.into());
    }

    /// Lists so many files at once.
    pub fn set_page(&self, files: usize) {
        self.contents().page = Some(files);
    }

    /// Requests for file contents, in order.
    pub fn transfers(&self) -> Vec<Seen> {
        let seen = self.seen();
        seen.into_iter().filter(|seen| seen.path.starts_with("/cdn/")).collect()
    }

    /// All requests.
    pub fn seen(&self) -> Vec<Seen> {
        self.contents().seen.clone()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // tests that are asynchronous themselves may not wait here
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// SHA-256 in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

async fn answer(State(contents): State<Arc<Mutex<Contents>>>, request: Request) -> Response {
    let text = |name| Some(request.headers().get(name)?.to_str().unwrap().to_owned());
    let path = request.uri().path().to_owned();
    let mut contents = contents.lock().unwrap();
    contents.seen.push(Seen {
        path: path.clone(),
        range: text(header::RANGE),
        if_range: text(header::IF_RANGE),
        authorization: text(header::AUTHORIZATION),
    });
    if path == "/api/models/org/repo/tree/main" {
        let refused = contents
            .listing
            .pop_front()
            .and_then(|status| StatusCode::from_u16(status).ok());
        return match refused {
            Some(status) => status.into_response(),
            None => list(&contents, request.uri().query().unwrap_or_default()),
        };
    }
    if let Some(file) = path.strip_prefix("/org/repo/resolve/main/") {
        return match contents.faults.front() {
            Some(Fault::Redirect(target)) => {
                let target = target.clone();
                contents.faults.pop_front();
                redirect(&target)
            }
            _ => redirect(&format!("/cdn/{file}")),
        };
    }
    let Some(bytes) = path
        .strip_prefix("/cdn/")
        .and_then(|file| contents.files.get(file))
        .cloned()
    else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let etag = contents
        .etag
        .clone()
        .unwrap_or_else(|| format!("\"{}\"", &sha256(&bytes)[..16]));
    let fault = contents.faults.pop_front();
    drop(contents);
    send(bytes, &etag, fault, request.headers())
}

fn redirect(target: &str) -> Response {
    (StatusCode::FOUND, [(header::LOCATION, target.to_owned())]).into_response()
}

fn list(contents: &Contents, query: &str) -> Response {
    let after = query
        .split_once("cursor=")
        .map_or(0, |(_, cursor)| cursor.parse().unwrap());
    let page = contents.page.unwrap_or(usize::MAX);
    let entry = |(path, bytes): (&String, &Vec<u8>)| -> Value {
        let oid = contents.sha256.clone().unwrap_or_else(|| sha256(bytes));
        json!({
            "type": "file", "path": path, "size": bytes.len(), "oid": "0123456789012345678901234567890123456789",
            "lfs": { "oid": oid, "size": bytes.len(), "pointerSize": 135 },
        })
    };
    let files: Vec<Value> = contents.files.iter().skip(after).take(page).map(entry).collect();
    let next = after.saturating_add(page);
    let body = Json(files);
    if next < contents.files.len() {
        let link = format!("</api/models/org/repo/tree/main?recursive=true&cursor={next}>; rel=\"next\"");
        return ([(header::LINK, link)], body).into_response();
    }
    body.into_response()
}

fn send(bytes: Vec<u8>, etag: &str, fault: Option<Fault>, headers: &HeaderMap) -> Response {
    let total = bytes.len();
    let wanted = |name| {
        headers
            .get(name)
            .map(|value: &header::HeaderValue| value.to_str().unwrap())
    };
    let start = wanted(header::RANGE)
        .filter(|_| wanted(header::IF_RANGE).is_none_or(|tag| tag == etag))
        .filter(|_| !matches!(fault, Some(Fault::Whole)))
        .map_or(0, |range| {
            range
                .strip_prefix("bytes=")
                .unwrap()
                .trim_end_matches('-')
                .parse()
                .unwrap()
        });
    if start >= total && start > 0 {
        return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
    }
    let mut rest = bytes[start..].to_vec();
    let length = rest.len();
    let body = match fault {
        Some(Fault::Status(status)) => return StatusCode::from_u16(status).unwrap().into_response(),
        Some(Fault::Cut(count)) => {
            rest.truncate(count);
            let first = stream::iter([Ok(Bytes::from(rest))]);
            let end = stream::once(async {
                // what was sent must be on its way before the connection ends
                tokio::time::sleep(Duration::from_millis(100)).await;
                Err(std::io::Error::other("cut"))
            });
            Body::from_stream(futures::StreamExt::chain(first, end))
        }
        Some(Fault::Silence(count)) => {
            rest.truncate(count);
            let first = stream::iter([Ok::<_, Infallible>(Bytes::from(rest))]);
            Body::from_stream(futures::StreamExt::chain(first, stream::pending()))
        }
        Some(Fault::Slow(size, pause)) => {
            let pieces: Vec<Bytes> = rest.chunks(size).map(Bytes::copy_from_slice).collect();
            Body::from_stream(stream::unfold(pieces.into_iter(), move |mut pieces| async move {
                let piece = pieces.next()?;
                tokio::time::sleep(pause).await;
                Some((Ok::<_, Infallible>(piece), pieces))
            }))
        }
        Some(Fault::Garbage) => {
            rest.iter_mut().for_each(|byte| *byte ^= 0x55);
            Body::from(rest)
        }
        _ => Body::from(rest),
    };
    let mut response = Response::builder()
        .header(header::ETAG, etag)
        .header(header::CONTENT_LENGTH, length);
    if start > 0 {
        let range = format!("bytes {start}-{}/{total}", total - 1);
        response = response
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, range);
    }
    response.body(body).unwrap()
}
