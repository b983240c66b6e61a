//! Starting, stopping, and refusing to start.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{Place, Run, Server, edgebus, json_lines, orders, receipts, run, text};

#[test]
fn a_line_for_each_address_says_when_it_is_ready() {
    let place = Place::new();
    let data = place.data();
    let mut command = edgebus(&["serve", "--data", text(&data), "--http", "127.0.0.1:0"]);
    command.args([
        "--listen",
        "tcp://127.0.0.1:0",
        "--listen",
        "tcp://127.0.0.1:0",
    ]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the server starts");
    let mut lines = BufReader::new(child.stdout.take().expect("is piped")).lines();
    let mut ready = || lines.next().expect("a line").expect("text");
    let ready = [ready(), ready(), ready()];
    child.kill().expect("it can be killed");
    child.wait().expect("it ends");
    let version = env!("CARGO_PKG_VERSION");
    for (line, scheme) in ready.iter().zip(["tcp", "tcp", "http"]) {
        let start = format!("edgebus {version} listening on {scheme}://127.0.0.1:");
        let rest = line
            .strip_prefix(&start)
            .unwrap_or_else(|| panic!("{line}"));
        let (port, rest) = rest.split_once(',').expect("a port");
        assert_ne!(port.parse::<u16>().expect("a port"), 0);
        assert_eq!(rest, format!(" data in {}", text(&data)));
    }
    assert_ne!(ready[0], ready[1]);
}

#[test]
fn what_was_stored_is_there_after_a_stop_and_a_start() {
    let place = Place::new();
    let server = Server::start(&place);
    let args = [
        "send",
        "t",
        "--file",
        orders(),
        "--id-field",
        "order",
        "--json",
    ];
    let first = receipts(&server.run(&args).expect(0).json());
    let rows = server.rows();
    server.stop();
    let server = Server::start(&place);
    assert!(server.rows() == rows, "the rows differ");
    let second = receipts(&server.run(&args).expect(0).json());
    for (id, (seq, _)) in first {
        assert_eq!(second[&id], (seq, true));
    }
}

#[test]
fn http_tells_whether_it_is_well() {
    let place = Place::new();
    let server = Server::start(&place);
    for page in ["/healthz", "/readyz"] {
        let (status, body) = server.get(page);
        assert_eq!(
            (status.as_str(), body.as_str()),
            ("HTTP/1.1 200 OK", "ok\n")
        );
    }
    server.run(&["send", "t", "p"]).expect(0);
    let (status, body) = server.get("/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert!(body.contains("\nedgebus_appended_total 1\n"), "{body}");
    let (status, body) = server.get("/other");
    assert_eq!(status, "HTTP/1.1 404 Not Found");
    assert_eq!(json_lines(&body)[0]["error"]["code"], "not_found");
}

#[test]
fn a_server_that_cannot_start_says_why_and_touches_nothing() {
    let place = Place::new();
    let running = Server::start(&place);
    running.run(&["send", "t", "p"]).expect(0);
    let data = place.data();
    let newer = place.path("newer");
    std::fs::create_dir(&newer).expect("a folder");
    std::fs::write(newer.join("VERSION"), "edgebus-store 99\nid x\n").expect("a file");
    let file = place.file("file", "");
    let http_in_use = running.http.strip_prefix("http://").expect("http is on");
    let spare = place.path("spare");
    for (data, options, code) in [
        (text(&data), &[][..], "data_in_use"),
        (text(&newer), &[], "newer_format"),
        // Not even root may make a folder there.
        ("/sys/edgebus", &[], "read_only"),
        (&file, &[], "io"),
        (text(&spare), &["--listen", &running.url][..], "io"),
        (text(&spare), &["--http", http_in_use], "io"),
        (text(&spare), &["--listen", "tcp://0.0.0.0:0"], "bad_config"),
        (text(&spare), &["--http", "0.0.0.0:0"], "bad_config"),
    ] {
        let listen = [
            "serve",
            "--json",
            "--listen",
            "tcp://127.0.0.1:0",
            "--data",
            data,
        ];
        let refused = run(&[&listen[..], options].concat()).expect(1);
        assert_eq!(
            refused.last_error()["error"]["code"],
            code,
            "{data} {options:?}"
        );
        assert_eq!(refused.stdout, "", "{data} {options:?}");
    }
    assert_eq!(std::fs::read_dir(&newer).expect("a folder").count(), 1);
    assert_eq!(running.rows().len(), 1);
}

#[test]
fn a_filter_for_the_log_that_is_none_is_a_usage_error() {
    let place = Place::new();
    let data = place.data();
    let mut command = edgebus(&["serve", "--data", text(&data), "--json"]);
    let output = command
        .env("EDGEBUS_LOG", "a=b=c")
        .output()
        .expect("the binary runs");
    assert_eq!(
        Run::of(output).expect(2).last_error()["error"]["code"],
        "bad_config"
    );
    assert!(!data.exists());
}

#[test]
fn a_torn_tail_is_reported_with_its_place_and_its_copy() {
    let place = Place::new();
    let server = Server::start(&place);
    for payload in ["1", "2", "3"] {
        server.run(&["send", "t", payload]).expect(0);
    }
    server.kill();
    let torn_at = tear_last_group(&place);
    let server = Server::start(&place);
    assert_eq!(server.rows().len(), 2);
    server.run(&["send", "t", "4"]).expect(0);
    let log = place.server_log();
    let warning = log
        .lines()
        .find(|line| line.contains("WARN"))
        .expect("a warning");
    assert!(warning.contains(&format!("byte {torn_at}")), "{warning}");
    assert!(
        warning.contains(".wal") && warning.contains("torn-1"),
        "{warning}"
    );
    assert!(place.data().join("journal/torn-1").exists());
}

/// Flips a byte of the last group, as a power cut in the middle of its write may leave it. Gives
/// its place.
fn tear_last_group(place: &Place) -> usize {
    const BLOCK: usize = 4096;
    let journal = std::fs::read_dir(place.data().join("journal")).expect("a journal");
    let mut segments: Vec<_> = journal
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "wal"))
        .collect();
    segments.sort();
    let used = |path: &std::path::PathBuf| {
        let bytes = std::fs::read(path).expect("a segment");
        let last = bytes.iter().rposition(|byte| *byte != 0)?;
        // The header block alone is no group.
        (last >= BLOCK).then(|| (path.clone(), bytes, last))
    };
    let (path, mut bytes, last) = segments.iter().rev().find_map(used).expect("a group");
    bytes[last] ^= 1;
    std::fs::write(path, bytes).expect("the segment is written");
    last / BLOCK * BLOCK
}

