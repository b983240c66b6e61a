//! `edgebus cert revoke`: takes certificates back.
//!
//! Invariants: what is on the list stays on it; its number grows with each change. A list that is
//! missing or of another CA is not made anew, as that would give back what was taken.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use edgebus::{Code, Refusal};
use serde_json::json;

use super::authority::{self, Authority, CA_CRL, seconds};
use super::files;
use super::read::{self, Certificate, Item, RevocationList, Revoked};
use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, Output, say};

#[derive(Debug, clap::Args)]
#[command(allow_missing_positional = true)]
pub(crate) struct Options {
    /// The folder with the CA
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Whose, or which
    #[arg(value_name = "NAME|FILE", required = true)]
    what: String,
}

/// `edgebus cert revoke …`.
pub(super) fn run(options: &Options, global: &Global, now: SystemTime) -> Result<(), CliError> {
    let Options { dir, what } = options;
    let authority = Authority::open(dir)?;
    let chosen = match as_file(dir, what) {
        Some(path) => vec![of_file(&authority, path)?],
        None => of_name(&authority, dir, what)?,
    };
    let _lock = authority::lock(dir)?;
    let path = dir.join(CA_CRL);
    let mut list = list(&authority, &path)?;
    let mut rows = Vec::new();
    let mut added = 0;
    for (file, certificate) in &chosen {
        let known = |revoked: &&Revoked| same(&revoked.serial, &certificate.serial);
        let since = list.revoked.iter().find(known).map(|revoked| revoked.since);
        if since.is_none() {
            added += 1;
            list.revoked.push(Revoked {
                serial: certificate.serial.clone(),
                since: seconds(now),
            });
        }
        rows.push((file, certificate, since));
    }
    if added > 0 {
        let number = successor(&list.number);
        let text = authority.revocation_list(&number, &list.revoked, now)?;
        files::replace(&path, &text).map_err(|e| CliError::io("write", &path, e))?;
    }
    let mut output = Output::new();
    for (file, certificate, since) in rows {
        let name = certificate.identity().unwrap_or_default();
        let (file, serial) = (file.display().to_string(), certificate.serial_text());
        if global.json {
            output.json(&json!({
                "name": name, "file": file, "serial": serial, "revoked": since.is_none(),
                "revoked_before": since.map(read::time_text),
            }))?;
            continue;
        }
        output.line(match since {
            None => format!(
                "revoked {} ({file}, serial {serial})",
                output::payload_text(name.as_bytes())
            ),
            Some(since) => format!("{file} was revoked on {} already", read::time_text(since)),
        })?;
    }
    output.flush()?;
    if added > 0 && !global.json {
        say!(
            "edgebus: servers refuse it as soon as they have the new {}",
            path.display()
        );
    }
    Ok(())
}

/// The file that is meant, if none of the names can be.
fn as_file(dir: &Path, what: &str) -> Option<PathBuf> {
    let is_uri = what.contains("://");
    if is_uri || !(what.contains('/') || what.ends_with(".pem")) {
        return None;
    }
    let path = PathBuf::from(what);
    let within = dir.join(what);
    Some(if !path.exists() && within.exists() {
        within
    } else {
        path
    })
}

type Chosen = (PathBuf, Certificate);

fn of_file(authority: &Authority, path: PathBuf) -> Result<Chosen, CliError> {
    let certificate = read::certificate(&path)?;
    let refused = |what: &str| {
        let message = format!("{} {what}", path.display());
        Err(Refusal::new(Code::BadConfig, message).into())
    };
    if authority.is_own(&certificate.der) {
        return refused("is the CA itself: make another one, and have servers forget this one");
    }
    if !authority.has_signed(&certificate.der) {
        return refused("is of another CA: only that one can take it back");
    }
    Ok((path, certificate))
}

/// Every certificate of a name in the folder, as one that was renewed is as good as the first.
fn of_name(authority: &Authority, dir: &Path, name: &str) -> Result<Vec<Chosen>, CliError> {
    let entries = fs::read_dir(dir).map_err(|e| CliError::io("read", dir, e))?;
    let mut chosen = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| CliError::io("read", dir, e))?.path();
        if path.extension().is_none_or(|ending| ending != "pem") {
            continue;
        }
        // Other files may lie there; one of this CA that cannot be read must not be passed over.
        let items = read::items(&path)?;
        let certificate = items.into_iter().find_map(|item| match item {
            Item::Certificate(certificate) => Some(certificate),
            Item::RevocationList(_) => None,
        });
        if let Some(certificate) = certificate
            && certificate.is_client
            && certificate.identity().as_deref() == Some(name)
            && authority.has_signed(&certificate.der)
        {
            chosen.push((path, certificate));
        }
    }
    if chosen.is_empty() {
        let message = format!(
            "no certificate for client {name:?} is in {}: name a file, or another folder",
            dir.display()
        );
        return Err(Refusal::new(Code::NotFound, message).into());
    }
    chosen.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(chosen)
}

fn list(authority: &Authority, path: &Path) -> Result<RevocationList, CliError> {
    let bad = |what: &str| {
        let message = format!(
            "{} {what}: bring it back from a backup, as a new one would allow again what was \
             revoked",
            path.display()
        );
        Refusal::new(Code::BadConfig, message)
    };
    if !path.exists() {
        return Err(bad("is missing").into());
    }
    match <[Item; 1]>::try_from(read::items(path)?) {
        Ok([Item::RevocationList(list)]) if authority.has_signed_list(&list.der) => Ok(list),
        Ok([Item::RevocationList(_)]) => Err(bad("is not signed by this CA").into()),
        _ => Err(bad("is not one revocation list").into()),
    }
}

/// The next number; as it is encoded, without its sign.
fn successor(number: &[u8]) -> Vec<u8> {
    let mut next = number.to_vec();
    for byte in next.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return next;
        }
    }
    next.insert(0, 1);
    next
}

/// Whether two serial numbers are one; they may be written with zeros in front.
fn same(a: &[u8], b: &[u8]) -> bool {
    let significant = |bytes: &[u8]| bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len());
    a[significant(a)..] == b[significant(b)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_grow_by_one() {
        assert_eq!(successor(&[]), [1]);
        assert_eq!(successor(&[0]), [1]);
        assert_eq!(successor(&[1]), [2]);
        assert_eq!(successor(&[0xff]), [1, 0]);
        assert_eq!(successor(&[1, 0xff, 0xff]), [2, 0, 0]);
    }

    #[test]
    fn zeros_in_front_make_no_other_serial() {
        assert!(same(&[0, 0x80], &[0x80]) && same(&[], &[0]));
        assert!(!same(&[1], &[1, 0]));
    }
}
