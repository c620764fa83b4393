//! One middleware for all that happens once per request: its id, its line in the log, its place in the metrics, and the
//! answer when its handler panics.

use std::any::Any;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body::{Frame, SizeHint};
use tracing::{Instrument, Span};

use crate::commands::serve::doors::Visit;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::observe::{Meter, RequestId, RequestTally};
use crate::commands::serve::state::AppState;

/// The header that names a request, both ways.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The route of requests that have none: their paths are the callers' choice, and each label makes a series.
const NO_ROUTE: &str = "none";

/// What probes and scrapers ask every few seconds; their lines would bury the others.
const QUIET: [&str; 3] = ["/health", "/v1/health", "/metrics"];

/// Names the request, and reports it when the last byte of its answer is sent.
pub async fn observe(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let id = RequestId::accept(request.headers().get(&REQUEST_ID));
    let route = request.extensions().get::<MatchedPath>().cloned();
    let span = tracing::info_span!("request", id = id.as_str());
    let tally = Arc::new(RequestTally::default());
    let mut report = Report {
        meter: Arc::clone(&state.meter),
        tally: Arc::clone(&tally),
        begun: Instant::now(),
        method: request.method().clone(),
        path: request.uri().path().to_owned(),
        route,
        status: None,
        quiet: !state.settings.log_requests || QUIET.contains(&request.uri().path()),
        whole: false,
        span: span.clone(),
        _visit: state.doors.enter(),
    };
    let mut response = tally.scope(next.run(request)).instrument(span).await;
    report.status = Some(response.status());
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response.map(|body| {
        // What has no bytes, or whose bytes nobody asked for, is never polled.
        report.whole = body.is_end_stream() || report.method == Method::HEAD;
        Body::new(Observed { body, report })
    })
}

/// What a client gets when a handler panics. The text of the panic goes to the log alone.
pub fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!("a handler panicked: {}", text.unwrap_or("no text"));
    ApiError::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "the server failed on this request; its log says more",
    )
    .into_response()
}

/// Told when dropped: at the end of the answer, or when the client has gone.
struct Report {
    meter: Arc<Meter>,
    tally: Arc<RequestTally>,
    begun: Instant,
    method: Method,
    path: String,
    route: Option<MatchedPath>,
    /// None until the handler has answered.
    status: Option<StatusCode>,
    /// Whether its line is for who wants to see more.
    quiet: bool,
    /// Whether the answer was sent to its end.
    whole: bool,
    span: Span,
    /// Dropped after the report is made. None: it came too late, and is refused.
    _visit: Option<Visit>,
}

impl Drop for Report {
    fn drop(&mut self) {
        let took = self.begun.elapsed();
        let route = self.route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
        // 499 is nginx' and Ollama's number for a client that did not wait.
        let status = self.status.map_or(499, |status| status.as_u16());
        self.meter.request(known(&self.method), route, status, took);

        let _in_span = self.span.enter();
        let (prompt_tokens, tokens) = self.tally.tokens();
        let (method, path) = (self.method.as_str(), self.path.as_str());
        let ms = took.as_secs_f64() * 1e3;
        let whole = self.whole;
        if self.quiet {
            tracing::debug!(method, path, status, ms, prompt_tokens, tokens, whole, "request");
        } else {
            tracing::info!(method, path, status, ms, prompt_tokens, tokens, whole, "request");
        }
    }
}

/// Methods are the callers' choice too.
fn known(method: &Method) -> &str {
    const KNOWN: [Method; 6] = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::OPTIONS,
    ];
    if KNOWN.contains(method) {
        method.as_str()
    } else {
        "other"
    }
}

/// A body that knows when it ends.
struct Observed {
    body: Body,
    report: Report,
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self { body, report } = &mut *self;
        let _in_span = report.span.enter();
        let frame = Pin::new(&mut *body).poll_frame(cx);
        // A server that knows the length does not ask for the end.
        report.whole = matches!(frame, Poll::Ready(None)) || body.is_end_stream();
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
