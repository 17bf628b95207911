//! What an entry is to us (SPEC Y1 to Y4): pure, from bytes to [`Entry`].

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::account::{SignValues, account};
use super::asked::{Asked, Slot};
use super::raw::RawEntry;
use super::redaction::{LONGEST_TEXT, Redaction};
use super::values::{Attribute, Faults, addresses};
use crate::model::{Access, Account, DirectoryType, Entry, EntryId, EntrySort, Signs};

/// The longest display name, and the longest value of an attribute, in characters (api/email_address.rs).
const LONGEST_NAME: usize = 256;
const LONGEST_ATTRIBUTE: usize = 1_024;
/// The longest DN that is shown, in characters.
const LONGEST_DN: usize = 1_024;
/// Part of each digest: to be raised when the same attributes come to mean something else, so that every entry is looked at again.
const MEANING: u8 = 1;

/// How the entries of one search are read.
#[derive(Debug, Clone)]
pub(super) struct Mapping {
    pub(super) asked: Asked,
    pub(super) sort: EntrySort,
    directory: DirectoryType,
    now: Timestamp,
    redaction: Redaction,
}

impl Mapping {
    pub(super) fn new(access: &Access, sort: EntrySort, now: Timestamp, redaction: &Redaction) -> Self {
        Self { asked: Asked::new(access, sort), sort, directory: access.directory, now, redaction: redaction.clone() }
    }

    /// For a search that asks only who entries are.
    pub(super) fn ids(access: &Access, now: Timestamp, redaction: &Redaction) -> Self {
        Self { asked: Asked::id(access), ..Self::new(access, EntrySort::Mailbox, now, redaction) }
    }

    /// An error tells people why the entry can't be told apart from others.
    pub(super) fn entry(&self, raw: &RawEntry) -> Result<Entry, String> {
        let dn = self.redaction.shown(&raw.dn, LONGEST_DN);
        let id = self.id(raw).map_err(|why| format!("{}: {why}", self.redaction.shown(&raw.dn, LONGEST_TEXT)))?;
        let mut faults = Faults::new(&self.redaction);
        let attribute = |slot: Option<Slot>| Attribute { name: slot.map_or("", |slot| self.asked.name(slot)), values: raw.get(slot) };
        let values = addresses(&attribute(self.asked.aliases), &attribute(self.asked.mail), &mut faults);
        let mut text = |slot: Slot, longest| {
            let value = raw.get(Some(slot)).first()?;
            let Ok(text) = std::str::from_utf8(value) else {
                faults.add(self.asked.name(slot), value, "is not UTF-8");
                return None;
            };
            let clean: String = text.chars().filter(|c| !c.is_control()).take(longest).collect();
            Some(clean.trim().to_owned()).filter(|clean| !clean.is_empty())
        };
        let display_name = self.asked.display_name.and_then(|slot| text(slot, LONGEST_NAME));
        let extra = self.asked.extra.iter();
        let attributes = extra.filter_map(|(ours, slot)| Some((ours.clone(), text(*slot, LONGEST_ATTRIBUTE)?))).collect();
        let (account, expired) = match self.sort {
            EntrySort::Mailbox => account(&self.sign_values(raw), self.now, &mut faults),
            EntrySort::List => (Account::Enabled, false),
        };
        let digest = self.digest(raw, expired);
        Ok(Entry {
            id,
            dn,
            sort: self.sort,
            values,
            display_name,
            attributes,
            account,
            signs: self.signs(raw),
            faults: faults.finish(),
            digest,
        })
    }

    pub(super) fn id(&self, raw: &RawEntry) -> Result<EntryId, String> {
        let name = self.asked.id.map_or("", |slot| self.asked.name(slot));
        match raw.get(self.asked.id) {
            [] => Err(format!("it came without {name}")),
            [value] => id(name, value).ok_or_else(|| format!("its {name} is no id")),
            // Which of them would come first tomorrow?
            many => Err(format!("it has {} values of {name}", many.len())),
        }
    }

