//! Looks at the server that change nothing: `/slots`, `/props`, `/health`.

use serde_json::{Value, json};

use crate::serve::Settings;
use crate::serve::backend::{Health, Inside, KvDevice, KvLayer, PromptCacheUse, SlotStatus};
use crate::support::{Scripted, Server, Watched};

fn busy_slot(id: u32) -> SlotStatus {
    SlotStatus {
        id,
        busy: true,
        n_cached: 120,
        n_prompt: 200,
        n_prompt_done: 128,
        n_decoded: 7,
    }
}

fn watched(watched: Watched) -> Scripted {
    let mut backend = Scripted::answering([]);
    backend.watched = watched;
    backend
}

fn busy(slots: u32) -> Server {
    Server::new(watched(Watched {
        slots: (0..slots).map(busy_slot).collect(),
        queued: 5,
        kv_cells_used: 1000,
        ..Watched::default()
    }))
}

/// Two models are loaded, a third could be.
fn three_models() -> Server {
    let mut backend = watched(Watched {
        unloaded: vec!["third".into()],
        ..Watched::default()
    });
    let mut second = backend.cards[0].clone();
    second.id = "org/second".into();
    second.slots = 1;
    backend.cards.push(second);
    Server::new(backend)
}

// O17: this is where a client's leaving shows.
#[tokio::test]
async fn slots_show_what_runs_where() {
    let slots = busy(1).get("/slots").await.json();
    let first = json!({
        "id": 0, "model": "tiny", "n_ctx": 4096, "is_processing": true,
        "n_prompt_tokens": 200, "n_prompt_tokens_processed": 128, "n_cached_tokens": 120,
        "next_token": { "has_next_token": true, "n_decoded": 7 },
    });
    assert_eq!(slots[0], first);
    assert_eq!(
        (&slots[1]["id"], &slots[1]["is_processing"]),
        (&json!(1), &json!(false))
    );
    assert_eq!(
        slots[1]["next_token"],
        json!({ "has_next_token": false, "n_decoded": 0 })
    );
    assert_eq!(slots.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn a_balancer_that_asks_for_an_idle_slot_gets_503_without_one() {
    for path in ["/slots?fail_on_no_slot=1", "/health?fail_on_no_slot=1"] {
        assert_eq!(busy(1).get(path).await.status, 200, "{path}");
        busy(2).get(path).await.error(503, "unavailable_error");
    }
    assert_eq!(busy(2).get("/slots?fail_on_no_slot=0").await.status, 200);
}

#[tokio::test]
async fn slots_of_one_model_or_of_all() {
    let server = three_models();
    let count = |slots: Value| slots.as_array().unwrap().len();
    assert_eq!(count(server.get("/slots").await.json()), 3);
    assert_eq!(count(server.get("/slots?model=org/second").await.json()), 1);
    assert_eq!(count(server.get("/slots?model=third").await.json()), 0);
    let error = server.get("/slots?model=fourth").await.error(404, "not_found_error");
    assert_eq!(error["code"], "model_not_found");
}

#[tokio::test]
async fn the_list_of_slots_can_be_switched_off() {
    let settings = Settings {
        slots: false,
        ..Settings::default()
    };
    let server = Server::with(Scripted::answering([]), settings);
    server.get("/slots").await.error(501, "not_supported_error");
}

#[tokio::test]
async fn props_have_llama_servers_fields() {
    let backend = watched(Watched {
        inside: Some(Inside {
            template_caps: json!({ "supports_tools": true }).as_object().unwrap().clone(),
            ..Inside::default()
        }),
        ..Watched::default()
    });
    let props = Server::new(backend).get("/props").await.json();
    assert_eq!(props["loaded"], true);
    assert_eq!(props["total_slots"], 2);
    assert_eq!(props["model_alias"], "tiny");
    assert_eq!(props["model_path"], "tiny.gguf");
    assert_eq!(props["chat_template"], "{{ messages }}");
    assert_eq!(props["chat_template_caps"], json!({ "supports_tools": true }));
    assert_eq!(props["modalities"], json!({ "vision": false, "audio": false }));
    assert!(props["build_info"].as_str().unwrap().starts_with("turboquant-"));
    let defaults = &props["default_generation_settings"];
    assert_eq!(defaults["n_ctx"], 4096);
    assert_eq!(
        (&defaults["params"]["temperature"], &defaults["params"]["top_k"]),
        (&json!(0.8), &json!(40))
    );
    assert_eq!(defaults["params"]["seed"], u32::MAX);
}

#[tokio::test]
async fn props_show_the_cache_in_use_its_layers_and_what_else_would_run() {
    let backend = watched(Watched {
        kv_cells_used: 1000,
        prompt_cache: PromptCacheUse {
            limit: Some(9_000_000),
            entries: 2,
            tokens: 700,
            bytes: 42_350,
            ..PromptCacheUse::default()
        },
        inside: Some(Inside {
            kv_layers: vec![KvLayer {
                layer: 3,
                type_k: "q8_0".into(),
                type_v: "turbo3".into(),
            }],
            kv_supported: vec![KvDevice {
                device: "CPU".into(),
                pairs: vec![("turbo4".into(), "turbo4".into())],
            }],
            kv_bytes_per_token_f16: Some(256.0),
            ..Inside::default()
        }),
        ..Watched::default()
    });
    let props = Server::new(backend).get("/props").await.json();
    let kv = json!({
        "type_k": "turbo4", "type_v": "turbo3", "bytes_per_token": 60.5, "bytes_per_token_f16": 256.0,
        "cells_total": 4096, "cells_used": 1000, "bytes_total": 500_000, "bytes_used": 60_500.0,
        "prompt_cache": { "bytes": 42_350, "limit": 9_000_000, "prompts": 2, "tokens": 700 },
        "layers": [{ "layer": 3, "type_k": "q8_0", "type_v": "turbo3" }],
        "supported": [{ "device": "CPU", "pairs": [["turbo4", "turbo4"]] }],
    });
    assert_eq!(props["kv"], kv);
}

#[tokio::test]
async fn a_look_never_loads_a_model() {
    let server = three_models();
    let props = server.get("/props?model=third").await.json();
    assert_eq!(
        (&props["loaded"], &props["model_alias"]),
        (&json!(false), &json!("third"))
    );
    assert_eq!(props["chat_template"], "{{ messages }}");
    assert!(props.get("kv").is_none());
    for path in [
        "/props",
        "/props?model=tiny",
        "/slots",
        "/slots?model=third",
        "/metrics",
        "/health",
        "/v1/models",
    ] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    assert_eq!(server.backend.opened(), []);
}

#[tokio::test]
async fn props_without_a_name_among_several_are_the_servers() {
    let props = three_models().get("/props").await.json();
    assert_eq!(props["role"], "router");
    assert_eq!(props["models_loaded"], json!(["tiny", "org/second"]));
    assert_eq!(props["total_slots"], 3);
    three_models()
        .get("/props?model=fourth")
        .await
        .error(404, "not_found_error");
}

#[tokio::test]
async fn a_single_model_has_its_props_under_every_name() {
    let props = Server::answering([]).get("/props?model=gpt-4o").await.json();
    assert_eq!(props["model_alias"], "tiny");
}

#[tokio::test]
async fn props_cannot_be_changed() {
    let reply = Server::answering([])
        .post("/props", json!({ "system_prompt": "hi" }))
        .await;
    reply.error(501, "not_supported_error");
    assert_eq!(reply.header("x-should-retry"), Some("false"));
}

// O11
#[tokio::test]
async fn while_a_model_loads_looks_get_503_and_metrics_do_not() {
    let server = Server::new(Scripted::answering([]).with_health(Health::Loading));
    for path in ["/props", "/slots", "/health"] {
        let error = server.get(path).await.error(503, "unavailable_error");
        assert_eq!(error["message"], "Loading model", "{path}");
    }
    assert_eq!(server.get("/metrics").await.status, 200);
}

#[tokio::test]
async fn health_tells_the_slots_when_asked() {
    let health = busy(1).get("/health?include_slots=1").await.json();
    let all = json!({ "status": "ok", "slots_idle": 1, "slots_processing": 1, "queued": 5 });
    assert_eq!(health, all);
}
