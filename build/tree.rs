//! Lays out the tree that CMake builds: pristine llama.cpp + patches + our kernels and shim.
//! Only files whose content changed are written, so CMake rebuilds only what depends on them.

use super::{Result, config::Config, patch, source::Source};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Parts of the source tree that our build or its peer tools (llama-bench, ...) use.
const PARTS: [&str; 9] = [
    "CMakeLists.txt",
    "LICENSE",
    "cmake",
    "common",
    "ggml",
    "include",
    "src",
    "tools",
    "vendor",
];
/// Backends we do not offer: a third of the tree that nobody needs to copy.
const LEFT_OUT: [&str; 11] = [
    "ggml-cann",
    "ggml-et",
    "ggml-hexagon",
    "ggml-musa",
    "ggml-opencl",
    "ggml-openvino",
    "ggml-sycl",
    "ggml-virtgpu",
    "ggml-webgpu",
    "ggml-zdnn",
    "ggml-zendnn",
];

pub fn lay_out(config: &Config, source: &Source, into: &Path) -> Result<()> {
    let patched = patch::apply_series(&config.path("patches"), &source.dir)?;
    let mut tree = Tree { kept: BTreeSet::new() };
    let llama = into.join("llama.cpp");
    for part in PARTS {
        for file in files_below(&source.dir, Path::new(part))? {
            let to = llama.join(&file);
            match patched.get(&file) {
                Some(text) => tree.write(&to, text.as_bytes())?,
                None => tree.copy(&source.dir.join(&file), &to)?,
            }
        }
    }
    for ours in ["ffi", "kernels"] {
        for file in files_below(&config.root, Path::new(ours))? {
            tree.copy(&config.path(&file), &into.join(&file))?;
        }
    }
    // Upstream's Metal backend compiles what lies in this folder, one library per file.
    for file in files_below(&config.root, Path::new("kernels/metal"))? {
        if file.extension().is_some_and(|e| e == "metal") && file.parent() == Some(Path::new("kernels/metal")) {
            let name = file.file_name().expect("a file has a name");
            tree.copy(
                &config.path(&file),
                &llama.join("ggml/src/ggml-metal/kernels").join(name),
            )?;
        }
    }
    tree.copy(&config.path("ffi/CMakeLists.txt"), &into.join("CMakeLists.txt"))?;
    tree.remove_strangers(into)
}

/// All regular files below `root/part`, as paths relative to `root`.
pub fn files_below(root: &Path, part: &Path) -> Result<Vec<PathBuf>> {
    let path = root.join(part);
    if path.is_file() {
        return Ok(vec![part.to_owned()]);
    }
    let mut files = Vec::new();
    let entries = std::fs::read_dir(&path).map_err(|e| format!("reading {}: {e}", path.display()))?;
    for entry in entries.flatten() {
        let name = entry.file_name();
        if LEFT_OUT.iter().any(|left| name == *left) {
            continue;
        }
        files.extend(files_below(root, &part.join(name))?);
    }
    files.sort();
    Ok(files)
}

struct Tree {
    kept: BTreeSet<PathBuf>,
}

impl Tree {
    fn copy(&mut self, from: &Path, to: &Path) -> Result<()> {
        let content = std::fs::read(from).map_err(|e| format!("reading {}: {e}", from.display()))?;
        self.write(to, &content)
    }

    fn write(&mut self, to: &Path, content: &[u8]) -> Result<()> {
        self.kept.insert(to.to_owned());
        if std::fs::read(to).is_ok_and(|present| present == content) {
            return Ok(());
        }
        let parent = to.parent().expect("files lie in the tree");
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::write(to, content))
            .map_err(|e| format!("writing {}: {e}", to.display()))
    }

    /// Files of an earlier layout (a kernel that was renamed) must not be compiled again.
    fn remove_strangers(&self, into: &Path) -> Result<()> {
        for file in files_below(into, Path::new(""))? {
            let path = into.join(file);
            if !self.kept.contains(&path) {
                std::fs::remove_file(&path).map_err(|e| format!("removing {}: {e}", path.display()))?;
            }
        }
        Ok(())
    }
}
