//! What comes of what is there.

use std::time::Instant;

use mailroster::model::{Account, EntryId, EntrySort, Signs};
use mailroster::plan::reason::Reason;

use super::{Tree, access, read};
use crate::support::slapd::SUFFIX;
use crate::support::{Slapd, folder, scale};

#[tokio::test]
async fn y2_users_and_groups_come_with_their_addresses_page_by_page() {
    let tree = Tree::new().await;
    tree.add_people(45);
    tree.add_users(&[
        ("anna", "proxyAddresses: SMTP:Anna@corp.test\nproxyAddresses: smtp:a.meier@corp.test\nproxyAddresses: x500:/o=corp/cn=anna\nmail: other@corp.test\ndisplayName: Anna Meier\ndepartment: Sales"),
        ("plain", "mail: plain@corp.test"),
        ("nomail", "displayName: Nobody"),
    ]);
    tree.add_group("all", &format!("mail: all@corp.test\nmember: cn=anna,{}", tree.base));

    let outcome = read(&tree.access()).await;
    outcome.is_complete(48);
    assert_eq!(outcome.pages, 6, "five of users, one of groups");
    assert_eq!(outcome.ending.server, format!("ldap://127.0.0.1:{}", tree.slapd.ldap()));
    assert_eq!(outcome.addresses("cn=u17"), "*u17@corp.test");
    assert_eq!(outcome.addresses("cn=anna"), "a.meier@corp.test *anna@corp.test");
    assert_eq!(outcome.addresses("cn=plain"), "*plain@corp.test");
    let anna = &outcome.entries["cn=anna"];
    assert_eq!((anna.display_name.as_deref(), anna.attributes["department"].as_str()), (Some("Anna Meier"), "Sales"));
    assert_eq!((anna.sort, anna.account, anna.faults.len()), (EntrySort::Mailbox, Account::Enabled, 0));
    let all = &outcome.entries["cn=all"];
    assert!(all.sort == EntrySort::List && all.signs.has(Signs::MEMBER) && all.signs.has(Signs::MAIL));
}

#[tokio::test]
async fn y5_an_account_limited_to_a_thousand_a_search_reads_more_by_pages() {
    let tree = Tree::new().await;
    tree.add_people(1_200);
    let mut access = tree.access();
    access.page_size = 500;
    read(&access).await.is_complete(1_200);
    // Larger pages than it may have: this server refuses them.
    access.page_size = 5_000;
    read(&access).await.fails(Reason::SizeLimitExceeded, "perhaps of pageSize: result 11");
}

#[tokio::test]
async fn y1_renamed_and_moved_it_is_the_same_entry_and_nothing_of_it_has_changed() {
    let tree = Tree::new().await;
    tree.add_people(2);
    let before = read(&tree.access()).await;
    let base = &tree.base;
    tree.slapd.modify(&format!(
        "dn: ou=west,{base}\nchangetype: add\nobjectClass: organizationalUnit\nou: west\n\n\
         dn: cn=u0,{base}\nchangetype: modrdn\nnewrdn: cn=moved\ndeleteoldrdn: 1\nnewsuperior: ou=west,{base}\n\n\
         dn: cn=u1,{base}\nchangetype: modify\nadd: mail\nmail: new@corp.test\n"
    ));
    let after = read(&tree.access()).await;
    after.is_complete(2);
    let (was, is) = (&before.entries["cn=u0"], &after.entries["cn=moved"]);
    assert_eq!((&is.id, is.digest), (&was.id, was.digest));
    assert_ne!(after.entries["cn=u1"].digest, before.entries["cn=u1"].digest, "an attribute was added");
}

#[tokio::test]
async fn y1_an_object_guid_is_read_as_tools_print_it() {
    let tree = Tree::new().await;
    tree.add_users(&[("one", "mail: one@corp.test\nobjectGUID:: AAECAwQFBgcICQoLDA0ODw==")]);
    let mut access = tree.access();
    access.attributes.id = "objectGUID".to_owned();
    let outcome = read(&access).await;
    outcome.is_complete(1);
    assert_eq!(outcome.entries["cn=one"].id, EntryId::from_text("03020100-0504-0706-0809-0a0b0c0d0e0f").unwrap());
}

