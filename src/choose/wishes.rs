//! Wishes that cannot be, or cannot be together.

use super::{NoFit, Wishes, quality};
use crate::kv::LayerPolicy;
use crate::{KvType, ModelMeta};

/// The engine's limits (LLAMA_MAX_SEQ, 32-bit positions).
const MAX_SLOTS: u32 = 256;
const MAX_CONTEXT: u32 = i32::MAX as u32;
/// Shorter is of use to nobody, unless they ask for it.
const LEAST_CONTEXT: u32 = 1024;

/// Wishes with their defaults, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wished {
    /// The least context that is of use.
    pub(super) min_ctx: u32,
    /// Tokens computed at once.
    pub(super) n_ubatch: u32,
}

/// Refuses wishes that are out of range or contradict each other.
pub(super) fn validate(wishes: &Wishes, meta: &ModelMeta) -> Result<Wished, NoFit> {
    for (name, n) in [("a context", wishes.n_ctx), ("a least context", wishes.min_ctx)] {
        match n {
            Some(0) => {
                return Err(NoFit::Invalid(format!(
                    "{name} of 0 tokens holds nothing; leave it out to have it chosen"
                )));
            }
            Some(n) if n > MAX_CONTEXT => {
                return Err(NoFit::Invalid(format!(
                    "{name} of {n} tokens is beyond the engine's limit of {MAX_CONTEXT}"
                )));
            }
            _ => {}
        }
    }
    if let Some(n) = wishes.n_slots.filter(|n| *n == 0 || *n > MAX_SLOTS) {
        return Err(NoFit::Invalid(format!(
            "{n} slots asked for; a context has 1 to {MAX_SLOTS}"
        )));
    }
    if wishes.n_ubatch == Some(0) {
        return Err(NoFit::Invalid("0 tokens computed at once (ubatch); at least 1".into()));
    }
    if let (Some(n), Some(min)) = (wishes.n_ctx, wishes.min_ctx)
        && min > n
    {
        return Err(contradiction(
            format!("a context of {n}"),
            format!("a least context of {min}"),
            "the least that is of use is more than what is asked for; lower one or raise the other",
        ));
    }
    check_floor(wishes)?;
    check_layers(wishes, meta)?;
    Ok(Wished {
        min_ctx: wishes
            .min_ctx
            .unwrap_or_else(|| LEAST_CONTEXT.min(wishes.n_ctx.unwrap_or(LEAST_CONTEXT))),
        n_ubatch: wishes.n_ubatch.unwrap_or(512),
    })
}

fn check_floor(wishes: &Wishes) -> Result<(), NoFit> {
    let Some(floor) = wishes.floor else { return Ok(()) };
    let Some(least) = quality::of_type(floor) else {
        let names: Vec<&str> = quality::floors().map(KvType::name).collect();
        return Err(NoFit::Invalid(format!(
            "a floor of {floor}: its quality was not measured; a floor can be {}",
            names.join(", ")
        )));
    };
    let below = |ty: KvType| quality::of_type(ty).is_some_and(|quality| quality.mean_kl > least.mean_kl);
    let mut explicit: Vec<(String, KvType)> = Vec::new();
    explicit.extend(wishes.k.map(|k| (format!("K as {k}"), k)));
    explicit.extend(wishes.v.map(|v| (format!("V as {v}"), v)));
    if let Some(LayerPolicy::PerLayer(types)) = &wishes.layers {
        explicit.extend(types.iter().flat_map(|&(k, v)| {
            [
                (format!("a layer map with K as {k}"), k),
                (format!("a layer map with V as {v}"), v),
            ]
        }));
    }
    match explicit.into_iter().find(|(_, ty)| below(*ty)) {
        Some((name, ty)) => Err(contradiction(
            format!("a floor of {floor}"),
            name,
            &format!("{ty} was measured to be worse than {floor}; lower the floor or ask for more bits"),
        )),
        None => Ok(()),
    }
}

fn check_layers(wishes: &Wishes, meta: &ModelMeta) -> Result<(), NoFit> {
    let Some(LayerPolicy::PerLayer(types)) = &wishes.layers else {
        return Ok(());
    };
    for (side, ty) in [("K", wishes.k), ("V", wishes.v)] {
        if let Some(ty) = ty {
            return Err(contradiction(
                format!("a layer map of {} layers", types.len()),
                format!("{side} as {ty}"),
                "a map says the types of every layer; leave one of them out",
            ));
        }
    }
    let n_layers = meta.kv_layers().count();
    if types.len() != n_layers {
        return Err(NoFit::Invalid(format!(
            "the layer map has {} entries, the model has {n_layers} layers with a KV cache",
            types.len()
        )));
    }
    Ok(())
}

fn contradiction(first: String, second: String, why: &str) -> NoFit {
    NoFit::Contradiction {
        first,
        second,
        why: why.to_owned(),
    }
}
