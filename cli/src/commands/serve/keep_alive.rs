//! How long a model stays loaded, as people and clients write it: seconds, or a Go duration.

use std::time::Duration;

use serde_json::Value;

use crate::commands::serve::backend::KeepAlive;

/// How long a model that a request has loaded stays when nobody says otherwise, as with Ollama.
pub const DEFAULT: KeepAlive = KeepAlive::For(Duration::from_secs(5 * 60));

/// A duration beyond this is for ever: a hundred years, which every clock can still add.
const LONGEST: f64 = 100.0 * 365.0 * 86_400.0;

/// Reads the `keep_alive` of a request: a number of seconds, or a text as for [`from_text`].
///
/// # Errors
/// A text for the caller that says what the field may be; the name of the field is left to whoever knows it.
pub fn from_json(value: &Value) -> Result<KeepAlive, String> {
    match value {
        Value::Number(number) => number.as_f64().map(seconds).ok_or_else(|| wrong(&value.to_string())),
        Value::String(text) => from_text(text),
        other => Err(wrong(&other.to_string())),
    }
}

/// Reads a number of seconds (`300`, `0.5`), or a duration as Go writes it (`10m`, `1h30m`, `1.5h`, `500ms`). Negative: for
/// ever. 0: not at all.
///
/// # Errors
/// As [`from_json`].
pub fn from_text(text: &str) -> Result<KeepAlive, String> {
    let text = text.trim();
    let (negative, size) = match text.strip_prefix('-') {
        Some(size) => (true, size),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let total = go_duration(size).ok_or_else(|| wrong(text))?;
    Ok(seconds(if negative { -total } else { total }))
}

fn wrong(what: &str) -> String {
    format!("{what} is no duration; use a number of seconds, or a text such as \"10m\", \"1h30m\" or \"-1\" (for ever)")
}

fn seconds(seconds: f64) -> KeepAlive {
    if !(0.0..=LONGEST).contains(&seconds) {
        return KeepAlive::Forever;
    }
    KeepAlive::For(Duration::from_secs_f64(seconds))
}

/// Seconds of a duration without a sign: numbers with units, or one number without.
fn go_duration(text: &str) -> Option<f64> {
    let (number, mut rest) = split_number(text)?;
    if rest.is_empty() {
        return Some(number);
    }
    let mut total = 0.0;
    let mut number = number;
    loop {
        let end = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        total += number * unit(&rest[..end])?;
        if end == rest.len() {
            return Some(total);
        }
        (number, rest) = split_number(&rest[end..])?;
    }
}

fn unit(name: &str) -> Option<f64> {
    Some(match name {
        "ns" => 1e-9,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    })
}

/// A decimal number without sign and exponent at the start of a text, and the rest.
fn split_number(text: &str) -> Option<(f64, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    number.parse().ok().map(|number| (number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lasting(seconds: f64) -> KeepAlive {
        KeepAlive::For(Duration::from_secs_f64(seconds))
    }

    // L7
    #[test]
    fn numbers_are_seconds_and_negative_ones_are_for_ever() {
        for (value, expected) in [
            (json!(0), lasting(0.0)),
            (json!(300), lasting(300.0)),
            (json!(0.25), lasting(0.25)),
            (json!(-1), KeepAlive::Forever),
            (json!(-0.5), KeepAlive::Forever),
            (json!(1e300), KeepAlive::Forever),
            (json!(u64::MAX), KeepAlive::Forever),
        ] {
            assert_eq!(from_json(&value), Ok(expected), "{value}");
        }
    }

    // L7
    #[test]
    fn texts_are_go_durations() {
        for (text, expected) in [
            ("0", lasting(0.0)),
            ("10m", lasting(600.0)),
            ("1h30m", lasting(5400.0)),
            ("1.5h", lasting(5400.0)),
            ("500ms", lasting(0.5)),
            ("250us", lasting(250e-6)),
            ("250\u{b5}s", lasting(250e-6)),
            ("1h2m3.5s", lasting(3723.5)),
            (".5s", lasting(0.5)),
            ("+1m", lasting(60.0)),
            (" 24h ", lasting(86_400.0)),
            ("300", lasting(300.0)),
            ("-1", KeepAlive::Forever),
            ("-1m", KeepAlive::Forever),
            ("99999999999999h", KeepAlive::Forever),
        ] {
            assert_eq!(from_json(&json!(text)), Ok(expected), "{text}");
        }
    }

    #[test]
    fn whatever_is_no_duration_is_refused_by_name() {
        for value in [
            json!(""),
            json!("soon"),
            json!("m"),
            json!("1d"),
            json!("1h-5m"),
            json!("--1"),
            json!("1..5s"),
            json!("."),
            json!("1e3s"),
            json!("5m x"),
            json!("inf"),
            json!("NaN"),
            json!(true),
            json!([]),
            json!({}),
        ] {
            let error = from_json(&value).expect_err(&value.to_string());
            assert!(error.contains("10m"), "{error}");
        }
    }
}
