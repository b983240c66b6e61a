//! A disk that fills up and is emptied again: appends are refused by code, nothing stops, nothing
//! is lost, and everything goes on when there is room.

use edgebus::files::Files as _;
use edgebus::store::SealStep;
use edgebus::{Code, Record, Scope, Seq, StoreError};
use edgebus_sim::SimRng;

use crate::machine::{DIR, Life, Machine, Met, for_seeds};
use crate::model::{Request, name};

const ROOMY: u64 = 1 << 40;

/// Leaves so many bytes of room.
fn leave_room(machine: &Machine, bytes: u64) {
    machine.disk.set_capacity(ROOMY);
    let free = machine.disk.free_bytes(DIR.as_ref()).expect("power");
    machine.disk.set_capacity(ROOMY - free + bytes);
}

fn fill_and_empty(seed: u64) -> Met {
    let mut rng = SimRng::seeded(seed);
    let mut machine = Machine::new(seed);
    let store = machine.start().expect("room");
    let mut life = Life::new(store, &mut rng);
    for _ in 0..2 {
        for _ in 0..rng.below(60) {
            machine.act(&mut life, &mut rng).expect("room");
        }
        let room = *rng.pick(&[0, 100_000, 1_000_000]);
        leave_room(&machine, rng.below(room + 1));
        for _ in 0..rng.below(400) {
            match machine.act(&mut life, &mut rng) {
                Ok(()) => {}
                Err(error) if error.code() == Code::StorageFull => {
                    machine.unsure.clear();
                    machine.met.refused_full += 1;
                }
                Err(error) => panic!("a full disk is no reason to stop: {error}"),
            }
        }
        known_requests_are_answered(&mut life, &machine);
        if rng.chance(0.3) {
            machine.next_life(&mut rng);
            let store = machine.start().expect("a full disk opens");
            life = Life::new(store, &mut rng);
        }
        machine.disk.set_capacity(ROOMY);
        seals_all(&mut life);
        for _ in 0..20 {
            machine.act(&mut life, &mut rng).expect("room again");
        }
        machine.met.seals += life.store.reader().stats().seals;
    }
    machine.check(&mut life.store);
    machine.next_life(&mut rng);
    machine.start().expect("room");
    machine.met
}

/// A request that is stored is answered as a duplicate, room or not.
fn known_requests_are_answered(life: &mut Life, machine: &Machine) {
    let kept = (1..).map(Seq).zip(&machine.acked.log);
    let first = machine.acked.first_seq();
    for (seq, request) in kept.filter(|(seq, _)| *seq >= first) {
        let receipt = life.store.append_request(&request.message());
        let receipt = receipt.expect("it is known");
        assert_eq!((receipt.seq, receipt.duplicate), (seq, true));
    }
}

/// With room again nothing is left for the sealer to do before long.
fn seals_all(life: &mut Life) {
    life.store.close_overlay();
    if let Some(sealer) = &mut life.sealer {
        while sealer.step().expect("room again") != SealStep::Idle {}
    } else {
        let now = life.store.clock().now();
        life.store.commit(now).expect("room again");
    }
    assert!(!life.store.wants_sealer(), "all is sealed");
    let stats = life.store.reader().stats();
    assert_eq!(stats.sealed_lsn, stats.synced_lsn);
}

#[test]
fn full_disk_stops_nothing_for_good_and_loses_nothing() {
    let met = for_seeds("full_disk", 120, fill_and_empty);
    eprintln!("{met:?}");
    let one_alone = met.acked < 5_000;
    assert!(one_alone || met.refused_full > 1_000, "{met:?}");
    assert!(one_alone || met.sealer_full > 50, "{met:?}");
}

