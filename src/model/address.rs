//! Mail addresses (SPEC A1, A2): RFC 5321 dot-atom local parts and RFC 6531 UTF-8 ones.

use std::fmt;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization as _;

use super::domain::{DomainError, DomainName};

/// Longest local part, octets (RFC 5321 4.5.3.1.1).
const MAX_LOCAL: usize = 64;
/// Longest address, octets (RFC 5321 4.5.3.1.3 less the angle brackets).
const MAX_ADDRESS: usize = 254;

/// An address in canonical form: NFC(full case fold(NFC(local part))) at the lower-case A-label. This is the identity of a user
/// and of an archive.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CanonicalAddress(Arc<str>);

/// An address as somebody declared it, with its canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    canonical: CanonicalAddress,
    declared: String,
    keys: Vec<String>,
}

/// Why a text is not an address that can be declared. Each names the offending part.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("the address is empty")]
    Empty,
    #[error("the address {0:?} has no @")]
    NoAt(String),
    #[error("the address {0:?} has nothing before the @")]
    NoLocalPart(String),
    #[error("the local part {0:?} is quoted; quoted strings are not accepted")]
    Quoted(String),
    #[error("the local part {0:?} has a comment; write the bare address")]
    Comment(String),
    #[error("the local part {local:?} has the character {character:?}, which is not allowed there")]
    Character { local: String, character: char },
    #[error("the local part {0:?} begins or ends with a dot, or has two in a row")]
    Dots(String),
    #[error("the local part {local:?} has {octets} octets; 64 is the most")]
    LocalTooLong { local: String, octets: usize },
    #[error("the address has {0} octets; 254 is the most")]
    TooLong(usize),
    #[error(transparent)]
    Domain(#[from] DomainError),
}

impl CanonicalAddress {
    /// Takes an address that the store holds: it was parsed before it was written.
    #[must_use]
    pub fn from_store(text: &str) -> Self {
        Self(Arc::from(text))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The domain, canonical as well.
    #[must_use]
    pub fn domain(&self) -> DomainName {
        DomainName::from_store(self.domain_text())
    }

    /// The text of [`Self::domain`].
    #[must_use]
    pub fn domain_text(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }

    /// Whether this is its domain; unlike [`Self::domain`] without a copy.
    #[must_use]
    pub fn is_in(&self, domain: &DomainName) -> bool {
        self.0.rsplit_once('@').is_some_and(|(_, own)| own == domain.as_str())
    }

    /// The local part.
    #[must_use]
    pub fn local(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(local, _)| local)
    }
}

impl Address {
    /// Parses any spelling of an address.
    ///
    /// # Errors
    /// [`AddressError`] names the offending part and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        let (local, domain) = text.rsplit_once('@').ok_or_else(|| AddressError::NoAt(text.to_owned()))?;
        check_local(local, text)?;
        let domain = DomainName::parse(domain)?;
        let folded = fold(local);
        for part in [local, &folded] {
            if part.len() > MAX_LOCAL {
                return Err(AddressError::LocalTooLong { local: part.to_owned(), octets: part.len() });
            }
        }
        let canonical = format!("{folded}@{domain}");
        if canonical.len() > MAX_ADDRESS {
            return Err(AddressError::TooLong(canonical.len()));
        }
        let lower = local.nfc().collect::<String>().to_lowercase();
        let unicode = domain.unicode();
        // Every spelling of the local part under every spelling of the domain: a mail server may have converted one without the other.
        let spellings = [format!("{folded}@{unicode}"), format!("{lower}@{domain}"), format!("{lower}@{unicode}")];
        let others: std::collections::BTreeSet<_> = spellings.into_iter().filter(|key| *key != canonical).collect();
        let keys = std::iter::once(canonical.clone()).chain(others).collect();
        Ok(Self { canonical: CanonicalAddress(Arc::from(canonical)), declared: text.to_owned(), keys })
    }

    #[must_use]
    pub fn canonical(&self) -> &CanonicalAddress {
        &self.canonical
    }

    /// The spelling as declared, for people.
    #[must_use]
    pub fn declared(&self) -> &str {
        &self.declared
    }

    /// The spellings under which a mail server may ask, the canonical one first, the others in order (SPEC A1).
    #[must_use]
    pub fn keys(&self) -> &[String] {
        &self.keys
    }
}

