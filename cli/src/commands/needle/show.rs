//! What was found, as numbers for the record and as tables for people.

use crate::report::table;
use llama_turboquant::KvSpec;
use llama_turboquant::measure::stats::Interval;
use llama_turboquant::measure::{NeedleKind, NeedleQuestion, NeedleRun};
use serde::Serialize;
use std::fmt::Write;
use std::io::IsTerminal;

/// The `results` of a record of kind `needle`.
#[derive(Debug, Clone, Serialize)]
pub struct Results {
    /// By cache, length and depth.
    pub cells: Vec<Cell>,
    /// By cache: each length, and all of them (`n_ctx` null).
    pub scores: Vec<Score>,
    /// Every answer.
    pub answers: Vec<Answer>,
}

/// One field of a heat map.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Cell {
    pub cache: KvSpec,
    pub n_ctx: u32,
    pub depth: Option<f64>,
    pub trials: usize,
    pub found: usize,
}

/// A cache at one length or at all.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Score {
    pub cache: KvSpec,
    pub n_ctx: Option<u32>,
    pub trials: usize,
    pub found: usize,
    /// Wilson's interval of the share found.
    pub share: Interval,
    /// Needles that f16 found, of those that both were asked; null: f16 was not asked, or this is f16.
    pub f16_found: Option<usize>,
    /// Of these, needles that this cache did not find.
    pub lost: Option<usize>,
    /// Needles that this cache found and f16 did not.
    pub gained: Option<usize>,
    /// Wilson's interval of the share of `f16_found` that this cache found as well.
    pub kept: Option<Interval>,
}

/// One answer, with what it answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[allow(missing_docs)]
pub struct Answer {
    pub cache: KvSpec,
    pub n_ctx: u32,
    pub depth: Option<f64>,
    pub placed: Option<f64>,
    pub kind: NeedleKind,
    pub trial: usize,
    pub n_tokens: usize,
    pub expected: String,
    pub answer: String,
    pub found: bool,
}

impl Results {
    /// Counts what is there.
    pub fn new(specs: &[KvSpec], base: Option<usize>, questions: &[NeedleQuestion], run: &NeedleRun) -> Self {
        let cells: Vec<Cell> = run
            .cells(questions)
            .into_iter()
            .map(|cell| Cell {
                cache: specs[cell.cache],
                n_ctx: cell.n_ctx,
                depth: cell.depth,
                trials: cell.trials,
                found: cell.found,
            })
            .collect();
        let lengths = lengths(&cells);
        let mut scores = Vec::new();
        for (cache, spec) in specs.iter().enumerate() {
            for n_ctx in lengths.iter().copied().map(Some).chain([None]) {
                let score = run.score(questions, cache, base, |question| {
                    n_ctx.is_none_or(|n| question.n_ctx == n)
                });
                if score.trials > 0 {
                    scores.push(Score {
                        cache: *spec,
                        n_ctx,
                        trials: score.trials,
                        found: score.found,
                        share: score.share,
                        f16_found: score.kept.map(|kept| kept.base_found),
                        lost: score.kept.map(|kept| kept.base_found - kept.kept),
                        gained: score.kept.map(|kept| kept.gained),
                        kept: score.kept.map(|kept| kept.share),
                    });
                }
            }
        }
        let answers = run.answers.iter().map(|answer| {
            let question = &questions[answer.question];
            Answer {
                cache: specs[answer.cache],
                n_ctx: question.n_ctx,
                depth: question.depth,
                placed: question.placed,
                kind: question.kind,
                trial: question.trial,
                n_tokens: question.tokens.len(),
                expected: question.expected.clone(),
                answer: answer.answer.clone(),
                found: answer.found,
            }
        });
        Self {
            cells,
            scores,
            answers: answers.collect(),
        }
    }
}

fn lengths(cells: &[Cell]) -> Vec<u32> {
    let mut lengths: Vec<u32> = cells.iter().map(|cell| cell.n_ctx).collect();
    lengths.sort_unstable();
    lengths.dedup();
    lengths
}

/// Whether standard output shows colors.
pub fn colors() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A heat map for each cache, the shares by length, and what was missed.
pub fn text(results: &Results, colors: bool) -> String {
    let mut text = String::new();
    let mut caches: Vec<KvSpec> = results.cells.iter().map(|cell| cell.cache).collect();
    caches.dedup();
    for cache in caches {
        text += &heat_map(cache, &results.cells, colors);
        text.push('\n');
    }
    let rows = results.scores.iter().map(|score| {
        let against = |n: Option<usize>| n.map_or("-".into(), |n| n.to_string());
        let lost = score
            .lost
            .zip(score.f16_found)
            .map_or("-".into(), |(lost, of)| format!("{lost} of {of}"));
        vec![
            score.cache.to_string(),
            score.n_ctx.map_or("all".into(), |n| n.to_string()),
            format!("{}/{}", score.found, score.trials),
            percent(score.share),
            lost,
            against(score.gained),
            score.kept.map_or("-".into(), percent),
        ]
    });
    let header = [
        "cache",
        "tokens",
        "found",
        "% [95 % interval]",
        "lost of f16's",
        "gained",
        "kept, % [95 % interval]",
    ];
    let _ = writeln!(text, "{}", table(&header, 1, rows));
    text += &missed(results);
    text
}

