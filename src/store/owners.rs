//! Whom the store's rows name as owners, and who of them has been out of sight for how long (SPEC U6).

use std::collections::BTreeSet;

use futures::TryStreamExt as _;
use serde_json::json;

use super::deadline::{LONG, SHORT, deadline};
use super::queries::{OVERDUE, OWNERS, WATCHED_NAMESPACES};
use super::{Store, StoreError};
use crate::model::{Kind, ResourceKey};
use crate::plan::absence::DAY;

impl Store {
    /// The owners of a kind in a namespace ("" for all) of which `is_listed` is false. Streams: a roster's owners need not fit in memory
    /// twice.
    ///
    /// # Errors
    /// The store's.
    pub async fn unlisted_owners(
        &self,
        kind: Kind,
        namespace: &str,
        is_listed: impl Fn(&ResourceKey) -> bool,
    ) -> Result<BTreeSet<ResourceKey>, StoreError> {
        let Some((_, sql)) = OWNERS.iter().find(|(of, _)| *of == kind) else { return Ok(BTreeSet::new()) };
        deadline("reading who owns rows", LONG, async {
            let mut missing = BTreeSet::new();
            let mut rows = sqlx::query_as::<_, (String, String)>(*sql).bind(namespace).fetch(self.pool());
            while let Some((namespace, name)) = rows.try_next().await? {
                let key = ResourceKey::new(kind, &namespace, &name);
                if !is_listed(&key) {
                    missing.insert(key);
                }
            }
            Ok(missing)
        })
        .await
    }

    /// Namespaces whose absences have to be looked at anew after a list, or whose uid has yet to be stored; `place` is "" for all.
    ///
    /// # Errors
    /// The store's.
    pub async fn namespaces_to_watch(&self, place: &str) -> Result<Vec<String>, StoreError> {
        let asked = async { Ok::<_, StoreError>(sqlx::query_scalar(WATCHED_NAMESPACES).bind(place).fetch_all(self.pool()).await?) };
        deadline("looking for namespaces with missing owners", SHORT, asked).await
    }

    /// Owners that have been missing for a day and are not held, at most `limit`, the longest missing first.
    ///
    /// # Errors
    /// The store's.
    pub async fn overdue(&self, namespaces: &BTreeSet<String>, limit: usize) -> Result<BTreeSet<ResourceKey>, StoreError> {
        let input = json!({"namespaces": namespaces, "seconds": DAY.as_secs(), "limit": limit});
        let rows: Vec<(String, String, String)> = self.ask_alone("looking for what was missing for a day", OVERDUE, &input).await?;
        let key = |(kind, namespace, name): (String, String, String)| Some(ResourceKey::new(kind.parse().ok()?, &namespace, &name));
        Ok(rows.into_iter().filter_map(key).collect())
    }
}
