//! The command that starts the server, as people paste it into a terminal.

use super::Settings;
use super::endpoint::excerpt;
use crate::args::llama;
use crate::options::file;
use anyhow::{Context as _, Result, anyhow, bail};
use clap::{ArgAction, Command};
use llama_turboquant::KvType;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The variable of layer-adaptive modes.
const MODE: &str = "TURBO_LAYER_ADAPTIVE";

/// How a server is started. Everything is said, also what is a default, so that the command goes on meaning the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The model's file; `None`: the embedded one.
    pub model: Option<PathBuf>,
    /// Type of K.
    pub k: KvType,
    /// Type of V.
    pub v: KvType,
    /// Layer-adaptive mode, 0 to 7.
    pub layer_adaptive: u8,
    /// Context in tokens, all slots together.
    pub n_ctx: u32,
    /// Requests at once.
    pub n_slots: u32,
    /// Layers on devices; `None`: all.
    pub gpu_layers: Option<u32>,
    /// What it listens on; `None`: the defaults, or what whoever runs it says.
    pub listen: Option<(String, u16)>,
    /// For clients of Ollama.
    pub ollama: bool,
}

impl Server {
    /// The command, quoted for a shell.
    ///
    /// # Errors
    /// A path that is no text.
    pub fn command(&self) -> Result<String> {
        let mut words: Vec<String> = vec!["turboquant".into(), "serve".into()];
        let mut push = |name: &str, value: String| words.extend([name.to_owned(), value]);
        if let Some(model) = &self.model {
            let path = model.to_str().ok_or_else(|| {
                anyhow!(
                    "the path {} is no text, so no profile can name it; rename the file",
                    model.display()
                )
            })?;
            push("-m", path.to_owned());
        }
        push("-ctk", self.k.to_string());
        push("-ctv", self.v.to_string());
        push("-c", self.n_ctx.to_string());
        push("-np", self.n_slots.to_string());
        if let Some(layers) = self.gpu_layers {
            push("-ngl", layers.to_string());
        }
        if self.ollama {
            words.push("--ollama".into());
            if let Some((host, port)) = &self.listen {
                words.extend(["--ollama-host".into(), address(host, *port)]);
            }
        } else if let Some((host, port)) = &self.listen {
            words.extend(["--host".into(), host.clone(), "--port".into(), port.to_string()]);
        }
        let quoted = shlex::try_join(words.iter().map(String::as_str))
            .map_err(|_| anyhow!("the model's path has a zero byte"))?;
        Ok(format!("{MODE}={} {quoted}", self.layer_adaptive))
    }
}

fn address(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Options that a profile may set: the model, its cache, and where to listen. Others (keys, folders, other files) are the
/// user's own to say, because a profile is a file that people pass on.
const ALLOWED: [&str; 12] = [
    "alias",
    "cache-type-k",
    "cache-type-v",
    "ctx-size",
    "gpu-layers",
    "hf-repo",
    "host",
    "model",
    "ollama",
    "ollama-host",
    "parallel",
    "port",
];

/// Reads a command that starts this server or llama-server.
///
/// # Errors
/// Another program, open quotes, options that do not exist or that a profile may not set.
pub(super) fn settings(text: &str, serve: &Command) -> Result<Settings> {
    let attempt = || -> Result<Settings> {
        let words = shlex::split(text).context("a quote is not closed")?;
        let mut words = words.into_iter().peekable();
        let mut settings = Settings::default();
        if words.peek().is_some_and(|word| word == "env") {
            words.next();
        }
        while let Some((name, value)) = words.peek().and_then(|word| assignment(word)) {
            let (name, value) = (name.to_owned(), value.to_owned());
            words.next();
            if name != MODE {
                bail!("it sets the variable {}; a profile may set {MODE} only", excerpt(&name));
            }
            settings.agree(MODE, "layer-adaptive", &value)?;
        }
        let program = words.next().unwrap_or_default();
        let stem = Path::new(&program).file_stem().unwrap_or_default().to_string_lossy();
        match (stem.as_ref(), words.peek().map(String::as_str)) {
            ("llama-server", _) => {}
            ("turboquant", Some("serve")) => {
                words.next();
            }
            _ => bail!(
                "it starts with `{}`; expected is `turboquant serve` or `llama-server`",
                excerpt(&program)
            ),
        }
        options(words.map(OsString::from).collect(), serve, &mut settings)?;
        Ok(settings)
    };
    attempt().with_context(|| format!("its server command `{}`", excerpt(text)))
}

fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let is_name = !name.is_empty()
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    is_name.then_some((name, value))
}

