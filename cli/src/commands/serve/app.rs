//! The router. Tests call it as a service; sockets are in `listen.rs`.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::{Extension, Router};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::commands::serve::body::BodyLimit;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::observe::access;
use crate::commands::serve::state::AppState;
use crate::commands::serve::{doors, error_shape, load_notice, routes};

/// Paths that need no key: probes, and the page a browser opens with its files. Everything else does, also routes
/// added later.
const OPEN_PATHS: [&str; 3] = ["/health", "/v1/health", "/"];

/// Below it are the files of the page, which are the same for all who have this program.
const OPEN_FOLDER: &str = "/web/";

/// All routes, with their guards.
pub fn app(state: AppState) -> Router {
    Router::new()
        .merge(routes::root::router())
        .merge(routes::web_files::router())
        .merge(routes::results::router())
        .merge(routes::health::router())
        .merge(routes::metrics::router())
        .merge(routes::models::router())
        .merge(routes::openapi::router())
        .merge(routes::models_load::router())
        .merge(routes::models_unload::router())
        .merge(routes::props::router())
        .merge(routes::slot_list::router())
        .merge(routes::chat_completions::router())
        .merge(routes::completions::router())
        .merge(routes::completion::router())
        .merge(routes::slot_actions::router())
        .merge(routes::lora_adapters::router())
        .merge(routes::infill::router())
        .merge(routes::embeddings::router())
        .merge(routes::rerank::router())
        .merge(routes::apply_template::router())
        .merge(routes::responses::router())
        .merge(routes::messages::router())
        .merge(routes::tokenize::router())
        .merge(routes::detokenize::router())
        .merge(routes::api_generate::router())
        .merge(routes::api_chat::router())
        .merge(routes::api_embed::router())
        .merge(routes::api_embeddings::router())
        .merge(routes::api_tags::router())
        .merge(routes::api_show::router())
        .merge(routes::api_ps::router())
        .merge(routes::api_version::router())
        .merge(routes::api_blobs::router())
        .merge(routes::api_copy::router())
        .merge(routes::api_create::router())
        .merge(routes::api_delete::router())
        .merge(routes::api_pull::router())
        .merge(routes::api_unsupported::router())
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        // Layers run from the last to the first.
        .layer(middleware::from_fn(load_notice::tell))
        .layer(middleware::from_fn_with_state(state.clone(), doors::refuse))
        .layer(DefaultBodyLimit::max(state.settings.body_limit))
        .layer(Extension(BodyLimit(state.settings.body_limit)))
        .layer(middleware::from_fn_with_state(state.clone(), require_key))
        .layer(middleware::from_fn_with_state(state.clone(), require_known_caller))
        .layer(CatchPanicLayer::custom(access::panicked))
        .layer(middleware::from_fn(error_shape::speak))
        .layer(cors(state.clone()))
        .layer(middleware::from_fn_with_state(state.clone(), access::observe))
        .with_state(state)
}

async fn not_found(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        format!("there is no route {method} {}", uri.path()),
    )
}

async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} does not take {method}", uri.path()),
    )
}

async fn require_key(State(state): State<AppState>, request: Request, next: Next) -> Result<Response, ApiError> {
    let path = request.uri().path();
    let open = OPEN_PATHS.contains(&path) || path.starts_with(OPEN_FOLDER);
    if !open && !state.settings.api_keys.allow(request.headers()) {
        let error = ApiError::new(StatusCode::UNAUTHORIZED, "missing or wrong API key");
        return Err(error.code("invalid_api_key"));
    }
    Ok(next.run(request).await)
}

/// CORS hides our answers from a foreign page, but does not keep it from posting plain text, which
/// would still start a job. So requests that say they come from such a page are refused.
async fn require_known_caller(
    State(state): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    // two names are for two readers: one of them would be deceived (RFC 9112, 3.2)
    if request.headers().get_all(header::HOST).iter().nth(1).is_some() {
        return Err(ApiError::invalid("a request has one Host header"));
    }
    let host = host(request.headers(), request.uri());
    if !state.settings.host_check.allow(host) {
        let message = "this server answers to local host names only";
        return Err(ApiError::new(StatusCode::FORBIDDEN, message));
    }
    if let Some(origin) = request.headers().get(header::ORIGIN)
        && !origin
            .to_str()
            .is_ok_and(|origin| state.settings.origins.allow(origin, host))
    {
        return Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "pages of this origin may not call this server",
        ));
    }
    Ok(next.run(request).await)
}

/// The name the caller used: a part of the address in HTTP/2 and in HTTP/1's absolute form, where it counts and the header does
/// not (RFC 9112, 3.2.2), else a header.
fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    let named = uri.authority().map(|authority| authority.as_str());
    named.or_else(|| headers.get(header::HOST).map(|host| host.to_str().unwrap_or("")))
}

fn cors(state: AppState) -> CorsLayer {
    let known = move |origin: &HeaderValue, parts: &Parts| {
        let host = host(&parts.headers, &parts.uri);
        origin
            .to_str()
            .is_ok_and(|origin| state.settings.origins.allow(origin, host))
    };
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(known))
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::DELETE])
        // SDKs send x-stainless-* and more; a list would be out of date, and the origin is what is
        // checked.
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([
            header::RETRY_AFTER,
            HeaderName::from_static("x-should-retry"),
            access::REQUEST_ID,
            HeaderName::from_static(load_notice::HEADER),
        ])
        .max_age(Duration::from_secs(600))
}
