//! Reading everything of a store that may be damaged, as its users do, and comparing it with what was
//! acknowledged.
//!
//! Invariant: an error that calls something corrupt is an answer; a wrong byte is a violation; and
//! what is missing without a word is counted, so that somebody else has to have found it.

use edgebus::query::LogQuery;
use edgebus::{Code, Entry, Message, RequestId, RequestStore, Seq, StoreError};

use super::figures::{Kind, Violation};
use super::stored::Acked;

/// What reading showed.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// What was delivered and is not what was acknowledged.
    pub(crate) wrong: Vec<Violation>,
    /// What is not there and nobody said so.
    pub(crate) missing: Vec<String>,
    /// Answers that call something corrupt.
    pub(crate) reported: Vec<String>,
    /// Requests that can be read.
    pub(crate) readable: Vec<u64>,
}

impl Seen {
    fn wrong(&mut self, kind: Kind, what: impl Into<String>) {
        self.wrong.push(Violation::new(kind, what));
    }

    /// Notes an answer that is a failure; every one has to say that something is corrupt, or that the
    /// store was stopped for it.
    fn failed(&mut self, what: &str, error: &StoreError) {
        let is_named = matches!(
            error.code(),
            Code::Corrupt | Code::Poisoned | Code::ShuttingDown | Code::Io
        );
        match is_named {
            true => self.reported.push(error.to_string()),
            false => self.wrong(Kind::Other, format!("{what}: {error}")),
        }
    }
}

/// Reads all there is. `last` is the last request that has to be there.
pub(crate) fn look(store: &RequestStore, acked: &Acked, last: u64) -> Seen {
    let mut seen = Seen::default();
    requests(store, acked, last, &mut seen);
    ids(store, acked, last, &mut seen);
    selected(store, acked, last, &mut seen);
    replies(store, acked, last, &mut seen);
    letters(store, acked, last, &mut seen);
    let ledgers = store.reader().consumers();
    if ledgers != acked.ledgers || *store.ledgers() != acked.ledgers {
        seen.wrong(Kind::Other, "consumers are not what they were");
    }
    seen
}

/// Whether an entry is the request it should be.
pub(crate) fn is_right(entry: &Entry, seq: u64, acked: &Acked) -> bool {
    let wanted = acked.log.get(seq as usize - 1);
    entry.seq().0 == seq && entry.record().to_message().ok().as_ref() == wanted
}

fn requests(store: &RequestStore, acked: &Acked, last: u64, seen: &mut Seen) {
    let mut next = 1;
    for entry in store.replay_from(Seq(1)) {
        match entry {
            Ok(entry) if is_right(&entry, next, acked) => next += 1,
            Ok(entry) => {
                let what = format!(
                    "replay: seq {} where {next} belongs, or other bytes",
                    entry.seq()
                );
                seen.wrong(Kind::WrongPayload, what);
                return;
            }
            Err(error) => {
                seen.failed("replay", &error);
                break;
            }
        }
    }
    if next > last {
        seen.readable.extend(1..=last);
        return;
    }
    for seq in 1..=last {
        match store.get_by_seq(Seq(seq)) {
            Ok(Some(entry)) if is_right(&entry, seq, acked) => seen.readable.push(seq),
            Ok(Some(_)) => seen.wrong(Kind::WrongPayload, format!("seq {seq} is another request")),
            Ok(None) => seen.missing.push(format!("seq {seq}")),
            Err(error) => seen.failed("a request", &error),
        }
    }
}

fn ids(store: &RequestStore, acked: &Acked, last: u64, seen: &mut Seen) {
    let reader = store.reader();
    for (seq, message) in (1..=last).zip(&acked.log) {
        match reader.find(message.id, Default::default()) {
            Ok(Some(found)) if found.0 == seq => {}
            Ok(Some(found)) => seen.wrong(
                Kind::WrongPayload,
                format!("the id of seq {seq} leads to {found}"),
            ),
            Ok(None) => seen.missing.push(format!("the id of seq {seq}")),
            Err(error) => seen.failed("an id", &error),
        }
    }
}

