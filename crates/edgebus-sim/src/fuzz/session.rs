//! Targets `server` and `client`: a connection's machines under frames that nobody would say.
//!
//! Promises: no panic; the same decisions however the stream is cut; nothing is accepted once
//! something was refused for good; streams stay within their limits; each of a client's waiters is
//! told once, or handed back.

use std::collections::BTreeSet;

use edgebus_core::query::Query;
use edgebus_core::session::{
    ClientEvent, ClientSession, Outcome, ServerLimits, ServerSession, Step, deliver_frames,
    frames_for, notify_frames,
};
use edgebus_core::stream::{Consume, Open};
use edgebus_core::wire::{Frame, encode};
use edgebus_core::{Entry, RecordLimits, Refusal};

use super::mend::{self, FRAME_BYTES_MAX};
use super::seeds::made;
use super::wire::{decode, splits};

const STREAMS_MAX: usize = 4;

/// Target `server`: what a client says.
pub(super) fn server(data: &[u8]) {
    server_takes(data);
    let mut mended = data.to_vec();
    mend::frames(&mut mended);
    server_takes(&mended);
}

fn server_takes(data: &[u8]) {
    let (frames, _) = decode(data, [data.len().max(1)]);
    let (cut, _) = decode(data, splits(data));
    let told = server_steps(frames);
    assert_eq!(told, server_steps(cut), "decisions depend on the cut");
}

/// Each decision in words.
fn server_steps(frames: Vec<Frame>) -> Vec<String> {
    let limits = ServerLimits {
        frame_bytes_max: FRAME_BYTES_MAX,
        record: RecordLimits {
            payload_bytes_max: FRAME_BYTES_MAX / 2,
        },
        consumers_max: STREAMS_MAX,
        subscriptions_max: STREAMS_MAX,
    };
    let mut session = ServerSession::new(limits, "fuzzed");
    let mut ended: Option<Refusal> = None;
    let mut told = Vec::new();
    for frame in frames {
        let is_hello = matches!(frame, Frame::Hello(_));
        let was_open = session.client().is_some();
        let step = session.on_frame(frame);
        if let Some(refusal) = &ended {
            assert_eq!(step.as_ref(), Err(refusal), "listened to after a refusal");
        }
        assert!(
            was_open || is_hello || step.is_err(),
            "let in without Hello"
        );
        assert!(
            session.streams() <= 2 * STREAMS_MAX,
            "more streams than may be"
        );
        told.push(format!("{step:?}"));
        match step {
            Ok(step) => answers(step, &mut session),
            Err(refusal) => ended = Some(refusal),
        }
    }
    told
}

/// What a server does next; all it says is within the limit.
fn answers(step: Step, session: &mut ServerSession) {
    let within = |frame: &Frame| {
        let mut bytes = bytes::BytesMut::new();
        encode(frame, &mut bytes);
        assert!(
            bytes.len() - 4 <= FRAME_BYTES_MAX,
            "over the limit: {frame:?}"
        );
    };
    match step {
        Step::Append {
            records, refused, ..
        } => {
            let limits = RecordLimits::default();
            let mut entries: Vec<Entry> = Vec::new();
            let stored = (1..).zip(&records).map(|(seq, (tag, record))| {
                assert!(record.verify(&limits).is_ok(), "passed unverified");
                assert!(record.to_message().is_ok(), "passed and is no message");
                entries.push(made::entry_of(seq, record));
                let result = Ok((seq, false));
                Outcome { tag: *tag, result }
            });
            let outcomes: Vec<Outcome> = stored.chain(refused).collect();
            frames_for(outcomes).iter().for_each(within);
            let given = entries.iter().cloned().map(made::delivery).collect();
            deliver_frames(1, given, FRAME_BYTES_MAX).for_each(|frame| within(&frame));
            notify_frames(1, entries, FRAME_BYTES_MAX).for_each(|frame| within(&frame));
        }
        Step::Publish { refused, .. } => frames_for(refused).iter().for_each(within),
        // Every other one does not come about.
        Step::Open { stream, .. } if stream % 2 == 0 => {
            assert!(session.end_stream(stream, None).is_some(), "was open");
            assert!(session.end_stream(stream, None).is_none(), "ended twice");
        }
        Step::Reply(frame) | Step::Opened { welcome: frame, .. } => within(&frame),
        Step::Settle { answer, .. } => {
            let _ = format!("{answer:?}");
        }
        _ => {}
    }
}

/// Target `client`: what a server says to one who asked for everything.
pub(super) fn client(data: &[u8]) {
    client_takes(data);
    let mut mended = data.to_vec();
    mend::frames(&mut mended);
    client_takes(&mended);
}

fn client_takes(data: &[u8]) {
    let (frames, _) = decode(data, [data.len().max(1)]);
    let (cut, _) = decode(data, splits(data));
    let told = client_events(frames);
    assert_eq!(told, client_events(cut), "events depend on the cut");
}

/// Each event in words.
fn client_events(frames: Vec<Frame>) -> Vec<String> {
    let (mut session, _) = ClientSession::<u32, u32>::open("fuzzed", "fuzzed", None);
    let mut waiting: BTreeSet<u32> = (0..ASKED).collect();
    ask_everything(&mut session);
    let mut ended: Option<Refusal> = None;
    let mut told = Vec::new();
    for frame in frames {
        let outcome = session.on_frame(frame, |event| {
            assert!(ended.is_none(), "told after the end: {event:?}");
            if let Some(waiter) = waiter_of(&event) {
                assert!(waiting.remove(&waiter), "told twice: {event:?}");
            }
            told.push(format!("{event:?}"));
        });
        if let Some(refusal) = &ended {
            assert_eq!(outcome.as_ref(), Err(refusal), "went on after the end");
        }
        ended = outcome.err().or(ended);
    }
    let left = session.close();
    let mut back: Vec<u32> = left.replies;
    back.extend(left.questions);
    for (_, send, reply) in left.sends {
        back.push(send);
        back.extend(reply);
    }
    for waiter in back {
        assert!(waiting.remove(&waiter), "{waiter} is told and handed back");
    }
    assert!(waiting.is_empty(), "nobody told {waiting:?}");
    told
}

/// How many wait after [`ask_everything`].
const ASKED: u32 = 13;

/// Tags of sends are 0 to 4; those of questions begin at 2⁶²; streams are 1 and 2.
fn ask_everything(session: &mut ClientSession<u32, u32>) {
    let records = |count| (0..count).map(made::record).collect::<Vec<_>>();
    session.send(records(3), [0, 1, 2]);
    session.request(records(2), [3, 4], [5, 6]);
    session.query(Query::Stats, 7);
    session.query(Query::Stats, 8);
    session.publish(records(1), [9]);
    let consume = Consume::new(made::consumer(), 8);
    let (stream, _) = session.open_stream(&Open::Consume(consume.clone()), 10);
    session.open_stream(&Open::Consume(consume), 11);
    let nothing: [(_, &edgebus_core::consumer::Settlement); 0] = [];
    session.settle(stream, nothing, Some(12));
}

fn waiter_of(event: &ClientEvent<u32, u32>) -> Option<u32> {
    match event {
        ClientEvent::Sent(waiter, _)
        | ClientEvent::Answered(waiter, _)
        | ClientEvent::Page(waiter, _)
        | ClientEvent::Stats(waiter, _)
        | ClientEvent::Settled(waiter, _)
        | ClientEvent::Published(waiter, _)
        | ClientEvent::Managed(waiter, _)
        | ClientEvent::Refused(waiter, _)
        | ClientEvent::StreamOpened { waiter, .. } => Some(*waiter),
        _ => None,
    }
}
