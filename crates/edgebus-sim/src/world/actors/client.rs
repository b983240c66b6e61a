//! A client as a process of its own: connected in the end, dead in the middle.

use std::sync::Arc;
use std::time::Duration;

use edgebus::client::ClientBuilder;
use edgebus::{Client, ClientConfig, Scope};

use super::super::dialer::Dialer;
use super::super::kinds::FaultKind;
use super::super::net::Owner;
use super::super::scopes;
use super::{World, up_to};
use crate::rng::SimRng;

/// Where the server is: there is only one.
const SERVER: &str = "tcp://10.0.0.1:7411";

/// A client that is to be connected, with patience by chance.
pub(super) fn builder(
    world: &World,
    owner: Owner,
    scope: Scope,
    rng: &mut SimRng,
) -> ClientBuilder {
    let mut config = ClientConfig::default()
        .name(format!("client-{}", owner.0))
        .connect_timeout(Duration::from_millis(*rng.pick(&[100, 500, 2_000])))
        .heartbeat(Duration::from_millis(*rng.pick(&[50, 300, 1_000])))
        .give_up_after(Some(Duration::from_millis(
            *rng.pick(&[300, 2_000, 10_000]),
        )));
    if scope != Scope::default() {
        config = config.token_file(scopes::token_file());
    }
    config = config.connector(Arc::new(Dialer {
        net: world.net.clone(),
        owner,
    }));
    Client::builder(SERVER).config(config)
}

/// Connects for as long as it takes.
pub(super) async fn connect(world: &World, owner: Owner, rng: &mut SimRng) -> Client {
    connect_in(world, owner, Scope::default(), rng).await
}

/// The same, as somebody whose ids live in this scope.
pub(super) async fn connect_in(
    world: &World,
    owner: Owner,
    scope: Scope,
    rng: &mut SimRng,
) -> Client {
    loop {
        match builder(world, owner, scope, rng).connect().await {
            Ok(client) => return client,
            Err(_) => tokio::time::sleep(up_to(rng, 200)).await,
        }
    }
}

/// Lives one life of a process: to its end, or to its death if that comes before.
pub(super) async fn live(
    world: &World,
    owner: Owner,
    rng: &mut SimRng,
    living: impl Future<Output = ()>,
) {
    let lasts = match world.is_storm() && rng.chance(0.5) {
        true => Duration::from_millis(20) + up_to(rng, 6_000),
        false => Duration::MAX,
    };
    let dies = async {
        tokio::select! {
            biased;
            () = tokio::time::sleep(lasts) => {}
            // Nobody dies any more.
            () = world.reached(super::super::Phase::Calm) => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = dies => world.fault(FaultKind::KillClient, owner),
        () = living => {}
    }
    world.gone(owner);
}
