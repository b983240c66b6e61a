//! What proves who a client is, out of the file that it is in.

use std::path::Path;

use edgebus_core::access::AccessToken;
use edgebus_core::{Code, Refusal};

use super::config::ClientConfig;
use crate::access::{TOKEN_BYTES_MAX, TOKEN_BYTES_MIN, text_file};
use crate::files::Privacy;
use crate::host;

/// The client's token, if it has one. It is read for each connection, so that one that was replaced
/// is used from then on.
///
/// # Errors
/// [`Code::BadConfig`] with the name of the file, and never with the token.
pub(super) async fn token(config: &ClientConfig) -> Result<Option<AccessToken>, Refusal> {
    let Some(file) = config.token_file.clone() else {
        return Ok(None);
    };
    let reading = host::blocking(move || read(&file));
    let read = reading.await.unwrap_or_else(|_| {
        let stopping = "the runtime is shutting down";
        Err(Refusal::new(Code::ShuttingDown, stopping))
    });
    read.map(Some)
}

/// A server's file of tokens is refused as well: it is easily taken for one.
fn read(file: &Path) -> Result<AccessToken, Refusal> {
    let text = text_file(file, Privacy::Secret)?;
    let token = text.trim();
    let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
    if visible && (TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len()) {
        return Ok(AccessToken::new(token.as_bytes().to_vec()));
    }
    let message = format!(
        "{}: it is to hold a token and nothing else: {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} visible ASCII characters",
        file.display()
    );
    Err(Refusal::new(Code::BadConfig, message))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn file_holds_a_token_and_nothing_else() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("token");
        let write = |text: &str, mode| {
            fs::write(&path, text).expect("written");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("set");
        };
        write("correct-horse-battery\n", 0o600);
        let token = read(&path).expect("a token");
        assert_eq!(token.as_bytes(), b"correct-horse-battery");
        for (text, mode) in [
            ("correct-horse-battery", 0o644),
            ("till-7 correct-horse-battery", 0o600),
            ("correct-horse", 0o600),
            ("", 0o600),
        ] {
            write(text, mode);
            let refusal = read(&path).expect_err(text);
            assert_eq!(refusal.code, Code::BadConfig);
            assert!(refusal.message.contains("token") && !refusal.message.contains("horse"));
        }
    }
}
