//! Which addresses an entry has (SPEC Y3).

use std::collections::BTreeMap;

use super::redaction::{LONGEST_TEXT, Redaction};
use crate::model::{Address, CanonicalAddress, MailValue, Rank};

/// Longer than any address, in bytes: what is longer is not even looked at.
const LONGEST_VALUE: usize = 1_000;
/// How much of a value a fault shows, in characters.
const LONGEST_SHOWN: usize = 80;
/// The most faults that are told of one entry.
const MOST_FAULTS: usize = 20;

/// What of an entry can't be used, for people.
pub(super) struct Faults<'a> {
    redaction: &'a Redaction,
    told: Vec<String>,
    more: usize,
}

impl<'a> Faults<'a> {
    pub(super) fn new(redaction: &'a Redaction) -> Self {
        Self { redaction, told: Vec::new(), more: 0 }
    }

    /// `proxyAddresses value "smtp:a b@c" is no address: …`
    pub(super) fn add(&mut self, attribute: &str, value: &[u8], why: &str) {
        if self.told.len() == MOST_FAULTS {
            self.more += 1;
            return;
        }
        // As many bytes as the characters shown can have, and the password across their end.
        let beginning = value.get(..LONGEST_VALUE).unwrap_or(value);
        let value = self.redaction.shown(&String::from_utf8_lossy(beginning), LONGEST_SHOWN);
        self.told.push(format!("{attribute} value \"{value}\" {why}"));
    }

    fn no_address(&mut self, attribute: &str, value: &[u8], why: &str) {
        let why = self.redaction.shown(why, LONGEST_TEXT);
        self.add(attribute, value, &format!("is no address: {why}"));
    }

    pub(super) fn finish(mut self) -> Vec<String> {
        if self.more > 0 {
            self.told.push(format!("and {} more", self.more));
        }
        self.told
    }
}

/// An attribute's name and values.
pub(super) struct Attribute<'a> {
    pub(super) name: &'a str,
    pub(super) values: &'a [Vec<u8>],
}

impl Attribute<'_> {
    /// In an order of their own: that in which a server sends them means nothing.
    fn sorted(&self) -> Vec<&[u8]> {
        let mut values: Vec<_> = self.values.iter().map(Vec::as_slice).collect();
        values.sort_unstable();
        values
    }
}

/// The entry's addresses in order of their canonical form, each once; a primary wins over the same address as an alias. `mail` counts only
/// where there is no address with an `smtp:` prefix, and is the primary then.
pub(super) fn addresses(aliases: &Attribute<'_>, mail: &Attribute<'_>, faults: &mut Faults<'_>) -> Vec<MailValue> {
    let (mut primaries, mut others, mut bare) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for value in aliases.sorted() {
        let (found, rest) = match prefix(value) {
            (Some(b"SMTP"), rest) => (&mut primaries, rest),
            (Some(prefix), rest) if prefix.eq_ignore_ascii_case(b"smtp") => (&mut others, rest),
            (Some(_), _) => continue, // X500, SIP, EUM: addresses of another kind
            (None, rest) => (&mut bare, rest),
        };
        take(aliases.name, value, rest, found, faults);
    }
    let mut mails = BTreeMap::new();
    if primaries.is_empty() && others.is_empty() {
        for value in mail.sorted() {
            take(mail.name, value, value, &mut mails, faults);
        }
    }
    let mut said = primaries.values().map(Address::declared);
    if let Some(first) = said.next() {
        let first = faults.redaction.shown(first, LONGEST_SHOWN);
        said.for_each(|other| {
            faults.add(aliases.name, other.as_bytes(), &format!("is a second primary address beside {first}: it counts as an alias"));
        });
    }
    // One primary: the first in order, of those that say it of themselves.
    let primary = primaries.keys().chain(mails.keys()).next().cloned();
    let all = [&primaries, &others, &mails, &bare].into_iter().rev().fold(BTreeMap::new(), |mut all, found| {
        all.extend(found.iter().map(|(canonical, address)| (canonical.clone(), address.clone())));
        all
    });
    let value = |(canonical, address)| {
        let rank = if primaries.keys().next() == Some(&canonical) {
            Rank::Primary
        } else if mails.contains_key(&canonical) && !bare.contains_key(&canonical) {
            Rank::Mail
        } else {
            Rank::Proxy
        };
        MailValue { address, primary: Some(&canonical) == primary.as_ref(), rank }
    };
    all.into_iter().map(value).collect()
}

