//! To whom something is granted.

use std::fmt;
use std::str::FromStr;

use super::ANONYMOUS;
use crate::code::{Code, Refusal, start_of};
use crate::entry::IDENTITY_BYTES_MAX;

/// A pattern that selects identities: a name in which each `*` stands for any run of characters,
/// also for none. Whoever proved nothing is selected only where that name is written out.
///
/// ```
/// use edgebus_core::access::IdentityPattern;
/// let tills: IdentityPattern = "till-*".parse()?;
/// assert!(tills.matches("till-7") && !tills.matches("press-7"));
/// let anyone: IdentityPattern = "*".parse()?;
/// assert!(anyone.matches("till-7") && !anyone.matches("anonymous"));
/// # Ok::<(), edgebus_core::Refusal>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct IdentityPattern(Box<str>);

impl IdentityPattern {
    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an identity is selected. Takes time in proportion to the product of the lengths at
    /// most, which are bounded.
    pub fn matches(&self, identity: &str) -> bool {
        if identity.is_empty() || identity == ANONYMOUS {
            return &*self.0 == identity;
        }
        matches(self.0.as_bytes(), identity.as_bytes())
    }
}

/// Goes on from the last `*` wherever the rest does not fit: what earlier ones stand for needs no
/// second look, as the last one can stand for more.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut last_star: Option<(usize, usize)> = None;
    while from < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                at += 1;
                last_star = Some((at, from));
            }
            Some(byte) if *byte == text[from] => {
                at += 1;
                from += 1;
            }
            _ => match &mut last_star {
                Some((behind, begin)) => {
                    *begin += 1;
                    (at, from) = (*behind, *begin);
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

impl FromStr for IdentityPattern {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let fits = (1..=IDENTITY_BYTES_MAX).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Ok(Self(text.into()));
        }
        Err(Refusal::new(
            Code::BadConfig,
            format!(
                "{:?} selects no identity: use 1 to {IDENTITY_BYTES_MAX} visible ASCII characters, \
                 of which '*' stands for any run",
                start_of(text)
            ),
        ))
    }
}

impl fmt::Display for IdentityPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
