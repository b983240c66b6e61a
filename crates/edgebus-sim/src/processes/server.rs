//! The real server as a child process.
//!
//! It listens on an address of 127.0.0.0/8 that is this run's alone: nothing else takes its port
//! while it is down, and a client that looks for it cannot connect to itself. It is in a process
//! group of its own, so that a Ctrl-C at the terminal reaches it only through its owner.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::sync::oneshot;

use super::{Failure, tools};

/// How long a server may take to be ready; far longer than it does.
const READY_TIME: Duration = Duration::from_secs(60);
/// How long it may take to end.
const END_TIME: Duration = Duration::from_secs(60);
/// How much of its log is shown when it fails.
const LOG_SHOWN: usize = 2_000;

/// How servers of a run are started.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The binary.
    pub binary: PathBuf,
    /// The data folder.
    pub data: PathBuf,
    /// Where it listens: `tcp://ADDRESS:PORT`; port 0 until the first one has a port.
    pub listen: String,
    /// Where its log goes, one server after the other.
    pub log: PathBuf,
    /// Lines of a configuration file; empty for none.
    pub config: String,
    /// What runs it, as `strace` with its options; empty for nothing.
    pub under: Vec<String>,
}

impl Setup {
    /// Servers on `data` below a folder, with their log beside it.
    pub fn new(binary: &Path, folder: &Path) -> Self {
        Self {
            binary: binary.to_owned(),
            data: folder.join("data"),
            listen: format!("tcp://{}:0", own_address(std::process::id())),
            log: folder.join("server.log"),
            config: String::new(),
            under: Vec::new(),
        }
    }

    /// Starts one, and does not wait until it is ready.
    ///
    /// # Errors
    /// [`Failure::Broken`] when the system starts no process.
    pub fn spawn(&self) -> Result<Starting, Failure> {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(|e| Failure::broken(self.log.display(), e))?;
        let mut command = match self.under.split_first() {
            None => Command::new(&self.binary),
            Some((runner, options)) => {
                let mut command = Command::new(runner);
                command.args(options).arg(&self.binary);
                command
            }
        };
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"EDGEBUS_") {
                command.env_remove(name);
            }
        }
        command.args(["serve", "--json", "--listen", &self.listen, "--data"]);
        command.arg(&self.data);
        if !self.config.is_empty() {
            let file = self.log.with_file_name("edgebus.toml");
            std::fs::write(&file, &self.config).map_err(|e| Failure::broken(file.display(), e))?;
            command.arg("--config").arg(file);
        }
        let begun = Instant::now();
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .process_group(0)
            .spawn()
            .map_err(|e| Failure::broken(format_args!("{command:?} does not start"), e))?;
        let (sender, line) = oneshot::channel();
        let stdout = child.stdout.take();
        // Ends with the process, whose end of the pipe it reads.
        std::thread::spawn(move || read_ready_line(stdout, sender));
        Ok(Starting {
            process: Process {
                child,
                log: self.log.clone(),
            },
            begun,
            line,
        })
    }

    /// Starts one and waits until it is ready; from then on the same port is used.
    ///
    /// # Errors
    /// [`Failure::Broken`] with the end of its log when it does not become ready.
    pub async fn start(&mut self) -> Result<Server, Failure> {
        let server = self.spawn()?.ready().await?;
        self.listen.clone_from(&server.url);
        Ok(server)
    }
}

/// An address that only this process uses, with all its servers.
fn own_address(pid: u32) -> String {
    let [_, a, b, c] = pid.to_be_bytes();
    // Neither 127.0.x.y, where others listen, nor an address that ends with 0 or 255.
    format!("127.{}.{b}.{}", 64 + a % 128, 1 + c % 254)
}

fn read_ready_line(stdout: Option<ChildStdout>, sender: oneshot::Sender<(String, Instant)>) {
    let Some(stdout) = stdout else { return };
    let mut stdout = BufReader::new(stdout);
    let mut line = String::new();
    if stdout.read_line(&mut line).is_ok_and(|read| read > 0) {
        // Nobody waits for one that is killed meanwhile.
        let _ = sender.send((line, Instant::now()));
    }
    let _ = stdout.read_to_end(&mut Vec::new());
}

/// A server that was started and may not listen yet. Killed when dropped.
#[derive(Debug)]
pub struct Starting {
    process: Process,
    begun: Instant,
    line: oneshot::Receiver<(String, Instant)>,
}

