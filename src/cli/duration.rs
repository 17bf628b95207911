//! Durations on the command line: `1h`, `400d`, `15m`, `1h 30m`; also ISO 8601. A day has 24 hours.

use jiff::{SignedDuration, Span, SpanRelativeTo};

/// Reads a duration that is not negative.
pub(super) fn parse(text: &str) -> Result<SignedDuration, String> {
    let example = "write it like 15m, 1h or 400d";
    let span: Span = text.trim().parse().map_err(|_| format!("{text:?} is not a duration; {example}"))?;
    // Months and years have no fixed length.
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| format!("{text:?} has months or years; {example}"))?;
    if duration.is_negative() {
        return Err(format!("{text:?} is negative; {example}"));
    }
    Ok(duration)
}

/// Whole days, counting a begun one.
pub(super) fn days(duration: SignedDuration) -> i64 {
    const DAY: i64 = 24 * 60 * 60;
    let seconds = duration.as_secs();
    seconds / DAY + i64::from(seconds % DAY > 0)
}
