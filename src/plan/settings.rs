//! A tenant's settings as values, and their defaults (SPEC 1, AccountSettings).

use jiff::SignedDuration;

use crate::model::PasswordPolicy;

/// The values of AccountSettings in force in a namespace.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Settings {
    pub password: PasswordPolicy,
    /// 0: never.
    pub expires_after_days: u32,
    pub history: u32,
    pub failed_logons: u32,
    pub lockout: SignedDuration,
    pub failed_codes: u32,
    pub purge_delay: SignedDuration,
    /// `heldMailReports: Required`.
    pub held_mail_reports: bool,
    pub guard: Guard,
    pub hide_confidential: bool,
}

/// How much may end on sight (U4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Guard {
    pub max_percent: u32,
    pub min_count: u32,
}

impl Guard {
    /// min(max(minCount, maxPercent of n rounded up), half of n rounded down), at least 1.
    #[must_use]
    pub fn limit(self, n: u64) -> u64 {
        let share = (n * u64::from(self.max_percent)).div_ceil(100);
        share.max(u64::from(self.min_count)).min(n / 2).max(1)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            password: PasswordPolicy { min_length: 12, uppercase: true, lowercase: true, digit: true, symbol: false },
            expires_after_days: 0,
            history: 5,
            failed_logons: 5,
            lockout: SignedDuration::from_mins(15),
            failed_codes: 10,
            purge_delay: SignedDuration::from_hours(1),
            held_mail_reports: true,
            guard: Guard { max_percent: 10, min_count: 10 },
            hide_confidential: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn u4_the_limit_is_a_share_bounded_on_both_sides() {
        let guard = Guard { max_percent: 10, min_count: 10 };
        for (n, limit) in [(0, 1), (1, 1), (3, 1), (8, 4), (40, 10), (200, 20), (101, 11), (10_000, 1_000)] {
            assert_eq!(guard.limit(n), limit, "{n} addresses");
        }
    }
}
