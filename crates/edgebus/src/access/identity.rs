//! Who somebody is, as proven to the server.

use std::fmt;
use std::sync::Arc;

use edgebus_core::entry::IDENTITY_BYTES_MAX;
use edgebus_core::{Code, Refusal};

/// How somebody proved who they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Proof {
    /// A certificate, by a name in it.
    Certificate,
    /// The operating system, for a Unix socket.
    Credentials,
    /// A token.
    Token,
    /// Being in the same process.
    SameProcess,
    /// Nothing.
    None,
}

/// A name, and how it was proven. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    name: Arc<str>,
    proof: Proof,
}

impl Identity {
    /// The name of those who proved nothing.
    pub const ANONYMOUS: &str = edgebus_core::access::ANONYMOUS;
    /// What names of those whom the operating system vouches for begin with; the number of the
    /// user follows.
    pub const UNIX_PREFIX: &str = "unix:";

    /// Somebody who proved nothing.
    pub fn anonymous() -> Self {
        Self {
            name: Self::ANONYMOUS.into(),
            proof: Proof::None,
        }
    }

    /// Somebody in the same process, who may do everything.
    pub fn same_process() -> Self {
        Self {
            name: "".into(),
            proof: Proof::SameProcess,
        }
    }

    /// A user of this machine, by number.
    pub fn unix(uid: u32) -> Self {
        Self {
            name: format!("{}{uid}", Self::UNIX_PREFIX).into(),
            proof: Proof::Credentials,
        }
    }

    /// Somebody with a name out of a certificate or a token file.
    ///
    /// # Errors
    /// [`Code::Unauthenticated`]: the name is not from 1 to 255 bytes of visible ASCII without `*`,
    /// or it is one that others have by their nature.
    pub fn named(name: &str, proof: Proof) -> Result<Self, Refusal> {
        let visible = name.bytes().all(|b| b.is_ascii_graphic() && b != b'*');
        let reserved = name == Self::ANONYMOUS || name.starts_with(Self::UNIX_PREFIX);
        if !visible || reserved || !(1..=IDENTITY_BYTES_MAX).contains(&name.len()) {
            let message = format!("{name:?} is no name that somebody can have");
            return Err(Refusal::new(Code::Unauthenticated, message));
        }
        Ok(Self {
            name: name.into(),
            proof,
        })
    }

    /// The name; empty for the same process.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it was proven.
    pub fn proof(&self) -> Proof {
        self.proof
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.proof {
            Proof::SameProcess => f.write_str("this process"),
            _ => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_a_name_that_others_have_by_nature() {
        for bad in [
            "",
            "anonymous",
            "unix:0",
            "till-*",
            "till 7",
            "tïll",
            &"t".repeat(256),
        ] {
            let refusal = Identity::named(bad, Proof::Token).expect_err(bad);
            assert_eq!(refusal.code, Code::Unauthenticated);
        }
        for good in [
            "till-7",
            "spiffe://shop.example/till-7",
            "till-7.shop.example",
        ] {
            let identity = Identity::named(good, Proof::Certificate).expect(good);
            assert_eq!(identity.name(), good);
        }
        assert_eq!(Identity::unix(1000).name(), "unix:1000");
    }
}
