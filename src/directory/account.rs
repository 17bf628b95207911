//! Whether somebody may log on (SPEC Y4). An absent sign is no sign.

use jiff::Timestamp;

use super::values::Faults;
use crate::model::Account;

/// Bit 1 of userAccountControl: ACCOUNTDISABLE (MS-ADTS 2.2.16).
const ACCOUNT_DISABLE: i64 = 0x2;
/// Seconds from 1601 to 1970: where a FILETIME begins.
const FILETIME_EPOCH: i64 = 11_644_473_600;
/// Besides 0, what accountExpires is for an account that does not expire.
const NEVER: i64 = i64::MAX;
/// A pwdAccountLockedTime that an administrator set (draft-behera-ldap-password-policy 5.3.3); any other is a lock that ends by itself.
const LOCKED_FOR_GOOD: &[u8] = b"000001010000Z";

/// The signs of one entry, each the attribute's values.
#[derive(Default)]
pub(super) struct SignValues<'a> {
    pub(super) user_account_control: &'a [Vec<u8>],
    pub(super) account_expires: &'a [Vec<u8>],
    pub(super) ns_account_lock: &'a [Vec<u8>],
    pub(super) pwd_account_locked_time: &'a [Vec<u8>],
    /// The connection's own, TRUE or 1.
    pub(super) disabled: &'a [Vec<u8>],
    /// Every entry of its kind has a userAccountControl: without one, rights have hidden it.
    pub(super) must_have_control: bool,
}

/// What the signs say, and whether accountExpires is past: alone of all it changes without the entry.
pub(super) fn account(signs: &SignValues<'_>, now: Timestamp, faults: &mut Faults<'_>) -> (Account, bool) {
    let mut number = |name: &str, values: &[Vec<u8>]| {
        let value = values.first()?;
        let parsed = std::str::from_utf8(value).ok().and_then(|text| text.trim().parse::<i64>().ok());
        if parsed.is_none() {
            faults.add(name, value, "is no number");
        }
        parsed
    };
    let control = number("userAccountControl", signs.user_account_control);
    let expired = number("accountExpires", signs.account_expires).is_some_and(|ticks| is_past(ticks, now));
    let disabled = control.is_some_and(|control| control == 0 || control & ACCOUNT_DISABLE != 0)
        || expired
        || signs.ns_account_lock.iter().any(|value| is_true(value))
        || signs.pwd_account_locked_time.iter().any(|value| value == LOCKED_FOR_GOOD)
        || signs.disabled.iter().any(|value| is_true(value));
    // A control that can't be read is as good as hidden.
    let hidden = control.is_none() && (signs.must_have_control || !signs.user_account_control.is_empty());
    let account = match (hidden, disabled) {
        (true, _) => Account::Unreadable,
        (false, true) => Account::Disabled,
        (false, false) => Account::Enabled,
    };
    (account, expired)
}

/// `ticks` of 100 ns since 1601.
fn is_past(ticks: i64, now: Timestamp) -> bool {
    ticks > 0 && ticks != NEVER && ticks / 10_000_000 - FILETIME_EPOCH <= now.as_second()
}

fn is_true(value: &[u8]) -> bool {
    [&b"TRUE"[..], b"1", b"yes"].iter().any(|truth| value.trim_ascii().eq_ignore_ascii_case(truth))
}

#[cfg(test)]
mod tests {
    use super::super::redaction::Redaction;
    use super::*;
    use crate::model::Secret;

    fn judge(attribute: &str, value: &str, must_have_control: bool) -> Account {
        let values = [value.as_bytes().to_vec()];
        let mut signs = SignValues { must_have_control, ..SignValues::default() };
        match attribute {
            "userAccountControl" => signs.user_account_control = &values,
            "accountExpires" => signs.account_expires = &values,
            "nsAccountLock" => signs.ns_account_lock = &values,
            "pwdAccountLockedTime" => signs.pwd_account_locked_time = &values,
            "disabled" => signs.disabled = &values,
            _ => {}
        }
        let redaction = Redaction::new(&Secret::new(Vec::new()));
        account(&signs, "2026-01-01T00:00:00Z".parse().unwrap(), &mut Faults::new(&redaction)).0
    }

    #[test]
    fn y4_each_sign_says_disabled_and_its_absence_nothing() {
        for (attribute, value, expected) in [
            ("", "", Account::Enabled),
            ("userAccountControl", "512", Account::Enabled),
            ("userAccountControl", "66048", Account::Enabled),
            ("userAccountControl", "514", Account::Disabled),
            ("userAccountControl", "0", Account::Disabled),
            ("userAccountControl", "-2147483646", Account::Disabled),
            ("userAccountControl", "many", Account::Unreadable),
            ("accountExpires", "0", Account::Enabled),
            ("accountExpires", "9223372036854775807", Account::Enabled),
            ("accountExpires", "9223372036854775806", Account::Enabled),
            ("accountExpires", "never", Account::Enabled),
            ("accountExpires", "-5", Account::Enabled),
            ("accountExpires", "1", Account::Disabled),
            // 2026-01-01T00:00:00Z, and a second later.
            ("accountExpires", "134116992000000000", Account::Disabled),
            ("accountExpires", "134116992010000000", Account::Enabled),
            ("nsAccountLock", "TRUE", Account::Disabled),
            ("nsAccountLock", "true", Account::Disabled),
            ("nsAccountLock", "FALSE", Account::Enabled),
            ("pwdAccountLockedTime", "000001010000Z", Account::Disabled),
            ("pwdAccountLockedTime", "20260101000000Z", Account::Enabled),
            ("disabled", "TRUE", Account::Disabled),
            ("disabled", "1", Account::Disabled),
            ("disabled", "Yes", Account::Disabled),
            ("disabled", "0", Account::Enabled),
            ("disabled", "", Account::Enabled),
        ] {
            assert_eq!(judge(attribute, value, false), expected, "{attribute} {value}");
        }
    }

    #[test]
    fn y4_a_user_of_active_directory_without_its_control_is_not_judged() {
        assert_eq!(judge("", "", true), Account::Unreadable);
        assert_eq!(judge("accountExpires", "1", true), Account::Unreadable);
        assert_eq!(judge("userAccountControl", "512", true), Account::Enabled);
    }
}
