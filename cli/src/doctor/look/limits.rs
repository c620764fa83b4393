//! Limits of this process.

use crate::doctor::facts::Limits;
use llama_turboquant::machine::Fact;

#[cfg(unix)]
pub(super) fn look() -> Limits {
    use rustix::process::{Resource, getrlimit};
    // the soft limit is the one that counts
    let limit = |resource| Fact::Known(getrlimit(resource).current);
    Limits {
        open_files: limit(Resource::Nofile),
        locked_memory: limit(Resource::Memlock),
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
