//! Names that certificates carry: of clients, and of the hosts that servers are reached by.
//!
//! Invariant: a name that is accepted here is accepted by a server too, letter for letter.

use std::net::IpAddr;
use std::str::FromStr;

use edgebus::access::{Identity, Proof};
use edgebus::{Code, Refusal};

/// What a client is called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Name {
    /// Letters, digits, `-`, `_` and `.`.
    Dns(String),
    /// With a scheme, as `spiffe://shop.example/till-7`.
    Uri(String),
}

impl Name {
    /// The name itself.
    pub(crate) fn as_str(&self) -> &str {
        let (Self::Dns(name) | Self::Uri(name)) = self;
        name
    }

    /// What its files are called, without an ending.
    pub(super) fn stem(&self) -> String {
        let mut stem = String::new();
        for c in self.as_str().chars() {
            if in_stem(c) {
                stem.push(c);
            } else if !stem.ends_with('_') {
                stem.push('_');
            }
        }
        stem
    }
}

impl FromStr for Name {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Identity::named(text, Proof::Certificate).map_err(|refusal| bad(refusal.message))?;
        if let Some((scheme, rest)) = text.split_once(':') {
            if text.parse::<IpAddr>().is_ok() {
                return Err(bad(format!("{text:?} is an address, and no name")));
            }
            let letters =
                |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+.-".contains(c);
            let begins = scheme.starts_with(|c: char| c.is_ascii_lowercase());
            if !begins || !scheme.chars().all(letters) || rest.is_empty() {
                let message =
                    format!("{text:?} is no URI: write it as spiffe://shop.example/till-7");
                return Err(bad(message));
            }
            return Ok(Self::Uri(text.to_owned()));
        }
        dns(text).map(Self::Dns)
    }
}

/// What a server is reached by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Host {
    /// A DNS name; the first label may be `*`.
    Dns(String),
    /// An address.
    Address(IpAddr),
}

impl FromStr for Host {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let rest = text.strip_prefix("*.").unwrap_or(text);
        dns(rest).map(|_| Self::Dns(text.to_owned()))
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Address(address) => address.fmt(f),
        }
    }
}

/// A DNS name, as it stands in a certificate.
fn dns(text: &str) -> Result<String, Refusal> {
    if text.parse::<IpAddr>().is_ok() {
        return Err(bad(format!("{text:?} is an address, and no name")));
    }
    if text.contains(|c: char| c.is_ascii_uppercase()) {
        let lower = text.to_ascii_lowercase();
        let message = format!("{text:?}: names in certificates are in lower case: write {lower}");
        return Err(bad(message));
    }
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(letter)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() > 253 || !text.split('.').all(label) {
        let message = format!(
            "{text:?} is no name for a certificate: write letters, digits, '-' and '_', with '.' \
             between parts of up to 63, as in till-7 or till-7.shop.example; or a URI"
        );
        return Err(bad(message));
    }
    Ok(text.to_owned())
}

/// What files are called instead of what their certificate's name suggests.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Stem(pub(super) String);

impl FromStr for Stem {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        if text.is_empty()
            || text.len() > 200
            || text.starts_with('.')
            || !text.chars().all(in_stem)
        {
            let message = format!(
                "{text:?} is no name for files: write letters, digits, '-', '_' and '.', and \
                 neither a folder nor an ending"
            );
            return Err(bad(message));
        }
        Ok(Self(text.to_owned()))
    }
}

fn in_stem(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.".contains(c)
}

fn bad(message: String) -> Refusal {
    Refusal::new(Code::BadConfig, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_dns_name_or_a_uri() {
        for good in ["till-7", "7", "till_7", "till-7.shop.example"] {
            assert_eq!(good.parse(), Ok(Name::Dns(good.to_owned())));
        }
        for good in ["spiffe://shop.example/till-7", "urn:shop:till-7"] {
            assert_eq!(good.parse(), Ok(Name::Uri(good.to_owned())));
        }
    }

    #[test]
    fn a_name_that_a_server_would_not_take_is_refused() {
        let long = "t".repeat(64);
        for bad in [
            "",
            "anonymous",
            "unix:0",
            "till-*",
            "till 7",
            "tïll",
            "Till-7",
            ".till",
            "till.",
            "a..b",
            "-till",
            "till-",
            "10.0.0.7",
            "::1",
            "a/b",
            "..",
            &long,
            "x:",
            "9x:y",
            ":y",
            "S:y",
        ] {
            let refusal = bad.parse::<Name>().expect_err(bad);
            assert_eq!(refusal.code, Code::BadConfig, "{bad}");
        }
        let refusal = "Till-7".parse::<Name>().expect_err("upper case");
        assert!(refusal.message.ends_with("write till-7"), "{refusal}");
    }

    #[test]
    fn files_are_called_as_the_name_is_without_folders() {
        let stem = |name: &str| name.parse::<Name>().expect(name).stem();
        assert_eq!(stem("till-7.shop"), "till-7.shop");
        assert_eq!(
            stem("spiffe://shop.example/till-7"),
            "spiffe_shop.example_till-7"
        );
        assert_eq!(stem("urn:../../etc"), "urn_.._.._etc");
        for bad in ["", ".x", "a/b", "..", "a b"] {
            assert!(bad.parse::<Stem>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for good in [
            "bus.shop.lan",
            "*.shop.lan",
            "localhost",
            "10.0.0.7",
            "fe80::1",
        ] {
            assert_eq!(good.parse::<Host>().expect(good).to_string(), good);
        }
        for bad in [
            "",
            "*",
            "a.*.b",
            "Bus",
            "10.0.0.7:7412",
            "[::1]",
            "bus:7412",
            "tls://bus",
        ] {
            assert!(bad.parse::<Host>().is_err(), "{bad}");
        }
    }
}
