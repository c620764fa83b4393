//! Embeddings and rerank scores: against what NumPy computes with the same weights (`data/encoder.py`), and against the
//! engine's own token vectors, pooled again.

mod support;

use llama_turboquant::embed::{Embedder, EmbedderConfig, Overlong, cosine};
use llama_turboquant::engine::synth::SynthParams;
use llama_turboquant::{
    Batch, CancelToken, ContextConfig, Error, KvCacheConfig, KvType, LayerPolicy, Model, Output, Pooling, Token,
};
use serde_json::Value;
use std::path::Path;
use support::{noise_tokens, scratch, shape, synth, tiny};

/// Differences of a 16-bit table for GELU and of 32-bit sums.
const CLOSE: f64 = 1e-5;

fn data(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::read(path).expect("test data")
}

fn expected() -> Value {
    serde_json::from_slice(&data("encoder.json")).expect("JSON")
}

/// The encoder of random weights, with this pooling type in its header (llama.h: mean 1, cls 2, last 3, rank 4).
fn encoder(pooling: u32) -> Model {
    let mut file = data("encoder.gguf");
    let key = b"bert.pooling_type";
    let at = file.windows(key.len()).position(|bytes| bytes == key).expect("the key");
    let value = at + key.len() + 4; // after the value's type
    file[value..value + 4].copy_from_slice(&pooling.to_le_bytes());
    load(&file)
}

fn load(file: &[u8]) -> Model {
    let path = scratch("encoder.gguf");
    std::fs::write(&path, file).expect("a scratch file");
    let model = Model::builder(&path).mmap(false).load().expect("the encoder loads");
    std::fs::remove_file(&path).expect("the weights are in memory");
    model
}

fn config() -> EmbedderConfig {
    EmbedderConfig {
        n_threads: 1,
        ..EmbedderConfig::default()
    }
}

fn embedder(model: &Model) -> Embedder {
    Embedder::new(model, config()).expect("an embedder")
}

fn go() -> CancelToken {
    CancelToken::new()
}

fn floats(value: &Value) -> Vec<f32> {
    serde_json::from_value(value.clone()).expect("numbers")
}

/// Texts as tokens, of different lengths.
fn noise(model: &Model, lengths: &[usize]) -> Vec<Vec<Token>> {
    let tokens = noise_tokens(model, lengths.iter().sum());
    let mut rest = tokens.as_slice();
    let mut texts = Vec::new();
    for &length in lengths {
        let (text, others) = rest.split_at(length);
        texts.push(text.to_vec());
        rest = others;
    }
    texts
}

#[test]
fn an_encoder_embeds_as_numpy_does_by_every_pooling() {
    for (pooling, name) in [(1, "mean"), (2, "cls"), (3, "last")] {
        let mut embedder = embedder(&encoder(pooling));
        for row in expected()["texts"].as_array().unwrap() {
            let text = row["text"].as_str().unwrap();
            let tokens = embedder.tokenize(text, Overlong::Refuse).unwrap();
            assert_eq!(serde_json::json!(tokens), row["tokens"], "{text}");
            let answer = embedder.embed_texts(&[text], Overlong::Refuse, &go()).unwrap();
            let similarity = cosine(&answer.vectors[0], &floats(&row[name]));
            assert!(similarity > 1.0 - CLOSE, "{name} of `{text}`: {similarity}");
            assert_eq!(answer.n_tokens, tokens.len());
        }
    }
}

#[test]
fn a_reranking_model_scores_as_numpy_does() {
    let mut embedder = embedder(&encoder(4));
    let expected = expected();
    let pairs = expected["pairs"].as_array().unwrap();
    let documents: Vec<&str> = pairs.iter().map(|pair| pair["document"].as_str().unwrap()).collect();
    let ranking = embedder
        .rank(pairs[0]["query"].as_str().unwrap(), &documents, &go())
        .unwrap();
    for (score, pair) in ranking.scores.iter().zip(pairs) {
        let expected = pair["score"].as_f64().unwrap();
        // the engine computes attention over 16-bit K and V
        assert!((f64::from(*score) - expected).abs() < 5e-3, "{score} and {expected}");
    }
    // [CLS] slow turtle s [SEP] and the documents' words
    assert_eq!(ranking.n_tokens, 3 * 5 + 5 + 4 + 3);
}

