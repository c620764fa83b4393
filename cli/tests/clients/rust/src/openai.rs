//! `async-openai`. Requests are JSON, so that they can say what its types cannot; answers go through its types, whose enums
//! are closed.

use crate::checks::{CALL, Checks, frees_its_slot, is_verdict, length, too_long, tool_prompt, url, verdict_schema};
use anyhow::{Context, Result, bail, ensure};
use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::error::OpenAIError;
use async_openai::types::chat::{CreateChatCompletionResponse, CreateChatCompletionStreamResponse, FinishReason};
use async_openai::types::completions::CreateCompletionResponse;
use async_openai::types::embeddings::{CreateBase64EmbeddingResponse, CreateEmbeddingResponse};
use async_openai::types::responses::{Response, ResponseStreamEvent, Status};
use futures::{Stream, StreamExt};
use serde_json::{Value, json};
use std::fmt::Debug;
use std::pin::Pin;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, OpenAIError>> + Send>>;
type Chunks = Answers<CreateChatCompletionStreamResponse>;

struct Api {
    client: Client<OpenAIConfig>,
    model: String,
}

/// How many checks failed.
pub async fn run(mut checks: Checks) -> usize {
    let config = OpenAIConfig::new()
        .with_api_base(format!("{}/v1", url()))
        .with_api_key("none");
    let mut api = Api {
        client: Client::with_config(config),
        model: String::new(),
    };
    let listed = api.list().await;
    if let Ok(model) = &listed {
        api.model.clone_from(model);
    }
    checks.run("list_and_retrieve_models", async { listed.map(drop) }).await;
    checks.run("chat", api.chat()).await;
    checks.run("chat_stream", api.chat_stream()).await;
    checks.run("completion", api.completion()).await;
    checks.run("tools", api.tools()).await;
    checks.run("tools_stream", api.tools_stream()).await;
    checks.run("tool_result", api.tool_result()).await;
    checks.run("json_schema", api.json_schema()).await;
    checks.run("embeddings", api.embeddings()).await;
    checks.run("unknown_model", api.unknown_model()).await;
    checks.run("bad_request", api.bad_request()).await;
    checks.run("context_overflow", api.context_overflow()).await;
    checks.run("cancel", api.cancel()).await;
    checks.run("responses", api.responses()).await;
    checks.run("responses_stream", api.responses_stream()).await;
    checks.run("responses_tools", api.responses_tools()).await;
    checks.failed
}

fn question(model: &str) -> Value {
    json!({ "model": model, "messages": [{ "role": "user", "content": "What is turbo3?" }], "temperature": 0 })
}

fn with(mut request: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().into_iter().flatten() {
        request[name] = value.clone();
    }
    request
}

impl Api {
    async fn list(&self) -> Result<String> {
        let models = self.client.models().list().await?;
        let model = models.data.first().context("a model")?;
        ensure!(self.client.models().retrieve(&model.id).await?.id == model.id);
        Ok(model.id.clone())
    }

    async fn answer(&self, fields: Value) -> Result<CreateChatCompletionResponse, OpenAIError> {
        let request = with(question(&self.model), fields);
        self.client.chat().create_byot(request).await
    }

    async fn chunks(&self, fields: Value) -> Result<Chunks, OpenAIError> {
        let request = with(with(question(&self.model), fields), json!({ "stream": true }));
        self.client.chat().create_stream_byot(request).await
    }

    async fn chat(&self) -> Result<()> {
        let answer = self.answer(json!({})).await?;
        let choice = &answer.choices[0];
        ensure!(
            choice
                .message
                .content
                .as_ref()
                .is_some_and(|text| text.contains("3-bit")),
            "{choice:?}"
        );
        ensure!(choice.finish_reason == Some(FinishReason::Stop), "{choice:?}");
        Ok(())
    }

