//! LoRA adapters: `lora` of a request, and `/lora-adapters`.

use crate::serve::backend::{LoraScale, LoraStatus};
use crate::support::{Scripted, Server, card, greeting, hello, merge};
use serde_json::{Value, json};

/// A server whose model has two adapters.
fn server() -> Server {
    let mut backend = Scripted::answering(greeting());
    backend.cards[0].loras = 2;
    let adapter = |id: u32, name: &str, scale| LoraStatus {
        id,
        path: format!("adapters/{name}.gguf").into(),
        name: name.into(),
        scale,
        ..LoraStatus::default()
    };
    backend.watched.loras = vec![adapter(0, "style", 1.0), adapter(1, "tone", 0.0)];
    Server::new(backend)
}

const fn scale(id: u32, scale: f32) -> LoraScale {
    LoraScale { id, scale }
}

#[tokio::test]
async fn a_request_says_which_adapters_it_wants() {
    let server = server();
    let lora = json!({ "lora": [{ "id": 1, "scale": 0.5 }, { "id": 0, "scale": -1 }] });
    assert_eq!(server.chat(lora.clone()).await.status, 200);
    let wanted = Some(vec![scale(1, 0.5), scale(0, -1.0)]);
    assert_eq!(server.backend.chat_job().generation.lora, wanted);
    for path in ["/v1/completions", "/completion"] {
        let body = merge(json!({ "prompt": "Once" }), lora.clone());
        assert_eq!(server.post(path, body).await.status, 200, "{path}");
        let job = server.backend.completions().pop().unwrap();
        assert_eq!(job.generation.lora, wanted, "{path}");
    }
}

#[tokio::test]
async fn a_request_without_the_field_leaves_it_to_the_server_and_an_empty_list_wants_none() {
    let server = server();
    for (extra, expected) in [
        (json!({}), None),
        (json!({ "lora": null }), None),
        (json!({ "lora": [] }), Some(Vec::new())),
    ] {
        server.complete(extra).await;
        assert_eq!(server.backend.completions().pop().unwrap().generation.lora, expected);
    }
}

/// Lists that are wrong for a model with two adapters.
fn wrong() -> Vec<Value> {
    vec![
        json!([{ "id": 2, "scale": 1 }]),
        json!([{ "id": -1, "scale": 1 }]),
        json!([{ "id": 0.5, "scale": 1 }]),
        json!([{ "id": "0", "scale": 1 }]),
        json!([{ "scale": 1 }]),
        json!([{ "id": 0 }]),
        json!([{ "id": 0, "scale": "1" }]),
        json!([{ "id": 0, "scale": 1e39 }]),
        json!([{ "id": 0, "scale": 1 }, { "id": 0, "scale": 0 }]),
        json!([0]),
        json!(["adapters/style.gguf"]),
    ]
}

#[tokio::test]
async fn a_wrong_list_is_the_requests_mistake() {
    let server = server();
    for list in wrong().into_iter().chain([json!(0), json!({ "id": 0, "scale": 1 })]) {
        server.chat(json!({ "lora": list })).await.refuses("lora");
        server.complete(json!({ "lora": list })).await.refuses("lora");
    }
    assert_eq!(server.backend.started(), 0);
}

#[tokio::test]
async fn an_unknown_adapter_is_refused_with_those_that_there_are() {
    let message = |reply: crate::support::Reply| reply.json()["error"]["message"].as_str().unwrap().to_owned();
    let lora = |id: u32| json!({ "lora": [{ "id": id, "scale": 1 }] });
    let text = message(server().chat(lora(7)).await);
    assert!(text.contains('7') && text.contains("ids 0 to 1"), "{text}");
    let text = message(Server::answering(greeting()).chat(lora(0)).await);
    assert!(text.contains("--lora"), "{text}");
}

#[tokio::test]
async fn the_list_of_adapters_has_llama_servers_fields() {
    let adapters = server().get("/lora-adapters").await.json();
    assert_eq!(
        adapters[0],
        json!({
            "id": 0, "path": "adapters/style.gguf", "name": "style", "scale": 1.0, "task_name": "", "prompt_prefix": ""
        })
    );
    assert_eq!((&adapters[1]["id"], &adapters[1]["scale"]), (&json!(1), &json!(0.0)));
    assert_eq!(
        Server::answering(greeting()).get("/lora-adapters").await.json(),
        json!([])
    );
}

#[tokio::test]
async fn adapters_are_scaled_for_all_requests() {
    let server = server();
    let reply = server.post("/lora-adapters", json!([{ "id": 1, "scale": 0.25 }])).await;
    assert_eq!((reply.status.as_u16(), reply.json()), (200, json!({ "success": true })));
    assert_eq!(server.backend.scaled(), [vec![scale(1, 0.25)]]);
}

#[tokio::test]
async fn a_body_that_scales_nothing_known_is_refused() {
    let server = server();
    for list in wrong() {
        server.post("/lora-adapters", list).await.refuses("lora");
    }
    for body in [json!({ "id": 0, "scale": 1 }), json!(1), Value::Null] {
        server
            .post("/lora-adapters", body)
            .await
            .error(400, "invalid_request_error");
    }
    assert!(server.backend.scaled().is_empty());
}

#[tokio::test]
async fn of_several_models_one_has_to_be_named() {
    let mut backend = Scripted::answering(greeting());
    backend.cards = vec![card("a"), card("b")];
    backend.cards[1].loras = 1;
    let server = Server::new(backend);
    server.get("/lora-adapters").await.refuses("model");
    assert_eq!(server.get("/lora-adapters?model=b").await.status, 200);
    server.get("/lora-adapters?model=c").await.error(404, "not_found_error");
    let list = json!([{ "id": 0, "scale": 1 }]);
    server
        .post("/lora-adapters?model=a", list.clone())
        .await
        .refuses("lora");
    assert_eq!(server.post("/lora-adapters?model=b", list).await.status, 200);
    let named = merge(hello(), json!({ "model": "a", "lora": [{ "id": 0, "scale": 1 }] }));
    server.post("/v1/chat/completions", named).await.refuses("lora");
}
