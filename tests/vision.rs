//! Images: from picture files to what a model makes of them.

mod support;

use llama_turboquant::generate::{FinishReason, GenParams, Session};
use llama_turboquant::scheduler::JobEvent;
use llama_turboquant::vision::{Image, ImageLimits, MediaPrompt, Projector, ProjectorConfig, ProjectorPlan};
use llama_turboquant::{ContextConfig, Error, KvCacheConfig, KvType, Model, Token};
use std::sync::{Arc, OnceLock};
use support::adapter::for_tiny;
use support::mmproj::{Kind, picture, write};
use support::scheduling::{Setup, alone, answer, submit_media};
use support::{scratch, shape, synth, tiny};

fn load(model: &Model, kind: Kind) -> Projector {
    load_with(model, kind, &config())
}

fn config() -> ProjectorConfig {
    ProjectorConfig {
        n_threads: 1,
        warmup: false,
        ..ProjectorConfig::default()
    }
}

fn load_with(model: &Model, kind: Kind, config: &ProjectorConfig) -> Projector {
    let path = scratch("mmproj.gguf");
    write(&path, kind, model.meta().n_embd.into());
    let projector = Projector::load(model, &path, config).expect("a projector loads");
    std::fs::remove_file(&path).expect("the weights are in memory");
    projector
}

/// LLaVA's for the embedded model.
fn projector() -> Projector {
    static LOADED: OnceLock<Projector> = OnceLock::new();
    LOADED.get_or_init(|| load(&tiny(), Kind::Mlp)).clone()
}

fn image(seed: u32) -> Image {
    Image::decode(&picture(32, 32, seed), ImageLimits::default()).expect("a picture")
}

/// Text, an image and more text.
fn prompt(projector: &Projector, image: &Image) -> MediaPrompt {
    let model = projector.model();
    let text = |text: &str| model.tokenize(text, false, true).expect("tokens");
    let mut prompt = MediaPrompt::default();
    prompt.push_tokens(&text("Look at this: "));
    prompt
        .push_image(&projector.encode(image, None).expect("an encoded image"))
        .expect("a place");
    prompt.push_tokens(&text("\nWhat is it?"));
    prompt
}

fn session(model: &Model, n_batch: u32) -> Session {
    let context = model.context(ContextConfig {
        n_ctx: 512,
        n_batch,
        n_ubatch: n_batch,
        n_threads: 1,
        kv: KvCacheConfig::uniform(KvType::F16),
        ..Default::default()
    });
    Session::new(context.expect("a context"))
}

/// A greedy answer.
fn said(session: &mut Session, prompt: MediaPrompt) -> Vec<Token> {
    session.prompt(prompt).expect("prefill");
    let mut params = GenParams::greedy().max_tokens(16);
    params.sampling.ignore_eos = Some(true);
    let pieces = session.generate(&params).expect("a stream");
    pieces.map(|piece| piece.expect("a piece").token).collect()
}

