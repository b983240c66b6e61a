//! A server with a file of rights and one of tokens, and clients with tokens.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use edgebus::query::Stats;
use edgebus::{Client, ClientConfig, Code, ConnectError, Message, Refusal, ServerConfig};
use tempfile::TempDir;

use crate::bus::fixture::{id, within};
use crate::tcp::fixture::TestServer;

/// Whoever there is a token for.
const NAMES: [&str; 4] = ["till-7", "till-8", "press", "root"];

/// A server that holds everyone to their rights; `root` has all of them.
pub(super) struct Guarded {
    pub(super) server: TestServer,
    folder: TempDir,
}

impl Guarded {
    /// With such rules beside the one for `root`.
    pub(super) async fn start(rights: &str) -> Self {
        Self::start_with(Some(rights), |_| ()).await
    }

    /// Without a file of rights.
    pub(super) async fn start_open() -> Self {
        Self::start_with(None, |_| ()).await
    }

    pub(super) async fn start_with(
        rights: Option<&str>,
        set_up: impl FnOnce(&mut ServerConfig),
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let names = NAMES.iter().map(|name| format!("{name} {}\n", token(name)));
        secret(file("tokens"), &names.collect::<String>());
        if let Some(rights) = rights {
            fs::write(file("rights.toml"), with_root(rights)).unwrap();
        }
        let server = TestServer::start_with(|config| {
            config.tokens = Some(file("tokens"));
            config.rights = rights.map(|_| file("rights.toml"));
            // Tests say when.
            config.reload_every = Duration::from_secs(3600);
            set_up(config);
        })
        .await;
        Self { server, folder }
    }

    /// A client that has somebody's token, and calls itself something else.
    pub(super) async fn connect(&self, name: &str) -> Client {
        self.try_connect(name, &token(name)).await.unwrap()
    }

    pub(super) async fn try_connect(
        &self,
        name: &str,
        token: &str,
    ) -> Result<Client, ConnectError> {
        let file = self.folder.path().join(format!("{name}.token"));
        secret(file.clone(), token);
        let config = ClientConfig::default()
            .name(format!("I am {name}"))
            .token_file(file)
            .reconnect(false);
        self.server.try_connect(config).await
    }

    /// A client that says nothing about who it is.
    pub(super) async fn connect_anonymous(&self) -> Client {
        let config = ClientConfig::default().reconnect(false);
        self.server.connect(config).await
    }

    /// Writes other rules beside the one for `root`, and has them read.
    pub(super) async fn set_rights(&self, rights: &str) {
        self.write_rights(&with_root(rights));
        assert_eq!(within(self.server.handle.reload()).await, []);
    }

    pub(super) fn write_rights(&self, text: &str) {
        // Written aside, as editors and people do it who want nobody to see half a file.
        let (aside, file) = ("rights.new", "rights.toml");
        fs::write(self.folder.path().join(aside), text).unwrap();
        fs::rename(
            self.folder.path().join(aside),
            self.folder.path().join(file),
        )
        .unwrap();
    }

    pub(super) fn write_tokens(&self, text: &str) {
        secret(self.folder.path().join("tokens"), text);
    }

    pub(super) fn stats(&self) -> Stats {
        self.server.handle.stats()
    }
}

fn with_root(rights: &str) -> String {
    format!("[[allow]]\nidentity = \"root\"\nverbs = \"all\"\ntopics = \">\"\n{rights}")
}

/// A rule.
pub(super) fn allow(identity: &str, verbs: &str, topics: &str) -> String {
    let list = |text: &str| {
        let words: Vec<_> = text.split(' ').map(|word| format!("\"{word}\"")).collect();
        words.join(", ")
    };
    let (verbs, topics) = (list(verbs), list(topics));
    format!("[[allow]]\nidentity = \"{identity}\"\nverbs = [{verbs}]\ntopics = [{topics}]\n")
}

/// A scope.
pub(super) fn scope(name: &str, identity: &str) -> String {
    format!("[[scope]]\nname = \"{name}\"\nidentity = \"{identity}\"\n")
}

pub(super) fn token(name: &str) -> String {
    format!("the-secret-of-{name}")
}

fn secret(file: PathBuf, text: &str) {
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
}

/// A message on a topic.
pub(super) fn on(topic: &str, number: u64) -> Message {
    Message::new(
        id(number),
        topic.parse().unwrap(),
        format!("message {number}"),
    )
}

/// Fails unless it was refused for want of a right; gives the words.
pub(super) fn forbidden<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
    let refusal = result.expect_err("no right to it");
    assert_eq!(refusal.code, Code::Forbidden, "{refusal}");
    refusal.message
}
