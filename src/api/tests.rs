//! What the definitions promise, and that `crds/` and `examples/` keep to them.

use std::{collections::BTreeSet, fs, path::Path};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Resource, ResourceExt,
    core::cel::{ErrorKind, Validator, apply_defaults, compile_schema},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{names::*, *};

fn schema_of(kind: &str) -> Value {
    let definition = crds().into_iter().find(|definition| definition.spec.names.kind == kind).unwrap();
    serde_json::to_value(definition.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap()).unwrap()
}

fn kinds() -> Vec<String> {
    crds().into_iter().map(|definition| definition.spec.names.kind).collect()
}

/// Calls `look` with each schema in `schema` and the path to it.
fn each_schema(schema: &Value, path: &str, look: &mut dyn FnMut(&str, &Value)) {
    look(path, schema);
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        each_schema(property, &format!("{path}.{name}"), look);
    }
    for (key, suffix) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            each_schema(&schema[key], &format!("{path}{suffix}"), look);
        }
    }
}

fn each_schema_of_every_kind(mut look: impl FnMut(&str, &Value)) {
    for kind in kinds() {
        each_schema(&schema_of(&kind), &kind, &mut look);
    }
}

// The definitions.

#[test]
fn the_files_in_crds_are_what_the_code_generates() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let rewrite = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut expected = BTreeSet::new();
    for definition in crds() {
        let name = format!("{}.yaml", definition.spec.names.plural);
        let text = format!(
            "# Generated from src/api. Don't edit: UPDATE_GOLDEN=1 cargo test --lib --no-default-features api\n{}",
            serde_yaml::to_string(&definition).unwrap()
        );
        if rewrite {
            fs::write(folder.join(&name), &text).unwrap();
        }
        let found = fs::read_to_string(folder.join(&name)).unwrap_or_default();
        assert!(found == text, "crds/{name} is out of date; run this test with UPDATE_GOLDEN=1");
        expected.insert(name);
    }
    let found: BTreeSet<String> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(found, expected, "crds/ holds one file per kind and nothing else");
}

#[test]
fn names_are_those_of_the_specification() {
    let expected = [
        ("InternalDomain", "internaldomains", "idom"),
        ("EmailAddress", "emailaddresses", "eaddr"),
        ("AliasLink", "aliaslinks", "alink"),
        ("DelegateMailbox", "delegatemailboxes", "dmbx"),
        ("AdminRole", "adminroles", "arole"),
        ("DirectoryConnection", "directoryconnections", "dconn"),
        ("AccountSettings", "accountsettings", "acct"),
    ];
    let definitions = crds();
    assert_eq!(definitions.len(), expected.len());
    for (definition, (kind, plural, short)) in definitions.iter().zip(expected) {
        let CustomResourceDefinition { metadata, spec, .. } = definition;
        assert_eq!(spec.names.kind, kind);
        assert_eq!(spec.names.plural, plural);
        assert_eq!(metadata.name.as_deref(), Some(format!("{plural}.{GROUP}").as_str()));
        assert_eq!(spec.names.short_names, Some(vec![short.to_owned()]));
        assert_eq!(spec.names.categories, Some(vec![CATEGORY.to_owned()]));
        assert_eq!(spec.group, GROUP);
        assert_eq!(spec.scope, "Namespaced");
        assert_eq!(spec.versions.len(), 1);
        assert_eq!(spec.versions[0].name, VERSION);
        assert!(spec.versions[0].subresources.as_ref().unwrap().status.is_some());
    }
    assert_eq!(API_VERSION, format!("{GROUP}/{VERSION}"));
}

#[test]
fn selectable_fields_are_those_of_the_specification() {
    let selectable: Vec<String> = crds()
        .into_iter()
        .flat_map(|definition| definition.spec.versions[0].selectable_fields.clone().unwrap_or_default())
        .map(|field| field.json_path)
        .collect();
    assert_eq!(selectable, [".spec.domain", ".spec.address", ".spec.alias", ".spec.primary", ".spec.reader", ".spec.mailbox"]);
}

