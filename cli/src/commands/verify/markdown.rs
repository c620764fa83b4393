//! The report to paste into an issue: every cell has a word in it, and nothing in it says who or where the user is.

use super::devices::{failure, nothing_checked, worst};
use super::model;
use super::record::{ModelOutcome, Record, State, verdict};
use crate::settings::human_bytes;
use llama_turboquant::verify::device::{Cell, CellResult, DeviceReport, Outcome, RowsKind, head_name};

/// The whole report.
pub(super) fn document(record: &Record) -> String {
    let mut text = String::from("# turboquant verify\n\n");
    text += &facts(record);
    for note in &record.notes {
        text += &format!("\n**{note}**\n");
    }
    for device in &record.devices {
        text += &of_device(device);
    }
    text += &of_model(record);
    text += &of_checks(record);
    let home = directories::BaseDirs::new().map(|dirs| dirs.home_dir().to_string_lossy().into_owned());
    anonymous(&text, home.as_deref())
}

fn facts(record: &Record) -> String {
    let totals = record.totals();
    let result = match &record.state {
        State::Unfinished(running) => format!("UNFINISHED: the program is running, or ended during: {running}"),
        State::Stopped => format!("stopped by the user; {} failed until then", totals.failed),
        State::Finished if totals.failed > 0 => {
            format!("FAILED: {} of {}", totals.failed, totals.failed + totals.passed)
        }
        State::Finished => "passed".into(),
    };
    let environment = &record.environment;
    let memory = environment.ram_total.map_or_else(|| "unknown".into(), human_bytes);
    let rows = [
        ("result", result),
        (
            "counts",
            format!(
                "{} passed, {} failed, {} skipped or refused, {} not run",
                totals.passed, totals.failed, totals.skipped, totals.not_run
            ),
        ),
        ("turboquant", record.program.to_owned()),
        ("llama.cpp", record.engine.llama_cpp.clone()),
        (
            "codec",
            format!("version {}, {}", record.engine.codec_version, record.engine.codec),
        ),
        ("attention on the CPU", record.attention.active.clone()),
        (
            "built for",
            format!("{} by {}", record.engine.target, record.engine.compiler),
        ),
        ("backends", record.engine.backends.join(", ")),
        ("system", environment.os.clone().unwrap_or_else(|| "unknown".into())),
        ("processor", environment.cpu.clone()),
        ("memory", memory),
        (
            "mode",
            format!(
                "{}, {:.0} s",
                if record.quick { "quick" } else { "full" },
                record.seconds
            ),
        ),
    ];
    let rows = rows.map(|(name, value)| vec![name.to_owned(), value]);
    table(&["what", "found"], rows)
}

fn of_device(report: &DeviceReport) -> String {
    let counts = report.counts();
    let device = &report.device;
    let mut text = format!(
        "\n## {}: {}\n\nBackend {}, {} of memory. This build claims {}.\n\n{} passed, {} failed, {} refused, {} not run; {} blocks and \
         problems compared, {} ties.\n",
        device.name,
        device.description,
        device.backend,
        human_bytes(device.memory_total),
        report.claims,
        counts.passed,
        counts.failed,
        counts.refused,
        counts.not_run,
        counts.compared,
        counts.ties
    );
    if nothing_checked(report) {
        text += "\n**NOT CHECKED: no kernel of ours ran on this device.**\n";
    }
    text += "\nCodec: bytes and values are those of the definition. A tie is a block whose bytes differ and whose error is the same: \
             rounding decided a draw.\n\n";
    text += &rows_table(report);
    for (many, queries) in [(false, "1, 2 and 8 queries"), (true, "20 queries and more")] {
        let bound = worst(report, many).map_or_else(String::new, |(error, bound)| {
            format!(": largest relative error {error:.1e}, allowed {bound:.0e}")
        });
        text += &format!("\nAttention, {queries}{bound}\n\n");
        text += &attention_table(report, many);
    }
    for fault in &device.faults {
        text += &format!(
            "\nNot built on this machine:\n\n    {}\n",
            fault.trim_end().replace('\n', "\n    ")
        );
    }
    let failures: Vec<String> = report
        .failures()
        .map(|result| format!("- {}\n", failure(result)))
        .collect();
    if !failures.is_empty() {
        text += &format!("\nFailures:\n\n{}", failures.concat());
    }
    text
}

/// A word for a cell; `ok` says what a cell that passed has to say.
fn word(result: Option<&CellResult>, ok: impl Fn(&CellResult) -> String) -> String {
    let Some(result) = result else {
        return "not registered".into();
    };
    match (result.outcome, result.error) {
        (Outcome::Passed, _) => ok(result),
        (Outcome::Failed, Some(error)) => format!("**FAIL** {error:.1e}"),
        (Outcome::Failed, None) => "**FAIL**".into(),
        (Outcome::Refused, _) => "refused".into(),
        (Outcome::NotRun, _) => "not run".into(),
    }
}

