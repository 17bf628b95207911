//! The way to a server: binds, TLS, and the servers in order.

use std::sync::Arc;
use std::time::Duration;

use mailroster::directory::Credentials;
use mailroster::model::{Access, Secret, ServerUrl, TlsMode};
use mailroster::plan::reason::Reason;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;

use super::scripted::{bind_success, result, scripted, search_done};
use super::{Outcome, Tree, account, credentials, read, read_with, server};
use crate::support::certificates::Authority;
use crate::support::process::free_ports;
use crate::support::slapd::{AUTHORITY, PASSWORD, SUFFIX};
use crate::support::{Slapd, folder};

async fn read_as(access: &Access, credentials: &Credentials) -> Outcome {
    read_with(access, credentials, async |_| {}).await
}

fn trusting(ca: &str) -> Credentials {
    Credentials { ca: Some(ca.as_bytes().to_vec()), ..credentials() }
}

fn with_password(password: &[u8]) -> Credentials {
    Credentials { password: Secret::new(password.to_vec()), ca: None }
}

#[tokio::test]
async fn y5_a_refused_bind_is_told_with_its_name_and_never_its_password() {
    let tree = Tree::new().await;
    tree.add_people(1);
    let mut access = tree.access();
    let planted = with_password(b"Wr0ng-planted-password\n");
    let refused = read_as(&access, &planted).await;
    refused.fails(Reason::BindRefused, "cn=sync,dc=corp,dc=test: result 49; the password in the Secret ends in a line end");
    let (_, message) = refused.problem();
    assert!(!message.contains("Wr0ng") && message.contains(&format!("ldap://127.0.0.1:{}", tree.slapd.ldap())), "{message}");
    assert_eq!(refused.ending.server, "");

    // Such binds would succeed, as nobody.
    read_as(&access, &with_password(b"")).await.fails(Reason::BindRefused, "anonymous");
    read_as(&access, &with_password(b"\xff")).await.fails(Reason::BindRefused, "not UTF-8");
    access.bind_dn = String::new();
    read(&access).await.fails(Reason::BindRefused, "anonymous");
    access.bind_dn = "sync".to_owned();
    read(&access).await.fails(Reason::BindRefused, "bind.dn is no name that the server knows");
    access.bind_dn = format!("cn=busybind,ou=results,{SUFFIX}");
    read(&access).await.fails(Reason::DirectoryBusy, "not now");
}

#[tokio::test]
async fn y9_ldaps_and_starttls_work_with_an_authority_of_their_own() {
    let tree = Tree::new().await;
    tree.add_people(12);
    for (tls, port, url) in [(TlsMode::Ldaps, tree.slapd.ldaps(), "ldaps"), (TlsMode::StartTls, tree.slapd.ldap(), "ldap")] {
        let mut access = Access { tls, servers: vec![server(port)], ..tree.access() };
        let outcome = read_as(&access, &trusting(&tree.slapd.ca())).await;
        outcome.is_complete(12);
        assert_eq!(outcome.ending.server, format!("{url}://127.0.0.1:{port}"));

        let stranger = Authority::new("another authority").pem();
        read_as(&access, &trusting(&stranger)).await.fails(Reason::TlsFailed, "an authority that is not trusted here");
        let renewed = Authority::new(AUTHORITY).pem();
        read_as(&access, &trusting(&renewed)).await.fails(Reason::TlsFailed, "of the same name with another key");
        // The system has authorities of its own, or none.
        read(&access).await.fails(Reason::TlsFailed, "tls.caSecretRef");
        read_as(&access, &trusting("no PEM")).await.fails(Reason::TlsFailed, "has no certificate in PEM");

        access.server_name = Some("ldap.corp.test".to_owned());
        read_as(&access, &trusting(&tree.slapd.ca())).await.is_complete(12);
        access.server_name = Some("dc1.corp.test".to_owned());
        let named = read_as(&access, &trusting(&tree.slapd.ca())).await;
        named.fails(Reason::TlsFailed, "does not bear the name dc1.corp.test");
    }
    // A port that speaks no TLS.
    let access = Access { tls: TlsMode::Ldaps, ..tree.access() };
    let mute = read_as(&access, &trusting(&tree.slapd.ca())).await;
    assert!(matches!(mute.problem().0, Reason::TlsFailed | Reason::DirectoryUnreachable), "{:?}", mute.ending);
}