impl Starting {
    /// Waits until it listens.
    ///
    /// # Errors
    /// [`Failure::Broken`] with the end of its log when it does not.
    pub async fn ready(self) -> Result<Server, Failure> {
        match self.ready_or_ended().await? {
            Ok(server) => Ok(server),
            Err((process, status)) => Err(process.broken(format_args!("it ended with {status}"))),
        }
    }

    /// Waits until it listens, or has ended before it did.
    ///
    /// # Errors
    /// [`Failure::Broken`] with the end of its log when neither comes.
    pub async fn ready_or_ended(self) -> Result<Result<Server, (Process, ExitStatus)>, Failure> {
        let Self {
            mut process,
            begun,
            line,
        } = self;
        let told = tokio::time::timeout(READY_TIME, line).await;
        let (line, at) = match told {
            Ok(Ok(told)) => told,
            Ok(Err(_)) => {
                let status = process.wait()?;
                return Ok(Err((process, status)));
            }
            Err(_) => return Err(process.broken(format_args!("not ready in {READY_TIME:?}"))),
        };
        let url = serde_json::from_str::<serde_json::Value>(&line)
            .ok()
            .and_then(|ready| Some(ready["listening"][0].as_str()?.to_owned()));
        match url {
            Some(url) => Ok(Ok(Server {
                process,
                url,
                ready_after: at - begun,
            })),
            None => Err(process.broken(format_args!("it said {line:?}"))),
        }
    }

    /// Kills it wherever it is. Whether it had become ready by then.
    ///
    /// # Errors
    /// [`Failure::Broken`] when it does not end.
    pub fn kill(mut self) -> Result<bool, Failure> {
        self.process.kill()?;
        Ok(self.line.try_recv().is_ok())
    }
}

/// A server that listens. Killed when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    url: String,
    ready_after: Duration,
}

impl Server {
    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How long it took from the start of the process until it listened.
    pub fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// Its process; of what runs it, when something does.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.process.child)
    }

    /// Ends it as a crash does, and waits until it is gone.
    ///
    /// # Errors
    /// [`Failure::Broken`] when it does not end.
    pub fn kill(mut self) -> Result<(), Failure> {
        self.process.kill()
    }

    /// Sends it a signal, and whatever runs it.
    ///
    /// # Errors
    /// [`Failure::Broken`] when it is gone.
    pub fn signal(&self, signal: Signal) -> Result<(), Failure> {
        kill_process_group(self.pid(), signal).map_err(|e| Failure::broken("the server is gone", e))
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// [`Failure::Broken`] with the end of its log when it goes on for a minute.
    pub fn wait(mut self) -> Result<ExitStatus, Failure> {
        self.process.wait()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        matches!(self.process.child.try_wait(), Ok(Some(_)))
    }

    /// Ends it as an operator does.
    ///
    /// # Errors
    /// [`Failure::Broken`] when it ends with another status than 0.
    pub fn stop(mut self) -> Result<(), Failure> {
        self.signal(Signal::TERM)?;
        let status = self.process.wait()?;
        match status.success() {
            true => Ok(()),
            false => Err(self
                .process
                .broken(format_args!("told to stop, it ended with {status}"))),
        }
    }
}

/// The child, whatever state it is in; with what runs it a process group of its own.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn kill(&mut self) -> Result<(), Failure> {
        self.kill_group();
        self.wait().map(drop)
    }

    /// Nothing is killed when the child has ended: its number may be someone else's by now.
    fn kill_group(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // It ended in between: that is what was wanted.
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        }
    }

    fn wait(&mut self) -> Result<ExitStatus, Failure> {
        let status = tools::wait(&mut self.child, END_TIME)?;
        status.ok_or_else(|| self.broken(format_args!("it has not ended after {END_TIME:?}")))
    }

    fn broken(&self, why: std::fmt::Arguments<'_>) -> Failure {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let end = &log[log.len().saturating_sub(LOG_SHOWN)..];
        let end = String::from_utf8_lossy(end);
        Failure::Broken(format!("the server: {why}. Its log ends:\n{end}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_group();
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_a_loopback_that_nobody_else_uses() {
        for pid in [1, 255, 256, 65_535, 4_194_304, u32::MAX] {
            let address: std::net::Ipv4Addr = own_address(pid).parse().expect("an address");
            assert!(address.is_loopback(), "{address}");
            assert!(address.octets()[1] >= 64, "{address}");
            assert!(![0, 255].contains(&address.octets()[3]), "{address}");
        }
        assert_ne!(own_address(1000), own_address(1001));
    }
}
