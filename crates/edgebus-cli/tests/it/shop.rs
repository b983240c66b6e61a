//! A shop: a CA, a server that talks TLS and knows rights, and clients with certificates.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::openssl;
use crate::support::{Place, Run, edgebus, run, send_signal, text};

/// After this a test has failed: what it waits for does not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder with everything that a shop's server reads.
pub(crate) struct Shop {
    place: Place,
}

impl Shop {
    /// Makes a CA, a certificate for the server, and one for each client. Clients may do everything
    /// until there are rights.
    pub(crate) fn new(clients: &[&str]) -> Self {
        let shop = Self {
            place: Place::new(),
        };
        let certs = shop.path("certs");
        let mut args = vec!["cert", "dev", text(&certs)];
        for name in clients {
            args.extend(["--client", name]);
        }
        run(&args).expect(0);
        // Clients have one of their own, as their machines do.
        std::fs::copy(certs.join("ca.pem"), shop.path("trusted.pem")).expect("copied");
        shop.configure("");
        shop
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }

    /// The path of a file of the CA, as text.
    pub(crate) fn cert(&self, name: &str) -> String {
        text(&self.path("certs").join(name)).to_owned()
    }

    /// Writes the server's configuration: with TLS, and what is given.
    pub(crate) fn configure(&self, more: &str) {
        let config = format!(
            r#"
data = "data"
listen = ["tls://127.0.0.1:0", "unix://{socket}"]

[tls]
certificate = "certs/server.pem"
key = "certs/server.key"
client_ca = "certs/ca.pem"
client_crl = "certs/crl.pem"

[access]
reload_every = "1h"
{more}
"#,
            socket = self.path("socket").display(),
        );
        self.place.file("edgebus.toml", config);
    }

    /// Writes the rights, and has the configuration name them.
    pub(crate) fn allow(&self, rights: &str) {
        self.place.file("rights.toml", rights);
        self.configure("rights = \"rights.toml\"");
    }

    /// Writes a file beside the configuration.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        self.place.file(name, content)
    }

    /// Starts the server, and waits until it listens.
    pub(crate) fn open(&self) -> Guarded {
        let config = self.path("edgebus.toml");
        Guarded::start(&mut edgebus(&[
            "serve",
            "--json",
            "--config",
            text(&config),
        ]))
    }

    /// A command of a client with the certificate that is called so.
    pub(crate) fn client(&self, server: &Guarded, name: &str, args: &[&str]) -> Command {
        let mut command = self.stranger(server, args);
        let (certificate, key) = (format!("{name}.pem"), format!("{name}.key"));
        command.args([
            "--cert",
            &self.cert(&certificate),
            "--key",
            &self.cert(&key),
        ]);
        command
    }

    /// A command of one who knows the CA but has no certificate.
    pub(crate) fn stranger(&self, server: &Guarded, args: &[&str]) -> Command {
        let mut command = edgebus(args);
        command.args([
            "--server",
            &server.url,
            "--ca",
            text(&self.path("trusted.pem")),
        ]);
        command
    }

    /// Runs a command of a client to its end.
    pub(crate) fn run(&self, server: &Guarded, name: &str, args: &[&str]) -> Run {
        Run::of(
            self.client(server, name, args)
                .output()
                .expect("the binary runs"),
        )
    }

    /// What `openssl s_client` makes of the server, with the certificate that is called so.
    pub(crate) fn s_client(&self, server: &Guarded, name: Option<&str>) -> Run {
        let address = server.url.strip_prefix("tls://").expect("it talks TLS");
        let ca = self.cert("ca.pem");
        let mut args = vec!["s_client", "-connect", address, "-CAfile", &ca, "-ign_eof"];
        // What is wrong with the server must be its end, too.
        args.extend(["-verify_return_error", "-verify_ip", "127.0.0.1"]);
        let pair = name.map(|name| ["pem", "key"].map(|end| self.cert(&format!("{name}.{end}"))));
        if let Some([certificate, key]) = &pair {
            args.extend(["-cert", certificate, "-key", key]);
        }
        openssl::openssl(&args)
    }

    /// Runs a command on the machine of the server, over its socket.
    pub(crate) fn local(&self, server: &Guarded, args: &[&str]) -> Run {
        run(&[args, &["--server", &server.socket]].concat())
    }
}

/// A server that runs, with its log; it is killed when dropped.
pub(crate) struct Guarded {
    child: Child,
    pub(crate) log: Log,
    pub(crate) url: String,
    pub(crate) socket: String,
    /// Where it answers HTTP; empty if it does not.
    pub(crate) http: String,
}

impl Guarded {
    /// Starts a server that listens by TLS and on a socket and prints JSON, and waits until it does.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let log = Log::of(child.stderr.take().expect("is piped"));
        let mut stdout = BufReader::new(child.stdout.take().expect("is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("it is text");
        let ready: Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("it does not start: {:?}", log.all()));
        let url = |index: usize| ready["listening"][index].as_str().map(str::to_owned);
        Self {
            child,
            log,
            url: url(0).expect("it listens"),
            socket: url(1).expect("it listens"),
            http: ready["http"].as_str().unwrap_or_default().to_owned(),
        }
    }

    /// Has it read its files again.
    pub(crate) fn reload(&self) {
        send_signal(&self.child, Signal::HUP);
    }

    /// Ends it as an operator does, and gives all that it logged.
    pub(crate) fn stop(mut self) -> Vec<String> {
        send_signal(&self.child, Signal::TERM);
        let status = self.child.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "{:?}", self.log.lines());
        self.log.all()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The lines that a server logs, as they come.
pub(crate) struct Log {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    lines: Mutex<(Vec<String>, bool)>,
    came: Condvar,
}

impl Log {
    fn of(pipe: impl std::io::Read + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let writer = shared.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines() {
                let line = line.expect("it is text");
                writer.lines.lock().expect("no panic").0.push(line);
                writer.came.notify_all();
            }
            writer.lines.lock().expect("no panic").1 = true;
            writer.came.notify_all();
        });
        Self { shared }
    }

    /// What it has logged until now.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.shared.lines.lock().expect("no panic").0.clone()
    }

    /// Everything that it logged, once it is at its end.
    fn all(&self) -> Vec<String> {
        let mut lines = self.shared.lines.lock().expect("no panic");
        while !lines.1 {
            lines = self.shared.came.wait(lines).expect("no panic");
        }
        lines.0.clone()
    }

    /// Waits for so many lines that have this in them, and gives the last of them.
    pub(crate) fn wait_for(&self, part: &str, count: usize) -> String {
        let until = Instant::now() + PATIENCE;
        let mut lines = self.shared.lines.lock().expect("no panic");
        loop {
            let mut found = lines.0.iter().filter(|line| line.contains(part));
            if let Some(line) = found.nth(count - 1) {
                return line.clone();
            }
            let left = until.saturating_duration_since(Instant::now());
            assert!(
                !lines.1 && !left.is_zero(),
                "no line with {part:?}: {:?}",
                lines.0
            );
            lines = self
                .shared
                .came
                .wait_timeout(lines, left)
                .expect("no panic")
                .0;
        }
    }
}

/// The lines that have this in them.
pub(crate) fn with<'a>(lines: &'a [String], part: &str) -> Vec<&'a String> {
    lines.iter().filter(|line| line.contains(part)).collect()
}
