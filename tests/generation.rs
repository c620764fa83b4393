//! The token loop with the embedded model: answers, ends, limits, seeds, prefix reuse.

#[path = "support/tiny.rs"]
mod tiny;

use llama_turboquant::engine::chat::ChatRequest;
use llama_turboquant::engine::grammar::Grammar;
use llama_turboquant::engine::sampler::{Sampler, SamplingParams};
use llama_turboquant::generate::{FinishReason, GenParams, Session};
use llama_turboquant::{Batch, CancelToken, Error};

const QUESTION: &str = "<|im_start|>user\nWhat is turbo4?<|im_end|>\n<|im_start|>assistant\n";
const ANSWER: &str = "turbo4 is a 4-bit KV cache type. It stores each block of 128 values in 66 bytes, about 4.1 bits per \
                      value, and keeps quality close to q8_0.";

/// A session that was asked the question.
fn asked() -> Session {
    let mut session = tiny::session();
    session.prompt(QUESTION).expect("prefill");
    session
}

fn text(session: &mut Session, params: &GenParams) -> String {
    session.generate(params).expect("stream").text().expect("text").0
}

#[test]
fn questions_of_the_faq_are_answered_word_for_word() {
    for row in tiny::rows("faq.jsonl") {
        let prompt = tiny::render(&ChatRequest::new().user(row["question"].as_str().expect("question")));
        let (text, stats) = tiny::answer(&prompt, GenParams::greedy().max_tokens(100));
        assert_eq!(text, row["expected"].as_str().expect("expected"));
        assert_eq!(stats.reason, FinishReason::Stop(None));
    }
}

#[test]
fn an_answer_ends_at_its_token_limit() {
    let mut session = asked();
    for limit in [0, 1, 7] {
        session.prompt(QUESTION).expect("prefill");
        let (text, stats) = session
            .generate(&GenParams::greedy().max_tokens(limit))
            .expect("stream")
            .text()
            .expect("text");
        assert_eq!((stats.n_tokens, stats.reason), (limit, FinishReason::Length));
        assert!(ANSWER.starts_with(&text));
    }
}

#[test]
fn a_stop_string_ends_the_answer_and_is_never_part_of_a_piece() {
    for stop in ["KV cache", " cache", "e. It", "bytes,"] {
        let mut session = asked();
        let mut stream = session
            .generate(&GenParams::greedy().stop("never there").stop(stop))
            .expect("stream");
        let text: String = stream.by_ref().map(|piece| piece.expect("piece").text).collect();
        assert_eq!(text, ANSWER.split(stop).next().expect("before"));
        assert_eq!(stream.finish().reason, FinishReason::Stop(Some(stop.to_owned())));
    }
}

#[test]
fn equal_seeds_give_equal_answers_and_the_stats_tell_a_drawn_seed() {
    let hot = SamplingParams {
        temperature: Some(1.5),
        top_k: Some(0),
        top_p: Some(1.0),
        min_p: Some(0.0),
        ..Default::default()
    };
    let params = GenParams::new().sampling(hot).max_tokens(24);
    let mut session = tiny::session();
    let mut run = |params: &GenParams| {
        session.prompt("Once").expect("prefill");
        session.generate(params).expect("stream").text().expect("text")
    };
    let (first, stats) = run(&params);
    let (second, again) = run(&params.clone().seed(stats.seed));
    assert_eq!(first, second);
    assert_eq!(stats.seed, again.seed);
    let others: Vec<String> = (1..4).map(|seed| run(&params.clone().seed(seed)).0).collect();
    assert!(
        others.iter().any(|other| *other != first),
        "four seeds, one answer: {first}"
    );
}

#[test]
fn a_cancelled_answer_stops_and_the_session_goes_on() {
    let mut session = asked();
    let cancel = CancelToken::new();
    let mut stream = session
        .generate(&GenParams::greedy().cancel(cancel.clone()))
        .expect("stream");
    assert!(stream.next().is_some());
    cancel.cancel();
    assert_eq!(stream.by_ref().filter(|piece| piece.is_err()).count(), 0);
    let stats = stream.finish();
    assert_eq!(stats.reason, FinishReason::Cancelled);
    assert_eq!(stats.n_tokens, 1);
    session.prompt(QUESTION).expect("prefill");
    assert_eq!(text(&mut session, &GenParams::greedy()), ANSWER);
}

