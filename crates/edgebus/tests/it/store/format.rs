//! What docs/storage-format.md says, read from the fixtures without any code of the store: whoever
//! writes a reader from that document alone must get the same. The rows of consumers, replies and
//! dead letters are in [`super::format_rows`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::hash::Hasher as _;

use prost::Message as _;
use redb::{Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition};
use siphasher::sip::SipHasher13;
use siphasher::sip128::{Hasher128 as _, SipHasher24};

use super::fixture::{FIRST, FIRST_IN_TABLES, LAST, OTHER_SCOPE, SEALED, START_MS, dir, expected};
use super::format_rows::{Letter, check_ops};

const BLOCK: usize = 4096;

type Offsets = TableDefinition<'static, &'static str, u64>;
type Log = TableDefinition<'static, u64, &'static [u8]>;
type Ids<'a> = TableDefinition<'a, ([u8; 16], u32), (u64, [u8; 16], u32)>;

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

/// A copy of a fixture's tables: redb marks a file that it opens.
pub(crate) fn tables(format: u32) -> (tempfile::TempDir, Database) {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("store.redb");
    fs::copy(dir(format).join("store.redb"), &path).expect("copy");
    (folder, Database::open(path).expect("a redb file"))
}

pub(crate) fn numbers(read: &ReadTransaction, table: &'static str) -> BTreeMap<String, u64> {
    let rows = read.open_table(Offsets::new(table)).expect("table");
    let rows = rows.iter().expect("rows").map(|row| {
        let (name, number) = row.expect("row");
        (name.value().to_owned(), number.value())
    });
    rows.collect()
}

/// Splits entries off the front of `bytes`, checking each, and returns their sequence numbers. The
/// entries of a format have its number as their version.
pub(crate) fn check_entries(format: u32, mut bytes: &[u8]) -> Vec<u64> {
    let mut seqs = Vec::new();
    while !bytes.is_empty() {
        let (entry, rest) = bytes.split_at(u32_at(bytes, 0) as usize);
        bytes = rest;
        assert_eq!(entry[4..6], [1, format as u8], "an append");
        let (identity, seq) = (u16_at(entry, 6), u64_at(entry, 8));
        let header_bytes = if format == 1 { 32 } else { 40 };
        if format == 2 {
            assert_eq!(u64_at(entry, 32), seq * 1_000, "store time");
        }
        assert_eq!(u64_at(entry, 16), START_MS + seq * 1_000, "receive time");
        let scope = u32_at(entry, 24);
        let (name, record) = entry[header_bytes..].split_at(identity);
        assert_eq!(record.len(), u32_at(entry, 28) as usize);
        assert_eq!(scope == 7, seq == OTHER_SCOPE);
        assert_eq!(scope == 7, name == b"spiffe://shop/till-7");
        check_record(record, seq);
        seqs.push(seq);
    }
    seqs
}

fn check_record(record: &[u8], seq: u64) {
    let wanted = expected(seq);
    assert_eq!(u32_at(record, 0), crc32c::crc32c(&record[4..]));
    let (payload, topic, meta) = (
        u32_at(record, 4) as usize,
        u16_at(record, 8),
        u16_at(record, 10),
    );
    assert_eq!(record[12], if seq == 7 { 2 } else { 1 }, "kind");
    assert_eq!(record[13..16], [1, 0, 0], "version and reserved");
    assert_eq!(record[16..32], *wanted.id.as_bytes());
    assert_eq!(u64_at(record, 32), wanted.time_ms);
    let (found_topic, rest) = record[40..].split_at(topic);
    let (found_meta, found_payload) = rest.split_at(meta);
    assert_eq!(found_topic, wanted.topic.as_str().as_bytes());
    assert_eq!(found_payload, wanted.payload);
    assert_eq!(found_payload.len(), payload);
    let meta = Meta::decode(found_meta).expect("prost");
    assert_eq!(meta.source, wanted.source);
    assert_eq!(meta.target, wanted.target);
    assert_eq!(meta.correlation_id, wanted.correlation_id);
    let headers: Vec<_> = meta
        .headers
        .into_iter()
        .map(|h| (h.name, h.value))
        .collect();
    assert_eq!(headers, wanted.headers);
    assert_eq!(meta.expires_ms, wanted.expires_ms);
}