#[test]
fn columns_show_what_a_person_asks_first() {
    let columns = |kind: &str| -> String {
        let definition = crds().into_iter().find(|definition| definition.spec.names.kind == kind).unwrap();
        let columns = definition.spec.versions[0].additional_printer_columns.clone().unwrap();
        let shown: Vec<String> =
            columns.into_iter().map(|column| if column.priority == Some(1) { format!("({})", column.name) } else { column.name }).collect();
        shown.join(" | ")
    };
    assert_eq!(columns("InternalDomain"), "Domain | Ready | Reason | Addresses | (Validation) | (Undeclared) | (Message) | Age");
    assert_eq!(columns("EmailAddress"), "Address | Ready | Reason | Locked | Disabled | (Origin) | (Message) | Age");
    assert_eq!(columns("AliasLink"), "Alias | Primary | Ready | Reason | (Message) | Age");
    assert_eq!(columns("DelegateMailbox"), "Reader | Mailbox | Ready | Reason | (Message) | Age");
    assert_eq!(columns("AdminRole"), "Built-In | Ready | Reason | In Force | Members | (Message) | Age");
    assert_eq!(
        columns("DirectoryConnection"),
        "Host | Ready | Reason | Last Run | Read | Held | (Type) | (Mode) | (Last Complete) | (Message) | Age"
    );
    assert_eq!(columns("AccountSettings"), "Ready | Reason | Purge Delay | (Message) | Age");
}

#[test]
fn every_status_says_not_looked_at_yet_and_requires_and_defaults_nothing_else() {
    for kind in kinds() {
        let status = &schema_of(&kind)["properties"]["status"];
        assert_eq!(status["default"], json!({"observedGeneration": -1}), "{kind}");
        each_schema(status, &kind, &mut |path, schema| {
            assert!(path == kind || schema["default"].is_null(), "{path} has a default");
            assert!(path.contains(".conditions[]") || schema["required"].is_null(), "{path} requires something");
        });
        let fresh = apply_defaults(&schema_of(&kind), &json!({"metadata": {"name": "default"}, "spec": {}}));
        assert_eq!(fresh["status"], json!({"observedGeneration": -1}), "{kind}");
    }
}

#[test]
fn conditions_are_a_map_list_by_type() {
    for kind in kinds() {
        let conditions = &schema_of(&kind)["properties"]["status"]["properties"]["conditions"];
        assert_eq!(conditions["x-kubernetes-list-type"], "map", "{kind}");
        assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]), "{kind}");
        assert!(conditions["items"]["required"].as_array().unwrap().contains(&json!("type")), "{kind}");
    }
}

#[test]
fn every_value_has_bounds_and_none_may_be_null() {
    each_schema_of_every_kind(|path, schema| {
        let is = |name: &str| schema["type"] == name;
        let standard = ["apiVersion", "kind"].iter().any(|name| path.matches('.').count() == 1 && path.ends_with(name));
        assert!(!is("string") || standard || schema["maxLength"].is_u64() || schema["enum"].is_array(), "{path} has no maxLength");
        assert!(!is("array") || schema["maxItems"].is_u64(), "{path} has no maxItems");
        assert!(!is("array") || schema["x-kubernetes-list-type"].is_string(), "{path} has no list type");
        assert!(schema["additionalProperties"].is_null() || schema["maxProperties"].is_u64(), "{path} has no maxProperties");
        assert!(schema["type"].is_string(), "{path} has no type");
        assert!(
            schema["nullable"].is_null() && !schema["enum"].as_array().is_some_and(|values| values.contains(&Value::Null)),
            "{path} may be null"
        );
        assert!(!schema["format"].to_string().contains("uint"), "{path}: the API server warns of unsigned formats");
        for keyword in ["anyOf", "oneOf", "allOf", "not"] {
            assert!(schema[keyword].is_null(), "{path} has {keyword}");
        }
    });
}

