//! What the figures mean: what is fine, what is good to know, what is to be mended.

use std::time::Duration;

use indicatif::{HumanBytes, HumanCount};

use super::device::{Device, Kind};
use super::disk::Syncs;
use super::machine::Machine;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Fine,
    /// Good to know.
    Note,
    /// Something will be lost, or will not work.
    Mend,
}

impl Level {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Note => "note",
            Self::Mend => "mend",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) about: &'static str,
    pub(super) text: String,
}

fn finding(level: Level, about: &'static str, text: String) -> Finding {
    Finding { level, about, text }
}

/// A turning disk cannot come round in less.
const TURN_US: u64 = 2_000;
/// A flush of flash that has no capacitor takes more.
const FLASH_FLUSH_US: u64 = 25;
/// From here on somebody who waits for a sync at a till notices.
const SLOW_US: u64 = 50_000;
/// What a request takes beside the sync, about, when each is waited for.
const BESIDE_US: u64 = 60;
/// What two cores can do, about, whatever the disk can.
const CPU_PER_S: u64 = 100_000;
/// Senders at a time for the second of two figures.
const TOGETHER: u64 = 64;
/// Memory for the tail, its view, caches and connections, about.
const MEMORY_BYTES: u64 = 256 * 1024 * 1024;
/// 2024: no clock that was ever set is before it.
const SENSIBLE_MS: u64 = 1_704_067_200_000;
/// As far as a clock may be set back without anybody noticing.
const BACK_MS: u64 = 2_000;

/// Everything there is to say.
pub(super) fn of(device: &Device, syncs: &Syncs, machine: &Machine) -> Vec<Finding> {
    let mut findings = vec![speed(syncs), expect(syncs), honest(device, syncs)];
    findings.extend(cache(device));
    findings.push(room(machine));
    findings.extend(clock(machine));
    findings.push(descriptors(machine));
    findings.extend(memory(machine));
    findings
}

fn speed(syncs: &Syncs) -> Finding {
    let text = format!(
        "fdatasync of 4 KiB takes {} (p50), {} (p99), {} at most, over {} of them; the write alone {}",
        time(syncs.p50_us),
        time(syncs.p99_us),
        time(syncs.max_us),
        HumanCount(syncs.count),
        time(syncs.write_p50_us),
    );
    match syncs.p99_us >= SLOW_US {
        true => {
            let more =
                "every sender waits for one; a disk that does better makes everything faster";
            finding(Level::Note, "disk", format!("{text}: {more}"))
        }
        false => finding(Level::Fine, "disk", text),
    }
}

fn expect(syncs: &Syncs) -> Finding {
    let each_us = (syncs.mean_us + BESIDE_US).max(1);
    let alone = 1_000_000 / each_us;
    // While one half waits for its sync the other half comes.
    let together = (alone * TOGETHER / 2).min(CPU_PER_S);
    let text = format!(
        "about {} messages a second from one sender that waits for each receipt, and about {} from {TOGETHER} such senders, or one with a window of {TOGETHER}: they share a sync; beyond some {} it is the processor that counts (edgebus bench measures it)",
        about(alone),
        about(together),
        HumanCount(CPU_PER_S),
    );
    finding(Level::Fine, "to expect", text)
}

fn honest(device: &Device, syncs: &Syncs) -> Finding {
    let on = match &device.name {
        Some(name) => format!("{} on {name}", device.file_system),
        None => device.file_system.to_owned(),
    };
    let mend = |text: String| finding(Level::Mend, "power cut", text);
    if device.kind == Kind::Memory {
        return mend(format!(
            "{on} is memory: everything is lost when the power goes, and with a restart of the machine; put the data on a disk"
        ));
    }
    if let Some(option) = &device.without_sync {
        return mend(format!(
            "{on} is mounted with {option}: a sync does not reach the disk, and a power cut loses and tears what was acknowledged; mount it without"
        ));
    }
    if device.kind == Kind::Network {
        return mend(format!(
            "{on} is on another machine: what a sync means is decided there, and locks and full disks work otherwise; put the data on a disk of this machine"
        ));
    }
    let unproven = "that cannot be proven from software: pull the plug once before you rely on it";
    if matches!(device.kind, Kind::Layered | Kind::Unknown) {
        return finding(
            Level::Note,
            "power cut",
            format!(
                "{on}: what lies below is not seen from here, and whether it keeps what is synced depends on it; {unproven}"
            ),
        );
    }
    let spins = device.rotational == Some(true) && !device.is_virtual;
    let through = device.write_cache.as_deref() == Some("write through");
    let too_fast = if spins {
        syncs.p50_us < TURN_US
    } else {
        !device.is_virtual && syncs.p50_us < FLASH_FLUSH_US
    };
    if too_fast && !through {
        let what = if spins {
            "a disk that turns"
        } else {
            "flash without a capacitor"
        };
        return finding(
            Level::Note,
            "power cut",
            format!(
                "{on}: a sync takes less than {what} needs; either its cache outlives a power cut (a battery, capacitors), or it says done too early and a power cut loses what was acknowledged; {unproven}"
            ),
        );
    }
    if device.is_virtual {
        return finding(
            Level::Note,
            "power cut",
            format!(
                "{on}: a virtual device; syncs are asked for as they should be, and whether they reach a disk is decided by the host (its cache mode), or by the devices below; {unproven}"
            ),
        );
    }
    finding(
        Level::Fine,
        "power cut",
        format!(
            "{on}: syncs are asked for and take as long as they should; what was acknowledged should be there after a power cut, what was not yet may be lost; {unproven}"
        ),
    )
}