#[test]
fn a_cancelled_prefill_leaves_a_usable_session() {
    let mut session = tiny::session();
    let cancel = CancelToken::new();
    cancel.cancel();
    assert!(matches!(
        session.prompt_until(QUESTION, Some(cancel)),
        Err(Error::Cancelled)
    ));
    session.prompt(QUESTION).expect("prefill");
    assert_eq!(text(&mut session, &GenParams::greedy()), ANSWER);
}

#[test]
fn a_prompt_that_begins_like_the_cache_computes_only_the_rest() {
    let mut session = asked();
    assert_eq!(text(&mut session, &GenParams::greedy()), ANSWER);
    let longer =
        format!("{QUESTION}{ANSWER}<|im_end|>\n<|im_start|>user\nWhat is turbo3?<|im_end|>\n<|im_start|>assistant\n");
    let stats = session.prompt(longer.as_str()).expect("prefill");
    let shared = tiny::model()
        .tokenize(&format!("{QUESTION}{ANSWER}"), true, true)
        .expect("tokens")
        .len();
    assert!(stats.n_reused >= shared, "{stats:?}, {shared} shared");
    let reused = text(&mut session, &GenParams::greedy().max_tokens(60));

    let mut fresh = tiny::session();
    assert_eq!(fresh.prompt(longer.as_str()).expect("prefill").n_reused, 0);
    assert_eq!(reused, text(&mut fresh, &GenParams::greedy().max_tokens(60)));
}

#[test]
fn the_same_prompt_again_computes_its_last_token() {
    let mut session = asked();
    let stats = session.prompt(QUESTION).expect("prefill");
    assert_eq!(stats.n_reused, stats.n_prompt - 1);
    assert_eq!(text(&mut session, &GenParams::greedy()), ANSWER);
}

#[test]
fn an_answer_ends_where_the_context_ends() {
    let mut session = tiny::session_of(256);
    let n_ctx = session.context().n_ctx_seq() as usize;
    let sampling = SamplingParams {
        ignore_eos: Some(true),
        ..SamplingParams::greedy()
    };
    let n_prompt = session.prompt(QUESTION).expect("prefill").n_prompt;
    let (_, stats) = session
        .generate(&GenParams::new().sampling(sampling))
        .expect("stream")
        .text()
        .expect("text");
    assert_eq!(stats.reason, FinishReason::Length);
    assert_eq!(
        n_prompt + stats.n_tokens,
        n_ctx + 1,
        "the last token chosen is not computed"
    );
}

#[test]
fn a_prompt_larger_than_the_context_is_refused_with_both_numbers() {
    let mut session = tiny::session_of(256);
    let error = session.prompt("word ".repeat(600)).expect_err("too large");
    assert!(
        matches!(error, Error::ContextFull { n_prompt, n_ctx } if n_prompt > n_ctx),
        "{error}"
    );
}

#[test]
fn generating_without_a_prompt_is_an_error() {
    let mut session = tiny::session();
    assert!(matches!(session.generate(&GenParams::greedy()), Err(Error::Invalid(_))));
    session.prompt(QUESTION).expect("prefill");
    drop(session.generate(&GenParams::greedy()).expect("stream"));
    assert!(
        matches!(session.generate(&GenParams::greedy()), Err(Error::Invalid(_))),
        "the answer was dropped"
    );
}

#[test]
fn a_grammar_is_followed_against_the_model() {
    let grammar = Grammar::gbnf("root ::= \"yes\" | \"no\"").expect("grammar");
    let said = text(&mut asked(), &GenParams::greedy().grammar(&grammar));
    assert!(said == "yes" || said == "no", "{said}");
}

#[test]
fn log_probabilities_are_ordered_and_those_of_the_greedy_token_come_first() {
    let mut session = asked();
    let mut stream = session
        .generate(&GenParams::greedy().logprobs(5).max_tokens(8))
        .expect("stream");
    for piece in &mut stream {
        let piece = piece.expect("piece");
        let logprobs = piece.logprobs.expect("logprobs");
        assert_eq!(logprobs.top.len(), 5);
        assert_eq!(logprobs.top[0], (piece.token, logprobs.token));
        assert!(logprobs.top.windows(2).all(|pair| pair[0].1 >= pair[1].1));
        let sum: f32 = logprobs.top.iter().map(|(_, logprob)| logprob.exp()).sum();
        assert!(sum > 0.0 && sum <= 1.0 + 1e-5, "{sum}");
    }
}

