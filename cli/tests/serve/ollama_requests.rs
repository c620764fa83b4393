//! `/api/generate` and `/api/chat`: what requests turn into.

use std::time::Duration;

use serde_json::{Value, json};

use crate::serve::backend::{BackendError, Constraint, Event, Finish, KeepAlive, Prompt};
use crate::support::{Scripted, Server, Step, alias, done, greeting, started};

fn server() -> Server {
    Server::answering(greeting())
}

/// A server whose model can also think, fill in and see.
fn able() -> Server {
    let mut backend = Scripted::answering(greeting());
    let abilities = &mut backend.cards[0].abilities;
    (abilities.thinking, abilities.insert, abilities.vision) = (true, true, true);
    Server::new(backend)
}

fn user(text: &str) -> Value {
    json!({ "role": "user", "content": text })
}

fn system(text: &str) -> Value {
    json!({ "role": "system", "content": text })
}

// L7
#[tokio::test]
async fn keep_alive_reaches_the_backend_in_every_form() {
    let minutes = |n: u64| Some(KeepAlive::For(Duration::from_secs(60 * n)));
    let server = server();
    for (given, meant) in [
        (json!(null), None),
        (json!(300), minutes(5)),
        (json!("10m"), minutes(10)),
        (json!("1h30m"), minutes(90)),
        (json!("0"), minutes(0)),
        (json!(-1), Some(KeepAlive::Forever)),
        (json!("-1m"), Some(KeepAlive::Forever)),
    ] {
        server.api_chat(json!({ "keep_alive": given })).await.lines();
        assert_eq!(server.backend.opened().last().unwrap().keep_alive, meant, "{given}");
    }
    for wrong in [json!("soon"), json!(true), json!("")] {
        let text = server.api_chat(json!({ "keep_alive": wrong })).await.says(400);
        assert!(text.contains("keep_alive"), "{text}");
    }
}

// L8
#[tokio::test]
async fn only_the_model_of_that_name_will_do() {
    let server = server();
    server.api_chat(json!({})).await.lines();
    assert!(server.backend.opened()[0].exact);
    assert_eq!(server.backend.opened()[0].name.as_deref(), Some("tiny"));
}

// L9
#[tokio::test]
async fn format_is_nothing_json_or_a_schema() {
    let schema = json!({ "type": "object", "properties": { "a": { "type": "integer" } } });
    for (format, constraint) in [
        (json!(null), Constraint::Free),
        (json!(""), Constraint::Free),
        (json!("json"), Constraint::JsonObject),
        (schema.clone(), Constraint::JsonSchema(schema)),
    ] {
        let server = server();
        server.api_chat(json!({ "format": format })).await.lines();
        server.api_generate(json!({ "format": format })).await.lines();
        let jobs = server.backend.chats();
        assert!(
            jobs.iter().all(|job| job.generation.constraint == constraint),
            "{format}"
        );
        assert_eq!(jobs.len(), 2);
    }
    for wrong in [json!("yaml"), json!(5), json!([]), json!(true)] {
        assert!(
            server()
                .api_chat(json!({ "format": wrong }))
                .await
                .says(400)
                .contains("format")
        );
    }
}

// L9
#[tokio::test]
async fn think_is_a_truth_value_or_an_effort() {
    for (think, on, effort) in [
        (json!(null), None, None),
        (json!(true), Some(true), None),
        (json!(false), Some(false), None),
        (json!("low"), Some(true), Some("low")),
        (json!("max"), Some(true), Some("max")),
    ] {
        let server = able();
        server.api_chat(json!({ "think": think })).await.lines();
        let prompt = server.backend.chat_job().prompt;
        assert_eq!((prompt.thinking, prompt.reasoning_effort.as_deref()), (on, effort));
    }
    for wrong in [json!("yes"), json!(1), json!(""), json!({})] {
        assert!(
            able()
                .api_generate(json!({ "think": wrong }))
                .await
                .says(400)
                .contains("think")
        );
    }
}

// L9
#[tokio::test]
async fn a_model_that_does_not_think_refuses_to() {
    let server = server();
    for think in [json!(true), json!("high")] {
        let text = server.api_chat(json!({ "think": think })).await.says(400);
        assert_eq!(text, "\"tiny\" does not support thinking");
    }
    server.api_chat(json!({ "think": false })).await.lines();
}

