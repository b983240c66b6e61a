//! `edgebus cert show`: what certificates and revocation lists say.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use edgebus::{Code, Refusal};
use serde_json::{Value, json};

use super::authority::seconds;
use super::read::{self, Certificate, Item, RevocationList, hex, time_text};
use crate::args::Global;
use crate::error::CliError;
use crate::output::{Output, payload_text};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// PEM files
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// `edgebus cert show …`.
pub(super) fn run(options: &Options, global: &Global, now: SystemTime) -> Result<(), CliError> {
    let now = seconds(now);
    let mut output = Output::new();
    let mut first = true;
    for path in &options.files {
        let items = read::items(path)?;
        if items.is_empty() {
            let what = "holds neither a certificate nor a revocation list in PEM";
            let message = format!("{} {what}", path.display());
            return Err(Refusal::new(Code::BadConfig, message).into());
        }
        for item in &items {
            if global.json {
                output.json(&object(path, item))?;
                continue;
            }
            if !std::mem::take(&mut first) {
                output.line("")?;
            }
            for (what, value) in lines(path, item, now) {
                output.line(format_args!("{what:<12}{}", payload_text(value.as_bytes())))?;
            }
        }
    }
    output.flush()
}

fn lines(path: &Path, item: &Item, now: i64) -> Vec<(&'static str, String)> {
    let file = ("file", path.display().to_string());
    match item {
        Item::Certificate(certificate) => {
            let mut lines = vec![file, ("certificate", certificate.subject.clone())];
            if certificate.is_client {
                let nobody = "nobody: it needs one URI, or a DNS name".to_owned();
                lines.push(("identity", certificate.identity().unwrap_or(nobody)));
            }
            lines.extend([
                ("names", names(certificate).join(", ")),
                ("for", usage(certificate).join(", ")),
                ("issuer", certificate.issuer.clone()),
                ("serial", certificate.serial_text()),
                ("from", from_text(certificate.not_before, now)),
                ("until", until_text(certificate.not_after, now)),
            ]);
            lines.retain(|(_, value)| !value.is_empty());
            lines
        }
        Item::RevocationList(list) => {
            let mut lines = vec![
                file,
                ("revoked by", list.issuer.clone()),
                ("number", hex(&list.number)),
                ("made", time_text(list.this_update)),
            ];
            if let Some(next) = list.next_update {
                lines.push(("until", until_text(next, now)));
            }
            if list.revoked.is_empty() {
                lines.push(("serial", "none".to_owned()));
            }
            for revoked in &list.revoked {
                let since = time_text(revoked.since);
                lines.push(("serial", format!("{}, since {since}", hex(&revoked.serial))));
            }
            lines
        }
    }
}

fn names(certificate: &Certificate) -> Vec<String> {
    let dns = certificate.dns.iter().cloned();
    let addresses = certificate.addresses.iter().map(ToString::to_string);
    let uris = certificate.uris.iter().cloned();
    uris.chain(dns).chain(addresses).collect()
}

fn usage(certificate: &Certificate) -> Vec<&'static str> {
    let Certificate {
        is_ca,
        is_client,
        is_server,
        ..
    } = certificate;
    let mut usage = Vec::new();
    for (is, what) in [(is_ca, "ca"), (is_server, "server"), (is_client, "client")] {
        if *is {
            usage.push(what);
        }
    }
    usage
}

fn from_text(time: i64, now: i64) -> String {
    let text = time_text(time);
    match time > now {
        true => format!("{text} (not yet)"),
        false => text,
    }
}

fn until_text(time: i64, now: i64) -> String {
    const DAY: i64 = 86_400;
    let text = time_text(time);
    match time - now {
        left if left < 0 => format!("{text} (it is over)"),
        left if left < 2 * DAY => format!("{text} ({} hours left)", left / 3600),
        left => format!("{text} ({} days left)", left / DAY),
    }
}

fn object(path: &Path, item: &Item) -> Value {
    let file = path.display().to_string();
    match item {
        Item::Certificate(certificate) => json!({
            "file": file,
            "kind": "certificate",
            "identity": certificate.identity().filter(|_| certificate.is_client),
            "uris": certificate.uris,
            "dns": certificate.dns,
            "addresses": certificate.addresses,
            "for": usage(certificate),
            "subject": certificate.subject,
            "issuer": certificate.issuer,
            "serial": certificate.serial_text(),
            "not_before": time_text(certificate.not_before),
            "not_after": time_text(certificate.not_after),
        }),
        Item::RevocationList(list) => revocation_object(&file, list),
    }
}

fn revocation_object(file: &str, list: &RevocationList) -> Value {
    let revoked = list.revoked.iter().map(
        |revoked| json!({ "serial": hex(&revoked.serial), "since": time_text(revoked.since) }),
    );
    json!({
        "file": file,
        "kind": "revocation_list",
        "issuer": list.issuer,
        "number": hex(&list.number),
        "made": time_text(list.this_update),
        "until": list.next_update.map(time_text),
        "revoked": revoked.collect::<Vec<_>>(),
    })
}
