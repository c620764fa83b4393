//! `kernels/types.def` -> a Rust table, so that ids and sizes are stated once for C and Rust.

use super::{Result, config::Config};
use std::fmt::Write;

pub fn generate(config: &Config) -> Result<()> {
    let path = config.path("kernels/types.def");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("reading {}: {e}", path.display()))?;
    let mut rows = String::new();
    let mut count = 0;
    for line in text.lines().filter(|line| line.starts_with("TQ_KV_TYPE(")) {
        rows.push_str(&row(line).ok_or_else(|| {
            format!(
                "{}: cannot read the row `{line}`; expected TQ_KV_TYPE(ENUM, id, name, family, bits, block, bytes)",
                path.display()
            )
        })?);
        count += 1;
    }
    if count == 0 {
        return Err(format!("{}: no TQ_KV_TYPE row found", path.display()));
    }
    let code = format!("pub(crate) const REGISTRY: [Layout; {count}] = [\n{rows}];\n");
    let out = config.out_dir.join("kv_registry.rs");
    std::fs::write(&out, code).map_err(|e| format!("writing {}: {e}", out.display()))
}

fn row(line: &str) -> Option<String> {
    let inside = line.strip_prefix("TQ_KV_TYPE(")?.split(')').next()?;
    let fields: Vec<&str> = inside.split(',').map(str::trim).collect();
    let [_, id, name, family, bits, block, bytes] = fields[..] else {
        return None;
    };
    for number in [id, bits, block, bytes] {
        number.parse::<u32>().ok()?;
    }
    let mut out = String::new();
    writeln!(
        out,
        "    Layout {{ id: {id}, name: \"{name}\", family: \"{family}\", bits: {bits}, block: {block}, bytes: {bytes} }},"
    )
    .ok()?;
    Some(out)
}
