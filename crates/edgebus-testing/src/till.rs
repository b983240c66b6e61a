//! What tills do all day: clients that send in all the ways there are, and note how each call
//! ended. [`Shop`] is many of them at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use edgebus::{
    Client, ClientBuilder, Entry, Message, PendingReceipt, Receipt, RequestId, SendError,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::dice::Dice;
use crate::history::{Call, Ended, History, Outcomes, check};
use crate::proxy::Proxy;

/// What takes this long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(60);

/// Fails instead of hanging.
///
/// # Panics
/// When it hangs.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANGS_AFTER, future)
        .await
        .expect("this hangs")
}

/// Calls of each till.
const CALLS: u64 = 120;
const TILLS: u64 = 8;

/// Eight tills; what they ask for, and every id they make.
#[derive(Debug)]
pub struct Shop {
    tills: JoinSet<(History, Vec<RequestId>)>,
    calls: watch::Receiver<u64>,
}

/// What the tills of a shop noted.
#[derive(Debug)]
pub struct Day {
    histories: Vec<History>,
    made: BTreeSet<RequestId>,
}

impl Shop {
    /// Connects the tills and has them begin.
    pub async fn open(url: &str, seed: u64, give_up_after: Duration) -> Self {
        let progress = watch::Sender::new(0);
        let calls = progress.subscribe();
        let mut tills = JoinSet::new();
        for number in 0..TILLS {
            let name = format!("till-{number}");
            let builder = || {
                client(url, &name)
                    .window(16 << (number % 3))
                    .give_up_after(Some(give_up_after))
            };
            let till = Till::new(connect(builder).await, seed, number, &progress);
            // Ids that all tills send.
            let shared: Vec<Message> = (0..20).map(|n| request(seed, 99, n)).collect();
            tills.spawn(async move { till.work(CALLS, &shared).await });
        }
        Self { tills, calls }
    }

    /// Waits until a part of all calls were made.
    pub async fn worked(&mut self, part: f64) {
        let calls = (part * (TILLS * CALLS) as f64) as u64;
        // An error would mean that all have ended.
        let _ = within(self.calls.wait_for(|made| *made >= calls)).await;
    }

    /// Waits for the end of work.
    ///
    /// # Panics
    /// When a till did, or it hangs.
    pub async fn close(mut self) -> Day {
        let mut histories = Vec::new();
        let mut made = BTreeSet::new();
        while let Some(till) = within(self.tills.join_next()).await {
            let (history, ids) = till.expect("a till fails");
            histories.push(history);
            made.extend(ids);
        }
        Day { histories, made }
    }
}

impl Day {
    /// Checks what was promised against the whole log: see [`check`]. When nothing was refused,
    /// there are as many requests as ids.
    ///
    /// # Panics
    /// With the first promise that was broken.
    pub fn check(&self, log: &[Entry]) -> Outcomes {
        let unknown = |history: &History| !history.unknown().is_empty();
        assert!(!self.histories.iter().any(unknown), "something is unknown");
        let outcomes = check(&self.histories, log);
        if outcomes.refused == 0 {
            assert_eq!(log.len(), self.made.len(), "each id is stored once");
        }
        outcomes
    }

    /// Checks that clients said no id that no till made.
    ///
    /// # Panics
    /// When they did, or made frames that are broken.
    pub fn check_heard(&self, proxy: &Proxy) {
        check_heard(proxy, &self.made);
    }
}

/// A client that notices a silent connection within moments.
pub fn client(url: &str, name: &str) -> ClientBuilder {
    Client::builder(url)
        .name(name)
        .heartbeat(Duration::from_millis(150))
}

/// Connects, however often that takes: the first time, trying again is up to the application.
pub async fn connect(builder: impl Fn() -> ClientBuilder) -> Client {
    within(async {
        loop {
            if let Ok(client) = builder().connect().await {
                return client;
            }
        }
    })
    .await
}

/// How a send ended.
///
/// # Panics
/// When it ended in a way that is not known here.
pub fn ended(result: &Result<Receipt, SendError>) -> Ended {
    match result {
        Ok(receipt) => Ended::Stored {
            seq: receipt.seq,
            duplicate: receipt.duplicate,
        },
        Err(SendError::Refused { refusal, .. }) => Ended::Refused(refusal.code),
        Err(SendError::Unknown { .. }) => Ended::Unknown,
        Err(other) => panic!("{other}"),
    }
}

/// The n-th request of a client; its content follows from it.
pub fn request(seed: u64, client: u64, n: u64) -> Message {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&seed.to_be_bytes());
    id[8..10].copy_from_slice(&(client as u16).to_be_bytes());
    id[10..].copy_from_slice(&n.to_be_bytes()[2..]);
    let topic = "orders.created".parse().expect("is sound");
    let payload = format!("request {n} of {client}");
    Message::new(RequestId::from_bytes(id), topic, payload)
}

