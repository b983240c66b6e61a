//! What a configuration promises: nothing ignored, everything told, nothing lost between reading
//! and showing.

mod any;
mod wrong;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use edgebus::{ClientAuth, TlsVersion};

use super::environment::OTHERS;
use super::keys::{self, SECTIONS};
use super::{Config, Place, Problems, Settings, Sources, Value, file, reference};

/// Loads text as a file in a folder, with variables.
fn load(text: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    load_with(text, variables, Vec::new())
}

fn load_with(
    text: &str,
    variables: &[(&str, &str)],
    options: Vec<(&'static str, Value)>,
) -> Result<Config, Vec<String>> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("edgebus.toml");
    std::fs::write(&path, text).expect("written");
    let variables = variables
        .iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)));
    let sources = Sources { variables, options };
    Config::load(Some(&path), sources).map_err(|problems| {
        let start = format!("{}/", folder.path().display());
        let lines = problems.lines();
        lines.iter().map(|line| line.replace(&start, "")).collect()
    })
}

/// What is wrong with text.
fn problems(text: &str) -> Vec<String> {
    let mut problems = Problems::default();
    file::parse(text, Path::new("e.toml"), &mut problems);
    problems.lines()
}

/// A file that sets every key to its example.
fn every_key() -> String {
    let mut text = String::new();
    for section in SECTIONS {
        if !section.name.is_empty() {
            text.push_str(&format!("[{}]\n", section.name));
        }
        for key in section.keys {
            let example = key.example;
            text.push_str(&format!("{} = {example}\n", key.short_name()));
        }
    }
    text
}

#[test]
fn the_page_in_the_repository_is_the_one_that_is_printed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == reference::page(),
        "docs/configuration.md is out of date: edgebus config reference > docs/configuration.md"
    );
}

#[test]
fn no_two_keys_share_a_variable_and_none_takes_one_that_means_something_else() {
    let mut seen: BTreeSet<String> = OTHERS.iter().map(|(name, _)| (*name).to_owned()).collect();
    for key in keys::all() {
        assert!(seen.insert(key.variable()), "{}", key.variable());
    }
}

#[test]
fn every_key_can_be_set_in_a_file_and_is_in_its_section() {
    assert_eq!(problems(&every_key()), [""; 0]);
    for section in SECTIONS {
        for key in section.keys {
            let start = key.name.strip_suffix(key.short_name()).expect("a suffix");
            assert_eq!(start.trim_end_matches('.'), section.name, "{}", key.name);
        }
    }
}

#[test]
fn every_default_is_within_its_own_bounds() {
    let mut defaults = Settings::default();
    for key in keys::all() {
        if let Some(value) = key.get(&mut defaults) {
            assert_eq!(key.kind.check(value.clone()), Ok(value), "{}", key.name);
        }
    }
}

#[test]
fn an_option_wins_over_the_environment_and_that_over_the_file() {
    let text =
        "data = \"a\"\nhttp = \"127.0.0.1:1\"\n[limits]\nconnections = 5\nwrite_time = \"7s\"";
    let variables = [
        ("EDGEBUS_HTTP", "127.0.0.1:2"),
        ("EDGEBUS_LIMITS_CONNECTIONS", "6"),
        ("EDGEBUS_DATA", "b"),
        // Not set.
        ("EDGEBUS_LIMITS_WRITE_TIME", ""),
    ];
    let options = vec![("data", Value::Path(PathBuf::from("c")))];
    let config = load_with(text, &variables, options).expect("good");
    let Settings {
        server, http, data, ..
    } = &config.settings;
    assert_eq!(data, Path::new("c"));
    assert_eq!(http.map(|http| http.port()), Some(2));
    assert_eq!(server.limits.connections_max, 6);
    assert_eq!(server.limits.write_timeout, Duration::from_secs(7));
    assert_eq!(config.origins["data"], Place::Option("--data"));
    let variable = Place::Environment("EDGEBUS_HTTP".to_owned());
    assert_eq!(config.origins["http"], variable);
    assert!(matches!(
        config.origins["limits.write_time"],
        Place::File(_, 5)
    ));
}

#[test]
fn relative_paths_in_a_file_are_relative_to_its_folder_and_others_to_the_current_one() {
    let text = "data = \"d\"\n[tls]\nclient_crl = [\"a\", \"/b\"]";
    let variables = [("EDGEBUS_TLS_KEY", "k"), ("EDGEBUS_ACCESS_TOKENS", "/t")];
    let settings = load(text, &variables).expect("good").settings;
    assert!(settings.data.is_absolute() && settings.data.ends_with("d"));
    assert!(settings.tls.client_crl[0].is_absolute());
    assert_eq!(settings.tls.client_crl[1], Path::new("/b"));
    assert_eq!(settings.tls.key, Some(PathBuf::from("k")));
    assert_eq!(settings.server.tokens, Some(PathBuf::from("/t")));
}

#[test]
fn lists_may_be_one_text_and_in_the_environment_have_commas() {
    for (text, variables) in [
        ("listen = \"tcp://h:1\"", &[][..]),
        ("listen = [\"tcp://h:1\"]", &[]),
        ("", &[("EDGEBUS_LISTEN", "tcp://h:1")]),
    ] {
        let settings = load(text, variables).expect("good").settings;
        assert_eq!(settings.server.listen.len(), 1);
        assert_eq!(settings.server.listen[0].to_string(), "tcp://h:1");
    }
    let settings = load("", &[("EDGEBUS_LISTEN", "tcp://h:1, tcp://h:2,")]);
    assert_eq!(settings.expect("good").settings.server.listen.len(), 2);
}

