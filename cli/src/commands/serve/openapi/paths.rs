//! The routes. A new one is an entry here and, where no schema fits, one in `schemas.json`.

use super::Operation;
use crate::commands::serve::routes::api_unsupported;

const EVENTS: &str = "text/event-stream";
const LINES: &str = "application/x-ndjson";
const MODEL: (&str, &str) = ("model", "The model to look at; it is not loaded for that.");
const NO_SLOT: (&str, &str) = ("fail_on_no_slot", "1: answer 503 when no slot is idle.");

/// Every operation that the server has.
pub fn all() -> Vec<Operation> {
    let mut all = openai();
    all.extend(anthropic());
    all.extend(llama_server());
    all.extend(ollama());
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
        Operation::post("/v1/embeddings", "OpenAI", "Embed texts.", "EmbeddingsRequest")
            .also("/embeddings")
            .json("Embeddings"),
        Operation::post("/v1/responses", "OpenAI", "Answer an input of items.", "Anything")
            .also("/responses")
            .json("Anything")
            .stream(EVENTS),
        Operation::post(
            "/v1/responses/input_tokens",
            "OpenAI",
            "Count the tokens of an input.",
            "Anything",
        )
        .also("/responses/input_tokens")
        .json("Anything"),
    ]
}

fn anthropic() -> Vec<Operation> {
    const TAG: &str = "Anthropic";
    vec![
        Operation::post("/v1/messages", TAG, "Answer a conversation.", "Anything")
            .also("/messages")
            .json("Anything")
            .stream(EVENTS),
        Operation::post(
            "/v1/messages/count_tokens",
            TAG,
            "Count the tokens of a conversation.",
            "Anything",
        )
        .also("/messages/count_tokens")
        .json("Anything"),
    ]
}

/// Schemas of Ollama's bodies are Ollama's to write: its documentation has them.
fn ollama() -> Vec<Operation> {
    const TAG: &str = "Ollama";
    let post = |path, summary| Operation::post(path, TAG, summary, "Anything");
    let get = |path, summary| Operation::get(path, TAG, summary).json("Anything");
    let mut all = vec![
        post("/api/generate", "Continue a text.").json("Anything").stream(LINES),
        post("/api/chat", "Continue a chat.").json("Anything").stream(LINES),
        post("/api/embed", "Embed texts.").json("Anything"),
        post("/api/embeddings", "Embed a text.").json("Anything"),
        get("/api/tags", "List the models on offer."),
        post("/api/show", "Show one of them.").json("Anything"),
        get("/api/ps", "List the models that are loaded."),
        get(
            "/api/version",
            "Show the version of Ollama that this is compatible with.",
        ),
        post("/api/pull", "Download a model.").json("Anything").stream(LINES),
        post("/api/create", "Make an alias with options of its own.")
            .json("Anything")
            .stream(LINES),
        post("/api/copy", "Make an alias."),
        Operation::delete("/api/delete", TAG, "Remove a model.", "Anything"),
        post("/api/blobs/{digest}", "Upload a file."),
        Operation::new("head", "/api/blobs/{digest}", TAG, "Say whether a file was uploaded."),
    ];
    let refused = |path| post(path, "Not supported.").refused();
    all.extend(api_unsupported::PATHS.map(refused));
    all
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
        Operation::post("/slots/{id}", TAG, "Save, restore or erase a slot.", "Anything")
            .query("action", "save, restore or erase.")
            .query(MODEL.0, MODEL.1)
            .json("Anything"),
        Operation::get("/lora-adapters", TAG, "List the LoRA adapters of a model.")
            .query(MODEL.0, MODEL.1)
            .json("LoraAdapters"),
        Operation::post("/lora-adapters", TAG, "Scale them for requests to come.", "LoraScales")
            .query("model", "The model whose adapters they are; it is loaded if need be.")
            .json("Anything"),
        Operation::post("/infill", TAG, "Fill a place in a text.", "Anything")
            .json("NativeCompletion")
            .stream(EVENTS),
        Operation::post(
            "/apply-template",
            TAG,
            "Show the prompt that a chat becomes.",
            "ChatRequest",
        )
        .json("Anything"),
        Operation::post(
            "/v1/rerank",
            TAG,
            "Order documents by what they have to do with a query.",
            "Anything",
        )
        .also("/rerank")
        .also("/v1/reranking")
        .also("/reranking")
        .json("Anything"),
        Operation::post("/models/load", TAG, "Load a model.", "Anything").json("Anything"),
        Operation::post("/models/unload", TAG, "Unload a model.", "Anything").json("Anything"),
    ]
}

fn server() -> Vec<Operation> {
    const TAG: &str = "Server";
    vec![
        Operation::get(
            "/",
            TAG,
            "Say what this is; to browsers (Accept: text/html), the web page.",
        )
        .text("text/plain")
        .open(),
        Operation::get("/web/{file}", TAG, "A file of the web page.").open(),
        Operation::get("/results", TAG, "List the measurements in the folder of --results.").json("ResultList"),
        Operation::get("/results/{name}", TAG, "Show one of them, as it was written.").json("Anything"),
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
