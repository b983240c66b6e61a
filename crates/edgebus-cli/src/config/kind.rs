//! Kinds of values: how each is written in a file and in the environment, and what its bounds are.
//!
//! Invariant: what [`Kind::written`] gives is read as the same value again.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::{DeInteger, DeValue};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::nearest;
use super::value::{Value, path};
use crate::values;

/// The largest number; TOML has no larger one. As a bound it is none.
pub(super) const NUMBER_MAX: u64 = i64::MAX as u64;

/// What can be written for a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Flag,
    /// A whole number, from and to.
    Count(u64, u64),
    /// A number of bytes, from and to.
    Bytes(u64, u64),
    /// From and to.
    Duration(Duration, Duration),
    /// Who may use a file, as chmod writes it.
    Mode,
    /// An IP address with a port.
    Address,
    /// What is logged.
    Filter,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// One or several URLs.
    Urls,
    Path,
    /// One or several paths.
    Paths,
}

impl Kind {
    /// What is expected, for people.
    pub(super) fn expected(self) -> String {
        match self {
            Self::Flag => "true or false".to_owned(),
            Self::Count(from, NUMBER_MAX) => format!("a whole number from {from} on"),
            Self::Count(from, to) => format!("a whole number from {from} to {to}"),
            Self::Bytes(from, NUMBER_MAX) => format!("a size of {} or more", size_text(from)),
            Self::Bytes(from, to) => {
                format!("a size from {} to {}", size_text(from), size_text(to))
            }
            Self::Duration(from, to) => {
                let (from, to) = (duration_text(from), duration_text(to));
                format!("a duration from {from} to {to}")
            }
            Self::Mode => "a file mode".to_owned(),
            Self::Address => "an IP address with a port".to_owned(),
            Self::Filter => "error, warn, info, debug, trace, off, or a filter".to_owned(),
            Self::Choice(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
                words.join(" or ")
            }
            Self::Urls => "a URL or a list of them".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Paths => "a path or a list of them".to_owned(),
        }
    }

