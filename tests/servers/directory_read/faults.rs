//! A connection that breaks in the middle: what came counts, and nothing is proved (Y5).

use std::time::Duration;

use mailroster::directory::{self, Credentials};
use mailroster::model::{Access, DirectoryType, TlsMode};
use mailroster::plan::reason::Reason;
use tokio::sync::mpsc;

use super::scripted::{bind_success, entry, message, result, scripted, search_done, tlv};
use super::{NOW, Tree, credentials, read, read_with, server};
use crate::support::{Slapd, Wire, folder, scale};

const PEOPLE: usize = 200;

#[tokio::test]
async fn y5_a_server_killed_at_any_page_leaves_a_read_that_proves_nothing_and_the_next_one_heals() {
    let slapd = Slapd::start(&folder::own("killed-slapd")).await;
    let tree = Tree::of(&slapd);
    tree.add_people(PEOPLE);
    for page in [1, 2, 7, 13] {
        let outcome = read_with(&tree.access(), &credentials(), async |pages| {
            if pages == page {
                slapd.kill().await;
            }
        })
        .await;
        assert_eq!(outcome.problem().0, Reason::ConnectionLost, "killed at page {page}");
        let came = outcome.entries.len();
        assert!((page * 10..PEOPLE).contains(&came), "killed at page {page}, and {came} came");
        read(&tree.access()).await.fails(Reason::DirectoryUnreachable, "refused");
        slapd.start_again().await;
    }
    read(&tree.access()).await.is_complete(PEOPLE);
}

#[tokio::test]
async fn y5_a_wire_that_is_cut_or_falls_silent_loses_the_read_within_the_deadline() {
    let tree = Tree::new().await;
    tree.add_people(PEOPLE);
    let wire = Wire::start(&tree.slapd.socket()).await;
    let access = Access { servers: vec![server(wire.port())], timeout: Duration::from_secs(2), ..tree.access() };
    read(&access).await.is_complete(PEOPLE);

    let cut = read_with(&access, &credentials(), async |pages| {
        if pages == 3 {
            wire.cut();
        }
    })
    .await;
    assert_eq!(cut.problem().0, Reason::ConnectionLost);
    assert!((30..PEOPLE).contains(&cut.entries.len()));

    let silent = read_with(&access, &credentials(), async |pages| {
        if pages == 3 {
            wire.silent(true);
        }
    })
    .await;
    silent.fails(Reason::ConnectionLost, "a page took longer than 2 s");
    // Nor does a connection come about, or a bind.
    read(&access).await.fails(Reason::DirectoryUnreachable, "the bind took longer than 2 s");
    wire.silent(false);
    read(&access).await.is_complete(PEOPLE);
}

#[tokio::test]
async fn y5_torn_anywhere_a_read_is_complete_only_when_all_came() {
    let tree = Tree::new().await;
    tree.add_people(PEOPLE);
    let wire = Wire::start(&tree.slapd.socket()).await;
    let access = Access { servers: vec![server(wire.port())], ..tree.access() };
    wire.tear(64 << 10);
    let mut torn = 0;
    for _ in 0..scale(60, 1_000) {
        let outcome = read(&access).await;
        match &outcome.ending.complete {
            Ok(_) => outcome.is_complete(PEOPLE),
            Err(problem) => {
                torn += 1;
                assert!(matches!(problem.reason, Reason::ConnectionLost | Reason::DirectoryUnreachable), "{problem:?}");
                assert!(outcome.entries.len() <= PEOPLE);
            }
        }
    }
    assert!(torn > 10, "only {torn} were torn");
}

/// In clear text nobody can know that a value is another one; under TLS what came is what was sent.
#[tokio::test]
async fn y5_garbled_anywhere_a_read_ends_and_under_tls_it_is_complete_only_when_all_came() {
    let tree = Tree::new().await;
    tree.add_people(PEOPLE);
    let wire = Wire::start(&tree.slapd.socket()).await;
    let clear = Access { servers: vec![server(wire.port())], timeout: Duration::from_secs(1), ..tree.access() };
    let private = Access { tls: TlsMode::StartTls, server_name: Some("ldap.corp.test".to_owned()), ..clear.clone() };
    let trusting = Credentials { ca: Some(tree.slapd.ca().into_bytes()), ..credentials() };
    read_with(&private, &trusting, async |_| {}).await.is_complete(PEOPLE);
    wire.garble(8);
    let mut refused = 0;
    for _ in 0..scale(20, 300) {
        let outcome = read(&clear).await;
        assert!(outcome.entries.len() <= PEOPLE);
        let outcome = read_with(&private, &trusting, async |_| {}).await;
        match &outcome.ending.complete {
            Ok(_) => outcome.is_complete(PEOPLE),
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 5, "only {refused} were garbled");
}

#[tokio::test]
async fn y5_bytes_that_are_no_ldap_are_a_lost_connection_and_no_panic() {
    // A search that ended clean, with a paging control whose value is cut short.
    let oid = tlv(4, b"1.2.840.113556.1.4.319");
    let control = tlv(0x30, &[oid, tlv(4, &[0x30, 9, 2])].concat());
    let done = tlv(0x65, &[tlv(10, &[0]), tlv(4, b""), tlv(4, b"")].concat());
    let bad_cookie = message(2, &done, &control);
    for script in [
        vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()],
        vec![vec![0x30, 3, 2, 1, 1]],
        // A bind response without a result; an entry with nothing in it; an operation that no search has.
        vec![message(1, &tlv(0x61, b""), &[])],
        vec![bind_success(), message(2, &tlv(0x64, b""), &[])],
        vec![bind_success(), result(0x61, 2, 0)],
        vec![bind_success(), vec![0xff; 64]],
        vec![bind_success(), bad_cookie],
    ] {
        let (port, _served) = scripted(script.clone()).await;
        let access = Access { timeout: Duration::from_secs(2), ..scripted_access(port) };
        let outcome = read(&access).await;
        let (reason, message) = outcome.problem();
        assert!(matches!(reason, Reason::ConnectionLost | Reason::DirectoryUnreachable), "{script:x?}: {reason} {message}");
        assert_eq!(outcome.entries.len(), 0);
    }
}

