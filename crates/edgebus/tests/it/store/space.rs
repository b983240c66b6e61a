//! Room on the disk: below the watermark new requests are refused by code, nothing else is.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use edgebus::store::{Admission, SealStep};
use edgebus::{Code, RequestStore, Seq, StoreError};

use super::manual_clock::ManualClock;
use super::wrapped_files::{Action, WrappedFiles};
use super::{
    append, assert_holds, message, open_on, open_with, seal, small_config, unsealed_config,
};

#[test]
fn full_store_refuses_new_requests_answers_known_ones_and_recovers_by_itself() {
    let folder = tempfile::tempdir().expect("folder");
    let files = WrappedFiles::new(|_, _| Ok(()));
    let clock = ManualClock::new(1_000_000);
    let mut config = small_config();
    config.disk_free_bytes_min = 1_000;
    let open = || {
        let clock = Arc::new(clock.clone());
        RequestStore::open_with(folder.path(), config.clone(), files.clone(), clock)
    };
    let mut store = open().expect("opens");
    append(&mut store, 1..=20);

    files.set_free_bytes(999);
    clock.advance(Duration::from_millis(100));
    store.commit(clock.read()).expect("it looks at the space");
    for round in 0..2 {
        let refused = store.append_request(&message(21)).expect_err("full");
        assert_eq!(refused.code(), Code::StorageFull);
        assert!(refused.is_retryable());
        let StoreError::Refused(refusal) = refused else {
            panic!("{refused}");
        };
        assert!(refusal.message.contains("999 bytes free"), "{refusal}");
        assert!(store.reader().stats().storage_full);

        let known = store.append_request(&message(7)).expect("known");
        assert_eq!((known.seq, known.duplicate), (Seq(7), true));
        let till = "till".parse().expect("name");
        store
            .set_consumer_offset(&till, Seq(7 + round))
            .expect("goes on");
        let moved = store.move_to_dead_letter(Seq(1 + round), &till, "no");
        assert!(moved.expect("goes on"));

        // A start on a full disk refuses from its first request on.
        drop(store);
        store = open().expect("opens");
    }

    files.set_free_bytes(1_000);
    clock.advance(Duration::from_millis(100));
    store.commit(clock.read()).expect("it looks at the space");
    append(&mut store, 21..=25);
    assert!(!store.reader().stats().storage_full);
    assert_eq!(store.dead_letter_count(), 2);
    assert_holds(&store, 25);
}

/// After "no room" redb refuses every read until the file is opened anew. Readers used to be told
/// that the disk is full, or found the tables closed.
#[test]
fn reading_goes_on_while_sealing_finds_no_room() {
    let folder = tempfile::tempdir().expect("folder");
    let is_full = Arc::new(AtomicBool::new(false));
    let full = is_full.clone();
    let writes = AtomicU64::new(2);
    let files = WrappedFiles::new(move |action, path| {
        if path.ends_with("store.redb") && full.load(Ordering::Relaxed) {
            match action {
                Action::Open => writes.store(0, Ordering::Relaxed),
                // The first two write the header, in its place and so without new room.
                Action::Write if writes.fetch_add(1, Ordering::Relaxed) >= 2 => {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                _ => {}
            }
        }
        Ok(())
    });
    let mut config = small_config();
    // Nothing is answered out of memory.
    config.cache_bytes = 0;
    let mut store = open_on(files, folder.path(), config).expect("opens");
    append(&mut store, 1..=200);
    seal(&mut store);
    append(&mut store, 201..=210);
    let mut sealer = store.take_sealer().expect("not taken yet");
    store.close_overlay();

    is_full.store(true, Ordering::Relaxed);
    let mut fulls = 0;
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| (0..30).for_each(|_| assert_holds(&store, 210)));
        while !reading.is_finished() {
            let step = sealer.step();
            fulls += u64::from(step.expect("no reason to stop") == SealStep::Full);
        }
    });
    assert!(fulls > 5, "{fulls}");
    is_full.store(false, Ordering::Relaxed);
    while sealer.step().expect("room again") != SealStep::Idle {}
    assert!(!store.wants_sealer());
    assert!(!store.reader().stats().poisoned);
    assert_holds(&store, 210);
}

/// A sealer that could not open the tables again took the next overlay for sealed, freed its
/// journal, and never came to an end.
#[test]
fn sealing_waits_while_there_is_not_even_room_to_open_the_tables() {
    let folder = tempfile::tempdir().expect("folder");
    let is_full = Arc::new(AtomicBool::new(false));
    let full = is_full.clone();
    let files = WrappedFiles::new(move |action, path| {
        let grows = matches!(action, Action::Write | Action::Allocate);
        match path.ends_with("store.redb") && grows && full.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    });
    let mut store = open_on(files, folder.path(), small_config()).expect("opens");
    let mut sealer = store.take_sealer().expect("not taken yet");
    append(&mut store, 1..=10);
    is_full.store(true, Ordering::Relaxed);
    // Several segments of the journal.
    for last in (20..=200).step_by(10) {
        append(&mut store, last - 9..=last);
        store.close_overlay();
        let mut steps = (0..100).map(|_| sealer.step().expect("a full disk is no reason to stop"));
        assert!(steps.any(|step| step == SealStep::Full));
    }
    assert_eq!(store.reader().stats().sealed_lsn, 0);
    drop((store, sealer));

    let mut store = open_with(folder.path(), small_config()).expect("opens");
    assert_holds(&store, 200);
    append(&mut store, 201..=210);
    seal(&mut store);
    assert_holds(&store, 210);
}

