//! Times as Ollama writes them: RFC 3339, UTC, nanoseconds.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// Ollama's "for ever": Go's longest duration from now, about 292 years.
const FOR_EVER: Duration = Duration::from_nanos(i64::MAX as u64);

/// Now.
pub fn now() -> String {
    write(Timestamp::now())
}

/// A time; one beyond the year 9999 becomes the last that can be written.
pub fn at(time: SystemTime) -> String {
    write(Timestamp::try_from(time).unwrap_or(Timestamp::MAX))
}

/// When a model that is never unloaded will be.
pub fn never() -> String {
    at(SystemTime::now() + FOR_EVER)
}

fn write(time: Timestamp) -> String {
    format!("{time:.9}")
}

/// Whole nanoseconds.
pub fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Whole nanoseconds of a number of milliseconds.
pub fn nanos_of_ms(ms: f64) -> u64 {
    // The cast saturates, and makes NaN zero.
    (ms * 1e6).round() as u64
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    // L5
    #[test]
    fn times_have_nine_digits_and_a_z() {
        assert_eq!(at(UNIX_EPOCH), "1970-01-01T00:00:00.000000000Z");
        let later = UNIX_EPOCH + Duration::new(1_700_000_000, 5);
        assert_eq!(at(later), "2023-11-14T22:13:20.000000005Z");
        assert_eq!(now().len(), "1970-01-01T00:00:00.000000000Z".len());
    }

    // L14
    #[test]
    fn never_is_centuries_away() {
        let year: i32 = never()[..4].parse().unwrap();
        assert!(year > 2300, "{year}");
    }

    // L5
    #[test]
    fn durations_are_whole_nanoseconds() {
        assert_eq!(nanos_of_ms(1.5), 1_500_000);
        assert_eq!(nanos_of_ms(f64::NAN), 0);
        assert_eq!(nanos(Duration::from_millis(2)), 2_000_000);
    }
}