    fn sign_values<'a>(&self, raw: &'a RawEntry) -> SignValues<'a> {
        let classes = raw.get(self.asked.object_class);
        let is_user = classes.is_empty() || classes.iter().any(|class| class.eq_ignore_ascii_case(b"user"));
        SignValues {
            user_account_control: raw.get(self.asked.user_account_control),
            account_expires: raw.get(self.asked.account_expires),
            ns_account_lock: raw.get(self.asked.ns_account_lock),
            pwd_account_locked_time: raw.get(self.asked.pwd_account_locked_time),
            disabled: raw.get(self.asked.disabled),
            must_have_control: self.directory == DirectoryType::ActiveDirectory && is_user,
        }
    }

    fn signs(&self, raw: &RawEntry) -> Signs {
        let asked = &self.asked;
        let mut signs = Signs::default();
        for (slot, sign) in [
            (asked.user_account_control, Signs::USER_ACCOUNT_CONTROL),
            (asked.account_expires, Signs::ACCOUNT_EXPIRES),
            (asked.ns_account_lock, Signs::NS_ACCOUNT_LOCK),
            (asked.pwd_account_locked_time, Signs::PWD_ACCOUNT_LOCKED_TIME),
            (asked.mail, Signs::MAIL),
            (asked.aliases, Signs::ALIASES),
            (asked.member, Signs::MEMBER),
        ] {
            if !raw.get(slot).is_empty() {
                signs.add(sign);
            }
        }
        signs
    }

    /// Of all that was read; the order of values means nothing. Of members, whether there are any: who comes and goes in a group changes nothing here.
    fn digest(&self, raw: &RawEntry, expired: bool) -> [u8; 16] {
        let mut hasher = Sha256::new();
        hasher.update([MEANING, u8::from(self.sort == EntrySort::List), u8::from(expired)]);
        let mut part = |bytes: &[u8]| {
            hasher.update(u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
            hasher.update(bytes);
        };
        for (slot, name) in self.asked.slots() {
            let mut values: Vec<_> = raw.get(Some(slot)).iter().map(Vec::as_slice).collect();
            if !self.asked.to_the_end(slot) {
                values = values.first().map(|_| &b"some"[..]).into_iter().collect();
            }
            values.sort_unstable();
            part(name.as_bytes());
            part(&values.len().to_be_bytes());
            values.into_iter().for_each(&mut part);
        }
        let mut digest = [0; 16];
        digest.iter_mut().zip(hasher.finalize()).for_each(|(to, from)| *to = from);
        digest
    }
}

/// An objectGUID is told by its name: any 16 bytes may be one, letters as well. Other servers have binary ids too.
fn id(name: &str, value: &[u8]) -> Option<EntryId> {
    let guid = || <[u8; 16]>::try_from(value).ok().map(EntryId::from_guid);
    if name.eq_ignore_ascii_case("objectGUID") {
        return guid();
    }
    std::str::from_utf8(value).ok().and_then(EntryId::from_text).or_else(guid)
}

#[cfg(test)]
mod tests {
    use super::super::asked::tests::access;
    use super::super::raw::tests::wire;
    use super::*;
    use crate::model::Secret;

    const GUID: &[u8] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    fn mapping(directory: DirectoryType, sort: EntrySort) -> Mapping {
        let redaction = Redaction::new(&Secret::new(b"geheim".to_vec()));
        Mapping::new(&access(directory), sort, "2026-01-01T00:00:00Z".parse().unwrap(), &redaction)
    }

    fn map(mapping: &Mapping, attributes: &[(&str, &[&[u8]])]) -> Result<Entry, String> {
        mapping.entry(&RawEntry::decode(wire("cn=a,dc=acme,dc=example", attributes), &mapping.asked).unwrap())
    }

    fn user(attributes: &[(&str, &[&[u8]])]) -> Entry {
        let id: &[(&str, &[&[u8]])] = &[("objectGUID", &[GUID]), ("objectClass", &[b"top", b"user"]), ("userAccountControl", &[b"512"])];
        let given = |name: &str| attributes.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        let all: Vec<_> = id.iter().filter(|(name, _)| !given(name)).chain(attributes).copied().collect();
        map(&mapping(DirectoryType::ActiveDirectory, EntrySort::Mailbox), &all).unwrap()
    }

    #[test]
    fn y1_an_entry_is_known_by_its_id_whatever_shape_it_has() {
        let of = |values: &[&[u8]]| {
            let entry = map(&mapping(DirectoryType::OpenLdap, EntrySort::Mailbox), &[("entryUUID", values)]);
            entry.map(|entry| entry.id.as_str().to_owned())
        };
        for (value, expected) in [
            (&b"6F2A7C10-0000-1000-8000-00805f9b34fb"[..], "6f2a7c10-0000-1000-8000-00805f9b34fb"),
            (b"abcdefghijklmnop", "abcdefghijklmnop"),
            (GUID, "03020100-0504-0706-0809-0a0b0c0d0e0f"),
        ] {
            assert_eq!(of(&[value]).as_deref(), Ok(expected));
        }
        for (values, why) in [
            (&[][..], "it came without entryUUID"),
            (&[&b""[..]], "its entryUUID is no id"),
            (&[b"a b"], "its entryUUID is no id"),
            (&[b"\xff"], "its entryUUID is no id"),
            (&[b"a", b"b"], "it has 2 values of entryUUID"),
        ] {
            assert_eq!(of(values), Err(format!("cn=a,dc=acme,dc=example: {why}")));
        }
        // Sixteen bytes that happen to be letters.
        assert_eq!(user(&[("OBJECTGUID", &[b"abcdefghijklmnop"])]).id.as_str(), "64636261-6665-6867-696a-6b6c6d6e6f70");
    }