#[test]
fn a_rerank_template_in_the_file_is_used() {
    // The template takes the place of the model's name.
    let plain = encoder(4);
    let path = scratch("template.gguf");
    let mut file = data("encoder.gguf");
    let key = b"bert.pooling_type";
    let at = file.windows(key.len()).position(|bytes| bytes == key).unwrap() + key.len() + 4;
    file[at..at + 4].copy_from_slice(&4u32.to_le_bytes());
    let template = "[CLS]{query}[SEP]{document}";
    let old = string("general.name", "encoder noise");
    let new = string("tokenizer.chat_template.rerank", template);
    let start = file
        .windows(old.len())
        .position(|bytes| bytes == old)
        .expect("the name");
    file.splice(start..start + old.len(), new.iter().copied());
    // tensors begin at a multiple of 32 bytes after the header, so the header has to keep its length modulo 32
    let shift = (new.len() as i64 - old.len() as i64).rem_euclid(32);
    assert_eq!(shift, 0, "choose a template that is {shift} bytes shorter");
    std::fs::write(&path, &file).unwrap();
    let model = Model::builder(&path).mmap(false).load().expect("it loads");
    std::fs::remove_file(&path).unwrap();

    let scores = |model: &Model| {
        embedder(model)
            .rank("slow turtles", &["the fox", "owl"], &go())
            .unwrap()
    };
    assert_eq!(
        scores(&model),
        scores(&plain),
        "the template spells out what the tokenizer does"
    );
}

/// A string of GGUF metadata under its key.
fn string(key: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    [text(key), 8u32.to_le_bytes().to_vec(), text(value)].concat()
}

#[test]
fn a_text_in_company_has_the_vector_it_has_alone() {
    let models = [
        encoder(1),
        tiny(),
        synth(&shape("llama", 4, 2, 64)),
        synth(&shape("qwen3", 4, 2, 64)),
        synth(&SynthParams {
            window: 16,
            ..shape("gemma3", 4, 1, 128)
        }),
        synth(&shape("lfm2", 4, 2, 64)),
    ];
    for model in models {
        let mut embedder = embedder(&model);
        // more texts than sequences, more tokens than a batch where that is possible
        let lengths: Vec<usize> = (1..20).map(|i| 1 + (i * 37) % embedder.max_tokens().min(300)).collect();
        let texts = noise(&model, &lengths);
        let together = embedder.embed(&texts, &go()).unwrap();
        assert_eq!(together.n_tokens, lengths.iter().sum::<usize>());
        for (text, vector) in texts.iter().zip(&together.vectors) {
            let alone = embedder.embed(std::slice::from_ref(text), &go()).unwrap();
            let similarity = cosine(vector, &alone.vectors[0]);
            assert!(
                similarity > 1.0 - 1e-4,
                "{}: {similarity} at {} tokens",
                model.meta().architecture,
                text.len()
            );
            let length: f64 = vector.iter().map(|&v| f64::from(v) * f64::from(v)).sum();
            assert!((length - 1.0).abs() < 1e-5, "{length}");
        }
    }
}

#[test]
fn a_language_model_embeds_as_the_mean_of_its_token_vectors() {
    let model = tiny();
    assert_eq!(model.meta().pooling, Pooling::None);
    let text = noise(&model, &[70]).remove(0);
    let mut context = model
        .context(ContextConfig {
            n_ctx: 256,
            n_threads: 1,
            kv: KvCacheConfig::uniform(KvType::F16),
            output: Output::Embeddings,
            ..Default::default()
        })
        .unwrap();
    let mut batch = Batch::new(text.len());
    for (pos, &token) in text.iter().enumerate() {
        batch.push(token, pos as i32, 0, true);
    }
    context.decode(&batch).unwrap();
    let mut mean = vec![0.0f32; model.meta().n_embd_out as usize];
    for entry in 0..text.len() {
        for (sum, value) in mean.iter_mut().zip(context.embedding(entry).unwrap()) {
            *sum += value / text.len() as f32;
        }
    }
    let vector = embedder(&model).embed(&[text], &go()).unwrap().vectors.remove(0);
    assert!(cosine(&mean, &vector) > 1.0 - CLOSE);
}

