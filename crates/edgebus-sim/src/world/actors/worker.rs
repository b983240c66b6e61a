//! Works for a consumer: does what it is given, fails, gives back, hangs, and dies with what it
//! holds.

use std::time::Duration;

use edgebus::consumer::Reply;
use edgebus::{Code, ConsumeConfig, Delivered, Refusal};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::super::kinds::FaultKind;
use super::super::net::Owner;
use super::super::{Phase, World};
use super::{client, consumers, up_to};
use crate::history::{Call, Digest, Event, How, Outcome, Settling, Worker};
use crate::rng::SimRng;

/// Works until all is over.
pub(super) async fn work(world: World, consumer: &'static str, mut rng: SimRng) {
    while world.phase() < Phase::Over {
        let owner = world.new_client();
        let (mut fate, mut chance) = (rng.fork(), rng.fork());
        let working = life(&world, owner, consumer, &mut chance);
        client::live(&world, owner, &mut fate, working).await;
        if world.is_storm() {
            tokio::time::sleep(up_to(&mut rng, 500)).await;
        }
    }
}

async fn life(world: &World, owner: Owner, consumer: &'static str, rng: &mut SimRng) {
    let working = async {
        let library = client::connect(world, owner, rng).await;
        loop {
            let credit = *rng.pick(&[1, 4, 32]);
            let stream = Stream::open(world, consumer);
            let config = ConsumeConfig::new(consumers::name(consumer)).credit(credit);
            if let Ok(messages) = library.consumer(config).await {
                read(&stream, messages, rng).await;
            }
            drop(stream);
            tokio::time::sleep(Duration::from_millis(10) + up_to(rng, 150)).await;
        }
    };
    tokio::select! {
        biased;
        () = world.reached(Phase::Over) => {}
        () = working => {}
    }
}

/// A stream of messages as the checker knows it: from when it is asked for to its end.
struct Stream<'a> {
    world: &'a World,
    worker: Worker,
    consumer: &'static str,
}

impl<'a> Stream<'a> {
    fn open(world: &'a World, consumer: &'static str) -> Self {
        let worker = world.recorder.worker();
        world.recorder.note(Event::Opened {
            worker,
            consumer: consumers::name(consumer),
        });
        Self {
            world,
            worker,
            consumer,
        }
    }
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        let worker = self.worker;
        self.world.recorder.note(Event::Closed { worker });
    }
}

/// Reads a stream until it ends, or, by chance, earlier.
async fn read(stream: &Stream<'_>, mut messages: edgebus::Messages, rng: &mut SimRng) {
    let mut left = match stream.world.is_storm() && rng.chance(0.5) {
        true => 1 + rng.below(60),
        false => u64::MAX,
    };
    let mut held = FuturesUnordered::new();
    while left > 0 {
        tokio::select! {
            biased;
            Some(()) = held.next(), if !held.is_empty() => {}
            message = messages.next() => match message {
                Some(Ok(delivered)) => {
                    left -= 1;
                    given(stream, &delivered);
                    held.push(handle(stream, delivered, rng.fork()));
                }
                Some(Err(_)) | None => break,
            }
        }
    }
    drop(messages);
    while held.next().await.is_some() {}
}

fn given(stream: &Stream<'_>, delivered: &Delivered) {
    stream.world.recorder.note(Event::Given {
        worker: Some(stream.worker),
        consumer: consumers::name(stream.consumer),
        token: delivered.token(),
        id: delivered.request_id(),
        payload: Digest::of(&delivered.payload()),
        attempt: delivered.attempt(),
    });
}

/// Works on a message, and says what became of it.
async fn handle(stream: &Stream<'_>, delivered: Delivered, mut rng: SimRng) {
    let is_storm = stream.world.is_storm();
    if rng.chance(0.6) {
        tokio::time::sleep(up_to(&mut rng, 40)).await;
    }
    let responds = stream.consumer == consumers::ORDERS;
    // Some messages fail whoever works on them.
    let is_bad = delivered.payload().first().is_some_and(|byte| *byte < 4);
    match rng.below(100) {
        _ if !is_storm => done(stream, delivered, responds, &mut rng).await,
        0..6 => failed(stream, delivered, &mut rng),
        6 => {
            settling(stream, &delivered, How::Term);
            delivered.term("of no use");
        }
        7..11 => {
            let call = settling(stream, &delivered, How::Extend);
            let extended = delivered.extend().await;
            stream.world.recorder.told(call, outcome(extended));
            tokio::time::sleep(up_to(&mut rng, 1_200)).await;
            done(stream, delivered, responds, &mut rng).await;
        }
        11 | 12 => {
            settling(stream, &delivered, How::Release);
            delivered.release();
        }
        13 | 14 => {
            let what = format!("{} {}", stream.consumer, delivered.token());
            stream.world.fault(FaultKind::Hang, what);
            let time = consumers::ACK_WAIT_MS + rng.below(1_500);
            tokio::time::sleep(Duration::from_millis(time)).await;
            done(stream, delivered, responds, &mut rng).await;
        }
        _ if is_bad => failed(stream, delivered, &mut rng),
        _ => done(stream, delivered, responds, &mut rng).await,
    }
}

async fn done(stream: &Stream<'_>, delivered: Delivered, responds: bool, rng: &mut SimRng) {
    let waits = rng.chance(0.7);
    if !responds {
        let call = settling_waiting(stream, &delivered, How::Ack, waits);
        match waits {
            true => {
                let told = outcome(delivered.ack_durable().await);
                stream.world.recorder.told(call, told);
            }
            false => delivered.ack(),
        }
        return;
    }
    // Another one each time it is done, so that it shows when it is done twice.
    let mut bytes = [0; 24];
    rng.fill(&mut bytes);
    let how = How::Complete(Digest::of(&bytes));
    let reply = Reply::new(bytes.to_vec());
    let call = settling_waiting(stream, &delivered, how, waits);
    match waits {
        true => {
            let told = outcome(delivered.complete(reply).await);
            stream.world.recorder.told(call, told);
        }
        false => delivered.complete_now(reply),
    }
}

fn failed(stream: &Stream<'_>, delivered: Delivered, rng: &mut SimRng) {
    settling_waiting(stream, &delivered, How::Nak, false);
    let delay = rng.chance(0.5).then(|| up_to(rng, 300));
    delivered.nak(delay, "not today");
}

/// Notes what is said about a message; what is not waited for is as good as unknown.
fn settling(stream: &Stream<'_>, delivered: &Delivered, how: How) -> Call {
    settling_waiting(stream, delivered, how, how == How::Extend)
}

fn settling_waiting(stream: &Stream<'_>, delivered: &Delivered, how: How, waits: bool) -> Call {
    let recorder = &stream.world.recorder;
    let call = recorder.call();
    recorder.note(Event::Settling(Settling {
        call,
        worker: Some(stream.worker),
        consumer: consumers::name(stream.consumer),
        token: delivered.token(),
        how,
    }));
    if !waits {
        recorder.told(call, Outcome::Unknown);
    }
    call
}

/// What a worker is told.
pub(super) fn outcome(told: Result<(), Refusal>) -> Outcome {
    match told {
        Ok(()) => Outcome::Done,
        Err(refusal) => match refusal.code {
            Code::AlreadyCompleted => Outcome::AlreadyCompleted,
            Code::StaleLease => Outcome::StaleLease,
            Code::Unknown => Outcome::Unknown,
            code => Outcome::Refused(code),
        },
    }
}
