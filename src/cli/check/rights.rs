//! What the controller may do in a cluster: the one list behind `check api`, `manifests/rbac.yaml` and the chart.
//!
//! Least privilege: a right stands here with what it is for, or not at all.

use k8s_openapi::api::rbac::v1::PolicyRule;

use crate::api::{crds, names};

/// The ClusterRole and the Role of the controller.
pub(crate) const ROLE: &str = "mailroster";
/// The ClusterRole that a tenant binds in its namespace to let passwords be read there.
pub(crate) const SECRET_READER: &str = "mailroster-secret-reader";
/// The Lease of the leader, in the system namespace.
pub(crate) const LEASE: &str = "mailroster";
/// The Secret with the installation's id and the fingerprint key, beside the Lease.
pub(crate) const SECRET: &str = "mailroster";

/// In every namespace that is watched (a ClusterRole).
pub(crate) fn cluster() -> Vec<PolicyRule> {
    let plurals: Vec<_> = crds().into_iter().map(|definition| definition.spec.names.plural).collect();
    let plurals: Vec<_> = plurals.iter().map(String::as_str).collect();
    let statuses: Vec<_> = plurals.iter().map(|plural| format!("{plural}/status")).collect();
    let definitions: Vec<_> = plurals.iter().map(|plural| format!("{plural}.{}", names::GROUP)).collect();
    vec![
        // patch: our finalizer.
        rule(names::GROUP, &plurals, &["get", "list", "watch", "patch"]),
        rule(names::GROUP, &texts(&statuses), &["patch"]),
        rule("events.k8s.io", &["events"], &["create", "patch"]),
        // U4: whether a resource's namespace or kind is going too.
        rule("", &["namespaces"], &["get"]),
        PolicyRule { resource_names: Some(definitions), ..rule("apiextensions.k8s.io", &["customresourcedefinitions"], &["get"]) },
    ]
}

/// In the system namespace (a Role).
pub(crate) fn system() -> Vec<PolicyRule> {
    vec![
        // create can't be bound to a name.
        rule("coordination.k8s.io", &["leases"], &["create"]),
        PolicyRule { resource_names: Some(vec![LEASE.to_owned()]), ..rule("coordination.k8s.io", &["leases"], &["get", "update"]) },
        rule("", &["secrets"], &["create"]),
        PolicyRule { resource_names: Some(vec![SECRET.to_owned()]), ..rule("", &["secrets"], &["get"]) },
    ]
}

/// In a tenant's namespace, when the tenant binds it there (SPEC P1): passwords.
pub(crate) fn secret_reader() -> Vec<PolicyRule> {
    vec![rule("", &["secrets"], &["get", "list", "watch"])]
}

fn rule(group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![group.to_owned()]),
        resources: Some(resources.iter().map(ToString::to_string).collect()),
        verbs: verbs.iter().map(ToString::to_string).collect(),
        ..PolicyRule::default()
    }
}

fn texts(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}
