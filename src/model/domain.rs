//! Mail domains in canonical form: the lower-case A-label (SPEC A1; IDNA 2008 by way of UTS 46 non-transitional processing).

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// A mail domain. Two spellings of one domain (case, A-label or U-label) are equal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(Arc<str>);

/// Why a text is not a domain name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    #[error("the domain is empty")]
    Empty,
    #[error("the domain {0:?} ends in a dot; write it without")]
    TrailingDot(String),
    #[error("the domain {0:?} is an address literal; a mail domain has a name")]
    Literal(String),
    #[error(
        "the domain {0:?} is not a valid internet domain name (IDNA 2008): labels of letters, digits and inner hyphens, 1 to 63 octets each, 253 in all"
    )]
    Invalid(String),
}

/// A map by domain can be asked with the text of one: names compare as their texts do.
impl Borrow<str> for DomainName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl DomainName {
    /// Parses an A-label or U-label spelling in any case.
    ///
    /// # Errors
    /// [`DomainError`] names the offending domain and the rule it breaks.
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        if text.is_empty() {
            return Err(DomainError::Empty);
        }
        if text.ends_with(['.', '\u{3002}', '\u{ff0e}', '\u{ff61}']) {
            return Err(DomainError::TrailingDot(text.to_owned()));
        }
        if text.starts_with('[') || text.parse::<std::net::IpAddr>().is_ok() {
            return Err(DomainError::Literal(text.to_owned()));
        }
        let ascii = Uts46::new()
            .to_ascii(text.as_bytes(), AsciiDenyList::STD3, Hyphens::Check, DnsLength::Verify)
            .map_err(|_| DomainError::Invalid(text.to_owned()))?;
        Ok(Self(Arc::from(ascii.as_ref())))
    }

    /// Takes a name that the store holds: it was parsed before it was written.
    #[must_use]
    pub fn from_store(ascii: &str) -> Self {
        Self(Arc::from(ascii))
    }

    /// The canonical form, a lower-case A-label.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The U-label form; equal to [`Self::as_str`] for a plain ASCII domain.
    #[must_use]
    pub fn unicode(&self) -> String {
        let (text, result) = Uts46::new().to_unicode(self.0.as_bytes(), AsciiDenyList::STD3, Hyphens::Check);
        if result.is_ok() { text.into_owned() } else { self.0.to_string() }
    }

    /// Whether anybody may register names below it: a single label, or an entry of the public suffix list (SPEC D1).
    #[must_use]
    pub fn is_public_suffix(&self) -> bool {
        !self.0.contains('.') || psl::suffix_str(&self.0).is_none_or(|suffix| suffix == &*self.0)
    }

    /// Whether `self` lies below `other` (`mail.acme.example` below `acme.example`).
    #[must_use]
    pub fn is_below(&self, other: &Self) -> bool {
        self.0.strip_suffix(&*other.0).is_some_and(|rest| rest.ends_with('.'))
    }

    /// The names above it, nearest first, without the top-level label.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> + '_ {
        self.0.match_indices('.').filter_map(|(at, _)| self.0.get(at + 1..)).filter(|rest| rest.contains('.')).map(Self::from_store)
    }

    /// The spellings under which a mail server may ask: A-label and, where it differs, U-label.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let mut keys = vec![self.0.to_string()];
        let unicode = self.unicode();
        if unicode != *self.0 {
            keys.push(unicode);
        }
        keys
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_spellings_of_one_domain_are_equal() {
        let canonical = DomainName::parse("xn--bcher-kva.example").unwrap();
        for spelling in ["bücher.example", "BÜCHER.Example", "bu\u{308}cher.example", "XN--BCHER-KVA.EXAMPLE"] {
            assert_eq!(DomainName::parse(spelling).unwrap(), canonical, "{spelling}");
        }
        assert_eq!(canonical.unicode(), "bücher.example");
        // Non-transitional: the sharp s is a letter of its own.
        assert_eq!(DomainName::parse("straße.example").unwrap().as_str(), "xn--strae-oqa.example");
    }

    #[test]
    fn a2_what_is_no_domain_is_refused_by_name() {
        let long = format!("{}.example", "a".repeat(64));
        for text in
            ["", "acme.example.", "[192.0.2.1]", "192.0.2.1", "acme..example", "-acme.example", "ac me.example", "acme_.example", &long]
        {
            assert!(DomainName::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn d1_single_labels_and_public_suffixes_are_known() {
        for (text, expected) in [("example", true), ("co.uk", true), ("com", true), ("acme.example", false), ("acme.co.uk", false)] {
            assert_eq!(DomainName::parse(text).unwrap().is_public_suffix(), expected, "{text}");
        }
    }

    #[test]
    fn d1_below_means_a_whole_label() {
        let parent = DomainName::parse("acme.example").unwrap();
        assert!(DomainName::parse("mail.acme.example").unwrap().is_below(&parent));
        assert!(!DomainName::parse("notacme.example").unwrap().is_below(&parent));
        assert!(!parent.is_below(&parent));
        let deep = DomainName::parse("a.b.acme.example").unwrap();
        assert_eq!(deep.ancestors().map(|d| d.to_string()).collect::<Vec<_>>(), ["b.acme.example", "acme.example"]);
    }
}