#[test]
fn every_field_is_explained_in_flowing_text() {
    each_schema_of_every_kind(|path, schema| {
        let nested = path.contains(".spec") || path.contains(".status");
        let element = path.ends_with("[]") || path.ends_with("{}");
        if nested && !element {
            assert!(schema["description"].as_str().is_some_and(|text| text.ends_with(['.', '!'])), "{path} is not explained");
        }
        for line in schema["description"].as_str().unwrap_or_default().lines().filter(|line| !line.is_empty()) {
            assert!(line.starts_with("- ") || line.starts_with(char::is_uppercase) || line.starts_with('`'), "{path} is broken: {line}");
        }
        assert!(!schema["description"].to_string().contains("SPEC"), "{path} names a rule that readers do not have");
    });
}

#[test]
fn only_what_the_specification_calls_a_default_has_one() {
    let mut defaults = Vec::new();
    // Theirs are shown whole below.
    for kind in kinds().iter().filter(|kind| !["AccountSettings", "DirectoryConnection"].contains(&kind.as_str())) {
        each_schema(&schema_of(kind)["properties"]["spec"], kind, &mut |path, schema| {
            if !schema["default"].is_null() {
                defaults.push(format!("{path}={}", schema["default"]).replace('"', ""));
            }
        });
    }
    defaults.sort();
    let expected = [
        "AdminRole.members=[]",
        "AdminRole.suspend=false",
        "AliasLink.crossDomain=false",
        "AliasLink.suspend=false",
        "AliasLink.takeOverMailbox=false",
        "DelegateMailbox.suspend=false",
        "EmailAddress.adoptionPolicy=Adopt",
        "EmailAddress.deletionPolicy=Retain",
        "EmailAddress.password.format=Plain",
        "EmailAddress.suspend=false",
        "InternalDomain.deletionPolicy=Retain",
        "InternalDomain.learnSenders=true",
        "InternalDomain.recipientValidation=Known",
        "InternalDomain.subAddressing=",
        "InternalDomain.suspend=false",
        "InternalDomain.unknownRecipients=Reject",
    ];
    assert_eq!(defaults, expected);
}

#[test]
fn account_settings_default_to_what_the_specification_shows() {
    let expected = json!({
        "password": {
            "minLength": 12, "requireUppercase": true, "requireLowercase": true, "requireDigit": true, "requireSymbol": false,
            "expiresAfterDays": 0, "history": 5,
        },
        "lockout": {"failedLogons": 5, "duration": "15m"},
        "passwordReset": {"failedCodes": 10},
        "purge": {"delay": "1h", "heldMailReports": "Required"},
        "deletionGuard": {"maxPercent": 10, "minCount": 10},
        "hideConfidential": false,
    });
    assert_eq!(serde_json::to_value(AccountSettingsSpec::default()).unwrap(), expected);
    for (given, changed) in [(json!({}), None), (json!({"purge": {"delay": "2h"}}), Some(("/purge/delay", "2h")))] {
        let object = json!({"metadata": {"name": "default"}, "spec": given});
        let mut expected = expected.clone();
        if let Some((pointer, value)) = changed {
            *expected.pointer_mut(pointer).unwrap() = json!(value);
        }
        assert_eq!(apply_defaults(&schema_of("AccountSettings"), &object)["spec"], expected);
        let read: AccountSettingsSpec = serde_json::from_value(object["spec"].clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), expected);
    }
}

