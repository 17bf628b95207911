//! `mailroster crds`: the CustomResourceDefinitions, for `kubectl apply --server-side -f -`.

use clap::Args;

use super::failure::OrFailed as _;
use super::{Failure, Outcome};

/// Print the CustomResourceDefinitions as YAML
#[derive(Debug, Args)]
pub struct Arguments {}

pub(super) fn run(_: &Arguments) -> Result<Outcome, Failure> {
    stream().map(Outcome::done).or_failed("write the CustomResourceDefinitions as YAML")
}

/// All definitions, one YAML document each.
pub(crate) fn stream() -> Result<String, serde_yaml::Error> {
    let mut text = format!("# The CustomResourceDefinitions of mailroster {}, printed by `mailroster crds`.\n", env!("CARGO_PKG_VERSION"));
    for definition in crate::api::crds() {
        text.push_str("---\n");
        text.push_str(&serde_yaml::to_string(&definition)?);
    }
    Ok(text)
}
