//! LoRA adapters: what they change, and the files that are refused.

mod support;

use llama_turboquant::engine::synth::SynthParams;
use llama_turboquant::{Context, Error, KvCacheConfig, KvType, LoraAdapter, LoraSet, Model};
use std::path::{Path, PathBuf};
use support::adapter::{AdapterFile, Tensor, Value, for_tiny};
use support::{context, noise_tokens, prefill, relative_error, scratch, shape, story_tokens, synth, tiny, tiny_path};

/// A file with these bytes; removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn of(bytes: &[u8]) -> Self {
        let path = scratch("adapter.gguf");
        std::fs::write(&path, bytes).expect("a file");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn load(model: &Model, file: &AdapterFile) -> LoraAdapter {
    model.load_lora(&Scratch::of(&file.bytes()).0).expect("an adapter")
}

fn f16(model: &Model) -> Context {
    context(model, 256, KvCacheConfig::uniform(KvType::F16))
}

/// The logits after some text under these adapters.
fn logits(context: &mut Context, loras: &[(LoraAdapter, f32)]) -> Vec<f32> {
    let tokens = story_tokens(&tiny())[..40].to_vec();
    context.set_loras(loras).expect("adapters of this model");
    context.memory().remove_all(0);
    prefill(context, &tokens)
}

// ---- what they change ----

/// A model of f32 weights as a file, and adapters for it: some of an attention and some of a feed-forward matrix.
fn exact() -> (Vec<u8>, [AdapterFile; 2]) {
    let params = SynthParams {
        weight_type: "f32".into(),
        ..shape("llama", 4, 2, 64)
    };
    let path = scratch("exact.gguf");
    params.write(&path).expect("a model");
    let bytes = std::fs::read(&path).expect("the model");
    std::fs::remove_file(path).expect("the model");
    let one = AdapterFile::of("llama", 16.0)
        .change("blk.0.attn_q.weight", (256, 256), 8, 1, 0.1)
        .change("blk.1.attn_output.weight", (256, 256), 8, 3, 0.1);
    let two = AdapterFile::of("llama", 0.0).change("blk.1.ffn_down.weight", (128, 256), 3, 5, 0.3);
    (bytes, [one, two])
}

fn loaded(bytes: &[u8]) -> Model {
    let file = Scratch::of(bytes);
    Model::builder(&file.0).mmap(false).load().expect("a model")
}

fn assert_merged(scales: [f32; 2]) {
    let (bytes, [one, two]) = exact();
    let model = loaded(&bytes);
    let tokens = noise_tokens(&model, 40);
    let mut context = f16(&model);
    let plain = prefill(&mut context, &tokens);

    let loras = [(load(&model, &one), scales[0]), (load(&model, &two), scales[1])];
    context.set_loras(&loras).expect("adapters");
    context.memory().remove_all(0);
    let adapted = prefill(&mut context, &tokens);

    let merged = two.merged_into(&one.merged_into(&bytes, scales[0]), scales[1]);
    let expected = prefill(&mut f16(&loaded(&merged)), &tokens);
    let (error, effect) = (relative_error(&expected, &adapted), relative_error(&plain, &adapted));
    assert!(effect > 0.05, "the adapters change little: {effect}");
    assert!(error < effect / 100.0, "{error} off, of a change of {effect}");
}

#[test]
fn an_adapter_acts_as_its_product_merged_into_the_weights() {
    assert_merged([1.0, 0.0]);
}

#[test]
fn a_scale_multiplies_the_product_and_without_alpha_it_is_all_there_is() {
    assert_merged([-0.5, 0.7]);
}

#[test]
fn at_scale_0_nothing_changes() {
    let model = tiny();
    let adapter = load(&model, &for_tiny(1));
    let mut context = f16(&model);
    let plain = logits(&mut context, &[]);
    assert_eq!(logits(&mut context, &[(adapter, 0.0)]), plain);
    assert!(context.loras().is_empty());
}

