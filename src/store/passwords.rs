//! Password hashes, for comparing only: they go from here to a blocking thread and nowhere else.

use sqlx::types::Json;

use super::deadline::{SHORT, deadline};
use super::{Store, StoreError};
use crate::model::CanonicalAddress;

/// The hashes that an address has or had.
#[derive(Clone, Default, serde::Deserialize)]
pub struct KnownPasswords {
    pub declared: Option<String>,
    /// P9: the one the user chose, if it is the newer.
    pub user: Option<String>,
    /// Which key made the fingerprint of the declared one.
    pub key_id: Option<String>,
    /// Older ones, newest first.
    pub history: Vec<String>,
}

impl KnownPasswords {
    /// What is in force, then what was declared last.
    pub fn hashes(&self) -> impl Iterator<Item = &str> {
        self.user.iter().chain(&self.declared).map(String::as_str)
    }
}

impl Store {
    /// Reads the hashes of one address, at most `history` old ones.
    ///
    /// # Errors
    /// The store's.
    pub async fn known_passwords(&self, address: &CanonicalAddress, history: u32) -> Result<KnownPasswords, StoreError> {
        let asked = sqlx::query_scalar(
            "SELECT jsonb_build_object('declared', c.phc, 'key_id', c.key_id, 'user', CASE WHEN u.set_at > c.set_at THEN u.phc END,
                 'history', (SELECT coalesce(jsonb_agg(h.phc ORDER BY h.id DESC), '[]')
                             FROM (SELECT * FROM mailroster.credential_history h WHERE h.address_id = a.id ORDER BY h.id DESC LIMIT $2) h))
             FROM mailroster.address a JOIN mailroster.credential c ON c.address_id = a.id
             LEFT JOIN mailroster.user_password u ON u.address_id = a.id WHERE a.canonical = $1",
        )
        .bind(address.as_str())
        .bind(i64::from(history))
        .fetch_optional(self.pool());
        let known: Option<Json<KnownPasswords>> =
            deadline("reading the hashes of an address", SHORT, async { Ok::<_, StoreError>(asked.await?) }).await?;
        Ok(known.map(|Json(known)| known).unwrap_or_default())
    }
}
