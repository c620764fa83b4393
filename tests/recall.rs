//! What needles and long conversations promise, on the embedded model.

#[path = "support/tiny.rs"]
mod tiny;

use llama_turboquant::measure::session::{TurnKind, script, sessions};
use llama_turboquant::measure::{
    Haystack, Needle, NeedleGrid, NeedleKind, NeedleQuestion, Options, needle_questions, needles, parse_needles,
};
use llama_turboquant::{CancelToken, Error, KvCacheConfig, KvType};

/// One thread: threads of one graph wait for each other at every node, which takes forever where other tests run as well.
fn options() -> Options {
    Options::default().threads(1)
}

fn grid() -> NeedleGrid {
    NeedleGrid {
        lengths: vec![256, 512],
        depths: vec![0.0, 0.5, 1.0],
        facts: 1,
        trials: 2,
        kinds: vec![NeedleKind::Plain, NeedleKind::Chat],
        haystack: Haystack::Generated,
        seed: 1,
    }
}

fn written(grid: &NeedleGrid) -> Vec<NeedleQuestion> {
    grid.questions(&tiny::model()).expect("questions")
}

fn text(question: &NeedleQuestion) -> String {
    tiny::model().detokenize(&question.tokens, true).expect("text")
}

fn kv(ty: KvType) -> KvCacheConfig {
    KvCacheConfig::uniform(ty)
}

#[test]
fn prompts_have_the_length_the_depth_and_the_fact_asked_for() {
    let file = include_str!("data/eval.txt").to_owned();
    for (haystack, facts) in [
        (Haystack::Generated, 1),
        (Haystack::Generated, 4),
        (Haystack::Text(file), 1),
    ] {
        let grid = NeedleGrid {
            facts,
            haystack,
            lengths: vec![256, 600],
            depths: vec![0.0, 0.25, 0.5, 0.75, 1.0],
            trials: 2,
            ..grid()
        };
        let questions = written(&grid);
        assert_eq!(questions.len(), 2 * 5 * 2);
        for question in &questions {
            let (n, most) = (question.tokens.len() as f64, f64::from(question.n_ctx));
            assert!((0.97 * most..=most).contains(&n), "{n} tokens of {most}");
            let off = (question.placed.unwrap() - question.depth.unwrap()).abs();
            // half a sentence of at most 60 tokens
            assert!(off * most <= 60.0, "{:?} for {:?}", question.placed, question.depth);
            let text = text(question);
            assert_eq!(text.matches(&question.expected).count(), 1, "{text}");
            assert_eq!(text.contains("<|im_start|>"), question.kind == NeedleKind::Chat);
            let asked = text.rsplit("What is the ").next().unwrap().split('?').next().unwrap();
            assert!(
                text.contains(&format!("The {asked} is {}.", question.expected)),
                "{text}"
            );
        }
    }
}

#[test]
fn prompts_follow_from_the_seed() {
    let other = NeedleGrid { seed: 2, ..grid() };
    assert_eq!(written(&grid()), written(&grid()));
    assert_ne!(written(&grid()), written(&other));
}

#[test]
fn control_tokens_in_a_haystack_stay_text() {
    let haystack = Haystack::Text("It said <|im_end|> and went on. ".repeat(50));
    let grid = NeedleGrid {
        haystack,
        kinds: vec![NeedleKind::Chat],
        lengths: vec![512],
        trials: 1,
        ..grid()
    };
    let ends = tiny::model().tokenize("<|im_end|>", false, true).unwrap();
    for question in written(&grid) {
        assert_eq!(question.tokens.iter().filter(|token| **token == ends[0]).count(), 1);
    }
}

#[test]
fn impossible_grids_are_refused_with_the_reason() {
    let refused = |grid: NeedleGrid| match grid.questions(&tiny::model()) {
        Err(Error::Invalid(message)) => message,
        other => panic!("{other:?}"),
    };
    for (grid, part) in [
        (
            NeedleGrid {
                lengths: vec![9000],
                ..grid()
            },
            "8192",
        ),
        (
            NeedleGrid {
                depths: vec![1.5],
                ..grid()
            },
            "1.5",
        ),
        (NeedleGrid { trials: 0, ..grid() }, "trial"),
        (
            NeedleGrid {
                lengths: vec![30],
                ..grid()
            },
            "greater length",
        ),
        (NeedleGrid { facts: 100, ..grid() }, "fewer facts"),
        (
            NeedleGrid {
                haystack: Haystack::Text(" \n".into()),
                ..grid()
            },
            "empty",
        ),
    ] {
        let message = refused(grid);
        assert!(message.contains(part), "{part}: {message}");
    }
}

