//! A handler in this process: requests are stored, run, and their replies stored with them.
//! `cargo run --example handler`

use edgebus::consumer::Reply;
use edgebus::delivery::{ConsumeConfig, Handled, Incoming};
use edgebus::{Message, MessageBus, new_request_id};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bus = MessageBus::open("handler-data")?;

    let config = ConsumeConfig::new("prices".parse()?);
    let handler = bus
        .handle(
            "prices.*".parse()?,
            config,
            |request: Incoming| async move {
                match request.topic() {
                    "prices.apples" => Handled::Reply(Reply::new("2.49")),
                    _ => Handled::Reject("no such fruit".into()),
                }
            },
        )
        .await?;

    let ask = Message::new(new_request_id(), "prices.apples".try_into()?, "");
    let response = bus.request_message(ask.clone()).await?;
    println!("apples: {:?}", response.reply.payload);

    let again = bus.request_message(ask).await?; // not run again: the stored reply, byte for byte
    assert_eq!(again.reply, response.reply);

    let pears = bus.request("prices.pears", "").await;
    println!("pears: {}", pears.expect_err("it is rejected"));

    handler.stop().await;
    bus.shutdown().await;
    Ok(())
}
