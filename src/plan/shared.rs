//! Rows that two versions of a store share until one of them changes: a plan works on a copy of all it sees, and changes little of it.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A map whose clones share its values; what is changed is copied first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared<K, V>(BTreeMap<K, Arc<V>>);

impl<K, V> Default for Shared<K, V> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord, V: Clone> Shared<K, V> {
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key).map(AsRef::as_ref)
    }

    /// For changing it: asked for in vain this costs a copy, so ask with [`Self::get`] first.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.0.get_mut(key).map(Arc::make_mut)
    }

    /// The value itself, for changing it apart and putting it back with [`Self::share`].
    #[must_use]
    pub fn shared(&self, key: &K) -> Option<Arc<V>> {
        self.0.get(key).cloned()
    }

    pub fn share(&mut self, key: K, value: Arc<V>) {
        self.0.insert(key, value);
    }

    pub fn insert(&mut self, key: K, value: V) {
        self.share(key, Arc::new(value));
    }

    pub fn remove(&mut self, key: &K) -> bool {
        self.0.remove(key).is_some()
    }

    #[must_use]
    pub fn contains_key(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value.as_ref()))
    }

    /// With values that compare by identity first.
    pub fn iter_shared(&self) -> impl Iterator<Item = (&K, &Arc<V>)> {
        self.0.iter()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.keys()
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.values().map(AsRef::as_ref)
    }
}