#[test]
fn adapters_change_from_one_batch_to_the_next() {
    let model = tiny();
    let mut context = f16(&model); // made before there is an adapter
    let plain = logits(&mut context, &[]);
    let (one, two) = (load(&model, &for_tiny(1)), load(&model, &for_tiny(2)));
    let first = logits(&mut context, &[(one.clone(), 1.0)]);
    let second = logits(&mut context, &[(two.clone(), 1.0)]);
    assert!(relative_error(&plain, &first) > 0.05 && relative_error(&first, &second) > 0.05);
    assert_eq!(logits(&mut context, &[(one.clone(), 1.0)]), first);
    assert_eq!(logits(&mut context, &[(two.clone(), 0.0), (one, 1.0)]), first);
    assert_eq!(logits(&mut context, &[]), plain);
}

#[test]
fn a_context_keeps_the_adapters_that_it_applies() {
    let model = Model::load(tiny_path()).expect("a model that no other test uses");
    let mut context = f16(&model);
    let adapter = load(&model, &for_tiny(1));
    let first = logits(&mut context, &[(adapter.clone(), 1.0)]);
    assert_eq!(model.loras().len(), 1);
    drop(adapter);
    let loras = context.loras().clone();
    assert_eq!(logits(&mut context, &loras), first);
    drop((context, loras));
    assert!(model.loras().is_empty());
}

#[test]
fn adapters_come_and_go_while_another_thread_computes() {
    let model = tiny();
    let plain = logits(&mut f16(&model), &[]);
    let other = model.clone();
    let computing = std::thread::spawn(move || {
        let mut context = f16(&other);
        (0..10).map(|_| logits(&mut context, &[])).collect::<Vec<_>>()
    });
    let file = Scratch::of(&for_tiny(1).bytes());
    for _ in 0..20 {
        drop(model.load_lora(&file.0).expect("an adapter"));
    }
    let computed = computing.join().expect("no panic");
    assert!(computed.iter().all(|logits| *logits == plain));
}

#[test]
fn an_adapter_tells_what_its_file_says() {
    let model = tiny();
    let plain = for_tiny(1);
    let file = plain
        .clone()
        .with("adapter.lora.task_name", Value::from("summarize"))
        .with("adapter.lora.prompt_prefix", Value::from("Summarize: "))
        .with("adapter.alora.invocation_tokens", Value::Tokens(vec![5, 6]));
    let adapter = load(&model, &file);
    let info = adapter.info();
    assert_eq!(
        (info.name.as_str(), info.task_name.as_str()),
        ("Test adapter", "summarize")
    );
    assert_eq!(
        (info.prompt_prefix.as_str(), info.alpha, info.tensors),
        ("Summarize: ", 8.0, 6)
    );
    assert_eq!(info.invocation_tokens, [5, 6]);
    let values = 3 * 4 * (256 + 512 + 576 + 256);
    assert!((4 * values..4 * values + 4096).contains(&info.bytes()), "{info:?}");

    let plain = load(&model, &plain);
    assert_eq!(plain.info().fingerprint, load(&model, &for_tiny(1)).info().fingerprint);
    assert_ne!(plain.info().fingerprint, info.fingerprint);
    assert_ne!(plain.info().fingerprint, load(&model, &for_tiny(2)).info().fingerprint);
    let one_weight = for_tiny(1).edited(|tensors| tensors[3].data[7] += 1.0);
    assert_ne!(plain.info().fingerprint, load(&model, &one_weight).info().fingerprint);
}

// ---- what is refused of a context ----

