//! Applies `patches/*.patch` in order, in memory. A hunk that does not apply stops the build.

use super::Result;
use diffy::patch_set::{FileOperation, ParseOptions, PatchKind, PatchSet};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Patched files by their path below the llama.cpp root.
pub type Patched = BTreeMap<PathBuf, String>;

/// The patch files in the order of their numbers.
pub fn series(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("reading {}: {e}", dir.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "patch"))
        .collect();
    files.sort();
    Ok(files)
}

pub fn apply_series(patches: &Path, pristine: &Path) -> Result<Patched> {
    let mut patched = Patched::new();
    for file in series(patches)? {
        apply(&file, pristine, &mut patched)?;
    }
    Ok(patched)
}

fn apply(file: &Path, pristine: &Path, patched: &mut Patched) -> Result<()> {
    let name = file.display();
    let text = std::fs::read_to_string(file).map_err(|e| format!("reading {name}: {e}"))?;
    for entry in PatchSet::parse(&text, ParseOptions::gitdiff()) {
        let entry = entry.map_err(|e| format!("{name}: not a readable patch: {e}"))?;
        let target = match entry.operation().strip_prefix(1) {
            FileOperation::Modify { modified, .. } => PathBuf::from(modified.as_ref()),
            _ => {
                return Err(format!(
                    "{name}: patches only modify files; new files belong to kernels/ or ffi/"
                ));
            }
        };
        let PatchKind::Text(patch) = entry.patch() else {
            return Err(format!("{name}: binary patches are not supported"));
        };
        let base = match patched.get(&target) {
            Some(text) => text.clone(),
            None => std::fs::read_to_string(pristine.join(&target))
                .map_err(|e| format!("{name}: reading {}: {e}", target.display()))?,
        };
        let result = diffy::apply(&base, patch).map_err(|error| {
            let hunks = patch.hunks();
            let place = error_hunk(&error.to_string())
                .and_then(|i| hunks.get(i - 1).map(|h| format!("hunk #{i} (old line {})", h.old_range().start())))
                .unwrap_or_else(|| error.to_string());
            format!(
                "{name}: {place} does not apply to {}.\nThe patch was made for another llama.cpp than {}. Re-make it with \
                 scripts/refresh-patches.sh; docs/upgrading.md explains how.",
                target.display(),
                pristine.display()
            )
        })?;
        patched.insert(target, result);
    }
    Ok(())
}

/// diffy names the failing hunk only in its message: "error applying hunk #2".
fn error_hunk(message: &str) -> Option<usize> {
    message.rsplit('#').next()?.trim().parse().ok()
}