/// Parses one value into `found`; of two spellings of an address the first stays.
fn take(name: &str, value: &[u8], address: &[u8], found: &mut BTreeMap<CanonicalAddress, Address>, faults: &mut Faults<'_>) {
    if value.len() > LONGEST_VALUE {
        faults.no_address(name, value, &format!("it has {} bytes", value.len()));
        return;
    }
    let Ok(text) = std::str::from_utf8(address) else {
        faults.no_address(name, value, "it is not UTF-8");
        return;
    };
    match Address::parse(text.trim_matches([' ', '\t'])) {
        Ok(address) => {
            found.entry(address.canonical().clone()).or_insert(address);
        }
        Err(why) => faults.no_address(name, value, &why.to_string()),
    }
}

/// `smtp:` and its like, and what follows it.
fn prefix(value: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let end = value.iter().position(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-').unwrap_or(value.len());
    match value.split_at_checked(end) {
        Some((prefix, [b':', rest @ ..])) if !prefix.is_empty() => (Some(prefix), rest),
        _ => (None, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;

    fn read(aliases: &[&[u8]], mail: &[&[u8]]) -> (Vec<String>, Vec<String>) {
        let redaction = Redaction::new(&Secret::new(b"geheim".to_vec()));
        let mut faults = Faults::new(&redaction);
        let owned = |values: &[&[u8]]| values.iter().map(|value| value.to_vec()).collect::<Vec<_>>();
        let (aliases, mail) = (owned(aliases), owned(mail));
        let aliases = Attribute { name: "proxyAddresses", values: &aliases };
        let values = addresses(&aliases, &Attribute { name: "mail", values: &mail }, &mut faults);
        let shown = |value: &MailValue| format!("{}{}", if value.primary { "*" } else { "" }, value.address.canonical());
        (values.iter().map(shown).collect(), faults.finish())
    }

    #[test]
    fn y3_prefixes_say_what_an_address_is() {
        for (aliases, mail, expected) in [
            (&["SMTP:b@x.example", "smtp:a@x.example"][..], "c@x.example", "a@x.example *b@x.example"),
            // No primary: the plan chooses one.
            (&["smtp:b@x.example", "Smtp:a@x.example"], "c@x.example", "a@x.example b@x.example"),
            // Addresses of another kind are not even faults.
            (&["x500:/o=Acme/cn=a", "sip:a@x.example", "EUM:12;phone-context=x", "X-foo:b@x"], "c@x.example", "*c@x.example"),
            (&[], "c@x.example", "*c@x.example"),
            // Without a prefix they are aliases, beside `mail`.
            (&["b@x.example", "a@x.example"], "c@x.example", "a@x.example b@x.example *c@x.example"),
            (&["c@x.example"], "c@x.example", "*c@x.example"),
            // One address, said thrice.
            (&["smtp:A@x.example", "SMTP:a@X.example", "a@x.example"], "", "*a@x.example"),
            (&["SMTP: a@x.example "], "", "*a@x.example"),
            (&["SMTP:straße@bücher.example"], "", "*strasse@xn--bcher-kva.example"),
        ] {
            let aliases: Vec<_> = aliases.iter().map(|value| value.as_bytes()).collect();
            let mail = if mail.is_empty() { vec![] } else { vec![mail.as_bytes()] };
            assert_eq!((read(&aliases, &mail).0.join(" "), read(&aliases, &mail).1), (expected.to_owned(), vec![]), "{aliases:?}");
        }
    }

    #[test]
    fn y3_an_address_that_only_mail_has_ranks_behind_the_proxy_addresses_of_others() {
        let redaction = Redaction::new(&Secret::new(b"geheim".to_vec()));
        let ranks = |aliases: &[&str], mail: &str| {
            let (aliases, mail) = (aliases.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>(), [mail.as_bytes().to_vec()]);
            let (aliases, mail) = (Attribute { name: "proxyAddresses", values: &aliases }, Attribute { name: "mail", values: &mail });
            addresses(&aliases, &mail, &mut Faults::new(&redaction)).iter().map(|value| value.rank).collect::<Vec<_>>()
        };
        assert_eq!(
            ranks(&["SMTP:a@x.example", "smtp:b@x.example", "SMTP:c@x.example"], "d@x.example"),
            [Rank::Primary, Rank::Proxy, Rank::Proxy]
        );
        assert_eq!(ranks(&["a@x.example"], "b@x.example"), [Rank::Proxy, Rank::Mail]);
        assert_eq!(ranks(&["a@x.example"], "a@x.example"), [Rank::Proxy]);
    }

    #[test]
    fn y3_the_order_in_which_values_come_means_nothing() {
        let one = read(&[b"SMTP:b@x.example", b"smtp:A@x.example", b"smtp:a@x.example", b"SMTP:c@x.example"], &[]);
        let other = read(&[b"SMTP:c@x.example", b"smtp:a@x.example", b"smtp:A@x.example", b"SMTP:b@x.example"], &[]);
        assert_eq!(one, other);
        assert_eq!(one.0.join(" "), "a@x.example *b@x.example c@x.example");
        assert_eq!(one.1, ["proxyAddresses value \"c@x.example\" is a second primary address beside b@x.example: it counts as an alias"]);
        assert_eq!(read(&[], &[b"b@x.example", b"a@x.example"]).0.join(" "), "*a@x.example b@x.example");
    }

    #[test]
    fn y3_a_value_that_is_no_address_is_told_and_the_rest_goes_on() {
        for (value, words) in [
            (&b"smtp:a b@x.example"[..], "proxyAddresses value \"smtp:a b@x.example\" is no address: the local part \"a b\""),
            (b"smtp:", "is no address: the address is empty"),
            (b"smtp:a\0@x.example", "value \"smtp:a\\u{0}@x.example\" is no address"),
            (b"smtp:a\x1b[2J@x.example", "value \"smtp:a\\u{1b}[2J@x.example\""),
            (b"SMTP:\xff\xfe@x.example", "is no address: it is not UTF-8"),
            (b"smtp :a@x.example", "is no address"),
            (b"a", "has no @"),
            // Y9: the bind password is not shown wherever it comes from.
            (b"smtp:geheim", "value \"smtp:***\" is no address: the address \"***\" has no @"),
        ] {
            let (values, faults) = read(&[value, b"smtp:ok@x.example"], &[]);
            assert_eq!(values, ["ok@x.example"]);
            assert!(faults[0].contains(words), "{faults:?}");
            assert_eq!(faults.len(), 1);
        }
    }

    #[test]
    fn y3_a_proxy_address_that_is_none_does_not_hide_the_mail() {
        assert_eq!(read(&[b"SMTP:a b@x.example"], &[b"c@x.example"]).0, ["*c@x.example"]);
    }

    #[test]
    fn y3_huge_and_many_faults_stay_small() {
        let huge = [&b"smtp:"[..], &vec![b'a'; 1 << 20], b"@x.example"].concat();
        let (values, faults) = read(&[&huge], &[]);
        assert!(values.is_empty() && faults[0].ends_with("it has 1048591 bytes") && faults[0].len() < 200, "{faults:?}");

        let many: Vec<_> = (0..3_000).map(|number| format!("smtp:{number}").into_bytes()).collect();
        let many: Vec<_> = many.iter().map(Vec::as_slice).collect();
        let faults = read(&many, &[]).1;
        assert_eq!((faults.len(), faults.last().map(String::as_str)), (MOST_FAULTS + 1, Some("and 2980 more")));
    }
}
