//! Numbers and shapes that are refused before they reach the engine, and those that are taken.

use serde_json::{Value, json};

use crate::serve::backend::Constraint;
use crate::support::{Server, greeting};

/// Sends `value` as `name` to both endpoints and expects both to refuse it by name.
async fn refused(name: &str, value: Value) {
    let server = Server::answering(greeting());
    for reply in [
        server.chat(json!({ name: value })).await,
        server.complete(json!({ name: value })).await,
    ] {
        reply.refuses(name);
    }
}

// O11
#[tokio::test]
async fn numbers_out_of_range_are_refused_by_name() {
    for (name, values) in [
        ("temperature", [-0.1, 101.0, 1e300]),
        ("top_p", [-0.1, 1.1, 1e300]),
        ("top_k", [-2.0, 1e300, 0.5]),
        ("min_p", [-0.1, 1.1, 1e300]),
        ("typical_p", [-0.1, 1.1, 1e300]),
        ("top_n_sigma", [-2.0, 101.0, 1e300]),
        ("repeat_penalty", [0.0, -1.0, 1e300]),
        ("repetition_penalty", [0.0, -1.0, 1e300]),
        ("repeat_last_n", [-2.0, 1e300, 0.5]),
        ("presence_penalty", [-2.1, 2.1, 1e300]),
        ("frequency_penalty", [-2.1, 2.1, 1e300]),
        ("xtc_probability", [-0.1, 1.1, 1e300]),
        ("xtc_threshold", [-0.1, 1.1, 1e300]),
        ("dry_multiplier", [-0.1, 101.0, 1e300]),
        ("dry_base", [0.5, 101.0, 1e300]),
        ("dry_allowed_length", [-1.0, 1e300, 0.5]),
        ("dry_penalty_last_n", [-2.0, 1e300, 0.5]),
        ("typ_p", [-0.1, 1.1, 1e300]),
        ("min_keep", [-1.0, 1e300, 0.5]),
        ("dynatemp_range", [-0.1, 101.0, 1e300]),
        ("dynatemp_exponent", [-0.1, 101.0, 1e300]),
        ("adaptive_target", [-1.1, 1.1, 1e300]),
        ("adaptive_decay", [-0.1, 1.0, 1e300]),
        ("thinking_budget_tokens", [-2.0, 1e300, 0.5]),
        ("reasoning_budget", [-2.0, 1e300, 0.5]),
        ("mirostat", [-1.0, 3.0, 0.5]),
        ("mirostat_tau", [-1.0, 101.0, 1e300]),
        ("mirostat_eta", [-0.1, 1.1, 1e300]),
        ("max_tokens", [-2.0, 1e300, 0.5]),
        ("max_completion_tokens", [-2.0, 1e300, 0.5]),
        ("n_predict", [-2.0, 1e300, 0.5]),
        ("seed", [-2.0, 1e300, 0.5]),
        ("n", [0.0, -1.0, 3.0]),
    ] {
        for value in values {
            refused(name, json!(value)).await;
        }
    }
}

#[tokio::test]
async fn values_of_the_wrong_type_are_refused_by_name() {
    for name in ["temperature", "top_k", "max_tokens", "seed", "n", "stop", "logit_bias"] {
        refused(name, json!({ "a": true })).await;
    }
    for name in [
        "temperature",
        "top_p",
        "max_tokens",
        "seed",
        "stream",
        "response_format",
        "stream_options",
    ] {
        refused(name, json!("1")).await;
    }
    for name in ["grammar", "model", "cache_prompt", "ignore_eos", "json_schema"] {
        refused(name, json!(1)).await;
    }
}

#[tokio::test]
async fn null_means_absent_everywhere() {
    let names = [
        "temperature",
        "top_k",
        "max_tokens",
        "stop",
        "seed",
        "n",
        "stream",
        "logit_bias",
        "tools",
    ];
    let nulls: Value = names.iter().map(|name| (name.to_string(), Value::Null)).collect();
    let server = Server::answering(greeting());
    assert_eq!(server.chat(nulls).await.status, 200);
    let generation = server.backend.chat_job().generation;
    assert_eq!(generation.sampling, Default::default());
    assert_eq!((generation.max_tokens, generation.cache_prompt), (None, true));
}

// O13
#[tokio::test]
async fn unknown_fields_are_ignored() {
    let extra = json!({ "user": "u", "store": false, "metadata": {}, "frobnicate": [1] });
    assert_eq!(Server::answering(greeting()).chat(extra).await.status, 200);
}

#[tokio::test]
async fn sampling_fields_arrive() {
    let server = Server::answering(greeting());
    let body = json!({
        "temperature": 0.5,
        "top_k": 40.0,
        "repetition_penalty": 1.1,
        "repeat_last_n": -1,
    });
    server.chat(body).await;
    let sampling = server.backend.chat_job().generation.sampling;
    assert_eq!(sampling.temperature, Some(0.5));
    assert_eq!(sampling.top_k, Some(40));
    assert_eq!(sampling.repeat_penalty, Some(1.1));
    assert_eq!(sampling.repeat_last_n, Some(-1));
    assert_eq!(sampling.top_p, None);
}