#[test]
fn a_directory_connection_needs_four_things_and_defaults_to_what_the_specification_shows() {
    let spec = &schema_of("DirectoryConnection")["properties"]["spec"];
    assert_eq!(spec["required"], json!(["baseDN", "bind", "type", "urls"]));
    assert_eq!(spec["properties"]["bind"]["required"], json!(["dn", "passwordSecretRef"]));
    assert_eq!(
        spec["properties"]["changeDetection"]["enum"],
        json!(["Auto", "Full", "SyncRepl", "UpdateSequenceNumber"]),
        "only what works is offered"
    );
    let bare = || json!({"metadata": {"name": "corp"}, "spec": connection(json!({}))});
    let expected = merged(
        connection(json!({})),
        json!({
            "tls": {"mode": "LDAPS"}, "userFilter": "", "groupFilter": "", "attributes": {}, "domains": [],
            "interval": "15m", "fullInterval": "24h", "changeDetection": "Auto", "linkAliases": true, "acknowledgeDisabledAccounts": true,
            "leavers": {"action": "Disable", "missedRuns": 2, "after": "24h"}, "deletionGuard": {"maxPercent": 10, "minCount": 10},
            "pageSize": 1000, "timeout": "30s", "suspend": false,
        }),
    );
    assert_eq!(apply_defaults(&schema_of("DirectoryConnection"), &bare())["spec"], expected);
    let read: DirectoryConnectionSpec = serde_json::from_value(bare()["spec"].clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), expected);
    // A part of an object leaves the rest of it to its defaults.
    let part =
        json!({"metadata": {"name": "corp"}, "spec": connection(json!({"leavers": {"action": "Keep"}, "tls": {"serverName": "dc1"}}))});
    let shown = &apply_defaults(&schema_of("DirectoryConnection"), &part)["spec"];
    assert_eq!(shown["leavers"], json!({"action": "Keep", "missedRuns": 2, "after": "24h"}));
    assert_eq!(shown["tls"], json!({"mode": "LDAPS", "serverName": "dc1"}));
}

/// The least that a DirectoryConnection must say, and more.
fn connection(more: Value) -> Value {
    let bare = json!({
        "type": "OpenLDAP", "urls": ["ldaps://ldap.corp.example"], "baseDN": "dc=corp,dc=example",
        "bind": {"dn": "cn=sync,dc=corp,dc=example", "passwordSecretRef": {"name": "corp-ldap", "key": "password"}},
    });
    merged(bare, more)
}

// The rules.

/// Empty when the API server would accept `new`, else the messages of the rules that refuse it.
fn refusals(kind: &str, new: &Value, old: Option<&Value>) -> Vec<String> {
    let object = |spec: &Value| json!({"metadata": {"name": if kind == "AccountSettings" { "default" } else { "example" }}, "spec": spec});
    refusals_of_object(kind, &object(new), old.map(object).as_ref())
}

fn refusals_of_object(kind: &str, new: &Value, old: Option<&Value>) -> Vec<String> {
    let Err(errors) = Validator::new().validate(&schema_of(kind), new, old) else { return Vec::new() };
    errors
        .into_vec()
        .into_iter()
        .map(|error| {
            assert_eq!(error.kind, ErrorKind::ValidationFailure, "{error}");
            error.to_string()
        })
        .collect()
}

#[test]
fn every_rule_compiles_and_has_a_message() {
    for kind in kinds() {
        let schema = schema_of(&kind);
        assert!(!compile_schema(&schema).has_errors(), "{kind}");
        each_schema(&schema, &kind, &mut |path, schema| {
            for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
                assert!(rule["message"].is_string(), "{path}");
            }
        });
    }
}

