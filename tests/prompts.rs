//! What `measure::prompts` promises on a real model: answers that depend on nothing but prompt and cache, and what is left of
//! a run that was stopped.

#[path = "support/tiny.rs"]
mod tiny;

use llama_turboquant::measure::Options;
use llama_turboquant::measure::prompts::{NamedCache, Outcomes, PromptSet, RunOptions, run};
use llama_turboquant::{CancelToken, KvSpec};

fn caches(names: &[&str]) -> Vec<NamedCache> {
    let cache = |name: &&str| NamedCache {
        name: (*name).to_owned(),
        kv: name.parse::<KvSpec>().expect("cache").config(),
    };
    names.iter().map(cache).collect()
}

fn set(ids: &[&str]) -> PromptSet {
    let ids: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    PromptSet::from_json(include_str!("../benchmarks/tiny_prompts.json"))
        .expect("prompts")
        .only(&ids)
        .expect("ids")
}

fn options() -> RunOptions {
    RunOptions::new(Options::default().threads(1))
}

const IDS: [&str; 3] = ["faq_explain_turbo3", "tool_get_time", "recall_15_turns_a"];

/// Answers by id.
fn answers(outcomes: &Outcomes) -> Vec<(&str, &str)> {
    let answer = |prompt: &'_ usize| {
        let prompt = &outcomes.prompts[*prompt];
        (prompt.id.as_str(), prompt.answers[0].answer.as_str())
    };
    let mut order: Vec<usize> = (0..outcomes.prompts.len()).collect();
    order.sort_by_key(|&i| &outcomes.prompts[i].id);
    order.iter().map(answer).collect()
}

#[test]
fn answers_do_not_depend_on_the_prompts_before_them() {
    let set = set(&IDS);
    let mut reversed = set.clone();
    reversed.prompts.reverse();
    let ask = |set: &PromptSet| run(&tiny::model(), set, &caches(&["turbo3"]), &options(), |_, _| {}).expect("run");
    let (forwards, backwards) = (ask(&set), ask(&reversed));
    assert_eq!(answers(&forwards), answers(&backwards));
    assert!(
        forwards
            .prompts
            .iter()
            .all(|prompt| prompt.answers[0].passed == Some(true))
    );
}

#[test]
fn a_cache_keeps_everything_when_compared_with_itself() {
    let twice = [caches(&["f16"]), caches(&["f16"])].concat();
    let outcomes = run(&tiny::model(), &set(&IDS), &twice, &options(), |_, _| {}).expect("run");
    let summary = &outcomes.summaries()[0];
    assert_eq!((summary.kept, summary.identical, summary.decidable), (3, 3, 3));
    let prompt = &outcomes.prompts[1].answers;
    assert_eq!(prompt[0].tokens, prompt[1].tokens);
    assert!(prompt[0].tokens.as_ref().is_some_and(|tokens| tokens.len() > 5));
}

#[test]
fn a_stopped_run_keeps_the_answers_it_has() {
    let cancel = CancelToken::new();
    let options = RunOptions::new(Options::default().threads(1).cancel(cancel.clone()));
    let outcomes = run(
        &tiny::model(),
        &set(&IDS),
        &caches(&["f16", "turbo4"]),
        &options,
        |progress, _| {
            if progress.done == 2 {
                cancel.cancel();
            }
        },
    )
    .expect("run");
    let n: Vec<usize> = outcomes.prompts.iter().map(|prompt| prompt.answers.len()).collect();
    assert_eq!(n, [1, 1, 0]);
    assert_eq!(outcomes.summaries()[0].not_run, 3);
}
