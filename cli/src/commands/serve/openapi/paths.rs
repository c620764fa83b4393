//! The routes. A new one is an entry here and, where no schema fits, one in `schemas.json`.

use super::Operation;

const EVENTS: &str = "text/event-stream";
const MODEL: (&str, &str) = ("model", "The model to look at; it is not loaded for that.");
const NO_SLOT: (&str, &str) = ("fail_on_no_slot", "1: answer 503 when no slot is idle.");

/// Every operation that the server has.
pub fn all() -> Vec<Operation> {
    let mut all = openai();
    all.extend(llama_server());
    all.extend(server());
    all
}

fn openai() -> Vec<Operation> {
    vec![
        Operation::post("/v1/chat/completions", "OpenAI", "Continue a chat.", "ChatRequest")
            .also("/chat/completions")
            .json("ChatCompletion")
            .stream(EVENTS),
        Operation::post("/v1/completions", "OpenAI", "Continue a text.", "CompletionRequest")
            .also("/completions")
            .json("Completion")
            .stream(EVENTS),
        Operation::get("/v1/models", "OpenAI", "List the models on offer.")
            .also("/models")
            .json("ModelList"),
        Operation::get("/v1/models/{id}", "OpenAI", "Show one of them.")
            .also("/models/{id}")
            .json("Model"),
    ]
}

fn llama_server() -> Vec<Operation> {
    const TAG: &str = "llama-server";
    vec![
        Operation::post("/completion", TAG, "Continue a text.", "CompletionRequest")
            .json("NativeCompletion")
            .stream(EVENTS),
        Operation::post("/tokenize", TAG, "Split a text into tokens.", "TokenizeRequest").json("Tokens"),
        Operation::post("/detokenize", TAG, "Join tokens to a text.", "DetokenizeRequest").json("Content"),
        Operation::get("/props", TAG, "Show how the server is set up.")
            .query(MODEL.0, MODEL.1)
            .json("Props"),
        Operation::post("/props", TAG, "Not supported.", "Anything").refused(),
        Operation::get("/slots", TAG, "Show what each slot is doing.")
            .query(MODEL.0, MODEL.1)
            .query(NO_SLOT.0, NO_SLOT.1)
            .json("Slots"),
    ]
}

fn server() -> Vec<Operation> {
    const TAG: &str = "Server";
    vec![
        Operation::get("/", TAG, "Say what this is.").text("text/plain").open(),
        Operation::get("/health", TAG, "Say whether requests are served.")
            .also("/v1/health")
            .query(NO_SLOT.0, NO_SLOT.1)
            .query("include_slots", "1: count slots and waiting jobs too.")
            .json("Health")
            .open(),
        Operation::get("/metrics", TAG, "Metrics for Prometheus, text format 0.0.4.").text("text/plain"),
        Operation::get("/openapi.json", TAG, "This document.").json("Anything"),
    ]
}