#[tokio::test]
async fn samplers_go_by_name_or_letter_in_the_order_given() {
    use llama_turboquant::engine::sampler::SamplerKind::{MinP, Temperature, TopK, TypicalP};
    for samplers in [json!(["top_k", "typ_p", "min_p", "temperature"]), json!("kymt")] {
        let server = Server::answering(greeting());
        server.chat(json!({ "samplers": samplers })).await;
        let sampling = server.backend.chat_job().generation.sampling;
        assert_eq!(sampling.samplers, Some(vec![TopK, TypicalP, MinP, Temperature]));
    }
    for wrong in [json!(["top_z"]), json!([7]), json!("?"), json!(7)] {
        refused("samplers", wrong).await;
    }
}

/// DRY reads the whole vocabulary whenever it is made; ten kilobytes of `d` would make ten thousand of it.
#[tokio::test]
async fn each_sampler_may_be_named_once() {
    refused("samplers", json!("d".repeat(10_000))).await;
    refused("samplers", json!(["top_k", "dry", "top_k"])).await;
}

#[tokio::test]
async fn what_few_ask_for_arrives_too() {
    let server = Server::answering(greeting());
    let body = json!({
        "dynatemp_range": 0.5,
        "dynatemp_exponent": 1.5,
        "adaptive_target": 0.25,
        "adaptive_decay": 0.5,
        "min_keep": 3,
        "dry_sequence_breakers": ["\n", ":"],
        "thinking_budget_tokens": 64,
        "reasoning_budget_message": "enough",
    });
    server.chat(body).await;
    let sampling = server.backend.chat_job().generation.sampling;
    assert_eq!(
        (sampling.dynatemp_range, sampling.dynatemp_exponent),
        (Some(0.5), Some(1.5))
    );
    assert_eq!(
        (sampling.adaptive_target, sampling.adaptive_decay),
        (Some(0.25), Some(0.5))
    );
    assert_eq!((sampling.min_keep, sampling.reasoning_budget), (Some(3), Some(64)));
    assert_eq!(
        sampling.dry_sequence_breakers,
        Some(vec!["\n".to_owned(), ":".to_owned()])
    );
    assert_eq!(sampling.reasoning_budget_message.as_deref(), Some("enough"));
    for wrong in [json!([""]), json!([7]), json!(vec!["x"; 65]), json!("x")] {
        refused("dry_sequence_breakers", wrong).await;
    }
}

async fn limit(body: Value) -> Option<u32> {
    let server = Server::answering(greeting());
    assert_eq!(server.chat(body).await.status, 200);
    server.backend.chat_job().generation.max_tokens
}

// O12
#[tokio::test]
async fn both_names_of_the_token_limit_work_and_the_newer_wins() {
    assert_eq!(limit(json!({ "max_tokens": 5 })).await, Some(5));
    assert_eq!(limit(json!({ "max_completion_tokens": 6 })).await, Some(6));
    assert_eq!(
        limit(json!({ "max_tokens": 5, "max_completion_tokens": 6 })).await,
        Some(6)
    );
}

// O12
#[tokio::test]
async fn minus_one_is_no_limit_zero_is_zero_and_more_than_the_context_is_fine() {
    assert_eq!(limit(json!({ "max_tokens": -1 })).await, None);
    assert_eq!(limit(json!({ "max_tokens": 0 })).await, Some(0));
    assert_eq!(limit(json!({ "max_tokens": 1_000_000 })).await, Some(1_000_000));
}

async fn seed(value: Value) -> Option<i64> {
    let server = Server::answering(greeting());
    assert_eq!(server.chat(json!({ "seed": value })).await.status, 200);
    server.backend.chat_job().generation.sampling.seed
}

#[tokio::test]
async fn a_seed_is_kept_a_large_one_folded_and_minus_one_is_random() {
    assert_eq!(seed(json!(42)).await, Some(42));
    assert_eq!(seed(json!(-1)).await, None);
    assert_eq!(seed(json!(u32::MAX)).await, None);
    let large = seed(json!(i64::MAX)).await;
    assert!(large.is_some() && large < Some(u32::MAX.into()));
    assert_eq!(large, seed(json!(i64::MAX)).await);
}

async fn stops(value: Value) -> Vec<String> {
    let server = Server::answering(greeting());
    assert_eq!(server.complete(json!({ "stop": value })).await.status, 200);
    server.backend.completions()[0].generation.stop.clone()
}