// L9
#[tokio::test]
async fn logprobs_may_have_up_to_20_alternatives() {
    for (extra, meant) in [
        (json!({}), None),
        (json!({ "logprobs": true }), Some(0)),
        (json!({ "logprobs": true, "top_logprobs": 20 }), Some(20)),
        (json!({ "top_logprobs": 3 }), None),
    ] {
        let server = server();
        server.api_chat(extra).await.lines();
        assert_eq!(server.backend.chat_job().generation.logprobs, meant);
    }
    for wrong in [json!(21), json!(-1), json!("3")] {
        let body = json!({ "logprobs": true, "top_logprobs": wrong });
        assert!(server().api_chat(body).await.says(400).contains("top_logprobs"));
    }
}

// L9
#[tokio::test]
async fn raw_sends_the_prompt_as_it_is() {
    let server = server();
    let lines = server.api_generate(json!({ "raw": true })).await.lines();
    assert_eq!(server.backend.completions()[0].prompt, Prompt::Text("Once".into()));
    assert!(lines.last().unwrap().get("context").is_none());
    for other in [
        json!({ "system": "x" }),
        json!({ "template": "x" }),
        json!({ "context": [1] }),
    ] {
        let body = crate::support::merge(json!({ "raw": true }), other);
        assert!(server.api_generate(body).await.says(400).contains("raw"));
    }
}

// L9
#[tokio::test]
async fn a_system_prompt_goes_before_the_prompt() {
    let server = server();
    server.api_generate(json!({ "system": "Be brief." })).await.lines();
    assert_eq!(
        server.backend.chat_job().prompt.messages,
        json!([system("Be brief."), user("Once")])
    );
}

// L9
#[tokio::test]
async fn a_template_per_request_is_refused_and_not_ignored() {
    let text = server().api_generate(json!({ "template": "{{ x }}" })).await.says(400);
    assert!(text.contains("template") && text.contains("raw"), "{text}");
    server().api_generate(json!({ "template": "" })).await.lines();
}

// L9
#[tokio::test]
async fn a_suffix_makes_a_place_to_fill() {
    let server = able();
    server.api_generate(json!({ "suffix": "the end" })).await.lines();
    let Prompt::Infill(infill) = server.backend.completions()[0].prompt.clone() else {
        panic!("not an infill prompt");
    };
    assert_eq!((infill.prefix.as_str(), infill.suffix.as_str()), ("Once", "the end"));
    let text = self::server().api_generate(json!({ "suffix": "x" })).await.says(400);
    assert_eq!(text, "\"tiny\" does not support insert");
}

// L9
#[tokio::test]
async fn images_are_refused_by_a_model_without_eyes() {
    let server = server();
    let text = server
        .api_generate(json!({ "images": ["iVBORw0KGgo="] }))
        .await
        .says(400);
    assert!(
        text.starts_with("\"tiny\" does not support images") && text.contains("--mmproj"),
        "{text}"
    );
    let messages = json!([{ "role": "user", "content": "?", "images": ["/9j/4AAQ"] }]);
    server.api_chat(json!({ "messages": messages })).await.says(400);
    server.api_generate(json!({ "images": [] })).await.lines();
}

// L9
#[tokio::test]
async fn images_become_parts_of_the_message() {
    let server = able();
    let messages = json!([{ "role": "user", "content": "?", "images": ["iVBORw0KGgo="] }]);
    server.api_chat(json!({ "messages": messages })).await.lines();
    let image = json!({ "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0KGgo=" } });
    assert_eq!(
        server.backend.chat_job().prompt.messages[0]["content"],
        json!([image, { "type": "text", "text": "?" }])
    );
    for wrong in [json!([5]), json!([""]), json!("x")] {
        server.api_generate(json!({ "images": wrong })).await.says(400);
    }
}

// L9
#[tokio::test]
async fn render_only_shows_the_text_and_runs_nothing() {
    let server = server();
    let shown = server.api_chat(json!({ "_debug_render_only": true })).await.json();
    assert_eq!(shown["_debug_info"]["rendered_template"], "user:hello\n");
    assert_eq!(shown["model"], "tiny");
    assert!(shown["created_at"].is_string());
    let shown = server
        .api_generate(json!({ "_debug_render_only": true, "context": [72, 105, 10] }))
        .await
        .json();
    assert_eq!(shown["_debug_info"]["rendered_template"], "Hi\nuser:Once\n");
    assert_eq!(server.backend.started(), 0);
}

