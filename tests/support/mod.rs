//! The real servers that tests, the demo, the soak and the benchmarks run on: a Kubernetes control plane, Postgres, two LDAP
//! servers, the controller's own process.
//!
//! One control plane and one Postgres serve all tests of a process; a test gets a namespace and a database of its own. Every server
//! ends with the process that started it, however that ends. Nothing here decides anything about mail: it starts, asks and waits.
#![allow(dead_code, unused_imports, reason = "each target that includes this module uses a part of it")]

pub mod certificates;
pub mod cluster;
pub mod control_plane;
pub mod database;
pub mod dice;
pub mod folder;
pub mod migrate;
pub mod operator;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod resources;
pub mod rights;
pub mod roster;
pub mod samba;
pub mod slapd;
pub mod tools;
pub mod wait;
pub mod wire;

pub use cluster::Cluster;
pub use control_plane::ControlPlane;
pub use database::Database;
pub use operator::Operator;
pub use postgres::Postgres;
pub use proxy::Proxy;
pub use samba::Samba;
pub use slapd::Slapd;
pub use wait::eventually;
pub use wire::Wire;

use tokio::sync::OnceCell;

/// The control plane of this test process, started by whichever test asks first, with the custom resources installed.
pub async fn control_plane() -> &'static ControlPlane {
    static SHARED: OnceCell<Result<ControlPlane, String>> = OnceCell::const_new();
    shared(&SHARED, async || {
        let tools = tools::kubernetes();
        let control_plane = ControlPlane::start(folder::run(), &tools).await;
        control_plane.install_custom_resources().await;
        control_plane
    })
    .await
}

/// The Postgres of this test process, with the migrated database that each test's own one is copied from.
pub async fn postgres() -> &'static Postgres {
    static SHARED: OnceCell<Result<Postgres, String>> = OnceCell::const_new();
    shared(&SHARED, async || Postgres::start(folder::run()).await).await
}

/// The LDAP server of this test process.
pub async fn slapd() -> &'static Slapd {
    static SHARED: OnceCell<Result<Slapd, String>> = OnceCell::const_new();
    shared(&SHARED, async || Slapd::start(folder::run()).await).await
}

/// Whether a test may start a domain controller, whose ports are root's; without that it fails, unless `MAILROSTER_TEST_WITHOUT_SAMBA` says that
/// this machine may have none. One that passed without a word would prove nothing to whoever reads its name.
pub fn may_have_samba() -> bool {
    if std::env::var_os("MAILROSTER_TEST_WITHOUT_SAMBA").is_some() {
        eprintln!("not tested: MAILROSTER_TEST_WITHOUT_SAMBA is set");
        return false;
    }
    assert!(
        rustix::process::geteuid().is_root(),
        "only root can start a domain controller (Samba): run the tests as root, or leave out what needs one with MAILROSTER_TEST_WITHOUT_SAMBA=1"
    );
    true
}

/// The domain controller of this test process; None: this machine may have none.
pub async fn samba() -> Option<&'static Samba> {
    static SHARED: OnceCell<Result<Samba, String>> = OnceCell::const_new();
    if !may_have_samba() {
        return None;
    }
    Some(shared(&SHARED, async || Samba::start(folder::run()).await).await)
}

/// A database of the test's own: migrated, empty.
pub async fn fresh_database() -> Database {
    postgres().await.fresh_database().await
}

/// The short suite's number, or the long one's: `MAILROSTER_TEST_LONG=1` asks for the sizes that take minutes.
pub fn scale<T>(short: T, long: T) -> T {
    if std::env::var_os("MAILROSTER_TEST_LONG").is_some() { long } else { short }
}

/// A namespace of the test's own on the shared control plane.
pub async fn fresh_namespace() -> String {
    control_plane().await.fresh_namespace().await
}

/// Starts a server once for all tests. A failure is kept: a hundred tests must not each wait for the same server in vain.
async fn shared<T: Send + Sync>(cell: &'static OnceCell<Result<T, String>>, start: impl AsyncFnOnce() -> T) -> &'static T {
    use futures::FutureExt as _;
    let started = cell
        .get_or_init(async || {
            install_crypto_provider();
            std::panic::AssertUnwindSafe(start()).catch_unwind().await.map_err(|panic| {
                let text = panic.downcast_ref::<String>().cloned();
                text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default()
            })
        })
        .await;
    match started {
        Ok(server) => server,
        Err(message) => panic!("a server that this test needs could not be started:\n{message}"),
    }
}

/// Two rustls providers in one process panic unless one is chosen first.
pub fn install_crypto_provider() {
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
}
