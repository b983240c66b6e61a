//! Sizes as they are typed: a proof of nothing must not pass, and none may be so large that it cannot be counted.

use std::fmt::Display;
use std::str::FromStr;

/// The longest time of a command's part, in seconds.
pub(crate) const SECONDS_MAX: f64 = 1_000_000.0;
/// The shortest in which anything is seen at all.
pub(crate) const SECONDS_MIN: f64 = 0.1;

/// How many of something: one at least.
///
/// # Errors
/// Words for whoever typed it.
pub(crate) fn count<T>(text: &str) -> Result<T, String>
where
    T: FromStr<Err: Display> + PartialOrd + From<u8>,
{
    let count: T = parsed(text)?;
    match count >= T::from(1) {
        true => Ok(count),
        false => Err("that would show nothing: at least 1".to_owned()),
    }
}

/// A size within bounds.
///
/// # Errors
/// Words for whoever typed it.
pub(crate) fn between<T>(text: &str, least: T, most: T) -> Result<T, String>
where
    T: FromStr<Err: Display> + PartialOrd + Display,
{
    let size: T = parsed(text)?;
    if size < least {
        return Err(format!("that would show nothing: at least {least}"));
    }
    // What is no number is on neither side of a bound.
    match size <= most {
        true => Ok(size),
        false => Err(format!("a number from {least} to {most} is needed")),
    }
}

/// So many seconds, or parts of one.
///
/// # Errors
/// Words for whoever typed it.
pub(crate) fn seconds(text: &str) -> Result<f64, String> {
    between(text, SECONDS_MIN, SECONDS_MAX)
}

fn parsed<T: FromStr<Err: Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_show_nothing_are_refused() {
        assert_eq!(count("1"), Ok(1_u32));
        assert_eq!(count("18446744073709551615"), Ok(u64::MAX));
        for nothing in ["0", "-1", "", "many", "4294967296"] {
            assert!(count::<u32>(nothing).is_err(), "{nothing}");
        }
        let said = count::<u64>("0").expect_err("nothing");
        assert!(said.contains("at least 1"), "{said}");
    }

    #[test]
    fn times_are_bounded_on_both_sides() {
        assert_eq!(seconds("0.1"), Ok(0.1));
        assert_eq!(seconds("3"), Ok(3.0));
        for wrong in ["0", "-1", "0.09", "NaN", "inf", "-inf", "1e300"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
