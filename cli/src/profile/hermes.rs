//! The profile of Hermes agents: YAML.

use super::section::{self, Section};
use super::{AGENT_CONTEXT, Profile, Settings};
use anyhow::{Result, bail};
use clap::Command;
use serde::{Deserialize, Serialize};

const API_PATH: &str = "/v1/chat/completions";

/// The file. Agents keep settings of their own beside ours, so other keys are left alone.
#[derive(Debug, Serialize, Deserialize)]
struct Document {
    providers: Providers,
    context: Context,
}

#[derive(Debug, Serialize, Deserialize)]
struct Providers {
    primary: Primary,
}

#[derive(Debug, Serialize, Deserialize)]
struct Primary {
    endpoint: String,
    api_path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    turboquant: Section,
}

#[derive(Debug, Serialize, Deserialize)]
struct Context {
    max_tokens: u64,
}

pub(super) fn text(profile: &Profile) -> Result<String> {
    let turboquant = Section::new(profile)?;
    if !turboquant.enabled {
        bail!(
            "an agent's profile is for a cache of turbo2, turbo3 or turbo4, not {}/{}; `turboquant profile openai` takes any type",
            profile.server.k,
            profile.server.v
        );
    }
    let n_ctx = profile.server.n_ctx;
    if n_ctx < AGENT_CONTEXT {
        bail!(
            "a context of {n_ctx} tokens is too short for an agent: its profile needs {AGENT_CONTEXT} at least (-c {AGENT_CONTEXT})"
        );
    }
    let document = Document {
        providers: Providers {
            primary: Primary {
                endpoint: profile.endpoint.to_string(),
                api_path: API_PATH.into(),
                model: Some(profile.model.clone()),
                turboquant,
            },
        },
        context: Context {
            max_tokens: n_ctx.into(),
        },
    };
    // the command on one line, for those who copy it or look for it
    let yaml =
        serde_saphyr::to_string_with_options(&document, serde_saphyr::ser_options! { prefer_block_scalars: false })?;
    Ok(format!(
        "# Agent profile for llama-turboquant. The server it describes: `turboquant serve --profile FILE`,\n\
         # or server_command, which says the same. docs/profiles.md explains the fields.\n{yaml}"
    ))
}

pub(super) fn settings(text: &str, serve: &Command) -> Result<Settings> {
    let document: Document = serde_saphyr::from_str(text)?;
    let Primary {
        endpoint,
        api_path,
        turboquant,
        ..
    } = document.providers.primary;
    let max_tokens = document.context.max_tokens;
    if api_path != API_PATH {
        bail!(
            "providers.primary.api_path is {}; this server has {API_PATH}",
            super::endpoint::excerpt(&api_path)
        );
    }
    if !turboquant.enabled {
        bail!(
            "turboquant.enabled is false, so there is nothing to start with; leave --profile out, or write the profile anew"
        );
    }
    let mut settings = turboquant.settings(("context.max_tokens", max_tokens), serve)?;
    if max_tokens < AGENT_CONTEXT.into() {
        bail!("context.max_tokens is {max_tokens}; an agent needs {AGENT_CONTEXT} at least");
    }
    section::listen("providers.primary.endpoint", &endpoint, &mut settings)?;
    Ok(settings)
}