    #[test]
    fn y2_names_and_attributes_are_cleaned_and_bounded() {
        let long = "ü".repeat(2_000);
        let entry = user(&[("displayName", &[b" An\x1b\0na \xc3\x9c. "]), ("department", &[long.as_bytes()])]);
        assert_eq!(entry.display_name.as_deref(), Some("Anna Ü."));
        assert_eq!(entry.attributes["department"].chars().count(), LONGEST_ATTRIBUTE);
        assert_eq!(user(&[("displayName", &[long.as_bytes()])]).display_name.map(|name| name.chars().count()), Some(LONGEST_NAME));
        assert_eq!(user(&[("displayName", &[b"\x07 "])]).display_name, None);
        let faulty = user(&[("displayName", &[b"\xff"])]);
        assert_eq!((faulty.display_name, faulty.faults), (None, vec!["displayName value \"\u{fffd}\" is not UTF-8".to_owned()]));
    }

    #[test]
    fn y4_contacts_and_public_folders_need_no_control_and_users_do() {
        for (attributes, expected) in [
            (&[("userAccountControl", &[&b"514"[..]][..])][..], Account::Disabled),
            (&[("userAccountControl", &[])], Account::Unreadable),
            (&[("userAccountControl", &[]), ("objectClass", &[b"top", b"contact"])], Account::Enabled),
            (&[("userAccountControl", &[]), ("objectClass", &[b"publicFolder"])], Account::Enabled),
            // Every entry has classes: who hides them hides the control too.
            (&[("userAccountControl", &[]), ("objectClass", &[])], Account::Unreadable),
        ] {
            assert_eq!(user(attributes).account, expected, "{attributes:?}");
        }
        let plain = map(&mapping(DirectoryType::OpenLdap, EntrySort::Mailbox), &[("entryUUID", &[b"1"])]).unwrap();
        assert_eq!(plain.account, Account::Enabled);
    }

    #[test]
    fn y4_signs_are_the_attributes_that_came() {
        let entry = user(&[("mail", &[b"a@x.example"]), ("accountExpires", &[b"0"]), ("proxyAddresses", &[])]);
        let names: Vec<_> = Signs::ALL.into_iter().filter(|(sign, _)| entry.signs.has(*sign)).map(|(_, name)| name).collect();
        assert_eq!(names, ["userAccountControl", "accountExpires", "mail"]);
        let list = mapping(DirectoryType::ActiveDirectory, EntrySort::List);
        let list = map(&list, &[("objectGUID", &[GUID]), ("member;range=0-0", &[b"cn=b"])]).unwrap();
        assert_eq!((list.sort, list.signs, list.account), (EntrySort::List, Signs::MEMBER, Account::Enabled));
    }

    #[test]
    fn y10_the_digest_changes_with_what_was_read_and_with_nothing_else() {
        let entry = |values: &[&[u8]]| user(&[("proxyAddresses", values), ("accountExpires", &[b"134116992010000000"])]);
        let digest = |values: &[&[u8]]| entry(values).digest;
        assert_eq!(digest(&[b"SMTP:a@x.example", b"smtp:b@x.example"]), digest(&[b"smtp:b@x.example", b"SMTP:a@x.example"]));
        assert_ne!(digest(&[b"SMTP:a@x.example"]), digest(&[b"smtp:a@x.example"]));
        // Whether an end of one value is the beginning of the next.
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        let mut later = mapping(DirectoryType::ActiveDirectory, EntrySort::Mailbox);
        let attributes: &[(&str, &[&[u8]])] = &[("objectGUID", &[GUID]), ("accountExpires", &[b"134116992010000000"])];
        let before = map(&later, attributes).unwrap().digest;
        later.now = "2027-01-01T00:00:00Z".parse().unwrap();
        assert_ne!(before, map(&later, attributes).unwrap().digest, "an account that expired meanwhile");

        let lists = mapping(DirectoryType::OpenLdap, EntrySort::List);
        let list = |members: &[&[u8]]| map(&lists, &[("entryUUID", &[b"1"]), ("member", members)]).unwrap().digest;
        assert_eq!(list(&[b"cn=a", b"cn=b"]), list(&[b"cn=c"]));
        assert_ne!(list(&[b"cn=a"]), list(&[]));
    }
}
