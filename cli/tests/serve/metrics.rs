//! `GET /metrics`: exact counts after known requests.

use std::time::Duration;

use axum::http::Method;
use futures::StreamExt;
use serde_json::json;

use crate::serve::Settings;
use crate::serve::backend::{BackendError, Counts, Done, Event, Finish, PromptCacheUse, SlotStatus};
use crate::serve::guard::ApiKeys;
use crate::support::exposition::Exposition;
use crate::support::{Scripted, Server, Step, Watched, done, greeting, hello, merge, started};

const TTFT: &str = "turboquant_time_to_first_token_seconds";
const ITL: &str = "turboquant_inter_token_seconds";
const QUEUE: &str = "turboquant_queue_seconds";

async fn scrape(server: &Server) -> Exposition {
    let reply = server.get("/metrics").await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    assert_eq!(
        reply.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    Exposition::read(&reply.text)
}

fn outcome(metrics: &Exposition, outcome: &str) -> f64 {
    metrics.value("turboquant_jobs_total", &[("outcome", outcome)])
}

#[tokio::test]
async fn tokens_and_times_add_up_over_answers() {
    let server = Server::answering(greeting());
    server.chat(json!({})).await;
    server.chat(json!({ "stream": true })).await;
    server.complete(json!({})).await;
    let metrics = scrape(&server).await;
    for (name, value) in [
        ("llamacpp:prompt_tokens_total", 15.0),
        ("llamacpp:prompt_seconds_total", 0.03),
        ("llamacpp:tokens_predicted_total", 9.0),
        ("llamacpp:tokens_predicted_seconds_total", 0.18),
        ("turboquant_cached_tokens_total", 12.0),
        ("turboquant_draft_tokens_total", 0.0),
    ] {
        assert_eq!(metrics.kind(name), "counter");
        assert!((metrics.value(name, &[]) - value).abs() < 1e-9, "{name}");
    }
    assert!((metrics.value("llamacpp:prompt_tokens_seconds", &[]) - 500.0).abs() < 1e-6);
    assert!((metrics.value("llamacpp:predicted_tokens_seconds", &[]) - 50.0).abs() < 1e-6);
    assert_eq!(outcome(&metrics, "stop"), 3.0);
}

#[tokio::test]
async fn texts_that_are_embedded_and_reranked_count_as_prompts() {
    let server = Server::answering([]);
    for (path, body, total) in [
        // a token per byte
        ("/v1/embeddings", json!({ "input": "four" }), 4.0),
        ("/api/embed", json!({ "model": "tiny", "input": ["a", "bc"] }), 7.0),
        ("/api/embeddings", json!({ "model": "tiny", "prompt": "xy" }), 9.0),
        // 7 for each request
        ("/v1/rerank", json!({ "query": "x", "documents": ["x", "y"] }), 16.0),
    ] {
        let reply = server.post(path, body).await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        let metrics = scrape(&server).await;
        assert_eq!(metrics.value("llamacpp:prompt_tokens_total", &[]), total, "{path}");
    }
}

#[tokio::test]
async fn histograms_count_jobs_and_gaps_between_their_pieces() {
    let events = [
        started(),
        Event::text("a"),
        Event::text("b"),
        Event::text("c"),
        done(Finish::Length),
    ];
    let server = Server::answering(events);
    server.chat(json!({})).await;
    server.chat(json!({ "n": 2 })).await;
    let metrics = scrape(&server).await;
    for (name, count) in [(QUEUE, 3.0), (TTFT, 3.0), (ITL, 6.0)] {
        assert_eq!(metrics.kind(name), "histogram");
        assert_eq!(metrics.value(&format!("{name}_count"), &[]), count, "{name}");
        assert_eq!(
            metrics.value(&format!("{name}_bucket"), &[("le", "+Inf")]),
            count,
            "{name}"
        );
    }
    assert_eq!(outcome(&metrics, "length"), 3.0);
}

#[tokio::test]
async fn queueing_is_a_part_of_the_time_to_the_first_token() {
    let sleep = || Step::Sleep(Duration::from_millis(20));
    let pieces = [
        sleep(),
        started().into(),
        sleep(),
        Event::text("a").into(),
        sleep(),
        Event::text("b").into(),
    ];
    let script = pieces.into_iter().chain([done(Finish::Stop).into()]).collect();
    let server = Server::new(Scripted::playing([script]));
    server.chat(json!({})).await;
    let metrics = scrape(&server).await;
    let sum = |name: &str| metrics.value(&format!("{name}_sum"), &[]);
    assert!(sum(QUEUE) >= 0.02 && sum(TTFT) >= sum(QUEUE) + 0.02 && sum(ITL) >= 0.02);
}

#[tokio::test]
async fn a_draft_counts_what_it_proposed_and_what_was_taken() {
    let Event::Done(mut end) = done(Finish::Stop) else {
        unreachable!()
    };
    end.timings.draft_n = Some(10);
    end.timings.draft_n_accepted = Some(7);
    let end: Box<Done> = end;
    let server = Server::answering([started(), Event::Done(end)]);
    server.chat(json!({})).await;
    let metrics = scrape(&server).await;
    assert_eq!(metrics.value("turboquant_draft_tokens_total", &[]), 10.0);
    assert_eq!(metrics.value("turboquant_draft_tokens_accepted_total", &[]), 7.0);
}

#[tokio::test]
async fn failures_refusals_and_clients_that_leave_are_told_apart() {
    let failing = Server::answering([started(), Event::Failed(BackendError::invalid("no"))]);
    failing.chat(json!({})).await;
    assert_eq!(outcome(&scrape(&failing).await, "failed"), 1.0);

    let refusing = Server::new(Scripted::refusing(BackendError::Loading));
    refusing.chat(json!({})).await;
    assert_eq!(outcome(&scrape(&refusing).await, "refused"), 1.0);

    let leaving = Server::new(Scripted::playing([vec![
        started().into(),
        Event::text("Hel").into(),
        Step::Hang,
    ]]));
    let response = leaving
        .open("/v1/chat/completions", merge(hello(), json!({ "stream": true })))
        .await;
    let mut body = response.into_body().into_data_stream();
    assert!(body.next().await.is_some());
    drop(body);
    let metrics = scrape(&leaving).await;
    assert_eq!(outcome(&metrics, "cancelled"), 1.0);
    assert_eq!(metrics.value("llamacpp:tokens_predicted_total", &[]), 0.0);
}

#[tokio::test]
async fn requests_are_counted_by_route_and_status() {
    let server = Server::answering(greeting());
    server.chat(json!({})).await;
    server.chat(json!({ "temperature": "hot" })).await;
    server.get("/v1/models/tiny").await;
    server.get("/v1/models/other").await;
    server.get("/no/such/route").await;
    server.get("/v1/chat/completions").await;
    server.call(Method::from_bytes(b"BREW").unwrap(), "/no", &[]).await;
    let metrics = scrape(&server).await;
    for (method, route, status) in [
        ("POST", "/v1/chat/completions", "200"),
        ("POST", "/v1/chat/completions", "400"),
        ("GET", "/v1/models/{*id}", "200"),
        ("GET", "/v1/models/{*id}", "404"),
        // neither the path nor the method that a caller makes up becomes a label
        ("GET", "none", "404"),
        ("other", "none", "404"),
        ("GET", "/v1/chat/completions", "405"),
    ] {
        let labels = [("method", method), ("route", route), ("status", status)];
        assert_eq!(
            metrics.value("turboquant_http_requests_total", &labels),
            1.0,
            "{labels:?}"
        );
    }
    let count = "turboquant_http_request_seconds_count";
    assert_eq!(metrics.value(count, &[("route", "/v1/chat/completions")]), 3.0);
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_counts_as_499() {
    let server = Server::new(Scripted::playing([vec![Step::Hang]]));
    let waiting = tokio::time::timeout(Duration::from_millis(50), server.open("/v1/chat/completions", hello()));
    assert!(waiting.await.is_err(), "no answer yet");
    let labels = [("method", "POST"), ("route", "/v1/chat/completions"), ("status", "499")];
    assert_eq!(
        scrape(&server).await.value("turboquant_http_requests_total", &labels),
        1.0
    );
}

fn busy_backend() -> Scripted {
    let mut backend = Scripted::answering(greeting());
    backend.watched = Watched {
        slots: vec![SlotStatus {
            busy: true,
            ..SlotStatus::default()
        }],
        queued: 3,
        kv_cells_used: 1024,
        prompt_cache: PromptCacheUse {
            limit: Some(9_000_000),
            bytes: 42_000,
            checkpoints: 3,
            checkpoint_bytes: 350,
            ..PromptCacheUse::default()
        },
        ..Watched::default()
    };
    backend
}

#[tokio::test]
async fn gauges_show_what_the_engine_holds_at_the_scrape() {
    let metrics = scrape(&Server::new(busy_backend())).await;
    for (name, value) in [
        ("llamacpp:kv_cache_usage_ratio", 0.25),
        ("llamacpp:kv_cache_tokens", 1024.0),
        ("llamacpp:requests_processing", 1.0),
        ("llamacpp:requests_deferred", 3.0),
    ] {
        assert_eq!(
            (metrics.kind(name), metrics.value(name, &[])),
            ("gauge", value),
            "{name}"
        );
    }
    for (name, value) in [
        ("turboquant_kv_cells_used", 1024.0),
        ("turboquant_kv_cells_total", 4096.0),
        ("turboquant_kv_bytes_used", 1024.0 * 60.5),
        ("turboquant_kv_bytes_total", 500_000.0),
        ("turboquant_kv_bytes_per_token", 60.5),
        ("turboquant_model_bytes", 2_600_000.0),
        ("turboquant_prompt_cache_bytes", 42_350.0),
        ("turboquant_checkpoints", 3.0),
        ("turboquant_prompt_cache_limit_bytes", 9_000_000.0),
        ("turboquant_slots_busy", 1.0),
        ("turboquant_slots_total", 2.0),
        ("turboquant_queued", 3.0),
    ] {
        assert_eq!(metrics.value(name, &[("model", "tiny")]), value, "{name}");
    }
    let types = [("model", "tiny"), ("type_k", "turbo4"), ("type_v", "turbo3")];
    assert_eq!(metrics.value("turboquant_kv_cache_info", &types), 1.0);
    assert!(metrics.value("turboquant_uptime_seconds", &[]) >= 0.0);
}

#[tokio::test]
async fn the_build_names_its_version_and_cache_types() {
    let reply = Server::answering([]).get("/metrics").await;
    let line = reply
        .text
        .lines()
        .find(|line| line.starts_with("turboquant_build_info{"));
    let line = line.expect("a build");
    assert!(
        line.contains(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION"))),
        "{line}"
    );
    assert!(line.contains("turbo4") && line.contains("q8_0"), "{line}");
}

#[tokio::test]
async fn any_model_name_is_a_valid_label() {
    let mut backend = busy_backend();
    let odd = "a\\b \"c\"\nd{e=\"f\"} 1";
    backend.cards[0].id = odd.into();
    let metrics = scrape(&Server::new(backend)).await;
    assert_eq!(metrics.value("turboquant_kv_cells_used", &[("model", odd)]), 1024.0);
}

#[tokio::test]
async fn what_the_engine_does_not_count_is_left_out() {
    let metrics = scrape(&Server::answering([])).await;
    for name in [
        "llamacpp:n_decode_total",
        "llamacpp:n_busy_slots_per_decode",
        "turboquant_model_loads_total",
    ] {
        assert!(!metrics.has(name), "{name}");
    }
    let mut backend = busy_backend();
    backend.watched.counts = Counts {
        loads: Some(4),
        unloads: Some(3),
        decodes: Some(10),
        decoded_slots: Some(25),
    };
    let metrics = scrape(&Server::new(backend)).await;
    assert_eq!(metrics.value("turboquant_model_loads_total", &[]), 4.0);
    assert_eq!(metrics.value("turboquant_model_unloads_total", &[]), 3.0);
    assert_eq!(metrics.value("llamacpp:n_decode_total", &[]), 10.0);
    assert_eq!(metrics.value("llamacpp:n_busy_slots_per_decode", &[]), 2.5);
}

#[tokio::test]
async fn metrics_need_the_key_and_can_be_switched_off() {
    let keys = Settings {
        api_keys: ApiKeys::new(vec!["secret".into()]),
        ..Settings::default()
    };
    let server = Server::with(Scripted::answering([]), keys);
    server.get("/metrics").await.error(401, "authentication_error");

    let off = Settings {
        metrics: false,
        ..Settings::default()
    };
    let server = Server::with(Scripted::answering([]), off);
    server.get("/metrics").await.error(501, "not_supported_error");
}

#[tokio::test]
async fn two_servers_of_one_process_count_apart() {
    let (one, other) = (Server::answering(greeting()), Server::answering(greeting()));
    one.chat(json!({})).await;
    assert_eq!(scrape(&one).await.value("llamacpp:tokens_predicted_total", &[]), 3.0);
    assert_eq!(scrape(&other).await.value("llamacpp:tokens_predicted_total", &[]), 0.0);
}
