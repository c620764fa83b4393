//! The profile of clients of Ollama: a Modelfile that `POST /api/create` of this server takes.
//!
//! A Modelfile has no words for the server, so the command that starts it is a comment, which Ollama's reader and ours
//! skip alike.

use super::{Profile, Settings, command, section};
use crate::embedded;
use crate::store::{Base, Creation};
use anyhow::{Context as _, Result, bail};
use clap::Command;
use llama_turboquant::{KvSpec, LayerPolicy};
use serde_json::{Map, Value};

const VERSION_LINE: &str = "# turboquant-profile: ";
const COMMAND_LINE: &str = "# serve: ";

/// Parameters that are options of `serve` as well.
const PARAMETERS: [(&str, &str); 10] = [
    ("frequency_penalty", "frequency-penalty"),
    ("min_p", "min-p"),
    ("num_ctx", "ctx-size"),
    ("num_predict", "predict"),
    ("presence_penalty", "presence-penalty"),
    ("repeat_penalty", "repeat-penalty"),
    ("seed", "seed"),
    ("temperature", "temp"),
    ("top_k", "top-k"),
    ("top_p", "top-p"),
];

/// Whether a text begins as a Modelfile does.
pub(super) fn looks_like(text: &str) -> bool {
    const INSTRUCTIONS: [&str; 7] = [
        "FROM",
        "PARAMETER",
        "SYSTEM",
        "TEMPLATE",
        "LICENSE",
        "ADAPTER",
        "MESSAGE",
    ];
    let mut lines = text.lines().map(str::trim);
    let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
    let word = first.and_then(|line| line.split_whitespace().next());
    word.is_some_and(|word| INSTRUCTIONS.iter().any(|known| word.eq_ignore_ascii_case(known)))
}

pub(super) fn text(profile: &Profile) -> Result<String> {
    let server = &profile.server;
    let kv = if server.k == server.v {
        server.k.to_string()
    } else {
        format!("{}:{}", server.k, server.v)
    };
    let mut text = format!(
        "{VERSION_LINE}{}\n{COMMAND_LINE}{}\n\
         # For `POST /api/create` of that server, at {}. Ollama itself has no kv_cache_type for one model\n\
         # (there it is OLLAMA_KV_CACHE_TYPE, for all, without turbo types), and refuses the line.\n",
        super::VERSION,
        server.command()?,
        profile.endpoint,
    );
    let default = LayerPolicy::Auto.effective_mode(server.v);
    if default != Some(server.layer_adaptive) {
        text += &format!(
            "# Layer-adaptive mode {} has no PARAMETER; the server has it from its command.\n",
            server.layer_adaptive
        );
    }
    if let Some(file) = &server.model {
        // only the server knows files; its clients know names
        text += &format!("# {} is {}\n", profile.model, file.display());
    }
    text += &format!(
        "FROM {}\nPARAMETER num_ctx {}\nPARAMETER kv_cache_type {kv}\n",
        profile.model, server.n_ctx
    );
    Ok(text)
}

pub(super) fn settings(text: &str, serve: &Command) -> Result<Settings> {
    let comment = |prefix: &str| {
        let mut lines = text.lines();
        lines
            .find_map(|line| line.trim().strip_prefix(prefix.trim_end()))
            .map(str::trim)
    };
    let version = comment(VERSION_LINE);
    let version = version.map(|text| text.parse().with_context(|| format!("version `{text}` is no number")));
    section::check_version(version.transpose()?)?;
    let fields = Map::from_iter([("modelfile".to_owned(), Value::from(text))]);
    let creation = Creation::from_json(&fields)?;
    let mut settings = match comment(COMMAND_LINE) {
        Some(line) => command::settings(line, serve)?,
        None => {
            let mut settings = Settings::default();
            from(&creation, &mut settings)?;
            settings
        }
    };
    if creation.system().is_some() {
        bail!("SYSTEM is for a model made with /api/create; a server has no system prompt for all of its clients");
    }
    if let Some(template) = creation.template() {
        settings.options.push(("chat-template".into(), template.to_owned()));
    }
    for (name, value) in creation.parameters() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let field = format!("PARAMETER {name}");
        if name == "kv_cache_type" {
            let spec: KvSpec = text.replacen(':', "/", 1).parse()?;
            settings.agree(&field, "cache-type-k", &spec.k.to_string())?;
            settings.agree(&field, "cache-type-v", &spec.v.to_string())?;
        } else if let Some((_, option)) = PARAMETERS.iter().find(|(known, _)| known == name) {
            settings.agree(&field, option, &text)?;
        } else {
            bail!("{field} is for a model made with /api/create; `serve --profile` cannot start with it");
        }
    }
    settings.agree("a Modelfile", "ollama", "true")?;
    Ok(settings)
}

/// The model of a Modelfile that was written by hand.
fn from(creation: &Creation, settings: &mut Settings) -> Result<()> {
    let note = "the Modelfile has no `# serve:` line, so it was written by hand; it is read as version 1";
    settings.notes.push(note.into());
    let Base::Model(name) = creation.base()? else {
        bail!("FROM must name a file or a model");
    };
    let hub = ["hf.co/", "huggingface.co/"];
    if name == embedded::NAME {
        // what is served where no model is named
    } else if let Some(repo) = hub.iter().find_map(|host| name.strip_prefix(host)) {
        settings.agree("FROM", "hf-repo", repo)?;
    } else if name.to_ascii_lowercase().ends_with(".gguf") {
        settings.agree("FROM", "model", name)?;
    } else {
        bail!(
            "FROM {} names neither a .gguf file nor hf.co/org/repo:QUANT, so it is not known what to start with; name the file \
             there",
            super::endpoint::excerpt(name)
        );
    }
    Ok(())
}
