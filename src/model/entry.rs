//! What a directory says of one entry (SPEC Y1 to Y4), before anybody knows which of its addresses are a tenant's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::Address;

/// By what an entry is known for as long as it lives (Y1): entryUUID (RFC 4530), objectGUID, or what a server has in their place. Never
/// its DN.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct EntryId(Arc<str>);

impl EntryId {
    /// The longest that is taken, in bytes.
    const LONGEST: usize = 128;

    /// An id that came as text, in lower case. None: empty, too long, or with what is no printable ASCII.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= Self::LONGEST && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(text.to_ascii_lowercase().into()))
    }

    /// An objectGUID: its first three parts are little-endian, and people know it in the order in which tools print it.
    #[must_use]
    pub fn from_guid(g: [u8; 16]) -> Self {
        let [a3, a2, a1, a0, b1, b0, c1, c0, rest @ ..] = g;
        let whole = super::hex(&[&[a0, a1, a2, a3, b0, b1, c0, c1][..], &rest[..]].concat());
        let part = |from: usize, to: usize| whole.get(from..to).unwrap_or_default();
        Self(format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)).into())
    }

    /// One that is in the store.
    #[must_use]
    pub fn from_store(text: &str) -> Self {
        Self(text.into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who is behind an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntrySort {
    /// A person, a shared mailbox, a room, a contact, a public folder.
    Mailbox,
    /// A mail-enabled group; its members are not kept.
    List,
}

/// One address that an entry has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MailValue {
    pub address: Address,
    /// `SMTP:`, or `mail` where the entry has no address besides (Y3).
    pub primary: bool,
    pub rank: Rank,
}

/// As what an entry has an address: of two entries with one address the lower rank wins it (Y3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// `SMTP:`, the first of them.
    #[default]
    Primary,
    /// `smtp:`, or no prefix.
    Proxy,
    /// `mail`.
    Mail,
}

impl Rank {
    pub const ALL: [Self; 3] = [Self::Primary, Self::Proxy, Self::Mail];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "Primary",
            Self::Proxy => "Proxy",
            Self::Mail => "Mail",
        }
    }
}

/// Which attributes an entry came with that mean something when they are missing (Y4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signs(pub u8);

impl Signs {
    pub const USER_ACCOUNT_CONTROL: Self = Self(1);
    pub const ACCOUNT_EXPIRES: Self = Self(1 << 1);
    pub const NS_ACCOUNT_LOCK: Self = Self(1 << 2);
    pub const PWD_ACCOUNT_LOCKED_TIME: Self = Self(1 << 3);
    pub const MAIL: Self = Self(1 << 4);
    pub const ALIASES: Self = Self(1 << 5);
    pub const MEMBER: Self = Self(1 << 6);
    pub const ALL: [(Self, &str); 7] = [
        (Self::USER_ACCOUNT_CONTROL, "userAccountControl"),
        (Self::ACCOUNT_EXPIRES, "accountExpires"),
        (Self::NS_ACCOUNT_LOCK, "nsAccountLock"),
        (Self::PWD_ACCOUNT_LOCKED_TIME, "pwdAccountLockedTime"),
        (Self::MAIL, "mail"),
        (Self::ALIASES, "aliases"),
        (Self::MEMBER, "member"),
    ];

    pub fn add(&mut self, sign: Self) {
        self.0 |= sign.0;
    }

    #[must_use]
    pub fn has(self, sign: Self) -> bool {
        self.0 & sign.0 != 0
    }

    /// Those that were there before and are not now.
    #[must_use]
    pub fn gone_since(self, before: Self) -> Self {
        Self(before.0 & !self.0)
    }
}

/// What the directory says of whether somebody may log on (Y4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    Enabled,
    Disabled,
    /// The entry lacks what every entry of its kind has: nothing follows, and the run is not complete.
    Unreadable,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub id: EntryId,
    /// For people; nothing goes by it.
    pub dn: String,
    pub sort: EntrySort,
    /// Its addresses in order of their canonical form, each once; a primary wins over the same address as an alias.
    pub values: Vec<MailValue>,
    pub display_name: Option<String>,
    /// The extra attributes that the connection asks for, by our names; those that the entry lacks are not in it.
    pub attributes: BTreeMap<String, String>,
    pub account: Account,
    pub signs: Signs,
    /// What of it can't be used, for people: `proxyAddresses value "smtp:a b@c" is no address: …`.
    pub faults: Vec<String>,
    /// Of all that was read: two that are equal say the same.
    pub digest: [u8; 16],
}

/// That a read saw everything there is (Y5): each page ended clean, no limit was met, no reference left out, no connection lost. Only who
/// reads can make one; only with one follows anything from absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Complete(());

impl Complete {
    /// To be called by [`crate::directory`] alone, at the end of a search that ended clean.
    #[cfg(feature = "operator")]
    pub(crate) fn proved() -> Self {
        Self(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y1_a_guid_reads_as_tools_print_it() {
        let bytes: Vec<u8> = (0..16).collect();
        let id = EntryId::from_guid(bytes.try_into().unwrap());
        assert_eq!(id.as_str(), "03020100-0504-0706-0809-0a0b0c0d0e0f");
    }

    #[test]
    fn y1_an_id_that_is_no_id_is_none() {
        assert_eq!(EntryId::from_text(""), None);
        assert_eq!(EntryId::from_text("a b"), None);
        assert_eq!(EntryId::from_text(&"a".repeat(129)), None);
        assert_eq!(EntryId::from_text("6F2A").unwrap().as_str(), "6f2a");
    }

    #[test]
    fn y4_a_sign_that_went_is_told_from_one_that_never_was() {
        let (mut before, mut now) = (Signs::default(), Signs::default());
        before.add(Signs::MAIL);
        before.add(Signs::USER_ACCOUNT_CONTROL);
        now.add(Signs::MAIL);
        now.add(Signs::MEMBER);
        assert_eq!(now.gone_since(before), Signs::USER_ACCOUNT_CONTROL);
    }
}
