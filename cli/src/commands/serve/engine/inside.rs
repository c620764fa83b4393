//! What is worth knowing of a loaded model beyond its card.

use crate::commands::serve::backend::{Inside, KvDevice, KvLayer};
use llama_turboquant::engine::chat::ChatTemplate;
use llama_turboquant::{Backend, Context, DeviceKind, KvCacheConfig, KvType, Model};

/// Asks the engine once, when the model is loaded.
///
/// # Errors
/// The engine's, about its template or its devices.
pub(super) fn look(model: &Model, context: &Context, template: Option<&ChatTemplate>) -> anyhow::Result<Inside> {
    let kv_layers = context.kv().layers.iter().map(|types| KvLayer {
        layer: super::saturate(types.layer),
        type_k: types.k.to_string(),
        type_v: types.v.to_string(),
    });
    Ok(Inside {
        template_caps: template
            .map(ChatTemplate::info)
            .transpose()?
            .map(|info| info.caps)
            .unwrap_or_default(),
        kv_layers: kv_layers.collect(),
        kv_supported: supported(model)?,
        kv_bytes_per_token_f16: bytes_per_token_f16(context)?,
    })
}

/// By plan and for the same context, as the card has it for the types in use.
fn bytes_per_token_f16(context: &Context) -> anyhow::Result<Option<f64>> {
    let bytes = context.kv_bytes_with(&KvCacheConfig::uniform(KvType::F16))?.cache();
    Ok((bytes > 0).then(|| bytes as f64 / f64::from(context.n_ctx().max(1))))
}

/// The pairs that each device runs attention over by itself, for heads as the model's.
fn supported(model: &Model) -> anyhow::Result<Vec<KvDevice>> {
    let backend = Backend::init()?;
    let Some((_, layer)) = model.meta().kv_layers().next() else {
        return Ok(Vec::new());
    };
    let head_dim = (layer.head_dim_k, layer.head_dim_v);
    let mut devices = Vec::new();
    for (number, device) in backend.devices()?.into_iter().enumerate() {
        if device.kind == DeviceKind::Accel {
            continue;
        }
        let mut pairs = Vec::new();
        for k in KvType::ALL {
            for v in KvType::ALL {
                if backend.runs_attention(number, k, v, head_dim)? {
                    pairs.push((k.to_string(), v.to_string()));
                }
            }
        }
        let device = device.name;
        devices.push(KvDevice { device, pairs });
    }
    Ok(devices)
}
