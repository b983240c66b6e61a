//! What does not fit together although each value alone is good.

use std::path::PathBuf;
use std::time::SystemTime;

use edgebus::access::{RightsFile, Tokens};
use edgebus::{Refusal, ServerTls, ServerUrl};

use super::problem::Problem;
use super::{Config, Place, Settings, keys};

/// Room in a frame, and in a group of the journal, beside the payload.
const BESIDE_PAYLOAD_BYTES: u64 = 32 * 1024;

impl Config {
    /// What the server could not start with.
    pub(crate) fn contradictions(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        self.check_tls(&mut found);
        self.check_sizes(&mut found);
        found
    }

    /// What other machines could reach without encryption, although nobody said that this is
    /// wanted.
    pub(crate) fn open_to_others(&self) -> Vec<Problem> {
        let settings = &self.settings;
        if settings.server.insecure {
            return Vec::new();
        }
        let remedy = "can be reached from other machines without encryption: use tls://, listen on 127.0.0.1, or write \
                      insecure = true if that is what you want";
        let listen = settings.server.listen.iter();
        let listen = listen
            .filter(|url| !url.is_loopback() && !url.is_encrypted())
            .map(|url| self.problem("listen", format!("{url} {remedy}")));
        let http = settings.http.iter();
        let http = http
            .filter(|address| !address.ip().is_loopback())
            .map(|address| self.problem("http", format!("http://{address} {remedy}")));
        listen.chain(http).collect()
    }

    /// Values of options that are out of bounds; those of files and variables were looked at when
    /// they were read.
    pub(crate) fn out_of_bounds(&self) -> Vec<Problem> {
        let mut settings = self.settings.clone();
        let given = keys::all().filter(|key| matches!(self.place(key.name), Place::Option(_)));
        given
            .filter_map(|key| {
                let value = key.get(&mut settings)?;
                key.kind.check(value).err()?;
                let expected = key.kind.expected();
                Some(self.problem(key.name, format!("it cannot be that; write {expected}")))
            })
            .collect()
    }

    /// What is wrong with the files that are named; and what is only odd about them.
    pub(crate) fn files(&self) -> (Vec<Problem>, Vec<String>) {
        let (mut found, mut odd) = (Vec::new(), Vec::new());
        let mut tell = |key: &str, refusal: Refusal| {
            found.push(self.problem(key, format!("{key}: {}", refusal.message)));
        };
        match self.settings.tls.config().as_ref().map(ServerTls::load) {
            Some(Ok(tls)) => odd = tls.warnings(SystemTime::now()),
            Some(Err(refusal)) => tell(self.tls_key_of(&refusal.message), refusal),
            None => {}
        }
        let server = &self.settings.server;
        if let Some(Err(refusal)) = server.tokens.as_deref().map(Tokens::load) {
            tell("access.tokens", refusal);
        }
        if let Some(Err(refusal)) = server.rights.as_deref().map(RightsFile::load) {
            tell("access.rights", refusal);
        }
        (found, odd)
    }

