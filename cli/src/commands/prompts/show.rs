//! Results for people: the table, why answers failed, and answers side by side.

use crate::report::table;
use llama_turboquant::measure::prompts::{
    AnswerOutcome, Outcome, Outcomes, PromptSet, Summary, Verdict, first_difference,
};
use std::fmt::Write as _;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The prompts of a set.
pub fn list(set: &PromptSet) -> String {
    let rows = set.prompts.iter().map(|prompt| {
        let input = match (&prompt.generated, prompt.turns.len(), prompt.messages.len()) {
            (Some(generated), ..) => format!("{} generated tokens", generated.tokens),
            (None, 0, 0) => "one message".into(),
            (None, 0, n) => format!("a conversation of {n} messages"),
            (None, n, _) => format!("{n} turns"),
        };
        let tools = match prompt.tools.len() {
            0 => String::new(),
            n => format!(", {n} tools"),
        };
        vec![
            prompt.id.clone(),
            prompt.category.clone(),
            input + &tools,
            prompt.max_tokens.to_string(),
        ]
    });
    table(&["prompt", "category", "input", "answer, tokens"], 3, rows).to_string()
}

/// One line for each prompt that was shortened.
pub fn shortened(outcomes: &Outcomes) -> Vec<String> {
    let line = |prompt: &Outcome| {
        let size = prompt.generated.filter(|size| size.is_short())?;
        Some(format!(
            "{}: its generated text was shortened from {} to {} tokens to fit the context",
            prompt.id, size.asked, size.used
        ))
    };
    outcomes.prompts.iter().filter_map(line).collect()
}

/// The table, the reasons, the answers asked for (and the degraded ones), and what it adds up to.
pub fn results(outcomes: &Outcomes, show: &[String], set: &str) -> String {
    let mut text = format!(
        "\nPrompts of {set}; the reference is {}\n\n",
        outcomes.caches.first().map_or("", |name| name)
    );
    let mut header = vec!["prompt", "category"];
    header.extend(outcomes.caches.iter().map(String::as_str));
    let rows = outcomes.prompts.iter().map(|prompt| {
        let mut row = vec![prompt.id.clone(), prompt.category.clone()];
        row.extend(outcomes.caches.iter().enumerate().map(|(i, _)| cell(prompt, i)));
        row
    });
    let _ = writeln!(text, "{}", table(&header, header.len(), rows));
    let reasons = reasons(outcomes);
    if !reasons.is_empty() {
        let _ = write!(text, "\nWhy:\n{reasons}");
    }
    let width = terminal_width();
    for prompt in &outcomes.prompts {
        let asked = show.iter().any(|id| id == "all" || *id == prompt.id);
        let Some(reference) = prompt.answers.first() else {
            continue;
        };
        for answer in prompt.answers.iter().skip(1) {
            if asked || answer.verdict == Some(Verdict::Degraded) {
                let _ = write!(text, "\n{}\n", side_by_side(&prompt.id, reference, answer, width));
            }
        }
        if asked && prompt.answers.len() == 1 {
            let _ = write!(
                text,
                "\n{}, {}:\n{}\n",
                prompt.id,
                reference.cache,
                clean(&reference.answer)
            );
        }
    }
    text.push('\n');
    for summary in outcomes.summaries() {
        let _ = writeln!(text, "{}", sentence(&summary, outcomes.prompts.len()));
    }
    text.trim_end().to_owned()
}

fn cell(prompt: &Outcome, cache: usize) -> String {
    let Some(answer) = prompt.answers.get(cache) else {
        return "not asked".into();
    };
    let parts = match (cache, answer.first_difference) {
        (0, _) => String::new(),
        (_, None) => ", same".into(),
        (_, Some(difference)) => match difference.token {
            Some(token) => format!(", parts at token {token}"),
            None => format!(", parts at character {}", difference.char),
        },
    };
    match (answer.passed, answer.verdict) {
        (None, _) => "not run".into(),
        (_, Some(Verdict::Degraded)) => format!("DEGRADED{parts}"),
        (Some(true), _) => format!("pass{parts}"),
        (Some(false), _) => format!("fail{parts}"),
    }
}

/// Why answers failed; caches that failed alike share a line.
fn reasons(outcomes: &Outcomes) -> String {
    let mut text = String::new();
    for prompt in &outcomes.prompts {
        let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
        for answer in &prompt.answers {
            let Some(why) = &answer.why else { continue };
            let why = clean(why).replace('\n', " ");
            match groups.iter_mut().find(|(known, _)| *known == why) {
                Some((_, caches)) => caches.push(&answer.cache),
                None => groups.push((why, vec![&answer.cache])),
            }
        }
        for (why, caches) in groups {
            let _ = writeln!(text, "  {} ({}): {why}", prompt.id, caches.join(", "));
        }
    }
    text
}

