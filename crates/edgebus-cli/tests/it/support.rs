//! Servers and commands as child processes, and what they print.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The binary, with nothing of this environment that changes what it does.
pub(crate) fn edgebus(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edgebus"));
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"EDGEBUS_") {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(args: &[&str]) -> Run {
    Run::of(edgebus(args).output().expect("the binary runs"))
}

/// Runs a command to its end, with something on its standard input.
pub(crate) fn run_with_input(args: &[&str], input: &[u8]) -> Run {
    let mut command = edgebus(args);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    let mut stdin = child.stdin.take().expect("is piped");
    let input = input.to_vec();
    // A command that ends before it has read everything is no failure here.
    let writing = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("the command ends");
    writing.join().expect("the input is written");
    Run::of(output)
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Run {
    pub(crate) fn of(output: Output) -> Self {
        Self {
            status: output.status.code().expect("was not killed"),
            stdout: String::from_utf8(output.stdout).expect("stdout is text"),
            stderr: String::from_utf8(output.stderr).expect("stderr is text"),
        }
    }

    /// The lines of stdout as JSON.
    pub(crate) fn json(&self) -> Vec<Value> {
        json_lines(&self.stdout)
    }

    /// The last line of stderr as JSON.
    pub(crate) fn last_error(&self) -> Value {
        let line = self.stderr.lines().last().expect("something on stderr");
        serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))
    }

    /// Fails unless the exit status is this one.
    pub(crate) fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

pub(crate) fn json_lines(text: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    text.lines().map(parse).collect()
}

/// The receipts among JSON lines: seq and duplicate by id.
pub(crate) fn receipts(lines: &[Value]) -> BTreeMap<String, (u64, bool)> {
    let receipt = |line: &Value| {
        let id = line["request_id"].as_str()?.to_owned();
        Some((id, (line["seq"].as_u64()?, line["duplicate"].as_bool()?)))
    };
    lines.iter().filter_map(receipt).collect()
}

/// A folder for one test: the data of a server, its log, and files.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Writes a file and gives its path as text.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).expect("the file is written");
        text(&path).to_owned()
    }

    /// What servers here wrote to stderr.
    pub(crate) fn server_log(&self) -> String {
        std::fs::read_to_string(self.path("server.log")).expect("there is a log")
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("the path is text")
}

/// The file of 2,000 orders that comes with the project.
pub(crate) fn orders() -> &'static str {
    concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/data/orders-2000.ndjson"
    )
}

/// An address with any free port, that no other test has: where a server was killed, its clients go on
/// trying, and must not come to whoever got the port meanwhile. All of 127.0.0.0/8 is loopback on Linux.
fn own_loopback() -> String {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    if !cfg!(target_os = "linux") {
        return "127.0.0.1:0".to_owned();
    }
    let number = TAKEN.fetch_add(1, Ordering::Relaxed);
    let process = 1 + std::process::id() % 250;
    format!("127.{process}.{}.{}:0", number / 254, 1 + number % 254)
}

/// A server that runs; it is killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    pub(crate) http: String,
}

impl Server {
    /// Starts on the data folder of a place, and waits until it listens.
    pub(crate) fn start(place: &Place) -> Self {
        let data = place.data();
        let listen = format!("tcp://{}", own_loopback());
        let args = ["--data", text(&data), "--http", "127.0.0.1:0"];
        Self::spawn(
            place,
            edgebus(&["serve", "--json", "--listen", &listen]).args(args),
        )
    }

    /// Starts again where it was, for those that come back to it.
    pub(crate) fn start_at(place: &Place, url: &str) -> Self {
        let data = place.data();
        let args = ["serve", "--json", "--listen", url, "--data", text(&data)];
        Self::spawn(place, &mut edgebus(&args))
    }