fn percent(share: Interval) -> String {
    format!(
        "{:.1} [{:.1}, {:.1}]",
        100.0 * share.estimate,
        100.0 * share.low,
        100.0 * share.high
    )
}

/// Rows are depths, columns lengths, numbers percent found; `-`: not asked.
pub fn heat_map(cache: KvSpec, cells: &[Cell], colors: bool) -> String {
    let mine: Vec<&Cell> = cells.iter().filter(|cell| cell.cache == cache).collect();
    let lengths = lengths(cells);
    let mut depths: Vec<Option<f64>> = mine.iter().map(|cell| cell.depth).collect();
    depths.sort_by(|a, b| a.unwrap_or(f64::INFINITY).total_cmp(&b.unwrap_or(f64::INFINITY)));
    depths.dedup();
    let mut text = format!("{cache}: needles found, %\n{:>12}", "depth/tokens");
    for length in &lengths {
        let _ = write!(text, " {length:>7}");
    }
    text.push('\n');
    for depth in depths {
        let _ = write!(text, "{:>12}", depth.map_or("?".into(), |depth| format!("{depth}")));
        for length in &lengths {
            let cell = mine.iter().find(|cell| (cell.n_ctx, cell.depth) == (*length, depth));
            text.push(' ');
            text += &field(cell.map(|cell| cell.found as f64 / cell.trials as f64), colors);
        }
        text.push('\n');
    }
    text
}

fn field(share: Option<f64>, colors: bool) -> String {
    let Some(share) = share else {
        return format!("{:>7}", "-");
    };
    // rounded down: 100 means all
    let number = format!("{:>7}", (100.0 * share + 1e-9).floor());
    if !colors {
        return number;
    }
    // dark red to dark green in the 6 x 6 x 6 color cube, white on it
    let background = match share {
        s if s >= 1.0 => 22,
        s if s >= 0.9 => 64,
        s if s >= 0.7 => 94,
        s if s >= 0.4 => 130,
        _ => 88,
    };
    format!("\x1b[48;5;{background};38;5;15m{number}\x1b[0m")
}

/// The needles that a cache lost, and how many f16 itself missed.
fn missed(results: &Results) -> String {
    const SHOWN: usize = 8;
    let mut text = String::new();
    let f16 = KvSpec::F16;
    let same = |a: &Answer, b: &Answer| {
        (a.n_ctx, a.depth, a.kind, a.trial, &a.expected) == (b.n_ctx, b.depth, b.kind, b.trial, &b.expected)
    };
    let mut lost = Vec::new();
    for answer in results.answers.iter().filter(|answer| !answer.found) {
        let base = results
            .answers
            .iter()
            .find(|base| base.cache == f16 && same(base, answer));
        if answer.cache == f16 || base.is_none_or(|base| base.found) {
            lost.push(answer);
        }
    }
    if lost.is_empty() && !results.answers.is_empty() {
        text += "Every needle was found, or was missed by f16 as well.\n";
    }
    for answer in lost.iter().take(SHOWN) {
        let depth = answer.depth.map_or(String::new(), |depth| format!(" at depth {depth}"));
        let _ = writeln!(
            text,
            "{} missed {} ({} tokens{depth}, trial {}): {}",
            answer.cache, answer.expected, answer.n_ctx, answer.trial, answer.answer
        );
    }
    if lost.len() > SHOWN {
        let _ = writeln!(
            text,
            "and {} more; --json and --out have all answers",
            lost.len() - SHOWN
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(n_ctx: u32, depth: f64, found: usize) -> Cell {
        Cell {
            cache: KvSpec::F16,
            n_ctx,
            depth: Some(depth),
            trials: 200,
            found,
        }
    }

    #[test]
    fn a_heat_map_has_depths_down_and_lengths_across() {
        let cells = [cell(256, 0.0, 200), cell(256, 0.5, 100), cell(4096, 0.5, 199)];
        let map = heat_map(KvSpec::F16, &cells, false);
        let rows: Vec<Vec<&str>> = map.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows[0], ["f16:", "needles", "found,", "%"]);
        assert_eq!(rows[1], ["depth/tokens", "256", "4096"]);
        assert_eq!(rows[2], ["0", "100", "-"], "what was not asked is no number");
        assert_eq!(rows[3], ["0.5", "50", "99"], "99.5 % is not all");
    }

    #[test]
    fn colors_do_not_change_the_columns() {
        let cells = [cell(256, 0.0, 200), cell(512, 0.0, 0)];
        let plain = heat_map(KvSpec::F16, &cells, false);
        let mut shaded = heat_map(KvSpec::F16, &cells, true);
        assert!(
            shaded.contains("\x1b[48;5;22;") && shaded.contains("\x1b[48;5;88;"),
            "{shaded}"
        );
        while let Some(start) = shaded.find('\x1b') {
            let end = start + shaded[start..].find('m').unwrap();
            shaded.replace_range(start..=end, "");
        }
        assert_eq!(shaded, plain);
        assert!(!plain.contains('\x1b'));
    }
}
