//! Durations as people write them: `1h`, `15m`, `1h30m`. `kube::core::Duration` reads these but writes `3600s`, which would then stand in
//! every schema default and every exported resource.

use kube::core::Duration;
use serde::{Deserialize, Deserializer, Serializer};

pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let whole = std::time::Duration::from(*duration);
    if duration.is_negative() || whole.subsec_nanos() != 0 {
        return serializer.collect_str(duration); // not of this API's making: shown as it is
    }
    let seconds = whole.as_secs();
    let parts = [(seconds / 3600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let text: String = parts.into_iter().filter(|(count, _)| *count > 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    serializer.serialize_str(if text.is_empty() { "0s" } else { &text })
}

pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    Duration::deserialize(deserializer)
}
