//! Limits of this process.

use crate::doctor::facts::Limits;
use crate::doctor::{Finding, Level};
use crate::settings::human_bytes;
use llama_turboquant::machine::Fact;

/// Connections that `serve` takes at once unless told otherwise (--max-connections).
const CONNECTIONS: u64 = 1024;
/// Files that a server has open besides: models in shards, logs, sockets that listen.
const OTHERS: u64 = 64;

pub(super) fn check(limits: &Limits) -> Vec<Finding> {
    vec![open_files(&limits.open_files), locked(&limits.locked_memory)]
}

fn open_files(limit: &Fact<Option<u64>>) -> Finding {
    const ID: &str = "limits.open_files";
    let limit = match limit {
        Fact::Known(None) => return Finding::ok(ID, "no limit of open files"),
        Fact::Known(Some(limit)) => *limit,
        Fact::Unknown(why) => {
            return Finding::new(
                ID,
                Level::Note,
                format!("the limit of open files is unknown: {why}"),
                "Each connection is an open file.",
            );
        }
    };
    let what = format!("this process may have {limit} files open");
    if limit >= CONNECTIONS + OTHERS {
        return Finding::ok(ID, what);
    }
    let connections = limit.saturating_sub(OTHERS);
    let level = if connections < 128 { Level::Warning } else { Level::Note };
    Finding::new(
        ID,
        level,
        what,
        format!("`serve` takes {CONNECTIONS} connections at once; from about {connections} on they would fail."),
    )
    .remedy(format!(
        "`ulimit -n 4096` before `serve` (LimitNOFILE= in a service file), or --max-connections {}.",
        connections.max(1)
    ))
}

fn locked(limit: &Fact<Option<u64>>) -> Finding {
    const ID: &str = "limits.locked_memory";
    let what = match limit {
        Fact::Known(None) => "no limit of locked memory".to_owned(),
        Fact::Known(Some(limit)) => format!("this process may lock {} in memory", human_bytes(*limit)),
        Fact::Unknown(why) => format!("the limit of locked memory is unknown: {why}"),
    };
    Finding::ok(
        ID,
        format!("{what}; this program locks none (there is no --mlock), so it does not matter"),
    )
}
