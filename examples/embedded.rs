//! A bus in this process: no server, no socket. `cargo run --example embedded`

use edgebus::{Message, MessageBus, Seq, new_request_id};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = MessageBus::open("embedded-data")?;

    let order = Message::new(
        new_request_id(),
        "orders.created".try_into()?,
        "{\"order\":1}",
    );
    let receipt = bus.send_to_server(order.clone()).await?; // on disk when this returns
    println!("stored {} as seq {}", receipt.request_id, receipt.seq);

    let again = bus.send_to_server(order).await?; // stored once, however often it is sent
    assert_eq!((again.seq, again.duplicate), (receipt.seq, true));

    for entry in bus.replay(Seq(1)) {
        let entry = entry?;
        println!(
            "{} {} {:?}",
            entry.seq(),
            entry.record().topic_str(),
            entry.record().payload()
        );
    }
    bus.shutdown().await;
    Ok(())
}
