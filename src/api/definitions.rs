//! The CustomResourceDefinitions, as they are installed. kube derives them; what it cannot say is mended here, once for all kinds.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::{Value, json};

use super::{AccountSettings, AdminRole, AliasLink, DelegateMailbox, DirectoryConnection, EmailAddress, InternalDomain};

/// Every kind's definition, in the order in which a reader meets them. Never install a type's own `crd()`: it lacks what is mended here.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    let mut definitions = vec![
        InternalDomain::crd(),
        EmailAddress::crd(),
        AliasLink::crd(),
        DelegateMailbox::crd(),
        AdminRole::crd(),
        DirectoryConnection::crd(),
        AccountSettings::crd(),
    ];
    for definition in &mut definitions {
        for version in &mut definition.spec.versions {
            if let Some(root) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
                each_schema(root, &mut refuse_null);
                each_schema(root, &mut flow_description);
                settle_status(root);
            }
        }
    }
    definitions
}

/// A null is no second spelling of absent: the API server takes it for absent, kube's CEL for present, and the two must agree.
fn refuse_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if let Some(values) = &mut schema.enum_ {
        values.retain(|value| value.0 != Value::Null);
    }
}

/// Lines of a doc comment end where our source ends them; `kubectl explain` breaks lines itself. Paragraphs and lists stay.
fn flow_description(schema: &mut JSONSchemaProps) {
    let Some(description) = &mut schema.description else { return };
    let mut flowed = String::new();
    let mut at_start = true;
    for line in description.lines().map(str::trim) {
        if line.is_empty() {
            flowed.push_str("\n\n");
            at_start = true;
            continue;
        }
        if !at_start {
            flowed.push(if line.starts_with("- ") { '\n' } else { ' ' });
        }
        flowed.push_str(line);
        at_start = false;
    }
    *description = flowed;
}

/// A status says "not looked at yet" from the first moment, and the API
/// server adds nothing to what the controller writes into it: no other default, or a status would read back different.
fn settle_status(root: &mut JSONSchemaProps) {
    let Some(status) = root.properties.as_mut().and_then(|properties| properties.get_mut("status")) else { return };
    each_schema(status, &mut |schema| schema.default = None);
    status.default = Some(JSON(json!({"observedGeneration": -1})));
}

fn each_schema(schema: &mut JSONSchemaProps, change: &mut impl FnMut(&mut JSONSchemaProps)) {
    change(schema);
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        each_schema(property, change);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => each_schema(items, change),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(|item| each_schema(item, change)),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        each_schema(values, change);
    }
}