/// One search, and before it only the bind.
fn scripted_access(port: u16) -> Access {
    Access { directory: DirectoryType::Generic, group_filter: String::new(), ..super::access("dc=corp,dc=test", port) }
}

#[tokio::test]
async fn y3_values_that_come_in_parts_are_followed_to_their_end() {
    const DN: &str = "cn=many,dc=corp,dc=test";
    let part = |number, range: &str, values: &[&str]| {
        entry(number, DN, &[("entryUUID", &["1"][..]), (&format!("proxyAddresses;range={range}"), values)])
    };
    let first = [part(2, "0-1", &["SMTP:a@x.example", "smtp:b@x.example"]), search_done(2, 0)].concat();
    let second = [part(3, "2-3", &["smtp:c@x.example", "smtp:d@x.example"]), search_done(3, 0)].concat();
    let last = [part(4, "4-*", &["smtp:e@x.example"]), search_done(4, 0)].concat();
    let (port, served) = scripted(vec![bind_success(), first.clone(), second.clone(), last]).await;
    let access = scripted_access(port);
    let outcome = read(&access).await;
    outcome.is_complete(1);
    assert_eq!(outcome.addresses("cn=many"), "*a@x.example b@x.example c@x.example d@x.example e@x.example");
    let sent = String::from_utf8_lossy(&served.await.unwrap()).into_owned();
    assert!(sent.contains("proxyAddresses;range=2-*") && sent.contains("proxyAddresses;range=4-*"), "{sent:?}");

    // Half an entry would look as if the rest were gone: it is none.
    for broken in [search_done(4, 32), search_done(4, 0), [part(4, "2-3", &["smtp:c@x.example"]), search_done(4, 0)].concat()] {
        let (port, _served) = scripted(vec![bind_success(), first.clone(), second.clone(), broken]).await;
        let outcome = read(&Access { servers: vec![server(port)], ..access.clone() }).await;
        outcome.fails(Reason::SearchRefused, "only a part of proxyAddresses of cn=many,dc=corp,dc=test could be read");
        assert_eq!((outcome.entries.len(), outcome.ending.read), (0, 1));
    }
}

#[tokio::test]
async fn y5_a_server_that_knows_no_pages_may_send_all_at_once() {
    let all: Vec<u8> = (0..25).flat_map(|number| entry(2, &format!("cn=u{number}"), &[("entryUUID", &[&number.to_string()])])).collect();
    let (port, _served) = scripted(vec![bind_success(), [all, search_done(2, 0)].concat()]).await;
    let access = scripted_access(port);
    let outcome = read(&access).await;
    outcome.is_complete(25);
    assert_eq!(outcome.pages, 3, "in portions of about a page all the same");
}

#[tokio::test]
async fn y5_a_read_whose_pages_nobody_takes_proves_nothing() {
    let tree = Tree::new().await;
    tree.add_people(50);
    let (sender, mut receiver) = mpsc::channel(1);
    let (access, credentials) = (tree.access(), credentials());
    let reading = directory::read(&access, &credentials, NOW.parse().unwrap(), sender);
    let leaving = async move {
        receiver.recv().await.expect("a page");
    };
    let (ending, ()) = tokio::join!(Box::pin(reading), leaving);
    assert!(ending.complete.is_err(), "{ending:?}");
}

/// The library would descend until the stack is used up, which ends the process; and it would wait for as much as a message claims to have.
#[tokio::test]
async fn y8_a_hostile_server_ends_its_own_read_and_nothing_else() {
    let deep = (0..20_000).fold(Vec::new(), |inner: Vec<u8>, _| {
        let length = u32::try_from(inner.len()).unwrap().to_be_bytes();
        [&[0x30, 0x84][..], &length, &inner].concat()
    });
    let endless = [&[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff][..], &[0; 4096]].concat();
    for hostile in [deep, endless] {
        let (port, _served) = scripted(vec![bind_success(), hostile]).await;
        let outcome = read(&scripted_access(port)).await;
        outcome.fails(Reason::ConnectionLost, "sent what is no LDAP");
    }
}

#[tokio::test]
async fn y4_a_user_of_active_directory_without_user_account_control_makes_the_read_incomplete() {
    let user = entry(3, "CN=u,DC=corp", &[("objectGUID", &["0123456789abcdef"]), ("objectClass", &["user"]), ("mail", &["u@x.example"])]);
    // Behind the bind the server is asked who it is.
    let (port, _served) = scripted(vec![bind_success(), search_done(2, 0), [user, search_done(3, 0)].concat()]).await;
    let mut access = Access { directory: DirectoryType::ActiveDirectory, ..scripted_access(port) };
    access.attributes.id = "objectGUID".to_owned();
    read(&access).await.fails(Reason::AttributesHidden, "userAccountControl can't be read of 1 entries");
}
