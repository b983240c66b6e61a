//! Replies, consumers and dead letters: each row against its checksum, and against the others.

use std::collections::BTreeMap;

use bytes::Bytes;
use edgebus_core::consumer::Reply;
use edgebus_core::{ConsumerName, Seq};
use prost::Message as _;

use super::pages::u64_at;
use super::tables::Tables;
use super::{Check, Lost, Place};
use crate::store::StoreError;
use crate::store::consumers::ConsumerRow;
use crate::store::dead_letter::DeadLetter;
use crate::store::tables::{meta, reply_from_row};

impl Check<'_> {
    pub(super) fn replies(&mut self, tables: &Tables) -> Result<(), StoreError> {
        const NAME: &str = "replies";
        let known = tables.is_trusted.then(|| tables.known());
        let mut bytes = 0;
        let Some(tree) = tables.tree(NAME) else {
            self.total(tables, meta::REPLY_BYTES, 0);
            return Ok(());
        };
        self.walk(&tables.pages, NAME, &tree, |check, row| {
            check.summary.replies += 1;
            bytes += row.value.len() as u64;
            let seq = Seq(u64_at(&row.key, 0).unwrap_or(0));
            let lost = Lost {
                reply: Some(seq),
                ..Lost::default()
            };
            let place = Place::file("reply", &check.tables_path()).at(row.at);
            let place = place.table(NAME).key(seq);
            let reply = reply_from_row(seq, &row.value);
            match reply.map(Reply::decode) {
                None => {
                    let what =
                        "the reply does not match its checksum, or is that of another request";
                    check.damage(place, what, lost);
                }
                Some(Err(_)) => check.damage(place, "the reply cannot be read", lost),
                Some(Ok(_)) if known.as_ref().is_some_and(|known| seq > known.last_seq) => {
                    let what = "the reply is to a request that is not there";
                    check.damage(place, what, lost);
                }
                Some(Ok(_)) => {}
            }
            Ok(())
        })?;
        self.total(tables, meta::REPLY_BYTES, bytes);
        Ok(())
    }

    pub(super) fn consumers(&mut self, tables: &Tables) -> Result<(), StoreError> {
        const NAME: &str = "consumer_state";
        const OFFSETS: &str = "consumer_offsets";
        let path = self.tables_path();
        let (offsets, crc) = self.numbers(&tables.pages, OFFSETS, tables.tree(OFFSETS))?;
        if tables.is_trusted && tables.number(meta::OFFSETS_CRC) != crc {
            let what = "the rows do not match their checksum";
            let place = Place::file("consumer", &path).table(OFFSETS);
            self.damage(place, what, Lost::default());
        }
        let mut states: u64 = 0;
        let mut seen = Vec::new();
        if let Some(tree) = tables.tree(NAME) {
            self.walk(&tables.pages, NAME, &tree, |check, row| {
                states += 1;
                let name = String::from_utf8_lossy(&row.key).into_owned();
                let place = Place::file("consumer", &path).at(row.at).table(NAME);
                let place = place.key(&name);
                let lost = Lost {
                    consumer: Some(name.clone()),
                    ..Lost::default()
                };
                let ledger = match ConsumerRow::decode(&name, &row.value) {
                    Ok(ledger) => ledger,
                    Err(refusal) => {
                        check.damage(place, refusal.message, lost);
                        return Ok(());
                    }
                };
                if name.parse::<ConsumerName>().is_err() {
                    check.damage(place, "this is no name of a consumer", lost);
                } else if offsets.get(&name) != Some(&ledger.offset().0) {
                    let what = match offsets.get(&name) {
                        Some(offset) => format!(
                            "its offset is {}, and {offset} in consumer_offsets",
                            ledger.offset()
                        ),
                        None => "it has no row in consumer_offsets".to_owned(),
                    };
                    check.damage(place, what, lost);
                }
                seen.push(name);
                Ok(())
            })?;
        }
        self.summary.consumers = offsets.len().max(seen.len()) as u64;
        self.total(tables, meta::CONSUMERS, states);
        // Those with an offset only are of format 1, and are no more than that.
        for name in offsets
            .keys()
            .filter(|name| name.parse::<ConsumerName>().is_err())
        {
            let place = Place::file("consumer", &path).table(OFFSETS).key(name);
            self.damage(place, "this is no name of a consumer", Lost::default());
        }
        Ok(())
    }

    pub(super) fn dead_letters(&mut self, tables: &Tables) -> Result<(), StoreError> {
        const NAME: &str = "dead_letters";
        const KEYS: &str = "dead_letter_keys";
        let path = self.tables_path();
        // As many as dead letters, which are bounded in number.
        let mut numbers: BTreeMap<(Vec<u8>, u64), u64> = BTreeMap::new();
        if let Some(tree) = tables.tree(KEYS) {
            self.walk(&tables.pages, KEYS, &tree, |check, row| {
                let Some((name, seq)) = letter_key(&row.key) else {
                    let place = Place::file("dead_letter", &path).at(row.at).table(KEYS);
                    check.damage(place, "the key makes no sense", Lost::default());
                    return Ok(());
                };
                numbers.insert((name, seq), u64_at(&row.value, 0).unwrap_or(0));
                Ok(())
            })?;
        }
        let mut bytes = 0;
        if let Some(tree) = tables.tree(NAME) {
            self.walk(&tables.pages, NAME, &tree, |check, row| {
                check.summary.dead_letters += 1;
                bytes += row.value.len() as u64;
                let number = u64_at(&row.key, 0).unwrap_or(0);
                let place = Place::file("dead_letter", &path).at(row.at).table(NAME);
                let place = place.key(number);
                let lost = Lost {
                    dead_letter: Some(number),
                    ..Lost::default()
                };
                let Ok(letter) = DeadLetter::from_row(number, &row.value) else {
                    let what = "the dead letter does not match its checksum";
                    check.damage(place, what, lost);
                    return Ok(());
                };
                if let Some(what) = letter_problem(&letter) {
                    check.damage(place, what, lost);
                } else if tables.is_trusted && number > tables.number(meta::LAST_DEAD_LETTER) {
                    check.damage(place, "its number was never given to one", lost);
                } else if numbers.remove(&(letter.consumer.into_bytes(), letter.seq))
                    != Some(number)
                {
                    let what = "no row of dead_letter_keys leads to it";
                    check.damage(place, what, Lost::default());
                }
                Ok(())
            })?;
        }
        self.total(tables, meta::DEAD_LETTER_BYTES, bytes);
        for ((name, seq), number) in numbers {
            let key = format!("{}, {seq}", String::from_utf8_lossy(&name));
            let place = Place::file("dead_letter", &path).table(KEYS).key(key);
            let what =
                format!("it names dead letter {number}, which is not there or another one's");
            let lost = Lost {
                dead_letter: Some(number),
                ..Lost::default()
            };
            self.damage(place, what, lost);
        }
        Ok(())
    }
}

/// What is wrong with a dead letter whose bytes are what was written.
pub(super) fn letter_problem(letter: &DeadLetter) -> Option<&'static str> {
    match letter.entry() {
        Err(_) => Some("the request in it cannot be read"),
        Ok(entry) if !entry.record().is_intact() => {
            Some("the request in it does not match its checksum")
        }
        Ok(entry) if entry.seq().0 != letter.seq => Some("the request in it is another one"),
        Ok(_) => None,
    }
}

/// Consumer and seq of a key of `dead_letter_keys`: the name's length, the name, the seq.
pub(super) fn letter_key(key: &Bytes) -> Option<(Vec<u8>, u64)> {
    let at = key.len().checked_sub(8)?;
    let seq = u64_at(key, at)?;
    let (first, rest) = key[..at].split_first()?;
    // As redb packs a tuple: lengths below 254 take a byte.
    let (len, name) = match first {
        254 => (
            usize::from(u16::from_le_bytes([*rest.first()?, *rest.get(1)?])),
            rest.get(2..)?,
        ),
        255 => return None,
        len => (usize::from(*len), rest),
    };
    (name.len() == len).then(|| (name.to_vec(), seq))
}
