//! The fields about the cache and the server that profiles of both OpenAI forms have in common.

use super::{Profile, Settings, VERSION, command};
use anyhow::{Context as _, Result, bail};
use clap::Command;
use llama_turboquant::KvType;
use serde::{Deserialize, Serialize};

/// `turboquant` in a profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Section {
    /// The form of these fields; missing in profiles written by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Which program wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_by: Option<String>,
    /// Whether the cache is compressed.
    pub enabled: bool,
    /// The turbo type: V's, or K's where V has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_type: Option<KvType>,
    /// Type of K, where it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub type_k: Option<KvType>,
    /// Type of V, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub type_v: Option<KvType>,
    /// Layer-adaptive mode.
    pub layer_adaptive: u8,
    /// Requests at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u32>,
    /// Starts the server.
    pub server_command: String,
}

/// The types that the field `kv_type` may name.
pub(super) const TURBO: [KvType; 3] = [KvType::Turbo4, KvType::Turbo3, KvType::Turbo2];

impl Section {
    pub fn new(profile: &Profile) -> Result<Self> {
        let server = &profile.server;
        let kv_type = [server.v, server.k].into_iter().find(|ty| TURBO.contains(ty));
        let other = |ty: KvType| (Some(ty) != kv_type).then_some(ty);
        Ok(Self {
            version: Some(VERSION),
            written_by: Some(concat!("turboquant ", env!("CARGO_PKG_VERSION")).into()),
            enabled: kv_type.is_some(),
            kv_type,
            type_k: other(server.k),
            type_v: other(server.v),
            layer_adaptive: server.layer_adaptive,
            parallel: Some(server.n_slots),
            server_command: server.command()?,
        })
    }

    /// Options of `serve`, for a context of `n_ctx` tokens.
    pub fn settings(&self, n_ctx: (&str, u64), serve: &Command) -> Result<Settings> {
        check_version(self.version)?;
        let mut settings = command::settings(&self.server_command, serve)?;
        if self.version.is_none() {
            let note = "the profile has no turboquant.version, so it was written by hand; it is read as version 1";
            settings.notes.push(note.into());
        }
        let turbo = self.kv_type.filter(|ty| TURBO.contains(ty));
        match (self.enabled, self.kv_type, turbo) {
            (true, Some(other), None) => bail!(
                "turboquant.kv_type is {other}; it must be turbo2, turbo3 or turbo4, and others belong into type_k and type_v"
            ),
            (true, None, _) => {
                bail!("turboquant.enabled is true, and turboquant.kv_type does not say which turbo type")
            }
            (false, Some(ty), _) => bail!("it contradicts itself: turboquant.enabled is false, and kv_type is {ty}"),
            _ => {}
        }
        let side = |own: Option<KvType>, name: &str| {
            own.or(turbo)
                .with_context(|| format!("turboquant.{name} is missing, and there is no kv_type to stand for it"))
        };
        settings.agree(
            "turboquant.type_k",
            "cache-type-k",
            &side(self.type_k, "type_k")?.to_string(),
        )?;
        settings.agree(
            "turboquant.type_v",
            "cache-type-v",
            &side(self.type_v, "type_v")?.to_string(),
        )?;
        let mode = self.layer_adaptive.to_string();
        settings.agree("turboquant.layer_adaptive", "layer-adaptive", &mode)?;
        settings.agree(n_ctx.0, "ctx-size", &n_ctx.1.to_string())?;
        if let Some(parallel) = self.parallel {
            settings.agree("turboquant.parallel", "parallel", &parallel.to_string())?;
        }
        Ok(settings)
    }
}

/// Refuses what may mean something else than it did.
pub(super) fn check_version(version: Option<u32>) -> Result<()> {
    match version {
        None | Some(VERSION) => Ok(()),
        Some(other) => bail!(
            "it has version {other}, and this program reads version {VERSION}; write it anew with `turboquant profile`, or use \
             the version of turboquant that wrote it"
        ),
    }
}

/// Adds where the endpoint says that the server listens.
pub(super) fn listen(field: &str, url: &str, settings: &mut Settings) -> Result<()> {
    let endpoint = super::Endpoint::new(url).with_context(|| field.to_owned())?;
    // where the command says it, something may stand between that endpoint and this machine
    let all = ["0.0.0.0", "::"];
    match endpoint.listens() {
        Err(why) => settings.notes.push(why.to_string()),
        Ok((host, port)) => {
            settings.agree(field, "port", &port.to_string())?;
            if settings.get("host").is_none_or(|host| !all.contains(&host)) {
                settings.agree(field, "host", host)?;
            }
        }
    }
    Ok(())
}
