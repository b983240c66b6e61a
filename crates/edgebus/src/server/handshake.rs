//! The TLS handshake of one client, and who it turns out to be.
//!
//! Invariants: it takes no longer than the time for a handshake, of which the first frame gets what
//! is left. Whoever is refused is told why, in TLS or in a frame.

use edgebus_core::{Code, Refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::guard::Admission;
use super::guest::{Guest, Peer};
use super::listening::Entered;
use super::{GOODBYE_TIMEOUT, Shared, say_goodbye};
use crate::tls::{self, ServerTls};
use crate::transport::{Metered, below_tls, over_tls};

/// Shakes hands until some time.
///
/// # Errors
/// Why it is not let in, which it was told; nothing when it is gone.
pub(super) async fn enter(
    shared: &Shared,
    stream: TcpStream,
    peer: Peer,
    until: Instant,
) -> Result<Entered, Option<Refusal>> {
    // There is a certificate wherever somebody listens for TLS.
    let trust = shared.guard.tls().ok_or(None)?;
    let stream = below_tls(stream).map_err(|_| None)?;
    let accepting = trust.tls.acceptor().accept(stream).into_fallible();
    let accepting = tls::remembering(timeout_at(until, accepting));
    let (accepted, refused_with) = accepting.await;
    let stream = match accepted {
        Ok(Ok(stream)) => stream,
        Ok(Err((error, socket))) => {
            let_read(socket).await;
            let refusal = tls::seen_by_server(&error);
            return Err(Some(with(refusal, refused_with)));
        }
        Err(_) => {
            let seconds = shared.config.limits.handshake_timeout.as_secs_f32();
            let late = format!("no TLS handshake within {seconds} s");
            return Err(Some(Refusal::new(Code::HandshakeTimeout, late)));
        }
    };
    let chain = stream.get_ref().1.peer_certificates();
    let chain = chain.map(<[_]>::to_vec).unwrap_or_default();
    let frame_bytes_max = shared.config.limits.frame_bytes_max;
    let (mut reader, writer) = over_tls(stream.into(), frame_bytes_max);
    match ServerTls::identity(&chain) {
        Ok(identity) => {
            let guest = Guest::new(peer, identity).encrypted();
            let guest = match chain.is_empty() {
                true => guest,
                false => guest.admitted(Admission::new(chain, trust)),
            };
            Ok((reader, writer, guest))
        }
        Err(refusal) => {
            say_goodbye(&mut reader, writer, refusal.clone()).await;
            Err(Some(with(refusal, chain.first().map(tls::claimed))))
        }
    }
}

/// Says also which certificate it was, for the log: who is locked out is found by that.
fn with(mut refusal: Refusal, certificate: Option<String>) -> Refusal {
    if let Some(certificate) = certificate {
        refusal.message = format!("{}; {certificate}", refusal.message);
    }
    refusal
}

/// Lets a client read why it is refused: a socket that is closed with unread bytes in it resets the
/// connection, and the last alert may then never be read.
async fn let_read(mut socket: Metered) {
    let said = async {
        if socket.shutdown().await.is_ok() {
            let mut thrown_away = [0; 1024];
            while let Ok(1..) = socket.read(&mut thrown_away).await {}
        }
    };
    // The connection ends either way.
    let _ = timeout(GOODBYE_TIMEOUT, said).await;
}
