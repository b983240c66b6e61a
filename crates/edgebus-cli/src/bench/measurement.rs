//! What one measurement of one subject gave.

use super::load::Load;

/// One measurement.
#[derive(Clone, Debug)]
pub(super) struct Measurement {
    pub(super) acked_per_s: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) p999_ms: f64,
    pub(super) syncs_per_s: f64,
    pub(super) per_group: f64,
    pub(super) device_bytes: Option<f64>,
}

impl Measurement {
    /// From what a sender saw, the number of syncs (one a group), and the bytes on the device.
    pub(super) fn new(load: Load, syncs: u64, device_bytes: Option<u64>) -> Self {
        let seconds = load.elapsed.as_secs_f64().max(1e-9);
        let acked = load.acked.max(1) as f64;
        let ms = |quantile| load.latency.value_at_quantile(quantile) as f64 / 1000.0;
        Self {
            acked_per_s: load.acked as f64 / seconds,
            p50_ms: ms(0.5),
            p99_ms: ms(0.99),
            p999_ms: ms(0.999),
            syncs_per_s: syncs as f64 / seconds,
            per_group: acked / syncs.max(1) as f64,
            device_bytes: device_bytes.map(|bytes| bytes as f64 / acked),
        }
    }
}
