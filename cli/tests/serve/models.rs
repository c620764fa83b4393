//! What is served: models, health, properties.

use serde_json::json;

use crate::serve::backend::Wanted;
use crate::support::{Scripted, Server, greeting};

fn two_models() -> Scripted {
    let mut backend = Scripted::answering(greeting());
    let mut second = backend.cards[0].clone();
    second.id = "org/second".into();
    backend.cards.push(second);
    backend
}

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
    }
}

#[tokio::test]
async fn one_model_can_be_retrieved_also_when_its_name_has_a_slash() {
    let server = Server::new(two_models());
    for path in ["/v1/models/org/second", "/v1/models/org%2Fsecond", "/models/org/second"] {
        assert_eq!(server.get(path).await.json()["id"], "org/second", "{path}");
    }
}

#[tokio::test]
async fn an_unknown_model_cannot_be_retrieved() {
    let error = Server::answering([])
        .get("/v1/models/other")
        .await
        .error(404, "not_found_error");
    assert_eq!(error["code"], "model_not_found");
}

#[tokio::test]
async fn a_single_model_answers_to_every_name() {
    let answer = Server::answering(greeting())
        .chat(json!({ "model": "gpt-4o" }))
        .await
        .json();
    assert_eq!(answer["model"], "tiny");
}

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
async fn the_root_says_what_this_is() {
    let reply = Server::answering([]).get("/").await;
    assert!(reply.text.contains("turboquant is running"));
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