#[tokio::test]
async fn y9_an_expired_certificate_is_told_from_an_unknown_one() {
    let authority = Authority::new(AUTHORITY);
    let pair = authority.issue_expired(&folder::own("expired"), "ldap", &["127.0.0.1"]);
    let certificate = CertificateDer::from_pem_file(&pair.certificate).unwrap();
    let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
    let config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _refused = acceptor.accept(stream).await;
        }
    });
    let access = Access { tls: TlsMode::Ldaps, servers: vec![server(port)], ..super::access(SUFFIX, port) };
    read_as(&access, &trusting(&authority.pem())).await.fails(Reason::TlsFailed, "its certificate has expired");
}

#[tokio::test]
async fn y9_where_starttls_is_refused_no_password_is_sent() {
    let slapd = Slapd::start_without_tls(&folder::own("clear")).await;
    let access = Access { tls: TlsMode::StartTls, ..super::access(SUFFIX, slapd.ldap()) };
    let ca = Authority::new(AUTHORITY).pem();
    read_as(&access, &trusting(&ca)).await.fails(Reason::TlsFailed, "the server refuses StartTLS: result 2");

    // An extended response, protocolError.
    let (port, sent) = scripted(vec![result(0x78, 1, 2)]).await;
    let access = Access { servers: vec![server(port)], ..access };
    read_as(&access, &trusting(&ca)).await.fails(Reason::TlsFailed, "refuses StartTLS");
    let sent = sent.await.unwrap();
    assert!(!sent.is_empty() && !String::from_utf8_lossy(&sent).contains(PASSWORD));
}

#[tokio::test]
async fn y5_the_next_server_answers_where_one_is_no_use() {
    let tree = Tree::new().await;
    tree.add_people(12);
    let [closed] = free_ports();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let unknown = ServerUrl { host: "no-such-host.invalid".to_owned(), port: 389 };
    let silent = server(silent.local_addr().unwrap().port());
    let good = server(tree.slapd.ldap());
    let servers = vec![server(closed), unknown, silent, good.clone()];
    let access = Access { servers, timeout: Duration::from_secs(1), ..tree.access() };
    let outcome = read(&access).await;
    outcome.is_complete(12);
    assert_eq!(outcome.ending.server, format!("ldap://127.0.0.1:{}", good.port));

    // Also where it is found out late: the one takes the bind, and is busy then.
    let (busy, _served) = scripted(vec![bind_success(), search_done(2, 0), search_done(3, 51)]).await;
    let late = Access { servers: vec![server(busy), good.clone()], ..access.clone() };
    read(&late).await.is_complete(12);
    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute = Access { tls: TlsMode::Ldaps, servers: vec![server(held.local_addr().unwrap().port())], ..access.clone() };
    read_as(&mute, &trusting(&tree.slapd.ca())).await.fails(Reason::DirectoryUnreachable, "connecting took longer than 1 s");

    // When none is, each is named, and a refused bind says most.
    let access = Access { servers: vec![server(closed), good], bind_dn: account("nobody"), ..access };
    let outcome = read(&access).await;
    outcome.fails(Reason::BindRefused, &format!("; ldap://127.0.0.1:{closed}: "));
    let access = Access { servers: vec![server(closed)], ..access };
    let outcome = read(&access).await;
    outcome.fails(Reason::DirectoryUnreachable, "refused");
    assert_eq!((outcome.ending.server.as_str(), outcome.ending.read), ("", 0));
    let access = Access { servers: Vec::new(), ..access };
    read(&access).await.fails(Reason::DirectoryUnreachable, "names no server");
}