/// The file size limit makes the tables' growth fail, as a disk that goes bad would.
#[test]
fn an_io_error_stops_the_server_with_exit_74_and_what_was_acknowledged_is_kept() {
    let place = Place::new();
    let data = place.data();
    let serve = "trap '' XFSZ; ulimit -f 34816; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args([
        "-c",
        serve,
        "sh",
        env!("CARGO_BIN_EXE_edgebus"),
        "serve",
        "--json",
    ]);
    command.args(["--listen", "tcp://127.0.0.1:0", "--data", text(&data)]);
    let server = Server::spawn(&place, &mut command);
    // Digits that do not repeat, so that they take their room in the tables.
    let mut state = 1_u64;
    let mut line = || {
        let mut text = String::from("\"");
        while text.len() < 500_000 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            text.push_str(&format!("{state:016x}"));
        }
        text + "\"\n"
    };
    let lines: String = (0..120).map(|_| line()).collect();
    let file = place.file("large.ndjson", lines);
    let sent = server.run(&["send", "t", "--file", &file, "--json", "--window", "4"]);
    assert!(matches!(sent.status, 0 | 3 | 4 | 74), "{sent:?}");
    assert_eq!(server.wait().code(), Some(74));
    let promised = receipts(&sent.json());
    assert!(!promised.is_empty());
    let server = Server::start(&place);
    let stored = server.rows();
    for (id, (seq, _)) in promised {
        let row: &Value = &stored[seq as usize - 1];
        assert_eq!(row["request_id"], id.as_str());
    }
}

#[test]
fn a_second_signal_ends_it_at_once_and_loses_nothing() {
    let place = Place::new();
    let server = Server::start(&place);
    server.run(&["send", "t", "p"]).expect(0);
    server.signal(Signal::INT);
    server.signal(Signal::TERM);
    // The first may have been enough already.
    assert!(matches!(server.wait().code(), Some(0 | 130)));
    assert_eq!(Server::start(&place).rows().len(), 1);
}

#[test]
fn a_service_manager_is_told_when_it_listens_and_when_it_stops() {
    let place = Place::new();
    let path = place.path("notify");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).expect("bound");
    let hear = || {
        let mut heard = [0; 64];
        let bytes = socket.recv(&mut heard).expect("something is heard");
        String::from_utf8(heard[..bytes].to_vec()).expect("text")
    };
    let data = place.data();
    let args = ["serve", "--json", "--listen", "tcp://127.0.0.1:0"];
    let mut command = edgebus(&[&args[..], &["--data", text(&data)]].concat());
    let server = Server::spawn(&place, command.env("NOTIFY_SOCKET", &path));
    assert_eq!(hear(), "READY=1");
    server.run(&["send", "t", "x"]).expect(0);
    server.stop();
    assert_eq!(hear(), "STOPPING=1");
    // Where nobody listens any more it runs all the same.
    drop(socket);
    let mut command = edgebus(&[&args[..], &["--data", text(&data)]].concat());
    Server::spawn(&place, command.env("NOTIFY_SOCKET", &path)).stop();
}
