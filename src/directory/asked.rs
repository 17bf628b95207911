//! Which attributes are asked for, and what each of them is to us.

use crate::model::{Access, DirectoryType, EntrySort};

/// An attribute's place in the list of those asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slot(usize);

/// The attributes of one search. One attribute may be several things at once, and is asked for once.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked {
    names: Vec<String>,
    pub(super) id: Option<Slot>,
    pub(super) mail: Option<Slot>,
    pub(super) aliases: Option<Slot>,
    pub(super) display_name: Option<Slot>,
    pub(super) member: Option<Slot>,
    pub(super) object_class: Option<Slot>,
    pub(super) user_account_control: Option<Slot>,
    pub(super) account_expires: Option<Slot>,
    pub(super) ns_account_lock: Option<Slot>,
    pub(super) pwd_account_locked_time: Option<Slot>,
    /// The sign of the connection's own.
    pub(super) disabled: Option<Slot>,
    /// By our names.
    pub(super) extra: Vec<(String, Slot)>,
    /// Of the group's members one is enough to see whether they can be read; only this server knows how to send one.
    one_member: bool,
}

impl Asked {
    pub(super) fn new(access: &Access, sort: EntrySort) -> Self {
        let names = &access.attributes;
        let active_directory = access.directory == DirectoryType::ActiveDirectory;
        let mut asked = Self { one_member: active_directory, ..Self::default() };
        asked.id = asked.add(&names.id);
        asked.mail = asked.add(&names.mail);
        asked.aliases = asked.add(&names.aliases);
        asked.display_name = asked.add(&names.display_name);
        asked.extra = names.extra.iter().filter_map(|(ours, theirs)| Some((ours.clone(), asked.add(theirs)?))).collect();
        match sort {
            EntrySort::List => asked.member = asked.add(&names.member),
            EntrySort::Mailbox => {
                asked.user_account_control = asked.add("userAccountControl");
                asked.account_expires = asked.add("accountExpires");
                if active_directory {
                    // Tells a user, who must have a userAccountControl, from a contact.
                    asked.object_class = asked.add("objectClass");
                } else {
                    asked.ns_account_lock = asked.add("nsAccountLock");
                    asked.pwd_account_locked_time = asked.add("pwdAccountLockedTime");
                }
                // A sign with a meaning of its own keeps that.
                let known = ["userAccountControl", "accountExpires", "pwdAccountLockedTime"];
                if !known.iter().any(|name| name.eq_ignore_ascii_case(&names.disabled)) {
                    asked.disabled = asked.add(&names.disabled);
                }
            }
        }
        asked
    }

    /// Only who an entry is.
    pub(super) fn id(access: &Access) -> Self {
        let mut asked = Self::default();
        asked.id = asked.add(&access.attributes.id);
        asked
    }

    fn add(&mut self, name: &str) -> Option<Slot> {
        if name.is_empty() {
            return None;
        }
        self.slot(name).or_else(|| {
            self.names.push(name.to_owned());
            Some(Slot(self.names.len() - 1))
        })
    }

    /// The place of an attribute by its name without options; names differ in no case (RFC 4512).
    pub(super) fn slot(&self, name: &str) -> Option<Slot> {
        self.names.iter().position(|known| known.eq_ignore_ascii_case(name)).map(Slot)
    }

    pub(super) fn name(&self, slot: Slot) -> &str {
        self.names.get(slot.0).map_or("", String::as_str)
    }

    /// All of them with their names, in the order of the list, which follows from the connection alone.
    pub(super) fn slots(&self) -> impl Iterator<Item = (Slot, &str)> {
        self.names.iter().enumerate().map(|(place, name)| (Slot(place), name.as_str()))
    }

    /// What the search names.
    pub(super) fn request(&self) -> Vec<String> {
        let one = |slot| self.one_member && Some(slot) == self.member;
        self.slots().map(|(slot, name)| if one(slot) { format!("{name};range=0-0") } else { name.to_owned() }).collect()
    }

    /// Whether all values matter, not only that there are some.
    pub(super) fn to_the_end(&self, slot: Slot) -> bool {
        Some(slot) != self.member
    }

    /// Room for each attribute's values.
    pub(super) fn room(&self) -> Vec<Vec<Vec<u8>>> {
        vec![Vec::new(); self.names.len()]
    }
}

impl Slot {
    pub(super) fn of<T>(self, all: &[T]) -> Option<&T> {
        all.get(self.0)
    }

    pub(super) fn of_mut<T>(self, all: &mut [T]) -> Option<&mut T> {
        all.get_mut(self.0)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{AttributeNames, SecretKey, TlsMode};

    /// A connection to nowhere, with the attributes of the type.
    pub fn access(directory: DirectoryType) -> Access {
        let (id, active) = match directory {
            DirectoryType::ActiveDirectory => ("objectGUID", true),
            _ => ("entryUUID", false),
        };
        let text = str::to_owned;
        Access {
            directory,
            servers: Vec::new(),
            tls: TlsMode::None,
            ca: None,
            server_name: None,
            bind_dn: text("cn=sync,dc=acme,dc=example"),
            bind_password: SecretKey { name: text("ldap"), key: text("password") },
            base_dn: text("dc=acme,dc=example"),
            user_filter: text("(mail=*)"),
            group_filter: String::new(),
            attributes: AttributeNames {
                id: text(id),
                mail: text("mail"),
                aliases: text("proxyAddresses"),
                display_name: text("displayName"),
                disabled: text(if active { "userAccountControl" } else { "mailDisabled" }),
                member: text("member"),
                extra: [("department", "department"), ("id", id)].map(|(ours, theirs)| (text(ours), text(theirs))).into(),
            },
            page_size: 1000,
            timeout: Duration::from_secs(30),
        }
    }

    /// What is asked of a domain controller's groups.
    pub fn asked() -> Asked {
        Asked::new(&access(DirectoryType::ActiveDirectory), EntrySort::List)
    }

    #[test]
    fn y4_only_what_has_a_meaning_is_asked_for_and_each_once() {
        let users = |directory| Asked::new(&access(directory), EntrySort::Mailbox).request().join(" ");
        let shared = "mail proxyAddresses displayName department userAccountControl accountExpires";
        assert_eq!(users(DirectoryType::ActiveDirectory), format!("objectGUID {shared} objectClass"));
        assert_eq!(users(DirectoryType::OpenLdap), format!("entryUUID {shared} nsAccountLock pwdAccountLockedTime mailDisabled"));
        let groups = Asked::new(&access(DirectoryType::Generic), EntrySort::List).request().join(" ");
        assert_eq!(groups, "entryUUID mail proxyAddresses displayName department member");
        assert!(asked().request().contains(&"member;range=0-0".to_owned()));
    }
}
