//! Identifiers, each a type of its own so that one is never taken for another.
//!
//! Used everywhere. A value that exists is valid: text is parsed once, at the edge.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use crate::code::{Code, Refusal, start_of};
use crate::topic::Topic;

/// The name a client gives to one request, so that asking twice is harmless: a UUID.
///
/// Version 7 ids (what [`RequestId::from_millis`] makes) are ordered by time, which costs the
/// store about a tenth of what random ids cost.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId([u8; 16]);

impl RequestId {
    /// An id from its 16 bytes in RFC 9562 (big-endian) order. Any bytes are an id.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes in RFC 9562 (big-endian) order.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// A version 7 id from a unix time in milliseconds (the low 48 bits count) and 10 random
    /// bytes. The caller brings both: nothing here reads a clock.
    pub fn from_millis(unix_ms: u64, random: [u8; 10]) -> Self {
        Self(
            uuid::Builder::from_unix_timestamp_millis(unix_ms, &random)
                .into_uuid()
                .into_bytes(),
        )
    }

    /// The id that belongs to a value which is no UUID itself, for example an order number: the
    /// version 5 UUID of `edgebus:NAMESPACE:TOPIC:VALUE` in the URL namespace. Anyone can compute
    /// it, so a file sent twice is stored once, whoever sends it.
    pub fn from_value(namespace: &str, topic: &Topic, value: &str) -> Self {
        let name = format!("edgebus:{namespace}:{topic}:{value}");
        Self(Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).into_bytes())
    }
}

impl FromStr for RequestId {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Uuid::try_parse(text)
            .map(|id| Self(id.into_bytes()))
            .map_err(|_| {
                Refusal::new(
                    Code::BadId,
                    format!(
                        "request id {:?} is no UUID: write it as 8-4-4-4-12 hexadecimal digits",
                        start_of(text)
                    ),
                )
            })
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_bytes(self.0).as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestId({self})")
    }
}

/// The place of a request in the log: 1 for the first ever stored, never used twice. 0 stands
/// before the first.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// The sequence number after this one. The last one, which an operator may name as a place and
    /// no message ever gets, is its own successor.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The place of one change of state in the journal: 1 for the first, never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The log sequence number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The space a request id lives in: the same id in another scope is another request. 0 is the
/// scope named `default`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct Scope(pub u32);

impl Scope {
    /// The name of scope 0, where ids are that are not put elsewhere.
    pub const DEFAULT_NAME: &str = "default";
    /// Longest name, in bytes.
    pub const NAME_BYTES_MAX: usize = 64;

    /// The scope with a name: 0 for [`Scope::DEFAULT_NAME`], otherwise the FNV-1a hash of the
    /// name's bytes (64 bits), mixed as MurmurHash3 finishes, and its halves xored. Two names may
    /// have one number; whoever lets people choose names has to look for that.
    pub fn named(name: &str) -> Self {
        if name == Self::DEFAULT_NAME {
            return Self::default();
        }
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        // FNV alone leaves names that differ at the end close to each other.
        for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
            hash = (hash ^ (hash >> 33)).wrapping_mul(factor);
        }
        hash ^= hash >> 33;
        Self((hash >> 32) as u32 ^ hash as u32)
    }

    /// Whether a text may be the name of a scope: 1 to 64 characters out of `A-Z a-z 0-9 _ - .`.
    ///
    /// # Errors
    /// [`Code::BadConfig`].
    pub fn check_name(name: &str) -> Result<(), Refusal> {
        if is_name(name, Self::NAME_BYTES_MAX) {
            return Ok(());
        }
        Err(Refusal::new(
            Code::BadConfig,
            format!(
                "scope name {:?} is not allowed: use 1 to {} characters out of A-Z a-z 0-9 _ - .",
                start_of(name),
                Self::NAME_BYTES_MAX
            ),
        ))
    }
}

fn is_name(text: &str, bytes_max: usize) -> bool {
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    (1..=bytes_max).contains(&text.len()) && text.bytes().all(named)
}

/// The name of a durable consumer: 1 to 64 characters out of `A-Z a-z 0-9 _ - .`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct ConsumerName(Arc<str>);

impl ConsumerName {
    /// Longest name, in bytes.
    pub const MAX_BYTES: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ConsumerName {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        if is_name(text, Self::MAX_BYTES) {
            Ok(Self(text.into()))
        } else {
            Err(Refusal::new(
                Code::BadConsumer,
                format!(
                    "consumer name {:?} is not allowed: use 1 to {} characters out of A-Z a-z 0-9 _ - .",
                    start_of(text),
                    Self::MAX_BYTES
                ),
            ))
        }
    }
}

impl fmt::Display for ConsumerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_that_is_no_uuid_gets_the_published_v5_id() {
        let topic: Topic = "orders.created".parse().expect("valid topic");
        let id = RequestId::from_value("order", &topic, "1");
        let by_hand = Uuid::new_v5(&Uuid::NAMESPACE_URL, b"edgebus:order:orders.created:1");
        assert_eq!(id.to_string(), by_hand.to_string());
    }

    #[test]
    fn id_that_is_no_uuid_is_refused_by_name() {
        let refusal = "12".parse::<RequestId>().expect_err("not a UUID");
        assert_eq!(refusal.code, Code::BadId);
        assert!(refusal.message.contains("\"12\""));
    }

    /// Stored entries have these numbers: they never change. docs/storage-format.md tells them.
    #[test]
    fn scopes_have_the_published_numbers() {
        for (name, number) in [
            ("default", 0),
            ("shop-7", 2_309_888_501),
            ("shop-8", 406_958_630),
            ("a", 723_281_667),
            ("eu.west_1", 2_530_702_254),
        ] {
            assert_eq!(Scope::named(name), Scope(number), "{name}");
            assert_eq!(Scope::check_name(name), Ok(()));
        }
        for bad in ["", "shop 7", "shop/7", &"x".repeat(65)] {
            let refusal = Scope::check_name(bad).expect_err(bad);
            assert_eq!(refusal.code, Code::BadConfig);
        }
    }

    #[test]
    fn consumer_names_have_a_grammar() {
        assert!("till-7.orders_v2".parse::<ConsumerName>().is_ok());
        for bad in ["", "a b", "a/b", &"x".repeat(65)] {
            assert_eq!(
                bad.parse::<ConsumerName>().expect_err("bad name").code,
                Code::BadConsumer
            );
        }
    }
}
