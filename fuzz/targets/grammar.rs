//! Grammars from requests: GBNF, and JSON schemas made into it. Accepted or refused; an accepted one can be sampled by.

use super::model::small;
use llama_turboquant::engine::grammar::Grammar;
use llama_turboquant::engine::sampler::Sampler;
use llama_turboquant::{Batch, Context, ContextConfig, Error};
use std::cell::RefCell;

pub fn schema(data: &[u8]) {
    let Ok(schema) = serde_json::from_slice(data) else {
        return;
    };
    match Grammar::json_schema(&schema) {
        Ok(grammar) => follow(&grammar),
        Err(error) => assert!(matches!(error, Error::Grammar(_)), "{error}"),
    }
}

pub fn gbnf(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Grammar::gbnf(text) {
        Ok(grammar) => follow(&grammar),
        Err(error) => assert!(matches!(error, Error::Grammar(_)), "{error}"),
    }
}

thread_local! {
    /// Holds the logits of one token: those of a random model, which wants to write nonsense.
    static CONTEXT: RefCell<Option<Context>> = const { RefCell::new(None) };
}

fn context() -> Context {
    let config = ContextConfig {
        n_ctx: 64,
        n_threads: 1,
        ..ContextConfig::default()
    };
    let mut context = small().context(config).expect("a context");
    let mut batch = Batch::new(1);
    batch.push(1, 0, 0, true);
    context.decode(&batch).expect("a token");
    context
}

/// A few tokens that the grammar allows.
fn follow(grammar: &Grammar) {
    CONTEXT.with_borrow_mut(|slot| {
        let context = slot.get_or_insert_with(context);
        let Ok(mut sampler) = Sampler::chain().top_k(1).grammar(grammar).build(small()) else {
            return;
        };
        for _ in 0..4 {
            let Ok(token) = sampler.sample(context, 0) else { return };
            sampler.accept(token).expect("a token that the grammar allowed");
        }
    });
}
