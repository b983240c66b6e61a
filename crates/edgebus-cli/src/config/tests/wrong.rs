//! Everything that is wrong is told: with its line, what was probably meant, and what to write.

use super::{load, problems};
use crate::config::Value;

#[test]
fn everything_that_is_wrong_is_told_at_once_in_the_order_of_the_lines() {
    let text = "\
listne = \"tcp://h:1\"
http = 7480

[limits]
conections = 5
connections_per_address = 0
write-time = \"5s\"

[limit]
frame_byte = 1

[store]
connections = 5
retention_age = 7
payload = \"1MiB\"
zzz = 1
";
    let expected = [
        "e.toml:1: no key is called listne: did you mean listen?",
        "e.toml:2: http cannot be 7480; write an IP address with a port, such as http = \"127.0.0.1:7480\"",
        "e.toml:5: no key is called conections in [limits]: did you mean connections?",
        "e.toml:6: limits.connections_per_address cannot be 0; write a whole number from 1 to 1000000, such as \
         connections_per_address = 100",
        "e.toml:7: no key is called write-time in [limits]: did you mean write_time?",
        "e.toml:9: no section is called [limit]: did you mean [limits]?",
        "e.toml:10: no key is called frame_byte in [limit]: did you mean frame_bytes?",
        "e.toml:13: no key is called connections in [store]: did you mean connections in [limits]?",
        "e.toml:14: store.retention_age cannot be 7; write a duration from 1ms to 365000d, such as retention_age = \
         \"7d\"",
        "e.toml:15: no key is called payload in [store]: did you mean payload_bytes?",
        "e.toml:16: no key is called zzz in [store]: `edgebus config reference` shows all there are",
    ];
    assert_eq!(problems(text), expected);
}

