//! The two forms in which servers are asked: what is sent, and what comes back line by line.

use super::outcome::{Problem, Told};
use super::plan::{Leave, Request};
use serde_json::{Value, json};
use std::time::Duration;

/// An API of chats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// `POST /v1/chat/completions`, as OpenAI, llama-server, vLLM, Ollama and this program serve it.
    Openai,
    /// `POST /api/chat`, as Ollama and this program serve it.
    Ollama,
}

/// How answers are sampled, the same for all requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// 0: the most probable token.
    pub temperature: f64,
    /// Ask for answers of full length, of servers that can (`ignore_eos`).
    pub ignore_eos: bool,
    /// Let the server begin with what it computed for others, as it does by default.
    pub reuse: bool,
}

/// What a line of an answer says.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// A piece of text; reasoning counts.
    Piece(String),
    /// A part of the prompt is computed.
    Progress,
    /// Nothing of interest.
    Nothing,
    /// What became of the request; more may follow.
    Told(Told),
    /// It is complete.
    End(Told),
    /// An error instead of the rest.
    Error(Problem),
    /// This is no line of this API.
    Garbage,
}

impl Api {
    /// Where chats go.
    pub fn path(self) -> &'static str {
        match self {
            Self::Openai => "/v1/chat/completions",
            Self::Ollama => "/api/chat",
        }
    }

    /// Where the names of models are.
    pub fn models(self) -> &'static str {
        match self {
            Self::Openai => "/v1/models",
            Self::Ollama => "/api/tags",
        }
    }

    /// The first model of that list.
    pub fn first_model(self, list: &Value) -> Option<String> {
        let name = match self {
            Self::Openai => &list["data"][0]["id"],
            Self::Ollama => &list["models"][0]["name"],
        };
        name.as_str().map(str::to_owned)
    }

    /// The body that asks. `alone`: nothing may be taken from what was computed before.
    pub fn body(self, model: &str, request: &Request, sampling: Sampling, alone: bool) -> Value {
        let messages = json!([{"role": "user", "content": request.prompt}]);
        match self {
            Self::Openai => {
                let mut body = json!({
                    "model": model, "messages": messages, "max_tokens": request.max_tokens, "temperature": sampling.temperature,
                    "seed": request.seed, "stream": true, "stream_options": {"include_usage": true},
                });
                // extensions of llama-server's, sent where they are needed: some servers refuse what they do not know
                if sampling.ignore_eos {
                    body["ignore_eos"] = json!(true);
                }
                if request.leave == Some(Leave::Prefill) {
                    body["return_progress"] = json!(true);
                }
                if alone || !sampling.reuse {
                    body["cache_prompt"] = json!(false);
                }
                body
            }
            Self::Ollama => json!({
                "model": model, "messages": messages, "stream": true,
                "options": {"num_predict": request.max_tokens, "temperature": sampling.temperature, "seed": request.seed},
            }),
        }
    }

    /// Reads a line of an answer.
    pub fn line(self, line: &str) -> Line {
        match self {
            Self::Openai => openai(line),
            Self::Ollama => ollama(line),
        }
    }
}

fn openai(line: &str) -> Line {
    if line.is_empty() || line.starts_with([':']) || line.starts_with("event:") || line.starts_with("id:") {
        return Line::Nothing;
    }
    let Some(data) = line.strip_prefix("data:").map(str::trim) else {
        return Line::Garbage;
    };
    if data == "[DONE]" {
        return Line::End(Told::default());
    }
    let Ok(chunk) = serde_json::from_str::<Value>(data) else {
        return Line::Garbage;
    };
    if chunk.get("error").is_some_and(|error| !error.is_null()) {
        return Line::Error(problem(None, data));
    }
    let delta = &chunk["choices"][0]["delta"];
    let text = ["reasoning_content", "reasoning", "content"]
        .iter()
        .find_map(|name| delta[name].as_str().filter(|text| !text.is_empty()));
    if let Some(text) = text {
        return Line::Piece(text.to_owned());
    }
    if delta["tool_calls"].is_array() {
        return Line::Piece(delta["tool_calls"].to_string());
    }
    let told = Told {
        n_prompt: chunk["usage"]["prompt_tokens"].as_u64(),
        n_answer: chunk["usage"]["completion_tokens"].as_u64(),
        prefill: chunk["timings"]["prompt_ms"]
            .as_f64()
            .and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok()),
    };
    match told == Told::default() {
        false => Line::Told(told),
        true if chunk["prompt_progress"].is_object() => Line::Progress,
        true => Line::Nothing,
    }
}