/// As consumers are fed: by their patterns.
fn selected(store: &RequestStore, acked: &Acked, last: u64, seen: &mut Seen) {
    for pattern in ["orders.>", "returns"] {
        let mut query = LogQuery::from(Seq(1));
        query.to = Some(Seq(last));
        query.topics = vec![pattern.parse().expect("a pattern")];
        let is_wanted =
            |seq: &u64| query.selects_topic(acked.log[*seq as usize - 1].topic.as_str());
        let wanted: Vec<u64> = (1..=last).filter(is_wanted).collect();
        let mut found = 0;
        for entry in store.reader().replay(query.clone()) {
            let seq = wanted.get(found);
            match entry {
                Ok(entry) if seq.is_some_and(|seq| is_right(&entry, *seq, acked)) => found += 1,
                Ok(entry) => {
                    let what = format!("feed {pattern}: seq {} where {seq:?} belongs", entry.seq());
                    seen.wrong(Kind::WrongPayload, what);
                    return;
                }
                Err(error) => {
                    seen.failed("a consumer's feed", &error);
                    found = wanted.len();
                    break;
                }
            }
        }
        if let Some(seq) = wanted.get(found) {
            seen.missing.push(format!("feed {pattern}: seq {seq}"));
        }
    }
}

fn replies(store: &RequestStore, acked: &Acked, last: u64, seen: &mut Seen) {
    let reader = store.reader();
    for seq in 1..=last {
        match (reader.reply(Seq(seq)), acked.replies.get(&seq)) {
            (Ok(Some(found)), Some(wanted)) if found == *wanted => {}
            (Ok(None), None) => {}
            (Ok(None), Some(_)) => seen.missing.push(format!("the reply to seq {seq}")),
            (Ok(Some(_)), _) => {
                seen.wrong(Kind::WrongPayload, format!("another reply to seq {seq}"))
            }
            (Err(error), _) => seen.failed("a reply", &error),
        }
    }
}

fn letters(store: &RequestStore, acked: &Acked, last: u64, seen: &mut Seen) {
    let reader = store.reader();
    if reader.dead_letter_count() != acked.letters.len() as u64 {
        seen.wrong(Kind::Other, "another number of dead letters");
    }
    for (number, wanted) in &acked.letters {
        match reader.dead_letter(*number) {
            Ok(Some(found)) if found == *wanted => {}
            Ok(Some(_)) => seen.wrong(
                Kind::WrongPayload,
                format!("dead letter {number} is another one"),
            ),
            Ok(None) if wanted.seq > last => {}
            Ok(None) => seen.missing.push(format!("dead letter {number}")),
            Err(error) => seen.failed("a dead letter", &error),
        }
    }
}

/// Sends requests again, one under its id with other content, and a new one; the store goes on.
pub(crate) fn use_it(
    store: &mut RequestStore,
    acked: &Acked,
    seqs: &[u64],
    last: u64,
    seen: &mut Seen,
) {
    for seq in seqs {
        let message = &acked.log[*seq as usize - 1];
        match store.append_request(message) {
            Ok(receipt) if receipt.duplicate && receipt.seq.0 == *seq => {}
            Ok(receipt) if receipt.duplicate => {
                let what = format!("seq {seq} sent again is told to be {}", receipt.seq);
                seen.wrong(Kind::Other, what);
            }
            Ok(_) => seen
                .missing
                .push(format!("the id of seq {seq}, so it was stored again")),
            Err(error) => seen.failed("a request sent again", &error),
        }
        let mut other = message.clone();
        other.payload = "other content".into();
        match store.append_request(&other) {
            Ok(receipt) if receipt.duplicate => {
                seen.wrong(
                    Kind::Other,
                    format!("other content is told to be seq {seq}"),
                );
            }
            Ok(_) => seen
                .missing
                .push(format!("the id of seq {seq}, so other content was stored")),
            Err(error) if error.code() == Code::IdConflict => {}
            Err(error) => seen.failed("other content under an id", &error),
        }
    }
    for number in 0..40u8 {
        let id = RequestId::from_bytes([
            0xf0, number, 3, 4, 5, 6, 0x47, 8, 0x89, 10, 11, 12, 13, 14, 15, 16,
        ]);
        let payload = format!("new {number}: {}", "x".repeat(900));
        let message = Message::new(id, "orders.new".parse().expect("a topic"), payload);
        match store.append_request(&message) {
            Ok(receipt) if receipt.seq.0 > last => {}
            Ok(receipt) => seen.wrong(
                Kind::Other,
                format!("a new request is told to be {}", receipt.seq),
            ),
            Err(error) => {
                seen.failed("a new request", &error);
                return;
            }
        }
    }
    store.close_overlay();
    let now = store.clock().now();
    if let Err(error) = store.commit(now) {
        seen.failed("sealing", &error);
    }
}
