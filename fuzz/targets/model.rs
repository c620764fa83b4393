//! Files that come with models: GGUF with weights, adapters and projectors in it, and pictures. Read or refused.

#[path = "../../tests/support/adapter.rs"]
mod adapter;
#[path = "../../tests/support/mmproj.rs"]
mod mmproj_file;

use super::scratch;
use llama_turboquant::engine::chat::ChatTemplate;
use llama_turboquant::engine::synth::SynthParams;
use llama_turboquant::vision::{Image, ImageLimits, Projector, ProjectorConfig};
use llama_turboquant::{Batch, ContextConfig, Error, Model};
use std::path::PathBuf;
use std::sync::OnceLock;

/// A model that is loaded in a millisecond.
fn shape(arch: &str) -> SynthParams {
    SynthParams {
        layers: 2,
        heads: 1,
        kv_heads: 1,
        head_dim: 32,
        ff: 32,
        vocab: 300,
        // the rows of a compressed cache of deepseek2 are too short for blocks
        weight_type: if arch == "deepseek2" { "f16" } else { "q8_0" }.into(),
        ..SynthParams::of(arch)
    }
}

/// The model that adapters, projectors, templates and grammars are for.
pub fn small() -> &'static Model {
    static MODEL: OnceLock<Model> = OnceLock::new();
    MODEL.get_or_init(|| {
        let path = scratch().join("small.gguf");
        shape("llama").write(&path).expect("a model");
        let model = Model::builder(&path).mmap(false).load().expect("a model");
        std::fs::remove_file(path).expect("the weights are in memory");
        model
    })
}

fn file(name: &str, data: &[u8]) -> PathBuf {
    let path = scratch().join(name);
    std::fs::write(&path, data).expect("a file");
    path
}

fn content(path: PathBuf) -> Vec<u8> {
    let bytes = std::fs::read(&path).expect("the file");
    std::fs::remove_file(path).expect("the file");
    bytes
}

/// Models of several architectures.
pub fn gguf_seeds() -> Vec<Vec<u8>> {
    let write = |arch: &&str| {
        let path = scratch().join(format!("seed-{arch}.gguf"));
        shape(arch).write(&path).expect("a model");
        content(path)
    };
    ["llama", "qwen2", "qwen3", "gemma3", "lfm2", "deepseek2"]
        .iter()
        .map(write)
        .collect()
}

/// A model: looked at, loaded, described, and asked for one token.
pub fn gguf(data: &[u8]) {
    let path = file("model.gguf", data);
    let looked = Model::builder(&path).metadata_only(true).load();
    let loaded = Model::builder(&path).mmap(false).load();
    for result in [&looked, &loaded] {
        assert!(matches!(result, Ok(_) | Err(Error::Load { .. })), "{result:?}");
    }
    let Ok(model) = loaded else { return };
    model.metadata().expect("metadata");
    let _ = ChatTemplate::from_model(&model);
    let tokens = model.tokenize("hello <s> \u{e9}\n", true, true).expect("tokens");
    model.detokenize(&tokens, true).expect("the tokens' text");
    let config = ContextConfig {
        n_ctx: 32,
        n_batch: 32,
        n_ubatch: 32,
        n_threads: 1,
        ..ContextConfig::default()
    };
    let Ok(mut context) = model.context(config) else { return };
    let mut batch = Batch::new(1);
    batch.push(0, 0, 0, true);
    let _ = context.decode(&batch);
}

/// An adapter for [`small`].
pub fn lora_seeds() -> Vec<Vec<u8>> {
    let file = adapter::AdapterFile::of("llama", 8.0)
        .change("blk.0.attn_q.weight", (32, 32), 2, 1, 0.1)
        .change("blk.0.ffn_up.weight", (32, 32), 2, 2, 0.1);
    vec![file.bytes()]
}

/// An adapter: refused or loaded.
pub fn lora(data: &[u8]) {
    let path = file("lora.gguf", data);
    if let Err(error) = small().load_lora(&path) {
        assert!(matches!(error, Error::LoadLora { .. }), "{error:?}");
    }
}

/// Projectors for [`small`].
pub fn mmproj_seeds() -> Vec<Vec<u8>> {
    let write = |kind| {
        let path = scratch().join("seed-mmproj.gguf");
        mmproj_file::write(&path, kind, 32);
        content(path)
    };
    [
        mmproj_file::Kind::Mlp,
        mmproj_file::Kind::Gemma3,
        mmproj_file::Kind::Qwen2Vl,
    ]
    .map(write)
    .to_vec()
}

/// A projector: refused, or loaded and given a picture.
pub fn mmproj(data: &[u8]) {
    let path = file("mmproj.gguf", data);
    let config = ProjectorConfig {
        n_threads: 1,
        ..ProjectorConfig::default()
    };
    match Projector::load(small(), &path, &config) {
        Err(error) => assert!(
            matches!(error, Error::Load { .. } | Error::Invalid(_) | Error::Unsupported(_)),
            "{error:?}"
        ),
        Ok(projector) => {
            let picture = Image::from_rgb(8, 8, vec![127; 192]).expect("a picture");
            let _ = projector.encode(&picture, None);
        }
    }
}

/// A picture from a request.
pub fn image(data: &[u8]) {
    let limits = ImageLimits {
        pixels: 1 << 16,
        ..ImageLimits::default()
    };
    if let Ok(image) = Image::decode(data, limits) {
        let pixels = u64::from(image.width()) * u64::from(image.height());
        assert!(pixels > 0 && pixels <= limits.pixels && image.rgb().len() as u64 == 3 * pixels);
    }
}