#[test]
fn appends_are_refused_below_the_watermark_while_offsets_and_dead_letters_go_on() {
    let mut rng = SimRng::seeded(1);
    let mut machine = Machine::new(1);
    machine.config.disk_free_bytes_min = 100_000;
    let mut store = machine.start().expect("room");
    machine
        .append(&mut store, Request::random(&mut rng))
        .expect("room");

    leave_room(&machine, 99_999);
    machine.clock.advance(std::time::Duration::from_secs(1));
    store.commit(store.clock().now()).expect("it only looks");
    let refused = machine.append(&mut store, Request::random(&mut rng));
    let Err(StoreError::Refused(refusal)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(refusal.code, Code::StorageFull);
    assert!(refusal.retry_after_ms.is_some());
    assert!(refusal.message.contains("99999 bytes free"), "{refusal}");
    assert!(store.reader().stats().storage_full);
    machine.unsure.clear();

    let till = name("till");
    store.set_consumer_offset(&till, Seq(1)).expect("goes on");
    assert!(
        store
            .move_to_dead_letter(Seq(1), &till, "no")
            .expect("goes on")
    );
    let known = machine.acked.log[0].message();
    assert!(store.append_request(&known).expect("known").duplicate);

    leave_room(&machine, 100_000);
    machine.clock.advance(std::time::Duration::from_secs(1));
    store.commit(store.clock().now()).expect("it only looks");
    machine
        .append(&mut store, Request::random(&mut rng))
        .expect("room again");
    assert!(!store.reader().stats().storage_full);
}

#[test]
fn without_room_requests_are_dropped_and_all_else_goes_with_a_later_commit() {
    let mut rng = SimRng::seeded(2);
    let machine = Machine::new(2);
    let mut store = machine.open().expect("room");
    // No segments to spare for ever.
    drop(store.take_sealer());
    let (reader, till) = (store.reader(), name("till"));
    let now = store.clock().now();
    leave_room(&machine, 0);
    let (request, offset) = loop {
        let request = Request::random(&mut rng);
        let record = Record::encode(&request.message(), &store.record_limits()).expect("fits");
        let print = store.fingerprinter().fingerprint(&record);
        let offset = reader.last_seq();
        store.stage_offset(&till, offset).expect("staged");
        let staged = store.stage_append(&record, Scope::default(), "", print, now);
        assert_eq!(staged, Ok((offset.next(), false)));
        match store.commit(now) {
            Ok(()) => {}
            Err(StoreError::Full { .. }) => break (request, offset),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(reader.last_seq(), offset, "nothing of the group is there");
    let found = reader.get_consumer_offset(&till).expect("readable");
    assert!(found < Some(offset), "{found:?}");
    assert_eq!(
        store.ledgers()[&till].offset(),
        offset,
        "it goes on with it"
    );
    assert!(matches!(store.reserve(0), Err(StoreError::Full { .. })));

    machine.disk.set_capacity(ROOMY);
    store.reserve(0).expect("room again");
    store.commit(now).expect("room again");
    let found = reader.get_consumer_offset(&till).expect("readable");
    assert_eq!(found, Some(offset));
    let found = reader.find(request.id, Scope::default()).expect("readable");
    assert_eq!(found, None, "the request was refused");
    assert_eq!(&reader.consumers(), store.ledgers());
    drop(store);
    let store = machine.open().expect("room");
    assert_eq!(store.ledgers()[&till].offset(), offset);
    assert_eq!(store.reader().last_seq(), offset);
}

#[test]
fn store_is_not_made_on_a_full_disk_and_is_made_once_there_is_room() {
    let machine = Machine::new(1);
    // Far below what an empty store takes, and ever more.
    for room in (0..4_000_000).step_by(50_000) {
        machine.disk.set_capacity(room);
        match machine.open() {
            Ok(mut store) => {
                let message = Request::random(&mut SimRng::seeded(1)).message();
                match store.append_request(&message) {
                    Ok(_) => return,
                    Err(error) => assert_eq!(error.code(), Code::StorageFull, "{room}: {error}"),
                }
            }
            Err(error) => assert_eq!(error.code(), Code::StorageFull, "{room}: {error}"),
        }
    }
    panic!("4 MB must be enough");
}

#[test]
fn full_disk_opens_and_reads_what_is_there() {
    let mut rng = SimRng::seeded(3);
    let mut machine = Machine::new(3);
    let store = machine.start().expect("room");
    let mut life = Life {
        store,
        sealer: None,
    };
    for _ in 0..100 {
        machine.act(&mut life, &mut rng).expect("room");
    }
    drop(life);
    leave_room(&machine, 0);
    let mut store = machine.start().expect("a full disk opens");
    let refused = machine.append(&mut store, Request::random(&mut rng));
    // The spare segments are a reserve: whether they take it is not decided here.
    if let Err(error) = refused {
        assert_eq!(error.code(), Code::StorageFull);
    }
}
