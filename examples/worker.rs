//! A worker for orders, until Ctrl-C. Run a server (`edgebus serve`), this, and then ask:
//! `edgebus request orders.created '3 apples'`. `cargo run --example worker [tcp://HOST:PORT]`

use edgebus::consumer::{ConsumerConfig, Reply};
use edgebus::{Client, ConnectionState, ConsumeConfig, Handled, Incoming};

/// What becomes of an order. It may come more than once, always under the same request id.
async fn work_on(order: Incoming) -> Handled {
    let payload = order.payload();
    let text = str::from_utf8(&payload).unwrap_or_default();
    let (count, product) = text.split_once(' ').unwrap_or_default();
    match count.parse::<u32>() {
        // Nothing will ever make an order of it: to the dead letters, with the reason.
        Err(_) => Handled::Reject(format!("no order: {text:?}")),
        // It may work later: again after the consumer's backoff.
        Ok(_) if product == "pears" && order.attempt() == 1 => {
            Handled::Retry("the pears are still being counted".to_owned())
        }
        // Done, and never run again once this is on disk. A panic would be one more failed attempt.
        Ok(count) => Handled::Reply(Reply::new(format!("{count} {product} are set aside"))),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::args().nth(1);
    let server = server.unwrap_or_else(|| "tcp://127.0.0.1:7411".to_owned());
    let client = Client::builder(&server).name("worker").connect().await?;

    // It comes back by itself when it is lost, and goes on where it was.
    let mut states = client.states();
    tokio::spawn(async move {
        while let Some(state) = states.next().await {
            match state {
                ConnectionState::Connected { server, .. } => println!("connected to {server}"),
                ConnectionState::Lost { reason } => println!("lost the server: {reason}"),
                _ => {}
            }
        }
    });

    // Made when it is new; other workers under this name share its orders.
    let orders = ConsumerConfig::responder("orders.*".parse()?)
        .max_attempts(5)
        .backoff_ms([100, 1_000, 10_000]);
    let config = ConsumeConfig::new("orders".parse()?)
        .config(orders)
        .concurrency(4);
    let mut handler = client
        .handle("orders.*".parse()?, config, |order: Incoming| async move {
            let (seq, attempt) = (order.seq(), order.attempt());
            let handled = work_on(order).await;
            println!("order {seq}, attempt {attempt}: {handled:?}");
            handled
        })
        .await?;
    println!("waiting for orders at {server}; Ctrl-C ends this");

    tokio::select! {
        ended = handler.ended() => ended?,
        pressed = tokio::signal::ctrl_c() => pressed?,
    }
    handler.stop().await; // finishes what it began; all else goes to other workers, uncharged
    client.drain().await;
    println!("stopped");
    Ok(())
}
