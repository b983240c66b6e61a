//! Who may know whom: the layers of edgebus as one table.
//!
//! The crates and modules form a ladder (core, then store and transport side by side, then the
//! engine and the client, then server and command). Each rule names an area of the tree, what its
//! product code must not name, and why. Test code is left out: a test may set up what it likes.
//! Re-exports in `lib.rs` are followed, so that `crate::MessageBus` is known to be `crate::bus`.

use std::collections::BTreeMap;

use super::Violation;
use super::source_file::SourceFile;

/// One direction that imports must not take.
struct Rule {
    /// A file, or a folder with everything below, without the ending `.rs`.
    area: &'static str,
    /// Parts of the area that the rule leaves out, written the same way.
    except: &'static [&'static str],
    /// Paths the area must not name.
    forbidden: &'static [&'static str],
    /// What breaks otherwise.
    reason: &'static str,
    remedy: &'static str,
}

const RULES: &[Rule] = &[
    Rule {
        area: "crates/edgebus-core/src",
        except: &[],
        forbidden: &[
            "std::fs",
            "std::net",
            "std::thread",
            "std::time::Instant",
            "std::time::SystemTime",
            "tokio",
            "redb",
            "rustix",
        ],
        reason: "the core does no I/O and reads no clock, so that tests and the simulator drive it",
        remedy: "pass the value in (`now`, bytes, a seed), or move the code to crates/edgebus",
    },
    Rule {
        area: "crates/edgebus/src/store",
        except: &[],
        forbidden: &[
            "crate::transport",
            "crate::client",
            "crate::server",
            "crate::bus",
            "crate::delivery",
            "crate::spool",
        ],
        reason: "the store is opened without a network and by tools that run no engine",
        remedy: "let the engine in bus/ translate, or move the shared type to edgebus-core",
    },
    Rule {
        area: "crates/edgebus/src/spool",
        except: &[],
        forbidden: &[
            "crate::transport",
            "crate::client",
            "crate::server",
            "crate::bus",
            "crate::delivery",
            "tokio",
        ],
        reason: "the spool is opened without a network, a runtime or an engine: by tools too",
        remedy: "let client/ drive the spool, or move the shared type to edgebus-core",
    },
    Rule {
        area: "crates/edgebus/src/transport",
        except: &[],
        forbidden: &[
            "crate::tls",
            "crate::access",
            "crate::store",
            "crate::spool",
            "crate::bus",
            "crate::client",
            "crate::server",
            "crate::delivery",
        ],
        reason: "a transport moves bytes and must be replaceable without touching what they mean",
        remedy: "hand the bytes up to server/ or client/, or move the shared type to edgebus-core",
    },
    Rule {
        area: "crates/edgebus/src/tls",
        except: &[],
        forbidden: &[
            "crate::transport",
            "crate::store",
            "crate::spool",
            "crate::bus",
            "crate::client",
            "crate::server",
            "crate::delivery",
        ],
        reason: "who is trusted is decided in one place, for both ends and for tools without either",
        remedy: "let server/ or client/ call it, or move what it needs to access/ or files/",
    },
    Rule {
        area: "crates/edgebus/src/access",
        except: &[],
        forbidden: &[
            "crate::tls",
            "crate::transport",
            "crate::store",
            "crate::spool",
            "crate::bus",
            "crate::client",
            "crate::server",
            "crate::delivery",
        ],
        reason: "who somebody is and what he may do does not depend on how he came",
        remedy: "pass the name in, or let server/ ask",
    },
    Rule {
        area: "crates/edgebus/src/delivery",
        except: &[],
        forbidden: &[
            "crate::store",
            "crate::spool",
            "crate::bus",
            "crate::transport",
            "crate::client",
            "crate::server",
        ],
        reason: "what an application holds is the same over the bus and over a connection",
        remedy: "let bus/ or client/ implement `Settle`, or move the shared type to edgebus-core",
    },
    Rule {
        area: "crates/edgebus/src/client",
        except: &[],
        forbidden: &["crate::bus", "crate::store", "crate::server"],
        reason: "a client may be in another process, so all it knows of a server is the wire",
        remedy: "ask over the session, or move the shared type to edgebus-core",
    },
    Rule {
        area: "crates/edgebus/src/bus",
        except: &[],
        forbidden: &[
            "crate::transport",
            "crate::client",
            "crate::server",
            "crate::spool",
        ],
        reason: "the engine serves embedded users and the simulator, where there is no connection",
        remedy: "let server/ call the engine, or move the shared type to edgebus-core",
    },
    Rule {
        area: "crates/edgebus/src/blocking",
        except: &[],
        forbidden: &["crate::bus", "crate::store", "crate::server"],
        reason: "it says without async what a client says, and a client knows no more than the wire",
        remedy: "put it into client/ or delivery/ and call it from blocking/",
    },
    Rule {
        area: "crates/edgebus/src",
        except: &["crates/edgebus/src/blocking"],
        forbidden: &["crate::blocking"],
        reason: "inside a runtime a blocking call holds up all the tasks of its thread",
        remedy: "use the async type that the one in blocking/ wraps",
    },
    Rule {
        area: "crates/edgebus/src",
        except: &[],
        forbidden: &["edgebus_cli", "edgebus_sim"],
        reason: "the library is published and embedded without the command and the simulator",
        remedy: "move the shared code down into crates/edgebus, or use it in tests only",
    },
    Rule {
        area: "crates/edgebus/src",
        except: &["crates/edgebus/src/files"],
        forbidden: &["std::fs", "tokio::fs", "rustix::fs"],
        reason: "only what goes through the file trait is seen by crash and fault simulation",
        remedy: "use the trait in files/, and add the operation there when it lacks one",
    },
    Rule {
        area: "crates/edgebus/src",
        except: &[
            "crates/edgebus/src/host",
            "crates/edgebus/src/blocking",
            // Waits for threads that no simulation has.
            "crates/edgebus/src/bus/message_bus",
        ],
        forbidden: &[
            "tokio::task::spawn_blocking",
            "uuid::Uuid::new_v4",
            "std::hash::RandomState",
        ],
        reason: "a simulated run is repeated from its seed only when chance and threads are in its hands",
        remedy: "use `host::blocking`, `host::random_uuid` or `host::random_bits`",
    },
];

