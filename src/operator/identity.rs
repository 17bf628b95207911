//! What makes this installation itself: a random id, by which a store knows whose it is, and the key of password fingerprints. Both are
//! kept in one Secret beside the Lease.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ObjectMeta, PostParams};

use super::Error;
use crate::engine::FingerprintKey;

const NAME: &str = "mailroster";
const ID: &str = "installation";
const KEY: &str = "fingerprint-key";
const KEY_BYTES: usize = 32;

/// Who this installation is.
pub struct Identity {
    pub installation: String,
    pub fingerprint_key: FingerprintKey,
}

impl Identity {
    /// Reads the Secret, making it at the first start. `key_file` overrides the key in it.
    pub async fn load(client: &kube::Client, namespace: &str, key_file: Option<&Path>) -> Result<Self, Error> {
        let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let secret = match api.get_opt(NAME).await? {
            Some(secret) => secret,
            None => match api.create(&PostParams::default(), &fresh()?).await {
                Err(kube::Error::Api(status)) if status.code == 409 => api.get(NAME).await?,
                created => created?,
            },
        };
        let data = secret.data.unwrap_or_default();
        let missing =
            |key: &str| Error::Identity(format!("the Secret {namespace}/{NAME} has no {key}; delete the Secret to have a new one made"));
        let installation = data.get(ID).and_then(|value| String::from_utf8(value.0.clone()).ok()).ok_or_else(|| missing(ID))?;
        let key = match key_file {
            Some(file) => std::fs::read(file).map_err(|error| Error::Identity(format!("failed to read {}: {error}", file.display())))?,
            None => data.get(KEY).map(|value| value.0.clone()).ok_or_else(|| missing(KEY))?,
        };
        if key.len() < KEY_BYTES {
            return Err(Error::Identity(format!("the fingerprint key has {} bytes; at least {KEY_BYTES} are needed", key.len())));
        }
        Ok(Self { installation, fingerprint_key: FingerprintKey::new(key) })
    }
}

fn fresh() -> Result<Secret, Error> {
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(|error| Error::Identity(format!("failed to get random bytes: {error}")))?;
    let data = BTreeMap::from([
        (ID.to_owned(), ByteString(uuid::Uuid::new_v4().to_string().into_bytes())),
        (KEY.to_owned(), ByteString(key.to_vec())),
    ]);
    let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
    Ok(Secret { metadata, data: Some(data), type_: Some("mailroster.dev/installation".to_owned()), ..Secret::default() })
}
