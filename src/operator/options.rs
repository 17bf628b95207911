//! What the controller is started with, after the command line has been understood (`cli::operator` makes it).

use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::SignedDuration;

use crate::store::Location;

/// Settings of one run of the controller.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where `/livez`, `/readyz` and `/metrics` are served. Port 0: any free one, logged.
    pub listen: SocketAddr,
    /// Where the Lease, the installation's id and the fingerprint key are. None: the pod's, else the kubeconfig context's, else
    /// `default`.
    pub system_namespace: Option<String>,
    /// The namespaces that are watched, sorted and each once. Empty: all of the cluster.
    pub namespaces: Vec<String>,
    /// How long unknown recipients of a new domain are deferred (SPEC V3). Not negative.
    pub new_domain_grace: SignedDuration,
    /// The key of password fingerprints (SPEC P2). None: a Secret beside the Lease, made when it is missing.
    pub fingerprint_key: Option<PathBuf>,
    /// How long audit records are kept, in whole days, at least 1 (SPEC X1).
    pub audit_retention_days: i64,
    /// The gateway's group roles are `PREFIX_mta`, `PREFIX_auth` and `PREFIX_archive` (SPEC 14).
    pub role_prefix: String,
    /// Take over a store that belongs to another installation, once (DESIGN 4).
    pub take_over_store: bool,
    /// Where the store is; an embedded one is running already.
    pub store: Location,
}