fn sentence(summary: &Summary, n: usize) -> String {
    let verdict = match summary.passes() {
        None => "nothing was decidable: the reference passes none of these prompts",
        Some(true) => "passes (at least 9 of 10)",
        Some(false) => "FAILS (fewer than 9 of 10)",
    };
    let mut text = format!(
        "{}: {} of {} decidable prompts kept, {} degraded: {verdict}; {} of {n} answers are the reference's to the character",
        summary.cache, summary.kept, summary.decidable, summary.degraded, summary.identical
    );
    if summary.not_decidable > 0 {
        let _ = write!(text, "; {} not decidable (the reference fails)", summary.not_decidable);
    }
    if summary.not_run > 0 {
        let _ = write!(text, "; {} not run", summary.not_run);
    }
    text
}

/// Marks where two answers part.
const MARK: char = '\u{bb}';

fn side_by_side(id: &str, left: &AnswerOutcome, right: &AnswerOutcome, width: usize) -> String {
    let column = width.saturating_sub(3).max(40) / 2;
    let answered = left.passed.is_some() && right.passed.is_some();
    let at = first_difference(&left.answer, &right.answer).filter(|_| answered);
    let heading = match (at, right.first_difference) {
        _ if !answered => "not compared, because one of the two has no answer".to_owned(),
        (None, _) => "the answers are equal".to_owned(),
        (Some(_), Some(difference)) => {
            let token = difference
                .token
                .map_or(String::new(), |token| format!("token {token}, "));
            format!("the answers part at {token}character {}: {MARK}", difference.char)
        }
        (Some(_), None) => format!("the answers part: {MARK}"),
    };
    let mut text = format!("{id}: {heading}\n");
    let verdict = |answer: &AnswerOutcome| match answer.passed {
        Some(true) => "pass",
        Some(false) => "fail",
        None => "not run",
    };
    let title = |answer: &AnswerOutcome| format!("{}: {}", answer.cache, verdict(answer));
    let mut rows = vec![(title(left), title(right)), ("-".repeat(column), "-".repeat(column))];
    let (a, b) = (
        wrap(&marked(&left.answer, at), column),
        wrap(&marked(&right.answer, at), column),
    );
    for i in 0..a.len().max(b.len()) {
        let line = |lines: &[String]| lines.get(i).cloned().unwrap_or_default();
        rows.push((line(&a), line(&b)));
    }
    for (a, b) in rows {
        let gap = " ".repeat(column.saturating_sub(a.width()));
        let _ = writeln!(text, "{}", format!("{a}{gap} | {b}").trim_end());
    }
    text.trim_end().to_owned()
}

fn marked(text: &str, at: Option<usize>) -> String {
    match at {
        Some(at) => format!("{}{MARK}{}", clean(&text[..at]), clean(&text[at..])),
        None => clean(text),
    }
}

/// A model's text without what could move the cursor or change colours.
fn clean(text: &str) -> String {
    let text = text.replace('\t', "    ");
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// Lines of at most `width` columns, broken at blanks where there are some.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.lines() {
        let (mut current, mut used) = (String::new(), 0);
        for c in line.chars() {
            let wide = c.width().unwrap_or(0);
            if used + wide > width {
                let rest = match current.rfind(' ') {
                    Some(blank) if c != ' ' && blank > 0 => current.split_off(blank + 1),
                    _ => String::new(),
                };
                lines.push(current.trim_end().to_owned());
                current = rest;
                used = current.width();
            }
            if !(c == ' ' && used == 0 && !lines.is_empty()) {
                current.push(c);
                used += wide;
            }
        }
        lines.push(current);
    }
    lines
}

fn terminal_width() -> usize {
    let typed = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let terminal = || terminal_size::terminal_size().map(|(terminal_size::Width(width), _)| usize::from(width));
    typed.or_else(terminal).unwrap_or(100).clamp(43, 240)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_blanks_and_never_too_wide() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("a\n\nb", 4), ["a", "", "b"]);
        // wide characters take two columns
        assert_eq!(wrap("\u{4e16}\u{754c}\u{4e16}", 4), ["\u{4e16}\u{754c}", "\u{4e16}"]);
    }

    #[test]
    fn the_mark_stands_before_the_first_difference_in_both_columns() {
        let answer = |cache: &str, text: &str| AnswerOutcome {
            cache: cache.into(),
            passed: Some(true),
            why: None,
            answer: text.into(),
            n_prompt: None,
            n_tokens: None,
            finish: None,
            first_difference: None,
            verdict: None,
            tokens: None,
        };
        let text = side_by_side(
            "p",
            &answer("f16", "caf\u{e9} noir"),
            &answer("turbo2", "caf\u{e8}\u{1b}[2J"),
            60,
        );
        assert!(
            text.contains("caf\u{bb}\u{e9} noir") && text.contains("| caf\u{bb}\u{e8}\u{fffd}[2J"),
            "{text}"
        );
        assert!(text.contains("f16: pass") && text.contains("turbo2: pass"), "{text}");
        let missing = AnswerOutcome {
            passed: None,
            ..answer("turbo3", "")
        };
        let text = side_by_side("p", &answer("f16", "yes"), &missing, 60);
        assert!(text.contains("not compared") && !text.contains(MARK), "{text}");
    }
}