#[derive(Clone, PartialEq, prost::Message)]
struct Meta {
    #[prost(string, tag = "1")]
    source: String,
    #[prost(string, tag = "2")]
    target: String,
    #[prost(string, tag = "3")]
    correlation_id: String,
    #[prost(message, repeated, tag = "4")]
    headers: Vec<Header>,
    #[prost(uint64, tag = "5")]
    expires_ms: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Header {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[test]
fn version_is_two_lines_of_text() {
    for format in [1, 2] {
        let text = fs::read_to_string(dir(format).join("VERSION")).expect("VERSION");
        let head = format!("edgebus-store {format}\nid ");
        let id = text.strip_prefix(&head).expect("format");
        uuid::Uuid::parse_str(id.trim_end()).expect("a UUID");
        assert!(text.ends_with('\n'));
        assert_eq!(fs::read(dir(format).join("LOCK")).expect("LOCK"), b"");
    }
}

/// An operation that is no append: lsn, type, bytes.
pub(crate) type Other = (u64, u8, Vec<u8>);

/// Reads the whole journal: the other operations.
fn read_journal(format: u32) -> Vec<Other> {
    let mut names: Vec<_> = fs::read_dir(dir(format).join("journal"))
        .expect("folder")
        .map(|entry| entry.expect("entry").path())
        .collect();
    names.sort();
    let mut next_lsn = None;
    let mut appended = Vec::new();
    let mut others = Vec::new();
    for path in names {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("name");
        let number: u64 = name
            .strip_suffix(".wal")
            .expect("a segment")
            .parse()
            .expect("number");
        assert_eq!(name.len(), 14, "ten digits");
        let bytes = fs::read(&path).expect("segment");
        assert_eq!(bytes[..8], *b"EDGEBUSJ");
        assert_eq!(u32_at(&bytes, 8), crc32c::crc32c(&bytes[12..48]));
        assert_eq!((u32_at(&bytes, 12), u64_at(&bytes, 16)), (1, number));
        let salt: [u8; 16] = bytes[24..40].try_into().unwrap();
        let mut lsn = u64_at(&bytes, 40);
        let file_bytes = u64_at(&bytes, 48);
        // The first segments of format 1 did not say how long they were made.
        if file_bytes > 0 {
            assert_eq!(file_bytes, bytes.len() as u64);
            assert_eq!(u32_at(&bytes, 56), crc32c::crc32c(&bytes[48..56]));
        }
        assert!(bytes[60..BLOCK].iter().all(|byte| *byte == 0));
        assert_eq!(
            *next_lsn.get_or_insert(lsn),
            lsn,
            "segments follow each other"
        );
        let mut at = BLOCK;
        while at < bytes.len() && bytes[at..at + 4] == *b"EBG1" {
            let group = &bytes[at..];
            let ops_bytes = u32_at(group, 60) as usize;
            let end = 64 + ops_bytes;
            let disk = (end + 16).next_multiple_of(BLOCK);
            let seed = crc32c::crc32c(&salt);
            assert_eq!(
                u32_at(group, 4),
                crc32c::crc32c_append(seed, &group[8..end])
            );
            assert_eq!(group[8..24], salt);
            assert_eq!(u64_at(group, 24), lsn);
            assert_eq!(u64_at(group, 32), lsn - 1, "all before was synced");
            assert!(u64_at(group, 48) >= START_MS, "wall clock");
            assert_eq!(
                u64_at(group, 40),
                u64_at(group, 48) - START_MS,
                "store time"
            );
            assert!(group[end..disk - 16].iter().all(|byte| *byte == 0));
            assert_eq!(group[disk - 16..disk - 8], salt[..8]);
            assert_eq!(u64_at(group, disk - 8), lsn);
            let mut ops = &group[64..end];
            for _ in 0..u32_at(group, 56) {
                let (op, rest) = ops.split_at(u32_at(ops, 0) as usize);
                ops = rest;
                match op[4] {
                    1 => appended.extend(check_entries(format, op)),
                    kind => others.push((lsn, kind, op.to_vec())),
                }
                lsn += 1;
            }
            assert!(ops.is_empty());
            at += disk;
        }
        assert!(bytes[at..].iter().all(|byte| *byte == 0), "zero-filled");
        next_lsn = Some(lsn);
    }
    assert_eq!(appended, (1..=LAST).collect::<Vec<_>>());
    others
}

#[test]
fn journal_of_format_1_is_as_documented() {
    let others = read_journal(1);
    let kinds: Vec<_> = others.iter().map(|(lsn, kind, _)| (*lsn, *kind)).collect();
    assert_eq!(kinds, [(21, 2), (22, 3), (53, 2), (54, 2), (55, 3)]);
    let offset = &others[2].2;
    assert_eq!(
        offset[4..8],
        [2, 1, 4, 0],
        "type, version, length of the name"
    );
    assert_eq!((u64_at(offset, 8), &offset[16..]), (30, b"till".as_slice()));
    let letter = &others[4].2;
    assert_eq!(letter[4..8], [3, 1, 0, 0]);
    assert_eq!(u64_at(letter, 8), 2, "number");
    let letter = Letter::decode(&letter[16..]).expect("prost");
    assert_eq!((letter.seq, letter.consumer.as_str()), (44, "kitchen"));
    assert_eq!(check_entries(1, &letter.entry), [44]);
}

#[test]
fn journal_of_format_2_is_as_documented() {
    check_ops(&read_journal(2));
}

#[test]
fn blocks_are_as_documented() {
    check_blocks(1);
    check_blocks(2);
}

fn check_blocks(format: u32) {
    let (_folder, tables) = tables(format);
    let read = tables.begin_read().expect("read");
    let log = read.open_table(Log::new("request_log")).expect("table");
    let mut seqs = Vec::new();
    let mut compressed = BTreeSet::new();
    for row in log.iter().expect("rows") {
        let (key, value) = row.expect("row");
        let block = value.value();
        assert_eq!(u32_at(block, 0), crc32c::crc32c(&block[4..]));
        assert_eq!((u32::from(block[4]), u16_at(block, 6)), (format, 0));
        let (count, raw_bytes, first) = (u32_at(block, 8), u32_at(block, 12), u64_at(block, 16));
        assert_eq!(first + u64::from(count) - 1, key.value());
        assert_eq!(u64_at(block, 24), START_MS + first * 1_000);
        assert_eq!(u64_at(block, 32), START_MS + key.value() * 1_000);
        let body = match format {
            1 => &block[104..],
            _ => {
                assert_eq!(u64_at(block, 104), key.value() * 1_000, "store time");
                &block[112..]
            }
        };
        let entries = match block[5] {
            0 => body.to_vec(),
            1 => lz4_flex::block::decompress(body, raw_bytes as usize).expect("lz4"),
            flags => panic!("flags {flags}"),
        };
        assert_eq!(entries.len(), raw_bytes as usize);
        let found = check_entries(format, &entries);
        assert_eq!(found, (first..=key.value()).collect::<Vec<_>>());
        check_summary(&block[40..104], &found);
        seqs.extend(found);
        compressed.insert(block[5]);
    }
    assert!(
        FIRST_IN_TABLES < FIRST && FIRST < seqs[19],
        "within the first block"
    );
    assert_eq!(seqs, (1..=SEALED).collect::<Vec<_>>());
    assert_eq!(compressed, BTreeSet::from([0, 1]), "the fixture has both");
}

/// Exactly the bits of the topics and their leading tokens are set.
fn check_summary(summary: &[u8], seqs: &[u64]) {
    let mut wanted = [0_u8; 64];
    for seq in seqs {
        let topic = expected(*seq).topic;
        let topic = topic.as_str();
        let ends = topic
            .match_indices('.')
            .map(|(at, _)| at)
            .chain([topic.len()]);
        for end in ends {
            let hash = crc32c::crc32c(&topic.as_bytes()[..end]);
            for bit in [hash % 512, (hash >> 9) % 512, (hash >> 18) % 512] {
                wanted[bit as usize / 8] |= 1 << (bit % 8);
            }
        }
    }
    assert_eq!(summary, wanted);
}

#[test]
fn ids_and_their_filters_are_as_documented() {
    check_ids(1);
    check_ids(2);
}

fn check_ids(format: u32) {
    let (_folder, tables) = tables(format);
    let read = tables.begin_read().expect("read");
    let metadata = numbers(&read, "metadata");
    let keys = (metadata["fingerprint_key_0"], metadata["fingerprint_key_1"]);
    let filters: TableDefinition<(u64, u32), &[u8]> = TableDefinition::new("id_filters");
    let filters = read.open_table(filters).expect("table");
    let (first, last) = (metadata["first_generation"], metadata["last_generation"]);
    assert!(first == 1 && last >= 3, "{first} to {last}");
    let mut seqs = BTreeSet::new();
    for generation in first..=last {
        let filter = filters
            .get((generation, 0))
            .expect("read")
            .map(|row| row.value().to_vec());
        assert_eq!(
            filter.is_some(),
            generation < last,
            "stored when it is closed"
        );
        if let Some(filter) = &filter {
            assert_eq!(u32_at(filter, 0), crc32c::crc32c(&filter[4..]));
        }
        let closed = metadata.get(&format!("generation.{generation}.last_seq"));
        assert_eq!(closed.is_some(), format == 2 && filter.is_some());
        if let Some(last_seq) = closed {
            let store_ms = metadata[&format!("generation.{generation}.store_ms")];
            assert_eq!(store_ms, last_seq * 1_000);
        }
        let name = format!("request_idempotency.{generation}");
        let ids = read.open_table(Ids::new(&name)).expect("table");
        for row in ids.iter().expect("rows") {
            let (key, value) = row.expect("row");
            let ((id, scope), (seq, fingerprint, crc)) = (key.value(), value.value());
            let wanted = expected(seq);
            assert_eq!((id, scope), (*wanted.id.as_bytes(), 0));
            let covered = [
                id.as_slice(),
                &scope.to_le_bytes(),
                &seq.to_le_bytes(),
                &fingerprint,
            ];
            assert_eq!(crc, crc32c::crc32c(&covered.concat()));

            let topic = wanted.topic.as_str().as_bytes();
            let mut hasher = SipHasher24::new_with_keys(keys.0, keys.1);
            hasher.write(&(topic.len() as u16).to_le_bytes());
            hasher.write(topic);
            hasher.write(&wanted.payload);
            assert_eq!(hasher.finish128().as_u128().to_le_bytes(), fingerprint);

            if let Some(filter) = &filter {
                assert!(
                    has_bits(&filter[4..], id_hash(keys, &id, scope)),
                    "seq {seq}"
                );
            }
            assert!(seqs.insert(seq), "seq {seq} twice");
        }
    }
    assert_eq!(seqs, (1..=SEALED).collect::<BTreeSet<_>>());
}

fn id_hash(keys: (u64, u64), id: &[u8; 16], scope: u32) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(keys.1, keys.0);
    hasher.write(id);
    hasher.write(&scope.to_le_bytes());
    hasher.finish()
}

fn has_bits(filter: &[u8], hash: u64) -> bool {
    let blocks = filter.len() as u64 / 64;
    let block = ((hash >> 32) * blocks) >> 32;
    let low = hash as u32;
    let step = low.rotate_left(15) | 1;
    (0..7_u32).all(|i| {
        let bit = low.wrapping_add(i.wrapping_mul(step)) >> 23;
        let byte = filter[block as usize * 64 + bit as usize / 8];
        byte & (1 << (bit % 8)) != 0
    })
}

#[test]
fn small_tables_of_format_1_are_as_documented() {
    let (_folder, tables) = tables(1);
    let read = tables.begin_read().expect("read");
    let offsets = numbers(&read, "consumer_offsets");
    assert_eq!(offsets, BTreeMap::from([("till".to_owned(), 12)]));
    let metadata = check_metadata(&read, 1, 2);
    assert_eq!(metadata["last_dead_letter"], 1);

    let letters = read.open_table(Log::new("dead_letters")).expect("table");
    let row = letters.get(1).expect("read").expect("row");
    let row = row.value();
    assert_eq!(u32_at(row, 0), crc32c::crc32c(&row[4..]));
    let letter = Letter::decode(&row[4..]).expect("prost");
    assert_eq!((letter.seq, letter.consumer.as_str()), (5, "till"));
    assert_eq!(letter.reason, "no such article");
    assert_eq!(check_entries(1, &letter.entry), [5]);
    assert_eq!((letter.code.as_str(), letter.attempts.len()), ("", 0));
    let keys: TableDefinition<(&str, u64), u64> = TableDefinition::new("dead_letter_keys");
    let keys = read.open_table(keys).expect("table");
    let number = keys.get(("till", 5)).expect("read").expect("row").value();
    assert_eq!(number, 1);
    let replies = read.open_table(Log::new("replies")).expect("table");
    assert_eq!(replies.iter().expect("rows").count(), 0);
    let states: TableDefinition<&str, &[u8]> = TableDefinition::new("consumer_state");
    let states = read.open_table(states).expect("table");
    assert_eq!(states.iter().expect("rows").count(), 0);
}

/// `others`: operations in the tables that are no appends.
pub(crate) fn check_metadata(
    read: &ReadTransaction,
    format: u32,
    others: u64,
) -> BTreeMap<String, u64> {
    let offsets = numbers(read, "consumer_offsets");
    let mut metadata = numbers(read, "metadata");
    assert_eq!(metadata["consumer_offsets_crc32c"], rows_crc(&offsets));
    let crc = metadata.remove("metadata_crc32c").expect("row");
    assert_eq!(crc, rows_crc(&metadata));
    assert_eq!(metadata["format_version"], u64::from(format));
    assert_eq!(metadata["last_seq"], SEALED);
    assert_eq!(metadata["sealed_lsn"], SEALED + others);
    assert_eq!(metadata["wall_ms"], START_MS + SEALED * 1_000);
    assert_eq!(metadata["store_time_ms"], SEALED * 1_000);
    metadata
}

fn rows_crc(rows: &BTreeMap<String, u64>) -> u64 {
    let mut bytes = Vec::new();
    for (name, number) in rows {
        bytes.extend((name.len() as u32).to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend(number.to_le_bytes());
    }
    u64::from(crc32c::crc32c(&bytes))
}