#[test]
fn the_variable_for_insecure_is_read_as_ever() {
    for (text, yes) in [
        ("1", true),
        ("true", true),
        ("yes", true),
        ("0", false),
        ("no", false),
        ("off", false),
        ("", false),
    ] {
        let config = load("", &[("EDGEBUS_INSECURE", text)]).expect("good");
        assert_eq!(config.settings.server.insecure, yes, "{text}");
    }
}

#[test]
fn unknown_variable_is_warned_about_with_the_nearest() {
    let variables = [
        ("EDGEBUS_LIMITS_CONNECTION", "5"),
        ("EDGEBUS_PORT_7411_TCP_ADDR", "10.0.0.1"),
        ("EDGEBUS_SERVER", "tcp://h:1"),
        ("EDGEBUS_TOPIC", "t"),
        ("OTHER", "x"),
    ];
    let config = load("", &variables).expect("no reason to stop");
    assert_eq!(
        config.warnings,
        [
            "EDGEBUS_LIMITS_CONNECTION in the environment means nothing to this version: did you mean \
             EDGEBUS_LIMITS_CONNECTIONS?",
            "EDGEBUS_PORT_7411_TCP_ADDR in the environment means nothing to this version",
        ]
    );
}

#[test]
fn the_keys_of_tls_and_access_reach_the_library() {
    let text = "[tls]\ncertificate = \"/c\"\nkey = \"/k\"\nclient_ca = \"/ca\"\nclient_crl = \"/crl\"\n\
                client_auth = \"optional\"\nmin_version = \"1.2\"\n[access]\nrights = \"/r\"\n\
                reload_every = \"5s\"\n[unix]\nmode = \"0600\"\n";
    let config = load(text, &[]).expect("good").settings.server_config();
    let tls = config.tls.expect("a certificate");
    assert_eq!(
        (tls.certificate, tls.key),
        (PathBuf::from("/c"), PathBuf::from("/k"))
    );
    assert_eq!(tls.client_ca, Some(PathBuf::from("/ca")));
    assert_eq!(tls.client_crl, [PathBuf::from("/crl")]);
    assert_eq!(tls.client_auth, ClientAuth::Optional);
    assert_eq!(tls.min_version, TlsVersion::V1_2);
    assert_eq!(config.rights, Some(PathBuf::from("/r")));
    assert_eq!(config.reload_every, Duration::from_secs(5));
    assert_eq!(config.unix_mode, 0o600);
    let plain = load("", &[]).expect("good").settings.server_config();
    assert_eq!(plain.tls, None);
}

#[test]
fn what_a_restart_would_change_is_told_key_by_key() {
    let old = load("http = \"127.0.0.1:1\"\nlog = \"debug\"", &[]).expect("good");
    let new = load("log = \"debug\"\n[limits]\nconnections = 9", &[]).expect("good");
    let changes = old.changes(&new);
    assert_eq!(changes.len(), 2, "{changes:?}");
    assert!(
        changes[0].ends_with("edgebus.toml:1: http is not set any more"),
        "{changes:?}"
    );
    assert!(
        changes[1].ends_with("edgebus.toml:3: limits.connections is now 9"),
        "{changes:?}"
    );
    assert_eq!(new.changes(&new), [""; 0]);
}

#[test]
fn what_is_shown_has_the_same_effect() {
    for text in ["", &every_key()] {
        let first = load(text, &[]).expect("good");
        let second = load(&first.to_toml(), &[]).expect("what is shown can be read");
        let (mut first, mut second) = (first.settings, second.settings);
        for key in keys::all().filter(|key| !text.is_empty() || key.name != "data") {
            assert_eq!(key.get(&mut first), key.get(&mut second), "{}", key.name);
        }
    }
}

#[test]
fn what_is_shown_says_where_each_value_comes_from() {
    let text = "\n[limits]\nconnections = 5";
    let config = load(text, &[("EDGEBUS_LOG", "debug")]).expect("good");
    let shown = config.to_toml();
    let line = |start: &str| {
        let mut lines = shown.lines().filter(|line| line.starts_with(start));
        lines
            .next()
            .unwrap_or_else(|| panic!("no {start} in {shown}"))
    };
    assert!(line("connections = 5  # ").ends_with("edgebus.toml:3"));
    assert_eq!(
        line("log"),
        "log = \"debug\"  # EDGEBUS_LOG in the environment"
    );
    assert_eq!(line("insecure"), "insecure = false  # default");
    assert_eq!(line("# http"), "# http is not set: HTTP is off");
    assert_eq!(line("retention_age"), "retention_age = \"7d\"  # default");
    assert_eq!(line("mode"), "mode = \"0660\"  # default");
    let json = config.to_json();
    let of = |key: &str| json.iter().find(|row| row["key"] == key).expect("a row");
    assert_eq!(of("limits.connections")["value"], 5);
    assert_eq!(of("limits.connections")["from"], "file");
    assert_eq!(of("limits.frame_bytes")["value"], "1MiB");
    assert_eq!(of("http")["value"], serde_json::Value::Null);
    assert_eq!(of("log")["from"], "environment");
}
