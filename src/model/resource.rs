//! What a resource is called. Ownership in the store is by kind, namespace and name (SPEC A8).

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

/// The kinds of the API group, in the order in which a plan works on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    AccountSettings,
    InternalDomain,
    EmailAddress,
    AliasLink,
    DelegateMailbox,
    AdminRole,
    DirectoryConnection,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::AccountSettings,
        Self::InternalDomain,
        Self::EmailAddress,
        Self::AliasLink,
        Self::DelegateMailbox,
        Self::AdminRole,
        Self::DirectoryConnection,
    ];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccountSettings => "AccountSettings",
            Self::InternalDomain => "InternalDomain",
            Self::EmailAddress => "EmailAddress",
            Self::AliasLink => "AliasLink",
            Self::DelegateMailbox => "DelegateMailbox",
            Self::AdminRole => "AdminRole",
            Self::DirectoryConnection => "DirectoryConnection",
        }
    }
}

impl FromStr for Kind {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text).ok_or(())
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Kind, namespace and name: all that ownership goes by. Clones share one text: every index has keys, and there may be a hundred
/// thousand resources.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceKey(Arc<KeyParts>);

/// What a [`ResourceKey`] says.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyParts {
    pub kind: Kind,
    pub namespace: String,
    pub name: String,
}

impl ResourceKey {
    #[must_use]
    pub fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self(Arc::new(KeyParts { kind, namespace: namespace.to_owned(), name: name.to_owned() }))
    }
}

/// The parts of a key, borrowed: a map by key can be asked without making one.
pub trait Named {
    fn parts(&self) -> (Kind, &str, &str);
}

impl Named for ResourceKey {
    fn parts(&self) -> (Kind, &str, &str) {
        (self.kind, &self.namespace, &self.name)
    }
}

impl Named for (Kind, &str, &str) {
    fn parts(&self) -> (Kind, &str, &str) {
        *self
    }
}

impl PartialEq for dyn Named + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn Named + '_ {}

impl PartialOrd for dyn Named + '_ {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// As [`KeyParts`] orders its fields.
impl Ord for dyn Named + '_ {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl<'a> Borrow<dyn Named + 'a> for ResourceKey {
    fn borrow(&self) -> &(dyn Named + 'a) {
        self
    }
}

impl Deref for ResourceKey {
    type Target = KeyParts;

    fn deref(&self) -> &KeyParts {
        &self.0
    }
}

impl fmt::Debug for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
    }
}
