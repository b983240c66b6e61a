//! The proxy, between plain sockets.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::BytesMut;
use edgebus_core::wire::{Frame, encode};
use edgebus_core::{Message, Record, RecordLimits, RequestId};
use edgebus_testing::{Faults, Proxy, Weather};

/// Sends everything back, to as many connections as come; and where it listens.
fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = url_of(&listener);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut back = stream.try_clone().expect("a socket");
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut stream, &mut back);
                let _ = back.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    url
}

fn url_of(listener: &TcpListener) -> String {
    format!("tcp://{}", listener.local_addr().expect("an address"))
}

fn connect(proxy: &Proxy) -> TcpStream {
    let address = proxy.url().strip_prefix("tcp://").expect("a URL");
    let stream = TcpStream::connect(address).expect("the proxy listens");
    let hangs = Some(Duration::from_secs(30));
    stream.set_read_timeout(hangs).expect("a socket");
    stream
}

fn passes(stream: &mut TcpStream) {
    let mut answer = [0; 2];
    stream.write_all(b"hi").expect("is open");
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"hi");
}

/// What an echo brings back before the connection ends, and whether it was reset.
fn bytes_back(stream: TcpStream, sent: Vec<u8>) -> (Vec<u8>, bool) {
    let mut writer = stream.try_clone().expect("a socket");
    let writing: JoinHandle<()> = std::thread::spawn(move || {
        let _ = writer.write_all(&sent);
        let _ = writer.shutdown(std::net::Shutdown::Write);
    });
    let mut stream = stream;
    let mut came = Vec::new();
    let mut part = [0; 4096];
    let was_reset = loop {
        match stream.read(&mut part) {
            Ok(0) => break false,
            Ok(count) => came.extend_from_slice(&part[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("this hangs"),
            Err(_) => break true,
        }
    };
    writing.join().expect("has written");
    (came, was_reset)
}

fn text(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at / 7) as u8).collect()
}

#[test]
fn late_chunks_arrive_whole_and_in_order_up_to_the_last_byte() {
    let mut late = Faults::none();
    (late.delay, late.delay_max) = (0.5, Duration::from_millis(2));
    (late.stall, late.stall_for) = (0.05, Duration::from_millis(20));
    let proxy = Proxy::with(&echo(), 1, Weather::of(late));
    let (came, was_reset) = bytes_back(connect(&proxy), text(300_000));
    assert!(came == text(300_000) && !was_reset);
    assert_eq!((proxy.accepted(), proxy.lost()), (1, 0));
}

#[test]
fn what_is_cut_and_halved_is_the_beginning_of_what_was_said() {
    let mut faults = Faults::none();
    (faults.cut, faults.halve) = (0.03, 0.03);
    let proxy = Proxy::with(&echo(), 2, Weather::of(faults));
    let mut shortened = 0;
    for _ in 0..30 {
        let (came, _) = bytes_back(connect(&proxy), text(200_000));
        assert!(text(200_000).starts_with(&came));
        shortened += u64::from(came.len() < 200_000);
    }
    assert!(shortened > 10, "only {shortened} of 30 were cut");
    assert!(proxy.lost() >= shortened);
}

#[test]
fn one_bit_of_a_chunk_may_arrive_wrong() {
    let mut faults = Faults::none();
    faults.flip = 1.0;
    let mut weather = Weather::calm();
    weather.to_client = faults;
    let proxy = Proxy::with(&echo(), 3, weather);
    let mut stream = connect(&proxy);
    let mut answer = [0; 1];
    stream.write_all(&[0]).expect("is open");
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer[0].count_ones(), 1);
}

#[test]
fn cut_refused_and_retargeted_connections_are_so_at_once() {
    let proxy = Proxy::to(&echo());
    let mut stream = connect(&proxy);
    passes(&mut stream);
    proxy.cut_all();
    let lost = stream.read(&mut [0; 1]).expect_err("it was reset");
    assert_eq!(lost.kind(), ErrorKind::ConnectionReset);
    proxy.refuse(true);
    let mut stream = connect(&proxy);
    assert!(stream.read(&mut [0; 1]).is_err());
    proxy.calm();
    passes(&mut connect(&proxy));

    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    proxy.set_target(&url_of(&other));
    let _stream = connect(&proxy);
    other.accept().expect("it leads here now");
}

#[test]
fn nothing_passes_while_frozen_and_everything_afterwards() {
    let proxy = Proxy::to(&echo());
    let mut stream = connect(&proxy);
    passes(&mut stream);
    proxy.freeze(true);
    stream.write_all(b"late").expect("is open");
    stream
        .set_read_timeout(Some(Duration::from_millis(50)))
        .expect("a socket");
    assert!(stream.read(&mut [0; 4]).is_err());
    proxy.freeze(false);
    stream.set_read_timeout(None).expect("a socket");
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"late");
}

#[test]
fn ids_are_heard_however_the_frames_are_torn() {
    let proxy = Proxy::to(&echo());
    let id = |number: u8| RequestId::from_bytes([number; 16]);
    let record = |number: u8| {
        let topic = "a.b".parse().expect("a topic");
        let message = Message::new(id(number), topic, vec![number; 900]);
        Record::encode(&message, &RecordLimits::default()).expect("fits")
    };
    let mut bytes = BytesMut::new();
    for (first_tag, records) in [(0, vec![record(1), record(2)]), (2, vec![record(1)])] {
        encode(&Frame::Send { first_tag, records }, &mut bytes);
    }
    let mut stream = connect(&proxy);
    let mut back = [0; 100];
    for part in bytes.chunks(100) {
        stream.write_all(part).expect("is open");
        stream
            .read_exact(&mut back[..part.len()])
            .expect("came back");
    }
    let heard = proxy.heard().into_iter().collect::<Vec<_>>();
    assert_eq!(heard, [(id(1), 2), (id(2), 1)]);
    assert_eq!(proxy.broken_frames(), 0);
}