/// Names that `lib.rs` of a crate offers at its root, with where they come from.
#[derive(Debug, Default)]
pub(super) struct Reexports {
    /// By crate folder (`crates/edgebus`) and name.
    origins: BTreeMap<(String, String), Vec<String>>,
}

impl Reexports {
    /// Reads them from every `src/lib.rs` among `files`.
    pub(super) fn collect(files: &[SourceFile]) -> Self {
        let mut origins = BTreeMap::new();
        for file in files {
            let Some(folder) = file.path.strip_suffix("/src/lib.rs") else {
                continue;
            };
            for path in file.paths.iter().filter(|path| !path.in_test) {
                if let Some(name) = &path.imported_as
                    && path.segments[0] == "crate"
                {
                    origins.insert((folder.to_owned(), name.clone()), path.segments.clone());
                }
            }
        }
        Self { origins }
    }

    /// `crate::Name…` of the file at `path` as it is known inside the crate.
    fn origin(&self, path: &str, segments: &[String]) -> Option<Vec<String>> {
        let (folder, _) = path.split_once("/src/")?;
        let [root, name, rest @ ..] = segments else {
            return None;
        };
        if root != "crate" {
            return None;
        }
        let mut origin = self
            .origins
            .get(&(folder.to_owned(), name.clone()))?
            .clone();
        origin.extend_from_slice(rest);
        Some(origin)
    }
}

/// Reports every path in the product code of `file` that its layer must not name.
pub(super) fn check(file: &SourceFile, reexports: &Reexports, violations: &mut Vec<Violation>) {
    if file.is_test {
        return;
    }
    for rule in RULES.iter().filter(|rule| rule.covers(&file.path)) {
        for path in file.paths.iter().filter(|path| !path.in_test) {
            let mut real = path.clone();
            if let Some(origin) = reexports.origin(&file.path, &path.segments) {
                real.segments = origin;
            }
            if rule.forbidden.iter().any(|forbidden| real.names(forbidden)) {
                violations.push(Violation::new(
                    &file.path,
                    path.line,
                    format!("{} names `{}`, but {}", rule.area, real.text(), rule.reason),
                    rule.remedy,
                ));
            }
        }
    }
}

impl Rule {
    fn covers(&self, path: &str) -> bool {
        is_inside(path, self.area) && !self.except.iter().any(|except| is_inside(path, except))
    }
}

/// Whether `path` is the file `area` + `.rs` or lies below the folder `area`.
fn is_inside(path: &str, area: &str) -> bool {
    path.strip_prefix(area)
        .is_some_and(|rest| rest == ".rs" || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