/// Checks that clients said no id that no application made.
///
/// # Panics
/// When they did, or made frames that are broken.
pub fn check_heard(proxy: &Proxy, made: &BTreeSet<RequestId>) {
    for id in proxy.heard().into_keys() {
        assert!(made.contains(&id), "a client made up the id {id}");
    }
    assert_eq!(proxy.broken_frames(), 0);
}

/// A client that sends in all the ways there are, and notes how each call ended.
struct Till {
    client: Client,
    number: u64,
    seed: u64,
    dice: Dice,
    history: History,
    made: BTreeMap<RequestId, Message>,
    own: Vec<Message>,
    /// In flight, in the order of the calls.
    pending: VecDeque<(Call, PendingReceipt)>,
    /// Calls of all tills, for whoever acts on them.
    calls: watch::Sender<u64>,
}

impl Till {
    fn new(client: Client, seed: u64, number: u64, calls: &watch::Sender<u64>) -> Self {
        Self {
            client,
            number,
            seed,
            dice: Dice::new(seed, number, 7),
            history: History::of(format!("till-{number}")),
            made: BTreeMap::new(),
            own: Vec::new(),
            pending: VecDeque::new(),
            calls: calls.clone(),
        }
    }

    /// Calls so often, with ids of its own, asked for again at times, and with `shared` ones, which
    /// other tills ask for too; then asks again for what is unknown, until that ends well.
    async fn work(mut self, calls: u64, shared: &[Message]) -> (History, Vec<RequestId>) {
        for _ in 0..calls {
            match self.dice.below(8) {
                0 => self.send_under_a_new_id().await,
                1 => self.send_batch(shared).await,
                2 | 3 => {
                    let message = self.next(shared);
                    let call = self.note(&message);
                    let result = within(self.client.send_message(message)).await;
                    self.history.ended(call, ended(&result));
                }
                _ => self.enqueue(shared).await,
            }
            self.calls.send_modify(|calls| *calls += 1);
            if self.pending.len() > 30 || self.dice.chance(0.05) {
                self.settle().await;
            }
        }
        self.settle().await;
        (self.history, self.made.into_keys().collect())
    }

    /// A new request, or one that was sent before or is in flight, or one that others send too.
    fn next(&mut self, shared: &[Message]) -> Message {
        if !shared.is_empty() && self.dice.chance(0.1) {
            return self.dice.pick(shared).clone();
        }
        if !self.own.is_empty() && self.dice.chance(0.15) {
            return self.dice.pick(&self.own).clone();
        }
        let message = request(self.seed, self.number, self.own.len() as u64);
        self.own.push(message.clone());
        message
    }

    fn note(&mut self, message: &Message) -> Call {
        self.made.insert(message.id, message.clone());
        self.history.asks(message)
    }

    /// Under an id that the library makes, and tells however it ends.
    async fn send_under_a_new_id(&mut self) {
        let payload = format!("unnamed {}", self.dice.below(u64::MAX));
        let result = within(self.client.send("orders.created", payload.clone())).await;
        let id = match &result {
            Ok(receipt) => receipt.request_id,
            Err(error) => error.request_id(),
        };
        let message = Message::new(id, "orders.created".parse().expect("is sound"), payload);
        let call = self.note(&message);
        self.history.ended(call, ended(&result));
    }

    async fn send_batch(&mut self, shared: &[Message]) {
        let count = 1 + self.dice.below(10);
        let batch: Vec<_> = (0..count).map(|_| self.next(shared)).collect();
        let calls: Vec<_> = batch.iter().map(|message| self.note(message)).collect();
        let results = within(self.client.send_batch(batch)).await;
        assert_eq!(results.len(), calls.len());
        for (call, result) in calls.into_iter().zip(results) {
            self.history.ended(call, ended(&result));
        }
    }

    async fn enqueue(&mut self, shared: &[Message]) {
        let message = self.next(shared);
        let call = self.note(&message);
        match within(self.client.enqueue(message)).await {
            // Whoever does not wait for the answer does not know it.
            Ok(pending) if self.dice.chance(0.02) => {
                drop(pending);
                self.history.ended(call, Ended::Unknown);
            }
            Ok(pending) => self.pending.push_back((call, pending)),
            Err(error) => self.history.ended(call, ended(&Err(error))),
        }
    }

    /// Waits for what is in flight, and asks again for what is unknown then.
    async fn settle(&mut self) {
        while let Some((call, pending)) = self.pending.pop_front() {
            let result = within(pending).await;
            self.history.ended(call, ended(&result));
        }
        within(async {
            loop {
                let unknown = self.history.unknown();
                if unknown.is_empty() {
                    return;
                }
                for id in unknown {
                    let message = self.made[&id].clone();
                    let call = self.note(&message);
                    let result = self.client.send_message(message).await;
                    self.history.ended(call, ended(&result));
                }
            }
        })
        .await;
    }
}
