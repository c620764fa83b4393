//! The report for people.

use super::Results;
use crate::load::fairness::Fairness;
use crate::load::report::ClassReport;
use crate::load::summary::Summary;
use crate::report::table;
use llama_turboquant::memory::human_bytes;
use std::fmt::Write;

/// All of it.
pub(super) fn text(results: &Results) -> String {
    [
        counts(results),
        latencies(results),
        problems(results),
        fairness(results),
        server(results),
        verified(results),
    ]
    .concat()
}

fn counts(results: &Results) -> String {
    let (load, rate) = (&results.load, results.load.throughput);
    let n = load.requests;
    let mut out = format!(
        "{} requests in {:.1} s: {} answered, {} refused (429, 503), {} failed, {} whose client left",
        n.sent, load.seconds, n.answered, n.refused, n.failed, n.left
    );
    if n.cut > 0 {
        let _ = write!(out, ", {} cut by the interruption", n.cut); // writing to a string does not fail
    }
    let prompt = rate.prompt_tokens.map_or_else(|| "-".into(), |n| format!("{n:.1}"));
    let _ = writeln!(
        out,
        "\n{:.2} answers/s, {prompt} prompt tokens/s, {:.1} tokens/s written",
        rate.requests, rate.answer_tokens
    );
    if n.left > 0 {
        let left = load.left;
        let _ = writeln!(
            out,
            "clients left while they waited {}, in the prompt {}, in the answer {}",
            left.waiting, left.prefill, left.decode
        );
    }
    let refusals = load.refusals;
    if refusals.count > 0 {
        let _ = writeln!(
            out,
            "{} refusals, {} with Retry-After; {} were sent again",
            refusals.count, refusals.with_retry_after, refusals.retries
        );
    }
    out
}

fn latencies(results: &Results) -> String {
    let load = &results.load;
    let mut rows = Vec::new();
    let mut add = |what: String, latency: &crate::load::report::Latency| {
        for (name, summary) in [
            ("to the first token", &latency.ttft_ms),
            ("between pieces", &latency.gap_ms),
            ("to the end", &latency.total_ms),
        ] {
            rows.push(row(&what, name, summary));
        }
    };
    add("all".into(), &load.latency);
    if load.classes.len() > 1 {
        for class in &load.classes {
            add(class_name(class), &class.latency);
        }
    }
    let heads = ["requests", "ms", "n", "mean", "p50", "p90", "p95", "p99", "max"];
    let mut out = format!("\n{}\n", table(&heads, 2, rows));
    let all = [&load.latency.ttft_ms, &load.latency.gap_ms, &load.latency.total_ms];
    let of_classes = load
        .classes
        .iter()
        .flat_map(|class| [&class.latency.ttft_ms, &class.latency.total_ms]);
    if all
        .into_iter()
        .chain(of_classes)
        .any(|summary| !summary.uncertain.is_empty())
    {
        out += "~ fewer than 10 values lie beyond: another run may give quite another number\n";
    }
    out
}

fn row(what: &str, name: &str, summary: &Summary) -> Vec<String> {
    let value = |value: Option<f64>, name: &str| {
        let mark = if summary.uncertain.contains(&name) { "~" } else { "" };
        value.map_or_else(|| "-".into(), |value| format!("{mark}{value:.1}"))
    };
    let mut row = vec![
        what.to_owned(),
        name.to_owned(),
        summary.n.to_string(),
        value(summary.mean, "mean"),
    ];
    row.extend(
        [
            (summary.p50, "p50"),
            (summary.p90, "p90"),
            (summary.p95, "p95"),
            (summary.p99, "p99"),
        ]
        .map(|(v, n)| value(v, n)),
    );
    row.push(value(summary.max, "max"));
    row
}

fn class_name(class: &ClassReport) -> String {
    format!("{}x{}", class.class.words, class.class.answer)
}

fn problems(results: &Results) -> String {
    if results.load.problems.is_empty() {
        return String::new();
    }
    let rows = results.load.problems.iter().map(|problem| {
        let status = match problem.status {
            Some(200) => "in the answer".into(),
            Some(status) => status.to_string(),
            None => "-".into(),
        };
        vec![
            status,
            problem.code.clone(),
            problem.message.clone(),
            problem.count.to_string(),
        ]
    });
    format!(
        "\n{}\n",
        table(&["status", "code", "first message", "requests"], 3, rows)
    )
}

fn fairness(results: &Results) -> String {
    let load = &results.load;
    let number =
        |value: Option<f64>, digits: usize| value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"));
    let row = |class: &ClassReport| {
        let Fairness {
            n,
            jain,
            median_wait,
            longest_wait,
            longest_over_median,
        } = class.fairness;
        vec![
            class_name(class),
            n.to_string(),
            number(median_wait, 1),
            number(longest_wait, 1),
            number(longest_over_median, 2),
            number(jain, 4),
        ]
    };
    let heads = [
        "requests",
        "n",
        "median wait ms",
        "longest",
        "longest/median",
        "Jain over clients",
    ];
    let overtaken = &load.fairness.overtaken;
    format!(
        "\n{}\n{} of {} answered requests were overtaken by a later one, 99 % by at most {}, one by {}; Jain's index over the tokens \
         of clients: {}\n",
        table(&heads, 1, load.classes.iter().map(row)),
        overtaken.any,
        overtaken.n,
        overtaken.p99,
        overtaken.most,
        number(load.fairness.jain_tokens, 4)
    )
}

fn server(results: &Results) -> String {
    let mut out = String::new();
    if let Some(slots) = results.slots {
        let settled = slots
            .settled_ms
            .map_or_else(|| "not within 10 s".into(), |ms| format!("after {ms} ms"));
        let _ = writeln!(
            out,
            "{} of {} slots busy afterwards; all free {settled}",
            slots.stuck, slots.total
        );
    }
    if let Some(memory) = &results.resident {
        let whose = if memory.with_clients {
            "server and clients"
        } else {
            "server"
        };
        match memory.growth {
            Some(growth) => {
                let _ = writeln!(
                    out,
                    "resident memory of the {whose}: {} after the first minute, then {} to {} ({:+.1} % at most), {} at the end",
                    human_bytes(growth.at_first),
                    human_bytes(growth.least),
                    human_bytes(growth.most),
                    100.0 * growth.growth,
                    human_bytes(growth.at_last)
                );
            }
            None => {
                let last = memory
                    .samples
                    .last()
                    .map_or_else(|| "-".into(), |(_, bytes)| human_bytes(*bytes));
                let _ = writeln!(
                    out,
                    "resident memory of the {whose}: {last} at the end; growth counts from the first minute, which this load did not outlast"
                );
            }
        }
    }
    out
}

fn verified(results: &Results) -> String {
    let Some(verified) = &results.verify else {
        return String::new();
    };
    let mut out = format!(
        "{} of {} answers are the same alone, {} differ",
        verified.identical, verified.compared, verified.differing
    );
    if verified.unanswered > 0 {
        let _ = write!(out, ", {} were not answered alone", verified.unanswered);
    }
    out.push('\n');
    for difference in &verified.differences {
        let _ = writeln!(
            out,
            "  `{}`: from character {}: {:?} under load, {:?} alone",
            difference.request, difference.at, difference.under_load, difference.alone
        );
    }
    out
}
