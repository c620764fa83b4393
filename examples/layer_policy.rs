//! What layer policies cost: bytes per token for some policies, then a context with a map of its own.
//!
//!     cargo run --release --example layer_policy -- [MODEL.gguf]

use llama_turboquant::{ContextConfig, KvCacheConfig, KvType, LayerPolicy, Model};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "models/tiny-q8_0.gguf".into());
    let model = Model::load(path)?;
    let n_ctx = 4096;

    let edges = LayerPolicy::EdgesHigh {
        first: 2,
        last: 2,
        ty: KvType::Q8_0,
    };
    for (name, policy) in [
        ("uniform turbo3", LayerPolicy::Uniform),
        ("mode 1: first and last 4 at q8_0", LayerPolicy::mode(1)?),
        ("mode 7: V of the first and last 2 at q8_0", LayerPolicy::mode(7)?),
        ("first and last 2 at q8_0", edges),
        ("as TURBO_LAYER_ADAPTIVE says", LayerPolicy::from_env()?),
    ] {
        let kv = KvCacheConfig::uniform(KvType::Turbo3).with_layers(policy);
        let bytes = kv.bytes(model.meta(), n_ctx)?;
        println!(
            "{:8.1} bytes per token  {name}",
            bytes.cache() as f64 / f64::from(n_ctx)
        );
    }

    // Any map: here K falls from q8_0 to turbo4 towards the middle, and V is turbo2 throughout.
    let n_layers = model.meta().kv_layers().count();
    let map = (0..n_layers)
        .map(|layer| {
            let from_edge = layer.min(n_layers - 1 - layer);
            (
                if from_edge < 2 { KvType::Q8_0 } else { KvType::Turbo4 },
                KvType::Turbo2,
            )
        })
        .collect();
    let kv = KvCacheConfig::uniform(KvType::Turbo4).with_layers(LayerPolicy::PerLayer(map));
    let context = model.context(ContextConfig {
        n_ctx,
        kv,
        ..Default::default()
    })?;
    for types in &context.kv().layers {
        println!("layer {:2}: K {}, V {}", types.layer, types.k, types.v);
    }
    println!(
        "{} bytes planned, {:?} allocated",
        context.kv_bytes().total(),
        context.memory_use()?.kv
    );
    Ok(())
}
