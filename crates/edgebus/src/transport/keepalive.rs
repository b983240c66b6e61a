//! Finds out that the other end has gone without a word: its power failed, a cable was pulled.
//!
//! Without this a server would hold a place for such a client, and a client would wait for such a
//! server, for as long as the process lives. The operating system asks the other end's, so no
//! client has to do anything for it.

use std::io;
use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::TcpStream;

/// How long nothing may come before the other end is asked, how often it is asked, and how many
/// questions in a row may stay without an answer: it is given up after half a minute.
const IDLE: Duration = Duration::from_secs(15);
const ASK_EVERY: Duration = Duration::from_secs(5);
const ASK_TIMES: u32 = 3;
/// How long what was sent may stay without an acknowledgement.
const UNACKNOWLEDGED_MS: u32 = 30_000;

/// Has the operating system watch over a connection.
pub(super) fn watch(stream: &TcpStream) -> io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, IDLE)?;
    sockopt::set_tcp_keepintvl(stream, ASK_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, ASK_TIMES)?;
    Ok(sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MS)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_ends_of_a_connection_are_watched() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("free port");
        let address = listener.local_addr().expect("bound");
        let (connected, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        for stream in [connected.expect("connected"), accepted.expect("accepted").0] {
            watch(&stream).expect("options");
            assert!(sockopt::socket_keepalive(&stream).expect("option"));
            assert_eq!(sockopt::tcp_keepidle(&stream), Ok(IDLE));
            assert_eq!(sockopt::tcp_user_timeout(&stream), Ok(UNACKNOWLEDGED_MS));
        }
    }
}
