//! The schema of `status.conditions`: a list keyed by type, each entry as Kubernetes' own `metav1.Condition` (SPEC C1).

use schemars::{Schema, SchemaGenerator, json_schema};

use super::names::LONGEST_MESSAGE;

/// The whole list. k8s-openapi's `Condition` carries no bounds, so its schema is written out here as the Go type declares it.
pub fn list(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 32,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "type": {
                    "description": "What the condition is about, such as Ready, Reconciling or Stalled.",
                    "type": "string", "maxLength": 316, "pattern": "^[A-Z][A-Za-z0-9]*$",
                },
                "status": {
                    "description": "Whether it holds: True, False or Unknown.",
                    "type": "string", "enum": ["True", "False", "Unknown"],
                },
                "reason": {
                    "description": "Why, in one CamelCase word that programs may rely on.",
                    "type": "string", "minLength": 1, "maxLength": 1024, "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "message": {
                    "description": "Why, in words for people: which other resource is involved and what to do.",
                    "type": "string", "maxLength": LONGEST_MESSAGE,
                },
                "lastTransitionTime": {
                    "description": "When status last changed.",
                    "type": "string", "format": "date-time", "maxLength": 64,
                },
                "observedGeneration": {
                    "description": "The metadata.generation that the condition was judged from. Lower than the current one: it is out of date.",
                    "type": "integer", "format": "int64", "minimum": 0,
                },
            },
        },
    })
}
