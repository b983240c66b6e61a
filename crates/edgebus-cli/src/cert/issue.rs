//! `edgebus cert issue`: one more certificate of a CA.

use std::path::PathBuf;
use std::time::SystemTime;

use serde_json::json;

use super::ValidityOptions;
use super::authority::{Authority, Subject, seconds};
use super::dev::pair;
use super::files::{expect_free, write_new};
use super::names::{Host, Name, Stem};
use super::read::time_text;
use crate::args::Global;
use crate::error::CliError;
use crate::output::{self, say};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The folder with the CA, to which the new files are written
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Who the client is to a server: letters, digits, '-', '_' and '.', or a URI
    #[arg(long, value_name = "NAME")]
    name: Name,
    /// Make it for a server that is reached by this. Can be given more than once
    #[arg(long = "host", value_name = "NAME|IP")]
    hosts: Vec<Host>,
    /// What the two files are called, without an ending [default: the name]
    #[arg(long, value_name = "NAME")]
    file: Option<Stem>,
    #[command(flatten)]
    validity: ValidityOptions,
}

/// `edgebus cert issue …`.
pub(super) fn run(options: &Options, global: &Global, now: SystemTime) -> Result<(), CliError> {
    let Options {
        dir,
        name,
        hosts,
        file,
        validity,
    } = options;
    let stem = file
        .as_ref()
        .map_or_else(|| name.stem(), |stem| stem.0.clone());
    let (certificate, key) = (format!("{stem}.pem"), format!("{stem}.key"));
    expect_free(dir, [certificate.as_str(), &key])?;
    let validity = validity.validity(now);
    let subject = match hosts.as_slice() {
        [] => Subject::Client(name),
        hosts => Subject::Server(name.as_str(), hosts),
    };
    let issued = Authority::open(dir)?.issue(subject, validity)?;
    write_new(dir, &pair(&stem, issued))?;
    if validity.not_after <= now {
        say!("edgebus: nobody takes this certificate: its time is over");
    }
    let not_after = time_text(seconds(validity.not_after));
    let (certificate, key) = (dir.join(certificate), dir.join(key));
    if global.json {
        return output::line(&json!({
            "name": name.as_str(),
            "hosts": hosts.iter().map(Host::to_string).collect::<Vec<_>>(),
            "certificate": certificate.display().to_string(),
            "key": key.display().to_string(),
            "not_after": not_after,
        }));
    }
    let whom = match hosts.as_slice() {
        [] => format!("client {}", name.as_str()),
        hosts => {
            let hosts: Vec<String> = hosts.iter().map(Host::to_string).collect();
            format!("a server at {}", hosts.join(", "))
        }
    };
    output::text(&format!(
        "made {} and {} for {whom}, good until {not_after}",
        certificate.display(),
        key.display()
    ))
}
