//! `/metrics`: a server's figures as Prometheus reads them (text format 0.0.4).
//!
//! Invariant: every figure of [`Stats`] is here; a test finds one that is forgotten. Names and units
//! are stable: `edgebus_`, the figure's name, and `_total` for what only grows.

use std::fmt::Write;

use edgebus::Stats;

/// What this text is, for the header.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows, from 0 at the server's start.
    Counter,
}

struct Metric {
    /// The figure it is.
    #[cfg(test)]
    field: &'static str,
    name: &'static str,
    /// `{name="value"}`, for those that share a name.
    label: &'static str,
    kind: Kind,
    help: &'static str,
    value: fn(&Stats) -> u64,
}

macro_rules! metrics {
    ($($kind:ident $name:literal $label:literal $field:ident $help:literal)*) => {
        &[$(Metric {
            #[cfg(test)]
            field: stringify!($field),
            name: $name,
            label: $label,
            kind: Kind::$kind,
            help: $help,
            value: |stats| u64::from(stats.$field),
        }),*]
    };
}

/// Those that share a name stand together.
const METRICS: &[Metric] = metrics! {
    Gauge "edgebus_first_seq" "" first_seq "Sequence number of the oldest message that is kept."
    Gauge "edgebus_last_seq" "" last_seq "Sequence number of the last stored message."
    Gauge "edgebus_stored" "" stored "Messages in the log."
    Gauge "edgebus_log_bytes" "" log_bytes "Bytes of the log."
    Gauge "edgebus_consumers" "" consumers "Durable consumers."
    Gauge "edgebus_dead_letters" "" dead_letters "Dead letters."
    Gauge "edgebus_dead_letters_alarm" "" dead_letters_alarm
        "1 when there are nearly as many dead letters as there may be."
    Gauge "edgebus_synced_lsn" "" synced_lsn "Last change that is on disk."
    Gauge "edgebus_sealed_lsn" "" sealed_lsn "Last change that is in the tables."
    Gauge "edgebus_tail_bytes" "" tail_bytes "Bytes held in memory above the tables."
    Gauge "edgebus_journal_segments" "" journal_segments "Journal segments in use."
    Gauge "edgebus_store_file_bytes" "" store_file_bytes "Size of the file with the tables."
    Gauge "edgebus_disk_free_bytes" "" disk_free_bytes "Free bytes on the disk of the data folder."
    Gauge "edgebus_storage_full" "" storage_full "1 while requests are refused for want of space."
    Gauge "edgebus_poisoned" "" poisoned "1 when an I/O error has stopped the store."
    Counter "edgebus_appended_total" "" appended "Messages stored."
    Counter "edgebus_appended_bytes_total" "" appended_bytes "Bytes of messages stored."
    Counter "edgebus_duplicates_total" "" duplicates "Requests answered as duplicates."
    Counter "edgebus_refused_total" "" refused "Messages refused."
    Gauge "edgebus_queued" "" queued "Messages on their way to the disk."
    Gauge "edgebus_undecided_bytes" "" undecided_bytes "Bytes of messages on their way to the disk."
    Gauge "edgebus_receiving_bytes" "" receiving_bytes "Bytes held for frames that have begun to come."
    Gauge "edgebus_outgoing_bytes" "" outgoing_bytes "Bytes held for clients that have not taken them yet."
    Gauge "edgebus_requests_waiting" "" requests_waiting "Requests whose sender waits for a reply."
    Gauge "edgebus_in_flight" "" in_flight "Messages that workers hold."
    Gauge "edgebus_retrying" "" retrying "Messages that wait to be tried again."
    Counter "edgebus_completed_total" "" completed "Messages that consumers were done with."
    Counter "edgebus_failed_total" "" failed "Attempts that failed."
    Counter "edgebus_replies_total" "" replies "Replies stored."
    Counter "edgebus_expired_total" "" expired "Requests that had expired before they were run."
    Counter "edgebus_trimmed_total" "" trimmed "Messages removed from the log, by retention or by hand."
    Counter "edgebus_gaps_total" "" gaps "Times that retention overtook a consumer."
    Counter "edgebus_notifications_total" "" notifications "Notifications published."
    Gauge "edgebus_subscribers" "" subscribers "Live subscribers."
    Counter "edgebus_lagged_total" "" lagged "Notifications dropped for slow live subscribers."
    Counter "edgebus_groups_total" "" groups "Groups written to the journal, one write and one sync each."
    Counter "edgebus_journal_bytes_total" "" journal_bytes "Bytes written to the journal."
    Counter "edgebus_seals_total" "" seals "Times that the journal was brought into the tables."
    Gauge "edgebus_connections" "" connections "Open connections."
    Gauge "edgebus_connections_new" "" connections_new
        "Open connections of which it is not known yet who they are."
    Counter "edgebus_connections_accepted_total" "" connections_accepted "Connections accepted."
    Counter "edgebus_connections_cut_total" "" connections_cut
        "Connections refused or cut for breaking a rule or a limit."
    Counter "edgebus_connections_refused_total" "{limit=\"server\"}" connections_refused_total
        "Connections refused as there were as many as there may be: in all, of the address, of the identity."
    Counter "edgebus_connections_refused_total" "{limit=\"address\"}" connections_refused_address ""
    Counter "edgebus_connections_refused_total" "{limit=\"identity\"}" connections_refused_identity ""
    Counter "edgebus_handshakes_failed_total" "" handshakes_failed
        "Connections cut before their client had introduced itself."
    Counter "edgebus_unauthenticated_total" "" unauthenticated
        "Connections refused or cut as it was not known who they are."
    Counter "edgebus_forbidden_total" "" forbidden "What was refused to those who have no right to it."
    Counter "edgebus_too_slow_total" "" too_slow "Connections cut as their frames came too slowly."
    Counter "edgebus_busy_total" "" busy "What was refused for want of room: requests, questions, streams."
};

