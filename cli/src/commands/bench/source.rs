//! The models that are measured: files, the embedded one, or one made for this.

use super::plan::Group;
use super::shape::Shape;
use crate::args::BenchArgs;
use crate::console;
use crate::embedded;
use crate::settings::human_bytes;
use anyhow::{Context, Result};
use llama_turboquant::{CancelToken, Model, ModelBuilder, ModelMeta};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use tempfile::TempPath;

/// A model, known by its metadata so far.
pub struct Source {
    kind: Kind,
    path: PathBuf,
    meta: ModelMeta,
}

enum Kind {
    Embedded,
    File(PathBuf),
    Synthetic {
        shape: Shape,
        /// The file goes when this goes.
        _file: TempPath,
    },
}

impl Source {
    /// The models that were named; without any the embedded one. A synthetic one gets room for `n_ctx` tokens.
    ///
    /// # Errors
    /// A file that is no model, or cannot be written.
    pub fn all(args: &BenchArgs, n_ctx: u32, cancel: &CancelToken) -> Result<Vec<Self>> {
        if let Some(shape) = &args.synthetic {
            let file = write(shape, n_ctx, cancel)?;
            return Ok(vec![Self::read(
                file.to_path_buf(),
                Kind::Synthetic {
                    shape: shape.clone(),
                    _file: file,
                },
            )?]);
        }
        if args.model.is_empty() {
            console::say!("{}", embedded::GREETING);
            return Ok(vec![Self::read(embedded::path()?, Kind::Embedded)?]);
        }
        args.model
            .iter()
            .map(|path| Self::read(path.clone(), Kind::File(path.clone())))
            .collect()
    }

    fn read(path: PathBuf, kind: Kind) -> Result<Self> {
        let model = Model::builder(&path).metadata_only(true).load()?;
        Ok(Self {
            kind,
            path,
            meta: model.meta().clone(),
        })
    }

    /// What rows call it: the file as it was named.
    pub fn name(&self) -> String {
        match &self.kind {
            Kind::Embedded => format!("{} (embedded)", embedded::NAME),
            Kind::File(path) => path.display().to_string(),
            Kind::Synthetic { shape, .. } => format!("synthetic {shape}"),
        }
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How a group loads it.
    pub fn builder(&self, group: &Group) -> ModelBuilder {
        Model::builder(&self.path).gpu_layers(group.gpu_layers())
    }
}

/// Checks everything about a group that can be known without weights.
///
/// # Errors
/// A depth beyond the model's limit, a cache that the model cannot have.
pub fn check(source: &Source, group: &Group, args: &BenchArgs) -> Result<()> {
    let workloads = group.workloads(!args.no_kv_guard, args.allow_cpu_attention);
    for (workload, cache) in workloads.iter().zip(&group.caches) {
        workload
            .check(&source.meta)
            .with_context(|| format!("{}, cache {cache}", source.name()))?;
    }
    Ok(())
}

fn write(shape: &Shape, n_ctx: u32, cancel: &CancelToken) -> Result<TempPath> {
    let params = shape.params(n_ctx);
    let file = tempfile::Builder::new()
        .prefix("turboquant-bench-")
        .suffix(".gguf")
        .tempfile()
        .context("cannot make a temporary file for the synthetic model")?
        .into_temp_path();
    console::say!("writing a random model {shape} ({})", human_bytes(params.size()?));
    params
        .write_with(&file, |_| match cancel.is_cancelled() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}
