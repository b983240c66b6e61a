//! One connection: both directions, until an end closes or the weather does.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;

use super::heard::Listener;
use super::weather::{End, Fate, Faults, Weather, fate};
use super::{Orders, Shared};
use crate::dice::Dice;

/// The largest chunk; how large each is, is chance, so that frames are torn anywhere.
const CHUNK_BYTES_MAX: usize = 16 * 1024;

/// A connection that a client made.
pub(super) struct Carrier {
    seed: u64,
    number: u64,
    orders: watch::Receiver<Orders>,
    shared: Arc<Shared>,
}

impl Carrier {
    pub(super) fn new(
        seed: u64,
        number: u64,
        orders: watch::Receiver<Orders>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            seed,
            number,
            orders,
            shared,
        }
    }

    /// Carries it to its end.
    pub(super) async fn run(self, client: TcpStream) {
        let shared = self.shared.clone();
        shared.open.fetch_add(1, Ordering::Relaxed);
        self.carry(client).await;
        shared.open.fetch_sub(1, Ordering::Relaxed);
    }

    async fn carry(mut self, mut client: TcpStream) {
        let mut dice = Dice::new(self.seed, self.number, 0);
        let orders = self.orders.borrow_and_update().clone();
        if orders.refusing || dice.chance(orders.weather.refuse) {
            return self.refuse(&client);
        }
        let mut cuts = self.orders.clone();
        let cut = async move {
            // An error would mean that the proxy is gone.
            let _ = cuts.wait_for(|now| now.cuts != orders.cuts).await;
        };
        tokio::pin!(cut);
        let connected = tokio::select! {
            connected = self.connect() => connected,
            () = &mut cut => return self.refuse(&client),
        };
        let Ok(mut server) = connected else {
            return self.refuse(&client);
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ended = {
            let (from_client, to_client) = client.split();
            let (from_server, to_server) = server.split();
            let there = Way {
                dice,
                orders: self.orders.clone(),
                faults: |weather| weather.to_server,
                is_held: |orders| orders.frozen,
                listener: Some((Listener::new(), self.shared.clone())),
            };
            let back = Way {
                dice: Dice::new(self.seed, self.number, 1),
                orders: self.orders.clone(),
                faults: |weather| weather.to_client,
                is_held: |orders| orders.frozen || orders.muted,
                listener: None,
            };
            tokio::select! {
                ended = async {
                    tokio::try_join!(
                        there.pass_all(from_client, to_server),
                        back.pass_all(from_server, to_client),
                    )
                } => ended.map(drop),
                () = &mut cut => Err(End::Reset),
            }
        };
        let Err(end) = ended else {
            return;
        };
        // Before anyone can see that it ended.
        self.shared.lost.fetch_add(1, Ordering::Relaxed);
        if end == End::Silence {
            cut.await;
        }
        if end != End::Close {
            reset(&client);
            reset(&server);
        }
    }

    fn refuse(&self, client: &TcpStream) {
        self.shared.lost.fetch_add(1, Ordering::Relaxed);
        reset(client);
    }

    async fn connect(&mut self) -> std::io::Result<TcpStream> {
        passes(&mut self.orders, |orders| orders.frozen).await;
        let target = self.orders.borrow().target.clone();
        TcpStream::connect(target).await
    }
}

/// One direction of a connection.
struct Way {
    dice: Dice,
    orders: watch::Receiver<Orders>,
    faults: fn(&Weather) -> Faults,
    is_held: fn(&Orders) -> bool,
    listener: Option<(Listener, Arc<Shared>)>,
}

impl Way {
    /// Passes everything on until its source says that nothing more comes.
    ///
    /// # Errors
    /// How the connection ends, all of it and now.
    async fn pass_all(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> Result<(), End> {
        let mut buffer = vec![0; CHUNK_BYTES_MAX];
        loop {
            let most = 1 + self.dice.below(CHUNK_BYTES_MAX as u64) as usize;
            let read = from.read(&mut buffer[..most]).await;
            let count = read.map_err(|_| End::Reset)?;
            if let Some((listener, shared)) = &mut self.listener {
                listener.hear(&buffer[..count], &mut shared.heard.lock());
            }
            passes(&mut self.orders, self.is_held).await;
            if count == 0 {
                return to.shutdown().await.map_err(|_| End::Reset);
            }
            let faults = (self.faults)(&self.orders.borrow().weather);
            let passing = match fate(&mut self.dice, &faults, count) {
                Fate::Pass => count,
                Fate::Late(by) => {
                    tokio::time::sleep(by).await;
                    count
                }
                Fate::Flipped(bit) => {
                    buffer[bit / 8] ^= 1 << (bit % 8);
                    count
                }
                Fate::CutAfter(passing, end) => {
                    let _ = to.write_all(&buffer[..passing]).await;
                    return Err(end);
                }
                Fate::Vanish => return Err(End::Silence),
            };
            let written = to.write_all(&buffer[..passing]).await;
            written.map_err(|_| End::Reset)?;
        }
    }
}

/// Waits until something may pass.
async fn passes(orders: &mut watch::Receiver<Orders>, is_held: fn(&Orders) -> bool) {
    let _ = orders.wait_for(|orders| !is_held(orders)).await;
}

/// Has a connection end by a reset when it is dropped, as when the other machine is gone.
fn reset(stream: &TcpStream) {
    // An error would mean that it has ended already.
    let _ = stream.set_zero_linger();
}
