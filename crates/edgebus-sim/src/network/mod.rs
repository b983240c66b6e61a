//! Proof on the real binary: what others do to a server over the network, and what honest clients
//! notice of it.
//!
//! In reading order: [`descriptors`] how many connections this process may have; [`honest`] clients
//! that do what clients do, and are timed; [`raw`] connections that do what nobody should; [`flood`]
//! and [`certificates`] the commands.
//!
//! Invariants: speed is printed and never judged, as it is the machine's; judged is what a server
//! owes to honest clients on any machine. Every connection and process is ended by its owner.

pub mod certificates;
mod descriptors;
pub mod flood;
mod honest;
mod raw;

use std::time::Duration;

use edgebus::Message;
use rustix::process::Pid;

use crate::processes::Failure;

/// What the server's process has, at some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Usage {
    memory_mib: u64,
    descriptors: usize,
}

impl Usage {
    /// Now; 0 for what the system does not say.
    fn of(pid: Pid) -> Self {
        let folder = std::path::PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
        let status = std::fs::read_to_string(folder.join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Self {
            memory_mib: kib.unwrap_or(0) / 1024,
            descriptors: std::fs::read_dir(folder.join("fd")).map_or(0, Iterator::count),
        }
    }

    /// The most of both.
    fn most(self, other: Self) -> Self {
        Self {
            memory_mib: self.memory_mib.max(other.memory_mib),
            descriptors: self.descriptors.max(other.descriptors),
        }
    }
}

/// Some times, as a line.
fn shown(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let ms = |place: f64| {
        let at = ((times.len() as f64 * place) as usize).min(times.len().saturating_sub(1));
        times
            .get(at)
            .map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
    };
    let (p50, p99, most) = (ms(0.5), ms(0.99), ms(1.0));
    format!(
        "p50 {p50:7.2}  p99 {p99:7.2}  max {most:7.2} ms  ({})",
        times.len()
    )
}

/// A request with an id of its own.
fn request(topic: &str, payload: impl Into<bytes::Bytes>) -> Result<Message, Failure> {
    let topic = topic.parse().map_err(|e| Failure::broken("a topic", e))?;
    Ok(Message::new(edgebus::new_request_id(), topic, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_order_and_none_as_none() {
        let mut times: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        let line = shown(&mut times);
        assert_eq!(line, "p50   51.00  p99  100.00  max  100.00 ms  (100)");
        assert!(shown(&mut []).ends_with("(0)"));
    }

    #[test]
    fn own_process_has_memory_and_descriptors() {
        let usage = Usage::of(rustix::process::getpid());
        assert!(usage.memory_mib > 0 && usage.descriptors > 2, "{usage:?}");
    }
}