    /// The key of the TLS file that a refusal is about, which begins with the file.
    fn tls_key_of(&self, message: &str) -> &'static str {
        let tls = &self.settings.tls;
        let is_of = |file: &PathBuf| message.starts_with(&format!("{}: ", file.display()));
        let certificate = tls.certificate.as_ref().is_some_and(is_of);
        // Both may be in one file.
        if tls.key.as_ref().is_some_and(is_of) && (!certificate || message.contains(" key ")) {
            return "tls.key";
        }
        if !certificate && tls.client_ca.as_ref().is_some_and(is_of) {
            return "tls.client_ca";
        }
        if !certificate && tls.client_crl.iter().any(is_of) {
            return "tls.client_crl";
        }
        "tls.certificate"
    }

    /// Keys that are set and do nothing.
    pub(crate) fn without_effect(&self) -> Vec<String> {
        let listen = &self.settings.server.listen;
        let tls = listen.iter().any(ServerUrl::is_encrypted);
        let unix = listen
            .iter()
            .any(|url| matches!(url, ServerUrl::Unix { .. }));
        [("tls", tls), ("unix", unix)]
            .into_iter()
            .filter(|(_, there)| !there)
            .filter_map(|(scheme, _)| {
                let (name, place) = self.first_set_in(scheme)?;
                Some(format!(
                    "{place}: {name} does nothing: no URL in listen begins with {scheme}://"
                ))
            })
            .collect()
    }

    /// The first key of a section that is not as it is by default, and where it is set.
    fn first_set_in(&self, section: &str) -> Option<(&'static str, &Place)> {
        let (mut set, mut defaults) = (self.settings.clone(), Settings::default());
        let keys = keys::all().filter(|key| {
            key.name
                .split_once('.')
                .is_some_and(|(start, _)| start == section)
        });
        let mut changed = keys.filter(|key| key.get(&mut set) != key.get(&mut defaults));
        changed.find_map(|key| Some((key.name, self.origins.get(key.name)?)))
    }

    fn check_tls(&self, found: &mut Vec<Problem>) {
        let tls = &self.settings.tls;
        match (&tls.certificate, &tls.key) {
            (Some(_), None) => found.push(self.problem(
                "tls.certificate",
                "tls.certificate needs tls.key, its private key".to_owned(),
            )),
            (None, Some(_)) => found.push(self.problem(
                "tls.key",
                "tls.key needs tls.certificate, which it is the key of".to_owned(),
            )),
            (None, None) => {
                let listen = self.settings.server.listen.iter();
                found.extend(listen.filter(|url| url.is_encrypted()).map(|url| {
                    let what = format!(
                        "{url} needs tls.certificate and tls.key (`edgebus cert dev` makes both)"
                    );
                    self.problem("listen", what)
                }));
            }
            (Some(_), Some(_)) => {}
        }
        if tls.client_ca.is_none() {
            // Whoever writes these believes that clients are asked for certificates.
            for name in ["tls.client_auth", "tls.client_crl"] {
                if self.place(name) != Place::Whole {
                    let what = format!(
                        "{name} needs tls.client_ca: without it no client is asked for a certificate"
                    );
                    found.push(self.problem(name, what));
                }
            }
        }
    }

    fn check_sizes(&self, found: &mut Vec<Problem>) {
        let store = &self.settings.store;
        let largest = store.record.payload_bytes_max as u64 + BESIDE_PAYLOAD_BYTES;
        let fits = [
            (
                "store.segment_bytes",
                store.segment_bytes.is_multiple_of(16 * 1024),
                "store.segment_bytes must be a multiple of 16KiB",
            ),
            (
                "store.segment_bytes",
                store.segment_bytes / 4 >= largest,
                "store.segment_bytes must be at least four times store.payload_bytes and 32KiB",
            ),
            (
                "store.dead_letter_bytes",
                store.dead_letter_bytes_max >= largest,
                "store.dead_letter_bytes must be at least store.payload_bytes and 32KiB",
            ),
            (
                "store.payload_bytes",
                self.place("store.payload_bytes") == Place::Whole
                    || self.settings.server.limits.frame_bytes_max as u64 >= largest,
                "limits.frame_bytes must be at least store.payload_bytes and 32KiB, or no client can send so much",
            ),
        ];
        let wrong = fits.into_iter().filter(|(_, good, _)| !good);
        found.extend(wrong.map(|(name, _, what)| self.problem(name, what.to_owned())));
    }

    fn problem(&self, name: &str, what: String) -> Problem {
        Problem {
            place: self.place(name),
            what,
        }
    }

    /// Where a key was set; nowhere if it has its default.
    fn place(&self, name: &str) -> Place {
        self.origins.get(name).cloned().unwrap_or(Place::Whole)
    }
}
