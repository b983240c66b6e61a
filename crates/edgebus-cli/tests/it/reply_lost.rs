//! A worker whose server goes away: what runs goes on, is run once, and is told afterwards.

use crate::background::{Background, Gate, lines_of};
use crate::support::{Place, Server, text};

const ID: &str = "01890000-0000-7000-8000-000000000001";

/// A server with a worker whose command is running: it counts itself, and waits at a gate.
struct Running {
    place: Place,
    server: Server,
    gate: Gate,
    reply: Background,
}

impl Running {
    fn start() -> Self {
        let place = Place::new();
        let server = Server::start(&place);
        let gate = Gate::new(&place, "gate");
        let count = place.path("count");
        let script = format!(
            "echo x >> {}; echo started >&2; {}; echo ended >&2; echo ok",
            text(&count),
            gate.wait()
        );
        let mut reply = Background::reply(&server, &["t", "--exec", &script]);
        server.run(&["send", "t", "p", "--id", ID]).expect(0);
        reply.hear("started");
        Self {
            place,
            server,
            gate,
            reply,
        }
    }
}

/// The reply is there, and the command ran once and failed never.
fn assert_done_once(place: &Place, server: &Server) {
    let asked = server
        .run(&["request", "t", "p", "--id", ID, "--json"])
        .expect(0);
    assert_eq!(asked.json()[0]["reply"], "ok\n");
    assert_eq!(lines_of(place, "count"), 1);
    let info = server
        .run(&["consumer", "info", "reply-t", "--json"])
        .expect(0)
        .json()
        .remove(0);
    assert_eq!((&info["failed"], &info["offset"]), (&0.into(), &1.into()));
}

#[test]
fn a_command_that_runs_on_while_the_server_restarts_is_run_once() {
    let Running {
        place,
        server,
        gate,
        mut reply,
    } = Running::start();
    let url = server.url.clone();
    server.kill();
    reply.hear("the server went away");
    let server = Server::start_at(&place, &url);
    reply.hear("connected again");
    gate.open();
    reply.hear("ended");
    assert_done_once(&place, &server);
    assert_eq!(reply.stop().status, 0);
}

#[test]
fn a_command_that_ends_while_the_server_is_away_is_told_when_it_is_back() {
    let Running {
        place,
        server,
        gate,
        mut reply,
    } = Running::start();
    let url = server.url.clone();
    server.kill();
    reply.hear("the server went away");
    gate.open();
    reply.hear("ended");
    let server = Server::start_at(&place, &url);
    reply.hear("connected again");
    assert_done_once(&place, &server);
    let ended = reply.stop();
    assert_eq!(ended.status, 0);
    let lost = ended
        .stderr
        .iter()
        .filter(|line| line.contains("went away"));
    assert_eq!(lost.count(), 0, "it was said once");
}

#[test]
fn a_server_that_stops_in_an_orderly_way_is_waited_for_too() {
    let Running {
        place,
        server,
        gate,
        mut reply,
    } = Running::start();
    let url = server.url.clone();
    server.stop();
    reply.hear("the server went away");
    let server = Server::start_at(&place, &url);
    reply.hear("connected again");
    gate.open();
    reply.hear("ended");
    assert_done_once(&place, &server);
}

#[test]
fn a_worker_that_is_to_stop_meanwhile_tells_its_outcome_first() {
    let Running {
        place,
        server,
        gate,
        mut reply,
    } = Running::start();
    let url = server.url.clone();
    server.kill();
    reply.hear("the server went away");
    reply.signal(rustix::process::Signal::TERM);
    reply.hear("stopping when 1 running");
    gate.open();
    reply.hear("ended");
    let server = Server::start_at(&place, &url);
    assert_eq!(reply.finish().status, 0);
    assert_done_once(&place, &server);
}

#[test]
fn messages_that_come_after_a_restart_are_worked_on() {
    let place = Place::new();
    let server = Server::start(&place);
    let url = server.url.clone();
    let mut reply = Background::reply(&server, &["t", "--exec", "cat"]);
    assert_eq!(server.run(&["request", "t", "a"]).expect(0).stdout, "a");
    server.kill();
    reply.hear("the server went away");
    let server = Server::start_at(&place, &url);
    reply.hear("connected again");
    for payload in ["b", "c", "d"] {
        assert_eq!(
            server.run(&["request", "t", payload]).expect(0).stdout,
            payload
        );
    }
}
