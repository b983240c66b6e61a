//! Gives what libFuzzer makes up to the target `backups` of `edgebus_sim::fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    edgebus_sim::fuzz::give("backups", data);
});
