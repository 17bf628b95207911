//! The way to one server: a connection, TLS as asked for, a bind.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, StdStream};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::answers::{bind_problem, problem};
use super::redaction::Redaction;
use super::tls;
use super::wire::{self, Stream};
use crate::model::{Access, ServerUrl, TlsMode};
use crate::plan::directory::rows::Problem;
use crate::plan::reason::Reason;

/// A name may have so many addresses that are tried.
const MOST_ADDRESSES: usize = 8;
/// How long a farewell may take: nothing depends on it.
const FAREWELL: Duration = Duration::from_secs(1);

/// All that connecting takes, the same for each server.
pub(super) struct Way<'a> {
    pub(super) access: &'a Access,
    pub(super) password: &'a str,
    /// None only where clear text was asked for.
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) redaction: &'a Redaction,
}

/// A connection on which the bind succeeded. Dropping it closes it.
pub(super) struct Session {
    pub(super) ldap: Ldap,
    /// The server's certificate, as it came (DER).
    pub(super) certificate: Option<Vec<u8>>,
    _driver: AbortOnDropHandle<()>,
    carrier: AbortOnDropHandle<()>,
}

impl Session {
    /// Says farewell, so that the server does not log a lost connection.
    pub(super) async fn close(mut self) {
        let farewell = async {
            let _gone = self.ldap.unbind().await;
            let _gone = self.carrier.await;
        };
        let _nobody_waits = timeout(FAREWELL, farewell).await;
    }
}

/// The server's URL, as people write it.
pub(super) fn url(mode: TlsMode, server: &ServerUrl) -> String {
    let scheme = if mode == TlsMode::Ldaps { "ldaps" } else { "ldap" };
    if server.host.contains(':') {
        format!("{scheme}://[{}]:{}", server.host, server.port)
    } else {
        format!("{scheme}://{}:{}", server.host, server.port)
    }
}

/// Connects and binds, each within the connection's timeout.
pub(super) async fn connect(way: &Way<'_>, server: &ServerUrl) -> Result<Session, Problem> {
    let limit = way.access.timeout;
    let late = |what: &str| problem(Reason::DirectoryUnreachable, format!("{what} took longer than {} s", limit.as_secs()));
    let opened = timeout(limit, Box::pin(open(way, server))).await;
    let (stream, certificate) = opened.map_err(|_| late("connecting"))??;
    let broken = |error: &dyn std::fmt::Display| {
        problem(Reason::DirectoryUnreachable, format!("the connection broke at the bind: {}", way.redaction.text(&error.to_string())))
    };
    let (ours, theirs) = UnixStream::pair().map_err(|error| broken(&error))?;
    let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(theirs.into_std().map_err(|error| broken(&error))?));
    let connected = LdapConnAsync::with_settings(settings, "ldapi://checked").await;
    let (connection, mut ldap) = connected.map_err(|error| broken(&error))?;
    // Who asked something learns of either's end: the answer never comes.
    let carrier = AbortOnDropHandle::new(tokio::spawn(async move {
        let _end = wire::carry(stream, ours).await;
    }));
    let driver = AbortOnDropHandle::new(tokio::spawn(async move {
        let _end = connection.drive().await;
    }));
    let bound = timeout(limit, ldap.simple_bind(&way.access.bind_dn, way.password)).await;
    let result = bound.map_err(|_| late("the bind"))?.map_err(|error| broken(&error))?;
    if result.rc != 0 {
        return Err(bind_problem(&result, &way.access.bind_dn, way.password, way.redaction));
    }
    Ok(Session { ldap, certificate, _driver: driver, carrier })
}

/// A way to the server, and its certificate where it has shown one.
async fn open(way: &Way<'_>, server: &ServerUrl) -> Result<(Box<dyn Stream>, Option<Vec<u8>>), Problem> {
    let unreachable = |error: &io::Error| problem(Reason::DirectoryUnreachable, way.redaction.text(&error.to_string()));
    let mut stream = reach(server, way.access.timeout).await.map_err(|error| unreachable(&error))?;
    if way.access.tls == TlsMode::None {
        return Ok((Box::new(stream), None));
    }
    let refused = |message: String| problem(Reason::TlsFailed, message);
    let Some(config) = &way.tls else { return Err(refused("no TLS was prepared".to_owned())) };
    if way.access.tls == TlsMode::StartTls {
        let (code, text) = wire::start_tls(&mut stream).await.map_err(|error| unreachable(&error))?;
        if code != 0 {
            return Err(refused(format!("the server refuses StartTLS: result {code} \"{}\"", way.redaction.text(&text))));
        }
    }
    let name = way.access.server_name.as_deref().filter(|name| !name.is_empty()).unwrap_or(&server.host);
    let Ok(checked) = ServerName::try_from(name.to_owned()) else {
        return Err(refused(format!("no certificate can bear the name {name}: set tls.serverName")));
    };
    match TlsConnector::from(config.clone()).connect(checked, stream).await {
        Ok(stream) => {
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).map(|certificate| certificate.to_vec());
            Ok((Box::new(stream), shown))
        }
        Err(error) => Err(match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
            Some(error) => refused(tls::explain(error, name, way.redaction)),
            // A server that is being stopped does this too.
            None => {
                problem(Reason::DirectoryUnreachable, format!("the connection broke at once: {}", way.redaction.text(&error.to_string())))
            }
        }),
    }
}

/// Tries the host's addresses in order, each with its share of the time: one that swallows what is sent must not use up that of the others.
async fn reach(server: &ServerUrl, limit: Duration) -> io::Result<TcpStream> {
    let addresses: Vec<_> = lookup_host((server.host.as_str(), server.port)).await?.take(MOST_ADDRESSES).collect();
    let share = limit / u32::try_from(addresses.len()).unwrap_or(1).max(1);
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("{address} does not answer")),
        }
    }
    Err(last)
}
