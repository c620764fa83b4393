//! Tells a client in a header that its model was loaded for its request, and how: a load that nobody asked for in so many
//! words is said, not silent.

use std::cell::RefCell;

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;

use crate::commands::serve::backend::Opened;

/// The header: `ms=412; n_ctx=4096; kv=q8_0/turbo4`. Absent when the model was loaded as wanted before.
pub const HEADER: &str = "x-turboquant-loaded";

tokio::task_local! {
    /// What the header of the request that this task serves will say.
    static NOTICE: RefCell<Option<String>>;
}

/// Remembers the load, if there was one.
pub fn note(opened: &Opened) {
    if opened.load.is_zero() {
        return;
    }
    let card = &opened.card;
    let text = format!(
        "ms={}; n_ctx={}; kv={}/{}",
        opened.load.as_millis(),
        card.n_ctx,
        card.kv.type_k,
        card.kv.type_v
    );
    // outside a request there is nobody to tell
    let _ = NOTICE.try_with(|notice| notice.replace(Some(text)));
}

/// Adds the header to responses whose request has loaded a model.
pub async fn tell(request: Request, next: Next) -> Response {
    let respond = async {
        let mut response = next.run(request).await;
        let text = NOTICE.with(RefCell::take);
        if let Some(value) = text.and_then(|text| HeaderValue::from_str(&text).ok()) {
            response.headers_mut().insert(HEADER, value);
        }
        response
    };
    NOTICE.scope(RefCell::new(None), respond).await
}
