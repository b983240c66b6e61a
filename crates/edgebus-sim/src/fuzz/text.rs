//! Targets `rights` and `config`: files that people write.
//!
//! Promises: no panic; what is wrong is told in lines of a bounded length, each with the file's
//! name; a configuration's text is not told whole, as there may be secrets in it.

use edgebus::access::RightsFile;
use edgebus_core::Code;
use edgebus_core::access::Verb;

/// Longest line that is told, in bytes, beside what it repeats.
const LINE_BYTES_MAX: usize = 2048;

/// Target `rights`.
pub(super) fn rights(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match RightsFile::parse(&text, "rights.toml") {
        Ok(rights) => {
            for identity in ["till-7", "anonymous", "unix:0", "*", ""] {
                let grants = rights.grants(identity);
                let _ = rights.scope(identity);
                for verb in Verb::ALL {
                    let on_any = ["orders.created", "a", "x.y.z"]
                        .iter()
                        .any(|topic| grants.allows(verb, topic));
                    assert!(grants.has(verb) || !on_any, "allowed and not had");
                }
            }
        }
        Err(refusal) => {
            assert_eq!(refusal.code, Code::BadConfig);
            assert!(
                refusal.message.starts_with("rights.toml"),
                "{}",
                refusal.message
            );
            assert!(!refusal.message.contains('\n'), "{}", refusal.message);
            assert!(
                refusal.message.len() <= LINE_BYTES_MAX + 4 * text.len(),
                "{} bytes",
                refusal.message.len()
            );
        }
    }
}

/// Target `config`.
pub(super) fn config(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (_, problems) = edgebus_cli::fuzzing::config(&text);
    for problem in problems {
        assert!(problem.len() <= LINE_BYTES_MAX, "{} bytes", problem.len());
        assert!(!problem.contains(['\n', '\x1b']), "{problem:?}");
    }
}