// L3
#[tokio::test]
async fn a_context_is_what_the_next_prompt_goes_on_from() {
    let server = server();
    let lines = server.api_generate(json!({ "context": [72, 105, 10] })).await.lines();
    let sent: Vec<i32> = b"Hi\nuser:Once\n".iter().map(|&byte| byte.into()).collect();
    assert_eq!(server.backend.completions()[0].prompt, Prompt::Tokens(sent.clone()));
    let whole: Vec<i32> = serde_json::from_value(lines.last().unwrap()["context"].clone()).unwrap();
    let answer: Vec<i32> = b"Hello!".iter().map(|&byte| byte.into()).collect();
    assert_eq!(whole, [sent, answer].concat());
    for wrong in [json!([256]), json!([-1]), json!(["a"]), json!("a"), json!([1.5])] {
        server.api_generate(json!({ "context": wrong })).await.says(400);
    }
}

// L9
#[tokio::test]
async fn a_system_prompt_of_the_request_replaces_that_of_the_model() {
    let server = alias();
    let messages = json!([system("Be long."), user("hello")]);
    server.api_chat(json!({ "messages": messages })).await.lines();
    server.api_generate(json!({ "system": "Be long." })).await.lines();
    server.api_generate(json!({})).await.lines();
    let seen: Vec<Value> = server
        .backend
        .chats()
        .into_iter()
        .map(|job| job.prompt.messages)
        .collect();
    assert_eq!(seen[0], messages);
    assert_eq!(seen[1][0], system("Be long."));
    assert_eq!(seen[2][0], system("Be brief."));
}

// L9
#[tokio::test]
async fn messages_are_checked() {
    for messages in [
        json!("hello"),
        json!([5]),
        json!([{ "content": "no role" }]),
        json!([{ "role": "user", "content": 5 }]),
        json!([{ "role": "assistant", "tool_calls": [{}] }]),
        json!([{ "role": "user", "content": "x", "images": "x" }]),
    ] {
        server().api_chat(json!({ "messages": messages })).await.says(400);
    }
}

fn overflow() -> Vec<Step> {
    let error = BackendError::ContextOverflow {
        n_prompt: 5000,
        n_ctx: 4096,
    };
    vec![Event::Failed(error).into()]
}

fn answer() -> Vec<Step> {
    [started(), Event::text("ok"), done(Finish::Stop)]
        .map(Step::from)
        .to_vec()
}

/// Four turns; in the scripted backend, where bytes are tokens, each takes about 1500 of the 4096.
fn long_chat() -> Value {
    let turn = |n: usize| {
        [
            user(&format!("{n}{}", "x".repeat(1000))),
            json!({ "role": "assistant", "content": "y".repeat(500) }),
        ]
    };
    let turns = (0..3).flat_map(turn);
    json!(
        [system("Be brief.")]
            .into_iter()
            .chain(turns)
            .chain([user("last")])
            .collect::<Vec<_>>()
    )
}

// L9
#[tokio::test]
async fn a_chat_that_does_not_fit_goes_on_without_its_oldest_turns() {
    let server = Server::new(Scripted::playing([overflow(), answer()]));
    let lines = server.api_chat(json!({ "messages": long_chat() })).await.lines();
    assert_eq!(lines[0]["message"]["content"], "ok");
    let all = long_chat();
    let kept = server.backend.chats()[1].prompt.messages.clone();
    let expected: Vec<_> = [0].into_iter().chain(3..8).map(|at: usize| all[at].clone()).collect();
    assert_eq!(
        kept,
        json!(expected),
        "the system prompt, and two turns and the last message"
    );
}

// L9
#[tokio::test]
async fn a_chat_that_does_not_fit_is_400_when_it_may_not_be_cut() {
    let server = Server::new(Scripted::playing([overflow(), answer()]));
    let body = json!({ "messages": long_chat(), "truncate": false });
    let text = server.api_chat(body).await.says(400);
    assert!(text.contains("exceeds the available context size"), "{text}");
    assert_eq!(server.backend.chats().len(), 1);
}

// L9
#[tokio::test]
async fn a_last_message_that_does_not_fit_alone_is_400() {
    let server = Server::new(Scripted::playing([overflow(), answer()]));
    let messages = json!([user("a"), { "role": "assistant", "content": "b" }, user(&"x".repeat(5000))]);
    server.api_chat(json!({ "messages": messages })).await.says(400);
    assert_eq!(server.backend.chats().len(), 1);
}
