//! The page that describes every key: `docs/configuration.md`, and `edgebus config reference`.

use std::fmt::Write;

use super::environment::OTHERS;
use super::key::Key;
use super::keys::SECTIONS;
use super::kind::Kind;
use super::settings::Settings;

const INTRODUCTION: &str = "\
# Configuration

This page is printed by `edgebus config reference`.

A server needs no configuration. To have one, write a TOML file and name it: `edgebus serve --config FILE`, or
`EDGEBUS_CONFIG=FILE`.

    data = \"/var/lib/edgebus\"
    listen = [\"tcp://127.0.0.1:7411\"]

    [store]
    retention_age = \"14d\"

    [limits]
    connections_per_address = 100

- `edgebus serve --config FILE --check-config` says what is wrong with it, with file and line (of the TLS files one thing at a time), and exits
  with 2; or says `ok` and exits with 0. It reads the files that the configuration names, touches no data and listens
  nowhere.
- `edgebus config show --config FILE` prints what is in effect, as TOML, and where each value comes from.
- An option of `serve` wins over the environment, the environment over the file, the file over the default.
- The variable for a key is `EDGEBUS_` and its name in capitals, with `_` for the point: `EDGEBUS_LIMITS_CONNECTIONS`.
  Several values are separated by commas. An empty variable counts as not set. One that is not known is warned about.
- A key that is not known is an error, and so is a value of another kind or out of bounds: nothing is ignored.
- A relative path in the file is relative to the file's folder; in an option or a variable, to the current one.
- Durations are written as `\"5s\"`, `\"1h 30m\"`, `\"7d\"`, sizes as `\"64MiB\"` (1024) or `\"10GB\"` (1000), counts as plain
  integers.
- The file is read when the server starts. Certificates, tokens and rights are read again while it runs: when they
  change, and on SIGHUP, upon which the log also says what in the configuration a restart would change.
- No secret stands in a configuration: keys and tokens are in files of their own, which are named here.
";

/// The page.
pub(crate) fn page() -> String {
    let mut page = String::from(INTRODUCTION);
    let mut defaults = Settings::default();
    for section in SECTIONS {
        let heading = match section.name {
            "" => "At the top".to_owned(),
            name => format!("[{name}]"),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(page, "\n## {heading}\n\n{}", section.about);
        for key in section.keys {
            write_key(&mut page, key, &mut defaults);
        }
    }
    let _ = writeln!(page, "\n## Variables that are no keys\n");
    for (name, about) in OTHERS.iter().filter(|(_, about)| !about.is_empty()) {
        let _ = writeln!(page, "- `{name}`: {about}");
    }
    page
}

fn write_key(page: &mut String, key: &Key, defaults: &mut Settings) {
    let default = match key.get(defaults) {
        Some(value) => format!("`{}`", key.kind.written(&value)),
        None => format!("not set: {}", key.unset),
    };
    let expected = match key.kind {
        Kind::Choice(_) => format!("`{}`", key.kind.expected().replace(" or ", "` or `")),
        _ => key.kind.expected(),
    };
    let mut also = format!("`{}`", key.variable());
    if let Some(option) = key.option() {
        let _ = write!(also, ", `{option}`");
    }
    let (name, short, example) = (key.name, key.short_name(), key.example);
    let _ = writeln!(page, "\n### `{name}`\n\n{}\n", key.about);
    let _ = writeln!(page, "- {expected}, for example `{short} = {example}`");
    let _ = writeln!(page, "- default: {default}");
    let _ = writeln!(page, "- also: {also}");
}
