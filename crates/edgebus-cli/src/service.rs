//! Tells whoever started the server that it is ready, or stopping: systemd waits for that with
//! `Type=notify`.
//!
//! The protocol is one datagram with a line for each fact, to the socket that `NOTIFY_SOCKET` names
//! (sd_notify(3)). Nobody has to listen: a server that was started by hand tells nobody.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The variable that names the socket.
const SOCKET: &str = "NOTIFY_SOCKET";

/// What there is to tell.
#[derive(Clone, Copy, Debug)]
pub(crate) enum State {
    /// It listens.
    Ready,
    /// It takes nothing more.
    Stopping,
}

/// Tells it, if somebody wants to know.
pub(crate) fn tell(state: State) {
    let Some(socket) = std::env::var_os(SOCKET).filter(|name| !name.is_empty()) else {
        return;
    };
    let line: &[u8] = match state {
        State::Ready => b"READY=1",
        State::Stopping => b"STOPPING=1",
    };
    if let Err(error) = send(&socket, line) {
        // It waits in vain, and will say so too.
        tracing::warn!("{SOCKET} {} cannot be told: {error}", socket.display());
    }
}

fn send(socket: &OsString, line: &[u8]) -> io::Result<()> {
    let sender = UnixDatagram::unbound()?;
    // Whoever does not read must not keep the server.
    sender.set_nonblocking(true)?;
    sender.send_to_addr(line, &address(socket)?).map(|_| ())
}

/// A path, or on Linux a name behind an `@`.
fn address(socket: &OsStr) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    if let Some(name) = socket.as_bytes().strip_prefix(b"@") {
        use std::os::linux::net::SocketAddrExt;
        return SocketAddr::from_abstract_name(name);
    }
    SocketAddr::from_pathname(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hears(at: &SocketAddr, name: &OsStr) {
        let listener = UnixDatagram::bind_addr(at).expect("bound");
        send(&name.to_owned(), b"READY=1").expect("sent");
        let mut heard = [0; 64];
        let bytes = listener.recv(&mut heard).expect("heard");
        assert_eq!(&heard[..bytes], b"READY=1");
    }

    #[test]
    fn who_waits_at_a_path_or_a_name_hears_it() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("notify");
        hears(
            &address(path.as_os_str()).expect("a path"),
            path.as_os_str(),
        );
        if cfg!(target_os = "linux") {
            let name = format!("@edgebus-test-{}", uuid::Uuid::new_v4());
            let name = OsStr::new(&name);
            hears(&address(name).expect("a name"), name);
        }
    }

    #[test]
    fn nobody_there_is_an_error_and_no_more() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("notify").into_os_string();
        send(&path, b"READY=1").expect_err("nobody is there");
    }
}
