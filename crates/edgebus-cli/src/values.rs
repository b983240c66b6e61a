//! Values that several commands take: headers, durations, names.

use std::time::Duration;

use edgebus::{Code, Refusal};

/// `NAME=VALUE`.
pub(crate) fn header(text: &str) -> Result<(String, String), Refusal> {
    text.split_once('=')
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| {
            let message = format!("header {text:?} has no '=': write NAME=VALUE");
            Refusal::new(Code::BadHeader, message)
        })
}

/// `30s`, `1h 30m`; 0 is one too.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    // Without a unit there is one number that means the same in all of them.
    match text {
        "0" => Ok(Duration::ZERO),
        _ => humantime::parse_duration(text).map_err(|e| e.to_string()),
    }
}

/// A duration that is not over before it begins: the server counts in milliseconds.
pub(crate) fn some_duration(text: &str) -> Result<Duration, String> {
    let duration = duration(text)?;
    if duration < Duration::from_millis(1) {
        return Err("it must be 1 ms or more".to_owned());
    }
    Ok(duration)
}

/// `64MiB`, `10GB`; a number alone is bytes.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 10] = [
        ("b", 1),
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
        ("", 1),
    ];
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().to_ascii_lowercase();
    let factor = UNITS.iter().find(|(name, _)| *name == unit);
    number
        .parse::<u64>()
        .ok()
        .zip(factor)
        .and_then(|(number, (_, factor))| number.checked_mul(*factor))
        .ok_or_else(|| format!("{text:?} is no size: write 64MiB, 10GB or a number of bytes"))
}

/// A duration as the server counts it.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Milliseconds for people.
pub(crate) fn duration_text(ms: u64) -> String {
    humantime::format_duration(Duration::from_millis(ms)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_or_is_bytes() {
        assert_eq!(bytes("512"), Ok(512));
        assert_eq!(bytes("64MiB"), Ok(64 * 1024 * 1024));
        assert_eq!(bytes("10 gb"), Ok(10_000_000_000));
        for text in ["", "MiB", "1.5GiB", "-1", "64 miles", "99999999999TiB"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_duration_that_is_over_before_it_begins_is_refused_where_it_makes_no_sense() {
        assert_eq!(duration("0"), Ok(Duration::ZERO));
        assert_eq!(duration("1h 30m"), Ok(Duration::from_secs(5400)));
        for text in ["0", "0s", "1us", "soon", ""] {
            assert!(some_duration(text).is_err(), "{text}");
        }
    }
}
