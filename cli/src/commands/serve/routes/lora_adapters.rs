//! `GET /lora-adapters` and `POST /lora-adapters`: the adapters of a model, and their scales for requests that name none.

use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::commands::serve::backend::{LoraStatus, Wanted};
use crate::commands::serve::body::List;
use crate::commands::serve::error::ApiError;
use crate::commands::serve::observe::Subject;
use crate::commands::serve::openai::lora::scales;
use crate::commands::serve::state::{AppState, blocking};

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/lora-adapters", get(list).post(scale))
}

#[derive(Deserialize)]
struct Asked {
    model: Option<String>,
}

/// A model that is not loaded has none yet.
async fn list(State(state): State<AppState>, Query(asked): Query<Asked>) -> Result<Json<Value>, ApiError> {
    let id = match Subject::find(&state, asked.model).await? {
        Subject::Loaded(running, _) => running.card.id,
        Subject::Unloaded(..) => return Ok(Json(json!([]))),
        Subject::Server => {
            let message = "is required, because several models are served: /lora-adapters?model=NAME";
            return Err(ApiError::param("model", message));
        }
    };
    let adapters = blocking(move || state.backend.loras(&id)).await?;
    Ok(Json(adapters.iter().map(describe).collect()))
}

/// The scales are those of the model as it is loaded: when it is loaded again, they are as the options say.
async fn scale(
    State(state): State<AppState>,
    Query(asked): Query<Asked>,
    List(body): List,
) -> Result<Json<Value>, ApiError> {
    let model = state.open(Wanted::named(asked.model.as_deref())).await?;
    let scales = scales(&body, "lora", &model.card)?;
    let backend = Arc::clone(&state.backend);
    blocking(move || backend.scale_loras(&model.card.id, &scales)).await?;
    Ok(Json(json!({ "success": true })))
}

/// llama-server's fields, and the name.
fn describe(adapter: &LoraStatus) -> Value {
    json!({
        "id": adapter.id,
        "path": adapter.path.display().to_string(),
        "name": adapter.name,
        "scale": adapter.scale,
        "task_name": adapter.task_name,
        "prompt_prefix": adapter.prompt_prefix,
    })
}
