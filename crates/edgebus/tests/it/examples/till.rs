//! The till, first without a server and then with one.

use edgebus_testing::Proxy;

use super::process::Example;
use crate::blocking::fixture::{eventually, with_server};
use crate::bus::fixture::log;
use crate::delivery::fixture::{pattern, responder};

#[test]
fn till_sells_without_a_server_and_asks_and_hears_once_there_is_one() {
    with_server(|host| {
        let way = Proxy::to(&host.server.url.to_string());
        way.refuse(true);
        let mut till = Example::start("till", &[way.url()]);
        till.says("0 sales of earlier wait here");
        till.says("no server: sales are kept here");
        till.hears("sell 3 apples");
        till.says("sold, kept here as 1");
        till.hears("sell 2 pears");
        till.says("sold, kept here as 2");

        way.calm();
        till.says(&format!("connected to {}", way.url()));
        eventually(|| log(host.server.bus()).len() == 2);
        let client = host.client();
        let handler = client.handle(pattern("prices.ask"), responder(), |request| {
            assert_eq!(request.payload(), "apples");
            edgebus::consumer::Reply::new("2.49")
        });
        till.hears("price apples");
        till.says("costs 2.49");
        eventually(|| client.publish("prices.changed", "apples 1.99").unwrap() == 1);
        till.says("new price: b\"apples 1.99\"");
        till.hears("sell 1 apples");
        till.says("sold, seq ");
        let (status, lines) = till.end();
        assert!(status.success(), "{lines:?}");
        assert_eq!(
            lines.last().map(String::as_str),
            Some("0 sales wait here"),
            "{lines:?}"
        );
        handler.unwrap().stop();

        let sales = log(host.server.bus()).into_iter();
        let sales = sales.filter(|entry| entry.record().topic_str() == "sales.made");
        let sales: Vec<_> = sales.map(|entry| entry.record().payload()).collect();
        assert_eq!(sales, ["3 apples", "2 pears", "1 apples"]);
    });
}