    /// Reads what stands in a file.
    ///
    /// # Errors
    /// What is wrong with it, if there is more to say than what is expected.
    pub(super) fn read(self, value: &DeValue<'_>) -> Result<Value, Option<String>> {
        let list = |value: &DeValue<'_>| match value {
            DeValue::String(text) => Some(vec![text.to_string()]),
            DeValue::Array(items) => items
                .iter()
                .map(|item| item.get_ref().as_str().map(ToOwned::to_owned))
                .collect(),
            _ => None,
        };
        let value = match (self, value) {
            (Self::Flag, DeValue::Boolean(flag)) => Value::Flag(*flag),
            (Self::Count(..) | Self::Bytes(..), DeValue::Integer(integer)) => {
                Value::Number(number(integer).ok_or(None)?)
            }
            // Where digits are octal in a string, decimal ones without quotes would mislead.
            (Self::Mode, DeValue::Integer(integer)) if integer.radix() == 8 => {
                Value::Number(number(integer).ok_or(None)?)
            }
            (Self::Urls, value) => Value::Texts(list(value).ok_or(None)?),
            (Self::Paths, value) => {
                let paths = list(value).ok_or(None)?;
                let paths: Result<_, _> = paths.iter().map(|text| path(OsStr::new(text))).collect();
                Value::Paths(paths?)
            }
            // A count in quotes is taken for a mistake: the next one would be an expression.
            (Self::Flag | Self::Count(..), _) => return Err(None),
            (_, DeValue::String(text)) => return self.read_text(text),
            _ => return Err(None),
        };
        self.check(value)
    }

    /// Reads what stands in an environment variable; lists are separated by commas.
    ///
    /// # Errors
    /// As [`Kind::read`].
    pub(super) fn read_variable(self, text: &OsStr) -> Result<Value, Option<String>> {
        if self == Self::Path {
            return Ok(Value::Path(path(text)?));
        }
        let text = text
            .to_str()
            .ok_or_else(|| Some("it is not text in UTF-8".to_owned()))?;
        let items = || {
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
        };
        match self {
            Self::Urls => self.check(Value::Texts(items().map(ToOwned::to_owned).collect())),
            Self::Paths => {
                let paths: Result<Vec<PathBuf>, String> =
                    items().map(|item| path(OsStr::new(item))).collect();
                self.check(Value::Paths(paths?))
            }
            _ => self.read_text(text.trim()),
        }
    }

    fn read_text(self, text: &str) -> Result<Value, Option<String>> {
        let value = match self {
            Self::Flag => {
                // What is neither is a mistake: it must not open a door.
                let flag = match text.to_ascii_lowercase().as_str() {
                    "true" | "1" | "yes" | "on" => true,
                    "false" | "0" | "no" | "off" => false,
                    _ => return Err(None),
                };
                Value::Flag(flag)
            }
            Self::Count(..) => Value::Number(text.parse().map_err(|_| None)?),
            Self::Bytes(..) => Value::Number(values::bytes(text).map_err(|_| None)?),
            Self::Duration(..) => Value::Duration(values::duration(text).map_err(|_| None)?),
            Self::Mode => {
                let digits = text.strip_prefix("0o").unwrap_or(text);
                // Without it "+7" would be a mode.
                let octal = digits.bytes().all(|b| b.is_ascii_digit());
                let mode = u64::from_str_radix(digits, 8).ok().filter(|_| octal);
                Value::Number(mode.ok_or(None)?)
            }
            Self::Path => Value::Path(path(OsStr::new(text))?),
            Self::Urls | Self::Paths => return Err(None),
            Self::Address | Self::Filter | Self::Choice(_) => Value::Text(text.to_owned()),
        };
        self.check(value)
    }

    /// Gives the value back if it is within the bounds.
    ///
    /// # Errors
    /// As [`Kind::read`].
    pub(super) fn check(self, value: Value) -> Result<Value, Option<String>> {
        let good = match (self, &value) {
            (Self::Count(from, to) | Self::Bytes(from, to), Value::Number(number)) => {
                (from..=to).contains(number)
            }
            (Self::Duration(from, to), Value::Duration(duration)) => (from..=to).contains(duration),
            (Self::Mode, Value::Number(mode)) => *mode <= 0o777,
            (Self::Choice(words), Value::Text(word)) => words.contains(&word.as_str()),
            (Self::Filter, Value::Text(filter)) => {
                check_level(filter).map_err(Some)?;
                let parsed = EnvFilter::try_new(filter);
                parsed.map_err(|error| Some(format!("it is no filter ({error})")))?;
                true
            }
            (Self::Urls, Value::Texts(texts)) => !texts.is_empty(),
            _ => true,
        };
        match good {
            true => Ok(value),
            false => Err(None),
        }
    }

    /// The value as it is written in a file.
    pub(super) fn written(self, value: &Value) -> String {
        let list = |texts: Vec<String>| format!("[{}]", texts.join(", "));
        match value {
            Value::Flag(flag) => flag.to_string(),
            Value::Number(number) => match self {
                Self::Mode => quoted(&format!("{number:04o}")),
                Self::Bytes(..) => quoted(&size_text(*number)),
                _ => number.to_string(),
            },
            Value::Duration(duration) => quoted(&duration_text(*duration)),
            Value::Text(text) => quoted(text),
            Value::Texts(texts) => list(texts.iter().map(|text| quoted(text)).collect()),
            Value::Path(path) => quoted(&path.to_string_lossy()),
            Value::Paths(paths) => list(
                paths
                    .iter()
                    .map(|path| quoted(&path.to_string_lossy()))
                    .collect(),
            ),
        }
    }
}

/// A word alone is a level. To a filter it would be the name of a module, of which there is none,
/// and nothing would be logged.
fn check_level(filter: &str) -> Result<(), String> {
    const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
    let word = filter.trim().to_ascii_lowercase();
    let alone = word
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if !alone || word.parse::<LevelFilter>().is_ok() {
        return Ok(());
    }
    let near = match word.as_str() {
        "verbose" => Some("debug"),
        "quiet" | "none" | "silent" => Some("off"),
        "fatal" | "err" | "critical" => Some("error"),
        word => LEVELS
            .into_iter()
            .find(|level| word.starts_with(level))
            .or_else(|| nearest::of(LEVELS, word)),
    };
    let near = near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
    Err(format!("{:?} is no level{near}", filter.trim()))
}

/// A number in a file; the parser leaves its digits as they are, without the radix.
fn number(integer: &DeInteger<'_>) -> Option<u64> {
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

/// Text with quotes, as in a file.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// The shortest that is read as the same size again.
pub(super) fn size_text(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("TiB", 1 << 40),
        ("GiB", 1 << 30),
        ("MiB", 1 << 20),
        ("KiB", 1 << 10),
    ];
    let unit = UNITS
        .iter()
        .find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit));
    match unit {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

/// The shortest that is read as the same duration again.
pub(super) fn duration_text(duration: Duration) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    let seconds = duration.as_secs();
    let unit = UNITS
        .iter()
        .find(|(_, unit)| seconds > 0 && seconds.is_multiple_of(*unit));
    match unit {
        Some((name, unit)) if duration.subsec_nanos() == 0 => format!("{}{name}", seconds / unit),
        _ => humantime::format_duration(duration).to_string(),
    }
}