    /// Starts with a command of its own, that prints JSON.
    pub(crate) fn spawn(place: &Place, command: &mut Command) -> Self {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(place.path("server.log"))
            .expect("a log");
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the server starts");
        let stdout = child.stdout.take().expect("is piped");
        let mut line = String::new();
        let read = BufReader::new(stdout).read_line(&mut line);
        assert!(read.is_ok() && !line.is_empty(), "{}", place.server_log());
        let ready: Value = serde_json::from_str(&line).expect("the ready line is JSON");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        Self {
            child,
            url: text(&ready["listening"][0]),
            http: text(&ready["http"]),
        }
    }

    /// A command that talks to this server.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = edgebus(args);
        command.args(["--server", &self.url]);
        command
    }

    /// Runs a command that talks to this server to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Run {
        Run::of(self.command(args).output().expect("the binary runs"))
    }

    /// As [`Server::run`], with something on its standard input.
    pub(crate) fn run_with_input(&self, args: &[&str], input: &[u8]) -> Run {
        run_with_input(&[args, &["--server", &self.url]].concat(), input)
    }

    /// Sends a signal to the server.
    pub(crate) fn signal(&self, signal: Signal) {
        send_signal(&self.child, signal);
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().expect("the server ends")
    }

    /// Ends it as an operator does.
    pub(crate) fn stop(self) {
        self.signal(Signal::TERM);
        assert_eq!(self.wait().code(), Some(0));
    }

    /// Ends it as a crash does.
    pub(crate) fn kill(mut self) {
        self.crash();
    }

    /// As [`Server::kill`], for those who start another one in its place.
    pub(crate) fn crash(&mut self) {
        self.child.kill().expect("the server can be killed");
        self.child.wait().expect("the server ends");
    }

    /// The status line and the body of a page.
    pub(crate) fn get(&self, path: &str) -> (String, String) {
        let address = self.http.strip_prefix("http://").expect("http is on");
        let mut stream = TcpStream::connect(address).expect("http listens");
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream
            .write_all(request.as_bytes())
            .expect("the request leaves");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer comes");
        let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
        (
            head.lines().next().unwrap_or_default().to_owned(),
            body.to_owned(),
        )
    }

    /// Everything that is stored, as rows.
    pub(crate) fn rows(&self) -> Vec<Value> {
        self.run(&["replay", "--from", "1", "--json"])
            .expect(0)
            .json()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn send_signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("the process is there");
}

/// A command whose stdout is read while it runs.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) stdout: BufReader<ChildStdout>,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let stdout = BufReader::new(child.stdout.take().expect("is piped"));
        Self { child, stdout }
    }

    /// The next line it prints.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("stdout is text");
        line
    }

    /// The rest of what it prints, and its exit status.
    pub(crate) fn finish(mut self) -> (String, i32) {
        drop(self.child.stdin.take());
        let mut rest = String::new();
        self.stdout
            .read_to_string(&mut rest)
            .expect("stdout is text");
        let status = self.child.wait().expect("the command ends");
        (rest, status.code().expect("was not killed"))
    }
}

/// Stands between one client and a server: passes the conversation's opening on, and with the
/// first thing the client says after it, passes that on too if `deliver`, and then cuts both
/// connections before the answer. Gives the URL to connect to.
pub(crate) fn cut_after_first_send(server: &Server, deliver: bool) -> String {
    let listener = TcpListener::bind(own_loopback()).expect("a port");
    let url = format!("tcp://{}", listener.local_addr().expect("an address"));
    let target = server.url.strip_prefix("tcp://").expect("a URL").to_owned();
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().expect("a client");
        let mut server = TcpStream::connect(target).expect("the server");
        let mut buffer = [0; 64 * 1024];
        let opened = client.read(&mut buffer).expect("the client opens");
        server
            .write_all(&buffer[..opened])
            .expect("the server takes it");
        let welcome = server.read(&mut buffer).expect("the server answers");
        client
            .write_all(&buffer[..welcome])
            .expect("the client takes it");
        let sent = client.read(&mut buffer).expect("the client sends");
        if deliver {
            server
                .write_all(&buffer[..sent])
                .expect("the server takes it");
            // The answer is there: the request is stored.
            let _ = server.read(&mut buffer);
        }
    });
    url
}
