//! A server with an OpenAI API.

use super::check_cancelled;
use crate::args::prompts::PromptsArgs;
use anyhow::{Context as _, Result, anyhow, bail};
use llama_turboquant::CancelToken;
use llama_turboquant::engine::chat::{ChatMessage, ToolCall};
use llama_turboquant::measure::prompts::{Answered, Reply, Request, Responder};
use serde_json::{Value, json};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;
use ureq::Agent;

/// Longest answer that is read.
const MAX_BODY: u64 = 16 << 20;
/// How often a waiting request looks whether it was interrupted.
const POLL: Duration = Duration::from_millis(50);

/// Where to ask, and as whom.
#[derive(Debug, Clone)]
pub struct Endpoint {
    agent: Agent,
    base: String,
    key: Option<String>,
    model: String,
    seed: u32,
    timeout: u64,
    cancel: CancelToken,
}

impl Endpoint {
    /// Checks the URL and asks the server for its models, so that a wrong one is found before the first prompt.
    ///
    /// # Errors
    /// A URL that is none, a server that does not answer; each names the URL.
    pub fn connect(url: &str, args: &PromptsArgs, cancel: &CancelToken) -> Result<Self> {
        let parsed: ureq::http::Uri = url.parse().with_context(|| format!("--url {url}"))?;
        if !matches!(parsed.scheme_str(), Some("http" | "https")) || parsed.host().is_none() {
            bail!("--url {url}: a URL such as http://127.0.0.1:8080 is needed");
        }
        let trimmed = url.trim_end_matches('/');
        let agent = Agent::config_builder()
            .timeout_connect(Some(Duration::from_secs(args.timeout.min(20))))
            .timeout_global(Some(Duration::from_secs(args.timeout)))
            .http_status_as_error(false)
            // a redirected POST would lose its body, and the key is for this server only
            .max_redirects(0)
            .build();
        let mut endpoint = Self {
            agent: agent.into(),
            base: trimmed.strip_suffix("/v1").unwrap_or(trimmed).to_owned(),
            key: args.api_key.clone(),
            model: args.model_name.clone().unwrap_or_default(),
            seed: args.seed,
            timeout: args.timeout,
            cancel: cancel.clone(),
        };
        if args.model_name.is_none() {
            endpoint.model = endpoint.first_model()?;
        }
        Ok(endpoint)
    }

    /// The model that is asked.
    pub fn model_name(&self) -> &str {
        &self.model
    }

    fn first_model(&self) -> Result<String> {
        let (status, body) = self.send("/v1/models", None)?;
        match status {
            // servers of one model need not list it
            404 | 405 => return Ok("default".into()),
            200 => {}
            _ => return Err(self.failed("/v1/models", status, &body)),
        }
        let list: Value = serde_json::from_str(&body).map_err(|_| self.garbage("/v1/models", &body))?;
        let first = list["data"][0]["id"].as_str();
        Ok(first.ok_or_else(|| self.garbage("/v1/models", &body))?.to_owned())
    }

    /// Status and body. The request runs beside, so that Ctrl-C need not wait for it.
    fn send(&self, path: &str, body: Option<String>) -> Result<(u16, String)> {
        check_cancelled(&self.cancel)?;
        let url = format!("{}{path}", self.base);
        let (sender, receiver) = channel();
        let (agent, key, target) = (self.agent.clone(), self.key.clone(), url.clone());
        std::thread::spawn(move || {
            // nobody listens after an interruption
            let _ = sender.send(exchange(&agent, &target, key.as_deref(), body));
        });
        loop {
            match receiver.recv_timeout(POLL) {
                Ok(Err(ureq::Error::Timeout(_))) => {
                    bail!("{url}: no answer within {} s; --timeout gives it more", self.timeout)
                }
                Ok(done) => return done.with_context(|| format!("{url}: cannot ask the server")),
                Err(RecvTimeoutError::Timeout) => check_cancelled(&self.cancel)?,
                Err(RecvTimeoutError::Disconnected) => bail!("{url}: the request broke off"),
            }
        }
    }

    fn failed(&self, path: &str, status: u16, body: &str) -> anyhow::Error {
        let help = match status {
            401 | 403 => "; --api-key gives the key",
            300..=399 => "; the server is elsewhere: name that URL",
            429 | 503 => "; the server is busy: try again later",
            _ => "",
        };
        anyhow!("{}{path}: status {status}: {}{help}", self.base, message_of(body))
    }

    fn garbage(&self, path: &str, body: &str) -> anyhow::Error {
        anyhow!(
            "{}{path}: this is not the answer of an OpenAI API: `{}`",
            self.base,
            excerpt(body)
        )
    }
}

