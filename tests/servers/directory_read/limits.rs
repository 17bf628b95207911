//! A server that does not give all there is: what came goes on, and nothing is proved (Y5).

use mailroster::model::Signs;
use mailroster::plan::reason::Reason;

use super::{Tree, account, read};
use crate::support::slapd::SUFFIX;

#[tokio::test]
async fn y5_a_size_limit_ends_the_read_and_what_came_before_it_counts() {
    let tree = Tree::new().await;
    tree.add_people(60);
    let mut access = tree.access();
    access.bind_dn = account("limited");
    let outcome = read(&access).await;
    outcome.fails(Reason::SizeLimitExceeded, "result 4");
    assert!((20..=25).contains(&outcome.entries.len()), "{}", outcome.entries.len());
    assert_eq!(outcome.ending.read, outcome.entries.len() as u64);
    assert!(!outcome.ending.server.is_empty());
}

#[tokio::test]
async fn y5_each_refusal_of_a_search_has_its_reason() {
    let tree = Tree::new().await;
    for (name, reason, words) in [
        ("timelimit", Reason::TimeLimitExceeded, "it took too long"),
        ("adminlimit", Reason::SizeLimitExceeded, "result 11"),
        ("noaccess", Reason::SearchRefused, "no right to search in cn=noaccess"),
        ("busy", Reason::DirectoryBusy, "later"),
        ("unwilling", Reason::SearchRefused, "result 53 \"no\""),
        ("gone", Reason::ConnectionLost, "closed the connection"),
    ] {
        let mut access = tree.access();
        access.base_dn = format!("cn={name},ou=results,{SUFFIX}");
        read(&access).await.fails(reason, words);
    }
}

#[tokio::test]
async fn y5_a_base_that_is_not_there_and_a_filter_that_finds_nobody_prove_nothing() {
    let tree = Tree::new().await;
    tree.add_people(3);
    let mut access = tree.access();
    access.base_dn = format!("ou=moved,{}", tree.base);
    read(&access).await.fails(Reason::BaseNotFound, &format!("there is no ou=moved,{}", tree.base));
    access.base_dn = "corp.test".to_owned();
    read(&access).await.fails(Reason::BaseNotFound, "is no DN");

    let mut access = tree.access();
    access.user_filter = "(mial=*)".to_owned();
    read(&access).await.fails(Reason::NobodyFound, &format!("nobody was found in {}", tree.base));
    access.user_filter = "(mail=*".to_owned();
    read(&access).await.fails(Reason::SearchRefused, "(mail=* is no LDAP filter");
}

#[tokio::test]
async fn y5_a_reference_to_another_server_is_known_as_left_out() {
    let tree = Tree::new().await;
    tree.add_people(25);
    tree.slapd.add(&format!(
        "dn: cn=branch,{}\nobjectClass: referral\nobjectClass: extensibleObject\ncn: branch\nref: ldap://branch.corp.test/ou=branch,{SUFFIX}\n",
        tree.base
    ));
    let outcome = read(&tree.access()).await;
    outcome.fails(Reason::ReferenceLeftOut, "ldap://branch.corp.test/");
    assert_eq!(outcome.entries.len(), 25, "all others came");

    // A base that is such a reference itself.
    let mut access = tree.access();
    access.base_dn = format!("cn=branch,{}", tree.base);
    read(&access).await.fails(Reason::ReferenceLeftOut, "ldap://branch.corp.test/");
}

#[tokio::test]
async fn y4_attributes_that_rights_hide_are_seen_to_be_gone() {
    let tree = Tree::new().await;
    tree.add_users(&[("one", "proxyAddresses: SMTP:one@corp.test\nmail: two@corp.test\nuserAccountControl: 514")]);
    let whole = read(&tree.access()).await;
    let mut access = tree.access();
    access.bind_dn = account("dim");
    access.user_filter = "(objectClass=user)".to_owned();
    let dim = read(&access).await;
    dim.is_complete(1);
    let gone = dim.entries["cn=one"].signs.gone_since(whole.entries["cn=one"].signs);
    assert!(gone.has(Signs::ALIASES) && gone.has(Signs::USER_ACCOUNT_CONTROL) && !gone.has(Signs::MAIL));

    access.bind_dn = account("faceless");
    let faceless = read(&access).await;
    faceless.fails(Reason::AttributesHidden, "1 entries can't be told apart from others: entryUUID can't be read");
    assert_eq!((faceless.entries.len(), faceless.unreadable.len()), (0, 1));
    assert!(faceless.unreadable[0].starts_with("cn=one,"), "{:?}", faceless.unreadable);
}

/// Nothing in the answer tells: that is what the guard is for, and the rule that the bind name must be that of the last complete run.
#[tokio::test]
async fn y5_a_part_that_rights_hide_leaves_no_trace() {
    let tree = Tree::new().await;
    tree.add_people(2);
    let base = &tree.base;
    tree.slapd.add(&format!(
        "dn: ou=secret,{base}\nobjectClass: organizationalUnit\nou: secret\n\n\
         dn: cn=agent,ou=secret,{base}\nobjectClass: user\ncn: agent\nsn: agent\nmail: agent@corp.test\n"
    ));
    read(&tree.access()).await.is_complete(3);
    let mut access = tree.access();
    access.bind_dn = account("narrow");
    read(&access).await.is_complete(2);
}
