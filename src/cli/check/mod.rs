//! `mailroster check`: can the parts be reached with the rights that are needed, and what to run when not.

mod api;
pub(crate) mod directory;
pub(crate) mod rights;
mod store;

use clap::{ArgAction, Args, ValueEnum};

use super::operator::{namespaces, role_prefix};
use super::{Failure, Outcome};

/// Check that cluster, store and directories can be reached with the rights needed, and print what is missing
///
/// What is missing is printed as YAML for kubectl or SQL for psql; run it as an administrator. Of a directory it tells what each server shows
/// and what it hides, reads all of it once as a run does, and writes nothing. Ends with status 1 when something is missing or wrong.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    store: super::store::Flags,
    /// What to check, separated by commas
    #[arg(value_enum, value_delimiter = ',', action = ArgAction::Set, num_args = 1, default_value = "api,store", value_name = "PARTS")]
    parts: Vec<Part>,
    /// The DirectoryConnection to check, with directory [default: all of the namespace]
    name: Option<String>,
    /// The namespace of the DirectoryConnection [default: the pod's, else the context's, else default]
    #[arg(short, long, env = "MAILROSTER_NAMESPACE", value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// The namespace of the Lease, the installation's id and the fingerprint key [default: the pod's, else the context's, else default]
    #[arg(long, env = "MAILROSTER_SYSTEM_NAMESPACE", value_name = "NAMESPACE")]
    system_namespace: Option<String>,
    /// The namespaces that the controller watches, separated by commas [default: all]
    #[arg(long, env = "MAILROSTER_NAMESPACES", value_delimiter = ',', value_name = "NAMESPACES")]
    namespaces: Vec<String>,
    /// Names the gateway's roles: PREFIX_mta, PREFIX_auth, PREFIX_archive
    #[arg(long, env = "MAILROSTER_GATEWAY_ROLE_PREFIX", default_value = "mailroster", value_parser = role_prefix, value_name = "PREFIX")]
    gateway_role_prefix: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Part {
    /// The API server: version, kinds, rights
    Api,
    /// The store: version, schema, roles, rights
    Store,
    /// The servers of DirectoryConnections: what they show and what they hide
    Directory,
}

/// What was found, line by line.
#[derive(Debug, Default)]
struct Findings {
    lines: Vec<String>,
    /// What to run, behind the lines.
    remedies: Vec<String>,
    missing: bool,
}

impl Findings {
    fn fine(&mut self, what: impl std::fmt::Display) {
        self.lines.push(format!("ok       {what}"));
    }

    /// Something is there and not as it should be.
    fn wrong(&mut self, what: impl std::fmt::Display) {
        self.lines.push(format!("wrong    {what}"));
        self.missing = true;
    }

    /// Something that was read, for people to look at.
    fn sample(&mut self, what: impl std::fmt::Display) {
        self.lines.push(format!("entry    {what}"));
    }

    /// Something to know that is no fault.
    fn note(&mut self, what: impl std::fmt::Display) {
        self.lines.push(format!("note     {what}"));
    }

    fn missing(&mut self, what: impl std::fmt::Display) {
        self.lines.push(format!("missing  {what}"));
        self.missing = true;
    }

    /// YAML, SQL or commands that mend what was said to be missing; what mends several things is told once.
    fn remedy(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.remedies.contains(&text) {
            self.remedies.push(text);
        }
    }

    fn outcome(&self) -> Outcome {
        let mut text = self.lines.join("\n");
        for remedy in &self.remedies {
            text.push_str("\n\n");
            text.push_str(remedy.trim_end());
        }
        text.push('\n');
        if self.missing { Outcome::findings(text) } else { Outcome::done(text) }
    }
}

pub(super) async fn run(arguments: Arguments) -> Result<Outcome, Failure> {
    let mut findings = Findings::default();
    let mut parts = arguments.parts;
    parts.sort();
    parts.dedup();
    if arguments.name.is_some() && !parts.contains(&Part::Directory) {
        return Err(Failure::new("failed to read the command line: a name is that of a DirectoryConnection, as in check directory NAME"));
    }
    for part in parts {
        match part {
            Part::Api => {
                let system = arguments.system_namespace.clone().filter(|namespace| !namespace.is_empty());
                api::check(&mut findings, system, &namespaces(arguments.namespaces.clone())).await?;
            }
            Part::Store => {
                let opened = super::store::open(&arguments.store).await?;
                let checked = store::check(&mut findings, &opened.connect("check")?, &arguments.gateway_role_prefix).await;
                opened.close().await;
                checked?;
            }
            Part::Directory => {
                let namespace = arguments.namespace.clone().filter(|namespace| !namespace.is_empty());
                directory::check(&mut findings, namespace, arguments.name.as_deref()).await?;
            }
        }
    }
    Ok(findings.outcome())
}