fn exchange(agent: &Agent, url: &str, key: Option<&str>, body: Option<String>) -> Result<(u16, String), ureq::Error> {
    let bearer = key.map(|key| format!("Bearer {key}"));
    let mut response = match body {
        None => {
            let mut request = agent.get(url);
            if let Some(bearer) = &bearer {
                request = request.header("authorization", bearer);
            }
            request.call()?
        }
        Some(body) => {
            let mut request = agent.post(url).header("content-type", "application/json");
            if let Some(bearer) = &bearer {
                request = request.header("authorization", bearer);
            }
            request.send(body)?
        }
    };
    let status = response.status().as_u16();
    let text = response
        .body_mut()
        .with_config()
        .limit(MAX_BODY)
        .lossy_utf8(true)
        .read_to_string()?;
    Ok((status, text))
}

/// What a server says was wrong.
fn message_of(body: &str) -> String {
    let parsed: Value = serde_json::from_str(body).unwrap_or_default();
    let message = parsed["error"]["message"].as_str().or_else(|| parsed["error"].as_str());
    excerpt(message.unwrap_or(body))
}

/// The beginning of a text, in one line, without control characters.
fn excerpt(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line: String = words.join(" ").chars().filter(|c| !c.is_control()).collect();
    match line.char_indices().nth(200) {
        Some((at, _)) => format!("{}...", &line[..at]),
        None => line,
    }
}

impl Responder for Endpoint {
    type Error = anyhow::Error;

    fn answer(&mut self, request: &Request<'_>) -> Result<Answered> {
        const PATH: &str = "/v1/chat/completions";
        let mut body = json!({
            "model": self.model, "messages": request.messages, "max_tokens": request.max_tokens, "temperature": 0,
            "seed": self.seed, "stream": false,
        });
        if !request.tools.is_empty() {
            body["tools"] = request.tools.into();
        }
        let (status, text) = self.send(PATH, Some(body.to_string()))?;
        match status {
            200 => {}
            // about this prompt: too long, or tools that this model does not have
            400 | 413 | 422 => {
                return Ok(Answered::Refused(format!(
                    "the server refuses it: {}",
                    message_of(&text)
                )));
            }
            _ => return Err(self.failed(PATH, status, &text)),
        }
        let parsed: Value = serde_json::from_str(&text).map_err(|_| self.garbage(PATH, &text))?;
        reply_of(&parsed)
            .map(|reply| Answered::Reply(Box::new(reply)))
            .ok_or_else(|| self.garbage(PATH, &text))
    }
}

/// Reads a chat completion; `None`: it is none.
fn reply_of(body: &Value) -> Option<Reply> {
    let choice = &body["choices"][0];
    let message = choice["message"].as_object()?;
    let content = message.get("content").and_then(Value::as_str).map(str::to_owned);
    let mut tool_calls: Vec<ToolCall> = Vec::new();
    for call in message
        .get("tool_calls")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        tool_calls.push(serde_json::from_value(call.clone()).ok()?);
    }
    let mut raw = content.clone().unwrap_or_default();
    for call in &tool_calls {
        // without the id, which is another one each time
        let line = format!("{}({})", call.function.name, call.function.arguments);
        raw = if raw.is_empty() { line } else { format!("{raw}\n{line}") };
    }
    let count = |name: &str| body["usage"][name].as_u64().and_then(|n| usize::try_from(n).ok());
    Some(Reply {
        message: ChatMessage {
            role: "assistant".into(),
            content,
            tool_calls,
            ..ChatMessage::default()
        },
        raw,
        tokens: None,
        n_prompt: count("prompt_tokens"),
        n_tokens: count("completion_tokens"),
        finish: choice["finish_reason"].as_str().map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_a_tool_call_is_read_and_its_id_is_no_difference() {
        let body = |id: &str| {
            json!({"choices": [{"finish_reason": "tool_calls", "message": {"role": "assistant", "content": null,
                "tool_calls": [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}}]}}],
                "usage": {"prompt_tokens": 9, "completion_tokens": 4}})
        };
        let (a, b) = (reply_of(&body("x")).unwrap(), reply_of(&body("y")).unwrap());
        assert_eq!(
            (a.raw.as_str(), a.n_prompt, a.n_tokens),
            ("f({\"a\": 1})", Some(9), Some(4))
        );
        assert_eq!(a.raw, b.raw);
        assert_eq!(a.message.tool_calls[0].function.name, "f");
    }

    #[test]
    fn what_is_no_completion_is_not_read_as_one() {
        for body in [
            json!({}),
            json!({"choices": []}),
            json!({"choices": [{"message": "hi"}]}),
            json!([]),
        ] {
            assert_eq!(reply_of(&body), None, "{body}");
        }
    }

    #[test]
    fn the_servers_words_are_short_and_cannot_move_the_cursor() {
        assert_eq!(
            message_of(r#"{"error": {"message": "too\u001b[2J long"}}"#),
            "too[2J long"
        );
        assert_eq!(message_of("<html>\n  gone"), "<html> gone");
        assert!(message_of(&"x".repeat(5000)).len() < 250);
    }
}