/// The logits after a prompt.
fn logits(model: &Model, n_batch: u32, prompt: MediaPrompt) -> Vec<f32> {
    let mut session = session(model, n_batch);
    let n = session.prompt(prompt).expect("prefill").n_prompt;
    let last = (0..n).rev().find_map(|i| session.context().logits(i));
    last.expect("logits of the last token").to_vec()
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    let pairs = a.iter().zip(b);
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn the_same_image_gives_the_same_logits_and_another_gives_others() {
    let (model, projector) = (tiny(), load(&tiny(), Kind::Mlp));
    let first = logits(&model, 256, prompt(&projector, &image(1)));
    // encoded anew, by another load of the same file
    let again = logits(&model, 256, prompt(&load(&tiny(), Kind::Mlp), &image(1)));
    let other = logits(&model, 256, prompt(&projector, &image(2)));
    assert_eq!(first, again);
    assert!(difference(&first, &other) > 0.1, "{}", difference(&first, &other));
}

/// The engine sizes its graphs anew after a change of adapters, by all adapters of the model: their set must not change
/// meanwhile, whatever the first batch holds. ThreadSanitizer sees it where it does (scripts/sanitize.sh).
#[test]
fn adapters_come_and_go_while_another_thread_decodes_an_image_first() {
    let (model, projector) = (tiny(), projector());
    let path = scratch("adapter.gguf");
    std::fs::write(&path, for_tiny(1).bytes()).expect("a file");
    let adapter = || model.load_lora(&path).expect("an adapter");

    let mut prompt = MediaPrompt::default();
    let image = projector.encode(&image(1), None).expect("an encoded image");
    prompt.push_image(&image).expect("a place");
    prompt.push_tokens(&model.tokenize("What is it?", false, true).expect("tokens"));
    let n_prompt = prompt.n_tokens();
    let mut contexts: Vec<_> = (0..10).map(|_| session(&model, 256).into_context()).collect();
    for context in &mut contexts {
        context
            .set_loras(&[(adapter(), 1.0)])
            .expect("an adapter of this model");
    }
    let computing = std::thread::spawn(move || {
        let prefill = |context| Session::new(context).prompt(prompt.clone()).expect("prefill").n_prompt;
        contexts.into_iter().map(prefill).collect::<Vec<_>>()
    });
    while !computing.is_finished() {
        drop(adapter());
    }
    std::fs::remove_file(&path).expect("the weights are in memory");
    assert_eq!(computing.join().expect("no panic"), [n_prompt; 10]);
}

#[test]
fn the_tokens_of_an_image_count() {
    let projector = projector();
    let encoded = projector.encode(&image(1), None).expect("an encoded image");
    assert_eq!((encoded.n_tokens(), encoded.n_positions()), (16, 16));
    let n_text = prompt(&projector, &image(1)).n_tokens() - 16;
    let stats = session(&tiny(), 256)
        .prompt(prompt(&projector, &image(1)))
        .expect("prefill");
    assert_eq!(stats.n_prompt, n_text + 16);
}

#[test]
fn an_image_is_computed_in_parts_as_well_as_whole() {
    let (model, projector) = (tiny(), projector());
    let whole = logits(&model, 256, prompt(&projector, &image(1)));
    let parts = logits(&model, 5, prompt(&projector, &image(1)));
    assert!(difference(&whole, &parts) < 0.05, "{}", difference(&whole, &parts));
}

#[test]
fn a_prefix_is_reused_up_to_the_first_image_that_differs() {
    let projector = projector();
    let mut session = session(&tiny(), 256);
    let one = prompt(&projector, &image(1));
    let (n, n_before) = (one.n_tokens(), {
        let text = tiny().tokenize("Look at this: ", false, true).expect("tokens");
        text.len()
    });
    session.prompt(one.clone()).expect("prefill");
    assert_eq!(session.prompt(one).expect("prefill").n_reused, n - 1);
    let other = session.prompt(prompt(&projector, &image(2))).expect("prefill");
    assert_eq!(other.n_reused, n_before);
}

#[test]
fn slots_share_images_by_content_and_answer_as_alone() {
    let projector = projector();
    let (one, two) = (prompt(&projector, &image(1)), prompt(&projector, &image(2)));
    let text = support::scheduling::prompt(7, 60);
    let expected = [
        said(&mut session(&tiny(), 256), one.clone()),
        said(&mut session(&tiny(), 256), two.clone()),
        alone(Setup::of(1), &text, 16),
    ];
    assert_ne!(expected[0], expected[1]);
    let scheduler = Setup {
        n_ubatch: 8, // images take several steps, with those of the text between them
        ..Setup::of(4)
    }
    .start();
    let running = [
        submit_media(&scheduler, one.clone(), 16),
        submit_media(&scheduler, two, 16),
        submit_media(&scheduler, MediaPrompt::of_tokens(text), 16),
    ];
    for (running, expected) in running.into_iter().zip(&expected) {
        assert_eq!(&running.end().tokens, expected);
    }
    let n = one.n_tokens();
    let again = submit_media(&scheduler, one, 16).end();
    assert_eq!((again.stats.n_prompt, again.stats.n_cached), (n, n - 1));
    assert_eq!(again.tokens, expected[0]);
}

#[test]
fn a_job_cancelled_within_an_image_leaves_its_slot_usable() {
    let projector = projector();
    let one = prompt(&projector, &image(1));
    let expected = said(&mut session(&tiny(), 256), one.clone());
    let scheduler = Setup {
        n_ubatch: 1, // so that it is within an image for many steps
        ..Setup::of(1)
    }
    .start();
    let n_before = tiny().tokenize("Look at this: ", false, true).expect("tokens").len();
    let job = submit_media(&scheduler, one.clone(), 16);
    while !matches!(job.next(), JobEvent::Progress { n_done, .. } if n_done == n_before) {}
    job.cancel.cancel();
    let ended = job.outcome();
    assert!(
        matches!(&ended, Ok(ended) if ended.stats.reason == FinishReason::Cancelled),
        "{ended:?}"
    );
    assert_eq!(submit_media(&scheduler, one, 16).end().tokens, expected);
    assert_eq!(
        answer(&scheduler, &support::scheduling::prompt(1, 20), 2).tokens.len(),
        2
    );
}

#[test]
fn an_image_without_a_causal_mask_must_fit_a_step() {
    let model = synth(&shape("gemma3", 4, 2, 64));
    let projector = load(&model, Kind::Gemma3);
    let wide = prompt(&projector, &image(1));
    let first = logits(&model, 256, wide.clone());
    assert_eq!(first, logits(&model, 256, wide.clone()));
    assert!(difference(&first, &logits(&model, 256, prompt(&projector, &image(2)))) > 1e-4);
    let refused = session(&model, 3).prompt(wide).expect_err("4 tokens in steps of 3");
    assert!(
        matches!(&refused, Error::Invalid(text) if text.contains("raise n_ubatch")),
        "{refused}"
    );
}

#[test]
fn with_sections_an_image_takes_fewer_positions_than_tokens() {
    let model = synth(&shape("qwen2vl", 4, 2, 64));
    let projector = load(&model, Kind::Qwen2Vl);
    assert!(projector.info().mrope);
    let large = Image::decode(&picture(128, 64, 1), ImageLimits::default()).expect("a picture");
    let encoded = projector.encode(&large, None).expect("an encoded image");
    let grid = (encoded.n_tokens(), encoded.n_positions());
    assert!(grid.1 < grid.0, "{grid:?}");

    let whole = prompt(&projector, &large);
    let n = whole.n_tokens();
    let expected = said(&mut session(&model, 256), whole.clone());
    assert_eq!(said(&mut session(&model, 7), whole.clone()), expected);
    let scheduler = Setup {
        model,
        n_ubatch: 8,
        ..Setup::of(2)
    }
    .start();
    let (first, second) = (
        submit_media(&scheduler, whole.clone(), 16).end(),
        submit_media(&scheduler, whole, 16).end(),
    );
    assert_eq!((&first.tokens, &second.tokens), (&expected, &expected));
    assert_eq!((first.stats.n_prompt, second.stats.n_cached), (n, n - 1));
}

#[test]
fn the_size_of_an_image_can_be_limited() {
    let model = synth(&shape("qwen2vl", 4, 2, 64));
    let tokens = |least: Option<u32>, most: Option<u32>| {
        let projector = load_with(
            &model,
            Kind::Qwen2Vl,
            &ProjectorConfig {
                image_min_tokens: least,
                image_max_tokens: most,
                ..config()
            },
        );
        let image = Image::decode(&picture(256, 256, 1), ImageLimits::default()).expect("a picture");
        projector.encode(&image, None).expect("an encoded image").n_tokens()
    };
    let around = tokens(None, None) - 256; // the tokens that mark where an image begins and ends
    assert!(tokens(None, Some(30)) <= around + 30);
    assert!(tokens(Some(400), Some(500)) >= around + 400);
}

#[test]
fn pictures_of_any_shape_are_seen_or_refused() {
    for (arch, kind) in [
        ("llama", Kind::Mlp),
        ("gemma3", Kind::Gemma3),
        ("qwen2vl", Kind::Qwen2Vl),
    ] {
        let projector = load(&synth(&shape(arch, 4, 2, 64)), kind);
        for (width, height) in [(1, 1), (1, 200), (200, 1), (3, 599), (2000, 10)] {
            let image = Image::decode(&picture(width, height, 1), ImageLimits::default()).expect("a picture");
            match projector.encode(&image, None) {
                Ok(encoded) => assert!(encoded.n_tokens() > 0),
                Err(error) => assert!(matches!(error, Error::Invalid(_)), "{kind:?} {width}x{height}: {error}"),
            }
        }
    }
}

#[test]
fn a_slot_that_holds_an_image_comes_back_from_the_prompt_cache_but_goes_into_no_file() {
    let model = synth(&shape("qwen2vl", 4, 2, 64));
    let projector = load(&model, Kind::Qwen2Vl);
    let large = Image::decode(&picture(256, 128, 1), ImageLimits::default()).expect("a picture");
    let mut whole = prompt(&projector, &large);
    whole.push_tokens(&support::scheduling::prompt(3, 80)); // worth keeping
    let expected = said(&mut session(&model, 256), whole.clone());
    let scheduler = Setup {
        model,
        prompt_cache: Some(64 << 20),
        ..Setup::of(1)
    }
    .start();
    let first = submit_media(&scheduler, whole.clone(), 16).end();
    assert_eq!(first.tokens, expected);
    let refused = scheduler.save_slot(0, &scratch("slot.bin")).expect_err("an image");
    assert!(refused.to_string().contains("holds an image"), "{refused}");
    answer(&scheduler, &support::scheduling::prompt(9, 200), 2);
    assert_eq!(scheduler.status().prompt_cache.entries, 1);
    let back = submit_media(&scheduler, whole.clone(), 16).end();
    assert_eq!(back.tokens, expected);
    assert_eq!(back.stats.n_cached, whole.n_tokens() - 1);
}

#[test]
fn a_projector_of_another_model_is_refused() {
    let path = scratch("mmproj.gguf");
    write(&path, Kind::Mlp, 96);
    let refused = Projector::load(&tiny(), &path, &config()).expect_err("another width");
    let text = refused.to_string();
    assert!(text.contains("mmproj.gguf") && text.contains("n_embd = 96"), "{text}");
    let refused = Projector::load(&tiny(), support::tiny_path(), &config()).expect_err("a language model");
    assert!(matches!(refused, Error::Load { .. }), "{refused}");
    let refused = Projector::load(&tiny(), "no-such-file.gguf", &config()).expect_err("no file");
    assert!(refused.to_string().contains("no such file"), "{refused}");
}

#[test]
fn what_a_projector_takes_is_known_before_it_is_loaded() {
    let path = scratch("mmproj.gguf");
    write(&path, Kind::Mlp, 512);
    let plan = ProjectorPlan::of(&path, &config()).expect("a plan");
    let size = path.metadata().expect("a file").len();
    assert!(plan.bytes() > size / 2 && !plan.non_causal, "{plan:?}, {size} bytes");
    assert!(ProjectorPlan::of(&support::tiny_path(), &config()).is_err());
    let cannot = ProjectorConfig {
        image_min_tokens: Some(9),
        image_max_tokens: Some(8),
        ..config()
    };
    assert!(matches!(ProjectorPlan::of(&path, &cannot), Err(Error::Invalid(_))));
}

#[test]
fn an_encoded_image_is_kept() {
    let projector = projector();
    let first = projector.encode(&image(11), None).expect("an encoded image");
    let again = projector.encode(&image(11), None).expect("an encoded image");
    assert!(Arc::ptr_eq(&first, &again));
}

#[test]
fn a_prompt_must_end_with_text() {
    let projector = projector();
    let mut prompt = MediaPrompt::of_tokens(vec![5]);
    prompt
        .push_image(&projector.encode(&image(1), None).expect("an encoded image"))
        .expect("a place");
    let refused = session(&tiny(), 256).prompt(prompt).expect_err("nothing to go on from");
    assert!(refused.to_string().contains("ends with an image"), "{refused}");
    let refused = session(&tiny(), 256).prompt(vec![5, -7, 5]).expect_err("no such token");
    assert!(matches!(refused, Error::Invalid(_)), "{refused}");
}

/// A PNG whose header claims a size.
fn png_of(width: u32, height: u32) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    file.extend(width.to_be_bytes());
    file.extend(height.to_be_bytes());
    file.extend([8, 2, 0, 0, 0]);
    file.extend(crc32(&file[12..]).to_be_bytes());
    file.extend(b"\0\0\0\0IDAT");
    file.extend(crc32(b"IDAT").to_be_bytes());
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1));
        }
    }
    !crc
}

