//! The generated pages and manifests, each written from its one source: docs/reference/cli.md, docs/reference/api.md,
//! docs/conditions.md, manifests/crds.yaml. `make generate` writes them (`UPDATE_GOLDEN=1`); without it each test here fails when its
//! file is out of date.

use std::fmt::Write as _;
use std::path::Path;

use clap::CommandFactory as _;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool};
use serde::Deserialize as _;

use super::check::directory::remedies;
use super::check::rights;
use crate::api::{crds, names};
use crate::plan::reason::{Disposition, Reason};

const HEADER: &str = "<!-- Generated from the source. Don't edit: make generate -->\n";

fn hold(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    assert!(std::fs::read_to_string(&path).unwrap_or_default() == text, "{file} is out of date: make generate");
}

/// A cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace("\n\n", "\n").replace('\n', "<br>")
}

#[test]
fn manifests_crds_are_what_the_command_prints() {
    hold("manifests/crds.yaml", &super::crds::stream().unwrap());
}

#[test]
fn docs_reference_cli_is_what_the_program_understands() {
    let mut command = super::Arguments::command().term_width(120);
    command.build();
    let mut text = format!("{HEADER}# Command line\n\n{}\n", command.get_long_about().unwrap());
    let mut globals = String::new();
    flags(&mut globals, command.get_arguments());
    let _ = write!(text, "\n## Flags of every command\n\n{globals}");
    let known: Vec<_> = command.get_arguments().map(|argument| argument.get_id().clone()).collect();
    for command in command.get_subcommands() {
        let about = command.get_long_about().or_else(|| command.get_about()).unwrap();
        let _ = write!(text, "\n## mailroster {}\n\n{about}\n", command.get_name());
        let arguments = || command.get_arguments().filter(|argument| !known.contains(argument.get_id()));
        for argument in arguments().filter(|argument| argument.is_positional()) {
            let _ = write!(text, "\n`{argument}`: {}", argument.get_help().unwrap());
            let values: Vec<_> = argument.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
            let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
            let _ = writeln!(text, "{}{}.", listed("; one of ", &values), listed("; default ", &defaults));
        }
        let mut table = String::new();
        flags(&mut table, arguments().filter(|argument| !argument.is_positional()));
        if !table.is_empty() {
            let _ = write!(text, "\n{table}");
        }
    }
    hold("docs/reference/cli.md", &text);
}

fn listed(before: &str, words: &[impl AsRef<str>]) -> String {
    let words: Vec<_> = words.iter().map(AsRef::as_ref).collect();
    if words.is_empty() { String::new() } else { format!("{before}{}", words.join(", ")) }
}

fn flags<'a>(text: &mut String, arguments: impl Iterator<Item = &'a clap::Arg>) {
    for argument in arguments.filter(|argument| argument.get_env().is_some()) {
        if text.is_empty() {
            text.push_str("| flag | environment | default | |\n|---|---|---|---|\n");
        }
        let short = argument.get_short().map_or(String::new(), |short| format!("`-{short}`, "));
        let value = match argument.get_value_names() {
            Some(names) if argument.get_action().takes_values() => format!(" {}", names.join(" ")),
            _ => String::new(),
        };
        let takes = argument.get_action().takes_values();
        let default = argument
            .get_default_values()
            .iter()
            .filter(|_| takes)
            .map(|value| format!("`{}`", value.to_string_lossy()))
            .collect::<String>();
        let env = argument.get_env().unwrap().to_string_lossy();
        let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let _ = writeln!(text, "| {short}`--{}{value}` | `{env}` | {default} | {} |", argument.get_long().unwrap(), cell(&help));
    }
}

#[test]
fn docs_reference_api_is_what_the_api_server_serves() {
    let mut text = format!("{HEADER}# Custom resources\n\nAPI version `{}`. `kubectl explain` tells the same.\n", names::API_VERSION);
    for definition in crds() {
        let schema = definition.spec.versions[0].schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap();
        let short = definition.spec.names.short_names.unwrap_or_default().join(", ");
        let _ = write!(text, "\n## {}\n\n{}\n", definition.spec.names.kind, schema.description.as_deref().unwrap_or_default());
        let _ = write!(text, "\nPlural `{}`, short `{short}`.\n", definition.spec.names.plural);
        for part in ["spec", "status"] {
            let _ = write!(text, "\n| {part} | type | default | |\n|---|---|---|---|\n");
            fields(&mut text, &schema.properties.as_ref().unwrap()[part], "");
        }
    }
    hold("docs/reference/api.md", &text);
}