// O12
#[tokio::test]
async fn stop_is_a_string_or_an_array_and_empty_ones_are_dropped() {
    assert_eq!(stops(json!("END")).await, ["END"]);
    assert_eq!(stops(json!(["a", "", "b"])).await, ["a", "b"]);
    assert!(stops(json!("")).await.is_empty());
    refused("stop", json!([1])).await;
    refused("stop", json!(vec!["x"; 65])).await;
}

#[tokio::test]
async fn logit_bias_comes_as_a_map_or_as_pairs() {
    let biases = async |bias: Value| {
        let server = Server::answering(greeting());
        server.chat(json!({ "logit_bias": bias })).await;
        server.backend.chat_job().generation.sampling.logit_bias
    };
    for bias in [json!({ "5": -100, "6": 1.5 }), json!([[5, -100], [6, 1.5]])] {
        assert_eq!(biases(bias).await, Some(vec![(5, -100.0), (6, 1.5)]));
    }
    assert_eq!(biases(json!([[7, false]])).await, Some(vec![(7, f32::NEG_INFINITY)]));
    assert_eq!(biases(json!({})).await, None);
}

#[tokio::test]
async fn a_bias_on_a_token_outside_the_vocabulary_is_refused() {
    for bias in [
        json!({ "256": 1 }),
        json!({ "-1": 1 }),
        json!({ "word": 1 }),
        json!({ "5": 101 }),
        json!({ "5": true }),
        json!([[256, 1]]),
        json!([[5]]),
        json!([5]),
    ] {
        refused("logit_bias", bias).await;
    }
}

#[tokio::test]
async fn log_probabilities_have_limits() {
    let server = Server::answering(greeting());
    server.chat(json!({ "top_logprobs": 3 })).await.refuses("top_logprobs");
    server
        .chat(json!({ "logprobs": true, "top_logprobs": 21 }))
        .await
        .refuses("top_logprobs");
    server.chat(json!({ "logprobs": 3 })).await.refuses("logprobs");
    server.complete(json!({ "logprobs": 21 })).await.refuses("logprobs");
    server.complete(json!({ "logprobs": -1 })).await.refuses("logprobs");
}

#[tokio::test]
async fn n_above_the_slots_is_refused_by_name() {
    let reply = Server::answering(greeting()).chat(json!({ "n": 3 })).await;
    reply.refuses("n");
    assert!(reply.text.contains("2 slots"));
}

async fn constraint(body: Value) -> Constraint {
    let server = Server::answering(greeting());
    let reply = server.chat(body).await;
    assert_eq!(reply.status, 200, "{}", reply.text);
    server.backend.chat_job().generation.constraint
}

// O13
#[tokio::test]
async fn a_schema_may_be_nested_bare_or_llama_servers() {
    let schema = json!({ "type": "object" });
    let expected = Constraint::JsonSchema(schema.clone());
    let nested = json!({ "name": "x", "strict": true, "schema": schema });
    for body in [
        json!({ "response_format": { "type": "json_schema", "json_schema": nested } }),
        json!({ "response_format": { "type": "json_schema", "schema": schema } }),
        json!({ "response_format": { "type": "json_object", "schema": schema } }),
        json!({ "json_schema": schema }),
    ] {
        assert_eq!(constraint(body).await, expected);
    }
}

// O13
#[tokio::test]
async fn a_schema_holds_whether_strict_or_not() {
    let schema = json!({ "type": "object" });
    for strict in [json!(true), json!(false), json!(null)] {
        let nested = json!({ "name": "x", "strict": strict, "schema": schema });
        let body = json!({ "response_format": { "type": "json_schema", "json_schema": nested } });
        assert_eq!(
            constraint(body).await,
            Constraint::JsonSchema(schema.clone()),
            "{strict}"
        );
    }
}

#[tokio::test]
async fn other_formats_are_an_object_a_grammar_or_nothing() {
    assert_eq!(
        constraint(json!({ "response_format": { "type": "json_object" } })).await,
        Constraint::JsonObject
    );
    assert_eq!(
        constraint(json!({ "response_format": { "type": "text" } })).await,
        Constraint::Free
    );
    let grammar = "root ::= \"x\"";
    assert_eq!(
        constraint(json!({ "grammar": grammar })).await,
        Constraint::Grammar(grammar.into())
    );
    assert_eq!(constraint(json!({ "grammar": "" })).await, Constraint::Free);
}

#[tokio::test]
async fn formats_that_make_no_sense_are_refused() {
    for format in [
        json!({}),
        json!({ "type": "xml" }),
        json!({ "type": "json_schema" }),
        json!({ "type": "json_schema", "json_schema": { "schema": "x" } }),
        json!({ "type": "json_schema", "json_schema": 5 }),
    ] {
        refused("response_format", format).await;
    }
    let both = json!({ "grammar": "root ::= \"x\"", "json_schema": {} });
    Server::answering([])
        .chat(both)
        .await
        .error(400, "invalid_request_error");
}
