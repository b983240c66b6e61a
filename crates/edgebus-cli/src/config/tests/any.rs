//! Any text, any bytes, any values: no panic, and nothing is lost between reading and showing.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::{Strategy, any, prop, prop_oneof};

use super::{Config, Problems, file, keys, load};
use crate::config::Sources;
use crate::config::kind::{Kind, duration_text, size_text};
use crate::values;

/// Text of the parts that files are made of, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let names: Vec<String> = keys::all()
        .flat_map(|key| [key.name.to_owned(), key.short_name().to_owned()])
        .collect();
    let values: Vec<String> = keys::all().map(|key| key.example.to_owned()).collect();
    let piece = prop_oneof![
        4 => prop::sample::select(names),
        4 => prop::sample::select(values),
        4 => prop::sample::select(vec!["=", "\n", "[", "]", "[[", "]]", "{", "}", ",", ".", "\"", "'", "#", "\"\"\""])
            .prop_map(ToOwned::to_owned),
        2 => prop::sample::select(vec!["limits", "tls", "store", "0x", "-1", "1e9", "inf", "1979-05-27", "\\u0000"])
            .prop_map(ToOwned::to_owned),
        1 => "\\PC{0,8}",
        1 => any::<String>(),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.join(" "))
}

fn read_any(text: &str) {
    let mut problems = Problems::default();
    let set = file::parse(text, Path::new("e.toml"), &mut problems);
    for set in set {
        // What was taken is within its bounds, and is written so that it is taken again.
        assert_eq!(set.key.kind.check(set.value.clone()), Ok(set.value));
    }
    for line in problems.lines() {
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(text in any::<String>()) {
        read_any(&text);
    }

    #[test]
    fn any_order_of_the_parts_of_a_file_is_read_without_a_panic(text in pieces()) {
        read_any(&text);
    }

    #[test]
    fn any_bytes_in_a_file_and_in_variables_are_read_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        which in any::<prop::sample::Index>(),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("e.toml");
        std::fs::write(&path, &bytes).expect("written");
        let keys: Vec<_> = keys::all().collect();
        let name = OsString::from(which.get(&keys).variable());
        let variables = [(name, OsString::from_vec(bytes))];
        let sources = Sources { variables, options: Vec::new() };
        let _ = Config::load(Some(&path), sources);
    }

    #[test]
    fn any_size_and_duration_is_read_as_it_is_written(bytes in any::<u64>(), ms in any::<u32>(), unit in 0..6_u32) {
        assert_eq!(values::bytes(&size_text(bytes)), Ok(bytes));
        let bytes = bytes >> 40 << (10 * (unit % 5));
        assert_eq!(values::bytes(&size_text(bytes)), Ok(bytes));
        let factor = [1, 1000, 60_000, 3_600_000, 86_400_000, 7][unit as usize];
        let duration = Duration::from_millis(u64::from(ms) * factor);
        assert_eq!(values::duration(&duration_text(duration)), Ok(duration));
    }

    #[test]
    fn any_values_survive_being_shown(
        seeds in prop::collection::vec(prop::option::of(any::<u64>()), keys::all().count()),
        name in "[^\u{0}\n]{1,20}",
    ) {
        // A path with such a start would be taken for what is in a file.
        proptest::prop_assume!(!name.starts_with("-----") && !name.is_empty());
        let quoted = toml::Value::String(name).to_string();
        let mut text = String::new();
        for (key, seed) in keys::all().zip(seeds) {
            let Some(seed) = seed else { continue };
            let within = |from: u64, to: u64| from + seed % (to - from).max(1);
            let value = match key.kind {
                Kind::Flag => (seed % 2 == 0).to_string(),
                Kind::Count(from, to) | Kind::Bytes(from, to) => within(from, to).to_string(),
                Kind::Duration(from, to) => {
                    let ms = within(from.as_millis() as u64, to.as_millis() as u64);
                    format!("\"{}s {}ms\"", ms / 1000, ms % 1000)
                }
                Kind::Mode => format!("\"{:o}\"", seed % 0o1000),
                Kind::Address => format!("\"127.0.0.1:{}\"", seed as u16),
                Kind::Filter => "\"debug\"".to_owned(),
                Kind::Choice(words) => format!("{:?}", words[seed as usize % words.len()]),
                Kind::Urls => format!("\"tcp://h:{}\"", seed as u16),
                Kind::Path => quoted.clone(),
                Kind::Paths => format!("[{quoted}, \"a\"]"),
            };
            text.push_str(&format!("{} = {value}\n", key.name));
        }
        let first = load(&text, &[]).expect("all are good");
        let second = load(&first.to_toml(), &[]).expect("what is shown can be read");
        let (mut first, mut second) = (first, second);
        for (name, _) in std::mem::take(&mut first.origins) {
            let key = keys::named(name).expect("a key");
            assert_eq!(key.get(&mut first.settings), key.get(&mut second.settings), "{name}");
        }
    }
}
