//! A place in the log as it is typed: a sequence number, a time, or how long ago.

use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use edgebus::{Code, Refusal, Seq};

/// Where in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Position {
    /// At a sequence number.
    Seq(Seq),
    /// At a wall-clock time of the server, in unix milliseconds.
    TimeMs(u64),
}

impl From<Position> for edgebus::admin::Position {
    fn from(position: Position) -> Self {
        match position {
            Position::Seq(seq) => Self::Seq(seq),
            Position::TimeMs(ms) => Self::TimeMs(ms),
        }
    }
}

impl FromStr for Position {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        parse(text, SystemTime::now())
    }
}

fn parse(text: &str, now: SystemTime) -> Result<Position, Refusal> {
    let bad = || {
        let message = format!(
            "{text:?} is neither a sequence number (17), nor a time (2026-01-31T12:00:00Z), nor a \
             time ago (-1h)"
        );
        Refusal::new(Code::BadQuery, message)
    };
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text
            .parse()
            .map(|seq| Position::Seq(Seq(seq)))
            .map_err(|_| bad());
    }
    let time = match text.strip_prefix('-') {
        Some(ago) => {
            let ago = humantime::parse_duration(ago).map_err(|_| bad())?;
            now.checked_sub(ago).unwrap_or(UNIX_EPOCH)
        }
        None => parse_time(text).ok_or_else(bad)?,
    };
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Position::TimeMs(since.as_millis() as u64))
}

/// A time as it is typed: RFC 3339, or how long ago (-1h).
pub(crate) fn wall_clock(text: &str) -> Result<SystemTime, Refusal> {
    match text.parse() {
        Ok(Position::TimeMs(ms)) => Ok(UNIX_EPOCH + Duration::from_millis(ms)),
        _ => {
            let message =
                format!("{text:?} is neither a time (2026-01-31T12:00:00Z) nor a time ago (-1h)");
            Err(Refusal::new(Code::BadQuery, message))
        }
    }
}

/// RFC 3339 with any offset; the library reads UTC only.
fn parse_time(text: &str) -> Option<SystemTime> {
    let text = text.to_ascii_uppercase();
    let offset_at = text
        .len()
        .checked_sub(6)
        .filter(|at| text.is_char_boundary(*at))?;
    let (local, offset) = text.split_at(offset_at);
    let Some((sign, hours, minutes)) = parse_offset(offset) else {
        return humantime::parse_rfc3339_weak(&text).ok();
    };
    let local = humantime::parse_rfc3339_weak(local).ok()?;
    let offset = Duration::from_secs(hours * 3600 + minutes * 60);
    match sign {
        '+' => local.checked_sub(offset),
        _ => local.checked_add(offset),
    }
}

/// `+02:00` as its parts. A date ends with `-MM-DD`, which has no colon.
fn parse_offset(text: &str) -> Option<(char, u64, u64)> {
    let sign = text.chars().next().filter(|c| matches!(c, '+' | '-'))?;
    let (hours, minutes) = text[1..].split_once(':')?;
    let number = |text: &str| match text.len() {
        2 => text.parse::<u64>().ok(),
        _ => None,
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some((sign, hours, minutes))
}

/// A wall-clock time as RFC 3339 with milliseconds, in UTC.
pub(crate) fn rfc3339(unix_ms: u64) -> String {
    // The last millisecond of the year 9999, after which there is no RFC 3339.
    const LAST_MS: u64 = 253_402_300_799_999;
    let time = UNIX_EPOCH + Duration::from_millis(unix_ms.min(LAST_MS));
    humantime::format_rfc3339_millis(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> u64 {
        match parse(text, UNIX_EPOCH + Duration::from_secs(7200)).expect(text) {
            Position::TimeMs(ms) => ms,
            Position::Seq(seq) => panic!("{text} is seq {seq}"),
        }
    }

    #[test]
    fn digits_are_a_sequence_number() {
        assert_eq!("17".parse(), Ok(Position::Seq(Seq(17))));
    }

    #[test]
    fn times_are_read_with_any_offset() {
        assert_eq!(ms("1970-01-01T00:00:01Z"), 1000);
        assert_eq!(ms("1970-01-01T00:00:01.250z"), 1250);
        assert_eq!(ms("1970-01-01T02:00:01+02:00"), 1000);
        assert_eq!(ms("1970-01-01T00:00:01-01:30"), 5_401_000);
        assert_eq!(ms("1970-01-01 00:00:01"), 1000);
    }

    #[test]
    fn a_time_ago_counts_from_now_and_not_beyond_1970() {
        assert_eq!(ms("-1h"), 3_600_000);
        assert_eq!(ms("-1h 30m"), 1_800_000);
        assert_eq!(ms("-100y"), 0);
    }

    #[test]
    fn anything_else_is_refused_by_code() {
        for text in [
            "",
            "x",
            "-",
            "-x",
            "1970",
            "1970-13-01T00:00:00Z",
            "ä1:00",
            "99999999999999999999",
        ] {
            let parsed = parse(text, UNIX_EPOCH);
            if text == "1970" {
                assert_eq!(parsed, Ok(Position::Seq(Seq(1970))));
            } else {
                assert_eq!(parsed.expect_err(text).code, Code::BadQuery);
            }
        }
    }

    #[test]
    fn times_are_printed_in_utc_with_milliseconds() {
        assert_eq!(rfc3339(1250), "1970-01-01T00:00:01.250Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
    }
}
