//! The table of keys: for each its name, what can be written, what it is for, and where it goes.
//! The reference, the reading of files and of the environment, and `config show` all follow it.
//!
//! Invariant: a key is here or it does not exist; a test finds a field that does not fit its kind.

use std::time::Duration;

use edgebus::ServerConfig;

use super::key::{Key, Section};
use super::kind::{Kind, NUMBER_MAX};

/// All keys, in the order of the reference.
pub(super) fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

/// The key with that full name.
pub(super) fn named(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const HOUR: Duration = ms(3_600_000);
const DAY: Duration = ms(24 * 3_600_000);
/// More than anybody means, and little enough to count in milliseconds.
const CENTURIES: Duration = ms(1000 * 365 * 24 * 3_600_000);
const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const TIB: u64 = 1024 * GIB;

/// One row of the table.
macro_rules! key {
    ($name:literal, $kind:expr, $example:literal, |$settings:ident| $field:expr, $about:literal) => {
        key!(
            $name,
            $kind,
            $example,
            |$settings| $field,
            $about,
            "nothing"
        )
    };
    ($name:literal, $kind:expr, $example:literal, |$settings:ident| $field:expr, $about:literal, $unset:literal) => {
        Key {
            name: $name,
            kind: $kind,
            example: $example,
            about: $about,
            unset: $unset,
            field: |$settings| &mut $field,
        }
    };
}

/// The sections.
pub(super) const SECTIONS: &[Section] = &[
    Section {
        name: "",
        about: "These stand at the top of the file, before the first section.",
        keys: &[
            key!(
                "data",
                Kind::Path,
                "\"/var/lib/edgebus\"",
                |s| s.data,
                "The data folder; made if it is missing. One server at a time uses it."
            ),
            key!(
                "listen",
                Kind::Urls,
                "[\"tcp://127.0.0.1:7411\", \"unix:///run/edgebus.sock\"]",
                |s| s.server.listen,
                "Where clients connect: `tcp://HOST:PORT`, `tls://HOST:PORT` (needs `tls.certificate` and `tls.key`), \
                 `unix:///PATH`. Port 0 takes a free one. If one of them cannot be had, the server does not start."
            ),
            key!(
                "http",
                Kind::Address,
                "\"127.0.0.1:7480\"",
                |s| s.http,
                "Where HTTP is answered: `/healthz`, `/readyz`, and `/metrics` for Prometheus.",
                "HTTP is off"
            ),
            key!(
                "insecure",
                Kind::Flag,
                "true",
                |s| s.server.insecure,
                "Whether other machines may connect without encryption, over `tcp://` or HTTP. Without it the server \
                 does not start when they could."
            ),
            key!(
                "log",
                Kind::Filter,
                "\"info,edgebus=debug\"",
                |s| s.log,
                "What is logged, to standard error: `error`, `warn`, `info`, `debug`, `trace`, `off`, or a filter by \
                 part of the program. Neither payloads nor tokens nor keys are ever logged."
            ),
        ],
    },
    Section {
        name: "store",
        about: "What is kept, and how much of the machine that takes. A limit for what is kept removes the oldest \
                messages; a consumer that has not passed a message holds it for a while (its `hold`).",
        keys: &[
            key!(
                "store.retention_age",
                Kind::Duration(ms(1), CENTURIES),
                "\"7d\"",
                |s| s.store.retention_age,
                "Messages that are older are removed."
            ),
            key!(
                "store.retention_bytes",
                Kind::Bytes(64 * KIB, NUMBER_MAX),
                "\"10GiB\"",
                |s| s.store.retention_bytes,
                "The oldest messages are removed when the log and its replies take more than this."
            ),
            key!(
                "store.retention_count",
                Kind::Count(1, NUMBER_MAX),
                "1000000",
                |s| s.store.retention_count,
                "The oldest messages are removed when there are more than this.",
                "any number is kept"
            ),
            key!(
                "store.dedupe_horizon",
                Kind::Duration(ms(1), CENTURIES),
                "\"30d\"",
                |s| s.store.dedupe_horizon,
                "How long the id of a request is known at least, so that it is not stored twice; longer while the \
                 request is kept."
            ),
            key!(
                "store.payload_bytes",
                Kind::Bytes(1, 256 * MIB),
                "\"256KiB\"",
                |s| s.store.record.payload_bytes_max,
                "The largest payload; larger ones are refused (`payload_too_large`). Over the network, \
                 `limits.frame_bytes` bounds it as well, which must be 32 KiB larger."
            ),
            key!(
                "store.dead_letters",
                Kind::Count(1, NUMBER_MAX),
                "100000",
                |s| s.store.dead_letters_max,
                "Most dead letters. At the limit consumers pause; before it there is an alarm in the log and in `stats`."
            ),
            key!(
                "store.dead_letter_bytes",
                Kind::Bytes(64 * KIB, NUMBER_MAX),
                "\"1GiB\"",
                |s| s.store.dead_letter_bytes_max,
                "Most bytes of dead letters, with the same effect. One letter of the largest payload must fit."
            ),
            key!(
                "store.disk_free_bytes",
                Kind::Bytes(0, TIB),
                "\"64MiB\"",
                |s| s.store.disk_free_bytes_min,
                "Free space on the disk below which requests are refused (`storage_full`, to be sent again later); \
                 what frees space still works."
            ),
            key!(
                "store.cache_bytes",
                Kind::Bytes(MIB, TIB),
                "\"32MiB\"",
                |s| s.store.cache_bytes,
                "Memory for pages of the tables."
            ),
            key!(
                "store.tail_bytes",
                Kind::Bytes(MIB, TIB),
                "\"64MiB\"",
                |s| s.store.tail_bytes_max,
                "Memory for what is in the journal and not yet in the tables. Senders are slowed from half of it on, \
                 and wait at the limit."
            ),
            key!(
                "store.seal_bytes",
                Kind::Bytes(64 * KIB, TIB),
                "\"8MiB\"",
                |s| s.store.seal_bytes,
                "Memory after which the journal is brought into the tables."
            ),
            key!(
                "store.seal_journal_bytes",
                Kind::Bytes(64 * KIB, TIB),
                "\"16MiB\"",
                |s| s.store.seal_journal_bytes,
                "Room in the journal after which it is brought into the tables."
            ),
            key!(
                "store.seal_after",
                Kind::Duration(ms(10), DAY),
                "\"30s\"",
                |s| s.store.seal_after,
                "Age after which the journal is brought into the tables."
            ),
            key!(
                "store.segment_bytes",
                Kind::Bytes(128 * KIB, 4 * GIB),
                "\"16MiB\"",
                |s| s.store.segment_bytes,
                "Size of a file of the journal: a multiple of 16 KiB, and at least four times the largest payload and \
                 32 KiB."
            ),
            key!(
                "store.segments",
                Kind::Count(3, 65_536),
                "16",
                |s| s.store.segments_max,
                "Most files of the journal in use; senders wait at the limit."
            ),
            key!(
                "store.ids_per_generation",
                Kind::Count(1, 100_000_000),
                "131072",
                |s| s.store.ids_per_generation,
                "Request ids in one table, after which the next is begun."
            ),
        ],
    },
    Section {
        name: "tls",
        about: "Encryption for `tls://` in `listen`. The files are in PEM form and are read again when they change, \
                and on SIGHUP; one that cannot be used is named in the log, and the old one stays.",
        keys: &[
            key!(
                "tls.certificate",
                Kind::Path,
                "\"tls/server.pem\"",
                |s| s.tls.certificate,
                "The server's certificate, followed by those between it and the CA.",
                "no TLS"
            ),
            key!(
                "tls.key",
                Kind::Path,
                "\"tls/server.key\"",
                |s| s.tls.key,
                "Its private key. Nobody but its owner may read the file (`chmod 600`).",
                "no TLS"
            ),
            key!(
                "tls.client_ca",
                Kind::Path,
                "\"tls/ca.pem\"",
                |s| s.tls.client_ca,
                "The CA, or several in one file, whose certificates clients show. A client is then known by the only \
                 URI in its certificate, else by the first DNS name.",
                "clients show no certificates"
            ),
            key!(
                "tls.client_crl",
                Kind::Paths,
                "[\"tls/crl.pem\"]",
                |s| s.tls.client_crl,
                "Lists of revoked certificates. Once there is one, each CA that issued a client's certificate needs \
                 one. Whoever is revoked is cut at once.",
                "no certificate is taken for revoked"
            ),
            key!(
                "tls.client_auth",
                Kind::Choice(&["required", "optional"]),
                "\"optional\"",
                |s| s.tls.client_auth,
                "Whether a client must show a certificate, once there is `tls.client_ca`. With `optional` those who \
                 show none are known by their token, or are `anonymous`.",
                "each must, once there is `tls.client_ca`"
            ),
            key!(
                "tls.min_version",
                Kind::Choice(&["1.3", "1.2"]),
                "\"1.2\"",
                |s| s.tls.min_version,
                "The oldest TLS that is spoken."
            ),
        ],
    },
    Section {
        name: "unix",
        about: "Unix sockets: `unix:///PATH` in `listen`. A client is known by its user, as `unix:UID`.",
        keys: &[key!(
            "unix.mode",
            Kind::Mode,
            "\"0660\"",
            |s| s.server.unix_mode,
            "Who may connect, as chmod writes it: those who may write."
        )],
    },
    Section {
        name: "access",
        about: "Who somebody is, and what they may do. The files are read again when they change, and on SIGHUP; one \
                that cannot be used is named in the log, and the old one stays.",
        keys: &[
            key!(
                "access.tokens",
                Kind::Path,
                "\"tokens\"",
                |s| s.server.tokens,
                "Names and their tokens, for those who have no certificate: lines of `NAME TOKEN`. Nobody but its \
                 owner may read the file (`chmod 600`).",
                "no token is known"
            ),
            key!(
                "access.rights",
                Kind::Path,
                "\"rights.toml\"",
                |s| s.server.rights,
                "Who may do what on which topics, and who shares request ids with whom. Once it is set, what it does \
                 not allow is refused (`forbidden`).",
                "everybody may do everything"
            ),
            key!(
                "access.reload_every",
                Kind::Duration(ms(100), HOUR),
                "\"2s\"",
                |s| s.server.reload_every,
                "How often the files of `tls` and `access` are looked at for changes."
            ),
        ],
    },
    Section {
        name: "limits",
        about: "What one client may take, so that it harms no other. At a limit a client is slowed, or told to come \
                back later (`retry_after_ms`); nothing that was acknowledged is lost.",
        keys: &[
            key!(
                "limits.connections",
                Kind::Count(1, 1_000_000),
                "1000",
                |s| s.server.limits.connections_max,
                "Most connections. More are told `too_many_connections`. The limit for open files of the process \
                 (`ulimit -n`) may lower it, which is logged."
            ),
            key!(
                "limits.connections_per_address",
                Kind::Count(1, 1_000_000),
                "100",
                |s| s.server.limits.connections_per_address_max,
                "Most connections from one address, or of one user over Unix sockets. More are told `too_many_connections`."
            ),
            key!(
                "limits.connections_per_identity",
                Kind::Count(1, 1_000_000),
                "10",
                |s| s.server.limits.connections_per_identity_max,
                "Most connections of one name that was proven. More are told `too_many_connections`."
            ),
            key!(
                "limits.handshake_time",
                Kind::Duration(ms(10), HOUR),
                "\"5s\"",
                |s| s.server.limits.handshake_timeout,
                "How long a client may take until it is known who it is and its first frame has come. Then it is cut."
            ),
            key!(
                "limits.write_time",
                Kind::Duration(ms(10), DAY),
                "\"30s\"",
                |s| s.server.limits.write_timeout,
                "How long a client may take nothing of what is sent to it. Then it is cut; its receipts are there when \
                 it asks again."
            ),
            key!(
                "limits.frame_bytes",
                Kind::Bytes(ServerConfig::FRAME_BYTES_MIN as u64, GIB),
                "\"1MiB\"",
                |s| s.server.limits.frame_bytes_max,
                "The largest frame. A client that announces more is told `frame_too_large` and cut."
            ),
            key!(
                "limits.frame_bytes_per_second",
                Kind::Bytes(0, GIB),
                "\"1KiB\"",
                |s| s.server.limits.frame_bytes_per_second_min,
                "How much of a frame that has begun must come in a second, looked at every five. A slower client is \
                 told `too_slow` and cut; 0 lets all be as slow as they like."
            ),
            key!(
                "limits.in_flight_messages",
                Kind::Count(1, 1_000_000),
                "16384",
                |s| s.server.limits.lane.messages_max,
                "Most messages of one connection on their way to the disk; it is not read meanwhile."
            ),
            key!(
                "limits.in_flight_bytes",
                Kind::Bytes(KIB, GIB),
                "\"8MiB\"",
                |s| s.server.limits.lane.bytes_max,
                "Most bytes of messages of one connection on their way to the disk; it is not read meanwhile. One \
                 message always may."
            ),
            key!(
                "limits.in_flight_bytes_total",
                Kind::Bytes(MIB, TIB),
                "\"256MiB\"",
                |s| s.server.limits.in_flight_bytes_max,
                "Most bytes of messages of all connections on their way to the disk. Beyond that each has a little of \
                 its own, and is slowed to that."
            ),
            key!(
                "limits.outgoing_bytes_total",
                Kind::Bytes(MIB, TIB),
                "\"128MiB\"",
                |s| s.server.limits.outgoing_bytes_max,
                "Most bytes of messages, notifications and answers that wait until clients take them, of all \
                 connections together. Beyond that what is large waits, and those who take nothing are cut sooner."
            ),
            key!(
                "limits.consumers_per_client",
                Kind::Count(1, 1_000_000),
                "512",
                |s| s.server.limits.consumers_max,
                "Most consumers that one connection works for at a time. More are told `busy`."
            ),
            key!(
                "limits.subscriptions_per_client",
                Kind::Count(1, 1_000_000),
                "512",
                |s| s.server.limits.subscriptions_max,
                "Most live subscriptions of one connection. More are told `busy`."
            ),
            key!(
                "limits.replies_waiting",
                Kind::Count(1, 1_000_000),
                "65536",
                |s| s.server.limits.replies_waiting_max,
                "Most requests of one connection whose replies are waited for. More are told `busy`."
            ),
        ],
    },
];