fn rows_table(report: &DeviceReport) -> String {
    let mut types: Vec<&str> = Vec::new();
    for result in &report.cells {
        if let Cell::Rows { ty, .. } = &result.cell
            && !types.contains(&ty.as_str())
        {
            types.push(ty);
        }
    }
    let header = [&["operator"], &types[..]].concat();
    let rows = RowsKind::ALL.into_iter().map(|kind| {
        let of_type = |name: &&str| {
            let is_it =
                |result: &&CellResult| matches!(&result.cell, Cell::Rows { rows, ty } if *rows == kind && ty == name);
            word(report.cells.iter().find(is_it), |result| match result.ties {
                0 => format!("ok ({})", result.compared),
                ties => format!("ok ({}, {ties} ties)", result.compared),
            })
        };
        let cells = types.iter().map(of_type);
        std::iter::once(kind.to_string()).chain(cells).collect()
    });
    table(&header, rows)
}

fn attention_table(report: &DeviceReport, of_many: bool) -> String {
    let (mut heads, mut pairs) = (Vec::new(), Vec::new());
    for result in &report.cells {
        if let Cell::Attention { k, v, head, .. } = &result.cell {
            if !heads.contains(head) {
                heads.push(*head);
            }
            if !pairs.contains(&(k, v)) {
                pairs.push((k, v));
            }
        }
    }
    let names: Vec<String> = heads.iter().map(|head| head_name(*head)).collect();
    let mut header = vec!["K / V"];
    header.extend(names.iter().map(String::as_str));
    let rows = pairs.iter().map(|pair| {
        let of_head = |wanted: &(u32, u32)| {
            let is_it = |result: &&CellResult| {
                matches!(&result.cell, Cell::Attention { k, v, head, many } if (k, v) == *pair && head == wanted && *many == of_many)
            };
            word(report.cells.iter().find(is_it), |result| {
                result.error.map_or_else(|| "ok".into(), |error| format!("{error:.1e}"))
            })
        };
        let cells = heads.iter().map(of_head);
        std::iter::once(format!("{} / {}", pair.0, pair.1)).chain(cells).collect()
    });
    table(&header, rows)
}

fn of_model(record: &Record) -> String {
    if record.model.is_empty() {
        return "\n## The embedded model\n\nnot run\n".into();
    }
    let rows = record.model.iter().map(|row| {
        let verdict = match row.outcome {
            _ if row.failed() => "**FAIL**",
            ModelOutcome::Refused(_) => "refused",
            _ => "ok",
        };
        vec![
            row.device.clone(),
            row.kv.clone(),
            model::reference(row).to_owned(),
            verdict.to_owned(),
            model::outcome(row),
        ]
    });
    format!(
        "\n## The embedded model\n\n{}",
        table(&["device", "cache", "against", "verdict", "found"], rows)
    )
}

fn of_checks(record: &Record) -> String {
    if record.checks.is_empty() {
        return "\n## The codec on the CPU\n\nnot run\n".into();
    }
    let rows = record.checks.iter().map(|check| {
        let verdict = verdict(check).to_owned();
        vec![
            check.id.to_owned(),
            verdict,
            check.measured.clone(),
            check.requirement.clone(),
        ]
    });
    let mut text = format!(
        "\n## The codec on the CPU\n\n{}",
        table(&["check", "verdict", "measured", "required"], rows)
    );
    for check in record.checks.iter().filter(|check| check.passed == Some(false)) {
        text += &format!("\n{}:\n\n```\n{}\n```\n", check.id, check.detail);
    }
    text
}

/// A Markdown table. A cell without text would be a blank.
fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let escaped = |cell: &String| match cell.trim() {
        "" => "none".to_owned(),
        text => text.replace('|', "\\|").replace('\n', " "),
    };
    let header: Vec<String> = header.iter().map(|name| (*name).to_owned()).collect();
    let mut text = line(&header);
    text += &format!("|{}\n", "---|".repeat(header.len()));
    for row in rows {
        text += &line(&row.iter().map(escaped).collect::<Vec<_>>());
    }
    text
}

/// Without the user's folder, and with files by their names alone.
fn anonymous(text: &str, home: Option<&str>) -> String {
    let text = match home.filter(|home| home.len() > 1) {
        Some(home) => text.replace(home, "~"),
        None => text.to_owned(),
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    let mut before = ' ';
    while let Some(c) = rest.chars().next() {
        let starts = !before.is_alphanumeric() && before != '_';
        let windows = c.is_ascii_alphabetic() && rest[c.len_utf8()..].starts_with(":\\");
        if starts && (windows || c == '/' || c == '~') && before != '/' && before != ':' {
            let end = rest
                .find(|c: char| c.is_whitespace() || "\"'`)|,;".contains(c))
                .unwrap_or(rest.len());
            let path = &rest[..end];
            // a backslash is an escape in Markdown where no drive is named
            let separators = path.matches(if windows { '\\' } else { '/' }).count();
            if separators >= 2 || (c == '~' && separators > 0) {
                out.push_str(path.rsplit(['/', '\\']).next().unwrap_or_default());
                rest = &rest[end..];
                before = ' ';
                continue;
            }
        }
        out.push(c);
        before = c;
        rest = &rest[c.len_utf8()..];
    }
    out
}

#[cfg(test)]
mod tests;
