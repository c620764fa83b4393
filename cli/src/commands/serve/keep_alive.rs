//! How long a model stays loaded, as Ollama's clients write it.

use std::time::Duration;

use serde_json::Value;

use crate::commands::serve::backend::KeepAlive;

/// Longer ones are for ever. Go's durations end near 292 years, and so do deadlines that can be computed with safely.
const LONGEST: Duration = Duration::from_secs(290 * 365 * 24 * 3600);

/// Reads a number of seconds, or a text as [`parse_text`] does. Negative is for ever, zero not at all.
///
/// # Errors
/// What the value must be, for a sentence that begins with the name of the field.
pub fn parse(value: &Value) -> Result<KeepAlive, String> {
    match value {
        Value::Number(seconds) => seconds.as_f64().map(from_seconds).ok_or_else(wrong),
        Value::String(text) => parse_text(text),
        _ => Err(wrong()),
    }
}

/// Reads a duration as Go writes it (`10m`, `1h30m`, `-1s`), or a bare number of seconds.
///
/// # Errors
/// As [`parse`].
pub fn parse_text(text: &str) -> Result<KeepAlive, String> {
    let text = text.trim();
    // Go takes no bare number but 0; Ollama takes one from its environment variable, and people write it everywhere.
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(from_seconds(seconds as f64));
    }
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    let seconds = go_seconds(digits).ok_or_else(wrong)?;
    Ok(from_seconds(if negative { -seconds } else { seconds }))
}

/// The sum of numbers with units, in seconds; None if there is none, or something else in between.
fn go_seconds(mut text: &str) -> Option<f64> {
    let mut sum = 0.0;
    loop {
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = text[..end].parse().ok()?;
        text = &text[end..];
        let end = text
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(text.len());
        let unit = match &text[..end] {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        sum += number * unit;
        text = &text[end..];
        if text.is_empty() {
            return Some(sum);
        }
    }
}

fn from_seconds(seconds: f64) -> KeepAlive {
    if seconds < 0.0 {
        return KeepAlive::Forever;
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time <= LONGEST => KeepAlive::For(time),
        _ => KeepAlive::Forever,
    }
}

fn wrong() -> String {
    "must be a number of seconds or a duration such as \"10m\" or \"1h30m\"; negative keeps the model for ever".into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seconds(seconds: f64) -> Result<KeepAlive, String> {
        Ok(KeepAlive::For(Duration::from_secs_f64(seconds)))
    }

    // L7
    #[test]
    fn numbers_are_seconds_and_texts_are_go_durations() {
        assert_eq!(parse(&json!(300)), seconds(300.0));
        assert_eq!(parse(&json!(0.5)), seconds(0.5));
        assert_eq!(parse(&json!("10m")), seconds(600.0));
        assert_eq!(parse(&json!("1h30m")), seconds(5400.0));
        assert_eq!(parse(&json!("1.5h")), seconds(5400.0));
        assert_eq!(parse(&json!("250ms")), seconds(0.25));
        assert_eq!(parse_text("90"), seconds(90.0));
    }

    // L7
    #[test]
    fn zero_is_not_at_all_in_every_spelling() {
        for value in [json!(0), json!("0"), json!("0s"), json!(0.0), json!("-0")] {
            assert_eq!(parse(&value), seconds(0.0), "{value}");
        }
    }

    // L7
    #[test]
    fn negative_and_endless_are_for_ever() {
        for value in [
            json!(-1),
            json!("-1"),
            json!("-1m"),
            json!(-0.5),
            json!(1e300),
            json!("9999999999999h"),
        ] {
            assert_eq!(parse(&value), Ok(KeepAlive::Forever), "{value}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for value in [
            json!(""),
            json!("soon"),
            json!("5 minutes"),
            json!("m"),
            json!("1x"),
            json!("1m2"),
            json!("1..5s"),
            json!("--1s"),
            json!("."),
            json!(true),
            json!([]),
        ] {
            assert!(parse(&value).is_err(), "{value}");
        }
    }
}
