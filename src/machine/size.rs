//! Sizes as people write them.

use crate::{Error, Result};

/// Nothing that holds memory has more than this: 1 PiB.
pub(super) const ABSURD: u64 = 1 << 50;

const UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KIB", 1 << 10),
    ("MIB", 1 << 20),
    ("GIB", 1 << 30),
    ("TIB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Bytes of a size such as `4096`, `36 GiB` (powers of 1024) or `1.5GB` (powers of 1000). Below 1 PiB.
///
/// # Errors
/// [`Error::Invalid`]: no number, a negative number, an unknown unit, or 1 PiB and more.
pub fn parse_size(text: &str) -> Result<u64> {
    let refuse = |what: &str| {
        Err(Error::Invalid(format!(
            "{text:?} {what}; write bytes, or a number with B, KiB, MiB, GiB, TiB, KB, MB, GB or TB"
        )))
    };
    let trimmed = text.trim();
    let split = trimmed
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(split);
    let unit = unit.trim().to_ascii_uppercase();
    let Some(factor) = UNITS
        .iter()
        .find(|(name, _)| *name == unit || (unit.is_empty() && *name == "B"))
        .map(|(_, factor)| *factor)
    else {
        return refuse("is not a size");
    };
    let bytes = if let Ok(whole) = number.parse::<u64>() {
        whole.checked_mul(factor)
    } else {
        match number.parse::<f64>() {
            Ok(value) => Some(value * factor as f64)
                .filter(|v| *v < ABSURD as f64)
                .map(|v| v as u64),
            Err(_) => return refuse("is not a size"),
        }
    };
    match bytes.filter(|bytes| *bytes < ABSURD) {
        Some(bytes) => Ok(bytes),
        None => refuse("is more than any machine has"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("36 GiB", 36 << 30),
            ("1.5GB", 1_500_000_000),
            (" 7 mib ", 7 << 20),
            ("12B", 12),
        ] {
            assert_eq!(parse_size(text).expect(text), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_the_units_there_are() {
        for text in [
            "",
            "GiB",
            "-3 GiB",
            "3 GBit",
            "1.2.3",
            "99999999 TiB",
            "1e300",
            "1024 TiB",
            "nan",
        ] {
            let error = parse_size(text).expect_err(text).to_string();
            assert!(error.contains("GiB, TiB"), "{text}: {error}");
        }
    }
}
