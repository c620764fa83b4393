//! `ollama-rs`.

use crate::checks::{CALL, Checks, first_model, frees_its_slot, is_verdict, length, tool_prompt, url, verdict_schema};
use anyhow::{Context, Result, bail, ensure};
use futures::StreamExt;
use ollama_rs::Ollama;
use ollama_rs::error::OllamaError;
use ollama_rs::generation::chat::ChatMessage;
use ollama_rs::generation::chat::request::ChatMessageRequest;
use ollama_rs::generation::completion::request::GenerationRequest;
use ollama_rs::generation::embeddings::request::GenerateEmbeddingsRequest;
use ollama_rs::generation::parameters::{FormatType, JsonStructure};
use ollama_rs::models::ModelOptions;
use serde_json::json;

struct Api {
    client: Ollama,
    model: String,
}

/// How many checks failed.
pub async fn run(mut checks: Checks) -> usize {
    let client = match Ollama::try_new(url()) {
        Ok(client) => client,
        Err(error) => {
            checks.run("address", async { Err(error.into()) }).await;
            return checks.failed;
        }
    };
    let model = first_model().await.unwrap_or_default();
    let api = Api { client, model };
    checks.run("list_models", api.list()).await;
    checks.run("show", api.show()).await;
    checks.run("chat", api.chat()).await;
    checks.run("chat_stream", api.chat_stream()).await;
    checks.run("generate_stream", api.generate_stream()).await;
    checks.run("tools", api.tools()).await;
    checks.run("tools_stream", api.tools_stream()).await;
    checks.run("schema", api.schema()).await;
    checks.run("embed", api.embed()).await;
    checks.run("unknown_model", api.unknown_model()).await;
    checks.run("bad_request", api.bad_request()).await;
    checks.run("cancel", api.cancel()).await;
    checks.failed
}

impl Api {
    async fn list(&self) -> Result<()> {
        let models = self.client.list_local_models().await?;
        let model = models.first().context("a model")?;
        ensure!(model.size > 0, "{model:?}");
        let bare = |name: &str| name.trim_end_matches(":latest").to_owned();
        ensure!(bare(&model.name) == bare(&self.model), "{model:?}");
        Ok(())
    }

    /// Sends `name`, not `model`.
    async fn show(&self) -> Result<()> {
        let shown = self.client.show_model_info(self.model.clone()).await?;
        ensure!(shown.model_info.contains_key("general.architecture"), "{shown:?}");
        Ok(())
    }

    fn question(&self) -> ChatMessageRequest {
        self.request(vec![ChatMessage::user("What is turbo3?".into())])
    }

    fn request(&self, messages: Vec<ChatMessage>) -> ChatMessageRequest {
        ChatMessageRequest::new(self.model.clone(), messages).options(ModelOptions::default().temperature(0.0))
    }

    async fn chat(&self) -> Result<()> {
        let answer = self.client.send_chat_messages(self.question()).await?;
        ensure!(answer.done && answer.message.content.contains("3-bit"), "{answer:?}");
        ensure!(
            answer.final_data.as_ref().is_some_and(|end| end.eval_count > 0),
            "{answer:?}"
        );
        Ok(())
    }

    async fn chat_stream(&self) -> Result<()> {
        let whole = self.client.send_chat_messages(self.question()).await?;
        let mut parts = self.client.send_chat_messages_stream(self.question()).await?;
        let (mut text, mut done) = (String::new(), false);
        while let Some(part) = parts.next().await {
            let Ok(part) = part else {
                bail!("a part that does not parse")
            };
            text += &part.message.content;
            done |= part.done;
        }
        ensure!(done && text == whole.message.content, "{text}");
        Ok(())
    }

