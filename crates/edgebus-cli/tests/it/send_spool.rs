//! `send --spool` and `spool flush`: what was acknowledged is on a disk, and reaches the server once
//! and in order, whoever is killed meanwhile.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use edgebus::spool::{Spool, SpoolConfig};
use serde_json::Value;

use crate::background::Background;
use crate::support::{Place, Run, Running, Server, edgebus, json_lines, run, text};

const ID: &str = "01890000-0000-7000-8000-000000000001";
/// Nothing listens there.
const NOWHERE: &str = "tcp://127.0.0.1:1";

/// Runs `send ARGS` past a spool to its end.
fn send(dir: &Path, server: &str, args: &[&str]) -> Run {
    let past = ["send", "t", "--spool", text(dir), "--server", server];
    run(&[&past[..], args].concat())
}

fn flush(dir: &Path, server: &str, args: &[&str]) -> Run {
    let flush = ["spool", "flush", "--spool", text(dir), "--server", server];
    run(&[&flush[..], args].concat())
}

fn waiting(dir: &Path) -> u64 {
    Spool::look(dir).expect("a spool").waiting()
}

fn payloads(server: &Server) -> Vec<Value> {
    let rows = server.rows();
    rows.iter().map(|row| row["payload"].clone()).collect()
}

/// Lines with ids of their own.
fn lines(count: u64) -> Vec<String> {
    (1..=count)
        .map(|n| format!("{{\"id\":\"01890000-0000-7000-8000-{n:012x}\"}}\n"))
        .collect()
}

/// `send --file -` with JSON outcomes, and its ids from the lines.
fn pipe(dir: &Path, server: &str) -> Running {
    let mut command = edgebus(&["send", "t", "--file", "-", "--id-field", "id", "--json"]);
    command.args(["--spool", text(dir), "--server", server]);
    Running::start(command.stdin(Stdio::piped()).stderr(Stdio::null()))
}

fn say(running: &mut Running, line: &str) {
    let stdin = running.child.stdin.as_mut().expect("is piped");
    stdin.write_all(line.as_bytes()).expect("it reads");
}

#[test]
fn without_a_server_it_is_spooled_and_the_next_command_forwards_it_first() {
    let place = Place::new();
    let dir = place.path("spool");
    let spooled = send(&dir, NOWHERE, &["a", "--id", ID]).expect(0);
    assert_eq!(spooled.stdout, format!("spooled {ID} as number 1\n"));
    assert!(spooled.stderr.contains("1 request waits"), "{spooled:?}");
    let json = send(&dir, NOWHERE, &["b", "--json"]).expect(0).json();
    assert_eq!(
        (&json[0]["spooled"], &json[0]["number"]),
        (&Value::from(true), &Value::from(2))
    );
    let server = Server::start(&place);
    let stored = send(&dir, &server.url, &["c", "--json"]).expect(0);
    assert_eq!(stored.json()[0]["seq"], 3);
    assert_eq!(payloads(&server), ["a", "b", "c"]);
    // It was stored once, and is known.
    let again = send(&dir, &server.url, &["a", "--id", ID]).expect(0);
    assert_eq!(again.stdout, format!("already stored {ID} as seq 1\n"));
    assert_eq!(waiting(&dir), 0);
}

#[test]
fn a_server_that_does_not_answer_costs_about_a_second() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("tcp://{}", silent.local_addr().expect("an address"));
    let place = Place::new();
    let begin = Instant::now();
    let spooled = send(&place.path("spool"), &url, &["a", "--json"]).expect(0);
    assert_eq!(spooled.json()[0]["number"], 1);
    // Less than connecting may take elsewhere, even on a busy machine.
    assert!(begin.elapsed() < Duration::from_secs(4));
}

#[test]
fn commands_at_once_have_the_folder_one_after_the_other() {
    let place = Place::new();
    let dir = place.path("spool");
    for server in [None, Some(Server::start(&place))] {
        let url = server.as_ref().map_or(NOWHERE, |server| &server.url);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| send(&dir, url, &["a"]).expect(0));
            }
        });
        match server {
            None => assert_eq!(waiting(&dir), 4),
            Some(server) => assert_eq!((payloads(&server).len(), waiting(&dir)), (8, 0)),
        }
    }
}

#[test]
fn a_folder_that_stays_in_use_is_refused_by_name() {
    let place = Place::new();
    let dir = place.path("spool");
    let _spool = Spool::open(&dir, SpoolConfig::default()).expect("opens");
    std::thread::scope(|scope| {
        let refused = [
            scope.spawn(|| send(&dir, NOWHERE, &["a", "--json"])),
            scope.spawn(|| send(&dir, NOWHERE, &["--file", "-", "--json"])),
            scope.spawn(|| flush(&dir, NOWHERE, &["--json"])),
        ];
        for refused in refused {
            let refused = refused.join().expect("it ran").expect(1);
            assert_eq!(refused.last_error()["error"]["code"], "data_in_use");
            assert_eq!(refused.stdout, "");
        }
    });
}