fn options(words: Vec<OsString>, serve: &Command, settings: &mut Settings) -> Result<()> {
    let rewritten = llama::expand(words, serve).map_err(anyhow::Error::msg)?;
    for (flag, so) in rewritten.settled {
        settings.notes.push(format!("{flag} changes nothing: {so}"));
    }
    let mut words = rewritten
        .args
        .into_iter()
        .map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = words.next() {
        let (name, joined) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let arg = match (name.strip_prefix("--"), name.strip_prefix('-')) {
            (Some(long), _) => file::option(serve, long),
            (None, Some(short)) => serve
                .get_arguments()
                .find(|arg| arg.get_short().is_some_and(|letter| short == letter.to_string())),
            (None, None) => None,
        };
        let long = arg.and_then(|arg| arg.get_long());
        let Some((arg, long)) = arg.zip(long) else {
            bail!("`{}` is no option of `turboquant serve`", excerpt(&word));
        };
        if !ALLOWED.contains(&long) && long != "layer-adaptive" {
            bail!("a profile may not set --{long}; put it on the command line or into the configuration file");
        }
        let value = match (joined, arg.get_action()) {
            (Some(value), _) => value,
            (None, ArgAction::SetTrue) => "true".to_owned(),
            (None, _) => words.next().with_context(|| format!("--{long} needs a value"))?,
        };
        if settings.get(long).is_some_and(|there| there != value) {
            bail!("it says --{long} twice, with different values");
        }
        settings.agree("the command", long, &value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn serve() -> Command {
        let mut root = crate::options::command();
        root.build();
        root.find_subcommand("serve").unwrap().clone()
    }

    fn server() -> Server {
        Server {
            model: Some("/models/it's a model.gguf".into()),
            k: KvType::Q8_0,
            v: KvType::Turbo2,
            layer_adaptive: 7,
            n_ctx: 65_536,
            n_slots: 2,
            gpu_layers: Some(12),
            listen: Some(("::1".into(), 9000)),
            ollama: false,
        }
    }

    #[test]
    fn a_command_is_read_back_as_it_was_meant() {
        let read = settings(&server().command().unwrap(), &serve()).unwrap();
        for (option, value) in [
            ("layer-adaptive", "7"),
            ("model", "/models/it's a model.gguf"),
            ("cache-type-k", "q8_0"),
            ("cache-type-v", "turbo2"),
            ("ctx-size", "65536"),
            ("parallel", "2"),
            ("gpu-layers", "12"),
            ("host", "::1"),
            ("port", "9000"),
        ] {
            assert_eq!(read.get(option), Some(value), "{option}");
        }
        assert_eq!(read.options.len(), 9);
    }

    #[test]
    fn a_command_for_ollama_has_its_address_there() {
        let server = Server {
            ollama: true,
            ..server()
        };
        let read = settings(&server.command().unwrap(), &serve()).unwrap();
        assert_eq!(read.get("ollama"), Some("true"));
        assert_eq!(read.get("ollama-host"), Some("[::1]:9000"));
    }

    #[test]
    fn commands_of_llama_server_are_read_too() {
        let text = "TURBO_LAYER_ADAPTIVE=7 ./build/bin/llama-server -m m.gguf -ctk turbo4 --cache-type-v turbo4 -c 131072 -fa on";
        let read = settings(text, &serve()).unwrap();
        assert_eq!(read.get("cache-type-k"), Some("turbo4"));
        assert_eq!(read.get("ctx-size"), Some("131072"));
        assert_eq!(read.notes.len(), 1, "{:?}", read.notes);
    }

    #[test]
    fn what_a_profile_may_not_do_is_refused() {
        for (text, why) in [
            ("rm -rf /", "starts with `rm`"),
            ("turboquant run -m x", "turboquant serve"),
            ("", "starts with ``"),
            ("turboquant serve -m 'x", "quote"),
            ("LD_PRELOAD=x turboquant serve", "LD_PRELOAD"),
            ("turboquant serve --api-key-file /etc/passwd", "--api-key-file"),
            ("turboquant serve --slot-save-path /", "--slot-save-path"),
            ("turboquant serve --nonsense", "--nonsense"),
            ("turboquant serve x", "`x`"),
            ("turboquant serve -c 1 -c 2", "twice"),
            ("turboquant serve -m", "--model needs a value"),
            ("TURBO_LAYER_ADAPTIVE=1 turboquant serve --layer-adaptive 2", "twice"),
            ("turboquant serve; rm -rf /", "starts with"),
        ] {
            let error = format!("{:#}", settings(text, &serve()).unwrap_err());
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