fn cache(device: &Device) -> Option<Finding> {
    let text = match device.write_cache.as_deref()? {
        "write back" => "the device has a write cache and is told to empty it with each sync",
        "write through" => {
            "the device says it has no write cache that could be lost; if it has one without a battery, that is not true (for a RAID controller: see its own settings)"
        }
        _ => return None,
    };
    Some(finding(Level::Fine, "write cache", text.to_owned()))
}

fn room(machine: &Machine) -> Finding {
    let Some(free) = machine.free_bytes else {
        let text = "the file system does not say how much is free".to_owned();
        return finding(Level::Note, "room", text);
    };
    let watermark = machine.watermark_bytes;
    let text = format!(
        "{} are free; below {} new requests are refused, and what is stored goes on",
        HumanBytes(free),
        HumanBytes(watermark)
    );
    if free < 2 * watermark {
        let text = format!("{text}: make room, or put the data on another disk");
        return finding(Level::Mend, "room", text);
    }
    let whole = free.saturating_add(machine.store_bytes);
    if whole < machine.retention_bytes.saturating_add(watermark) {
        let text = format!(
            "{text}; with the default retention the log may take {}, which is more than there is: set retention_bytes lower",
            HumanBytes(machine.retention_bytes)
        );
        return finding(Level::Note, "room", text);
    }
    finding(Level::Fine, "room", text)
}

fn clock(machine: &Machine) -> Vec<Finding> {
    let mut findings = Vec::new();
    if machine.wall_ms < SENSIBLE_MS {
        let text = "the clock was never set: certificates count as not valid yet, and times of messages are wrong; nothing is lost by it".to_owned();
        findings.push(finding(Level::Mend, "clock", text));
    } else if let Some((_, last)) = machine.last_group
        && last > machine.wall_ms + BACK_MS
    {
        let back = Duration::from_millis(last - machine.wall_ms);
        let text = format!(
            "it is {} before the last message that was stored: it was set back, or is wrong; order, retention and deadlines do not depend on it, times of messages and certificates do",
            humantime::format_duration(Duration::from_secs(back.as_secs()))
        );
        findings.push(finding(Level::Mend, "clock", text));
    }
    let text = match machine.synchronised {
        Some(true) => Some((Level::Fine, "it is synchronised")),
        Some(false) => Some((
            Level::Note,
            "it is not synchronised (timedatectl): order, retention and deadlines do not depend on it, times of messages and certificates do",
        )),
        None if findings.is_empty() => Some((
            Level::Note,
            "nothing here says whether it is synchronised; order, retention and deadlines do not depend on it",
        )),
        None => None,
    };
    findings.extend(text.map(|(level, text)| finding(level, "clock", text.to_owned())));
    findings
}

fn descriptors(machine: &Machine) -> Finding {
    let Some(limit) = machine.descriptors else {
        let text = "as many files may be open as there are".to_owned();
        return finding(Level::Fine, "descriptors", text);
    };
    let wanted = machine.descriptors_wanted;
    let text = format!(
        "a process started like this one may have {} files open; with the default limits a server wants {}",
        HumanCount(limit),
        HumanCount(wanted)
    );
    match limit {
        limit if limit >= wanted => finding(Level::Fine, "descriptors", text),
        limit if limit >= 1024 => {
            let fewer = limit.saturating_sub(256);
            let text = format!(
                "{text}: it takes {} connections instead; raise it (ulimit -n, LimitNOFILE=)",
                HumanCount(fewer)
            );
            finding(Level::Note, "descriptors", text)
        }
        _ => {
            let text = format!("{text}: raise it (ulimit -n, LimitNOFILE=)");
            finding(Level::Mend, "descriptors", text)
        }
    }
}

fn memory(machine: &Machine) -> Option<Finding> {
    let bytes = machine.memory_bytes?;
    let text = format!(
        "{} are available; a server takes up to about {} under load, and more for many connections",
        HumanBytes(bytes),
        HumanBytes(MEMORY_BYTES)
    );
    let level = match bytes >= MEMORY_BYTES {
        true => Level::Fine,
        false => Level::Note,
    };
    Some(finding(level, "memory", text))
}

/// To two digits: nobody should take it for more.
fn about(number: u64) -> String {
    let mut unit = 1;
    while number / unit >= 100 {
        unit *= 10;
    }
    HumanCount((number + unit / 2) / unit * unit).to_string()
}

fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..100_000 => format!("{:.1} ms", us as f64 / 1e3),
        _ => format!("{:.0} ms", us as f64 / 1e3),
    }
}