#[test]
fn a_full_spool_refuses_by_name_and_loses_nothing() {
    let place = Place::new();
    let dir = place.path("spool");
    let file = place.file("lines", lines(100).concat());
    let args = ["--file", &file, "--id-field", "id", "--json"];
    let full = ["--spool-bytes-max", "2KB"];
    let refused = send(&dir, NOWHERE, &[&args[..], &full].concat()).expect(1);
    assert_eq!(refused.last_error()["error"]["code"], "storage_full");
    let outcomes = refused.json();
    let taken = outcomes.iter().filter(|line| line["spooled"] == true);
    let taken = taken.count();
    assert!(taken > 5 && taken as u64 == waiting(&dir), "{taken}");
    assert_eq!(outcomes[taken]["error"]["code"], "storage_full");
    let single = [&["p", "--json"], &full[..]].concat();
    let refused = send(&dir, NOWHERE, &single).expect(1);
    assert_eq!(refused.last_error()["error"]["code"], "storage_full");
    let server = Server::start(&place);
    let sent = send(&dir, &server.url, &args).expect(0);
    assert_eq!(sent.json().len(), 100);
    flush(&dir, &server.url, &[]).expect(0);
    let expected: Vec<_> = lines(100).iter().map(|l| l.trim_end().to_owned()).collect();
    assert_eq!(payloads(&server), expected);
}

#[test]
fn what_a_server_refuses_for_good_is_said_and_kept_as_a_dead_letter() {
    let place = Place::new();
    let dir = place.path("spool");
    let server = Server::start(&place);
    server.run(&["send", "t", "a", "--id", ID]).expect(0);
    send(&dir, NOWHERE, &["other", "--id", ID]).expect(0);
    let sent = send(&dir, &server.url, &["b"]).expect(0);
    assert!(
        sent.stderr.contains("1 request was refused for good"),
        "{sent:?}"
    );
    assert_eq!(payloads(&server), ["a", "b"]);
    for args in [&["--json"][..], &["--json", "--dead"]] {
        let flushed = flush(&dir, &server.url, args).expect(1);
        assert_eq!(flushed.json()[0]["dead"], 1, "{flushed:?}");
        assert!(flushed.stderr.contains("refused for good"), "{flushed:?}");
    }
    // It is told once.
    let sent = send(&dir, &server.url, &["c"]).expect(0);
    assert!(!sent.stderr.contains("refused"), "{sent:?}");
    run(&["spool", "rm", "--dead", "--spool", text(&dir)]).expect(0);
    flush(&dir, &server.url, &[]).expect(0);
}

#[test]
fn flush_needs_a_server_only_for_what_waits() {
    let place = Place::new();
    let dir = place.path("spool");
    let refused = flush(&dir, NOWHERE, &["--json"]).expect(1);
    assert_eq!(refused.last_error()["error"]["code"], "not_found");
    assert!(!dir.exists());
    send(&dir, NOWHERE, &["a"]).expect(0);
    flush(&dir, NOWHERE, &[]).expect(3);
    assert_eq!(waiting(&dir), 1);
    let server = Server::start(&place);
    let flushed = flush(&dir, &server.url, &[]).expect(0);
    assert_eq!(flushed.stdout, "forwarded 1 request\n");
    let flushed = flush(&dir, NOWHERE, &["--json"]).expect(0);
    assert_eq!(flushed.json()[0]["forwarded"], 0);
    assert_eq!(payloads(&server), ["a"]);
}

#[test]
fn a_slow_pipe_gets_each_outcome_before_the_next_line_and_goes_on_with_the_server() {
    let place = Place::new();
    let dir = place.path("spool");
    let first = Server::start(&place);
    let url = first.url.clone();
    first.kill();
    let mut client = pipe(&dir, &url);
    let lines = lines(1_000_000);
    let mut next = lines.iter();
    let mut outcome = |client: &mut Running| {
        say(client, next.next().expect("it ends before"));
        json_lines(&client.line()).remove(0)
    };
    for number in 1..=20 {
        let spooled = outcome(&mut client);
        assert_eq!(
            (&spooled["spooled"], &spooled["number"]),
            (&true.into(), &number.into())
        );
    }
    let server = Server::start_at(&place, &url);
    let mut sent = 20;
    let receipt = loop {
        sent += 1;
        let told = outcome(&mut client);
        if told["seq"].is_u64() {
            break told;
        }
    };
    assert_eq!(receipt["seq"], sent);
    assert_eq!(client.finish(), (String::new(), 0));
    assert_eq!((payloads(&server).len(), waiting(&dir)), (sent, 0));
}