#[test]
fn a_compressed_cache_gives_nearly_the_same_vectors() {
    let model = tiny();
    let texts = noise(&model, &[120, 40]);
    let exact = embedder(&model).embed(&texts, &go()).unwrap();
    let kv = KvCacheConfig::uniform(KvType::Turbo4).with_layers(LayerPolicy::Uniform);
    let mut compressed = Embedder::new(&model, EmbedderConfig { kv, ..config() }).unwrap();
    for (a, b) in exact
        .vectors
        .iter()
        .zip(compressed.embed(&texts, &go()).unwrap().vectors)
    {
        let similarity = cosine(a, &b);
        assert!(similarity > 0.99, "{similarity}");
    }
}

#[test]
fn overlong_texts_are_refused_or_cut_with_their_closing_token_kept() {
    let mut embedder = embedder(&encoder(1));
    assert_eq!(embedder.max_tokens(), 64);
    let long = "fox ".repeat(100);
    match embedder.embed_texts(&[&long], Overlong::Refuse, &go()) {
        Err(Error::ContextFull {
            n_prompt: 102,
            n_ctx: 64,
        }) => {}
        other => panic!("{other:?}"),
    }
    let tokens = embedder.tokenize(&long, Overlong::Cut).unwrap();
    assert_eq!((tokens.len(), tokens[0], tokens[63]), (64, 2, 3));
    let cut = embedder.embed_texts(&[&long], Overlong::Cut, &go()).unwrap();
    let same = embedder
        .embed_texts(&[&"fox ".repeat(62)], Overlong::Refuse, &go())
        .unwrap();
    assert_eq!(cut, same);
}

#[test]
fn what_a_model_cannot_do_is_refused_with_what_to_load() {
    let refused = |error: Error, word: &str| match error {
        Error::Unsupported(text) => assert!(text.contains(word), "{text}"),
        other => panic!("{other}"),
    };
    refused(
        embedder(&tiny()).rank("a", &["b"], &go()).unwrap_err(),
        "reranking model",
    );
    let mut ranker = embedder(&encoder(4));
    let error = ranker.embed_texts(&["a"], Overlong::Refuse, &go()).unwrap_err();
    refused(error, "made for embeddings");
}

#[test]
fn texts_without_tokens_or_with_unknown_ones_are_refused_and_others_go_on() {
    let mut embedder = embedder(&tiny());
    for bad in [vec![], vec![-1], vec![i32::MAX]] {
        let result = embedder.embed(&[vec![5], bad], &go());
        assert!(matches!(result, Err(Error::Invalid(_))), "{result:?}");
    }
    assert_eq!(embedder.embed(&[vec![5]], &go()).unwrap().vectors.len(), 1);
    assert_eq!(embedder.embed(&[], &go()).unwrap().vectors.len(), 0);
}

#[test]
fn a_cancelled_request_stops_and_the_next_one_runs() {
    let mut embedder = embedder(&tiny());
    let cancelled = CancelToken::new();
    cancelled.cancel();
    let result = embedder.embed(&[vec![5; 100]], &cancelled);
    assert!(matches!(result, Err(Error::Cancelled)), "{result:?}");
    assert_eq!(embedder.embed(&[vec![5; 100]], &go()).unwrap().n_tokens, 100);
}

#[test]
fn the_context_is_made_at_the_first_request_and_grows_when_it_has_to() {
    let mut embedder = embedder(&tiny());
    let kv = |embedder: &Embedder| {
        let used = embedder.memory_use().unwrap();
        used.map(|used| used.kv.values().sum::<u64>())
    };
    assert_eq!(kv(&embedder), None);
    embedder.embed(&[vec![5; 10]], &go()).unwrap();
    let small = kv(&embedder).unwrap();
    embedder.embed(&[vec![5; 500]], &go()).unwrap();
    assert_eq!(kv(&embedder), Some(small));
    embedder.embed(&[vec![5; 600]], &go()).unwrap();
    assert_eq!(kv(&embedder), Some(2 * small));
}
