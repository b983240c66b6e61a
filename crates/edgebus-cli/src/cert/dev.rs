//! `edgebus cert dev`: from nothing to a server with TLS in one command.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use edgebus::files::Privacy;
use serde_json::json;

use super::DAYS;
use super::authority::{
    Authority, CA_CERTIFICATE, CA_CRL, CA_KEY, Pair, Subject, Validity, seconds,
};
use super::files::{NewFile, expect_free, write_new};
use super::names::{Host, Name};
use super::read::time_text;
use crate::args::Global;
use crate::error::CliError;
use crate::output;

/// What the server's files are called.
const SERVER: &str = "server";
/// Who there is a certificate for in any case.
const CLIENT: &str = "client";

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The folder to write to; made if it is missing
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// What clients reach the server by, beside localhost and this machine's name. Can be given more
    /// than once
    #[arg(long = "host", value_name = "NAME|IP")]
    hosts: Vec<Host>,
    /// Also a certificate for this client. Can be given more than once
    #[arg(long = "client", value_name = "NAME")]
    clients: Vec<Name>,
    /// How many days the certificates are good for; the CA is for 10 years
    #[arg(long, value_name = "DAYS", default_value_t = DAYS,
          value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

/// `edgebus cert dev …`.
pub(super) fn run(options: Options, global: &Global, now: SystemTime) -> Result<(), CliError> {
    let Options {
        dir,
        hosts,
        clients,
        days,
    } = options;
    let validity = Validity::days(days, now);
    let hosts = with_own(hosts);
    let mut names = vec![Name::Dns(CLIENT.to_owned())];
    for name in clients {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let files = make(&hosts, &names, validity, now)?;
    expect_free(&dir, files.iter().map(|file| file.name.as_str()))?;
    write_new(&dir, &files)?;
    let not_after = time_text(seconds(validity.not_after));
    // What is printed can be pasted into a file elsewhere.
    let dir = dir.canonicalize().unwrap_or(dir);
    match global.json {
        true => output::line(&json!({
            "dir": dir.display().to_string(),
            "files": files.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(),
            "hosts": hosts.iter().map(Host::to_string).collect::<Vec<_>>(),
            "clients": names.iter().map(Name::as_str).collect::<Vec<_>>(),
            "not_after": not_after,
        })),
        false => output::text(&said(&dir, &hosts, &names, &not_after)),
    }
}

/// Every way to this machine that is known, and those given.
fn with_own(given: Vec<Host>) -> Vec<Host> {
    let mut hosts = vec![
        Host::Dns("localhost".to_owned()),
        Host::Address(Ipv4Addr::LOCALHOST.into()),
        Host::Address(Ipv6Addr::LOCALHOST.into()),
    ];
    let uname = rustix::system::uname();
    let own = uname.nodename().to_string_lossy().to_ascii_lowercase();
    // Machines may be called what no certificate can hold.
    for host in own.parse().into_iter().chain(given) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    hosts
}

fn make(
    hosts: &[Host],
    names: &[Name],
    validity: Validity,
    now: SystemTime,
) -> Result<Vec<NewFile>, CliError> {
    let (authority, own) = Authority::create(now)?;
    let crl = authority.revocation_list(&[1], &[], now)?;
    let mut files = vec![
        NewFile::new(CA_CERTIFICATE, own.certificate, Privacy::Public),
        NewFile::new(CA_KEY, own.key, Privacy::Secret),
        NewFile::new(CA_CRL, crl, Privacy::Public),
    ];
    let server = authority.issue(Subject::Server(SERVER, hosts), validity)?;
    files.extend(pair(SERVER, server));
    for name in names {
        let client = authority.issue(Subject::Client(name), validity)?;
        files.extend(pair(&name.stem(), client));
    }
    Ok(files)
}

/// The two files of a certificate and its key.
pub(super) fn pair(stem: &str, pair: Pair) -> [NewFile; 2] {
    [
        NewFile::new(format!("{stem}.pem"), pair.certificate, Privacy::Public),
        NewFile::new(format!("{stem}.key"), pair.key, Privacy::Secret),
    ]
}

fn said(dir: &Path, hosts: &[Host], names: &[Name], not_after: &str) -> String {
    let hosts: Vec<String> = hosts.iter().map(Host::to_string).collect();
    let names: Vec<&str> = names.iter().map(Name::as_str).collect();
    let (hosts, names) = (hosts.join(", "), names.join(", "));
    let file = |name: &str| dir.join(name).display().to_string();
    // As TOML and a shell read them, whatever the folder is called.
    let [pem, key, ca, crl] = ["server.pem", "server.key", CA_CERTIFICATE, CA_CRL]
        .map(|name| toml::Value::String(file(name)).to_string());
    let [own_ca, own_pem, own_key] =
        [CA_CERTIFICATE, "client.pem", "client.key"].map(|name| word(&file(name)));
    let dir = dir.display();
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        text,
        "\
made a CA in {dir}, and certificates that are good until {not_after}:
  for a server   {hosts}
  for clients    {names}

for the server's configuration:
  listen = [\"tls://0.0.0.0:7412\"]
  [tls]
  certificate = {pem}
  key = {key}
  client_ca = {ca}
  client_crl = {crl}

for a client, for example:
  edgebus health --server tls://localhost:7412 --ca {own_ca} --cert {own_pem} --key {own_key}

{dir}/ca.key can make a certificate for any name: keep it to yourself, with a backup"
    );
    text
}

/// Text as a shell reads one word.
fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=@:,".contains(c);
    match text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_pasted_is_right_in_a_folder_of_any_name() {
        let dir = Path::new("/a \"b\"/it's");
        let text = said(dir, &[], &[], "then");
        assert!(
            text.contains(r#"--ca '/a "b"/it'\''s/ca.pem' --cert"#),
            "{text}"
        );
        let keys: Vec<&str> = text.lines().filter(|l| l.contains(" = ")).collect();
        let table: toml::Table = keys.join("\n").parse().expect("TOML");
        assert_eq!(table["key"].as_str(), Some("/a \"b\"/it's/server.key"));
        assert_eq!(word("/srv/shop-ca/ca.pem"), "/srv/shop-ca/ca.pem");
    }
}
