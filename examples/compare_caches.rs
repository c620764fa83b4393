//! How far does a compressed cache move the next-token distribution from f16's? Two contexts on one model, one text.
//!
//!     cargo run --release --example compare_caches -- [MODEL.gguf] [K TYPE] [V TYPE]

use llama_turboquant::{Batch, Context, ContextConfig, KvCacheConfig, KvType, Model, Token};

const TEXT: &str = "The fox and the turtle walked along the river. After lunch the painter read a book about otters. \
                    The access code for Taran is 8634. It was a calm day in Havana, and nobody saw the clever barrel.";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().unwrap_or_else(|| "models/tiny-q8_0.gguf".into());
    let k: KvType = args.next().unwrap_or_else(|| "turbo4".into()).parse()?;
    let v: KvType = args.next().unwrap_or_else(|| k.to_string()).parse()?;

    let model = Model::load(path)?;
    let tokens = model.tokenize(TEXT, true, false)?;
    let (base, base_bytes) = distributions(&model, KvCacheConfig::uniform(KvType::F16), &tokens)?;
    let (candidate, bytes) = distributions(&model, KvCacheConfig::asymmetric(k, v), &tokens)?;

    let mut divergence = 0.0;
    let mut same = 0;
    for (p, q) in base.iter().zip(&candidate) {
        divergence += p.iter().zip(q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
        same += usize::from(best(p) == best(q));
    }
    let n = base.len();
    println!("f16/f16  {base_bytes} bytes of KV cache");
    println!(
        "{k}/{v}  {bytes} bytes, {:.2}x smaller",
        base_bytes as f64 / bytes as f64
    );
    println!(
        "over {n} tokens: mean KL divergence {:.5}, same most probable token {same}/{n}",
        divergence / n as f64
    );
    Ok(())
}

/// Log-probabilities after each token, and the bytes of K and V.
fn distributions(model: &Model, kv: KvCacheConfig, tokens: &[Token]) -> llama_turboquant::Result<(Vec<Vec<f64>>, u64)> {
    let mut context: Context = model.context(ContextConfig {
        n_ctx: 512,
        kv,
        ..Default::default()
    })?;
    let mut batch = Batch::new(tokens.len());
    for (position, &token) in tokens.iter().enumerate() {
        batch.push(token, position as i32, 0, true);
    }
    context.decode(&batch)?;
    let rows = (0..tokens.len())
        .filter_map(|i| context.logits(i))
        .map(log_softmax)
        .collect();
    Ok((rows, context.kv_bytes().cache()))
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
    logits.iter().map(|l| f64::from(l - max) - sum.ln()).collect()
}

fn best(row: &[f64]) -> Option<usize> {
    (0..row.len()).max_by(|&a, &b| row[a].total_cmp(&row[b]))
}
