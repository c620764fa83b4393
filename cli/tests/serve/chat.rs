//! Whole chat answers.

use serde_json::{Value, json};

use crate::serve::Settings;
use crate::serve::backend::{Event, Finish};
use crate::support::{Scripted, Server, call_arguments, call_start, done, greeting, likely, started};

// O7
#[tokio::test]
async fn a_whole_answer_has_the_shape_of_a_chat_completion() {
    let answer = Server::answering(greeting()).chat(json!({})).await.json();
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert_eq!(answer["object"], "chat.completion");
    assert!(answer["created"].is_u64());
    assert_eq!(answer["model"], "tiny");
    assert!(answer["system_fingerprint"].is_string());
    let choice = json!([{
        "index": 0,
        "message": { "role": "assistant", "content": "Hello!" },
        "logprobs": null,
        "finish_reason": "stop",
    }]);
    assert_eq!(answer["choices"], choice);
}

// O4, O7
#[tokio::test]
async fn usage_counts_cached_and_reasoning_tokens() {
    let answer = Server::answering(greeting()).chat(json!({})).await.json();
    let usage = json!({
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "total_tokens": 12,
        "prompt_tokens_details": { "cached_tokens": 4 },
        "completion_tokens_details": { "reasoning_tokens": 1 },
    });
    assert_eq!(answer["usage"], usage);
}

// O18
#[tokio::test]
async fn timings_have_llama_servers_fields() {
    let answer = Server::answering(greeting()).chat(json!({})).await.json();
    let timings = json!({
        "cache_n": 4,
        "prompt_n": 5,
        "prompt_ms": 10.0,
        "prompt_per_token_ms": 2.0,
        "prompt_per_second": 500.0,
        "predicted_n": 3,
        "predicted_ms": 60.0,
        "predicted_per_token_ms": 20.0,
        "predicted_per_second": 50.0,
    });
    assert_eq!(answer["timings"], timings);
}

// O18
#[tokio::test]
async fn rates_are_numbers_even_when_nothing_took_no_time() {
    let mut end = done(Finish::Length);
    if let Event::Done(done) = &mut end {
        done.timings = Default::default();
        done.timings.draft_n = Some(8);
        done.timings.draft_n_accepted = Some(6);
    }
    let answer = Server::answering([started(), end]).chat(json!({})).await.json();
    assert_eq!(answer["timings"]["predicted_per_second"], 0.0);
    assert_eq!(answer["timings"]["draft_n"], 8);
    assert_eq!(answer["timings"]["draft_n_accepted"], 6);
}

#[tokio::test]
async fn reasoning_is_apart_from_content() {
    let events = [Event::Reasoning("hm".into()), Event::text("4"), done(Finish::Stop)];
    let answer = Server::answering(events).chat(json!({})).await.json();
    let message = &answer["choices"][0]["message"];
    assert_eq!(message["reasoning_content"], "hm");
    assert_eq!(message["content"], "4");
}

#[tokio::test]
async fn reasoning_can_go_by_both_names() {
    let settings = Settings {
        reasoning_alias: true,
        ..Settings::default()
    };
    let events = [Event::Reasoning("hm".into()), Event::text("4"), done(Finish::Stop)];
    let server = Server::with(Scripted::answering(events), settings);
    let message = server.chat(json!({})).await.json()["choices"][0]["message"].clone();
    assert_eq!(
        (&message["reasoning"], &message["reasoning_content"]),
        (&json!("hm"), &json!("hm"))
    );
    let delta = server.chat(json!({ "stream": true })).await.choices()[1]["delta"].clone();
    assert_eq!(delta, json!({ "reasoning_content": "hm", "reasoning": "hm" }));
}

fn two_calls(finish: Finish) -> Vec<Event> {
    vec![
        started(),
        call_start(0, "call_a", "add"),
        call_arguments(0, "{\"x\":"),
        call_arguments(0, "1}"),
        call_start(1, "", "now"),
        done(finish),
    ]
}

// O6
#[tokio::test]
async fn parallel_tool_calls_are_whole_with_string_arguments_and_null_content() {
    let answer = Server::answering(two_calls(Finish::ToolCalls))
        .chat(json!({}))
        .await
        .json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["finish_reason"], "tool_calls");
    assert_eq!(choice["message"]["content"], Value::Null);
    let first = json!({
        "id": "call_a",
        "type": "function",
        "function": { "name": "add", "arguments": "{\"x\":1}" },
    });
    assert_eq!(choice["message"]["tool_calls"][0], first);
}

