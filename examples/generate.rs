//! Load a model and generate greedily: `cargo run --example generate -- MODEL PROMPT [KV TYPE]`.

use llama_turboquant::{Batch, ContextConfig, KvCacheConfig, KvType, Model};
use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let model = args.next().unwrap_or_else(|| "models/tiny-q8_0.gguf".into());
    let prompt = args.next().unwrap_or_else(|| "What is turbo4?".into());
    let kv: KvType = args.next().unwrap_or_else(|| "turbo4".into()).parse()?;

    let model = Model::load(model)?;
    let mut context = model.context(ContextConfig {
        kv: KvCacheConfig::uniform(kv),
        ..Default::default()
    })?;
    let text = format!("<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n");
    let tokens = model.tokenize(&text, true, true)?;

    let mut batch = Batch::new(tokens.len());
    let mut position = 0;
    let mut next = None;
    for (i, &token) in tokens.iter().enumerate() {
        batch.push(token, position, 0, i + 1 == tokens.len());
        position += 1;
    }
    loop {
        context.decode(&batch)?;
        if let Some(logits) = context.logits(batch.len() - 1) {
            next = logits
                .iter()
                .enumerate()
                .max_by(|a, b| a.1.total_cmp(b.1))
                .map(|(i, _)| i as i32);
        }
        let Some(token) = next else { break };
        if model.is_eog(token) {
            break;
        }
        std::io::stdout().write_all(&model.piece(token, false)?)?;
        std::io::stdout().flush()?;
        batch.clear();
        batch.push(token, position, 0, true);
        position += 1;
    }
    println!();
    println!(
        "{:?} planned, {:?} allocated",
        context.kv_bytes(),
        context.memory_use()?.kv
    );
    Ok(())
}
