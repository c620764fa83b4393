//! Saved sequences: they continue as if nothing had happened, and are refused wherever they would be misread.

mod support;

use llama_turboquant::engine::codec;
use llama_turboquant::{Context, ContextConfig, Error, KvCacheConfig, KvType, LayerPolicy, Model};
use support::{
    assert_alike, child, config, context, decode_all, noise_tokens, prefill, shape, story_tokens, synth, tiny,
    uncuttable,
};

fn turbo4() -> KvCacheConfig {
    KvCacheConfig::uniform(KvType::Turbo4)
}

/// 64 tokens of the story in a turbo4 cache of the embedded model, saved.
fn saved() -> Vec<u8> {
    let mut context = context(&tiny(), 256, turbo4());
    prefill(&mut context, &story_tokens(&tiny())[..64]);
    save(&mut context, 0)
}

fn save(context: &mut Context, seq: i32) -> Vec<u8> {
    let mut state = Vec::new();
    let written = context.save_seq(seq, &mut state).expect("a saved sequence");
    assert_eq!(written, state.len() as u64);
    state
}

fn refused(context: &mut Context, state: &[u8]) -> String {
    match context.load_seq(0, state) {
        Err(Error::Invalid(text)) => text,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// Length of what precedes the engine's own bytes.
fn header_len(state: &[u8]) -> usize {
    12 + u32::from_le_bytes(state[8..12].try_into().expect("four bytes")) as usize
}

/// The same state with its header edited.
fn with_header(state: &[u8], edit: impl Fn(&mut serde_json::Value)) -> Vec<u8> {
    let split = header_len(state);
    let mut header: serde_json::Value = serde_json::from_slice(&state[12..split]).expect("a JSON header");
    edit(&mut header);
    let header = serde_json::to_vec(&header).expect("JSON");
    [
        &state[..8],
        &(header.len() as u32).to_le_bytes(),
        &header,
        &state[split..],
    ]
    .concat()
}

/// Saves after 48 tokens, restores elsewhere, continues both.
fn round_trip(model: &Model, kv: KvCacheConfig, tokens: &[i32]) {
    let of = |n_seq_max| {
        model
            .context(ContextConfig {
                n_seq_max,
                ..config(512, kv.clone())
            })
            .expect("a context")
    };
    let mut first = of(1);
    decode_all(&mut first, &tokens[..48], 0, 0, 48);
    let state = save(&mut first, 0);
    let expected = decode_all(&mut first, &tokens[48..60], 0, 48, 1);

    let mut second = of(1);
    decode_all(&mut second, &tokens[5..25], 0, 0, 20); // replaced by the state
    let info = second.load_seq(0, &state[..]).expect("a restored sequence");
    assert_eq!((info.last_position, info.codec_version), (Some(47), codec::version()));
    assert_eq!(second.memory().positions(0).map(|(_, last)| last), Some(47));
    assert_eq!(
        decode_all(&mut second, &tokens[48..60], 0, 48, 1),
        expected,
        "{} {kv:?}",
        model.meta().architecture
    );
}

#[test]
fn a_restored_sequence_continues_with_identical_logits() {
    let tokens = story_tokens(&tiny());
    for ty in KvType::ALL {
        round_trip(&tiny(), KvCacheConfig::uniform(ty), &tokens);
    }
    round_trip(
        &tiny(),
        KvCacheConfig::asymmetric(KvType::Q8_0, KvType::Turbo4),
        &tokens,
    );
    let mode = LayerPolicy::mode(1).expect("a mode");
    round_trip(
        &tiny(),
        KvCacheConfig::asymmetric(KvType::Turbo4, KvType::Turbo3).with_layers(mode),
        &tokens,
    );
}

#[test]
fn windows_and_recurrent_states_are_restored_too() {
    for params in [
        shape("gemma3", 4, 1, 128),
        shape("lfm2", 4, 2, 128),
        shape("llama", 4, 2, 192),
    ] {
        let model = synth(&params);
        for ty in [KvType::F16, KvType::Turbo4, KvType::Turbo2] {
            round_trip(&model, KvCacheConfig::uniform(ty), &noise_tokens(&model, 60));
        }
    }
}

#[test]
fn a_state_goes_into_any_sequence_of_any_shape_of_context() {
    let tokens = story_tokens(&tiny());
    let state = saved();
    let mut first = context(&tiny(), 256, turbo4());
    first.load_seq(0, &state[..]).expect("restored");
    let expected = decode_all(&mut first, &tokens[64..70], 0, 64, 1);
    // a saved state has one stream per buffer, so only single-sequence and unified contexts can exchange it
    let kv = KvCacheConfig {
        unified: true,
        ..turbo4()
    };
    let mut second = tiny()
        .context(ContextConfig {
            n_seq_max: 3,
            ..config(1024, kv)
        })
        .expect("a context");
    decode_all(&mut second, &tokens[100..150], 1, 0, 50);
    second.load_seq(2, &state[..]).expect("restored");
    let elsewhere = decode_all(&mut second, &tokens[64..70], 2, 64, 1);
    assert_alike(true, &elsewhere, &expected, "behind another sequence");
    assert_eq!(
        second.memory().positions(1),
        Some((0, 49)),
        "the neighbour is untouched"
    );
}

#[test]
fn a_sequence_with_a_buffer_of_its_own_is_restored_into_another() {
    let tokens = story_tokens(&tiny());
    let of = || {
        tiny()
            .context(ContextConfig {
                n_seq_max: 3,
                ..config(768, turbo4())
            })
            .expect("a context")
    };
    let mut first = of();
    decode_all(&mut first, &tokens[..64], 1, 0, 64);
    decode_all(&mut first, &tokens[90..100], 0, 0, 10);
    let state = save(&mut first, 1);
    let expected = decode_all(&mut first, &tokens[64..70], 1, 64, 1);
    let mut second = of();
    second.load_seq(2, &state[..]).expect("restored");
    assert_eq!(decode_all(&mut second, &tokens[64..70], 2, 64, 1), expected);
}

#[test]
fn a_state_of_other_kv_types_is_refused_with_both() {
    let state = saved();
    let mode = |mode| LayerPolicy::mode(mode).expect("a mode");
    for kv in [
        KvCacheConfig::uniform(KvType::Turbo3),
        KvCacheConfig::uniform(KvType::F16),
        KvCacheConfig::asymmetric(KvType::Q8_0, KvType::Turbo4),
        turbo4().with_layers(mode(3)),
    ] {
        let text = refused(&mut context(&tiny(), 256, kv.clone()), &state);
        assert!(
            text.contains("KV types") && text.contains("0:turbo4/turbo4") && text.contains("this context has"),
            "{kv:?}: {text}"
        );
    }
}

#[test]
fn a_state_of_another_model_is_refused_with_both() {
    let model = synth(&shape("llama", 4, 2, 128));
    let text = refused(&mut context(&model, 256, turbo4()), &saved());
    assert!(
        text.contains("qwen3") && text.contains("llama") && text.contains("model"),
        "{text}"
    );
}

#[test]
fn a_state_of_another_codec_version_is_refused_with_both() {
    let version = codec::version();
    let other = with_header(&saved(), |header| header["codec_version"] = (version + 1).into());
    let text = refused(&mut context(&tiny(), 256, turbo4()), &other);
    let both = [version, version + 1].map(|version| format!("`{version}`"));
    assert!(
        text.contains("codec version") && both.iter().all(|version| text.contains(version)),
        "{text}"
    );
}

/// The header could be forged; the engine's own bytes carry the codec version as well.
#[test]
fn the_engine_refuses_a_state_of_another_rotation_by_itself() {
    let state = saved();
    let tag = codec::version() << 16;
    // llama_kv_cache::state_write_data: v_trans, n_layer, n_rot_k, n_rot_v
    let field = |k: u32, v: u32| [0, 8, k, v].map(u32::to_le_bytes).concat();
    let at = state
        .windows(16)
        .position(|bytes| bytes == field(tag, tag))
        .expect("the rotation of the cache");
    for (k, v, side) in [
        (tag + (1 << 16), tag, "key"),
        (tag, tag + (1 << 16), "value"),
        (0, tag, "key"),
        (128, 64, "key"),
    ] {
        let mut other = state.clone();
        other[at..at + 16].copy_from_slice(&field(k, v));
        let text = refused(&mut context(&tiny(), 256, turbo4()), &other);
        assert!(text.contains(&format!("incompatible {side} rotation")), "{text}");
    }
}

#[test]
fn caches_without_turbo_layers_carry_no_codec_version() {
    let mut context = context(&tiny(), 256, KvCacheConfig::uniform(KvType::Q8_0));
    prefill(&mut context, &story_tokens(&tiny())[..64]);
    let state = save(&mut context, 0);
    let plain = [0_u32, 8, 0, 0].map(u32::to_le_bytes).concat();
    assert!(state.windows(16).any(|bytes| bytes == plain));
}

#[test]
fn a_state_cut_anywhere_is_refused_and_the_context_stays_usable() {
    let state = saved();
    let tokens = story_tokens(&tiny());
    let mut context = context(&tiny(), 256, turbo4());
    let header = header_len(&state);
    for len in [
        0,
        1,
        7,
        8,
        11,
        12,
        13,
        header - 1,
        header,
        header + 1,
        header + 100,
        state.len() / 2,
        state.len() - 1,
    ] {
        let text = refused(&mut context, &state[..len]);
        assert!(text.contains("saved sequence"), "{len} bytes: {text}");
        // the same cut with a header that hides it: the engine notices
        if len >= header {
            let text = refused(
                &mut context,
                &with_header(&state[..len], |h| h["bytes"] = (len - header).into()),
            );
            assert!(text.contains("does not fit this context"), "{len} bytes: {text}");
        }
    }
    let after = decode_all(&mut context, &tokens[..32], 0, 0, 32);
    assert_eq!(
        after.last(),
        Some(&support::last_logits(&tiny(), 256, turbo4(), &tokens[..32]))
    );
}

#[test]
fn what_is_no_state_is_refused_by_its_first_bytes() {
    let mut context = context(&tiny(), 256, turbo4());
    let mut huge = b"TQKVSEQ1".to_vec();
    huge.extend(u32::MAX.to_le_bytes());
    let mut words = b"TQKVSEQ1".to_vec();
    words.extend(5_u32.to_le_bytes());
    words.extend(b"hello");
    let forged = with_header(&saved(), |header| header["bytes"] = u64::MAX.into());
    for (bytes, part) in [
        (&b"not a saved sequence at all"[..], "signature"),
        (&[0; 64], "signature"),
        (&huge, "4294967295"),
        (&words, "damaged"),
        (&forged, "cut short"),
    ] {
        let text = refused(&mut context, bytes);
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_state_longer_than_the_context_is_refused() {
    let mut long = context(&tiny(), 512, turbo4());
    prefill(&mut long, &story_tokens(&tiny())[..300]);
    let state = save(&mut long, 0);
    let text = refused(&mut context(&tiny(), 256, turbo4()), &state);
    assert!(
        text.contains("does not fit this context") && text.contains("not enough cells"),
        "{text}"
    );
}

/// A shift or a copy is carried out with the next batch; what is saved before it must be the cache after it.
#[test]
fn a_sequence_saved_right_after_a_shift_or_a_copy_is_whole() {
    let tokens = story_tokens(&tiny());
    let of = |n_seq_max| {
        tiny()
            .context(ContextConfig {
                n_seq_max,
                ..config(768, turbo4())
            })
            .expect("a context")
    };
    let restored = |state: &[u8], n_seq_max, next: i32| {
        let mut other = of(n_seq_max);
        other.load_seq(0, state).expect("restored");
        decode_all(&mut other, &tokens[64..66], 0, next, 1)
    };
    let mut shifted = of(1);
    decode_all(&mut shifted, &tokens[..64], 0, 0, 64);
    assert!(shifted.memory().remove(0, 0..20));
    shifted.memory().shift(0, 20..i32::MAX, -20).expect("a shift");
    let state = save(&mut shifted, 0);
    assert_alike(
        true,
        &restored(&state, 1, 44),
        &decode_all(&mut shifted, &tokens[64..66], 0, 44, 1),
        "after a shift",
    );

    let mut copied = of(3);
    decode_all(&mut copied, &tokens[..64], 0, 0, 64);
    copied.memory().copy(0, 1, 0..i32::MAX).expect("a copy");
    let state = save(&mut copied, 1);
    assert_alike(
        true,
        &restored(&state, 3, 64),
        &decode_all(&mut copied, &tokens[64..66], 1, 64, 1),
        "after a copy",
    );

    // and what is restored right after a copy is not overwritten by it
    let mut target = of(3);
    decode_all(&mut target, &tokens[100..160], 0, 0, 60);
    target.memory().copy(0, 1, 0..i32::MAX).expect("a copy");
    target.load_seq(1, &state[..]).expect("restored");
    assert_alike(
        true,
        &decode_all(&mut target, &tokens[64..66], 1, 64, 1),
        &restored(&state, 3, 64),
        "restored after a copy",
    );
}

/// Every byte of the engine's header and of the cells' positions, damaged in turn: an error or a wrong cache, never a crash.
#[test]
fn damaged_bytes_never_crash() {
    const NAME: &str = "damaged_bytes_never_crash";
    if !child::is_child(NAME) {
        let output = child::rerun(NAME, &[]);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success(),
            "{}\n{}",
            output.status,
            text.lines().last().unwrap_or_default()
        );
        return;
    }
    let state = saved();
    let mut context = context(&tiny(), 256, turbo4());
    let header = header_len(&state);
    let (mut refusals, mut accepted) = (0, 0);
    for at in header..header + 900 {
        for value in [0, 0x7f, 0xff] {
            let mut damaged = state.clone();
            damaged[at] = value;
            println!("byte {} = {value}", at - header);
            match context.load_seq(0, &damaged[..]) {
                Ok(_) => accepted += 1,
                Err(_) => refusals += 1,
            }
        }
    }
    assert!(
        refusals > 100 && accepted > 100,
        "{refusals} refused, {accepted} accepted"
    );
}

/// Goes back to token 48 after 300 others, again and again, and continues as if nothing had happened.
fn goes_back(model: &Model, kv: KvCacheConfig) {
    let tokens = noise_tokens(model, 360);
    let what = format!("{} {kv:?}", model.meta().architecture);
    let mut context = context(model, 512, kv);
    decode_all(&mut context, &tokens[..48], 0, 0, 48);
    let mut state = Vec::new();
    let written = context.save_checkpoint(0, &mut state).expect("a checkpoint");
    assert_eq!(written, state.len() as u64);
    let expected = decode_all(&mut context, &tokens[48..60], 0, 48, 1);
    for _ in 0..2 {
        decode_all(&mut context, &tokens[60..], 0, 60, 60);
        let info = context
            .load_checkpoint(0, &state[..])
            .expect("a sequence that went back");
        assert_eq!(info.last_position, Some(47));
        assert_eq!(context.memory().positions(0).map(|(_, last)| last), Some(47));
        assert_eq!(decode_all(&mut context, &tokens[48..60], 0, 48, 1), expected, "{what}");
    }
}

#[test]
fn a_sequence_goes_back_to_a_checkpoint_and_continues_with_identical_logits() {
    for params in uncuttable::shapes() {
        for ty in [KvType::F16, KvType::Turbo4, KvType::Turbo2] {
            goes_back(&synth(&params), KvCacheConfig::uniform(ty));
        }
    }
}

#[test]
fn a_checkpoint_is_no_whole_sequence_and_leads_back_only() {
    let model = synth(&uncuttable::shapes()[0]);
    let mut context = context(&model, 256, turbo4());
    let tokens = noise_tokens(&model, 60);
    decode_all(&mut context, &tokens[..50], 0, 0, 50);
    let (mut checkpoint, whole) = (Vec::new(), save(&mut context, 0));
    context.save_checkpoint(0, &mut checkpoint).expect("a checkpoint");
    assert!(checkpoint.len() < whole.len());
    assert!(refused(&mut context, &checkpoint).contains("signature"));
    let error = context.load_checkpoint(0, &whole[..]).expect_err("a whole sequence");
    assert!(error.to_string().contains("signature"), "{error}");

    context.memory().remove_all(0);
    decode_all(&mut context, &tokens[..49], 0, 0, 49);
    let error = context
        .load_checkpoint(0, &checkpoint[..])
        .expect_err("a sequence too short");
    assert!(error.to_string().contains("only takes a sequence back"), "{error}");
    assert_eq!(
        context.memory().positions(0).map(|(_, last)| last),
        Some(48),
        "as it was"
    );
}