    /// Takes each HTTP chunk for a whole line (L2).
    async fn generate_stream(&self) -> Result<()> {
        let request = GenerationRequest::new(self.model.clone(), "What is turbo3?")
            .options(ModelOptions::default().temperature(0.0));
        let whole = self.client.generate(request.clone()).await?;
        let mut parts = self.client.generate_stream(request).await?;
        let (mut text, mut done) = (String::new(), false);
        while let Some(part) = parts.next().await {
            for part in part? {
                text += &part.response;
                done |= part.done;
            }
        }
        ensure!(done && !text.is_empty() && text == whole.response, "{text}");
        Ok(())
    }

    async fn tools(&self) -> Result<()> {
        let (messages, tools) = tool_prompt()?;
        let messages: Vec<ChatMessage> = serde_json::from_value(messages)?;
        let request = self.request(messages).tools(serde_json::from_value(tools)?);
        let answer = self.client.send_chat_messages(request).await?;
        let call = answer.message.tool_calls.first().context("a call")?;
        ensure!(call.function.name == CALL.0, "{call:?}");
        ensure!(call.function.arguments == json!({ "expression": CALL.1 }), "{call:?}");
        Ok(())
    }

    async fn tools_stream(&self) -> Result<()> {
        let (messages, tools) = tool_prompt()?;
        let messages: Vec<ChatMessage> = serde_json::from_value(messages)?;
        let request = self.request(messages).tools(serde_json::from_value(tools)?);
        let mut parts = self.client.send_chat_messages_stream(request).await?;
        let mut calls = Vec::new();
        while let Some(part) = parts.next().await {
            let Ok(part) = part else {
                bail!("a part that does not parse")
            };
            calls.extend(part.message.tool_calls);
        }
        ensure!(calls.len() == 1 && calls[0].function.name == CALL.0, "{calls:?}");
        ensure!(
            calls[0].function.arguments == json!({ "expression": CALL.1 }),
            "{calls:?}"
        );
        Ok(())
    }

    async fn schema(&self) -> Result<()> {
        let schema = JsonStructure::new_for_schema(serde_json::from_value(verdict_schema())?);
        let request = self.question().format(FormatType::StructuredJson(Box::new(schema)));
        is_verdict(&self.client.send_chat_messages(request).await?.message.content)
    }

    async fn embed(&self) -> Result<()> {
        let request = GenerateEmbeddingsRequest::new(self.model.clone(), vec!["a cat", "a dog"].into());
        let answer = self.client.generate_embeddings(request).await?;
        ensure!(answer.embeddings.len() == 2);
        ensure!(
            answer
                .embeddings
                .iter()
                .all(|vector| (length(vector) - 1.0).abs() < 1e-3)
        );
        Ok(())
    }

    async fn unknown_model(&self) -> Result<()> {
        let request = ChatMessageRequest::new("no-such-model".into(), vec![ChatMessage::user("hi".into())]);
        match self.client.send_chat_messages(request).await {
            Err(OllamaError::InternalError(error)) => {
                ensure!(error.message == "model 'no-such-model' not found", "{}", error.message);
                Ok(())
            }
            Err(OllamaError::Other(text)) if text.contains("model 'no-such-model' not found") => Ok(()),
            other => bail!("{other:?}"),
        }
    }

    async fn bad_request(&self) -> Result<()> {
        let request = self.question().options(ModelOptions::default().temperature(1e9));
        let text = match self.client.send_chat_messages(request).await {
            Err(OllamaError::InternalError(error)) => error.message,
            Err(OllamaError::Other(text)) => text,
            other => bail!("{other:?}"),
        };
        ensure!(text.contains("temperature"), "{text}");
        Ok(())
    }

    async fn cancel(&self) -> Result<()> {
        // no answer that fits this is short
        let schema = json!({ "type": "array", "minItems": 500, "items": { "type": "string", "minLength": 30 } });
        let schema = JsonStructure::new_for_schema(serde_json::from_value(schema)?);
        let format = FormatType::StructuredJson(Box::new(schema));
        let request = GenerationRequest::new(self.model.clone(), "hello").format(format);
        let mut parts = self.client.generate_stream(request).await?;
        parts.next().await.context("a part")??;
        frees_its_slot(parts).await
    }
}
