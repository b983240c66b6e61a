//! Certificates as an operator makes them: by `edgebus cert`, in a folder an authority; and the
//! files that a server reads, each replaced at once.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::processes::{Failure, tools};

/// How long a command may take; far longer than it does.
const COMMAND_TIME: Duration = Duration::from_secs(60);

/// A private CA in a folder.
#[derive(Clone, Debug)]
pub(super) struct Authority {
    binary: PathBuf,
    folder: PathBuf,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

impl Authority {
    /// Makes one, with a certificate for a server that is reached by `host`.
    pub(super) fn new(binary: &Path, folder: &Path, host: &str) -> Result<Self, Failure> {
        let made = Self {
            binary: binary.to_owned(),
            folder: folder.to_owned(),
        };
        made.cert(&["dev"], &["--host", host])?;
        Ok(made)
    }

    /// A new certificate for a client.
    pub(super) fn client(&self, name: &str) -> Result<Pair, Failure> {
        self.cert(&["issue"], &["--name", name])?;
        Ok(self.pair(name))
    }

    /// One for a client that was good until an hour ago.
    pub(super) fn expired(&self, name: &str) -> Result<Pair, Failure> {
        let past = ["--not-before", "-2h", "--not-after", "-1h"];
        self.cert(&["issue"], &[&["--name", name][..], &past].concat())?;
        Ok(self.pair(name))
    }

    /// One more for a server.
    pub(super) fn server(&self, file: &str, host: &str) -> Result<Pair, Failure> {
        let args = ["--name", file, "--host", host];
        self.cert(&["issue"], &args)?;
        Ok(self.pair(file))
    }

    /// Takes back a client's.
    pub(super) fn revoke(&self, name: &str) -> Result<(), Failure> {
        self.cert(&["revoke"], &[name])
    }

    /// A pair in the folder, by the name of its files.
    pub(super) fn pair(&self, file: &str) -> Pair {
        Pair {
            certificate: self.folder.join(format!("{file}.pem")),
            key: self.folder.join(format!("{file}.key")),
        }
    }

    /// Its own certificate.
    pub(super) fn ca(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// What it took back.
    pub(super) fn crl(&self) -> PathBuf {
        self.folder.join("crl.pem")
    }

    /// `edgebus cert VERB FOLDER ARGS`.
    fn cert(&self, verb: &[&str], args: &[&str]) -> Result<(), Failure> {
        let mut command = Command::new(&self.binary);
        command.arg("cert").args(verb).arg(&self.folder).args(args);
        let ended = tools::run_to_end(&mut command, COMMAND_TIME)?;
        match ended.status.success() {
            true => Ok(()),
            false => Err(Failure::broken(
                format_args!("edgebus cert {} {}", verb.join(" "), args.join(" ")),
                ended.stderr.trim(),
            )),
        }
    }
}

/// The files that a server reads, and reads again.
#[derive(Clone, Debug)]
pub(super) struct ServerFiles(PathBuf);

impl ServerFiles {
    pub(super) fn new(folder: PathBuf) -> Result<Self, Failure> {
        fs::create_dir_all(&folder).map_err(|e| Failure::broken(folder.display(), e))?;
        Ok(Self(folder))
    }

    /// The lines of a configuration that name them.
    pub(super) fn config(&self) -> String {
        let name = |file| self.0.join(file).display().to_string();
        format!(
            "log = \"warn\"\n[tls]\ncertificate = {:?}\nkey = {:?}\nclient_ca = {:?}\nclient_crl = {:?}\n",
            name("server.pem"),
            name("server.key"),
            name("clients.pem"),
            name("crl.pem")
        )
    }

    /// What the server shows. The key comes first: a certificate without its key is not taken.
    pub(super) fn show(&self, pair: &Pair) -> Result<(), Failure> {
        self.replace("server.key", &[&pair.key])?;
        self.replace("server.pem", &[&pair.certificate])
    }

    /// Whose clients it takes, but for those that were taken back. Lists come first: without one
    /// nobody of an authority is taken.
    pub(super) fn trust(&self, authorities: &[&Authority]) -> Result<(), Failure> {
        let crls: Vec<PathBuf> = authorities.iter().map(|one| one.crl()).collect();
        let cas: Vec<PathBuf> = authorities.iter().map(|one| one.ca()).collect();
        self.replace(
            "crl.pem",
            &crls.iter().map(PathBuf::as_path).collect::<Vec<_>>(),
        )?;
        self.replace(
            "clients.pem",
            &cas.iter().map(PathBuf::as_path).collect::<Vec<_>>(),
        )
    }

    fn replace(&self, name: &str, parts: &[&Path]) -> Result<(), Failure> {
        let (file, aside) = (self.0.join(name), self.0.join(format!("{name}.new")));
        together(parts, &aside)?;
        fs::rename(&aside, &file).map_err(|e| Failure::broken(file.display(), e))
    }
}

/// Writes several files as one, readable by its owner only.
pub(super) fn together(parts: &[impl AsRef<Path>], to: &Path) -> Result<(), Failure> {
    let mut text = Vec::new();
    for part in parts {
        let part = part.as_ref();
        text.extend(fs::read(part).map_err(|e| Failure::broken(part.display(), e))?);
    }
    let write = || {
        fs::write(to, &text)?;
        fs::set_permissions(to, fs::Permissions::from_mode(0o600))
    };
    write().map_err(|e| Failure::broken(to.display(), e))
}
