//! llama-server's own `/completion`.

use serde_json::{Value, json};

use crate::serve::backend::{Event, Finish};
use crate::support::{Server, done, greeting};

async fn complete(events: Vec<Event>, body: Value) -> crate::support::Reply {
    Server::answering(events).post("/completion", body).await
}

// O18
#[tokio::test]
async fn an_answer_has_llama_servers_fields() {
    let answer = complete(greeting(), json!({ "prompt": "Once", "n_predict": 5 }))
        .await
        .json();
    for (name, value) in [
        ("content", json!("Hello!")),
        ("stop", json!(true)),
        ("stop_type", json!("eos")),
        ("stopping_word", json!("")),
        ("tokens_evaluated", json!(9)),
        ("tokens_predicted", json!(3)),
        ("tokens_cached", json!(12)),
        ("truncated", json!(false)),
    ] {
        assert_eq!(answer[name], value, "{name}");
    }
    assert_eq!(answer["timings"]["cache_n"], 4);
}

// O18
#[tokio::test]
async fn the_stop_type_tells_a_limit_from_a_word() {
    let mut word = done(Finish::Stop);
    if let Event::Done(done) = &mut word {
        done.stop_string = Some("END".into());
    }
    for (end, stop_type, stopping_word) in [(done(Finish::Length), "limit", ""), (word, "word", "END")] {
        let answer = complete(vec![end], json!({ "prompt": "Once" })).await.json();
        assert_eq!(answer["stop_type"], stop_type);
        assert_eq!(answer["stopping_word"], stopping_word);
    }
}

// O18
#[tokio::test]
async fn a_stream_ends_with_stop_and_without_done() {
    let reply = complete(greeting(), json!({ "prompt": "Once", "stream": true })).await;
    let events = reply.chunks();
    assert_eq!(events[0], json!({ "index": 0, "content": "Hel", "stop": false }));
    assert_eq!(events.last().unwrap()["stop"], true);
    assert!(!reply.text.contains("[DONE]"));
}

#[tokio::test]
async fn several_prompts_have_a_list_of_answers() {
    let answers = complete(greeting(), json!({ "prompt": ["a", "b"] })).await.json();
    assert_eq!(answers[1]["index"], 1);
    assert_eq!(answers.as_array().unwrap().len(), 2);
}
