//! KV cache types and how a context's layers use them: names, sizes, policies, guards.
//! Pure arithmetic; nothing here touches the engine.

mod budget;
mod config;
mod guard;
mod map;
mod policy;
mod spec;
mod types;

pub use budget::{CacheShape, KvBytes, LayerBytes};
pub use config::{KvCacheConfig, LayerTypes, ResolvedKv};
pub use guard::{KvIssue, KvNotice};
pub(crate) use guard::{has_sensitive_keys, needs_key_guard};
pub use map::{LayerMap, LayerPair};
pub use policy::LayerPolicy;
pub use spec::KvSpec;
pub use types::{KvType, Layout};