#[test]
fn a_builder_samples_as_the_parameters_do() {
    let model = tiny::model();
    let mut context = asked().into_context();
    context.memory().clear();
    let tokens = model.tokenize(QUESTION, true, true).expect("tokens");
    let mut batch = Batch::new(tokens.len());
    let mut entry = 0;
    for (i, &token) in tokens.iter().enumerate() {
        entry = batch.push(token, i as i32, 0, i + 1 == tokens.len());
    }
    context.decode(&batch).expect("decode");
    let greedy = Sampler::greedy(&model)
        .expect("sampler")
        .sample(&mut context, entry)
        .expect("token");
    let mut chain = Sampler::chain().top_k(1).seed(7).build(&model).expect("sampler");
    assert_eq!(chain.sample(&mut context, entry).expect("token"), greedy);
    let mut banned = Sampler::chain()
        .logit_bias(greedy, f32::NEG_INFINITY)
        .top_k(1)
        .build(&model)
        .expect("sampler");
    assert_ne!(banned.sample(&mut context, entry).expect("token"), greedy);
    assert!(
        matches!(chain.sample(&mut context, entry + 1), Err(Error::Invalid(_))),
        "no such entry"
    );
    assert!(
        matches!(chain.sample(&mut context, 0), Err(Error::Invalid(_))),
        "an entry without logits"
    );
}

#[test]
fn every_sampler_runs() {
    let chains = [
        Sampler::chain().penalties(-1, 1.1, 0.1, 0.1).temperature(1.0),
        Sampler::chain().dry(0.8, 1.75, 2).temperature(1.0),
        Sampler::chain().top_n_sigma(1.0).temperature(0.5),
        Sampler::chain().typical(0.9).top_p(0.9).min_p(0.05).top_k(5),
        Sampler::chain().xtc(1.0, 0.05).temperature(1.0),
        Sampler::chain().mirostat(1, 5.0, 0.1),
        Sampler::chain().mirostat(2, 5.0, 0.1),
    ];
    for chain in chains {
        let sampling = SamplingParams {
            seed: Some(1),
            ..chain.params().clone()
        };
        let (_, stats) = asked()
            .generate(&GenParams::new().sampling(sampling).max_tokens(6))
            .expect("stream")
            .text()
            .expect("text");
        assert!(stats.n_tokens > 0, "{chain:?}");
    }
}

#[test]
fn a_reset_sampler_starts_its_grammar_and_its_random_numbers_anew() {
    let model = tiny::model();
    let grammar = Grammar::gbnf("root ::= \"a\" \"b\"").expect("grammar");
    let mut sampler = Sampler::chain()
        .grammar(&grammar)
        .seed(1)
        .build(&model)
        .expect("sampler");
    let a = model.tokenize("a", false, false).expect("tokens")[0];
    sampler.accept(a).expect("the grammar begins with a");
    assert!(sampler.accept(a).is_err(), "b must follow");
    sampler.reset().expect("reset");
    sampler.accept(a).expect("the grammar begins with a again");
    let end = model.meta().eos;
    sampler
        .accept(end)
        .expect("an end token too early is no reason to abort");
}

#[test]
fn parameters_out_of_range_are_named() {
    let model = tiny::model();
    let cases = [
        (
            SamplingParams {
                top_p: Some(1.5),
                ..Default::default()
            },
            "top_p",
        ),
        (
            SamplingParams {
                repeat_penalty: Some(0.0),
                ..Default::default()
            },
            "repeat_penalty",
        ),
        (
            SamplingParams {
                mirostat: Some(3),
                ..Default::default()
            },
            "mirostat",
        ),
        (
            SamplingParams {
                logit_bias: Some(vec![(1_000_000, 1.0)]),
                ..Default::default()
            },
            "logit_bias",
        ),
        (
            SamplingParams {
                logit_bias: Some(vec![(-1, 1.0)]),
                ..Default::default()
            },
            "logit_bias",
        ),
    ];
    for (params, name) in cases {
        let error = Sampler::new(&model, &params, None).expect_err(name).to_string();
        assert!(error.contains(name), "{error}");
    }
    let names_a_token = Grammar::gbnf("root ::= <no-such-token>").expect("checked with a model");
    assert!(matches!(
        Sampler::chain().grammar(&names_a_token).build(&model),
        Err(Error::Grammar(_))
    ));
}