// O6
#[tokio::test]
async fn ids_of_parallel_calls_differ_also_between_choices_and_answers() {
    let events = [call_start(0, "", "f"), call_start(1, "", "f"), done(Finish::ToolCalls)];
    let server = Server::answering(events);
    let mut ids = Vec::new();
    for _ in 0..2 {
        let answer = server.chat(json!({ "n": 2 })).await.json();
        for choice in answer["choices"].as_array().unwrap() {
            let calls = choice["message"]["tool_calls"].as_array().unwrap();
            ids.extend(calls.iter().map(|call| call["id"].as_str().unwrap().to_owned()));
        }
    }
    assert_eq!(ids.len(), 8);
    assert!(ids.iter().all(|id| id.starts_with("call_")), "{ids:?}");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 8, "{ids:?}");
}

// O6
#[tokio::test]
async fn a_call_without_id_or_arguments_gets_both() {
    let answer = Server::answering(two_calls(Finish::ToolCalls))
        .chat(json!({}))
        .await
        .json();
    let call = &answer["choices"][0]["message"]["tool_calls"][1];
    assert!(call["id"].as_str().unwrap().starts_with("call_"));
    assert_eq!(call["function"]["arguments"], "{}");
}

// O5
#[tokio::test]
async fn a_cut_answer_is_length_even_with_tool_calls() {
    let answer = Server::answering(two_calls(Finish::Length))
        .chat(json!({}))
        .await
        .json();
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
}

// O5
#[tokio::test]
async fn a_named_tool_ends_with_stop_and_a_required_one_with_tool_calls() {
    let tools = json!([{ "type": "function", "function": { "name": "add" } }]);
    for (choice, reason) in [
        (json!({ "type": "function", "function": { "name": "add" } }), "stop"),
        (json!("required"), "tool_calls"),
    ] {
        let server = Server::answering(two_calls(Finish::ToolCalls));
        let answer = server
            .chat(json!({ "tools": tools, "tool_choice": choice }))
            .await
            .json();
        assert_eq!(answer["choices"][0]["finish_reason"], reason);
    }
}

// O7
#[tokio::test]
async fn logprobs_have_tokens_bytes_and_alternatives() {
    let server = Server::answering([likely("é", -0.1), done(Finish::Stop)]);
    let reply = server.chat(json!({ "logprobs": true, "top_logprobs": 1 })).await;
    // As text: the digits matter too.
    let token = r#"{"token":"é","logprob":-0.1,"bytes":[195,169]"#;
    let token = format!(r#"{token},"top_logprobs":[{token}}}]}}"#);
    assert!(
        reply.text.contains(&format!(r#""logprobs":{{"content":[{token}]}}"#)),
        "{}",
        reply.text
    );
    assert_eq!(server.backend.chat_job().generation.logprobs, Some(1));
}

// O7
#[tokio::test]
async fn a_log_probability_is_a_number_even_when_it_is_infinite() {
    let server = Server::answering([likely("x", f32::NEG_INFINITY), done(Finish::Stop)]);
    let answer = server.chat(json!({ "logprobs": true })).await.json();
    assert_eq!(answer["choices"][0]["logprobs"]["content"][0]["logprob"], -9999.0);
}

#[tokio::test]
async fn n_answers_come_from_n_jobs_with_seeds_of_their_own_and_one_prompt_count() {
    let server = Server::answering(greeting());
    let answer = server.chat(json!({ "n": 2, "seed": 7 })).await.json();
    let indexes: Vec<_> = answer["choices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| &c["index"])
        .collect();
    assert_eq!(indexes, [0, 1]);
    assert_eq!(answer["usage"]["prompt_tokens"], 9);
    assert_eq!(answer["usage"]["completion_tokens"], 6);
    let seeds: Vec<_> = server
        .backend
        .chats()
        .iter()
        .map(|job| job.generation.sampling.seed)
        .collect();
    assert_eq!(seeds, [Some(7), Some(8)]);
}

#[tokio::test]
async fn the_short_path_serves_too() {
    let reply = Server::answering(greeting())
        .post("/chat/completions", crate::support::hello())
        .await;
    assert_eq!(reply.json()["object"], "chat.completion");
}
