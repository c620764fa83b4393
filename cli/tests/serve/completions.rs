//! Plain completions.

use serde_json::{Value, json};

use crate::serve::backend::{Alternative, Event, Finish, Prompt, TextPiece, TokenLogprob};
use crate::support::{Scripted, Server, Step, done, greeting, likely, started};

// O8
#[tokio::test]
async fn a_whole_answer_has_the_shape_of_a_text_completion() {
    let answer = Server::answering(greeting()).complete(json!({})).await.json();
    assert!(answer["id"].as_str().unwrap().starts_with("cmpl-"));
    assert_eq!(answer["object"], "text_completion");
    let choice = json!([{ "index": 0, "text": "Hello!", "logprobs": null, "finish_reason": "stop" }]);
    assert_eq!(answer["choices"], choice);
    assert_eq!(answer["usage"]["total_tokens"], 12);
    assert_eq!(answer["timings"]["prompt_n"], 5);
}

// O1, O8
#[tokio::test]
async fn a_stream_has_text_chunks_a_finish_and_done() {
    let reply = Server::answering(greeting()).complete(json!({ "stream": true })).await;
    let choices = reply.choices();
    let texts: Vec<_> = choices.iter().map(|choice| choice["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["Hel", "lo!", ""]);
    assert_eq!(choices[2]["finish_reason"], "stop");
    assert_eq!(choices[0]["finish_reason"], Value::Null);
    assert!(reply.chunks().iter().all(|chunk| chunk["object"] == "text_completion"));
    assert!(reply.text.ends_with("data: [DONE]\n\n"));
}

// O4
#[tokio::test]
async fn a_stream_reports_usage_when_asked() {
    let body = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let chunks = Server::answering(greeting()).complete(body).await.chunks();
    let last = chunks.last().unwrap();
    assert_eq!(
        (&last["choices"], &last["usage"]["completion_tokens"]),
        (&json!([]), &json!(3))
    );
}

// O8
#[tokio::test]
async fn prompts_may_be_text_texts_tokens_or_token_lists() {
    let text = |text: &str| Prompt::Text(text.into());
    for (prompt, jobs) in [
        (json!("a"), vec![text("a")]),
        (json!(["a", "b"]), vec![text("a"), text("b")]),
        (json!([1, 2]), vec![Prompt::Tokens(vec![1, 2])]),
        (
            json!([[1], [2, 3]]),
            vec![Prompt::Tokens(vec![1]), Prompt::Tokens(vec![2, 3])],
        ),
        (json!(""), vec![text("")]),
    ] {
        let server = Server::answering(greeting());
        let answer = server.complete(json!({ "prompt": prompt })).await.json();
        let prompts: Vec<_> = server.backend.completions().into_iter().map(|job| job.prompt).collect();
        assert_eq!(prompts, jobs);
        let choices = answer["choices"].as_array().unwrap().iter();
        let indexes: Vec<_> = choices.map(|choice| choice["index"].as_u64().unwrap()).collect();
        assert_eq!(indexes, (0..jobs.len() as u64).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn malformed_prompts_are_refused() {
    for prompt in [
        json!(null),
        json!([]),
        json!([[]]),
        json!(5),
        json!([1, "a"]),
        json!([256]),
        json!([-1]),
        json!([{}]),
    ] {
        Server::answering(greeting())
            .complete(json!({ "prompt": prompt }))
            .await
            .refuses("prompt");
    }
}

// O8
#[tokio::test]
async fn several_prompts_add_up_and_choices_keep_the_order_of_prompts() {
    let script = |text: &str| vec![started().into(), Event::text(text).into(), done(Finish::Stop).into()];
    let server = Server::new(Scripted::playing(["a", "b", "c"].map(script)));
    let answer = server.complete(json!({ "prompt": ["1", "2", "3"] })).await.json();
    let choices = answer["choices"].as_array().unwrap();
    let texts: Vec<_> = choices.iter().map(|choice| choice["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["a", "b", "c"]);
    assert_eq!(answer["usage"]["prompt_tokens"], 27);
    assert!(
        answer.get("timings").is_none(),
        "times of jobs side by side do not add up"
    );
}

#[tokio::test]
async fn n_answers_per_prompt_count_the_prompt_once() {
    let server = Server::answering(greeting());
    let answer = server.complete(json!({ "prompt": ["1", "2"], "n": 2 })).await.json();
    assert_eq!(answer["choices"].as_array().unwrap().len(), 4);
    assert_eq!(answer["usage"]["prompt_tokens"], 18);
    assert_eq!(answer["usage"]["completion_tokens"], 12);
}

#[tokio::test]
async fn a_request_with_many_prompts_takes_no_more_than_the_slots() {
    let hang: Vec<Step> = vec![started().into(), Event::text("x").into(), Step::Hang];
    let server = Server::new(Scripted::playing([hang]));
    let body = json!({ "prompt": ["1", "2", "3", "4"], "stream": true });
    let response = server.open("/v1/completions", body).await;
    assert_eq!(server.backend.started(), 2);
    drop(response);
}

#[tokio::test]
async fn a_full_queue_holds_back_the_rest_of_a_request_that_has_begun() {
    let server = Server::new(Scripted::answering(greeting()).with_queue(1));
    let answer = server.complete(json!({ "prompt": ["1", "2", "3"] })).await.json();
    assert_eq!(answer["choices"].as_array().unwrap().len(), 3);
}

// O8
#[tokio::test]
async fn logprobs_are_parallel_lists_with_offsets_in_characters() {
    let server = Server::answering([likely("é", -0.1), likely("b", -2.0), done(Finish::Stop)]);
    let reply = server.complete(json!({ "logprobs": 1 })).await;
    for expected in [
        r#""tokens":["é","b"],"token_logprobs":[-0.1,-2.0],"#,
        r#""top_logprobs":[{"é":-0.1},{"b":-2.0}],"text_offset":[0,1]"#,
    ] {
        assert!(reply.text.contains(expected), "{}", reply.text);
    }
    assert_eq!(server.backend.completions()[0].generation.logprobs, Some(1));
}

// O8
#[tokio::test]
async fn offsets_go_on_from_chunk_to_chunk() {
    let server = Server::answering([likely("ab", -0.1), likely("c", -0.2), done(Finish::Stop)]);
    let choices = server
        .complete(json!({ "logprobs": 0, "stream": true }))
        .await
        .choices();
    assert_eq!(choices[1]["logprobs"]["text_offset"], json!([2]));
}

#[tokio::test]
async fn an_echoed_prompt_begins_with_a_token_without_probability() {
    let first = TokenLogprob {
        token: "O".into(),
        bytes: b"O".to_vec(),
        logprob: None,
        top: Vec::new(),
    };
    let echoed = Event::Text(TextPiece {
        text: "O".into(),
        logprobs: vec![first],
    });
    let server = Server::answering([echoed, done(Finish::Length)]);
    let answer = server
        .complete(json!({ "echo": true, "logprobs": 1, "max_tokens": 0 }))
        .await
        .json();
    let logprobs = &answer["choices"][0]["logprobs"];
    assert_eq!(logprobs["token_logprobs"], json!([null]));
    assert_eq!(logprobs["top_logprobs"], json!([null]));
    let job = &server.backend.completions()[0];
    assert!(job.echo && job.generation.max_tokens == Some(0));
}

#[tokio::test]
async fn alternatives_that_print_alike_keep_the_likelier_one() {
    let odd = |byte: u8, logprob| Alternative {
        token: "\u{fffd}".into(),
        bytes: vec![byte],
        logprob,
    };
    let token = TokenLogprob {
        token: "\u{fffd}".into(),
        bytes: vec![0xc3],
        logprob: Some(-1.0),
        top: vec![odd(0xc3, -1.0), odd(0xe2, -3.0)],
    };
    let piece = Event::Text(TextPiece {
        text: String::new(),
        logprobs: vec![token],
    });
    let server = Server::answering([piece, done(Finish::Stop)]);
    let answer = server.complete(json!({ "logprobs": 2 })).await.json();
    assert_eq!(
        answer["choices"][0]["logprobs"]["top_logprobs"],
        json!([{ "\u{fffd}": -1.0 }])
    );
}

#[tokio::test]
async fn what_is_not_supported_is_refused_by_name() {
    let server = Server::answering(greeting());
    server.complete(json!({ "suffix": "end" })).await.refuses("suffix");
    server.complete(json!({ "best_of": 3 })).await.refuses("best_of");
    server.complete(json!({ "n": 3 })).await.refuses("n");
    server
        .complete(json!({ "prompt": vec!["x"; 3000] }))
        .await
        .refuses("prompt");
}
