//! An object as a watch shows it: its metadata without what nobody reads, its spec and status still as text. Managed fields alone would
//! cost more to decode than all the rest, and most events are the echo of our own status, whose spec is known already.

use std::borrow::Cow;
use std::marker::PhantomData;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ObjectMeta;
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// An object of kind `K`.
#[derive(Debug, Clone)]
pub struct Slim<K> {
    metadata: ObjectMeta,
    pub spec: Option<Box<RawValue>>,
    pub status: Option<Box<RawValue>>,
    kind: PhantomData<fn() -> K>,
}

impl<K> Slim<K> {
    pub fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }
}

impl<'de, K> Deserialize<'de> for Slim<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Metadata,
            #[serde(default)]
            spec: Option<Box<RawValue>>,
            #[serde(default)]
            status: Option<Box<RawValue>>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata {
            name: Option<String>,
            namespace: Option<String>,
            uid: Option<String>,
            resource_version: Option<String>,
            generation: Option<i64>,
            creation_timestamp: Option<Time>,
            deletion_timestamp: Option<Time>,
            finalizers: Option<Vec<String>>,
            annotations: Option<std::collections::BTreeMap<String, String>>,
        }
        let Object { metadata, spec, status } = Object::deserialize(deserializer)?;
        let Metadata {
            name,
            namespace,
            uid,
            resource_version,
            generation,
            creation_timestamp,
            deletion_timestamp,
            finalizers,
            annotations,
        } = metadata;
        let metadata = ObjectMeta {
            name,
            namespace,
            uid,
            resource_version,
            generation,
            creation_timestamp,
            deletion_timestamp,
            finalizers,
            annotations,
            ..ObjectMeta::default()
        };
        Ok(Self { metadata, spec, status, kind: PhantomData })
    }
}

impl<K: kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>> kube::Resource for Slim<K> {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use kube::core::{ObjectList, WatchEvent};

    use super::*;
    use crate::api::EmailAddress;

    const OBJECT: &str = r#"{"apiVersion":"mailroster.dev/v1alpha1","kind":"EmailAddress","metadata":{"name":"info","namespace":"acme",
        "uid":"u","resourceVersion":"7","generation":2,"creationTimestamp":"2026-01-01T00:00:00Z","managedFields":[{"fieldsV1":{"f:spec":{}}}]},
        "spec":{"address": 5},"status":{"observedGeneration":-1}}"#;

    #[test]
    fn objects_of_lists_and_of_watches_keep_spec_and_status_as_text_whatever_they_are() {
        let list = format!(r#"{{"kind":"EmailAddressList","apiVersion":"v1","metadata":{{"resourceVersion":"9"}},"items":[{OBJECT}]}}"#);
        let list: ObjectList<Slim<EmailAddress>> = serde_json::from_str(&list).unwrap();
        let event: WatchEvent<Slim<EmailAddress>> = serde_json::from_str(&format!(r#"{{"type":"MODIFIED","object":{OBJECT}}}"#)).unwrap();
        let WatchEvent::Modified(object) = event else { panic!("{event:?}") };
        for object in list.items.into_iter().chain([object]) {
            assert_eq!(object.metadata().generation, Some(2));
            assert_eq!(object.metadata().managed_fields, None);
            assert_eq!(object.spec.unwrap().get(), r#"{"address": 5}"#);
            assert_eq!(object.status.unwrap().get(), r#"{"observedGeneration":-1}"#);
        }
    }
}
