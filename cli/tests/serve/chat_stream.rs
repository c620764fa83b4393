//! Streamed chat answers, byte for byte.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::serve::Settings;
use crate::serve::backend::{BackendError, Event, Finish};
use crate::support::{Reply, Scripted, Server, Step, call_arguments, call_start, done, greeting, likely, started};

async fn stream(events: Vec<Event>, extra: Value) -> Reply {
    let body = crate::support::merge(json!({ "stream": true }), extra);
    Server::answering(events).chat(body).await
}

// O1, O3
#[tokio::test]
async fn the_bytes_are_data_lines_that_end_with_done() {
    let reply = stream(greeting(), json!({})).await;
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert_eq!(reply.header("cache-control"), Some("no-cache"));
    let chunks = reply.chunks();
    let id = chunks[0]["id"].as_str().unwrap();
    let created = &chunks[0]["created"];
    let print = chunks[0]["system_fingerprint"].as_str().unwrap();
    let head = format!(
        "{{\"id\":\"{id}\",\"object\":\"chat.completion.chunk\",\"created\":{created},\
         \"model\":\"tiny\",\"system_fingerprint\":\"{print}\",\
         \"choices\":[{{\"index\":0,\"delta\":"
    );
    let role = r#"{"role":"assistant","content":""},"finish_reason":null}]}"#;
    let text = |text: &str| format!(r#"{{"content":"{text}"}},"finish_reason":null}}]}}"#);
    let timings = chunks[3]["timings"].to_string();
    let end = format!(r#"{{}},"finish_reason":"stop"}}],"timings":{timings}}}"#);
    let expected = format!(
        "data: {head}{role}\n\ndata: {head}{}\n\ndata: {head}{}\n\n\
         data: {head}{end}\n\ndata: [DONE]\n\n",
        text("Hel"),
        text("lo!"),
    );
    assert_eq!(reply.text, expected);
}

// O3
#[tokio::test]
async fn id_and_created_are_the_same_in_all_chunks() {
    let chunks = stream(greeting(), json!({ "stream_options": { "include_usage": true } }))
        .await
        .chunks();
    assert!(chunks[0]["id"].as_str().unwrap().starts_with("chatcmpl-"));
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
    assert!(chunks.iter().all(|chunk| chunk["created"] == chunks[0]["created"]));
}

// O3
#[tokio::test]
async fn two_answers_have_different_ids() {
    let server = Server::answering(greeting());
    let (a, b) = (server.chat(json!({})).await.json(), server.chat(json!({})).await.json());
    assert_ne!(a["id"], b["id"]);
}

// O3
#[tokio::test]
async fn the_first_delta_has_the_role_and_no_other_has() {
    let choices = stream(greeting(), json!({})).await.choices();
    assert_eq!(choices[0]["delta"]["role"], "assistant");
    assert!(choices[1..].iter().all(|choice| choice["delta"].get("role").is_none()));
}

// O3
#[tokio::test]
async fn the_last_choice_has_an_empty_delta_and_the_only_finish_reason() {
    let choices = stream(greeting(), json!({})).await.choices();
    let (last, others) = choices.split_last().unwrap();
    assert_eq!(last["delta"], json!({}));
    assert_eq!(last["finish_reason"], "stop");
    assert!(
        others
            .iter()
            .all(|choice| choice.get("finish_reason") == Some(&Value::Null))
    );
}

// O4
#[tokio::test]
async fn include_usage_adds_one_chunk_without_choices_before_done() {
    let reply = stream(greeting(), json!({ "stream_options": { "include_usage": true } })).await;
    let chunks = reply.chunks();
    let (last, others) = chunks.split_last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["total_tokens"], 12);
    assert_eq!(last["usage"]["prompt_tokens_details"]["cached_tokens"], 4);
    assert!(last["timings"].is_object());
    assert!(others.iter().all(|chunk| chunk.get("usage").is_none()));
    assert!(reply.text.ends_with("data: [DONE]\n\n"));
}

// O4
#[tokio::test]
async fn without_include_usage_no_chunk_has_usage() {
    for options in [json!(null), json!({}), json!({ "include_usage": false })] {
        let chunks = stream(greeting(), json!({ "stream_options": options })).await.chunks();
        assert!(chunks.iter().all(|chunk| chunk.get("usage").is_none()));
        assert!(chunks.iter().all(|chunk| chunk["choices"] != json!([])));
    }
}

// O6
#[tokio::test]
async fn tool_calls_begin_with_id_and_name_and_go_on_with_arguments() {
    let events = vec![
        started(),
        call_start(0, "call_a", "add"),
        call_arguments(0, "{\"x\""),
        call_arguments(0, ":1}"),
        call_start(1, "call_b", "sub"),
        call_arguments(1, "{}"),
        done(Finish::ToolCalls),
    ];
    let choices = stream(events, json!({})).await.choices();
    let deltas: Vec<_> = choices
        .iter()
        .filter_map(|c| c.pointer("/delta/tool_calls/0"))
        .collect();
    let begin = |index: u32, id: &str, name: &str| {
        json!({
            "index": index, "id": id, "type": "function",
            "function": { "name": name, "arguments": "" },
        })
    };
    let more = |index: u32, text: &str| json!({ "index": index, "function": { "arguments": text } });
    let expected = [
        begin(0, "call_a", "add"),
        more(0, "{\"x\""),
        more(0, ":1}"),
        begin(1, "call_b", "sub"),
        more(1, "{}"),
    ];
    assert_eq!(deltas, expected.iter().collect::<Vec<_>>());
    assert_eq!(choices.last().unwrap()["finish_reason"], "tool_calls");
}

// O6
#[tokio::test]
async fn parallel_calls_stream_under_indexes_from_0_and_ids_of_their_own() {
    let events = vec![
        started(),
        call_start(0, "", "add"),
        call_arguments(0, "{\"x\":1}"),
        call_start(1, "", "add"),
        call_arguments(1, "{\"x\":2}"),
        call_start(2, "", "now"),
        done(Finish::ToolCalls),
    ];
    let choices = stream(events, json!({})).await.choices();
    let deltas = choices.iter().filter_map(|c| c.pointer("/delta/tool_calls/0"));
    let (begun, more): (Vec<&Value>, Vec<&Value>) = deltas.partition(|delta| delta.get("id").is_some());
    let indexes = |deltas: &[&Value]| deltas.iter().map(|delta| delta["index"].clone()).collect::<Vec<_>>();
    assert_eq!(indexes(&begun), [0, 1, 2]);
    assert_eq!(indexes(&more), [0, 1, 2], "an id only begins a call");
    let ids: BTreeSet<&str> = begun.iter().map(|delta| delta["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 3, "{ids:?}");
    assert!(ids.iter().all(|id| id.starts_with("call_")), "{ids:?}");
}

// O6
#[tokio::test]
async fn a_streamed_call_without_arguments_has_an_empty_object() {
    let choices = stream(vec![call_start(0, "", "now"), done(Finish::ToolCalls)], json!({}))
        .await
        .choices();
    let parts = choices
        .iter()
        .filter_map(|c| c.pointer("/delta/tool_calls/0/function/arguments"));
    assert_eq!(parts.map(|part| part.as_str().unwrap()).collect::<String>(), "{}");
    let id = choices[1].pointer("/delta/tool_calls/0/id").unwrap();
    assert!(id.as_str().unwrap().starts_with("call_"));
}

#[tokio::test]
async fn reasoning_streams_in_its_own_field() {
    let events = vec![Event::Reasoning("hm".into()), Event::text("4"), done(Finish::Stop)];
    let choices = stream(events, json!({})).await.choices();
    assert_eq!(choices[1]["delta"], json!({ "reasoning_content": "hm" }));
    assert_eq!(choices[2]["delta"], json!({ "content": "4" }));
}

// O7
#[tokio::test]
async fn logprobs_stream_with_the_text_they_belong_to() {
    let events = vec![likely("a", -0.5), likely("b", -1.5), done(Finish::Stop)];
    let choices = stream(events, json!({ "logprobs": true })).await.choices();
    assert_eq!(choices[1]["logprobs"]["content"][0]["token"], "a");
    assert_eq!(choices[2]["logprobs"]["content"][0]["logprob"], -1.5);
}

// O3
#[tokio::test]
async fn n_streams_share_one_response_and_each_ends() {
    let chunks = stream(greeting(), json!({ "n": 2 })).await.chunks();
    for index in 0..2 {
        let own: Vec<_> = chunks
            .iter()
            .map(|c| &c["choices"][0])
            .filter(|c| c["index"] == index)
            .collect();
        assert_eq!(own[0]["delta"]["role"], "assistant");
        assert_eq!(own.last().unwrap()["finish_reason"], "stop");
        let text: String = own.iter().filter_map(|c| c["delta"]["content"].as_str()).collect();
        assert_eq!(text, "Hello!");
    }
}

// O2
#[tokio::test]
async fn an_error_before_the_first_token_is_plain_json_with_its_status() {
    let overflow = BackendError::ContextOverflow {
        n_prompt: 5000,
        n_ctx: 4096,
    };
    for events in [
        vec![Event::Failed(overflow.clone())],
        vec![started(), Event::Failed(overflow)],
    ] {
        stream(events, json!({})).await.error(400, "exceed_context_size_error");
    }
}

// O2
#[tokio::test]
async fn an_error_after_the_first_token_is_the_last_event_and_there_is_no_done() {
    let broken = BackendError::internal("decoding failed", "llama_decode returned -3");
    let events = vec![started(), Event::text("Hel"), Event::Failed(broken)];
    let reply = stream(events, json!({})).await;
    let error = r#"{"error":{"message":"decoding failed","type":"server_error","param":null,"code":null}}"#;
    assert!(reply.text.ends_with(&format!("data: {error}\n\n")), "{}", reply.text);
    assert!(!reply.text.contains("[DONE]"));
}

// O2
#[tokio::test]
async fn a_stream_whose_engine_vanishes_ends_with_an_error() {
    let reply = stream(vec![started(), Event::text("Hel")], json!({})).await;
    assert_eq!(reply.chunks().last().unwrap()["error"]["type"], "server_error");
}

// O1
#[tokio::test(start_paused = true)]
async fn a_long_prefill_is_kept_alive_with_comments() {
    let script = vec![
        started().into(),
        Step::Sleep(Duration::from_secs(35)),
        Event::text("Hi").into(),
        done(Finish::Stop).into(),
    ];
    let reply = Server::new(Scripted::playing([script]))
        .chat(json!({ "stream": true }))
        .await;
    // One interval passes before the response begins, and two more before the first token.
    assert_eq!(reply.text.matches(": ping\n\n").count(), 2, "{}", reply.text);
    assert_eq!(reply.choices()[1]["delta"]["content"], "Hi");
    assert!(reply.text.ends_with("data: [DONE]\n\n"));
}

// O1
#[tokio::test(start_paused = true)]
async fn a_job_that_waits_for_a_slot_is_kept_alive_with_comments() {
    let script = vec![
        Event::Accepted.into(),
        Step::Sleep(Duration::from_secs(35)),
        started().into(),
        Event::text("Hi").into(),
        done(Finish::Stop).into(),
    ];
    let reply = Server::new(Scripted::playing([script]))
        .chat(json!({ "stream": true }))
        .await;
    // One interval passes before the response begins, and two more before the first token.
    assert_eq!(reply.text.matches(": ping\n\n").count(), 2, "{}", reply.text);
    assert!(reply.text.ends_with("data: [DONE]\n\n"));
}

fn overflow() -> Step {
    let error = BackendError::ContextOverflow {
        n_prompt: 5000,
        n_ctx: 4096,
    };
    Event::Failed(error).into()
}

// O2, O10
#[tokio::test(start_paused = true)]
async fn an_error_in_a_prompt_has_its_status_however_long_preparing_it_takes() {
    let script = vec![Step::Sleep(Duration::from_secs(12)), overflow()];
    let server = Server::new(Scripted::playing([script]));
    let reply = server.chat(json!({ "stream": true })).await;
    reply.error(400, "exceed_context_size_error");
}

// O2, O10
#[tokio::test(start_paused = true)]
async fn an_error_in_the_second_of_two_prompts_has_its_status_too() {
    let good = vec![
        Event::Accepted.into(),
        Step::Sleep(Duration::from_secs(60)),
        done(Finish::Stop).into(),
    ];
    let bad = vec![Step::Sleep(Duration::from_secs(12)), overflow()];
    let server = Server::new(Scripted::playing([good, bad]));
    let reply = server.complete(json!({ "stream": true, "prompt": ["a", "b"] })).await;
    reply.error(400, "exceed_context_size_error");
}

// O1
#[tokio::test(start_paused = true)]
async fn a_prompt_that_takes_for_ever_to_prepare_is_kept_alive_after_half_a_minute() {
    let script = vec![
        Step::Sleep(Duration::from_secs(55)),
        Event::text("Hi").into(),
        done(Finish::Stop).into(),
    ];
    let reply = Server::new(Scripted::playing([script]))
        .chat(json!({ "stream": true }))
        .await;
    assert_eq!(reply.text.matches(": ping\n\n").count(), 2, "{}", reply.text);
}

// O2
#[tokio::test(start_paused = true)]
async fn a_late_error_of_a_response_that_has_begun_is_an_event() {
    let script = vec![Event::Accepted.into(), Step::Sleep(Duration::from_secs(2)), overflow()];
    let settings = Settings {
        ping_interval: Duration::from_secs(1),
        ..Settings::default()
    };
    let server = Server::with(Scripted::playing([script]), settings);
    let chunks = server.chat(json!({ "stream": true })).await.chunks();
    assert_eq!(chunks.last().unwrap()["error"]["n_prompt_tokens"], 5000);
}
