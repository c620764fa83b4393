//! Options of `pull`, `list` and `rm`.

use crate::embedded;
use crate::hub::{self, Hub, HubSettings, Patience};
use crate::store::{self, Store};
use clap::Args;
use std::path::PathBuf;

/// Where models are kept.
#[derive(Debug, Clone, Default, Args)]
pub struct StoreArgs {
    /// Folder with models. Default: one in the user's data directory.
    #[arg(long, value_name = "DIR", env = "OLLAMA_MODELS")]
    pub models_dir: Option<PathBuf>,
}

impl StoreArgs {
    /// The folder, with the embedded model beside what is in it.
    ///
    /// # Errors
    /// A path that is no folder.
    pub fn open(&self) -> Result<Store, store::Error> {
        let folder = self.models_dir.clone().unwrap_or_else(Store::default_folder);
        Ok(Store::open(folder)?.with_model(embedded::entry()))
    }
}

/// Where models come from.
#[derive(Debug, Clone, Args)]
pub struct HubArgs {
    /// URL of the hub that models are downloaded from.
    #[arg(long, value_name = "URL", env = "HF_ENDPOINT", default_value = hub::DEFAULT_URL)]
    pub hub_url: String,
    /// Token for models that the hub does not give to everybody.
    #[arg(long, value_name = "TOKEN", env = "HF_TOKEN", hide_env_values = true)]
    pub hf_token: Option<String>,
}

impl HubArgs {
    /// The hub.
    ///
    /// # Errors
    /// A URL that cannot be used.
    pub fn open(&self) -> Result<Hub, hub::Error> {
        Hub::new(HubSettings {
            url: self.hub_url.clone(),
            // a variable that is set to nothing is no token
            token: self.hf_token.clone().filter(|token| !token.trim().is_empty()),
            patience: Patience::default(),
        })
    }
}

/// A model on a hub, instead of a file.
#[derive(Debug, Clone, Args)]
pub struct RemoteArgs {
    /// Model of a hub instead of a file: org/repo or org/repo:QUANT. Downloaded unless the models folder has it. [-hf]
    #[arg(long, value_name = "MODEL", conflicts_with = "model")]
    pub hf_repo: Option<String>,
    /// Which file of that repository. [-hff]
    #[arg(long, value_name = "FILE", requires = "hf_repo")]
    pub hf_file: Option<String>,
    /// Ask no hub: use what is in the models folder. Clients cannot pull models then.
    #[arg(long)]
    pub offline: bool,
    #[command(flatten)]
    pub hub: HubArgs,
}

impl RemoteArgs {
    /// The hub, which refuses everything with `--offline`.
    ///
    /// # Errors
    /// A URL that cannot be used.
    pub fn open_hub(&self) -> Result<Hub, hub::Error> {
        let hub = self.hub.open()?;
        Ok(if self.offline { hub.offline() } else { hub })
    }
}

/// Options of `pull`.
#[derive(Debug, Args)]
pub struct PullArgs {
    /// org/repo, org/repo:QUANT or org/repo:file.gguf; without a tag Q4_K_M, else Q8_0, else the first.
    #[arg(value_name = "MODEL")]
    pub model: String,
    #[command(flatten)]
    pub store: StoreArgs,
    #[command(flatten)]
    pub hub: HubArgs,
}

/// Options of `list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub store: StoreArgs,
}

/// Options of `rm`.
#[derive(Debug, Args)]
pub struct RmArgs {
    /// Names, as `list` shows them.
    #[arg(value_name = "MODEL", required = true)]
    pub models: Vec<String>,
    #[command(flatten)]
    pub store: StoreArgs,
}
