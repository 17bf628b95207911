//! An entry as it came: names and bytes. Nothing a server sends may make us panic, so whatever has not the shape of RFC 4511 4.5.2 is None.

use ldap3::asn1::{PL, StructureTag};

use super::asked::{Asked, Slot};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawEntry {
    pub(super) dn: String,
    values: Vec<Vec<Vec<u8>>>,
    /// Attributes of which only a part came, and the number of the first value that is missing.
    pub(super) cut: Vec<(Slot, u64)>,
}

impl RawEntry {
    /// Attributes that were not asked for are left out.
    pub(super) fn decode(entry: StructureTag, asked: &Asked) -> Option<Self> {
        let mut parts = constructed(entry)?.into_iter();
        let dn = primitive(parts.next()?)?;
        let mut raw = Self { dn: String::from_utf8_lossy(&dn).into_owned(), values: asked.room(), cut: Vec::new() };
        for attribute in constructed(parts.next()?)? {
            let mut parts = constructed(attribute)?.into_iter();
            let description = String::from_utf8(primitive(parts.next()?)?).ok()?;
            let values = constructed(parts.next()?)?.into_iter().map(primitive).collect::<Option<Vec<_>>>()?;
            let mut options = description.split(';');
            let Some(slot) = options.next().and_then(|name| asked.slot(name)) else { continue };
            if let Some(rest) = options.find_map(range)
                && let Rest::From(first) = rest?
                && asked.to_the_end(slot)
            {
                raw.cut.push((slot, first));
            }
            // The same attribute in several languages, or an empty one beside a part of it, is one attribute.
            slot.of_mut(&mut raw.values)?.extend(values);
        }
        Some(raw)
    }

    /// The values of an attribute; none of one that was not asked for.
    pub(super) fn get(&self, slot: Option<Slot>) -> &[Vec<u8>] {
        slot.and_then(|slot| slot.of(&self.values)).map_or(&[], Vec::as_slice)
    }

    /// Adds what was missing of this attribute.
    pub(super) fn extend(&mut self, slot: Slot, rest: Vec<Vec<u8>>) {
        if let Some(values) = slot.of_mut(&mut self.values) {
            values.extend(rest);
        }
    }

    /// The values of an attribute, taken out.
    pub(super) fn take(&mut self, slot: Slot) -> Vec<Vec<u8>> {
        slot.of_mut(&mut self.values).map(std::mem::take).unwrap_or_default()
    }
}

/// What an option `range=0-1499` says of the values that did not come.
enum Rest {
    Nothing,
    From(u64),
}

/// None: the option is no range. Some(None): it is one that can't be read.
#[allow(clippy::option_option, reason = "two questions")]
fn range(option: &str) -> Option<Option<Rest>> {
    let (name, range) = option.split_once('=')?;
    if !name.eq_ignore_ascii_case("range") {
        return None;
    }
    Some(range.split_once('-').and_then(|(_, last)| match last {
        "*" => Some(Rest::Nothing),
        last => last.parse::<u64>().ok()?.checked_add(1).map(Rest::From),
    }))
}

/// The first URL of a search result reference.
pub(super) fn reference(tag: StructureTag) -> String {
    let first = constructed(tag).and_then(|urls| urls.into_iter().next()).and_then(primitive);
    String::from_utf8_lossy(&first.unwrap_or_default()).into_owned()
}

pub(super) fn constructed(tag: StructureTag) -> Option<Vec<StructureTag>> {
    match tag.payload {
        PL::C(parts) => Some(parts),
        PL::P(_) => None,
    }
}

pub(super) fn primitive(tag: StructureTag) -> Option<Vec<u8>> {
    match tag.payload {
        PL::P(bytes) => Some(bytes),
        PL::C(_) => None,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use ldap3::asn1::TagClass;

    use super::super::asked::tests::asked;
    use super::*;

    fn bytes(value: &[u8]) -> StructureTag {
        StructureTag { class: TagClass::Universal, id: 4, payload: PL::P(value.to_vec()) }
    }

    fn sequence(parts: Vec<StructureTag>) -> StructureTag {
        StructureTag { class: TagClass::Universal, id: 16, payload: PL::C(parts) }
    }

    /// An entry as a server would send it.
    pub fn wire(dn: &str, attributes: &[(&str, &[&[u8]])]) -> StructureTag {
        let attributes = attributes.iter().map(|(description, values)| {
            sequence(vec![bytes(description.as_bytes()), sequence(values.iter().map(|value| bytes(value)).collect())])
        });
        sequence(vec![bytes(dn.as_bytes()), sequence(attributes.collect())])
    }

    #[test]
    fn y3_a_part_of_an_attribute_says_where_the_rest_begins() {
        let asked = asked();
        for (description, cut) in [
            ("proxyAddresses;range=0-1499", Some(Some(1500))),
            ("PROXYADDRESSES;Range=1500-2999", Some(Some(3000))),
            ("proxyAddresses;range=1500-*", Some(None)),
            ("proxyAddresses;lang-de", Some(None)),
            ("proxyAddresses;range=0-x", None),
            ("proxyAddresses;range=0-18446744073709551615", None),
            // Whether there is one is all that is asked of members.
            ("member;range=0-0", Some(None)),
        ] {
            let raw = RawEntry::decode(wire("cn=a", &[(description, &[b"a@acme.example"])]), &asked);
            let seen = raw.map(|raw| raw.cut.first().map(|(_, first)| *first));
            assert_eq!(seen, cut, "{description}");
        }
    }

    #[test]
    fn y3_an_empty_attribute_beside_a_part_of_it_is_one_attribute() {
        let asked = asked();
        let entry = wire("cn=a", &[("proxyAddresses", &[]), ("proxyAddresses;range=0-1", &[b"a", b"b"]), ("unasked", &[b"x"])]);
        let mut raw = RawEntry::decode(entry, &asked).unwrap();
        assert_eq!(raw.get(asked.aliases), [b"a".to_vec(), b"b".to_vec()]);
        raw.extend(asked.aliases.unwrap(), vec![b"c".to_vec()]);
        assert_eq!(raw.get(asked.aliases).len(), 3);
    }

    #[test]
    fn y5_what_is_no_entry_is_none_and_no_panic() {
        let asked = asked();
        let attribute = |parts| sequence(vec![bytes(b"cn=a"), sequence(vec![parts])]);
        for tag in [
            bytes(b"x"),
            sequence(vec![]),
            sequence(vec![bytes(b"cn=a")]),
            sequence(vec![sequence(vec![]), sequence(vec![])]),
            attribute(bytes(b"mail")),
            attribute(sequence(vec![bytes(b"mail")])),
            attribute(sequence(vec![bytes(b"ma\xffil"), sequence(vec![])])),
            attribute(sequence(vec![bytes(b"mail"), sequence(vec![sequence(vec![])])])),
        ] {
            assert_eq!(RawEntry::decode(tag.clone(), &asked), None, "{tag:?}");
        }
        assert_eq!(reference(bytes(b"x")), "");
        assert_eq!(reference(sequence(vec![bytes(b"ldap://other/")])), "ldap://other/");
    }
}