/// What was staged used to keep what is synced from the sealer; and whoever asked when to look again
/// was told: now, and looked again and again.
#[test]
fn what_finds_no_room_in_the_journal_does_not_hold_up_sealing() {
    let folder = tempfile::tempdir().expect("folder");
    let is_full = Arc::new(AtomicBool::new(false));
    let full = is_full.clone();
    let files = WrappedFiles::new(move |action, path| {
        let grows = action == Action::Allocate && !path.ends_with("store.redb");
        match grows && full.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    });
    let clock = ManualClock::new(1_000_000);
    let config = unsealed_config();
    let seal_after = config.seal_after;
    let opened = RequestStore::open_with(
        folder.path(),
        config,
        files.clone(),
        Arc::new(clock.clone()),
    );
    let mut store = opened.expect("opens");
    let mut sealer = store.take_sealer().expect("not taken yet");
    append(&mut store, 1..=20);
    is_full.store(true, Ordering::Relaxed);
    files.set_free_bytes(0);
    let till = "till".parse().expect("name");
    let mut offset = Seq(1);
    loop {
        store.stage_offset(&till, offset).expect("little is staged");
        if store.commit(clock.read()).is_err() {
            break;
        }
        offset = offset.next();
    }

    clock.advance(seal_after);
    let now = clock.read();
    assert_eq!(store.seal_due_in(now), Some(Duration::ZERO));
    let committed = store.commit(now);
    assert!(matches!(committed, Err(StoreError::Full { .. })));
    assert_eq!(store.seal_due_in(now), None);
    while sealer.step().expect("no reason to stop") == SealStep::Worked {}
    assert_eq!(store.reader().stats().tail_bytes, 0);
    is_full.store(false, Ordering::Relaxed);
    store.commit(clock.read()).expect("room");
    let written = store.get_consumer_offset(&till).expect("reads");
    assert_eq!(written, Some(offset));
    assert_holds(&store, 20);
}

/// A journal smaller than what has it sealed filled up; and as segments are freed one seal late, the
/// seal by age freed none, and there was nothing more to seal.
#[test]
fn journal_smaller_than_what_starts_a_seal_takes_requests_for_ever() {
    for segments_max in [3, 4, 16] {
        let folder = tempfile::tempdir().expect("folder");
        let mut config = unsealed_config();
        config.segments_max = segments_max;
        let segment_bytes = config.segment_bytes;
        let clock = ManualClock::new(1_000_000);
        let files = WrappedFiles::new(|_, _| Ok(()));
        let opened = RequestStore::open_with(folder.path(), config, files, Arc::new(clock.clone()));
        let mut store = opened.expect("opens");
        let mut sealer = store.take_sealer().expect("not taken yet");
        let mut number = 0;
        // Several times what the journal holds.
        while store.reader().stats().journal_bytes < 4 * segments_max as u64 * segment_bytes {
            for _ in 0..20 {
                if store.admission() == Admission::Blocked {
                    break;
                }
                number += 1;
                append(&mut store, number..=number);
            }
            // As an engine does that has nothing to write.
            store.commit(clock.read()).expect("room");
            assert!(store.reader().stats().journal_segments <= segments_max as u64 + 1);
            while sealer.step().expect("no error") == SealStep::Worked {}
            assert_ne!(store.admission(), Admission::Blocked, "after {number}");
        }
        assert_holds(&store, number);
    }
}

/// Each start took a spare segment: after a few on a full disk nothing could be written any more.
#[test]
fn starts_on_a_full_disk_take_up_no_room() {
    let folder = tempfile::tempdir().expect("folder");
    let is_full = Arc::new(AtomicBool::new(false));
    let full = is_full.clone();
    let files = WrappedFiles::new(move |action, _| {
        match action == Action::Allocate && full.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    });
    let mut store = open_on(files.clone(), folder.path(), unsealed_config()).expect("opens");
    append(&mut store, 1..=20);
    is_full.store(true, Ordering::Relaxed);
    files.set_free_bytes(0);
    let till = "till".parse().expect("name");
    for offset in (1..=20).map(Seq) {
        let set = store.set_consumer_offset(&till, offset);
        set.expect("a consumer goes on");
        drop(store);
        store = open_on(files.clone(), folder.path(), unsealed_config()).expect("opens");
    }
    assert_holds(&store, 20);
    let written = store.get_consumer_offset(&till).expect("reads");
    assert_eq!(written, Some(Seq(20)));
}
