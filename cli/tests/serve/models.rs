//! What is served: models, health, properties.

use std::time::Duration;

use serde_json::json;

use crate::serve::backend::{KeepAlive, Wanted};
use crate::support::{Scripted, Server, greeting};

fn two_models() -> Scripted {
    let mut backend = Scripted::answering(greeting());
    let mut second = backend.cards[0].clone();
    second.id = "org/second".into();
    backend.cards.push(second);
    backend
}

// O15
#[tokio::test]
async fn the_list_has_what_clients_need_and_llama_servers_meta() {
    let server = Server::answering([]);
    for path in ["/v1/models", "/models"] {
        let list = server.get(path).await.json();
        assert_eq!(list["object"], "list");
        let model = &list["data"][0];
        assert_eq!(model["id"], "tiny");
        assert_eq!(model["object"], "model");
        assert_eq!(model["created"], 1_700_000_000);
        assert!(model["owned_by"].is_string());
        for name in ["n_vocab", "n_ctx_train", "n_embd", "n_params", "size"] {
            assert!(model["meta"][name].is_u64(), "{name}");
        }
        assert_eq!(model["architecture"]["input_modalities"], json!(["text"]));
    }
}

// O15
#[tokio::test]
async fn one_model_can_be_retrieved_also_when_its_name_has_a_slash() {
    let server = Server::new(two_models());
    for path in ["/v1/models/org/second", "/v1/models/org%2Fsecond", "/models/org/second"] {
        assert_eq!(server.get(path).await.json()["id"], "org/second", "{path}");
    }
}

// O15
#[tokio::test]
async fn an_unknown_model_cannot_be_retrieved() {
    let error = Server::answering([])
        .get("/v1/models/other")
        .await
        .error(404, "not_found_error");
    assert_eq!(error["code"], "model_not_found");
}

// O15
#[tokio::test]
async fn a_single_model_answers_to_every_name() {
    let answer = Server::answering(greeting())
        .chat(json!({ "model": "gpt-4o" }))
        .await
        .json();
    assert_eq!(answer["model"], "tiny");
}

// O15
#[tokio::test]
async fn among_several_models_the_name_decides() {
    let server = Server::new(two_models());
    let answer = server.chat(json!({ "model": "org/second" })).await.json();
    assert_eq!(answer["model"], "org/second");
    assert_eq!(server.backend.chat_job().generation.model, "org/second");
    assert_eq!(server.backend.opened(), [Wanted::named(Some("org/second"))]);
    let error = server
        .chat(json!({ "model": "gpt-4o" }))
        .await
        .error(404, "not_found_error");
    assert_eq!(error["code"], "model_not_found");
    server.chat(json!({})).await.refuses("model");
}

#[tokio::test]
async fn health_is_ok_when_ready() {
    let server = Server::answering([]);
    for path in ["/health", "/v1/health"] {
        let reply = server.get(path).await;
        assert_eq!((reply.status.as_u16(), reply.json()), (200, json!({ "status": "ok" })));
    }
}

#[tokio::test]
async fn props_tell_the_types_and_the_price_of_the_kv_cache() {
    let props = Server::answering([]).get("/props").await.json();
    for (name, value) in [
        ("type_k", json!("turbo4")),
        ("type_v", json!("turbo3")),
        ("bytes_per_token", json!(60.5)),
    ] {
        assert_eq!(props["kv"][name], value, "{name}");
    }
    assert_eq!(props["total_slots"], 2);
    assert_eq!(props["default_generation_settings"]["n_ctx"], 4096);
    assert_eq!(props["modalities"], json!({ "vision": false, "audio": false }));
}

#[tokio::test]
async fn the_list_says_which_models_are_loaded() {
    let list = Server::answering([]).get("/models").await.json();
    assert_eq!(list["data"][0]["status"], json!({ "value": "loaded" }));
}

// L7, on the OpenAI surface
#[tokio::test]
async fn chats_and_completions_say_how_long_their_model_stays_and_how_it_is_loaded() {
    let server = Server::answering(greeting());
    let options = json!({ "num_ctx": 2048, "kv_cache_type": "q8_0:turbo4", "temperature": 0 });
    server.chat(json!({ "keep_alive": "10m", "options": options })).await;
    server.complete(json!({ "keep_alive": -1 })).await;
    let opened = server.backend.opened();
    assert_eq!(opened[0].keep_alive, Some(KeepAlive::For(Duration::from_secs(600))));
    assert_eq!(opened[0].n_ctx, Some(2048));
    assert_eq!(opened[0].kv, Some("q8_0/turbo4".parse().unwrap()));
    assert_eq!(opened[1].keep_alive, Some(KeepAlive::Forever));
    assert_eq!((opened[1].n_ctx, opened[1].kv), (None, None));
}

#[tokio::test]
async fn how_a_model_is_wanted_is_checked_before_it_is_opened() {
    let server = Server::answering(greeting());
    server.chat(json!({ "keep_alive": "soon" })).await.refuses("keep_alive");
    server
        .chat(json!({ "options": { "num_ctx": 0 } }))
        .await
        .refuses("num_ctx");
    server
        .chat(json!({ "options": { "kv_cache_type": "turbo9" } }))
        .await
        .refuses("kv_cache_type");
    assert!(server.backend.opened().is_empty());
}

#[tokio::test]
async fn a_model_to_load_or_unload_must_be_named() {
    let server = Server::answering([]);
    for path in ["/models/load", "/models/unload"] {
        server.post(path, json!({})).await.refuses("model");
    }
    let error = server.post("/models/load", json!({ "model": "other" })).await;
    error.error(404, "not_found_error");
}
