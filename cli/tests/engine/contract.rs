//! Lines of the OpenAI contract that only a model can prove, and the other dialects over it: the
//! embedded model behind the router.

use crate::served;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use llama_turboquant_cli::commands::serve::{AppState, Settings, app};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::OnceLock;
use tower::ServiceExt;

/// The embedded model behind a router.
fn load() -> axum::Router {
    let engine = served::engine(&[]);
    app(AppState::new(engine, Settings::default()))
}

/// One that the tests share.
fn shared() -> axum::Router {
    static APP: OnceLock<axum::Router> = OnceLock::new();
    APP.get_or_init(load).clone()
}

async fn raw(path: &str, body: Value) -> String {
    send(shared(), path, body).await
}

async fn send(app: axum::Router, path: &str, body: Value) -> String {
    let request = Request::post(path).body(Body::from(body.to_string())).unwrap();
    let response = app.oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(status, StatusCode::OK, "{text}");
    text
}

async fn post(path: &str, body: Value) -> Value {
    serde_json::from_str(&raw(path, body).await).unwrap()
}

async fn chat(text: &str, extra: Value) -> Value {
    let mut body = json!({ "messages": [{ "role": "user", "content": text }], "temperature": 0 });
    body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    post("/v1/chat/completions", body).await["choices"][0].clone()
}

/// The texts of a streamed completion.
async fn pieces(body: Value) -> Vec<String> {
    let mut body = body;
    body["stream"] = json!(true);
    let text = raw("/v1/completions", body).await;
    let text_of = |chunk: &Value| chunk["choices"][0]["text"].as_str().unwrap().to_owned();
    chunks(&text).iter().map(text_of).collect()
}

fn chunks(stream: &str) -> Vec<Value> {
    let data = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    let events = data.filter(|data| *data != "[DONE]");
    events.map(|data| serde_json::from_str(data).unwrap()).collect()
}

fn content(choice: &Value) -> &str {
    choice["message"]["content"].as_str().unwrap()
}

fn calculator() -> Value {
    json!({
        "name": "calculator",
        "description": "Compute a mathematical expression.",
        "parameters": {
            "type": "object",
            "properties": { "expression": { "type": "string", "description": "Expression to compute" } },
            "required": ["expression"],
        },
    })
}

fn tools() -> Value {
    let clock = json!({ "name": "clock", "description": "Tell the time.", "parameters": { "type": "object", "properties": {} } });
    json!([{ "type": "function", "function": calculator() }, { "type": "function", "function": clock }])
}

const SUM: &str = "Use the calculator: 554 - 603";

/// On a server of its own: the batch a token is computed in changes its last digits, and at a high
/// temperature that is another token.
#[tokio::test(flavor = "multi_thread")]
async fn equal_seeds_give_equal_answers_and_others_differ() {
    let app = load();
    let told = async |seed: u32, temperature: f32| {
        let body = json!({
            "prompt": "The fox", "temperature": temperature, "seed": seed, "max_tokens": 24, "cache_prompt": false,
        });
        let answer: Value = serde_json::from_str(&send(app.clone(), "/v1/completions", body).await).unwrap();
        answer["choices"][0]["text"].clone()
    };
    let first = told(7, 1.5).await;
    assert_eq!(told(7, 1.5).await, first);
    assert_ne!(told(8, 1.5).await, first);
    assert_eq!(
        told(7, 0.0).await,
        told(8, 0.0).await,
        "at temperature 0 there is nothing to draw"
    );
}

// O5
#[tokio::test(flavor = "multi_thread")]
async fn the_choice_of_tools_decides_what_is_called() {
    let choose = async |choice: Value| {
        chat(
            SUM,
            json!({ "tools": tools(), "tool_choice": choice, "max_tokens": 80 }),
        )
        .await
    };
    let called = |answer: &Value| answer["message"]["tool_calls"][0]["function"]["name"].clone();

    let auto = choose(json!("auto")).await;
    assert_eq!(
        (called(&auto), &auto["finish_reason"]),
        (json!("calculator"), &json!("tool_calls"))
    );
    let required = choose(json!("required")).await;
    assert_eq!(required["finish_reason"], "tool_calls");
    assert!(called(&required).is_string());
    let named = choose(json!({ "type": "function", "function": { "name": "calculator" } })).await;
    assert_eq!(
        (called(&named), &named["finish_reason"]),
        (json!("calculator"), &json!("stop"))
    );
    let none = choose(json!("none")).await;
    assert!(none["message"].get("tool_calls").is_none(), "{none}");
}

