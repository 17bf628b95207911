//! Schemas of values that schemars does not know, or knows without bounds. Only shape: nothing here reads a value.

use schemars::{Schema, SchemaGenerator, json_schema};

/// For an enum that stands in an `Option`: kube's schema rewriting would let the type's description win over the field's, which says more.
pub fn leave_description_to_the_field(schema: &mut Schema) {
    schema.remove("description");
}

/// A calendar day as `2026-01-01`, of the years 1000 to 9999: Postgres has no year 0.
pub fn date(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date", "maxLength": 10, "pattern": "^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}$"})
}

/// An instant in RFC 3339, as `2026-01-01T08:00:00Z`.
pub fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time", "maxLength": 64})
}

/// Free attributes: at most 50, the keys at most 64 characters long. Keys have no maxLength in a structural schema, hence the rule.
pub fn attributes(_: &mut SchemaGenerator) -> Schema {
    attributes_of(1024)
}

/// What a directory calls free attributes.
pub fn directory_attributes(_: &mut SchemaGenerator) -> Schema {
    attributes_of(256)
}

fn attributes_of(longest_value: usize) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": 50,
        "additionalProperties": {"type": "string", "maxLength": longest_value},
        "x-kubernetes-validations": [{
            "rule": "self.all(key, size(key) >= 1 && size(key) <= 64)",
            "message": "each attribute's name must have 1 to 64 characters",
        }],
    })
}

/// How long an account stays locked: 1 s to 30 days.
pub fn lockout_duration(_: &mut SchemaGenerator) -> Schema {
    duration("1s", "720h", "must be between 1s and 720h")
}

/// How long a purge waits: none at all to 30 days.
pub fn purge_delay(_: &mut SchemaGenerator) -> Schema {
    duration("0s", "720h", "must be between 0s and 720h")
}

/// From one run of a connection to the next: a minute to a day.
pub fn interval(_: &mut SchemaGenerator) -> Schema {
    duration("1m", "24h", "must be between 1m and 24h")
}

/// From one full run of a connection to the next: a minute to 30 days.
pub fn full_interval(_: &mut SchemaGenerator) -> Schema {
    duration("1m", "720h", "must be between 1m and 720h")
}

/// How long a directory may take for a step: 1 s to 10 min.
pub fn directory_timeout(_: &mut SchemaGenerator) -> Schema {
    duration("1s", "10m", "must be between 1s and 10m")
}

/// How long an address must be missing from its directory: none at all to a year.
pub fn leaver_delay(_: &mut SchemaGenerator) -> Schema {
    duration("0s", "8760h", "must be between 0s and 8760h")
}

/// Whole hours, minutes and seconds, in this order. The pattern keeps out the sign and the fractions that Go's durations have, and bounds
/// the digits: beyond 292 years the rule would fail with an error that explains nothing.
fn duration(least: &str, most: &str, message: &str) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 2,
        "maxLength": 20,
        "pattern": "^([0-9]{1,4}h)?([0-9]{1,6}m)?([0-9]{1,7}s)?$",
        "x-kubernetes-validations": [{
            "rule": format!("duration(self) >= duration('{least}') && duration(self) <= duration('{most}')"),
            "message": message,
        }],
    })
}
