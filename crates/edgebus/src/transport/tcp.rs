//! What the operating system is told about every TCP connection.
//!
//! It finds out that the other end has gone without a word: its power failed, a cable was pulled. Without
//! this a server would hold a place for such a client, and a client would wait for such a server, for
//! as long as the process lives. No client has to do anything for it.
//!
//! And it takes no more from us than the other end takes from it, but for a little: what waits there
//! is memory and work that nobody could give to somebody else any more.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// How long nothing may come before the other end is asked, how often it is asked, and how many
/// questions in a row may stay without an answer: it is given up after half a minute.
const IDLE: Duration = Duration::from_secs(15);
const ASK_EVERY: Duration = Duration::from_secs(5);
const ASK_TIMES: u32 = 3;
/// How long what was sent may stay without an acknowledgement.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
/// Bytes that may wait to be sent; what is on its way does not count, so that distance costs no speed.
const UNSENT_MAX: u32 = 256 * 1024;

/// Sets the options of a connection.
///
/// # Errors
/// The operating system's.
pub(super) fn prepare(stream: &TcpStream) -> io::Result<()> {
    let asking = TcpKeepalive::new()
        .with_time(IDLE)
        .with_interval(ASK_EVERY)
        .with_retries(ASK_TIMES);
    let socket = SockRef::from(stream);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&asking)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    socket.set_tcp_notsent_lowat(UNSENT_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_ends_of_a_connection_are_prepared() {
        for stream in both_ends().await {
            prepare(&stream).expect("options");
            let socket = SockRef::from(&stream);
            assert!(socket.keepalive().expect("option"));
            assert_eq!(socket.tcp_keepalive_time().expect("option"), IDLE);
            let unacknowledged = socket.tcp_user_timeout().expect("option");
            assert_eq!(unacknowledged, Some(UNACKNOWLEDGED));
        }
    }

    #[tokio::test]
    async fn little_is_taken_for_an_end_that_reads_nothing() {
        let [silent, speaks] = both_ends().await;
        prepare(&speaks).expect("options");
        let chunk = vec![7; 64 * 1024];
        let mut taken = 0;
        speaks.writable().await.expect("open");
        while let Ok(bytes) = speaks.try_write(&chunk) {
            taken += bytes;
        }
        // What the other end holds, and what may wait; without the option it is megabytes.
        assert!(taken < 1_500_000, "{taken} bytes");
        drop(silent);
    }

    async fn both_ends() -> [TcpStream; 2] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("free port");
        let address = listener.local_addr().expect("bound");
        let (connected, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        [connected.expect("connected"), accepted.expect("accepted").0]
    }
}
