//! What may be done where a server cannot be reached.
//!
//! Invariant: whether it runs is only asked where nothing answered.

use std::os::unix::fs::MetadataExt;

/// What the system says, or the client, when nobody is there.
const NOBODY_THERE: [&str; 9] = [
    "Connection refused",
    "timed out",
    "no answer within",
    "No such file or directory",
    "failed to lookup address",
    "No route to host",
    "Host is unreachable",
    "Network is unreachable",
    "Host is down",
];

/// What to add to the reason why the server at a URL (or those at several) cannot be reached.
pub(crate) fn hint(url: &str, reason: &str) -> String {
    if let Some(path) = url.strip_prefix("unix://")
        && reason.contains("Permission denied")
    {
        return match std::fs::metadata(path) {
            Ok(socket) => {
                let group = group(socket.gid());
                format!(
                    "; its mode is {:04o}: be in the group {group} (usermod -aG {group} USER, and log \
                     in anew), or be its owner",
                    socket.mode() & 0o7777
                )
            }
            Err(_) => "; this user may not even enter its folder".to_owned(),
        };
    }
    match NOBODY_THERE.iter().any(|part| reason.contains(part)) {
        true => "; is the server running there?".to_owned(),
        false => String::new(),
    }
}

/// The name of a group, or else its number.
fn group(gid: u32) -> String {
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    named(&groups, gid).unwrap_or_else(|| gid.to_string())
}

fn named(groups: &str, gid: u32) -> Option<String> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(gid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_it_runs_is_asked_only_where_nothing_answered() {
        for reason in [
            "Connection refused (os error 111)",
            "no answer within 5 s",
            "failed to lookup address information: Name or service not known",
        ] {
            assert!(hint("tcp://a:1", reason).contains("running"), "{reason}");
        }
        for reason in [
            "this is not an edgebus server: it answered with HTTP",
            "the server does not speak TLS: is it one for tcp://?",
            "the server hung up during the TLS handshake",
        ] {
            assert_eq!(hint("tcp://a:1", reason), "", "{reason}");
        }
    }

    #[test]
    fn who_may_not_use_a_socket_is_told_its_group() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let url = format!("unix://{}", file.path().display());
        let said = hint(&url, "Permission denied (os error 13)");
        assert!(
            said.contains("its mode is 0600: be in the group "),
            "{said}"
        );
        assert_eq!(
            named("root:x:0:\nedgebus:x:12:a,b\n", 12),
            Some("edgebus".to_owned())
        );
        assert_eq!(named("root:x:0:\nbroken\n", 12), None);
    }
}