fn invalid(result: Result<(), Error>, words: &[&str]) {
    match result {
        Err(Error::Invalid(text)) => assert!(words.iter().all(|word| text.contains(word)), "{text}"),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn scales_are_finite_and_adapters_of_the_context_and_named_once() {
    let model = tiny();
    let adapter = load(&model, &for_tiny(1));
    let mut context = f16(&model);
    let before = logits(&mut context, &[(adapter.clone(), 0.5)]);
    for scale in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        invalid(context.set_loras(&[(adapter.clone(), scale)]), &["finite"]);
    }
    let twice = [(adapter.clone(), 1.0), (adapter.clone(), 0.5)];
    invalid(context.set_loras(&twice), &["twice"]);
    let again = Model::load(tiny_path()).expect("the embedded model");
    let foreign = load(&again, &for_tiny(1));
    invalid(context.set_loras(&[(foreign, 1.0)]), &["another model"]);
    let kept = context.loras().clone();
    assert_eq!(logits(&mut context, &kept), before, "what was set stays");
}

#[test]
fn a_saved_sequence_goes_on_only_under_the_adapters_it_was_computed_with() {
    let model = tiny();
    let adapter = load(&model, &for_tiny(1));
    let mut context = f16(&model);
    logits(&mut context, &[(adapter.clone(), 0.5)]);
    let mut state = Vec::new();
    context.save_seq(0, &mut state).expect("a state");
    for other in [vec![], vec![(adapter.clone(), 1.0)]] {
        context.set_loras(&other).expect("adapters");
        match context.load_seq(0, &state[..]) {
            Err(Error::Invalid(text)) => assert!(text.contains("LoRA") && text.contains("*0.5"), "{text}"),
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
    // another load of the same file is the same adapter
    let again = load(&model, &for_tiny(1));
    context.set_loras(&[(again, 0.5)]).expect("adapters");
    context.load_seq(0, &state[..]).expect("the state");
}

#[test]
fn a_set_is_told_and_found_again_by_fingerprints() {
    let model = Model::load(tiny_path()).expect("a model that no other test uses");
    let (one, two) = (load(&model, &for_tiny(1)), load(&model, &for_tiny(2)));
    let set = LoraSet::new(&[(two.clone(), -0.25), (one.clone(), 1.0)]).expect("a set");
    assert_eq!(set, LoraSet::new(&[(one, 1.0), (two, -0.25)]).expect("a set"));
    let text = set.to_string();
    assert_eq!(LoraSet::of_saved(&text, &model).expect("a set"), set);
    drop(set);
    for text in [text.as_str(), "x", "x*y", "0123456789abcdef*1"] {
        assert!(
            matches!(LoraSet::of_saved(text, &model), Err(Error::Invalid(_))),
            "{text}"
        );
    }
}

// ---- files that are refused ----

fn reason(model: &Model, path: &Path) -> String {
    match model.load_lora(path) {
        Err(error @ Error::LoadLora { .. }) => {
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
            match error {
                Error::LoadLora { reason, .. } => reason,
                _ => unreachable!(),
            }
        }
        other => panic!("{}: {other:?}", path.display()),
    }
}

#[track_caller]
fn refused(file: &AdapterFile, words: &[&str]) {
    let reason = reason(&tiny(), &Scratch::of(&file.bytes()).0);
    assert!(words.iter().all(|word| reason.contains(word)), "{reason}");
}

#[test]
fn what_is_no_adapter_is_named() {
    assert_eq!(reason(&tiny(), Path::new("no/such/adapter.gguf")), "no such file");
    assert!(reason(&tiny(), &Scratch::of(b"PK\x03\x04 and more").0).contains("not a GGUF file"));
    assert!(reason(&tiny(), &tiny_path()).contains("a model, not an adapter"));
    refused(&for_tiny(1).with("general.type", Value::from("imatrix")), &["imatrix"]);
    refused(&for_tiny(1).with("general.type", None), &["not an adapter"]);
    refused(
        &for_tiny(1).with("adapter.type", Value::from("dora")),
        &["dora", "lora"],
    );
    refused(&for_tiny(1).edited(Vec::clear), &["changes nothing"]);
}

#[test]
fn an_adapter_of_another_model_is_named() {
    let llama = for_tiny(1).with("general.architecture", Value::from("llama"));
    refused(&llama, &["llama", "qwen3"]);
    let of = |matrix, shape| AdapterFile::of("qwen3", 8.0).change(matrix, shape, 4, 1, 0.1);
    refused(
        &of("blk.99.attn_q.weight", (256, 512)),
        &["blk.99.attn_q.weight", "another model"],
    );
    refused(
        &of("blk.1.attn_q.weight", (256, 256)),
        &["[256, 4]", "[4, 256]", "[256, 512]"],
    );
    refused(&of("blk.1.attn_q.weight", (512, 512)), &["[256, 512]"]);
    let other = synth(&shape("llama", 4, 2, 64));
    assert!(reason(&other, &Scratch::of(&for_tiny(1).bytes()).0).contains("qwen3"));
}

#[test]
fn metadata_of_wrong_types_is_refused_and_not_asserted_on() {
    for key in [
        "general.type",
        "general.architecture",
        "adapter.type",
        "adapter.lora.task_name",
    ] {
        refused(&for_tiny(1).with(key, Value::U32(1)), &[key, "u32"]);
    }
    refused(
        &for_tiny(1).with("adapter.lora.alpha", Value::U32(8)),
        &["alpha", "u32"],
    );
    refused(
        &for_tiny(1).with("adapter.lora.alpha", Value::F32(f32::NAN)),
        &["alpha", "finite"],
    );
    let tokens = "adapter.alora.invocation_tokens";
    refused(&for_tiny(1).with(tokens, Value::U32(5)), &[tokens]);
    refused(&for_tiny(1).with(tokens, Value::Signed(vec![1])), &[tokens]);
    refused(&for_tiny(1).with(tokens, Value::Tokens(vec![5, 4096])), &["4096"]);
}

#[test]
fn factors_that_do_not_fit_each_other_are_refused_before_a_graph_is_built() {
    let edited = |edit: fn(&mut Vec<Tensor>)| for_tiny(1).edited(edit);
    refused(&edited(|tensors| drop(tensors.remove(1))), &["lora_a", "no lora_b"]);
    refused(&edited(|tensors| drop(tensors.remove(0))), &["lora_b", "no lora_a"]);
    refused(&edited(|tensors| tensors[0].name.push('x')), &["neither"]);
    // another rank than B has
    refused(&edited(|tensors| tensors[0].ne[1] = 2), &["[256, 2]"]);
    // for as many experts as there are none
    refused(&edited(|tensors| tensors[0].ne = vec![256, 2, 2]), &["do not fit"]);
    refused(&edited(|tensors| tensors[0].ne = vec![256, 0]), &[]);
    // i32, of the same size
    refused(&edited(|tensors| tensors[0].ty = 26), &["i32"]);
    // the embedded model writes with the matrix that it reads with: the factors of one use do not fit the other
    let embedding = AdapterFile::of("qwen3", 8.0).change("token_embd.weight", (4, 4096), 4, 1, 0.1);
    let embedding = embedding.edited(|tensors| {
        tensors[0].ne = vec![4, 4096];
        tensors[0].data.resize(4 * 4096, 0.0);
        tensors[1].ne = vec![4, 256];
        tensors[1].data.resize(4 * 256, 0.0);
    });
    refused(&embedding, &["token_embd.weight", "output"]);
}

#[test]
fn a_file_that_is_cut_short_is_refused_and_takes_no_memory_for_what_it_claims() {
    let whole = for_tiny(1).bytes();
    for len in [5, 16, 24, 60, 200, 600, 1000, whole.len() / 2, whole.len() - 64] {
        let reason = reason(&tiny(), &Scratch::of(&whole[..len]).0);
        assert!(!reason.is_empty() && reason != "the engine gave no reason", "{len}");
    }
    // 2^36 x 256 values in a file of a few hundred bytes
    let huge = for_tiny(1).edited(|tensors| {
        tensors.truncate(2);
        (tensors[0].ne[1], tensors[1].ne[0]) = (1 << 36, 1 << 36);
    });
    refused(&huge, &[]);
    for count in [1_u64 << 20, 1 << 40, u64::MAX] {
        let mut file = whole.clone();
        file[8..16].copy_from_slice(&count.to_le_bytes());
        reason(&tiny(), &Scratch::of(&file).0);
    }
}

#[test]
fn a_model_without_its_weights_takes_no_adapter() {
    let model = Model::builder(tiny_path())
        .metadata_only(true)
        .load()
        .expect("metadata");
    assert!(reason(&model, &Scratch::of(&for_tiny(1).bytes()).0).contains("without its weights"));
}