    async fn chat_stream(&self) -> Result<()> {
        let whole = self.answer(json!({})).await?;
        let mut chunks = self
            .chunks(json!({ "stream_options": { "include_usage": true } }))
            .await?;
        let (mut text, mut usage) = (String::new(), None);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            if let Some(choice) = chunk.choices.first() {
                text += choice.delta.content.as_deref().unwrap_or_default();
            }
            usage = chunk.usage.or(usage);
        }
        ensure!(Some(&text) == whole.choices[0].message.content.as_ref(), "{text}");
        ensure!(usage.is_some() && usage == whole.usage, "{usage:?}");
        Ok(())
    }

    async fn completion(&self) -> Result<()> {
        let request = json!({ "model": self.model, "prompt": ["turbo3 is", "turbo4 is"], "max_tokens": 4 });
        let answer: CreateCompletionResponse = self.client.completions().create_byot(request).await?;
        let indices: Vec<u32> = answer.choices.iter().map(|choice| choice.index).collect();
        ensure!(indices == [0, 1], "{answer:?}");
        ensure!(answer.usage.is_some_and(|usage| usage.completion_tokens == 8));
        Ok(())
    }

    async fn tools(&self) -> Result<()> {
        let (messages, tools) = tool_prompt()?;
        let answer = self.answer(json!({ "messages": messages, "tools": tools })).await?;
        let choice = serde_json::to_value(&answer.choices[0])?;
        let function = &choice["message"]["tool_calls"][0]["function"];
        ensure!(choice["finish_reason"] == "tool_calls", "{choice}");
        is_the_call(function["name"].as_str(), function["arguments"].as_str())
    }

    async fn tools_stream(&self) -> Result<()> {
        let (messages, tools) = tool_prompt()?;
        let mut chunks = self.chunks(json!({ "messages": messages, "tools": tools })).await?;
        let (mut name, mut arguments) = (String::new(), String::new());
        while let Some(chunk) = chunks.next().await {
            let choices = chunk?.choices;
            for call in choices
                .iter()
                .filter_map(|choice| choice.delta.tool_calls.as_ref())
                .flatten()
            {
                ensure!(call.index == 0, "{call:?}");
                let function = call.function.as_ref().context("a function")?;
                name += function.name.as_deref().unwrap_or_default();
                arguments += function.arguments.as_deref().unwrap_or_default();
            }
        }
        is_the_call(Some(&name), Some(&arguments))
    }

    async fn tool_result(&self) -> Result<()> {
        let (mut messages, tools) = tool_prompt()?;
        let arguments = json!({ "expression": CALL.1 }).to_string();
        let call =
            json!({ "id": "call_1", "type": "function", "function": { "name": CALL.0, "arguments": arguments } });
        messages.as_array_mut().context("messages")?.extend([
            json!({ "role": "assistant", "content": null, "tool_calls": [call] }),
            json!({ "role": "tool", "tool_call_id": "call_1", "content": "-49" }),
        ]);
        let fields = json!({ "messages": messages, "tools": tools, "max_tokens": 20 });
        let answer = self.answer(fields).await?;
        ensure!(
            answer.choices[0]
                .message
                .content
                .as_ref()
                .is_some_and(|text| !text.is_empty()),
            "{answer:?}"
        );
        Ok(())
    }

    async fn json_schema(&self) -> Result<()> {
        let schema = json!({ "name": "verdict", "schema": verdict_schema(), "strict": true });
        let format = json!({ "response_format": { "type": "json_schema", "json_schema": schema } });
        let answer = self.answer(format).await?;
        is_verdict(answer.choices[0].message.content.as_deref().context("a text")?)
    }

    async fn embeddings(&self) -> Result<()> {
        let input = json!({ "model": self.model, "input": ["a cat", "a dog"] });
        let plain = with(input.clone(), json!({ "encoding_format": "float" }));
        let packed = with(input, json!({ "encoding_format": "base64" }));
        let plain: CreateEmbeddingResponse = self.client.embeddings().create_byot(plain).await?;
        let packed: CreateBase64EmbeddingResponse = self.client.embeddings().create_base64_byot(packed).await?;
        ensure!(plain.data.len() == 2 && packed.data.len() == 2);
        for (plain, packed) in plain.data.into_iter().zip(packed.data) {
            let packed: Vec<f32> = packed.embedding.into();
            ensure!(plain.embedding.iter().zip(&packed).all(|(a, b)| (a - b).abs() < 1e-6));
            ensure!(plain.embedding.len() == packed.len() && (length(&packed) - 1.0).abs() < 1e-3);
        }
        Ok(())
    }

    async fn unknown_model(&self) -> Result<()> {
        is_unknown(self.client.models().retrieve("no/such-model").await)?;
        is_unknown(self.answer(json!({ "model": "gpt-0" })).await)
    }

    async fn bad_request(&self) -> Result<()> {
        match self.answer(json!({ "temperature": 1e9 })).await {
            Err(OpenAIError::ApiError(error)) => {
                ensure!(error.status_code == 400, "{error}");
                ensure!(error.api_error.param.as_deref() == Some("temperature"), "{error}");
                Ok(())
            }
            other => bail!("{other:?}"),
        }
    }

    async fn context_overflow(&self) -> Result<()> {
        let long = json!([{ "role": "user", "content": too_long().await? }]);
        match self.answer(json!({ "messages": long })).await {
            Err(OpenAIError::ApiError(error)) => {
                ensure!(error.status_code == 400, "{error}");
                ensure!(
                    error.api_error.code.as_deref() == Some("context_length_exceeded"),
                    "{error}"
                );
                Ok(())
            }
            other => bail!("{other:?}"),
        }
    }

    async fn cancel(&self) -> Result<()> {
        let long = json!({ "max_tokens": 100_000, "ignore_eos": true });
        let mut chunks = self.chunks(long).await?;
        chunks.next().await.context("a chunk")??;
        frees_its_slot(chunks).await
    }

    async fn respond(&self, fields: Value) -> Result<Response, OpenAIError> {
        let request = json!({ "model": self.model, "input": "What is turbo3?", "temperature": 0 });
        self.client.responses().create_byot(with(request, fields)).await
    }

    async fn responses(&self) -> Result<()> {
        let answer = self.respond(json!({})).await?;
        ensure!(
            answer.output_text().is_some_and(|text| text.contains("3-bit")),
            "{answer:?}"
        );
        ensure!(
            matches!(answer.status, Status::Completed) && answer.usage.is_some(),
            "{answer:?}"
        );
        Ok(())
    }

    async fn responses_stream(&self) -> Result<()> {
        let whole = self.respond(json!({})).await?.output_text();
        let request = json!({ "model": self.model, "input": "What is turbo3?", "temperature": 0, "stream": true });
        let mut events: Answers<ResponseStreamEvent> = self.client.responses().create_stream_byot(request).await?;
        let (mut text, mut end) = (String::new(), None);
        while let Some(event) = events.next().await {
            match event? {
                ResponseStreamEvent::ResponseOutputTextDelta(piece) => text += &piece.delta,
                ResponseStreamEvent::ResponseCompleted(completed) => end = Some(completed.response),
                _ => {}
            }
        }
        let end = end.context("no response.completed")?.output_text();
        ensure!(Some(&text) == whole.as_ref() && end == whole, "{text}");
        Ok(())
    }

    async fn responses_tools(&self) -> Result<()> {
        let (messages, tools) = tool_prompt()?;
        let flat = |tool: &Value| with(json!({ "type": "function", "strict": false }), tool["function"].clone());
        let tools: Vec<Value> = tools.as_array().context("tools")?.iter().map(flat).collect();
        let answer = self.respond(json!({ "input": messages, "tools": tools })).await?;
        let output = serde_json::to_value(&answer.output)?;
        let call = output
            .as_array()
            .and_then(|items| items.last())
            .context("an output item")?;
        is_the_call(call["name"].as_str(), call["arguments"].as_str())
    }
}

fn is_unknown<T: Debug>(answer: Result<T, OpenAIError>) -> Result<()> {
    match answer {
        Err(OpenAIError::ApiError(error)) => {
            ensure!(error.status_code == 404, "{error}");
            ensure!(error.api_error.code.as_deref() == Some("model_not_found"), "{error}");
            Ok(())
        }
        other => bail!("{other:?}"),
    }
}

fn is_the_call(name: Option<&str>, arguments: Option<&str>) -> Result<()> {
    ensure!(name == Some(CALL.0), "{name:?}");
    let arguments: Value = serde_json::from_str(arguments.context("arguments")?)?;
    ensure!(arguments == json!({ "expression": CALL.1 }), "{arguments}");
    Ok(())
}
