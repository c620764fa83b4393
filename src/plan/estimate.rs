//! The footprint of a model that is only known by a few numbers.

use super::footprint::{MAX_LAYERS, program_bytes};
use super::{Compute, Footprint, Weights};
use crate::engine::{FimTokens, LayerMeta, ModelMeta, Pooling};
use crate::{Error, Result};

/// What people know of a model they do not have yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Bytes of its file.
    pub model_bytes: u64,
    /// Layers, all of which are taken to have a KV cache over the whole context.
    pub layers: u32,
    /// KV heads.
    pub kv_heads: u32,
    /// Values per head.
    pub head_dim: u32,
    /// Tokens of the vocabulary, which the scratch buffers depend on; 0: unknown, 152064 (Qwen2.5's) is taken.
    pub n_vocab: u32,
    /// Width of the residual stream, which the scratch buffers depend on; 0: unknown, 5120 (a 27B to 32B model's) is taken.
    pub n_embd: u32,
}

/// Stand-ins for what is unknown; they only size scratch buffers.
const VOCABULARY: u32 = 152_064;
const WIDTH: u32 = 5120;
/// The longest context that is not remarked on.
const CONTEXT: u32 = 131_072;

impl Footprint {
    /// From a few numbers. Every layer is taken to have full attention; scratch buffers are estimated.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a number that no model has.
    pub fn estimated(numbers: &Estimate) -> Result<Self> {
        let within = |value: u64, low: u64, high: u64, what: &str| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(Error::Invalid(format!("{what} of {value} is outside {low} to {high}")))
            }
        };
        within(numbers.model_bytes, 1, 1 << 50, "a model size in bytes")?;
        within(numbers.layers.into(), 1, MAX_LAYERS.into(), "a number of layers")?;
        within(numbers.kv_heads.into(), 1, 1024, "a number of KV heads")?;
        within(numbers.head_dim.into(), 1, 8192, "a head size")?;
        within(numbers.n_vocab.into(), 0, 1 << 24, "a vocabulary size")?;
        within(numbers.n_embd.into(), 0, 1 << 20, "a width")?;
        let layer = LayerMeta {
            kv: true,
            recurrent: false,
            recurrent_bytes: 0,
            swa: false,
            rope: true,
            n_rot: numbers.head_dim,
            n_head: numbers.kv_heads,
            n_head_kv: numbers.kv_heads,
            head_dim_k: numbers.head_dim,
            head_dim_v: numbers.head_dim,
            device: String::new(),
        };
        let count = numbers.layers as usize;
        let (each, rest) = (
            numbers.model_bytes / u64::from(numbers.layers),
            numbers.model_bytes % u64::from(numbers.layers),
        );
        Ok(Self {
            meta: meta(numbers, vec![layer; count]),
            weights: Weights {
                input: 0,
                layers: vec![each; count],
                output: rest,
                tied: 0,
            },
            compute: Compute::Estimated,
            projector: 0,
            draft: None,
            program: program_bytes(),
        })
    }
}

fn meta(numbers: &Estimate, layers: Vec<LayerMeta>) -> ModelMeta {
    let or = |value: u32, stand_in: u32| if value == 0 { stand_in } else { value };
    let n_embd = or(numbers.n_embd, WIDTH);
    ModelMeta {
        architecture: "unknown".into(),
        name: String::new(),
        description: format!(
            "{} layers, {} KV heads of {}",
            numbers.layers, numbers.kv_heads, numbers.head_dim
        ),
        n_params: 0,
        size: numbers.model_bytes,
        fingerprint: String::new(),
        n_ctx_train: CONTEXT,
        n_embd,
        n_embd_out: n_embd,
        n_layer: numbers.layers,
        n_layer_all: numbers.layers,
        n_vocab: or(numbers.n_vocab, VOCABULARY),
        n_swa: 0,
        swa: false,
        mla: false,
        indexer: false,
        recurrent: false,
        hybrid: false,
        encoder: false,
        decoder: true,
        softcap: false,
        can_shift: true,
        layers,
        bos: -1,
        eos: -1,
        eot: -1,
        add_bos: false,
        chat_template: false,
        pooling: Pooling::None,
        n_cls_out: 0,
        fim: FimTokens {
            prefix: -1,
            suffix: -1,
            middle: -1,
            pad: -1,
            repo: -1,
            separator: -1,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kv::{KvCacheConfig, KvType};
    use crate::plan::Setup;

    fn numbers() -> Estimate {
        Estimate {
            model_bytes: 16 << 30,
            layers: 64,
            kv_heads: 4,
            head_dim: 160,
            n_vocab: 0,
            n_embd: 0,
        }
    }

    #[test]
    fn the_reference_model_takes_5120_mib_of_f16_at_32k_and_turbo4_a_quarter_of_it() {
        // 160 KiB per token: 40 layers, 8 KV heads of 128, K and V of 2 bytes
        let numbers = Estimate {
            layers: 40,
            kv_heads: 8,
            head_dim: 128,
            ..numbers()
        };
        let footprint = Footprint::estimated(&numbers).expect("a footprint");
        let cache = |ty| {
            let setup = Setup {
                n_ctx: 32_768,
                kv: KvCacheConfig::uniform(ty).with_layers(crate::LayerPolicy::Uniform),
                ..Setup::default()
            };
            footprint.cache(&setup).expect("a cache").cache()
        };
        assert_eq!(cache(KvType::F16), 5120 << 20);
        assert_eq!(cache(KvType::Turbo4), (5120 << 20) / 256 * 66);
    }

    #[test]
    fn weights_add_up_to_the_size_of_the_model() {
        let odd = Estimate {
            model_bytes: 1_000_003,
            ..numbers()
        };
        assert_eq!(
            Footprint::estimated(&odd).expect("a footprint").weights.total(),
            1_000_003
        );
    }

    #[test]
    fn numbers_that_no_model_has_are_refused_by_name() {
        let refused = |numbers: Estimate| Footprint::estimated(&numbers).expect_err("refused").to_string();
        assert!(refused(Estimate { layers: 0, ..numbers() }).contains("layers of 0"));
        assert!(
            refused(Estimate {
                layers: u32::MAX,
                ..numbers()
            })
            .contains("layers")
        );
        assert!(
            refused(Estimate {
                kv_heads: 0,
                ..numbers()
            })
            .contains("KV heads")
        );
        assert!(
            refused(Estimate {
                head_dim: u32::MAX,
                ..numbers()
            })
            .contains("head size")
        );
        assert!(
            refused(Estimate {
                model_bytes: 0,
                ..numbers()
            })
            .contains("model size")
        );
        assert!(
            refused(Estimate {
                model_bytes: u64::MAX,
                ..numbers()
            })
            .contains("model size")
        );
    }
}
