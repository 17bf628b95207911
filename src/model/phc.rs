//! Argon2id PHC strings, judged before anything is computed from them (SPEC P1): a hostile m=16 GiB must cost nothing.

use std::fmt;

/// A valid argon2id PHC string: `$argon2id$v=19$m=…,t=…,p=…$salt$hash`.
#[derive(Clone, PartialEq, Eq)]
pub struct Phc(String);

/// Which rule a PHC string breaks. Never holds the string itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PhcError {
    #[error("the value is not an argon2id PHC string ($argon2id$v=19$m=…,t=…,p=…$salt$hash)")]
    Shape,
    #[error("the version is not 19")]
    Version,
    #[error("the parameter {name} is {value}; {low} to {high} is accepted")]
    Parameter { name: &'static str, value: u64, low: u64, high: u64 },
    #[error("the {name} has {octets} bytes; {low} to {high} are accepted")]
    Length { name: &'static str, octets: usize, low: usize, high: usize },
}

impl Phc {
    /// Parses and bounds a PHC string: v=19, m 19456–65536 KiB, t 2–10, p 1–4, salt 8–48 bytes, output 16–64 bytes.
    ///
    /// # Errors
    /// [`PhcError`] names the rule, never the value.
    pub fn parse(text: &str) -> Result<Self, PhcError> {
        let rest = text.strip_prefix("$argon2id$").ok_or(PhcError::Shape)?;
        let mut parts = rest.split('$');
        let mut part = || parts.next().ok_or(PhcError::Shape);
        let (version, parameters, salt, hash) = (part()?, part()?, part()?, part()?);
        if parts.next().is_some() {
            return Err(PhcError::Shape);
        }
        if version != "v=19" {
            return Err(if version.starts_with("v=") { PhcError::Version } else { PhcError::Shape });
        }
        let mut parameters = parameters.split(',');
        for (name, low, high) in [("m", 19_456, 65_536), ("t", 2, 10), ("p", 1, 4)] {
            let digits = parameters.next().and_then(|p| p.strip_prefix(name)).and_then(|p| p.strip_prefix('=')).ok_or(PhcError::Shape)?;
            if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) || (digits.len() > 1 && digits.starts_with('0')) {
                return Err(PhcError::Shape);
            }
            let value = digits.parse().unwrap_or(u64::MAX);
            if !(low..=high).contains(&value) {
                return Err(PhcError::Parameter { name, value, low, high });
            }
        }
        if parameters.next().is_some() {
            return Err(PhcError::Shape);
        }
        for (name, text, low, high) in [("salt", salt, 8, 48), ("hash", hash, 16, 64)] {
            let octets = base64_octets(text).ok_or(PhcError::Shape)?;
            if !(low..=high).contains(&octets) {
                return Err(PhcError::Length { name, octets, low, high });
            }
        }
        Ok(Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Phc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$argon2id$***")
    }
}

/// How many bytes an unpadded base64 text (PHC's B64) stands for, if it is one.
fn base64_octets(text: &str) -> Option<usize> {
    let clean = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'+' || b == b'/');
    (clean && text.len() % 4 != 1).then_some(text.len() * 3 / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQxMjM0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g";

    #[test]
    fn p1_a_proper_string_passes() {
        assert_eq!(Phc::parse(GOOD).unwrap().as_str(), GOOD);
    }

    #[test]
    fn p1_each_bound_is_named_and_the_value_is_not() {
        for (from, to, words) in [
            ("argon2id", "argon2i", "not an argon2id"),
            ("v=19", "v=16", "version"),
            ("m=19456", "m=16777216", "parameter m"),
            ("m=19456", "m=19455", "parameter m"),
            ("m=19456", "m=99999999999999999999999", "parameter m"),
            ("m=19456", "m=019456", "not an argon2id"),
            ("t=2", "t=11", "parameter t"),
            ("p=1", "p=5", "parameter p"),
            ("p=1", "p=1,keyid=x", "not an argon2id"),
            ("c29tZXNhbHQxMjM0", "c29t", "salt"),
            ("aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNoaGFzaGhhc2g", "aGFzaA", "hash"),
            ("c29tZXNhbHQxMjM0", "c29tZXNhbHQxMjM=", "not an argon2id"),
        ] {
            let message = Phc::parse(&GOOD.replace(from, to)).unwrap_err().to_string();
            assert!(message.contains(words) && !message.contains("c29t"), "{to}: {message}");
        }
        assert!(Phc::parse("$2b$12$abcdefghijklmnopqrstuv").is_err());
        assert!(Phc::parse(&format!("{GOOD}\n")).is_err());
    }
}