fn ollama(line: &str) -> Line {
    if line.is_empty() {
        return Line::Nothing;
    }
    let Ok(chunk) = serde_json::from_str::<Value>(line) else {
        return Line::Garbage;
    };
    if chunk.get("error").is_some() {
        return Line::Error(problem(None, line));
    }
    if chunk["done"] == true {
        return Line::End(Told {
            n_prompt: chunk["prompt_eval_count"].as_u64(),
            n_answer: chunk["eval_count"].as_u64(),
            prefill: chunk["prompt_eval_duration"].as_u64().map(Duration::from_nanos),
        });
    }
    let message = &chunk["message"];
    let text = ["thinking", "content"]
        .iter()
        .find_map(|name| message[name].as_str().filter(|text| !text.is_empty()));
    match text {
        Some(text) => Line::Piece(text.to_owned()),
        None => Line::Nothing,
    }
}

/// An error as these APIs and their relatives write it.
pub fn problem(status: Option<u16>, body: &str) -> Problem {
    let parsed: Value = serde_json::from_str(body).unwrap_or_default();
    let error = &parsed["error"];
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let code = ["code", "type"].iter().find_map(|name| text(&error[name]));
    let message = text(&error["message"])
        .or_else(|| text(error))
        .unwrap_or_else(|| body.to_owned());
    Problem {
        status,
        code: code.unwrap_or_else(|| "error".into()),
        message: excerpt(&message),
        retry_after: None,
    }
}

/// The beginning of a text, in one line, without control characters.
pub fn excerpt(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words.join(" ").chars().filter(|c| !c.is_control()).collect();
    match line.char_indices().nth(200) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_openai_are_understood() {
        let read = |line: &str| Api::Openai.line(line);
        let delta = |delta: Value| format!("data: {}", json!({"choices": [{"delta": delta}]}));
        for nothing in [
            "",
            ": ping",
            "event: x",
            &delta(json!({"role": "assistant", "content": ""})),
        ] {
            assert_eq!(read(nothing), Line::Nothing, "{nothing}");
        }
        assert_eq!(read(&delta(json!({"content": "a"}))), Line::Piece("a".into()));
        assert_eq!(read(&delta(json!({"reasoning_content": "b"}))), Line::Piece("b".into()));
        assert_eq!(
            read(r#"data: {"choices":[],"prompt_progress":{"total":5}}"#),
            Line::Progress
        );
        assert_eq!(read("data: [DONE]"), Line::End(Told::default()));
        let told = read(
            r#"data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":7},"timings":{"prompt_ms":1.5}}"#,
        );
        let expected = Told {
            n_prompt: Some(5),
            n_answer: Some(7),
            prefill: Some(Duration::from_micros(1500)),
        };
        assert_eq!(told, Line::Told(expected));
        assert!(
            matches!(read(r#"data: {"error":{"code":500,"message":"no"}}"#), Line::Error(p) if p.code == "500" && p.message == "no")
        );
        for garbage in ["hello", "data: {", "<html>"] {
            assert_eq!(read(garbage), Line::Garbage, "{garbage}");
        }
    }

    #[test]
    fn lines_of_ollama_are_understood() {
        let read = |line: &str| Api::Ollama.line(line);
        assert_eq!(
            read(r#"{"message":{"content":"a"},"done":false}"#),
            Line::Piece("a".into())
        );
        let end = read(
            r#"{"message":{"content":""},"done":true,"prompt_eval_count":3,"eval_count":4,"prompt_eval_duration":2000000}"#,
        );
        let expected = Told {
            n_prompt: Some(3),
            n_answer: Some(4),
            prefill: Some(Duration::from_millis(2)),
        };
        assert_eq!(end, Line::End(expected));
        assert!(matches!(read(r#"{"error":"gone"}"#), Line::Error(p) if p.message == "gone"));
        assert_eq!(read("data: x"), Line::Garbage);
    }

    #[test]
    fn what_servers_may_not_know_is_sent_only_where_it_is_needed() {
        let mut request = Request {
            class: 0,
            prompt: "x".into(),
            max_tokens: 4,
            seed: 1,
            leave: None,
        };
        let plain = Sampling {
            temperature: 0.0,
            ignore_eos: false,
            reuse: true,
        };
        let body = Api::Openai.body("m", &request, plain, false);
        for name in ["ignore_eos", "return_progress", "cache_prompt"] {
            assert!(body.get(name).is_none(), "{name}");
        }
        request.leave = Some(Leave::Prefill);
        let body = Api::Openai.body(
            "m",
            &request,
            Sampling {
                ignore_eos: true,
                ..plain
            },
            true,
        );
        assert_eq!(
            (&body["ignore_eos"], &body["return_progress"], &body["cache_prompt"]),
            (&json!(true), &json!(true), &json!(false))
        );
    }

    #[test]
    fn errors_of_any_form_have_a_code_and_a_short_message() {
        let of = |body: &str| {
            let p = problem(Some(429), body);
            (p.code, p.message)
        };
        assert_eq!(
            of(r#"{"error":{"code":"queue_full","message":"later"}}"#),
            ("queue_full".into(), "later".into())
        );
        assert_eq!(of(r#"{"error":"busy"}"#), ("error".into(), "busy".into()));
        assert_eq!(of("<html>\n gone\u{1b}"), ("error".into(), "<html> gone".into()));
        assert!(of(&"x".repeat(5000)).1.len() < 250);
    }
}
