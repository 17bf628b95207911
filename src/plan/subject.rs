//! What a claim is about, and what becomes dirty when something changes.

use std::fmt;

use crate::model::{CanonicalAddress, DomainName};

/// One thing in the roster that at most one resource holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The settings of a namespace.
    Settings(String),
    Domain(DomainName),
    Address(CanonicalAddress),
    /// That this address is an alias.
    Link(CanonicalAddress),
    /// Reader, mailbox.
    Pair(CanonicalAddress, CanonicalAddress),
    /// That this address is a member of a role.
    Member(CanonicalAddress),
    /// A role, by namespace and name.
    Role(String, String),
    /// What went out of sight in a namespace (U6).
    Absences(String),
    /// A connection to a directory, by namespace and name.
    Connection(String, String),
}

impl Subject {
    /// The addresses it names.
    pub fn addresses(&self) -> impl Iterator<Item = &CanonicalAddress> {
        let (first, second) = match self {
            Self::Address(a) | Self::Link(a) | Self::Member(a) => (Some(a), None),
            Self::Pair(reader, mailbox) => (Some(reader), Some(mailbox)),
            Self::Settings(_) | Self::Domain(_) | Self::Role(..) | Self::Absences(_) | Self::Connection(..) => (None, None),
        };
        first.into_iter().chain(second)
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(namespace) => write!(f, "settings {namespace}"),
            Self::Domain(name) => write!(f, "domain {name}"),
            Self::Address(address) => write!(f, "address {address}"),
            Self::Link(alias) => write!(f, "link {alias}"),
            Self::Pair(reader, mailbox) => write!(f, "delegation {reader} {mailbox}"),
            Self::Member(address) => write!(f, "member {address}"),
            Self::Role(namespace, name) => write!(f, "role {namespace}/{name}"),
            Self::Absences(namespace) => write!(f, "absences {namespace}"),
            Self::Connection(namespace, name) => write!(f, "connection {namespace}/{name}"),
        }
    }
}
