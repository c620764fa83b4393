//! A server without a model, and a client that reads like a script.

pub mod exposition;
mod log;
mod scripted;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;

use crate::serve::backend::{Alternative, Details, Done, Event, Finish, TextPiece, Timings};
use crate::serve::backend::{TokenLogprob, Usage};
use crate::serve::{AppState, Settings, app};

pub use log::Log;
pub use scripted::{Scripted, Step, Watched, about, card};

/// A router with its backend in reach.
pub struct Server {
    pub backend: Arc<Scripted>,
    pub state: AppState,
    router: Router,
}

impl Server {
    pub fn new(backend: Scripted) -> Self {
        Self::with(backend, Settings::default())
    }

    pub fn with(backend: Scripted, settings: Settings) -> Self {
        let backend = Arc::new(backend);
        let state = AppState::new(backend.clone(), settings);
        let router = app(state.clone());
        Self { backend, state, router }
    }

    /// A server whose every job gives these events.
    pub fn answering(events: impl IntoIterator<Item = Event>) -> Self {
        Self::new(Scripted::answering(events))
    }

    pub async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Reply {
            status: parts.status,
            headers: parts.headers,
            text,
        }
    }

    /// The response before its body is read.
    pub async fn open(&self, path: &str, body: Value) -> axum::response::Response {
        let request = Request::post(path).body(Body::from(body.to_string())).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.send(Request::post(path).body(Body::from(body.to_string())).unwrap())
            .await
    }

    pub async fn call(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// A chat with `extra` fields.
    pub async fn chat(&self, extra: Value) -> Reply {
        self.post("/v1/chat/completions", merge(hello(), extra)).await
    }

    /// `/api/chat` with `extra` fields.
    pub async fn api_chat(&self, extra: Value) -> Reply {
        let base = merge(hello(), json!({ "model": "tiny" }));
        self.post("/api/chat", merge(base, extra)).await
    }

    /// `/api/generate` with `extra` fields.
    pub async fn api_generate(&self, extra: Value) -> Reply {
        let base = json!({ "model": "tiny", "prompt": "Once" });
        self.post("/api/generate", merge(base, extra)).await
    }

    /// A completion with `extra` fields.
    pub async fn complete(&self, extra: Value) -> Reply {
        self.post("/v1/completions", merge(json!({ "prompt": "Once" }), extra))
            .await
    }
}

/// The smallest chat.
pub fn hello() -> Value {
    json!({ "messages": [{ "role": "user", "content": "hello" }] })
}

pub fn merge(mut base: Value, extra: Value) -> Value {
    let fields = base.as_object_mut().unwrap();
    fields.extend(extra.as_object().unwrap().clone());
    base
}

/// A response, read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error} in {}", self.text))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The JSON of every event of a stream; checks the framing on the way.
    pub fn chunks(&self) -> Vec<Value> {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        let whole = self.text.strip_suffix("\n\n").expect("the last event is complete");
        let events = whole.split("\n\n").filter(|event| !event.starts_with(':'));
        let events = events.map(|event| event.strip_prefix("data: ").expect("data only"));
        let events = events.filter(|event| *event != "[DONE]");
        events.map(|event| serde_json::from_str(event).unwrap()).collect()
    }

    /// The JSON of every line of a stream of Ollama's; checks the framing on the way.
    pub fn lines(&self) -> Vec<Value> {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        assert_eq!(self.header("content-type"), Some("application/x-ndjson"));
        let whole = self.text.strip_suffix('\n').expect("the last line is complete");
        whole
            .split('\n')
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// Asserts an error of Ollama's shape, and returns its text.
    #[track_caller]
    pub fn says(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), Some("application/json; charset=utf-8"));
        let body = self.json();
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
        body["error"].as_str().expect("a text").to_owned()
    }

    /// The first choice of every chunk that has one.
    pub fn choices(&self) -> Vec<Value> {
        let first = |chunk: &Value| chunk.pointer("/choices/0").cloned();
        self.chunks().iter().filter_map(first).collect()
    }

    /// Asserts an error of OpenAI's shape, and returns what is inside.
    #[track_caller]
    pub fn error(&self, status: u16, kind: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.header("content-type"), Some("application/json"));
        let error = self.json()["error"].clone();
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()));
        assert_eq!(error["type"], kind);
        for name in ["param", "code"] {
            let value = error.get(name).expect("present, if only as null");
            assert!(value.is_null() || value.is_string(), "{name} is {value}");
        }
        error
    }

    /// Asserts a 400 about `param`.
    #[track_caller]
    pub fn refuses(&self, param: &str) {
        let error = self.error(400, "invalid_request_error");
        assert_eq!(error["param"], param, "{error}");
        assert!(error["message"].as_str().unwrap().contains(param), "{error}");
    }
}

pub fn started() -> Event {
    Event::Started {
        n_prompt: 9,
        n_cached: 4,
    }
}

pub fn done(finish: Finish) -> Event {
    let usage = Usage {
        prompt: 9,
        cached: 4,
        completion: 3,
        reasoning: 1,
    };
    let timings = Timings {
        cache_n: 4,
        prompt_n: 5,
        prompt_ms: 10.0,
        predicted_n: 3,
        predicted_ms: 60.0,
        draft_n: None,
        draft_n_accepted: None,
    };
    Event::Done(Box::new(Done {
        finish,
        stop_string: None,
        usage,
        timings,
    }))
}

/// A server whose model was made with a system prompt and options.
pub fn alias() -> Server {
    let mut backend = Scripted::answering(greeting());
    let parameters = json!({ "temperature": 0.25, "top_k": 7, "num_ctx": 1024, "stop": ["END"] });
    backend.about = vec![Details {
        system: Some("Be brief.".into()),
        parameters: parameters.as_object().unwrap().clone(),
        ..about(&backend.cards[0])
    }];
    Server::new(backend)
}

/// `Hello!` in two pieces.
pub fn greeting() -> Vec<Event> {
    vec![started(), Event::text("Hel"), Event::text("lo!"), done(Finish::Stop)]
}

pub fn call_start(index: u32, id: &str, name: &str) -> Event {
    Event::ToolCallStart {
        index,
        id: id.into(),
        name: name.into(),
    }
}

pub fn call_arguments(index: u32, fragment: &str) -> Event {
    Event::ToolCallArguments {
        index,
        fragment: fragment.into(),
    }
}

/// A piece of one token, with one alternative.
pub fn likely(token: &str, logprob: f32) -> Event {
    let text = token.to_owned();
    let bytes = token.as_bytes().to_vec();
    let top = vec![Alternative {
        token: text.clone(),
        bytes: bytes.clone(),
        logprob,
    }];
    let logprobs = vec![TokenLogprob {
        token: text.clone(),
        bytes,
        logprob: Some(logprob),
        top,
    }];
    Event::Text(TextPiece { text, logprobs })
}
