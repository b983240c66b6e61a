//! Two spaces of request ids: whoever has a token is in one, everyone else in the other.
//!
//! The files that say so are on the machine's real disk, as the product reads them there; they are
//! the same in every world and never change.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use edgebus::{Scope, ServerConfig};
use tempfile::TempDir;

const NAME: &str = "other-shop";
const TOKEN: &str = "a-token-that-nobody-has-to-guess";

#[derive(Debug)]
struct Files(TempDir);

fn files() -> &'static Path {
    static FILES: OnceLock<Files> = OnceLock::new();
    let files = FILES.get_or_init(|| Files::write().expect("a temporary folder can be written"));
    files.0.path()
}

impl Files {
    fn write() -> std::io::Result<Self> {
        let dir = tempfile::tempdir()?;
        let anyone = r#"identity = ["*", "anonymous"]"#;
        let rights = format!(
            "[[allow]]\n{anyone}\nverbs = \"all\"\ntopics = [\">\"]\n\n[[scope]]\nname = \"{NAME}\"\nidentity = [\"{NAME}\"]\n"
        );
        for (name, content) in [
            ("rights.toml", rights),
            ("tokens", format!("{NAME} {TOKEN}\n")),
            ("token", format!("{TOKEN}\n")),
        ] {
            let path = dir.path().join(name);
            std::fs::write(&path, content)?;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        }
        Ok(Self(dir))
    }
}

/// The scope that is not the default one.
pub(super) fn other() -> Scope {
    Scope::named(NAME)
}

/// The token of whoever is in it.
pub(super) fn token_file() -> PathBuf {
    files().join("token")
}

/// Has a server know both.
pub(super) fn configure(config: &mut ServerConfig) {
    config.rights = Some(files().join("rights.toml"));
    config.tokens = Some(files().join("tokens"));
    config.reload_every = std::time::Duration::from_secs(24 * 60 * 60);
}