#[test]
fn new_resources_are_accepted_or_refused_by_shape() {
    const ONE_OF: &str = "spec: exactly one of builtIn and permissions must be set";
    const NEXT_HOP: &str = "spec: nextHop is required when recipientValidation is CallForward: it is the server that is asked";
    const PURGE_AND_READ: &str =
        "spec: addresses.purge and content.read must not be in one role: who may read mail may not destroy its address as well";
    const LOCKOUT: &str = "spec.lockout.duration: must be between 1s and 720h";
    const DELAY: &str = "spec.purge.delay: must be between 0s and 720h";
    let domain = |rest: Value| merged(json!({"domain": "acme.example"}), rest);
    let address = |rest: Value| merged(json!({"address": "sales@acme.example"}), rest);
    let attribute = |name: String| address(json!({"attributes": {name: "x"}}));
    let cases: &[(&str, Value, &[&str])] = &[
        ("InternalDomain", domain(json!({})), &[]),
        ("InternalDomain", domain(json!({"recipientValidation": "CallForward"})), &[NEXT_HOP]),
        ("InternalDomain", domain(json!({"recipientValidation": "CallForward", "nextHop": ""})), &[NEXT_HOP]),
        ("InternalDomain", domain(json!({"recipientValidation": "CallForward", "nextHop": "mail.acme.example:25"})), &[]),
        ("InternalDomain", domain(json!({"nextHop": "mail.acme.example:25"})), &[]),
        ("EmailAddress", address(json!({})), &[]),
        ("EmailAddress", attribute("x".repeat(64)), &[]),
        ("EmailAddress", attribute("x".repeat(65)), &["spec.attributes: each attribute's name must have 1 to 64 characters"]),
        ("EmailAddress", attribute(String::new()), &["spec.attributes: each attribute's name must have 1 to 64 characters"]),
        // What a value says is judged in conditions, never here: one refused object stops a whole Git revision.
        ("EmailAddress", json!({"address": "no address at all"}), &[]),
        ("AliasLink", json!({"alias": "sales@acme.example", "primary": "sales@acme.example"}), &[]),
        ("DelegateMailbox", json!({"reader": "it@acme.example", "mailbox": "it@acme.example"}), &[]),
        ("AdminRole", json!({}), &[ONE_OF]),
        ("AdminRole", json!({"builtIn": "HelpDesk", "permissions": ["addresses.read"]}), &[ONE_OF]),
        ("AdminRole", json!({"builtIn": "HelpDesk"}), &[]),
        ("AdminRole", json!({"builtIn": "SuperAdministrator"}), &[]),
        ("AdminRole", json!({"permissions": ["addresses.read"]}), &[]),
        ("AdminRole", json!({"permissions": ["addresses.purge"]}), &[]),
        ("AdminRole", json!({"permissions": ["content.read"]}), &[]),
        ("AdminRole", json!({"permissions": ["content.read", "addresses.purge"]}), &[PURGE_AND_READ]),
        ("AccountSettings", json!({}), &[]),
        ("AccountSettings", json!({"lockout": {"duration": "1s"}}), &[]),
        ("AccountSettings", json!({"lockout": {"duration": "0s"}}), &[LOCKOUT]),
        ("AccountSettings", json!({"lockout": {"duration": "720h"}}), &[]),
        ("AccountSettings", json!({"lockout": {"duration": "720h1s"}}), &[LOCKOUT]),
        ("AccountSettings", json!({"purge": {"delay": "0s"}}), &[]),
        ("AccountSettings", json!({"purge": {"delay": "1h30m"}}), &[]),
        ("AccountSettings", json!({"purge": {"delay": "9999h999999m9999999s"}}), &[DELAY]),
        ("DirectoryConnection", connection(json!({})), &[]),
        ("DirectoryConnection", connection(json!({"urls": ["http://no.directory/at?all"], "userFilter": "(mail=*"})), &[]),
        ("DirectoryConnection", connection(json!({"interval": "59s"})), &["spec.interval: must be between 1m and 24h"]),
        ("DirectoryConnection", connection(json!({"interval": "24h1s"})), &["spec.interval: must be between 1m and 24h"]),
        ("DirectoryConnection", connection(json!({"fullInterval": "721h"})), &["spec.fullInterval: must be between 1m and 720h"]),
        // Whether the two fit together is judged in conditions.
        ("DirectoryConnection", connection(json!({"interval": "24h", "fullInterval": "1h"})), &[]),
        ("DirectoryConnection", connection(json!({"timeout": "11m"})), &["spec.timeout: must be between 1s and 10m"]),
        ("DirectoryConnection", connection(json!({"leavers": {"after": "0s"}})), &[]),
        ("DirectoryConnection", connection(json!({"leavers": {"after": "8761h"}})), &["spec.leavers.after: must be between 0s and 8760h"]),
        (
            "DirectoryConnection",
            connection(json!({"attributes": {"extra": {"": "department"}}})),
            &["spec.attributes.extra: each attribute's name must have 1 to 64 characters"],
        ),
    ];
    for (kind, spec, expected) in cases {
        assert_eq!(refusals(kind, spec, None), *expected, "{kind} {spec}");
    }
}