fn fields(text: &mut String, schema: &JSONSchemaProps, prefix: &str) {
    let required = schema.required.clone().unwrap_or_default();
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{prefix}{name}");
        // A default of a whole object is told field by field.
        let default = field.default.as_ref().filter(|default| !default.0.is_object());
        let default = match default {
            Some(default) => format!("`{}`", default.0),
            None if required.contains(name) => "required".to_owned(),
            None => String::new(),
        };
        let description = cell(field.description.as_deref().unwrap_or_default());
        let _ = writeln!(text, "| `{path}` | {} | {default} | {description} |", cell(&type_of(field)));
        // Conditions are Kubernetes' own.
        if name != "conditions" {
            fields(text, field, &format!("{path}."));
            if let Some(JSONSchemaPropsOrArray::Schema(item)) = &field.items {
                fields(text, item, &format!("{path}[]."));
            }
        }
    }
}

fn type_of(schema: &JSONSchemaProps) -> String {
    let plain = schema.type_.clone().unwrap_or_default();
    if let Some(values) = &schema.enum_ {
        return values.iter().map(|value| value.0.as_str().unwrap_or_default()).collect::<Vec<_>>().join(" \\| ").replace("\\|", "or");
    }
    match (&schema.items, &schema.additional_properties) {
        (Some(JSONSchemaPropsOrArray::Schema(item)), _) => format!("list of {}", type_of(item)),
        (_, Some(JSONSchemaPropsOrBool::Schema(value))) => format!("map of {}", type_of(value)),
        _ => match schema.format.as_deref() {
            Some(format @ ("date" | "date-time")) => format.to_owned(),
            _ => plain,
        },
    }
}

#[test]
fn docs_conditions_tell_every_reason() {
    let mut text = format!(
        "{HEADER}# Conditions and their reasons\n\nEvery resource says Ready. Reconciling stands beside it while the controller waits or tries \
         again, Stalled while someone must act; both carry Ready's reason and message. Events use the same words. Reasons are part of the API.\n"
    );
    let parts = [
        (Disposition::Fine, "Ready: in force"),
        (Disposition::Waiting, "Ready is False, Reconciling: it goes on by itself"),
        (Disposition::Rejected, "Ready is False, Stalled: someone must act"),
        (Disposition::Aside, "On other conditions, in lists and on Events"),
    ];
    for (disposition, heading) in parts {
        let _ = write!(text, "\n## {heading}\n\n| reason | means |\n|---|---|\n");
        for reason in Reason::ALL.iter().filter(|reason| reason.disposition() == disposition) {
            let _ = writeln!(text, "| `{}` | {} |", reason.as_str(), cell(reason.meaning()));
        }
    }
    hold("docs/conditions.md", &text);
}

#[test]
fn docs_directory_tells_what_to_do_about_each_reason_of_an_incomplete_run() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/directory.md")).unwrap();
    let place = |reason| Reason::ALL.iter().position(|known| *known == reason).unwrap();
    let incomplete = place(Reason::DirectoryUnreachable)..=place(Reason::ServerSwitched);
    for (place, reason) in Reason::ALL.iter().enumerate() {
        let remedy = remedies::of(*reason);
        assert_eq!(remedy.is_some(), incomplete.contains(&place), "{reason}");
        if let Some(remedy) = remedy {
            assert!(text.contains(&format!("\n| `{reason}` | {} |\n", cell(remedy))), "docs/directory.md lacks: | `{reason}` | {remedy} |");
        }
    }
}

#[test]
fn manifests_grant_the_rights_that_check_asks_for() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/rbac.yaml")).unwrap();
    let rules = |kind: &str, name: &str| -> Vec<PolicyRule> {
        let documents = serde_yaml::Deserializer::from_str(&text).map(|document| serde_yaml::Value::deserialize(document).unwrap());
        let found = documents.into_iter().find(|document| document["kind"] == kind && document["metadata"]["name"] == name).unwrap();
        match kind {
            "Role" => serde_yaml::from_value::<Role>(found).unwrap().rules,
            _ => serde_yaml::from_value::<ClusterRole>(found).unwrap().rules,
        }
        .unwrap()
    };
    assert_eq!(rules("ClusterRole", rights::ROLE), rights::cluster());
    assert_eq!(rules("Role", rights::ROLE), rights::system());
    assert_eq!(rules("ClusterRole", rights::SECRET_READER), rights::secret_reader());
}
