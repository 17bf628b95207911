//! The resources that share a subject. Nearly every subject has one, and a set of its own for each would cost more than the resource.

use std::collections::BTreeSet;

use crate::model::ResourceKey;

/// A set of keys, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Keys {
    One(ResourceKey),
    Many(BTreeSet<ResourceKey>),
}

impl Keys {
    pub fn insert(&mut self, key: ResourceKey) {
        match self {
            Self::One(first) if *first == key => {}
            Self::One(first) => *self = Self::Many([first.clone(), key].into()),
            Self::Many(keys) => {
                keys.insert(key);
            }
        }
    }

    /// Takes a key out. True when nothing is left.
    pub fn remove(&mut self, key: &ResourceKey) -> bool {
        match self {
            Self::One(first) => first == key,
            Self::Many(keys) => {
                keys.remove(key);
                keys.is_empty()
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &ResourceKey> {
        let (one, many) = match self {
            Self::One(key) => (Some(key), None),
            Self::Many(keys) => (None, Some(keys.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Kind;

    #[test]
    fn a_set_of_one_grows_shrinks_and_keeps_its_order() {
        let key = |name: &str| ResourceKey::new(Kind::EmailAddress, "acme", name);
        let names = |keys: &Keys| keys.iter().map(|key| key.name.clone()).collect::<Vec<_>>();
        let mut keys = Keys::One(key("b"));
        keys.insert(key("b"));
        keys.insert(key("a"));
        assert_eq!(names(&keys), ["a", "b"]);
        assert!(!keys.remove(&key("b")));
        assert_eq!(names(&keys), ["a"]);
        assert!(keys.remove(&key("a")));
        assert!(Keys::One(key("c")).remove(&key("c")));
    }
}
