//! `turboquant inspect`: what in a model file decides its memory.

use crate::args::InspectArgs;
use crate::report::table;
use crate::settings::human_bytes;
use anyhow::Result;
use llama_turboquant::{KvBytes, KvCacheConfig, KvType, LayerPolicy, Model, ModelMeta};
use serde_json::json;
use std::process::ExitCode;

/// Reads the metadata of a file, without its weights, and prints what the KV cache follows from.
///
/// # Errors
/// A file that is no model.
pub fn run(args: &InspectArgs) -> Result<ExitCode> {
    let model = Model::builder(&args.file).metadata_only(true).load()?;
    let meta = model.meta();
    let costs: Vec<(KvType, Result<Vec<KvBytes>, String>)> = KvType::ALL
        .into_iter()
        .map(|ty| (ty, cost(meta, ty, &args.contexts)))
        .collect();
    if args.json {
        let kv: Vec<_> = costs
            .iter()
            .map(|(ty, cost)| match cost {
                Ok(bytes) => {
                    let per_context: Vec<_> = args
                        .contexts
                        .iter()
                        .zip(bytes)
                        .map(|(n, b)| json!({"n_ctx": n, "bytes": b}))
                        .collect();
                    json!({"type": ty, "bytes_per_token": per_token(meta, *ty), "contexts": per_context})
                }
                Err(why) => json!({"type": ty, "unsupported": why}),
            })
            .collect();
        println!(
            "{:#}",
            json!({"file": args.file, "model": meta, "metadata": model.metadata()?, "kv": kv})
        );
        return Ok(ExitCode::SUCCESS);
    }
    print_model(meta);
    let mut header = vec!["KV type".to_owned(), "bytes/token".into()];
    header.extend(args.contexts.iter().map(|n| format!("{n} tokens")));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut reasons = Vec::new();
    let rows: Vec<Vec<String>> = costs
        .into_iter()
        .map(|(ty, cost)| match cost {
            Ok(bytes) => {
                let per_token = per_token(meta, ty).map_or("-".into(), |b| format!("{b:.0}"));
                [ty.to_string(), per_token]
                    .into_iter()
                    .chain(bytes.iter().map(|b| human_bytes(b.total())))
                    .collect()
            }
            Err(why) => {
                reasons.push(why);
                std::iter::once(ty.to_string())
                    .chain(std::iter::repeat_n("-".to_owned(), header.len() - 1))
                    .collect()
            }
        })
        .collect();
    println!("{}", table(&header, 1, rows));
    println!("Sizes include rotation matrices and recurrent states; one sequence, uniform types.");
    for why in reasons {
        println!("- {why}");
    }
    Ok(ExitCode::SUCCESS)
}

fn uniform(ty: KvType) -> KvCacheConfig {
    KvCacheConfig {
        guard: false,
        ..KvCacheConfig::uniform(ty).with_layers(LayerPolicy::Uniform)
    }
}

fn cost(meta: &ModelMeta, ty: KvType, contexts: &[u32]) -> Result<Vec<KvBytes>, String> {
    contexts
        .iter()
        .map(|&n| uniform(ty).bytes(meta, n).map_err(|e| e.to_string()))
        .collect()
}

/// What one more token costs in the layers that keep all of them; `None` if the type does not fit.
fn per_token(meta: &ModelMeta, ty: KvType) -> Option<f64> {
    let short = uniform(ty).bytes(meta, 1 << 20).ok()?.cache();
    let long = uniform(ty).bytes(meta, 1 << 21).ok()?.cache();
    Some((long - short) as f64 / f64::from(1 << 20))
}

fn print_model(meta: &ModelMeta) {
    let kv: Vec<_> = meta.kv_layers().map(|(_, layer)| layer).collect();
    let swa = kv.iter().filter(|layer| layer.swa).count();
    let recurrent = meta.layers.iter().filter(|layer| layer.recurrent).count();
    let mut shapes: Vec<String> = Vec::new();
    for layer in &kv {
        let shape = format!(
            "{} heads on {} KV heads, K {} and V {} values each",
            layer.n_head, layer.n_head_kv, layer.head_dim_k, layer.head_dim_v
        );
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    println!("model         {} ({})", meta.name, meta.description);
    println!(
        "architecture  {}{}",
        meta.architecture,
        if meta.mla {
            ", MLA latents instead of K and V"
        } else {
            ""
        }
    );
    println!(
        "weights       {} in {} parameters",
        human_bytes(meta.size),
        meta.n_params
    );
    println!("context       trained with {} tokens", meta.n_ctx_train);
    println!(
        "layers        {}: {} with a KV cache, {recurrent} recurrent",
        meta.n_layer,
        kv.len()
    );
    if swa > 0 {
        println!("window        {swa} layers see the last {} tokens", meta.n_swa);
    }
    println!("attention     {}\n", shapes.join("; "));
}
