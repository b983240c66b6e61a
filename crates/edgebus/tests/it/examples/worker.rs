//! The worker against a server.

use edgebus::Code;

use super::process::Example;
use crate::blocking::fixture::{HANGS_AFTER, eventually, with_server};
use crate::bus::fixture::id;
use crate::delivery::fixture::name;

#[test]
fn worker_does_retries_and_rejects_orders_and_stops_in_good_order() {
    with_server(|host| {
        let worker = Example::start("worker", &[&host.server.url.to_string()]);
        worker.says("waiting for orders");
        let client = host.client();
        let ask = |number, text: &'static str| {
            let topic = "orders.created".parse().unwrap();
            let order = edgebus::Message::new(id(number), topic, text);
            client.request_timeout(order, HANGS_AFTER)
        };
        let apples = ask(1, "3 apples").unwrap();
        assert_eq!(apples.reply.payload, "3 apples are set aside");
        let pears = ask(2, "2 pears").unwrap();
        assert_eq!(pears.reply.payload, "2 pears are set aside");
        worker.says("order 2, attempt 2: Reply");
        let nonsense = ask(3, "{}").unwrap_err();
        assert_eq!(nonsense.code(), Code::DeadLettered);
        assert!(
            nonsense.to_string().contains("no order: \"{}\""),
            "{nonsense}"
        );

        worker.interrupt();
        let (status, lines) = worker.end();
        assert!(status.success(), "{lines:?}");
        assert!(lines.contains(&"stopped".to_owned()), "{lines:?}");
        let info = || client.consumer_info(name("orders")).unwrap();
        eventually(|| info().workers == 0);
        assert_eq!((info().in_flight, info().failed), (0, 2));
    });
}
