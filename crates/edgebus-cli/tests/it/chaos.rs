//! Clients of a real server that is killed again and again: each goes on by itself, what it was
//! told is true, and nothing is stored twice.

use std::process::Stdio;
use std::time::Duration;

use edgebus::{Entry, RequestStore, Seq};
use edgebus_testing::till::Shop;
use edgebus_testing::{Faults, Proxy, Weather, seeds};
use tokio::runtime::Runtime;

use crate::background::Background;
use crate::support::{Place, Running, Server, edgebus, json_lines, orders, receipts, text};

/// How long clients wait for a server.
const PATIENT: Duration = Duration::from_secs(60);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// Everything that a server left on disk.
fn log(place: &Place) -> Vec<Entry> {
    let store = RequestStore::open(place.data()).expect("it opens");
    let log: Result<_, _> = store.replay_from(Seq(1)).collect();
    log.expect("it is sound")
}

#[test]
fn clients_outlive_a_server_that_is_killed_and_comes_back_where_it_was() {
    for seed in seeds(&[51]) {
        println!("seed {seed}");
        let place = Place::new();
        let mut server = Server::start(&place);
        let url = server.url.clone();
        let day = runtime().block_on(async {
            let mut shop = Shop::open(&url, seed, PATIENT).await;
            for part in [0.1, 0.3, 0.5, 0.7, 0.9] {
                shop.worked(part).await;
                server.crash();
                server = Server::start_at(&place, &url);
            }
            shop.close().await
        });
        server.crash();
        let outcomes = day.check(&log(&place));
        assert_eq!(outcomes.refused, 0, "{outcomes:?}");
    }
}

#[test]
fn clients_outlive_a_bad_network_to_a_server_that_is_killed_and_comes_back_elsewhere() {
    for seed in seeds(&[61]) {
        println!("seed {seed}");
        let place = Place::new();
        let mut server = Server::start(&place);
        let proxy = Proxy::with(&server.url, seed, Weather::storm());
        let day = runtime().block_on(async {
            let mut shop = Shop::open(proxy.url(), seed, PATIENT).await;
            for part in [0.2, 0.4, 0.6] {
                shop.worked(part).await;
                server.crash();
                server = Server::start(&place);
                proxy.set_target(&server.url);
            }
            shop.worked(0.7).await;
            proxy.calm();
            shop.close().await
        });
        server.crash();
        let outcomes = day.check(&log(&place));
        assert_eq!(outcomes.refused, 0, "{outcomes:?}");
        day.check_heard(&proxy);
    }
}

#[test]
fn a_file_is_sent_to_its_end_through_cuts_and_a_killed_server_by_one_command() {
    for seed in seeds(&[71]) {
        println!("seed {seed}");
        let place = Place::new();
        let server = Server::start(&place);
        let mut faults = Faults::none();
        (faults.cut, faults.halve) = (0.05, 0.05);
        let proxy = Proxy::with(&server.url, seed, Weather::of(faults));
        // The first connection is not tried twice.
        proxy.calm();
        let mut command = edgebus(&["send", "orders.created", "--json"]);
        command.args(["--file", orders(), "--id-field", "order"]);
        command.args(["--window", "64", "--server", proxy.url()]);
        let mut send = Running::start(command.stderr(Stdio::null()));
        let mut printed = send.line();
        proxy.set_weather(Weather::of(faults));
        for _ in 0..500 {
            printed.push_str(&send.line());
        }
        server.kill();
        let server = Server::start(&place);
        proxy.set_target(&server.url);
        let (rest, status) = send.finish();
        printed.push_str(&rest);
        assert_eq!(status, 0, "{rest}");
        let lines = json_lines(&printed);
        for (number, line) in lines.iter().enumerate() {
            assert_eq!(
                line["seq"],
                number + 1,
                "receipts are in the order of the file"
            );
        }
        assert_eq!(receipts(&lines).len(), 2000);
        let file = std::fs::read_to_string(orders()).expect("the file is there");
        let rows = server.rows();
        assert_eq!(rows.len(), 2000);
        for (row, line) in rows.iter().zip(file.lines()) {
            assert_eq!(row["payload"], line);
        }
    }
}

/// A delivery that is lost on its way comes again after the server's grace; a command that runs is
/// never started twice.
#[test]
fn commands_ask_and_answer_through_cuts_and_a_killed_server_and_each_request_is_run_once() {
    const REQUESTS: usize = 12;
    for seed in seeds(&[91]) {
        println!("seed {seed}");
        let place = Place::new();
        let server = Server::start(&place);
        let proxy = Proxy::to(&server.url);
        let script = format!(
            "cat >> {0}; echo >> {0}; echo ok",
            text(&place.path("runs"))
        );
        let args = ["reply", "t", "--exec", &script, "--server", proxy.url()];
        let mut reply = Background::start(&mut edgebus(&args));
        reply.hear("working on");
        let ask = |number: usize| {
            let payload = format!("request-{number}");
            let args = [
                "request",
                "t",
                &payload,
                "--timeout",
                "50s",
                "--server",
                proxy.url(),
            ];
            Background::start(&mut edgebus(&args))
        };
        let asking: Vec<_> = (0..REQUESTS / 2).map(ask).collect();
        // They are connected; the first time, trying again would be up to whoever types.
        let stored = || server.run(&["stats", "--json"]).expect(0).json()[0]["last_seq"].clone();
        while stored() != REQUESTS / 2 {}
        let mut faults = Faults::none();
        (faults.cut, faults.halve) = (0.05, 0.05);
        proxy.set_weather(Weather::of(faults));
        proxy.cut_all();
        server.kill();
        let server = Server::start(&place);
        proxy.set_target(&server.url);
        for request in asking {
            let ended = request.finish();
            assert_eq!(
                (ended.status, ended.stdout.concat()),
                (0, "ok".to_owned()),
                "{:?}",
                ended.stderr
            );
        }
        proxy.calm();
        let asking: Vec<_> = (REQUESTS / 2..REQUESTS).map(ask).collect();
        for request in asking {
            assert_eq!(request.finish().status, 0);
        }
        assert_eq!(reply.stop().status, 0);
        let runs = std::fs::read_to_string(place.path("runs")).expect("they ran");
        let mut runs: Vec<_> = runs.lines().collect();
        runs.sort_unstable();
        let mut expected: Vec<_> = (0..REQUESTS).map(|n| format!("request-{n}")).collect();
        expected.sort_unstable();
        assert_eq!(runs, expected);
    }
}