#[test]
fn a_command_that_is_told_to_end_has_what_it_printed_on_disk() {
    let place = Place::new();
    let dir = place.path("spool");
    let mut command = edgebus(&["send", "t", "--file", "-", "--json", "--spool", text(&dir)]);
    command.args(["--server", NOWHERE]).stdin(Stdio::piped());
    let mut client = Background::start(&mut command);
    let mut stdin = client.child.stdin.take().expect("is piped");
    stdin.write_all(b"1\n2\n").expect("it reads");
    assert_eq!(
        (
            client.json()["number"].as_u64(),
            client.json()["number"].as_u64()
        ),
        (Some(1), Some(2))
    );
    let ended = client.stop();
    assert_eq!((ended.status, ended.stdout.len()), (130, 0));
    let summary = &json_lines(ended.stderr.last().expect("a summary"))[0];
    assert_eq!(
        (&summary["spooled"], &summary["waiting"]),
        (&2.into(), &2.into())
    );
    assert_eq!(waiting(&dir), 2);
}

/// A pipe of lines, of which so many are acknowledged.
struct Feed {
    dir: PathBuf,
    url: String,
    lines: Vec<String>,
    acknowledged: usize,
    /// Of them, those in the spool.
    spooled: usize,
}

impl Feed {
    /// Lines that are on their way at a time.
    const AHEAD: usize = 64;

    /// Has one command take lines, from the first that is not acknowledged, until so many are.
    fn begin(&mut self, until: usize) -> Running {
        let mut client = pipe(&self.dir, &self.url);
        let ahead = self.lines.len().min(self.acknowledged + Self::AHEAD);
        say(&mut client, &self.lines[self.acknowledged..ahead].concat());
        self.go_on(&mut client, until);
        client
    }

    fn go_on(&mut self, client: &mut Running, until: usize) {
        while self.acknowledged < until {
            let line = client.line();
            self.take(&line);
            if let Some(next) = self.lines.get(self.acknowledged + Self::AHEAD - 1) {
                say(client, next);
            }
        }
    }

    /// What is acknowledged is the next line.
    fn take(&mut self, line: &str) {
        let outcome = &json_lines(line)[0];
        let expected = &json_lines(&self.lines[self.acknowledged])[0]["id"];
        assert_eq!(&outcome["request_id"], expected, "{line}");
        assert!(
            outcome["spooled"] == true || outcome["seq"].is_u64(),
            "{line}"
        );
        self.spooled += usize::from(outcome["spooled"] == true);
        self.acknowledged += 1;
    }

    /// Kills a command; what it had printed counts.
    fn kill(&mut self, mut client: Running) {
        client.child.kill().expect("it runs");
        client.child.wait().expect("it ends");
        let mut rest = String::new();
        client.stdout.read_to_string(&mut rest).expect("text");
        for line in rest
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'))
        {
            self.take(line);
        }
    }
}

#[test]
fn a_pipe_whose_command_is_killed_twice_while_the_server_comes_and_goes_arrives_once_and_in_order()
{
    let place = Place::new();
    let server = Server::start(&place);
    let mut feed = Feed {
        dir: place.path("spool"),
        url: server.url.clone(),
        lines: lines(2500),
        acknowledged: 0,
        spooled: 0,
    };
    let mut client = feed.begin(300);
    server.kill();
    feed.go_on(&mut client, 600);
    feed.kill(client);
    let client = feed.begin(feed.acknowledged + 300);
    feed.kill(client);
    let mut client = feed.begin(feed.acknowledged + 300);
    let server = Server::start_at(&place, &feed.url);
    feed.go_on(&mut client, 2000);
    // With a server there, and lines on their way to it or to the spool.
    feed.kill(client);
    let client = feed.begin(2500);
    assert_eq!(client.finish(), (String::new(), 0));
    assert!(feed.spooled > 600, "{}", feed.spooled);
    flush(&feed.dir, &feed.url, &[]).expect(0);
    let expected: Vec<_> = feed.lines.iter().map(|line| line.trim_end()).collect();
    assert_eq!(payloads(&server), expected);
}

#[test]
fn lines_that_are_too_large_for_the_window_together_wait_for_each_other() {
    let place = Place::new();
    let dir = place.path("spool");
    let large = format!("\"{}\"\n", "x".repeat(900_000));
    let file = place.file("large", large.repeat(100));
    let server = Server::start(&place);
    server.run(&["send", "t", "--file", &file]).expect(0);
    send(&dir, NOWHERE, &["--file", &file]).expect(0);
    assert_eq!(waiting(&dir), 100);
}
