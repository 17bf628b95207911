//! What only a domain controller does, on a real Samba.

use mailroster::directory::Credentials;
use mailroster::model::{Access, Account, AttributeNames, DirectoryType, EntrySort, Secret, ServerUrl, Signs, TlsMode};
use mailroster::plan::reason::Reason;

use super::{Outcome, read_with};
use crate::support::samba::{PASSWORD, SUFFIX, account};
use crate::support::{self, Samba};

/// SPEC Y2.
const MAIL: &str = "(|(proxyAddresses=smtp:*)(mail=*))";

pub fn access(samba: &Samba, base: &str) -> Access {
    let text = str::to_owned;
    let like = super::access(base, 636);
    Access {
        directory: DirectoryType::ActiveDirectory,
        servers: vec![ServerUrl { host: text(samba.address()), port: 636 }],
        tls: TlsMode::Ldaps,
        bind_dn: text("sync@corp.test"),
        user_filter: format!("(&{MAIL}(|(objectCategory=person)(objectClass=publicFolder)))"),
        group_filter: format!("(&{MAIL}(|(objectCategory=group)(objectClass=msExchDynamicDistributionList)))"),
        attributes: AttributeNames { id: text("objectGUID"), disabled: text("userAccountControl"), ..like.attributes },
        ..like
    }
}

pub fn credentials(samba: &Samba, password: &str) -> Credentials {
    Credentials { password: Secret::new(password.as_bytes().to_vec()), ca: Some(samba.ca().into_bytes()) }
}

async fn read(samba: &Samba, access: &Access) -> Outcome {
    read_with(access, &credentials(samba, PASSWORD), async |_| {}).await
}

#[tokio::test]
async fn y2_y4_a_domain_controller_gives_users_contacts_and_groups() {
    let Some(samba) = support::samba().await else { return };
    let base = samba.fresh_base();
    let many: String = (0..2_000).map(|number| format!("proxyAddresses: smtp:many{number}@corp.test\n")).collect();
    let user = |name: &str, control, lines: &str| account(&format!("CN={name},{base}"), name, control, lines);
    samba.add(&[
        user("anna", 512, "proxyAddresses: SMTP:anna@corp.test\nproxyAddresses: smtp:a.meier@corp.test\ndisplayName: Anna Meier\ndepartment: Sales"),
        user("shared", 514, "mail: shared@corp.test"),
        user("left", 512, "mail: left@corp.test\naccountExpires: 132223104000000000"),
        user("nomail", 512, ""),
        format!("dn: CN=contact,{base}\nobjectClass: contact\nmail: contact@corp.test\n\n"),
        format!("dn: CN=many,{base}\nobjectClass: contact\nproxyAddresses: SMTP:many@corp.test\n{many}\n"),
        format!("dn: CN=all,{base}\nobjectClass: group\nsAMAccountName: all\nmail: all@corp.test\nmember: CN=anna,{base}\nmember: CN=left,{base}\n\n"),
    ]
    .concat());
    let mut access = access(samba, &base);
    access.page_size = 2;
    let outcome = read(samba, &access).await;
    outcome.is_complete(6);
    assert_eq!(outcome.ending.server, format!("ldaps://{}:636", samba.address()));
    assert_eq!(outcome.addresses("CN=anna"), "a.meier@corp.test *anna@corp.test");
    assert_eq!(outcome.entries["CN=many"].values.len(), 2_001);
    for (name, account) in [
        ("anna", Account::Enabled),
        ("shared", Account::Disabled),
        ("left", Account::Disabled),
        ("contact", Account::Enabled),
        ("all", Account::Enabled),
    ] {
        assert_eq!(outcome.entries[&format!("CN={name}")].account, account, "{name}");
    }
    let (anna, all) = (&outcome.entries["CN=anna"], &outcome.entries["CN=all"]);
    assert_eq!((anna.display_name.as_deref(), anna.attributes["department"].as_str()), (Some("Anna Meier"), "Sales"));
    assert!(all.sort == EntrySort::List && all.signs.has(Signs::MEMBER), "one member is enough to see that they can be read");

    // Y1: an object is known by its GUID, wherever it goes.
    samba.modify(&format!("dn: CN=anna,{base}\nchangetype: modrdn\nnewrdn: CN=anna schmidt\ndeleteoldrdn: 1\n"));
    let renamed = read(samba, &access).await;
    assert_eq!((&renamed.entries["CN=anna schmidt"].id, renamed.entries["CN=anna schmidt"].digest), (&anna.id, anna.digest));
}

#[tokio::test]
async fn y5_a_domain_read_from_its_root_leaves_no_reference_out() {
    let Some(samba) = support::samba().await else { return };
    let base = samba.fresh_base();
    samba.add(&account(&format!("CN=root,{base}"), "root", 512, "mail: root@corp.test"));
    let mut access = access(samba, SUFFIX);
    access.user_filter = "(mail=root@corp.test)".to_owned();
    access.group_filter.clear();
    read(samba, &access).await.is_complete(1);
    // Without the domain-scope control it would be one: CN=Configuration is another naming context.
    access.directory = DirectoryType::Generic;
    read(samba, &access).await.fails(Reason::ReferenceLeftOut, "CN=Configuration");
}

#[tokio::test]
async fn y5_a_domain_controller_says_why_it_refuses_a_bind() {
    let Some(samba) = support::samba().await else { return };
    let base = samba.fresh_base();
    let user = |name: &str, control, lines: &str| account(&format!("CN={name},{base}"), name, control, lines);
    samba.add(
        &[
            user("off", 514, "mail: off@corp.test"),
            user("old", 512, "accountExpires: 132223104000000000"),
            user("new", 512, "pwdLastSet: 0"),
        ]
        .concat(),
    );
    let mut access = access(samba, &base);
    for (name, words) in
        [("off", "the account is disabled"), ("old", "the account has expired"), ("new", "must be changed first"), ("nobody", "")]
    {
        access.bind_dn = format!("{name}@corp.test");
        read(samba, &access).await.fails(Reason::BindRefused, words);
    }
    access.bind_dn = "sync@corp.test".to_owned();
    read_with(&access, &credentials(samba, "Wr0ng"), async |_| {}).await.fails(Reason::BindRefused, "another password than this");
    // In clear text it takes no password at all.
    access.tls = TlsMode::None;
    access.servers = vec![ServerUrl { host: samba.address().to_owned(), port: 389 }];
    read(samba, &access).await.fails(Reason::BindRefused, "set tls.mode");
    access.tls = TlsMode::StartTls;
    read(samba, &access).await.is_complete(1);
}
