//! A status of any of our kinds: what we write, and what reads back.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde::Serialize;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::api;
use crate::plan::desired::Last;
use crate::plan::reason::Reason;

/// What tells two statuses apart: of all that must be told at once, and of the counts, which may wait a minute (SPEC P8, D3). Times of
/// transitions do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digests {
    pub hard: u64,
    pub soft: u64,
}

macro_rules! statuses {
    ($($kind:ident $status:ident)*) => {
        #[derive(Debug, Clone, PartialEq, Serialize)]
        #[serde(untagged)]
        pub enum Status {
            $($kind(api::$status),)*
        }

        impl Status {
            pub fn conditions(&self) -> &[Condition] {
                match self {
                    $(Self::$kind(status) => &status.conditions,)*
                }
            }

            fn conditions_mut(&mut self) -> &mut Vec<Condition> {
                match self {
                    $(Self::$kind(status) => &mut status.conditions,)*
                }
            }

            fn observed_generation(&self) -> Option<i64> {
                match self {
                    $(Self::$kind(status) => status.observed_generation,)*
                }
            }
        }

        $(impl From<api::$status> for Status {
            fn from(status: api::$status) -> Self {
                Self::$kind(status)
            }
        })*
    };
}

statuses! {
    AccountSettings AccountSettingsStatus
    InternalDomain InternalDomainStatus
    EmailAddress EmailAddressStatus
    AliasLink AliasLinkStatus
    DelegateMailbox DelegateMailboxStatus
    AdminRole AdminRoleStatus
    DirectoryConnection DirectoryConnectionStatus
}

impl Status {
    /// A domain's counts.
    pub fn addresses(&self) -> Option<&api::AddressCounts> {
        match self {
            Self::InternalDomain(status) => status.addresses.as_ref(),
            _ => None,
        }
    }

    /// Takes `&mut` for a moment only: times and counts are put aside while the rest is looked at, and put back.
    pub fn digests(&mut self) -> Digests {
        let epoch = || Time(jiff::Timestamp::UNIX_EPOCH);
        let times: Vec<_> =
            self.conditions_mut().iter_mut().map(|condition| std::mem::replace(&mut condition.last_transition_time, epoch())).collect();
        let digests = match self {
            Self::InternalDomain(status) => {
                let counts = status.addresses.take();
                let digests = Digests { hard: digest_of(status), soft: digest_of(&counts) };
                status.addresses = counts;
                digests
            }
            Self::EmailAddress(status) => {
                let held = status.held_messages.take();
                let digests = Digests { hard: digest_of(status), soft: digest_of(&held) };
                status.held_messages = held;
                digests
            }
            _ => Digests { hard: digest_of(self), soft: 0 },
        };
        for (condition, time) in self.conditions_mut().iter_mut().zip(times) {
            condition.last_transition_time = time;
        }
        digests
    }

    /// What a plan remembers of it.
    pub fn last(&self) -> Last {
        let ready = self.conditions().iter().find(|condition| condition.type_ == "Ready");
        let rejected = match self {
            Self::AdminRole(status) => status.members.iter().flat_map(|members| &members.rejected).collect(),
            _ => Vec::new(),
        };
        let moved = rejected.into_iter().filter(|r| r.reason == Reason::AliasMoved.as_str()).map(|r| r.address.clone()).collect();
        Last {
            generation: self.observed_generation().unwrap_or(0),
            ready: ready.is_some_and(|ready| ready.status == "True"),
            reason: ready.and_then(|ready| ready.reason.parse().ok()),
            moved,
        }
    }
}

fn digest_of<T: Serialize>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    // A status of ours always serialises; one that did not would differ from nothing, and never be written.
    serde_json::to_vec(value).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}