#[tokio::test]
async fn y4_what_says_disabled_is_read_as_disabled() {
    let tree = Tree::new().await;
    let users = [
        ("normal", "userAccountControl: 512", Account::Enabled),
        ("off", "userAccountControl: 514", Account::Disabled),
        ("zero", "userAccountControl: 0", Account::Disabled),
        ("expired", "accountExpires: 132223104000000000", Account::Disabled),
        ("never", "accountExpires: 9223372036854775807", Account::Enabled),
        ("locked", "pwdAccountLockedTime: 000001010000Z", Account::Disabled),
        ("guessed", "pwdAccountLockedTime: 20251231235900Z", Account::Enabled),
        ("rhds", "nsAccountLock: true", Account::Disabled),
        ("own", "description: TRUE", Account::Disabled),
    ];
    let lines = users.map(|(name, line, _)| (name, format!("mail: {name}@corp.test\n{line}")));
    tree.add_users(&lines.each_ref().map(|(name, lines)| (*name, lines.as_str())));
    let mut access = tree.access();
    access.attributes.disabled = "description".to_owned();
    let outcome = read(&access).await;
    outcome.is_complete(users.len());
    for (name, line, expected) in users {
        assert_eq!(outcome.entries[&format!("cn={name}")].account, expected, "{line}");
    }
}

#[tokio::test]
async fn y3_hostile_values_are_faults_of_their_entry_and_stop_nothing() {
    let tree = Tree::new().await;
    let huge = format!("proxyAddresses: smtp:{}@corp.test\nproxyAddresses: SMTP:huge@corp.test", "a".repeat(1 << 20));
    tree.add_users(&[
        ("huge", &huge),
        ("star", "proxyAddresses: smtp:*)(uid=*))(|(uid=*@corp.test\nproxyAddresses: SMTP:a*b@corp.test"),
        (r"Meier\2C \22Hans\22 \3Cx\3E\3B\23\3D\2B", "cn: Meier, \"Hans\" <x>;#=+\nmail: hans@corp.test"),
        ("many", &(0..3_000).map(|number| format!("proxyAddresses: smtp:m{number}@corp.test\n")).collect::<String>()),
        ("spaces", "proxyAddresses: smtp:two words@corp.test\nproxyAddresses: SMTP:spaces@corp.test"),
        ("long", &format!("mail: {}@corp.test", "x".repeat(64))),
        // Base64: a value with a line end and the escape character.
        ("control", "proxyAddresses:: U01UUDphChtbMzFtYkBjb3JwLnRlc3Q=\nmail: control@corp.test"),
        ("utf8", "proxyAddresses: SMTP:grüße@corp.test"),
    ]);
    let outcome = read(&tree.access()).await;
    outcome.is_complete(8);
    assert_eq!(outcome.addresses("cn=huge"), "*huge@corp.test");
    assert!(outcome.entries["cn=huge"].faults[0].ends_with("it has 1048591 bytes"));
    assert_eq!(outcome.addresses("cn=star"), "*a*b@corp.test");
    assert_eq!(outcome.entries["cn=many"].values.len(), 3_000);
    assert_eq!(outcome.addresses("cn=spaces"), "*spaces@corp.test");
    assert!(outcome.entries["cn=spaces"].faults[0].contains("two words"));
    assert!(outcome.addresses("cn=long").starts_with("*xxx"));
    assert_eq!(outcome.addresses("cn=control"), "*control@corp.test");
    assert_eq!(outcome.addresses("cn=utf8"), "*grüsse@corp.test");
    let faults: Vec<_> = outcome.entries.values().flat_map(|entry| &entry.faults).collect();
    assert!(faults.iter().all(|fault| fault.len() < 600 && !fault.contains(char::is_control)), "{faults:?}");
    assert!(outcome.entries.keys().any(|name| name.contains("Hans")), "{:?}", outcome.entries.keys());
}

#[tokio::test]
async fn y5_twenty_thousand_users_pass_through_a_channel_of_one_page() {
    let count = scale(20_000, 100_000);
    let user = |number| {
        format!(
            "dn: cn=u{number},ou=big,{SUFFIX}\nobjectClass: user\ncn: u{number}\nsn: u\nproxyAddresses: SMTP:u{number}@corp.test\n\
             proxyAddresses: smtp:a{number}@corp.test\nproxyAddresses: smtp:b{number}@corp.test\ndisplayName: User {number}\n\n"
        )
    };
    let people: String = (0..count).map(user).collect();
    let folder = folder::own("big");
    let slapd = Slapd::start_with(&folder, &format!("dn: ou=big,{SUFFIX}\nobjectClass: organizationalUnit\nou: big\n\n{people}")).await;
    let mut access = access(&format!("ou=big,{SUFFIX}"), slapd.ldap());
    access.page_size = 1_000;
    let begun = Instant::now();
    let outcome = read(&access).await;
    println!("{count} users: {:?}", begun.elapsed());
    outcome.is_complete(count);
    assert_eq!(outcome.pages, count / 1_000);
}
