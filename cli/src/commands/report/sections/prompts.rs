//! Practical prompts: which cache still answers them.

use super::{Block, Section, cache, heading};
use crate::commands::report::html::{Cell, Table, Tone};
use crate::commands::report::read::{Results, Source};
use crate::commands::report::records::{Answer, Prompt, Prompts};

pub fn section(sources: &[Source]) -> Option<Section> {
    let mut blocks = Vec::new();
    for source in sources {
        if let Results::Prompts(prompts) = &source.results {
            blocks.push(heading(source));
            add(prompts, &mut blocks);
        }
    }
    (!blocks.is_empty()).then_some(Section {
        id: "prompts",
        title: "Practical prompts".into(),
        how: "The same prompts, greedily answered with each cache and checked by a pattern or a checker. “not decidable”: no check \
              could be made. A prompt that f16 fails too is beyond the model. Open a prompt to read the answers side by side.",
        blocks,
    })
}

fn verdict(answer: Option<&Answer>) -> Cell {
    match answer.map(|answer| answer.passed) {
        None => Cell::Missing,
        Some(Some(true)) => Cell::Badge(Tone::Good, "pass".into()),
        Some(Some(false)) => Cell::Badge(Tone::Bad, "fail".into()),
        Some(None) => Cell::Badge(Tone::None, "not decidable".into()),
    }
}

fn add(prompts: &Prompts, blocks: &mut Vec<Block>) {
    if prompts.prompts.is_empty() {
        blocks.push(Block::LeftOut("the table; the record has no prompts yet.".into()));
        return;
    }
    let mut caches: Vec<String> = Vec::new();
    for answer in prompts.prompts.iter().flat_map(|prompt| &prompt.answers) {
        let name = cache(answer.cache.as_ref());
        if !caches.contains(&name) {
            caches.push(name);
        }
    }
    let answer = |prompt: &'_ Prompt, name: &str| {
        prompt
            .answers
            .iter()
            .find(|answer| cache(answer.cache.as_ref()) == name)
            .cloned()
    };
    let rows = &prompts.prompts;
    let sums = std::iter::once(Cell::text("passed of decidable"));
    let mut table =
        Table::new("Prompt by cache").column("prompt", rows.iter().map(|prompt| Cell::text(name(prompt))).chain(sums));
    for cache in &caches {
        let decided: Vec<bool> = rows.iter().filter_map(|prompt| answer(prompt, cache)?.passed).collect();
        let sum = format!("{}/{}", decided.iter().filter(|passed| **passed).count(), decided.len());
        let cells = rows.iter().map(|prompt| verdict(answer(prompt, cache).as_ref()));
        table = table.column(cache, cells.chain([Cell::text(sum)]));
    }
    table = table.column(
        "category",
        rows.iter()
            .map(|prompt| prompt.category.clone().map_or(Cell::Missing, Cell::Text)),
    );
    blocks.push(Block::Table(table));
    for prompt in rows {
        if let Some(why) = &prompt.not_run {
            blocks.push(Block::LeftOut(format!("{}, which was not run: {why}", name(prompt))));
        }
        blocks.extend(answers(prompt));
    }
}

fn name(prompt: &Prompt) -> String {
    prompt.id.clone().unwrap_or_else(|| "prompt without id".into())
}

/// The answers in full, up to a length at which nobody reads on.
fn answers(prompt: &Prompt) -> Option<Block> {
    const LONGEST: usize = 4000;
    let mut text = String::new();
    for answer in &prompt.answers {
        let Some(words) = &answer.answer else { continue };
        let difference = answer.first_difference.as_ref().map_or(String::new(), |difference| {
            let at = |n: Option<u64>| n.map_or("?".into(), |n| n.to_string());
            format!(
                ", first difference at token {} (character {})",
                at(difference.token),
                at(difference.char)
            )
        });
        let begin: String = words.chars().take(LONGEST).collect();
        let rest = words.chars().count().saturating_sub(LONGEST);
        let cut = if rest > 0 {
            format!("\n[... {rest} more characters in the record]")
        } else {
            String::new()
        };
        let why = answer.why.as_ref().map_or(String::new(), |why| format!("\n[{why}]"));
        text += &format!("{}{difference}:{why}\n{begin}{cut}\n\n", cache(answer.cache.as_ref()));
    }
    (!text.is_empty()).then(|| Block::Details(format!("Answers to {}", name(prompt)), text.trim_end().to_owned()))
}
