//! What is asked of a responder, and what is made of its answers, with a scripted one.

use super::*;
use crate::measure::prompts::{EstimatedSizer, Verdict};

/// Answers with the next of its lines, and remembers what it was asked.
struct Scripted {
    lines: Vec<Result<Answered>>,
    asked: Vec<(Vec<Value>, bool)>,
}

fn says(text: &str) -> Result<Answered> {
    Ok(Answered::Reply(Box::new(Reply {
        message: ChatMessage {
            content: Some(text.into()),
            ..ChatMessage::default()
        },
        raw: text.into(),
        tokens: Some(text.bytes().map(i32::from).collect()),
        n_prompt: Some(7),
        n_tokens: Some(text.len()),
        finish: Some("stop".into()),
    })))
}

impl Responder for Scripted {
    type Error = Error;

    fn answer(&mut self, request: &Request<'_>) -> Result<Answered> {
        self.asked.push((request.messages.to_vec(), request.continues));
        self.lines.remove(0)
    }
}

const SET: &str = r#"[
    {"id": "talk", "category": "c", "max_tokens": 9, "turns": [
        {"prompt": "one"}, {"prompt": "two", "expected_pattern": "B"}, {"prompt": "three", "expected_pattern": "C"}]},
    {"id": "single", "category": "c", "max_tokens": 9, "system": "s", "prompt": "p", "expected_pattern": "yes"}]"#;

fn asked(caches: Vec<Vec<Result<Answered>>>) -> (Outcomes, Vec<Scripted>, Result<()>) {
    let set = PromptSet::from_json(SET).unwrap();
    let plan = Plan::new(&set, None, &EstimatedSizer).unwrap();
    let names: Vec<String> = (0..caches.len()).map(|i| format!("cache{i}")).collect();
    let mut outcomes = plan.outcomes(&set, names.clone());
    let (mut used, mut result, of) = (Vec::new(), Ok(()), caches.len());
    for (number, (lines, name)) in caches.into_iter().zip(&names).enumerate() {
        let mut responder = Scripted {
            lines,
            asked: Vec::new(),
        };
        let place = Place { number, of };
        result = ask_all(&set, &plan, name, place, &mut responder, &mut outcomes, |_, _| {});
        used.push(responder);
    }
    (outcomes, used, result)
}

#[test]
fn a_conversation_goes_on_with_the_answers_of_the_cache_that_is_asked() {
    let (outcomes, used, _) = asked(vec![vec![says("A"), says("B"), says("C"), says("yes")]]);
    let (messages, continues) = &used[0].asked[2];
    let contents: Vec<&str> = messages
        .iter()
        .filter_map(|message| message["content"].as_str())
        .collect();
    assert_eq!((contents, *continues), (vec!["one", "A", "two", "B", "three"], true));
    assert!(!used[0].asked[3].1, "another prompt begins anew");
    assert_eq!(used[0].asked[3].0[0]["role"], "system");
    let answer = &outcomes.prompts[0].answers[0];
    assert_eq!((answer.passed, answer.n_tokens), (Some(true), Some(3)));
    assert_eq!(answer.answer, "A\n--- 2 ---\nB\n--- 3 ---\nC");
}

#[test]
fn one_wrong_turn_fails_the_conversation_and_is_named() {
    let reference = vec![says("A"), says("B"), says("C"), says("yes")];
    let candidate = vec![says("A"), says("x"), says("C"), says("no")];
    let (outcomes, ..) = asked(vec![reference, candidate]);
    let answer = &outcomes.prompts[0].answers[1];
    assert_eq!((answer.passed, answer.verdict), (Some(false), Some(Verdict::Degraded)));
    assert_eq!(answer.why.as_deref(), Some("turn 2: nothing matches `B`"));
    let difference = answer.first_difference.unwrap();
    assert_eq!((difference.token, difference.char), (Some(1), "A\n--- 2 ---\n".len()));
    assert_eq!(outcomes.summaries()[0].degraded, 2);
}

#[test]
fn thoughts_are_not_judged() {
    let (outcomes, ..) = asked(vec![vec![
        says("A"),
        says("B"),
        says("C"),
        says("<think>yes?</think>\nno"),
    ]]);
    assert_eq!(outcomes.prompts[1].answers[0].passed, Some(false));
    assert_eq!(without_thoughts("<think>yes"), "");
    assert_eq!(without_thoughts("a <think> b"), "a <think> b");
}

#[test]
fn a_refused_prompt_is_not_run_and_the_others_are() {
    let refused = || Ok(Answered::Refused("too long".into()));
    let reference = vec![refused(), says("yes")];
    let candidate = vec![says("A"), says("B"), says("C"), says("yes")];
    let (outcomes, ..) = asked(vec![reference, candidate]);
    let answers = &outcomes.prompts[0].answers;
    assert_eq!((answers[0].passed, answers[0].why.as_deref()), (None, Some("too long")));
    assert_eq!(answers[1].verdict, Some(Verdict::NotRun));
    assert_eq!((outcomes.summaries()[0].kept, outcomes.summaries()[0].not_run), (1, 1));
}

#[test]
fn an_error_keeps_what_was_answered_before() {
    let (outcomes, _, result) = asked(vec![vec![says("A"), says("B"), says("C"), Err(Error::Cancelled)]]);
    assert!(matches!(result, Err(Error::Cancelled)));
    assert_eq!(outcomes.prompts[0].answers.len(), 1);
    assert_eq!(outcomes.prompts[1].answers.len(), 0);
}

#[test]
fn a_former_run_is_the_reference_where_the_prompt_is_the_same() {
    let all = || vec![says("A"), says("B"), says("C"), says("yes")];
    let (mut former, ..) = asked(vec![all()]);
    former.prompts[1].fingerprint = "another".into();
    let set = PromptSet::from_json(SET).unwrap();
    let plan = Plan::new(&set, None, &EstimatedSizer).unwrap();
    let mut outcomes = plan.outcomes(&set, vec!["turbo4".into()]);
    outcomes.refer_to(&former);
    let mut responder = Scripted {
        lines: all(),
        asked: Vec::new(),
    };
    let place = Place { number: 0, of: 1 };
    ask_all(&set, &plan, "turbo4", place, &mut responder, &mut outcomes, |_, _| {}).unwrap();
    assert_eq!(outcomes.caches, ["cache0 (record)", "turbo4"]);
    assert_eq!(outcomes.prompts[0].answers[1].verdict, Some(Verdict::Kept));
    let other = &outcomes.prompts[1].answers;
    assert!(other[0].why.as_deref().unwrap().contains("another definition"));
    assert_eq!(other[1].verdict, Some(Verdict::NotRun));
}
