//! The profile of any client of the OpenAI API: JSON.

use super::section::{self, Section};
use super::{Profile, Settings};
use anyhow::{Context as _, Result};
use clap::Command;
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
struct Document {
    base_url: String,
    model: String,
    /// Tokens of prompt and answer together.
    context_length: u64,
    /// What SDKs read.
    #[serde(default)]
    environment: Environment,
    turboquant: Section,
}

/// Variables for a shell or a service file.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Environment {
    #[serde(rename = "OPENAI_BASE_URL")]
    base_url: String,
    #[serde(rename = "OPENAI_API_KEY")]
    api_key: String,
}

pub(super) fn text(profile: &Profile) -> Result<String> {
    let base_url = format!("{}/v1", profile.endpoint);
    let document = Document {
        environment: Environment {
            base_url: base_url.clone(),
            // SDKs insist on one; a server without --api-key takes any
            api_key: "any".into(),
        },
        base_url,
        model: profile.model.clone(),
        context_length: profile.server.n_ctx.into(),
        turboquant: Section::new(profile)?,
    };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

pub(super) fn settings(text: &str, serve: &Command) -> Result<Settings> {
    let document: Document = if text.trim_start().starts_with('{') {
        serde_json::from_str(text)?
    } else {
        serde_saphyr::from_str(text)?
    };
    let endpoint = document
        .base_url
        .trim_end_matches('/')
        .strip_suffix("/v1")
        .with_context(|| {
            let url = super::endpoint::excerpt(&document.base_url);
            format!("base_url is {url}; it must end with /v1")
        })?;
    let n_ctx = ("context_length", document.context_length);
    let mut settings = document.turboquant.settings(n_ctx, serve)?;
    section::listen("base_url", endpoint, &mut settings)?;
    Ok(settings)
}
