//! What a worker holds while it works on a message.

use std::fmt;
use std::str::FromStr;

use crate::code::{Code, Refusal, start_of};
use crate::id::Seq;

/// A lease on a message, as `EPOCH.SEQ.DELIVERY`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct LeaseToken {
    /// Of the consumer when it was given out; a reset raises it.
    pub epoch: u32,
    /// The message.
    pub seq: Seq,
    /// How often the message had been given out in this epoch, this time included.
    pub delivery: u32,
}

impl fmt::Display for LeaseToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.epoch, self.seq, self.delivery)
    }
}

impl FromStr for LeaseToken {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let mut parts = text.split('.');
        let token = (|| {
            let epoch = parts.next()?.parse().ok()?;
            let seq = Seq(parts.next()?.parse().ok()?);
            let delivery = parts.next()?.parse().ok()?;
            parts.next().is_none().then_some(Self {
                epoch,
                seq,
                delivery,
            })
        })();
        token.ok_or_else(|| {
            Refusal::new(
                Code::BadToken,
                format!(
                    "lease token {:?} is none: write it as it was given out, EPOCH.SEQ.DELIVERY",
                    start_of(text)
                ),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_is_written_and_read() {
        let token = LeaseToken {
            epoch: 3,
            seq: Seq(1042),
            delivery: 1,
        };
        assert_eq!(token.to_string(), "3.1042.1");
        assert_eq!("3.1042.1".parse(), Ok(token));
        for bad in ["", "1", "1.2", "1.2.3.4", "a.b.c", "1.2.-3"] {
            let refusal = bad.parse::<LeaseToken>().expect_err(bad);
            assert_eq!(refusal.code, Code::BadToken);
        }
    }
}
