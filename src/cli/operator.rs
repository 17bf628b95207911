//! `mailroster operator`: the controller.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;
use jiff::SignedDuration;

use super::failure::OrFailed as _;
use super::{Failure, Outcome, duration, store};
use crate::operator::Options;
use crate::store::Location;

/// Run the controller
///
/// Finds the cluster by the usual kubeconfig rules or, in a pod, by its ServiceAccount. Ends with status 0 after SIGTERM.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    store: store::Flags,
    /// Where to serve /livez, /readyz and /metrics; port 0 is any free one, logged
    #[arg(long, env = "MAILROSTER_LISTEN", default_value = "0.0.0.0:8080", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The namespace of the Lease, the installation's id and the fingerprint key [default: the pod's, else the context's, else default]
    #[arg(long, env = "MAILROSTER_SYSTEM_NAMESPACE", value_name = "NAMESPACE")]
    system_namespace: Option<String>,
    /// Watch only these namespaces, separated by commas [default: all]
    #[arg(long, env = "MAILROSTER_NAMESPACES", value_delimiter = ',', value_name = "NAMESPACES")]
    namespaces: Vec<String>,
    /// How long unknown recipients of a new domain are deferred, not refused
    #[arg(long, env = "MAILROSTER_NEW_DOMAIN_GRACE", default_value = "1h", value_parser = duration::parse, value_name = "DURATION")]
    new_domain_grace: SignedDuration,
    /// A file with the key of password fingerprints, 32 bytes or more [default: a Secret beside the Lease]
    #[arg(long, env = "MAILROSTER_FINGERPRINT_KEY", value_name = "FILE")]
    fingerprint_key: Option<PathBuf>,
    /// How long audit records are kept
    #[arg(long, env = "MAILROSTER_AUDIT_RETENTION", default_value = "400d", value_parser = duration::parse, value_name = "DURATION")]
    audit_retention: SignedDuration,
    /// Names the gateway's roles: PREFIX_mta, PREFIX_auth, PREFIX_archive
    #[arg(long, env = "MAILROSTER_GATEWAY_ROLE_PREFIX", default_value = "mailroster", value_parser = role_prefix, value_name = "PREFIX")]
    gateway_role_prefix: String,
    /// Take over a store that belongs to another installation, once
    #[arg(long, env = "MAILROSTER_TAKE_OVER_STORE", value_parser = BoolishValueParser::new())]
    take_over_store: bool,
}

pub(super) async fn run(arguments: Arguments) -> Result<Outcome, Failure> {
    let opened = store::open(&arguments.store).await?;
    let options = arguments.options(opened.location.clone());
    let ended = crate::operator::run(options).await.or_failed("run the controller");
    opened.close().await;
    ended.map(|()| Outcome::done(""))
}

impl Arguments {
    /// What was written, understood.
    pub(super) fn options(self, store: Location) -> Options {
        Options {
            listen: self.listen,
            system_namespace: self.system_namespace.filter(|namespace| !namespace.is_empty()),
            namespaces: namespaces(self.namespaces),
            new_domain_grace: self.new_domain_grace,
            fingerprint_key: self.fingerprint_key,
            audit_retention_days: duration::days(self.audit_retention).max(1),
            role_prefix: self.gateway_role_prefix,
            take_over_store: self.take_over_store,
            store,
        }
    }
}

/// Each namespace once, in order. Nothing written between commas names nothing.
pub(super) fn namespaces(written: Vec<String>) -> Vec<String> {
    let written = written.into_iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    written.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The rule of `store/schema/grants.sql`, said before anything is connected.
pub(super) fn role_prefix(text: &str) -> Result<String, String> {
    let mut characters = text.chars();
    let begins = characters.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_');
    if !begins || text.len() > 41 || !characters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') {
        return Err("a prefix has a-z, 0-9 and _, begins with a letter or _, and has at most 41 characters".to_owned());
    }
    Ok(text.to_owned())
}