#[test]
fn what_cannot_change_is_refused_in_the_words_of_the_specification() {
    const FIXED: &str = "cannot be changed after creation";
    let role = |member: &str| json!({"builtIn": "HelpDesk", "members": [member]});
    let cases: &[(&str, Value, Value, &[&str])] = &[
        ("InternalDomain", json!({"domain": "acme.example"}), json!({"domain": "widgets.example"}), &["spec.domain"]),
        ("InternalDomain", json!({"domain": "acme.example"}), json!({"domain": "acme.example", "suspend": true}), &[]),
        ("EmailAddress", json!({"address": "it@acme.example"}), json!({"address": "It@acme.example"}), &["spec.address"]),
        ("EmailAddress", json!({"address": "it@acme.example"}), json!({"address": "it@acme.example", "disabled": true}), &[]),
        (
            "AliasLink",
            json!({"alias": "orders@acme.example", "primary": "it@acme.example"}),
            json!({"alias": "shop@acme.example", "primary": "sales@acme.example"}),
            &[],
        ),
        (
            "DelegateMailbox",
            json!({"reader": "it@acme.example", "mailbox": "info@acme.example"}),
            json!({"reader": "sales@acme.example", "mailbox": "support@acme.example"}),
            &[],
        ),
        ("AdminRole", role("it@acme.example"), role("support@acme.example"), &[]),
        ("AdminRole", role("it@acme.example"), json!({"permissions": ["addresses.read"]}), &[]),
    ];
    for (kind, old, new, fields) in cases {
        let expected: Vec<String> = fields.iter().map(|field| format!("{field}: {FIXED}")).collect();
        assert_eq!(refusals(kind, new, Some(old)), expected, "{kind} {old} -> {new}");
    }
}

#[test]
fn account_settings_have_one_name() {
    for (name, expected) in [(ACCOUNT_SETTINGS, 0), ("other", 1), ("Default", 1)] {
        let object = json!({"metadata": {"name": name}, "spec": {}});
        assert_eq!(refusals_of_object("AccountSettings", &object, None).len(), expected, "{name}");
    }
}

#[allow(clippy::needless_pass_by_value, reason = "called with json! literals")]
fn merged(mut base: Value, more: Value) -> Value {
    base.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    base
}

// The wire.

#[test]
fn durations_are_written_as_people_write_them() {
    for (given, written) in
        [("15m", "15m"), ("60m", "1h"), ("90s", "1m30s"), ("1h0m1s", "1h1s"), ("0s", "0s"), ("720h", "720h"), ("2592000s", "720h")]
    {
        let purge: Purge = serde_json::from_value(json!({"delay": given})).unwrap();
        assert_eq!(serde_json::to_value(purge).unwrap()["delay"], written);
    }
}

#[test]
fn what_is_not_managed_is_not_written() {
    let bare: EmailAddressSpec = serde_json::from_value(json!({"address": "it@acme.example"})).unwrap();
    let written = serde_json::to_value(&bare).unwrap();
    let keys: Vec<&str> = written.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["address", "adoptionPolicy", "deletionPolicy", "suspend"]);
    let access: Access = serde_json::from_value(json!({"pop": false})).unwrap();
    assert_eq!(access, Access { smtp_submission: None, pop: Some(false) });
}

#[test]
fn an_empty_status_is_written_as_nothing() {
    fn check<T: Default + Serialize>() {
        assert_eq!(serde_json::to_value(T::default()).unwrap(), json!({}));
    }
    check::<InternalDomainStatus>();
    check::<EmailAddressStatus>();
    check::<AliasLinkStatus>();
    check::<DelegateMailboxStatus>();
    check::<AdminRoleStatus>();
    check::<DirectoryConnectionStatus>();
    check::<AccountSettingsStatus>();
}