#[test]
fn hostile_files_are_refused_with_the_reason() {
    let cut = &picture(64, 64, 1)[..2000];
    let cases: [(&[u8], &str); 8] = [
        (b"", "no bytes"),
        (b"hello", "no PNG, JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no PNG, JPEG"),
        (b"\x89PNG\r\n\x1a\n", "cannot be read as PNG"),
        (&png_of(100_000, 100_000), "100000x100000 pixels"),
        (&png_of(60_000, 10), "times the shorter"),
        (&png_of(32, 32), "cannot be read as PNG"),
        (cut, "cannot be read as BMP"),
    ];
    for (file, reason) in cases {
        let error = Image::decode(file, ImageLimits::default())
            .expect_err(reason)
            .to_string();
        assert!(error.contains(reason), "{error} lacks {reason}");
    }
    let few = ImageLimits {
        bytes: 100,
        ..ImageLimits::default()
    };
    let error = Image::decode(&picture(32, 32, 1), few)
        .expect_err("too long")
        .to_string();
    assert!(error.contains("at most 100"), "{error}");
}

#[test]
fn every_common_format_is_read() {
    let pixels = image(3);
    let buffer = image::RgbImage::from_raw(32, 32, pixels.rgb().to_vec()).expect("pixels");
    for (format, exact) in [
        (image::ImageFormat::Png, true),
        (image::ImageFormat::Bmp, true),
        (image::ImageFormat::WebP, true),
        (image::ImageFormat::Gif, false),
        (image::ImageFormat::Jpeg, false),
    ] {
        let mut file = std::io::Cursor::new(Vec::new());
        buffer.write_to(&mut file, format).expect("a file");
        let read = Image::decode(file.get_ref(), ImageLimits::default()).expect("a picture");
        assert_eq!((read.width(), read.height()), (32, 32));
        assert_eq!(read.hash() == pixels.hash(), exact, "{format:?}");
    }
}