/// NFC(full case fold(NFC)), repeated until it stands still: a handful of code points need a second round.
fn fold(local: &str) -> String {
    let mut folded: String = local.nfc().collect();
    for _ in 0..4 {
        let next: String = caseless::default_case_fold_str(&folded).nfc().collect();
        if next == folded {
            break;
        }
        folded = next;
    }
    folded
}

fn check_local(local: &str, whole: &str) -> Result<(), AddressError> {
    if local.is_empty() {
        return Err(AddressError::NoLocalPart(whole.to_owned()));
    }
    if local.contains('"') {
        return Err(AddressError::Quoted(local.to_owned()));
    }
    if local.contains(['(', ')']) {
        return Err(AddressError::Comment(local.to_owned()));
    }
    if let Some(character) = local.chars().find(|c| *c != '.' && !is_atext(*c)) {
        return Err(AddressError::Character { local: local.to_owned(), character });
    }
    if local.starts_with('.') || local.ends_with('.') || local.contains("..") {
        return Err(AddressError::Dots(local.to_owned()));
    }
    Ok(())
}

/// RFC 5321 atext, or RFC 6531 UTF8-non-ascii that shows: no controls, spaces or invisible direction and joining marks.
fn is_atext(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    }
    let invisible = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}');
    !c.is_control() && !c.is_whitespace() && !invisible
}

impl fmt::Display for CanonicalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl serde::Serialize for CanonicalAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Debug for CanonicalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str) -> String {
        Address::parse(text).unwrap().canonical().to_string()
    }

    #[test]
    fn a1_spellings_of_one_address_have_one_canonical_form() {
        for (text, expected) in [
            ("Sales@Acme.Example", "sales@acme.example"),
            ("STRASSE@acme.example", "strasse@acme.example"),
            ("Straße@acme.example", "strasse@acme.example"),
            ("büro@bücher.example", "büro@xn--bcher-kva.example"),
            ("bu\u{308}ro@acme.example", "büro@acme.example"),
        ] {
            assert_eq!(canonical(text), expected, "{text}");
        }
    }

    #[test]
    fn a1_keys_hold_every_spelling_a_mail_server_may_ask() {
        let address = Address::parse("Straße@Bücher.example").unwrap();
        assert_eq!(
            address.keys(),
            ["strasse@xn--bcher-kva.example", "strasse@bücher.example", "straße@bücher.example", "straße@xn--bcher-kva.example"]
        );
        assert_eq!(Address::parse("sales@acme.example").unwrap().keys(), ["sales@acme.example"]);
    }

    #[test]
    fn a2_refusals_name_the_offending_part() {
        let long = format!("{}@acme.example", "x".repeat(65));
        for (text, words) in [
            ("", "empty"),
            ("sales", "no @"),
            ("@acme.example", "nothing before"),
            ("\"sales team\"@acme.example", "quoted"),
            ("sales(team)@acme.example", "comment"),
            ("sales team@acme.example", "' '"),
            ("sales\u{7}@acme.example", "'\\u{7}'"),
            ("sa\u{200d}les@acme.example", "u{200d}"),
            (".sales@acme.example", "dot"),
            ("sales.@acme.example", "dot"),
            ("sa..les@acme.example", "dot"),
            ("a@b@acme.example", "'@'"),
            ("sales@acme.example.", "ends in a dot"),
            ("sales@[192.0.2.1]", "literal"),
            (&long, "65 octets"),
        ] {
            let message = Address::parse(text).unwrap_err().to_string();
            assert!(message.contains(words), "{text:?}: {message}");
        }
    }

    #[test]
    fn a2_utf8_local_parts_of_64_octets_are_accepted() {
        assert!(Address::parse(&format!("{}@acme.example", "ü".repeat(32))).is_ok());
        assert!(Address::parse(&format!("{}@acme.example", "ü".repeat(33))).is_err());
    }

    proptest! {
        #[test]
        fn a1_canonical_forms_are_stable(local in "[\\p{L}0-9.+_-]{1,20}") {
            if let Ok(address) = Address::parse(&format!("{local}@acme.example")) {
                let again = Address::parse(address.canonical().as_str()).unwrap();
                prop_assert_eq!(again.canonical(), address.canonical());
            }
        }

        #[test]
        fn a2_no_text_makes_the_parser_panic(text in ".{0,80}") {
            let _ = Address::parse(&text);
        }
    }
}
