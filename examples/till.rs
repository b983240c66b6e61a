//! A till without async: it sells whether or not a server is there, asks for prices, and hears of
//! new ones. `cargo run --example till [tcp://HOST:PORT]`, and then type `sell 3 apples`.

use std::error::Error;
use std::io::stdin;
use std::thread;
use std::time::Duration;

use edgebus::blocking::{Client, SpoolingClient};
use edgebus::{Accepted, ConnectionState, Message, Notification, Subscription, new_request_id};

/// On a disk when this returns: the server's, or this till's until a server has it.
fn sell(till: &SpoolingClient, what: String) {
    match till.send("sales.made", what) {
        Ok(Accepted::Stored(receipt)) => println!("sold, seq {}", receipt.seq),
        Ok(Accepted::Spooled(spooled)) => println!("sold, kept here as {}", spooled.number),
        Ok(_) => println!("sold"),
        Err(error) => println!("not sold: {error}"),
    }
}

/// Whoever handles `prices.ask` answers. Nobody waits at a till for long.
fn price(client: &Client, what: String) -> Result<(), Box<dyn Error>> {
    let ask = Message::new(new_request_id(), "prices.ask".try_into()?, what);
    match client.request_timeout(ask, Duration::from_secs(3)) {
        Ok(response) => println!("costs {}", str::from_utf8(&response.reply.payload)?),
        Err(error) => println!("no price: {error}"),
    }
    Ok(())
}

/// Prints new prices for as long as the till runs.
fn news(client: &Client) -> Result<(), edgebus::Refusal> {
    for news in client.subscribe(Subscription::to("prices.changed".parse()?))? {
        match news {
            Notification::Message(entry) => println!("new price: {:?}", entry.record().payload()),
            Notification::Interrupted => println!("prices may have changed meanwhile"),
            _ => {}
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let server = std::env::args().nth(1);
    let server = server.unwrap_or_else(|| "tcp://127.0.0.1:7411".to_owned());
    let till = Client::builder(&server)
        .name("till-7")
        .give_up_after(None) // who listens for news waits for a server for as long as it takes
        .spool("till-spool")
        .connect()?;
    println!("{} sales of earlier wait here", till.waiting());

    let states = till.client().states();
    thread::spawn(move || {
        states.for_each(|state| match state {
            ConnectionState::Connected { server, .. } => println!("connected to {server}"),
            _ => println!("no server: sales are kept here"),
        });
    });
    let client = till.client().clone();
    thread::spawn(move || news(&client).map_err(|refusal| println!("no news: {refusal}")));

    for line in stdin().lines() {
        match line?.split_once(' ') {
            Some(("sell", what)) => sell(&till, what.to_owned()),
            Some(("price", what)) => price(till.client(), what.to_owned())?,
            _ => println!("sell COUNT PRODUCT, price PRODUCT; Ctrl-D ends this"),
        }
    }
    // What cannot leave now does so the next time.
    let _ = till.flush_timeout(Duration::from_secs(1));
    println!("{} sales wait here", till.waiting());
    Ok(())
}
