//! A DirectoryConnection and its Secrets, as a command reads them with the user's own rights: under the conditions that hold for the controller.

use k8s_openapi::api::core::v1::Secret as SecretObject;
use kube::api::Api;
use kube::{Client, ResourceExt as _};

use super::Failure;
use super::failure::OrFailed as _;
use crate::api::DirectoryConnection;
use crate::api::names::{READABLE_LABEL, READABLE_VALUE};
use crate::directory::Credentials;
use crate::model::{Access, Secret, SecretKey};
use crate::plan::admit::Admit as _;
use crate::plan::desired::{ConnectionDeclared, Declared, Violation};
use crate::plan::reason::Reason;

/// What a key of a Secret is to us.
pub(super) struct Found {
    pub(super) exists: bool,
    /// It has the label without which no Secret is read (P1).
    pub(super) readable: bool,
    pub(super) value: Option<Vec<u8>>,
}

pub(super) async fn find(client: &Client, namespace: &str, name: &str) -> Result<DirectoryConnection, Failure> {
    let api = Api::<DirectoryConnection>::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await.or_failed(format_args!("read DirectoryConnection {namespace}/{name}"))?;
    found.ok_or_else(|| Failure::new(format!("failed to find DirectoryConnection {name} in namespace {namespace}")))
}

/// What its spec means, or why it can't be acted on.
pub(super) fn admit(resource: &DirectoryConnection) -> Result<ConnectionDeclared, Violation> {
    match resource.spec.admit()? {
        Declared::Connection(declared) => Ok(*declared),
        _ => Err(Violation::new(Reason::InternalError, "it declares no connection")),
    }
}

pub(super) async fn secret(client: &Client, namespace: &str, reference: &SecretKey) -> Result<Found, Failure> {
    let SecretKey { name, key } = reference;
    let api = Api::<SecretObject>::namespaced(client.clone(), namespace);
    let Some(secret) = api.get_opt(name).await.or_failed(format_args!("read Secret {namespace}/{name}"))? else {
        return Ok(Found { exists: false, readable: false, value: None });
    };
    let readable = secret.labels().get(READABLE_LABEL).is_some_and(|value| value == READABLE_VALUE);
    Ok(Found { exists: true, readable, value: secret.data.unwrap_or_default().remove(key).map(|value| value.0) })
}

/// Its Secrets, all of them there.
pub(super) async fn credentials(client: &Client, namespace: &str, access: &Access) -> Result<Credentials, Failure> {
    let value = async |reference: &SecretKey| {
        let SecretKey { name, key } = reference;
        match secret(client, namespace, reference).await? {
            Found { readable: true, value: Some(value), .. } => Ok(value),
            Found { exists: false, .. } => Err(Failure::new(format!("failed to read Secret {namespace}/{name}: it does not exist"))),
            Found { readable: false, .. } => {
                Err(Failure::new(format!("failed to read Secret {namespace}/{name}: it lacks the label {READABLE_LABEL}={READABLE_VALUE}")))
            }
            _ => Err(Failure::new(format!("failed to read Secret {namespace}/{name}: it has no key {key:?}"))),
        }
    };
    let password = value(&access.bind_password).await?;
    let ca = match &access.ca {
        Some(reference) => Some(value(reference).await?),
        None => None,
    };
    Ok(Credentials { password: Secret::new(password), ca })
}
