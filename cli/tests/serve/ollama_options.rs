//! `options` of `/api/generate` and `/api/chat`, and those that a model was made with.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::support::{Log, Server, alias, greeting, hello, merge};

fn server() -> Server {
    Server::answering(greeting())
}

// L11
#[tokio::test]
async fn options_steer_sampling() {
    let server = server();
    let options = json!({
        "seed": 7, "temperature": 0.5, "top_k": 20, "top_p": 0.75, "min_p": 0.125, "typical_p": 0.5,
        "repeat_last_n": 32, "repeat_penalty": 1.5, "presence_penalty": 0.5, "frequency_penalty": 0.25,
        "num_predict": 40, "stop": ["a", "b"],
    });
    server.api_chat(json!({ "options": options })).await.lines();
    let generation = server.backend.chat_job().generation;
    let sampling = generation.sampling;
    assert_eq!(sampling.seed, Some(7));
    assert_eq!((sampling.temperature, sampling.top_k), (Some(0.5), Some(20)));
    assert_eq!(
        (sampling.top_p, sampling.min_p, sampling.typical_p),
        (Some(0.75), Some(0.125), Some(0.5))
    );
    assert_eq!((sampling.repeat_last_n, sampling.repeat_penalty), (Some(32), Some(1.5)));
    assert_eq!(
        (sampling.presence_penalty, sampling.frequency_penalty),
        (Some(0.5), Some(0.25))
    );
    assert_eq!(generation.max_tokens, Some(40));
    assert_eq!(generation.stop, ["a", "b"]);
}

// L11
#[tokio::test]
async fn num_predict_below_one_is_no_limit() {
    for n in [-1, -2, 0] {
        let server = server();
        server
            .api_chat(json!({ "options": { "num_predict": n } }))
            .await
            .lines();
        assert_eq!(server.backend.chat_job().generation.max_tokens, None);
    }
}

// L11
#[tokio::test]
async fn num_ctx_and_kv_cache_type_say_how_to_load() {
    for (text, meant) in [
        ("turbo3", "turbo3"),
        ("q8_0:turbo4", "q8_0/turbo4"),
        ("q8_0/turbo4", "q8_0/turbo4"),
    ] {
        let server = server();
        let options = json!({ "num_ctx": 8192, "kv_cache_type": text });
        server.api_generate(json!({ "options": options })).await.lines();
        let wanted = server.backend.opened().remove(0);
        assert_eq!(wanted.n_ctx, Some(8192));
        assert_eq!(wanted.kv.unwrap().to_string(), meant);
    }
}

// L11
#[tokio::test]
async fn a_smaller_num_ctx_is_the_context_of_the_job() {
    for (asked, given) in [(Some(1000), 1000), (Some(100_000), 4096), (None, 4096)] {
        let server = server();
        server
            .api_chat(json!({ "options": { "num_ctx": asked } }))
            .await
            .lines();
        assert_eq!(server.backend.chat_job().generation.n_ctx, Some(given), "{asked:?}");
    }
}

// L11
#[tokio::test]
async fn an_unknown_option_is_warned_about_by_name_and_a_known_one_is_not() {
    let log = Log::start();
    let server = server();
    let options = json!({ "tfs_z": 1, "mistyped\n": 2, "num_gpu": 1, "top_k": 3 });
    let body = merge(hello(), json!({ "model": "tiny", "options": options }));
    let request = Request::post("/api/chat").header("x-request-id", "unknown-option");
    let reply = server.send(request.body(Body::from(body.to_string())).unwrap()).await;
    reply.lines();
    let warnings: Vec<Value> = log
        .lines("unknown-option")
        .into_iter()
        .filter(|line| line["level"] == "WARN")
        .map(|line| line["fields"].clone())
        .collect();
    let about = |name: &str| json!({ "message": "unknown option ignored", "option": format!("{name:?}") });
    assert_eq!(warnings, [about("tfs_z"), about("mistyped\n")]);
}

// L11
#[tokio::test]
async fn options_of_the_machine_and_unknown_ones_are_taken() {
    let options = json!({
        "num_batch": 512, "num_gpu": -1, "main_gpu": 0, "use_mmap": true, "num_thread": 4, "num_keep": 24,
        "draft_num_predict": 4, "num_ctx": 0, "tfs_z": 1, "num_gqa": "what", "low_vram": null,
    });
    let server = server();
    server
        .api_chat(json!({ "options": options, "shift": false, "unknown": 1 }))
        .await
        .lines();
    assert_eq!(server.backend.opened()[0].n_ctx, None);
}

// L11
#[tokio::test]
async fn options_out_of_range_are_400_and_named() {
    let server = server();
    for (name, wrong) in [
        ("num_ctx", json!(-1)),
        ("num_ctx", json!(1e10)),
        ("num_ctx", json!("4096")),
        ("num_batch", json!(0)),
        ("num_gpu", json!(-2)),
        ("main_gpu", json!(-1)),
        ("use_mmap", json!(1)),
        ("num_thread", json!(1.5)),
        ("num_keep", json!(-2)),
        ("draft_num_predict", json!(-1)),
        ("seed", json!(-2)),
        ("num_predict", json!(-3)),
        ("top_k", json!(-2)),
        ("top_p", json!(1.5)),
        ("min_p", json!(-0.5)),
        ("typical_p", json!("x")),
        ("repeat_last_n", json!(-2)),
        ("temperature", json!(-1)),
        ("repeat_penalty", json!(0)),
        ("presence_penalty", json!(3)),
        ("frequency_penalty", json!(-3)),
        ("stop", json!(5)),
        ("kv_cache_type", json!("turbo9")),
        ("kv_cache_type", json!(4)),
        ("kv_cache_type", json!("q8_0:turbo4:f16")),
    ] {
        let text = server.api_chat(json!({ "options": { name: wrong } })).await.says(400);
        assert!(text.contains(name), "{name}: {text}");
    }
    server.api_chat(json!({ "options": [] })).await.says(400);
    assert_eq!(server.backend.started(), 0);
}

// L11
#[tokio::test]
async fn what_a_request_leaves_open_is_as_the_model_was_made() {
    let server = alias();
    server.api_chat(json!({ "options": { "top_k": 3 } })).await.lines();
    let job = server.backend.chat_job();
    assert_eq!(job.generation.sampling.temperature, Some(0.25));
    assert_eq!(job.generation.sampling.top_k, Some(3));
    assert_eq!(job.generation.stop, ["END"]);
    assert_eq!(server.backend.opened()[0].n_ctx, Some(1024));
    assert_eq!(
        job.prompt.messages,
        json!([{ "role": "system", "content": "Be brief." }, { "role": "user", "content": "hello" }])
    );
}
