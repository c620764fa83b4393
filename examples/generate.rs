//! Load a model and answer a question over a compressed cache.
//!
//!     cargo run --release --example generate -- [MODEL.gguf] [QUESTION] [KV TYPE]

use llama_turboquant::engine::chat::{ChatRequest, ChatTemplate};
use llama_turboquant::generate::{GenParams, Session};
use llama_turboquant::{ContextConfig, KvCacheConfig, KvType, Model};
use std::io::Write;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().unwrap_or_else(|| "models/tiny-q8_0.gguf".into());
    let question = args.next().unwrap_or_else(|| "What is turbo4?".into());
    let kv: KvType = args.next().unwrap_or_else(|| "turbo4".into()).parse()?;

    let model = Model::load(path)?;
    let context = model.context(ContextConfig {
        n_ctx: 4096,
        kv: KvCacheConfig::uniform(kv),
        ..Default::default()
    })?;
    let template = ChatTemplate::from_model(&model)?;
    let prompt = template.apply(&ChatRequest::new().user(&question))?;

    let mut session = Session::new(context);
    session.prompt(&prompt)?;
    let mut stream = session.generate(&GenParams::greedy().answering(&prompt).max_tokens(200))?;
    for piece in &mut stream {
        print!("{}", piece?.text);
        std::io::stdout().flush()?;
    }
    let stats = stream.finish();
    println!("\n{} tokens, {:.1} tokens/s", stats.n_tokens, stats.tokens_per_second());
    Ok(())
}