// O5, O7
#[tokio::test(flavor = "multi_thread")]
async fn a_required_tool_is_called_at_once_when_the_model_would_rather_talk() {
    let question = "What is turbo3?";
    let choose = async |choice: Value| {
        let extra = json!({ "tools": tools(), "tool_choice": choice, "parallel_tool_calls": false, "max_tokens": 200 });
        chat(question, extra).await
    };
    assert!(content(&choose(json!("auto")).await).starts_with("turbo3 is"));
    for (choice, finish) in [
        (json!("required"), "tool_calls"),
        (
            json!({ "type": "function", "function": { "name": "calculator" } }),
            "stop",
        ),
    ] {
        let answer = choose(choice).await;
        assert_eq!(answer["finish_reason"], finish, "{answer}");
        assert_eq!(answer["message"]["content"], Value::Null);
        assert!(answer["message"]["tool_calls"][0]["function"]["name"].is_string());
    }
}

// O6: a model that may not end its turn makes one call after the other
#[tokio::test(flavor = "multi_thread")]
async fn parallel_calls_have_indexes_from_0_and_ids_of_their_own() {
    let mut body = json!({
        "messages": [{ "role": "user", "content": "What time is it?" }], "tools": [tools()[1]], "tool_choice": "required",
        "parallel_tool_calls": true, "ignore_eos": true, "temperature": 0, "max_tokens": 120,
    });
    let whole = post("/v1/chat/completions", body.clone()).await;
    let calls = whole["choices"][0]["message"]["tool_calls"].as_array().unwrap();
    let whole: BTreeSet<&str> = calls.iter().map(|call| call["id"].as_str().unwrap()).collect();
    assert!(calls.len() >= 2 && whole.len() == calls.len(), "{calls:?}");

    body["stream"] = json!(true);
    let chunks = chunks(&raw("/v1/chat/completions", body).await);
    let deltas = chunks
        .iter()
        .filter_map(|chunk| chunk.pointer("/choices/0/delta/tool_calls/0"));
    let begun: Vec<&Value> = deltas.filter(|delta| delta.get("id").is_some()).collect();
    let streamed: BTreeSet<&str> = begun.iter().map(|delta| delta["id"].as_str().unwrap()).collect();
    assert!(begun.len() >= 2 && streamed.len() == begun.len(), "{begun:?}");
    for (at, delta) in begun.iter().enumerate() {
        assert_eq!(
            (&delta["index"], &delta["function"]["name"]),
            (&json!(at), &json!("clock"))
        );
    }
    assert!(whole.is_disjoint(&streamed));
    assert!(whole.union(&streamed).all(|id| id.starts_with("call_")), "{streamed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn n_answers_differ_and_are_counted_with_one_prompt() {
    let body = json!({ "prompt": "The fox", "n": 3, "temperature": 1.5, "seed": 7, "max_tokens": 16 });
    let answer = post("/v1/completions", body).await;
    let choices = answer["choices"].as_array().unwrap();
    let indices: Vec<u64> = choices.iter().map(|choice| choice["index"].as_u64().unwrap()).collect();
    assert_eq!(indices, [0, 1, 2]);
    assert_ne!(choices[0]["text"], choices[1]["text"]);
    let alone = post("/v1/completions", json!({ "prompt": "The fox", "max_tokens": 1 })).await;
    assert_eq!(answer["usage"]["prompt_tokens"], alone["usage"]["prompt_tokens"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_biased_token_is_always_or_never_chosen() {
    let tokens = post("/tokenize", json!({ "content": "turbo" })).await["tokens"].clone();
    let turbo = tokens[0].as_u64().unwrap().to_string();
    let free = chat("What is turbo3?", json!({ "max_tokens": 1 })).await;
    assert_eq!(content(&free), "turbo");
    let banned = chat(
        "What is turbo3?",
        json!({ "max_tokens": 1, "logit_bias": { turbo: -100 } }),
    )
    .await;
    assert_ne!(content(&banned), "turbo");
}

// O12
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_string_is_not_sent_even_when_tokens_split_it() {
    let stop = "KV cache type. It";
    let whole = chat("What is turbo3?", json!({ "stop": [stop] })).await;
    assert_eq!(content(&whole), "turbo3 is a 3-bit ");
    assert_eq!(whole["finish_reason"], "stop");
    let body = json!({
        "messages": [{ "role": "user", "content": "What is turbo3?" }], "temperature": 0, "stop": stop, "stream": true,
    });
    let text = raw("/v1/chat/completions", body).await;
    let chunks = chunks(&text);
    let content = |chunk: &Value| chunk["choices"][0]["delta"]["content"].as_str().map(str::to_owned);
    let sent: String = chunks.iter().filter_map(content).collect();
    assert_eq!(sent, "turbo3 is a 3-bit ");
}

// O12
#[tokio::test(flavor = "multi_thread")]
async fn characters_that_take_several_tokens_arrive_whole() {
    let wanted = "\u{65e5}\u{672c}\u{1f98a}\u{e9}";
    let body = json!({ "prompt": "x", "grammar": format!("root ::= \"{wanted}\""), "max_tokens": 40 });
    let pieces = pieces(body).await;
    assert_eq!(pieces.concat(), wanted);
    assert!(pieces.iter().all(|piece| !piece.contains('\u{fffd}')), "{pieces:?}");
}

// O12
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_of_zero_answers_nothing_and_one_above_the_context_is_the_context() {
    let nothing = post("/v1/completions", json!({ "prompt": "The fox", "max_tokens": 0 })).await;
    assert_eq!(
        (&nothing["choices"][0]["text"], &nothing["choices"][0]["finish_reason"]),
        (&json!(""), &json!("length"))
    );
    assert_eq!(nothing["usage"]["completion_tokens"], 0);
    let all = chat("What is turbo3?", json!({ "max_tokens": 1_000_000 })).await;
    assert_eq!(all["finish_reason"], "stop");
}

// O18
#[tokio::test(flavor = "multi_thread")]
async fn the_native_completion_tells_a_word_from_a_limit() {
    let body = json!({ "prompt": "The fox", "n_predict": 2, "temperature": 0 });
    let cut = post("/completion", body).await;
    assert_eq!(
        (&cut["stop_type"], &cut["tokens_predicted"], &cut["truncated"]),
        (&json!("limit"), &json!(2), &json!(false))
    );
    assert_eq!(cut["timings"]["predicted_n"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_goes_on_where_the_assistant_stopped() {
    let begun =
        json!([{ "role": "user", "content": "What is turbo3?" }, { "role": "assistant", "content": "turbo3 is a" }]);
    let body = json!({ "messages": begun, "temperature": 0, "max_tokens": 60 });
    let answer = post("/v1/chat/completions", body).await;
    let text = content(&answer["choices"][0]);
    assert!(text.trim_start().starts_with("3-bit KV cache type"), "{text}");
    let body = json!({ "messages": begun, "temperature": 0, "max_tokens": 60 });
    let message = post("/v1/messages", body).await;
    assert_eq!(message["content"][0]["text"], text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_response_calls_a_tool_and_takes_its_output() {
    let mut tool = calculator();
    tool["type"] = json!("function");
    let mut input = vec![json!({ "role": "user", "content": SUM })];
    let ask = async |input: &[Value]| {
        post(
            "/v1/responses",
            json!({ "input": input, "tools": [tool], "temperature": 0 }),
        )
        .await
    };
    let answer = ask(&input).await;
    let call = answer["output"][0].clone();
    assert_eq!(
        (&call["type"], &call["name"]),
        (&json!("function_call"), &json!("calculator"))
    );
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
    assert_eq!(arguments, json!({ "expression": "554 - 603" }));

    input.push(call.clone());
    input.push(json!({ "type": "function_call_output", "call_id": call["call_id"], "output": "-49" }));
    let answer = ask(&input).await;
    assert_eq!(answer["output"][0]["type"], "message", "{answer}");
    let counted = post("/v1/responses/input_tokens", json!({ "input": input, "tools": [tool] })).await;
    assert_eq!(counted["input_tokens"], answer["usage"]["input_tokens"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_calls_a_tool_and_takes_its_result() {
    let function = calculator();
    let tool =
        json!({ "name": "calculator", "description": function["description"], "input_schema": function["parameters"] });
    let mut messages = vec![json!({ "role": "user", "content": SUM })];
    let body =
        |messages: &[Value]| json!({ "messages": messages, "tools": [tool], "max_tokens": 80, "temperature": 0 });
    let answer = post("/v1/messages", body(&messages)).await;
    assert_eq!(answer["stop_reason"], "tool_use");
    let call = answer["content"][0].clone();
    assert_eq!(
        (&call["name"], &call["input"]),
        (&json!("calculator"), &json!({ "expression": "554 - 603" }))
    );

    messages.push(json!({ "role": "assistant", "content": [call] }));
    let result = json!({ "type": "tool_result", "tool_use_id": call["id"], "content": "-49" });
    messages.push(json!({ "role": "user", "content": [result] }));
    let answer = post("/v1/messages", body(&messages)).await;
    assert_eq!(
        (&answer["content"][0]["type"], &answer["stop_reason"]),
        (&json!("text"), &json!("end_turn"))
    );
    let counted = post("/v1/messages/count_tokens", body(&messages)).await;
    let usage = &answer["usage"];
    let prompt = usage["input_tokens"].as_u64().unwrap() + usage["cache_read_input_tokens"].as_u64().unwrap();
    assert_eq!(counted["input_tokens"], prompt);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_sequence_is_named_in_the_message() {
    let body = json!({
        "messages": [{ "role": "user", "content": "What is turbo3?" }],
        "max_tokens": 60, "temperature": 0, "stop_sequences": ["3-bit"],
    });
    let answer = post("/v1/messages", body).await;
    assert_eq!(
        (&answer["stop_reason"], &answer["stop_sequence"]),
        (&json!("stop_sequence"), &json!("3-bit"))
    );
    assert_eq!(answer["content"][0]["text"], "turbo3 is a ");
}
