//! The worked example of docs/protocol.md, said to a real server.

use edgebus::Seq;
use edgebus::wire::Frame;

use crate::tcp::fixture::{TestServer, bytes_of};

const DOC: &str = include_str!("../../../../../docs/protocol.md");

/// The store of the example.
const STORE_ID: [u8; 16] = 0x7dc5_3df5_703e_49b3_8670_b1c4_68f4_7f1f_u128.to_be_bytes();

/// The block fenced as ```hex NAME, without the remarks behind `#`.
fn hex_block(name: &str) -> Vec<u8> {
    let (_, block) = DOC.split_once(&format!("```hex {name}\n")).unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let bytes = block
        .lines()
        .flat_map(|line| line.split('#').next().unwrap().split_whitespace());
    bytes
        .map(|byte| u8::from_str_radix(byte, 16).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_answers_the_worked_example_byte_for_byte() {
    let server = TestServer::start().await;
    let mut socket = server.socket().await;
    socket.write(&hex_block("hello")).await;
    let Some(Frame::Welcome(mut welcome)) = socket.frame().await else {
        panic!("no welcome")
    };
    // The example does not name a version of the software, and is of another store.
    welcome.software = "edgebus".into();
    assert_eq!(welcome.store_id(), Some(server.bus().store_id()));
    welcome.store_id = STORE_ID.to_vec().into();
    assert_eq!(bytes_of(&Frame::Welcome(welcome)), hex_block("welcome"));

    socket.write(&hex_block("send")).await;
    let receipts = socket.frame().await.unwrap();
    assert_eq!(bytes_of(&receipts), hex_block("receipts"));
    let stored = server.bus().reader().get_by_seq(Seq(1)).unwrap().unwrap();
    // Behind the frame's header, its first tag and its count.
    assert_eq!(stored.record().as_bytes(), &hex_block("send")[28..]);
}
