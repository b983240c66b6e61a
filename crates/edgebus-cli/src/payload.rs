//! A payload: how it is typed or piped in, and how it looks in JSON.

use std::ffi::OsString;
use std::io::{IsTerminal, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use edgebus::{Code, Refusal};

use crate::error::CliError;

/// Most bytes taken from standard input as one payload; far above what a server takes.
const STDIN_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The payload as it was typed, or as it comes from standard input.
pub(crate) fn read(typed: Option<OsString>) -> Result<Vec<u8>, CliError> {
    let mut stdin = std::io::stdin().lock();
    let asked_for = typed.is_some();
    match typed {
        Some(text) if text != "-" => return Ok(text.into_vec()),
        None if stdin.is_terminal() => {
            return Err(CliError::usage(
                "there is no payload: give one, pipe one in, or give - to type one",
            ));
        }
        _ => {}
    }
    let mut payload = Vec::new();
    let read = stdin
        .by_ref()
        .take(STDIN_BYTES_MAX + 1)
        .read_to_end(&mut payload);
    read.map_err(|e| CliError::io("read", Path::new("standard input"), e))?;
    if payload.is_empty() && !asked_for {
        return Err(CliError::usage(
            "there is no payload: standard input is empty; give - to store an empty one all the same",
        ));
    }
    if payload.len() as u64 > STDIN_BYTES_MAX {
        let message = format!(
            "the payload on standard input is over {STDIN_BYTES_MAX} bytes: send a reference instead"
        );
        return Err(Refusal::new(Code::PayloadTooLarge, message).into());
    }
    Ok(payload)
}

/// A payload for a JSON object: as text, or in base64 when it is not UTF-8.
pub(crate) fn text_or_base64(payload: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(payload) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(STANDARD.encode(payload))),
    }
}
