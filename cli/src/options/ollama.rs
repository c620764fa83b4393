//! Ollama's environment variables, as our options. They are read with `--ollama`.

use super::environment::Environment;
use crate::args::llama;
use crate::settings::CacheType;

/// A variable and the option that stands for it.
const VARIABLES: &[(&str, &str)] = &[
    ("OLLAMA_HOST", "ollama-host"),
    ("OLLAMA_MODELS", "models-dir"),
    ("OLLAMA_KEEP_ALIVE", "keep-alive"),
    ("OLLAMA_NUM_PARALLEL", "parallel"),
    ("OLLAMA_MAX_QUEUE", "queue"),
    ("OLLAMA_MAX_LOADED_MODELS", "models-max"),
    ("OLLAMA_CONTEXT_LENGTH", "ctx-size"),
    ("OLLAMA_ORIGINS", "cors-origins"),
    ("OLLAMA_LOAD_TIMEOUT", "load-timeout"),
    ("OLLAMA_GPU_OVERHEAD", "gpu-overhead"),
];

/// The variable of Ollama that sets our option.
pub fn variable(option: &str) -> Option<&'static str> {
    match option {
        "cache-type-k" | "cache-type-v" => Some("OLLAMA_KV_CACHE_TYPE"),
        "verbose" => Some("OLLAMA_DEBUG"),
        _ => VARIABLES
            .iter()
            .find(|(_, name)| *name == option)
            .map(|(variable, _)| *variable),
    }
}

/// A variable, the option it sets, and the value.
pub type Setting = (&'static str, &'static str, String);

/// What the environment says. An empty variable says nothing, as with Ollama.
///
/// # Errors
/// A wish that cannot be fulfilled.
pub fn settings(environment: &Environment) -> Result<Vec<Setting>, String> {
    // people quote values in service files
    let get = |name| {
        let value = environment.get(name)?.trim().trim_matches(['"', '\'']).trim();
        (!value.is_empty()).then(|| value.to_owned())
    };
    let mut settings: Vec<Setting> = VARIABLES
        .iter()
        .filter_map(|(variable, option)| Some((*variable, *option, get(variable)?)))
        .collect();
    if let Some(types) = get("OLLAMA_KV_CACHE_TYPE") {
        let (k, v) = types.split_once(':').unwrap_or((&types, &types));
        for ty in [k, v] {
            let wrong = |error| {
                format!(
                    "OLLAMA_KV_CACHE_TYPE={types}: one type for K and V, or two as in q8_0:turbo4, is allowed; {error:#}"
                )
            };
            ty.parse::<CacheType>().map(drop).map_err(wrong)?;
        }
        settings.push(("OLLAMA_KV_CACHE_TYPE", "cache-type-k", k.to_owned()));
        settings.push(("OLLAMA_KV_CACHE_TYPE", "cache-type-v", v.to_owned()));
    }
    if let Some(debug) = get("OLLAMA_DEBUG") {
        let level = debug.parse::<u8>().ok().or(truth(&debug).map(u8::from));
        let level = level.ok_or_else(|| {
            format!("OLLAMA_DEBUG={debug}: 0 or false, 1 or true (more of the log), or 2 (all of it) is allowed")
        })?;
        if level > 0 {
            settings.push(("OLLAMA_DEBUG", "verbose", level.min(2).to_string()));
        }
    }
    // where 0 is Ollama's word for "choose", so it is ours
    settings.retain(|(_, option, value)| !(*option == "parallel" && value == "0"));
    if let Some(flash) = get("OLLAMA_FLASH_ATTENTION") {
        match truth(&flash) {
            Some(true) => {}
            Some(false) => {
                return Err(format!(
                    "OLLAMA_FLASH_ATTENTION={flash} is not possible here: compressed caches need flash attention; unset it"
                ));
            }
            None => {
                return Err(format!(
                    "OLLAMA_FLASH_ATTENTION={flash}: only 1 or true is allowed; unset it"
                ));
            }
        }
    }
    Ok(settings)
}

/// Truth values as Ollama, which is written in Go, reads them, and those of llama.cpp.
fn truth(value: &str) -> Option<bool> {
    let value = value.to_ascii_lowercase();
    match value.as_str() {
        "t" => Some(true),
        "f" => Some(false),
        other => llama::truth(other),
    }
}

/// Variables of Ollama that are set and mean nothing here.
pub fn unused(environment: &Environment) -> Vec<String> {
    let known = ["OLLAMA_KV_CACHE_TYPE", "OLLAMA_DEBUG", "OLLAMA_FLASH_ATTENTION"];
    environment
        .names("OLLAMA_")
        .filter(|name| !known.contains(name) && VARIABLES.iter().all(|(variable, _)| variable != name))
        .map(str::to_owned)
        .collect()
}
