//! Limits of this process.

use crate::doctor::facts::Limits;
use llama_turboquant::machine::Fact;

#[cfg(unix)]
pub(super) fn look() -> Limits {
    use rustix::process::{Resource, getrlimit};
    Limits {
        // the soft limit is the one that counts, and `serve` raises it to the hard one
        open_files: Fact::Known(getrlimit(Resource::Nofile).maximum),
        locked_memory: Fact::Known(getrlimit(Resource::Memlock).current),
    }
}

#[cfg(not(unix))]
pub(super) fn look() -> Limits {
    let unknown = || Fact::unknown("this system has no such limits");
    Limits {
        open_files: unknown(),
        locked_memory: unknown(),
    }
}