#[test]
fn a_full_status_fits_its_schema_and_reads_back_equal() {
    let time = || Some(Time("2026-01-02T03:04:05Z".parse().unwrap()));
    let condition = Condition {
        type_: "Ready".into(),
        status: "True".into(),
        reason: "Succeeded".into(),
        message: "in force".into(),
        last_transition_time: time().unwrap(),
        observed_generation: Some(1),
    };
    let plan = HeldPlan { hash: "9f86d081884c7d65".into(), count: 11, sample: vec!["purge sales@acme.example".into()] };
    let token = || Some("2026-01-02T03:04:05Z".to_owned());
    reads_back(
        "EmailAddress",
        &EmailAddressStatus {
            observed_generation: Some(1),
            conditions: vec![condition.clone()],
            origin: Some(Origin::DistributionList),
            global_name: Some("Sales".into()),
            alias_of: Some("info@acme.example".into()),
            aliases: vec!["orders@acme.example".into()],
            alias_count: Some(1),
            role: Some("help-desk".into()),
            lock: Some(LockStatus { failed_logons: 5, locked_until: time() }),
            password_reset: Some(PasswordResetStatus { failed_codes: 10 }),
            password: Some(PasswordStatus { set_at: time(), expires_at: time(), changed_by: Some(PasswordChangedBy::User) }),
            held_messages: Some(0),
            purge: Some(PurgeStatus {
                requested_at: time(),
                not_before: time(),
                blockers: vec![PurgeBlocker { reason: "HeldMail".into(), message: "2 messages are held".into(), since: time() }],
            }),
            last_handled: Some(EmailAddressLastHandled { requested_at: token(), unlock_at: token(), reset_codes_at: token() }),
        },
    );
    reads_back(
        "InternalDomain",
        &InternalDomainStatus {
            observed_generation: Some(1),
            conditions: vec![condition.clone()],
            addresses: Some(AddressCounts { total: 3, distribution_lists: 1, mail_flow: 2, ..AddressCounts::default() }),
            held_plan: Some(plan.clone()),
            last_handled: Some(InternalDomainLastHandled {
                requested_at: token(),
                approve: token(),
                transfer_to: token(),
                unlock: token(),
                reset_codes: token(),
            }),
        },
    );
    reads_back(
        "AliasLink",
        &AliasLinkStatus {
            observed_generation: Some(1),
            conditions: vec![condition.clone()],
            primary: Some("sales@acme.example".into()),
            origin: Some(Origin::Manual),
            last_handled: Some(LastHandled { requested_at: token() }),
        },
    );
    reads_back(
        "DelegateMailbox",
        &DelegateMailboxStatus {
            observed_generation: Some(1),
            conditions: vec![condition.clone()],
            effective_at: time(),
            visible_from: Some("2026-01-01".parse().unwrap()),
            last_handled: Some(LastHandled { requested_at: token() }),
        },
    );
    reads_back(
        "AdminRole",
        &AdminRoleStatus {
            observed_generation: Some(1),
            conditions: vec![condition.clone()],
            members: Some(RoleMembers {
                total: 2,
                in_force: 1,
                rejected: vec![RejectedMember {
                    address: "it@acme.example".into(),
                    reason: "RoleMemberClaimed".into(),
                    holder: Some("help-desk".into()),
                }],
            }),
            last_handled: Some(LastHandled { requested_at: token() }),
        },
    );
    reads_back(
        "DirectoryConnection",
        &DirectoryConnectionStatus {
            observed_generation: Some(1),
            conditions: vec![condition.clone()],
            last_run: Some(DirectoryRun {
                started_at: time(),
                finished_at: time(),
                server: Some("ldaps://dc1.corp.example".into()),
                mode: Some("Full".into()),
                complete: true,
                read: 1_204,
                reported: 1,
                reports: vec!["cn=Sales,dc=corp,dc=example: mail value \"sales\" is no address".into()],
                ..DirectoryRun::default()
            }),
            last_complete_run: time(),
            last_successful_run: time(),
            held_plan: Some(plan.clone()),
            held_holders: Some(plan.clone()),
            last_handled: Some(DirectoryConnectionLastHandled { requested_at: token(), approve: token() }),
        },
    );
    reads_back(
        "AccountSettings",
        &AccountSettingsStatus {
            observed_generation: Some(1),
            conditions: vec![condition],
            held_plan: Some(plan),
            last_handled: Some(AccountSettingsLastHandled { requested_at: token(), approve: token() }),
        },
    );
}

