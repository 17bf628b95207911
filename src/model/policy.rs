//! The tenant's rules for plain passwords (SPEC P1, P4).

use super::secret::Secret;

/// What a plain password must have. Lengths count characters.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PasswordPolicy {
    pub min_length: u32,
    pub uppercase: bool,
    pub lowercase: bool,
    pub digit: bool,
    pub symbol: bool,
}

/// Which rule a password breaks. Never holds the password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("the value is not UTF-8 text")]
    NotText,
    #[error("the value ends in a line break; write the Secret without one (kubectl create secret --from-literal, printf, echo -n)")]
    LineBreak,
    #[error("the value has a control character")]
    Control,
    #[error("the password is shorter than {0} characters")]
    TooShort(u32),
    #[error("the password has no upper-case letter")]
    Uppercase,
    #[error("the password has no lower-case letter")]
    Lowercase,
    #[error("the password has no digit")]
    Digit,
    #[error("the password has no symbol (anything that is neither letter nor digit)")]
    Symbol,
    #[error("the password is longer than 1024 bytes")]
    TooLong,
    #[error("format is Plain but the value looks like a password hash; set format: Argon2 for an argon2id PHC string")]
    LooksHashed,
}

impl PasswordPolicy {
    /// Judges a Secret's bytes as a plain password.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check<'a>(&self, value: &'a Secret<Vec<u8>>) -> Result<&'a str, PolicyError> {
        let text = std::str::from_utf8(value.expose()).map_err(|_| PolicyError::NotText)?;
        let rules = [
            (text.ends_with(['\n', '\r']), PolicyError::LineBreak),
            (text.chars().any(char::is_control), PolicyError::Control),
            (text.len() > 1024, PolicyError::TooLong),
            (
                ["$argon2", "$2a$", "$2b$", "$2y$", "{ARGON2", "$pbkdf2", "$scrypt$"].iter().any(|p| text.starts_with(p)),
                PolicyError::LooksHashed,
            ),
            (text.chars().count() < self.min_length as usize, PolicyError::TooShort(self.min_length)),
            (self.uppercase && !text.chars().any(char::is_uppercase), PolicyError::Uppercase),
            (self.lowercase && !text.chars().any(char::is_lowercase), PolicyError::Lowercase),
            (self.digit && !text.chars().any(|c| c.is_ascii_digit()), PolicyError::Digit),
            (self.symbol && text.chars().all(char::is_alphanumeric), PolicyError::Symbol),
        ];
        rules.into_iter().find(|(broken, _)| *broken).map_or(Ok(text), |(_, rule)| Err(rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p1_the_first_broken_rule_is_named() {
        let policy = PasswordPolicy { min_length: 12, uppercase: true, lowercase: true, digit: true, symbol: true };
        for (text, expected) in [
            ("Correct-Horse-7", None),
            ("Correct-Horse-7\r\n", Some(PolicyError::LineBreak)),
            ("Sh0rt-", Some(PolicyError::TooShort(12))),
            ("correct-horse-7", Some(PolicyError::Uppercase)),
            ("CORRECT-HORSE-7", Some(PolicyError::Lowercase)),
            ("Correct-Horse-x", Some(PolicyError::Digit)),
            ("CorrectHorse77", Some(PolicyError::Symbol)),
            ("Correct\0Horse-7", Some(PolicyError::Control)),
            ("$2b$12$Correct-Horse-7", Some(PolicyError::LooksHashed)),
        ] {
            let value = Secret::new(text.as_bytes().to_vec());
            assert_eq!(policy.check(&value).err(), expected, "{text:?}");
        }
        assert_eq!(policy.check(&Secret::new(vec![0xff; 20])).err(), Some(PolicyError::NotText));
    }
}
