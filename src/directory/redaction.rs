//! What came from a server, made fit to be shown (SPEC Y9): without the bind password, without control characters, and short.

use std::fmt::Write as _;

use crate::model::Secret;

/// The longest text of a server in a message, in characters.
pub(super) const LONGEST_TEXT: usize = 200;

/// Knows what must not be shown.
#[derive(Debug, Clone)]
pub(super) struct Redaction(Secret<String>);

impl Redaction {
    pub(super) fn new(password: &Secret<Vec<u8>>) -> Self {
        Self(Secret::new(printable(&String::from_utf8_lossy(password.expose()))))
    }

    /// A server's words.
    pub(super) fn text(&self, text: &str) -> String {
        // Active Directory ends its own with a NUL.
        self.shown(text.trim_matches(|c: char| c.is_control() || c.is_whitespace()), LONGEST_TEXT)
    }

    /// The text with nothing removed but what must not be shown, up to so many characters.
    pub(super) fn shown(&self, text: &str, most: usize) -> String {
        let mut text = printable(text);
        // The same mapping made both, so that one is found in the other whatever characters it has.
        let secret = self.0.expose();
        if !secret.is_empty() && text.contains(secret) {
            text = text.replace(secret, "***");
        }
        if let Some((end, _)) = text.char_indices().nth(most) {
            text.truncate(end);
            text.push('…');
        }
        text
    }
}

/// Escapes, character by character, what has no shape of its own or turns the direction of what stands beside it.
fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns {
            let _ = write!(printable, "{}", c.escape_unicode());
        } else {
            printable.push(c);
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redaction(password: &str) -> Redaction {
        Redaction::new(&Secret::new(password.as_bytes().to_vec()))
    }

    #[test]
    fn y9_a_server_that_repeats_the_password_is_not_quoted() {
        for (password, text, shown) in [
            ("pw1!", "no such user pw1! here", "no such user *** here"),
            ("a\u{7}b", "x a\u{7}b x", "x *** x"),
            ("", "as it is", "as it is"),
        ] {
            assert_eq!(redaction(password).text(text), shown);
        }
        assert!(!format!("{:?}", redaction("pw1!")).contains("pw1!"));
    }

    #[test]
    fn y9_a_password_across_the_end_of_what_is_shown_is_not_cut_in_half() {
        let text = format!("{}hunter22", "x".repeat(LONGEST_TEXT - 4));
        assert!(!redaction("hunter22").text(&text).contains("hunt"));
    }

    #[test]
    fn y9_control_characters_and_length_are_bounded() {
        assert_eq!(redaction("").text("a\u{1b}[31mb\r\n\0"), "a\\u{1b}[31mb");
        assert_eq!(redaction("").text(&"ü".repeat(1000)).chars().count(), LONGEST_TEXT + 1);
    }
}