fn reads_back<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(kind: &str, status: &T) {
    let written = serde_json::to_value(status).unwrap();
    let schema = &schema_of(kind)["properties"]["status"];
    assert_eq!(misfits(schema, &written, kind), Vec::<String>::new());
    let shown: BTreeSet<&String> = written.as_object().unwrap().keys().collect();
    let known: BTreeSet<&String> = schema["properties"].as_object().unwrap().keys().collect();
    assert_eq!(shown, known, "{kind}: the case must show every field");
    assert_eq!(&serde_json::from_value::<T>(written).unwrap(), status);
}

/// What in `value` the schema does not know or does not allow; enough of OpenAPI to find a mistyped example.
fn misfits(schema: &Value, value: &Value, path: &str) -> Vec<String> {
    let mut found = Vec::new();
    let type_fits = match schema["type"].as_str().unwrap_or_default() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64(),
        "boolean" => value.is_boolean(),
        _ => false,
    };
    if !type_fits {
        found.push(format!("{path} is no {}", schema["type"]));
    }
    if schema["enum"].as_array().is_some_and(|allowed| !allowed.contains(value)) {
        found.push(format!("{path}: {value} is none of {}", schema["enum"]));
    }
    let length = value.as_str().map_or(0, |text| text.chars().count() as u64);
    if schema["maxLength"].as_u64().is_some_and(|most| length > most) {
        found.push(format!("{path} is too long"));
    }
    for item in value.as_array().into_iter().flatten() {
        found.extend(misfits(&schema["items"], item, &format!("{path}[]")));
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Null) => found.push(format!("{path} is not a field")),
            (Value::Null, values) => found.extend(misfits(values, member, &path)),
            (property, _) => found.extend(misfits(property, member, &path)),
        }
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value[name].is_null() {
            found.push(format!("{path}.{name} is missing"));
        }
    }
    found
}

// The examples.

#[test]
fn every_example_is_a_resource_that_the_api_server_accepts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut shown = BTreeSet::new();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        for document in serde_yaml::Deserializer::from_str(&text) {
            let object = <Value as serde::Deserialize>::deserialize(document).unwrap();
            let kind = object["kind"].as_str().unwrap_or_default().to_owned();
            let at = format!("{}: {kind} {}", file.display(), object["metadata"]["name"]);
            match kind.as_str() {
                "Namespace" | "Secret" => continue,
                "InternalDomain" => parses::<InternalDomain>(&object, &at),
                "EmailAddress" => parses::<EmailAddress>(&object, &at),
                "AliasLink" => parses::<AliasLink>(&object, &at),
                "DelegateMailbox" => parses::<DelegateMailbox>(&object, &at),
                "AdminRole" => parses::<AdminRole>(&object, &at),
                "DirectoryConnection" => parses::<DirectoryConnection>(&object, &at),
                "AccountSettings" => parses::<AccountSettings>(&object, &at),
                _ => panic!("{at}: unknown kind"),
            }
            let spec = &schema_of(&kind)["properties"]["spec"];
            assert_eq!(misfits(spec, &object["spec"], "spec"), Vec::<String>::new(), "{at}");
            assert_eq!(refusals_of_object(&kind, &object, None), Vec::<String>::new(), "{at}");
            shown.insert(kind);
        }
    }
    assert_eq!(shown, kinds().into_iter().collect(), "each kind has an example");
}

fn parses<T: Resource<DynamicType = ()> + DeserializeOwned>(object: &Value, at: &str) {
    assert_eq!(object["apiVersion"], API_VERSION, "{at}");
    let resource: T = serde_json::from_value(object.clone()).unwrap_or_else(|error| panic!("{at}: {error}"));
    assert!(resource.namespace().is_some(), "{at} names no namespace");
}
