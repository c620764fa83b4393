//! `POST /tokenize`: text to tokens, as llama-server has it.

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::commands::serve::backend::{TokenPiece, TokenizeJob};
use crate::commands::serve::body::{Body, Fields};
use crate::commands::serve::error::ApiError;
use crate::commands::serve::openai::generation::wanted;
use crate::commands::serve::state::{AppState, blocking};

/// The route.
pub fn router() -> Router<AppState> {
    Router::new().route("/tokenize", post(tokenize))
}

async fn tokenize(State(state): State<AppState>, Body(body): Body) -> Result<Json<Value>, ApiError> {
    let fields = Fields(&body);
    let model = state.open(wanted(fields)?).await?;
    let job = TokenizeJob {
        model: model.card.id.clone(),
        content: fields
            .str("content")?
            .ok_or_else(|| ApiError::param("content", "is required"))?
            .to_owned(),
        add_special: fields.bool("add_special")?.unwrap_or(false),
        parse_special: fields.bool("parse_special")?.unwrap_or(true),
    };
    let with_pieces = fields.bool("with_pieces")?.unwrap_or(false);
    let pieces = blocking(move || state.backend.tokenize(job)).await?;
    let tokens: Vec<Value> = pieces.into_iter().map(|piece| describe(piece, with_pieces)).collect();
    Ok(Json(json!({ "tokens": tokens })))
}

fn describe(TokenPiece { id, bytes }: TokenPiece, with_piece: bool) -> Value {
    if !with_piece {
        return json!(id);
    }
    // A token can hold a part of a character; JSON text cannot.
    match String::from_utf8(bytes) {
        Ok(text) => json!({ "id": id, "piece": text }),
        Err(error) => json!({ "id": id, "piece": error.into_bytes() }),
    }
}