#[test]
fn key_in_the_wrong_place_is_told_where_it_belongs() {
    for (text, part) in [
        ("connections = 1", "did you mean connections in [limits]?"),
        (
            "[limits]\nhttp = \"\"",
            "did you mean http at the top of the file, before the first section?",
        ),
        ("limits = 5", "limits is a section: write [limits] once"),
        (
            "[[limits]]\nconnections = 1",
            "limits is a section: write [limits] once",
        ),
        (
            "[http]\nport = 1",
            "http is a key and no section: write http = \"127.0.0.1:7480\"",
        ),
        (
            "\"limits.connections\" = 1",
            "did you mean connections in [limits]?",
        ),
        (
            "limits.connections.max = 1",
            "limits.connections is a key and no section",
        ),
        (
            "[server]\nport = 1",
            "no section is called [server]: the sections are [store], [tls]",
        ),
    ] {
        let found = problems(text);
        assert!(
            found.len() == 1 && found[0].contains(part),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn names_of_other_programs_lead_to_the_ones_here() {
    for (section, name, meant) in [
        ("tls", "ca", "client_ca"),
        ("tls", "cert", "certificate"),
        ("tls", "key_file", "key"),
        ("tls", "crl", "client_crl"),
        ("access", "token_file", "tokens"),
        ("limits", "max_connections", "connections"),
        ("limits", "connections_max", "connections"),
        ("store", "retention", "retention_age"),
    ] {
        let found = problems(&format!("[{section}]\n{name} = 1"));
        let part = format!("did you mean {meant}?");
        assert!(found[0].contains(&part), "{found:?}");
    }
}

#[test]
fn value_of_another_kind_is_told_what_to_write() {
    for (text, part) in [
        (
            "insecure = \"yes\"",
            "insecure cannot be \"yes\"; write true or false",
        ),
        ("insecure = 1", "write true or false"),
        ("data = 5", "write a path, such as data = "),
        ("data = \"\"", "the path is empty"),
        ("listen = []", "write a URL or a list of them"),
        ("listen = [1]", "write a URL or a list of them"),
        ("listen = \"h:1\"", "has no scheme"),
        (
            "http = \"localhost\"",
            "\"localhost\" is no address: write 127.0.0.1:7480",
        ),
        ("log = \"a=b=c\"", "it is no filter"),
        (
            "limits.connections = \"5\"",
            "write a whole number from 1 to 1000000",
        ),
        ("limits.connections = -5", "limits.connections cannot be -5"),
        ("limits.connections = 1.5", "write a whole number"),
        (
            "limits.connections = 99999999999999999999",
            "write a whole number",
        ),
        (
            "limits.frame_bytes = \"1KiB\"",
            "write a size from 64KiB to 1GiB",
        ),
        (
            "limits.frame_bytes = \"1 mile\"",
            "write a size from 64KiB to 1GiB",
        ),
        (
            "limits.write_time = \"soon\"",
            "write a duration from 10ms to 1d",
        ),
        (
            "limits.write_time = \"1000000h\"",
            "write a duration from 10ms to 1d",
        ),
        (
            "unix.mode = 660",
            "write a file mode, such as mode = \"0660\"",
        ),
        ("unix.mode = \"999\"", "write a file mode"),
        ("unix.mode = \"7777\"", "write a file mode"),
        ("tls.min_version = \"1.1\"", "write \"1.3\" or \"1.2\""),
        (
            "tls.client_auth = true",
            "write \"required\" or \"optional\"",
        ),
    ] {
        let found = problems(text);
        assert!(
            found.len() == 1 && found[0].contains(part),
            "{text}: {found:?}"
        );
    }
}

#[test]
fn other_ways_to_write_the_same_are_fine() {
    for text in [
        "limits.frame_bytes = 1_048_576",
        "limits.frame_bytes = \"1 mib\"",
        "limits.frame_bytes_per_second = 0",
        "limits.connections = 0x10",
        "unix.mode = 0o600",
        "unix.mode = \"0o600\"",
        "unix.mode = \"600\"",
        "tls = { certificate = \"a\", key = \"b\" }",
        "\u{feff}data = \"d\"\r\n[limits]\r\nconnections = 1\r\n",
    ] {
        assert_eq!(problems(text), [""; 0], "{text}");
    }
}

#[test]
fn what_is_no_toml_is_told_with_its_line_and_the_rest_is_read_all_the_same() {
    let found = problems(
        "data = /var/lib\nlistne = 1\nhttp = \"a\n[limits]\nconnections = 0\ndata = \"b\"\ndata = 1\n",
    );
    let lines: Vec<&str> = found.iter().map(|what| &what[..8]).collect();
    assert!(
        lines.contains(&"e.toml:1") && lines.contains(&"e.toml:2"),
        "{found:?}"
    );
    assert!(
        lines.contains(&"e.toml:3") && lines.contains(&"e.toml:5"),
        "{found:?}"
    );
    assert!(found[0].contains("this is no TOML"), "{found:?}");
    assert_eq!(problems("data = \"a\"\ndata = \"b\"").len(), 1);
}

#[test]
fn thousands_of_problems_are_counted_and_not_all_told() {
    let text: String = (0..5000)
        .map(|n| format!("limitsconnections{n} = 1\n"))
        .collect();
    let found = problems(&text);
    assert_eq!(found.len(), 51);
    assert_eq!(found[50], "configuration: 4950 more problems");
}

#[test]
fn content_of_a_key_where_a_path_belongs_is_not_repeated() {
    let secret = "MC4CAQAwBQYDK2VwBCIEIJ";
    let pem = format!("-----BEGIN PRIVATE KEY-----\\n{secret}\\n");
    let text = format!(
        "[tls]\nkey = \"{pem}\"\nclient_crl = [\"{pem}\", 5]\n[access]\ntokens = [\"{secret}\"]\n"
    );
    let found = problems(&text);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().all(|what| !what.contains(secret)), "{found:?}");
    assert!(found[0].contains("put that into a file of its own"));
    let variables = [
        ("EDGEBUS_TLS_KEY", pem.as_str()),
        ("EDGEBUS_ACCESS_TOKENS", &format!("a\n{secret}")),
    ];
    let found = load("", &variables).expect_err("no paths");
    assert_eq!(found.len(), 2);
    assert!(found.iter().all(|what| !what.contains(secret)), "{found:?}");
}

#[test]
fn nothing_that_a_terminal_acts_on_is_repeated() {
    let found = problems("\"a\\u001b[2Jb\" = 1\nhttp = 'x\u{7f}y'\n[\"\\n\\n\"]\nb = 1\n");
    assert!(found.len() >= 3, "{found:?}");
    assert!(
        found
            .iter()
            .flat_map(|what| what.chars())
            .all(|c| !c.is_control()),
        "{found:?}"
    );
}

#[test]
fn file_that_cannot_be_read_is_named() {
    use std::path::Path;

    use crate::config::{Config, Sources};
    let folder = tempfile::tempdir().expect("a folder");
    let binary = folder.path().join("binary");
    std::fs::write(&binary, b"data = \"a\"\n\xff\n").expect("written");
    for (path, place, part) in [
        (folder.path().join("none"), "none: ", "cannot be read"),
        (folder.path().to_owned(), ": ", "it is no file"),
        (binary, "binary:2: ", "not text in UTF-8"),
    ] {
        let sources = Sources {
            variables: [],
            options: Vec::new(),
        };
        let path: &Path = &path;
        let found = Config::load(Some(path), sources).expect_err("bad").lines();
        assert!(
            found.len() == 1 && found[0].contains(place) && found[0].contains(part),
            "{found:?}"
        );
    }
}

#[test]
fn what_does_not_fit_together_is_told_at_its_place() {
    let part = |text: &str| {
        let config = load(text, &[]).expect("good alone");
        let lines: Vec<String> = config
            .contradictions()
            .iter()
            .map(ToString::to_string)
            .collect();
        lines.join("\n")
    };
    assert_eq!(part(""), "");
    for (text, expected) in [
        (
            "listen = \"tls://h:1\"",
            "edgebus.toml:1: tls://h:1 needs tls.certificate and tls.key",
        ),
        (
            "tls.certificate = \"c\"",
            "edgebus.toml:1: tls.certificate needs tls.key",
        ),
        (
            "tls.key = \"c\"",
            "edgebus.toml:1: tls.key needs tls.certificate",
        ),
        (
            "tls.client_auth = \"required\"",
            "edgebus.toml:1: tls.client_auth needs tls.client_ca",
        ),
        (
            "tls.client_crl = \"c\"",
            "edgebus.toml:1: tls.client_crl needs tls.client_ca",
        ),
        ("store.segment_bytes = \"1000001B\"", "multiple of 16KiB"),
        (
            "store.payload_bytes = \"8MiB\"",
            "store.segment_bytes must be at least four times",
        ),
        (
            "store.payload_bytes = \"1MiB\"",
            "edgebus.toml:1: limits.frame_bytes must be at least",
        ),
        (
            "store.dead_letter_bytes = \"64KiB\"",
            "edgebus.toml:1: store.dead_letter_bytes must be",
        ),
    ] {
        let found = part(text);
        assert!(found.contains(expected), "{text}: {found}");
    }
}

#[test]
fn what_other_machines_could_reach_is_told_unless_it_is_wanted() {
    let open = |text: &str| load(text, &[]).expect("good alone").open_to_others();
    let text = "listen = [\"tcp://0.0.0.0:1\", \"tcp://127.0.0.1:1\"]\nhttp = \"10.0.0.1:1\"\n";
    assert_eq!(open(text).len(), 2);
    assert!(
        open(text)[0]
            .to_string()
            .contains("edgebus.toml:1: tcp://0.0.0.0:1 can be reached")
    );
    assert_eq!(open(&format!("{text}insecure = true")).len(), 0);
    assert_eq!(open("").len(), 0);
}

#[test]
fn options_are_held_to_the_same_bounds() {
    let options = vec![("store.retention_bytes", Value::Number(5))];
    let config = super::load_with("", &[], options).expect("read");
    let found = config.out_of_bounds();
    assert_eq!(found.len(), 1);
    assert_eq!(
        found[0].to_string(),
        "--retention-bytes: it cannot be that; write a size of 64KiB or more"
    );
}