#[test]
fn needles_are_found_where_they_are_and_not_where_they_are_not() {
    let questions = written(&NeedleGrid {
        lengths: vec![256],
        ..grid()
    });
    // the same haystacks with another number in the fact: what is right by guessing would be right here as well
    let model = tiny::model();
    let without: Vec<NeedleQuestion> = questions
        .iter()
        .map(|question| NeedleQuestion {
            tokens: model
                .tokenize(&text(question).replace(&question.expected, "unknown"), true, true)
                .unwrap(),
            ..question.clone()
        })
        .collect();
    let caches = [kv(KvType::F16), kv(KvType::Turbo4)];
    let found = |questions: &[NeedleQuestion], cache| {
        let run = needles(&model, questions, &caches, &options().parallel(2), |_, _| {}).expect("answers");
        assert!(run.complete && run.answers.len() == 2 * questions.len());
        run.score(questions, cache, None, |_| true).found
    };
    assert!(found(&questions, 0) >= 5 && found(&questions, 1) >= 5, "of 6");
    assert_eq!(found(&without, 0) + found(&without, 1), 0);
}

#[test]
fn ready_made_needles_are_asked_and_too_long_ones_refused() {
    let wanted: Vec<Needle> = parse_needles(include_str!("data/needles.jsonl"))
        .expect("needles")
        .into_iter()
        .filter(|needle| needle.ctx == 512)
        .take(4)
        .collect();
    let model = tiny::model();
    let questions = needle_questions(&model, &wanted).expect("questions");
    let run = needles(&model, &questions, &[kv(KvType::Turbo4)], &options(), |_, _| {}).expect("answers");
    assert!(run.answers.iter().all(|answer| answer.found), "{run:?}");
    let long = Needle {
        prompt: "word ".repeat(9000),
        ..wanted[0].clone()
    };
    let message = needle_questions(&model, &[long]).unwrap_err().to_string();
    assert!(message.contains("needle 1") && message.contains("8192"), "{message}");
}

#[test]
fn a_cancelled_run_keeps_the_answers_it_has() {
    let cancel = CancelToken::new();
    let questions = written(&grid());
    let run = needles(
        &tiny::model(),
        &questions,
        &[kv(KvType::F16)],
        &options().cancel(cancel.clone()),
        |at, _| {
            if at.done == 2 {
                cancel.cancel();
            }
        },
    )
    .expect("a partial run");
    assert!(
        !run.complete && (2..questions.len()).contains(&run.answers.len()),
        "{}",
        run.answers.len()
    );
}

#[test]
fn a_conversation_recalls_its_facts_and_f16_does_not_diverge_from_itself() {
    let scripts = vec![script(15, 1, 0).unwrap()];
    let caches = [kv(KvType::F16), kv(KvType::F16), kv(KvType::Turbo3)];
    let run = sessions(&tiny::model(), &scripts, &caches, &options(), |_, _| {}).expect("a session");
    let [f16, again, turbo3] = &run.conversations[0].caches[..] else {
        panic!("three caches")
    };
    assert!(run.complete && f16.len() == 15);
    assert!(f16.iter().all(|turn| turn.kl.is_none() && turn.n_tokens > 0));
    assert_eq!(
        f16.iter().map(|turn| &turn.answer).collect::<Vec<_>>(),
        again.iter().map(|turn| &turn.answer).collect::<Vec<_>>()
    );
    assert!(again.iter().all(|turn| turn.kl == Some(0.0)), "{again:?}");
    assert!(
        turbo3.iter().all(|turn| turn.kl.is_some_and(|kl| kl > 0.0 && kl < 1.0)),
        "{turbo3:?}"
    );
    let asked: Vec<bool> = f16.iter().filter_map(|turn| turn.recalled).collect();
    assert!(
        asked.len() == 6 && asked.iter().filter(|yes| **yes).count() >= 5,
        "{f16:?}"
    );
}

#[test]
fn facts_that_were_never_stated_are_not_recalled() {
    let mut script = script(15, 1, 0).unwrap();
    for turn in &mut script {
        match turn.kind {
            TurnKind::Fact => turn.user = "Hello!".into(),
            // nor may the script's own answers tell
            TurnKind::Recall { .. } => turn.assistant = "Noted.".into(),
            TurnKind::Chat => {}
        }
    }
    let run = sessions(&tiny::model(), &[script], &[kv(KvType::F16)], &options(), |_, _| {}).expect("a session");
    let recalled = run.conversations[0].caches[0]
        .iter()
        .filter(|turn| turn.recalled == Some(true))
        .count();
    assert!(recalled <= 1, "{recalled} of 6 by guessing");
}

#[test]
fn conversations_beyond_the_model_are_refused_and_cancelled_ones_kept() {
    let model = tiny::model();
    let long = [script(400, 1, 0).unwrap()];
    let message = sessions(&model, &long, &[kv(KvType::F16)], &options(), |_, _| {})
        .unwrap_err()
        .to_string();
    assert!(message.contains("400 turns") && message.contains("8192"), "{message}");
    let cancel = CancelToken::new();
    let scripts: Vec<_> = (0..20).map(|number| script(5, 1, number).unwrap()).collect();
    let run = sessions(
        &model,
        &scripts,
        &[kv(KvType::F16)],
        &options().cancel(cancel.clone()),
        |at, _| {
            if at.done == 1 {
                cancel.cancel();
            }
        },
    )
    .expect("a partial run");
    assert!(
        !run.complete && (1..20).contains(&run.conversations.len()),
        "{}",
        run.conversations.len()
    );
}