/// The page.
pub(crate) fn page(stats: &Stats) -> String {
    let mut page = String::with_capacity(8 * 1024);
    // Writing to a string cannot fail. A version has nothing in it that would end the text.
    let _ = writeln!(
        page,
        "# HELP edgebus_info The server's version.\n# TYPE edgebus_info gauge\nedgebus_info{{version={:?}}} 1",
        stats.version
    );
    let uptime = stats.uptime_ms as f64 / 1000.0;
    let _ = writeln!(
        page,
        "# HELP edgebus_uptime_seconds Time since the server started.\n# TYPE edgebus_uptime_seconds gauge\n\
         edgebus_uptime_seconds {uptime}"
    );
    for metric in METRICS {
        let Metric { name, label, .. } = metric;
        if !metric.help.is_empty() {
            let kind = match metric.kind {
                Kind::Gauge => "gauge",
                Kind::Counter => "counter",
            };
            let _ = writeln!(page, "# HELP {name} {}\n# TYPE {name} {kind}", metric.help);
        }
        let _ = writeln!(page, "{name}{label} {}", (metric.value)(stats));
    }
    page
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_figure_is_there() {
        let shown = format!("{:?}", Stats::default());
        let fields: BTreeSet<&str> = shown
            .split(['{', ',', '}'])
            .filter_map(|part| Some(part.split_once(':')?.0.trim()))
            .collect();
        assert!(fields.contains("connections"), "{shown}");
        let here: BTreeSet<&str> = METRICS.iter().map(|metric| metric.field).collect();
        let elsewhere = BTreeSet::from(["version", "uptime_ms"]);
        let missing: Vec<_> = fields.difference(&here).collect();
        assert_eq!(missing, elsewhere.iter().collect::<Vec<_>>());
    }

    #[test]
    fn each_name_is_explained_once_and_before_its_values() {
        let page = page(&Stats::default());
        let mut explained = BTreeSet::new();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let name = rest.split(' ').next().expect("a name");
                assert!(explained.insert(name), "{name}");
            } else if !line.starts_with('#') {
                let name = line.split(['{', ' ']).next().expect("a name");
                assert!(explained.contains(name), "{line}");
                assert!(name.starts_with("edgebus_"), "{line}");
            }
        }
        for metric in METRICS {
            let counter = matches!(metric.kind, Kind::Counter);
            assert_eq!(metric.name.ends_with("_total"), counter, "{}", metric.name);
        }
    }
}
