//! `mailroster plan --directory NAME`: what a run of a directory connection would do now. It reads, and writes nowhere.

use std::fmt::Write as _;

use clap::Args;

use super::failure::OrFailed as _;
use super::{Failure, Outcome, cluster, connection, store};
use crate::engine::{Effect, Preview, preview};
use crate::model::{Kind, ResourceKey};
use crate::operator;
use crate::plan::desired::Resource;

/// Of each sort of change so many are shown.
const SHOWN: usize = 10;

/// Show what a run of a directory connection would do now
///
/// Reads the whole directory, the store and what the namespace declares, plans as the controller does, and writes nothing. A connection that is
/// suspended is planned as if it were not. Ends with status 0 when nothing would change and 1 when something would.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    store: store::Flags,
    /// The DirectoryConnection
    #[arg(long, env = "MAILROSTER_DIRECTORY", value_name = "NAME")]
    directory: String,
    /// Its namespace [default: the pod's, else the context's, else default]
    #[arg(short, long, env = "MAILROSTER_NAMESPACE", value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Show all that would change, not only the first of each sort
    #[arg(long, env = "MAILROSTER_ALL")]
    all: bool,
}

pub(super) async fn run(arguments: Arguments) -> Result<Outcome, Failure> {
    let (client, context) = cluster::connect().await?;
    let namespace = arguments.namespace.filter(|namespace| !namespace.is_empty()).unwrap_or(context);
    let resource = connection::find(&client, &namespace, &arguments.directory).await?;
    let declared = connection::admit(&resource).map_err(|violation| {
        Failure::new(format!("failed to read DirectoryConnection {}: {}: {}", arguments.directory, violation.reason, violation.message))
    })?;
    let credentials = connection::credentials(&client, &namespace, &declared.access).await?;
    let mut roster = operator::roster_of(&client, &namespace).await.or_failed(format_args!("list what namespace {namespace} declares"))?;
    let key = ResourceKey::new(Kind::DirectoryConnection, &namespace, &arguments.directory);
    // What a run would do if there were one: people look at that before they let it run.
    if let Some(resource) = roster.get(&key).cloned() {
        roster.insert(Resource { suspended: false, ..resource });
    }
    let opened = store::open(&arguments.store).await?;
    let planned = async {
        let store = opened.connect_to_roster("plan").await?;
        preview(&store, &roster, &key, &declared, &credentials).await.or_failed("plan a run")
    }
    .await;
    opened.close().await;
    let preview = planned?;
    if preview.server.is_empty() {
        let why = preview.problem.map_or_else(String::new, |problem| format!("{}: {}", problem.reason, problem.message));
        return Err(Failure::new(format!("failed to read the directory: {why}")));
    }
    let text = told(&preview, if arguments.all { usize::MAX } else { SHOWN });
    Ok(if preview.effects.is_empty() { Outcome::done(text) } else { Outcome::findings(text) })
}

fn told(preview: &Preview, shown: usize) -> String {
    let mut text = format!(
        "{} entries read from {}; addresses: {} unchanged, {} entries skipped, {} addresses missing\n",
        preview.read,
        preview.server,
        preview.unchanged,
        preview.skipped,
        preview.missing.len()
    );
    match &preview.problem {
        None => text.push_str("the run would be complete\n"),
        Some(problem) => {
            let _ = writeln!(
                text,
                "the run would not be complete, and nothing follows from who is missing: {}: {}",
                problem.reason, problem.message
            );
        }
    }
    for (effect, lines) in &preview.effects {
        let _ = writeln!(text, "\n{} {}", lines.len(), words(*effect));
        several(&mut text, lines, shown);
    }
    if !preview.reports.is_empty() {
        let _ = writeln!(text, "\n{} to look at", preview.reports.len());
        several(&mut text, &preview.reports, shown);
    }
    if preview.effects.is_empty() {
        text.push_str("nothing would change\n");
    }
    text
}

fn several(text: &mut String, lines: &[String], shown: usize) {
    for line in lines.iter().take(shown) {
        let _ = writeln!(text, "  {line}");
    }
    if lines.len() > shown {
        let _ = writeln!(text, "  and {} more (--all)", lines.len() - shown);
    }
}

fn words(effect: Effect) -> &'static str {
    match effect {
        Effect::Created => "created",
        Effect::Updated => "updated",
        Effect::Linked => "linked as aliases",
        Effect::Relinked => "relinked to another primary",
        Effect::Unlinked => "unlinked",
        Effect::Disabled => "disabled: no logon by cloud password",
        Effect::Enabled => "enabled",
        Effect::NewHolder => "with another holder than before: rights are withheld until a yes",
        Effect::Unseen => "not found there, which counts from a second complete run that agrees",
        Effect::Missed => "missed for the first time",
        Effect::Leaving => "leaving, within the guard",
        Effect::Held => "held by the guard until a yes",
    }
}
