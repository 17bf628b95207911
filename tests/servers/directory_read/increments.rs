//! What changed since a read (SPEC Y10, Y11): applied to what was known before, it is what a full read gives.

use std::collections::BTreeMap;

use mailroster::directory::{self, Credentials, Gone, Increment};
use mailroster::model::{Access, EntryId};
use mailroster::plan::directory::rows::Mark;
use mailroster::plan::reason::Reason;
use tokio::sync::mpsc;

use super::active_directory;
use super::{NOW, Tree, account, credentials, read, read_with};
use crate::support::dice::Dice;
use crate::support::samba;
use crate::support::{self, Slapd, folder, scale};

/// What a connection knows: ids, and what their entries said.
struct Known {
    access: Access,
    credentials: Credentials,
    entries: BTreeMap<EntryId, [u8; 16]>,
    mark: Mark,
}

impl Known {
    async fn by_full_read(access: &Access) -> Self {
        Self::by_full_read_with(access, &credentials()).await
    }

    async fn by_full_read_with(access: &Access, credentials: &Credentials) -> Self {
        let outcome = read_with(access, credentials, async |_| {}).await;
        assert!(outcome.ending.complete.is_ok(), "{:?}", outcome.ending);
        let entries = outcome.entries.into_values().map(|entry| (entry.id, entry.digest)).collect();
        Self { access: access.clone(), credentials: credentials.clone(), entries, mark: outcome.ending.mark.expect("a mark") }
    }

    /// Reads what changed; a problem leaves all as it was.
    async fn increment(&mut self) -> Increment {
        let (sender, mut receiver) = mpsc::channel(1);
        let reading = directory::changes(&self.access, &self.credentials, NOW.parse().unwrap(), &self.mark, sender);
        let mut came = BTreeMap::new();
        let taking = async {
            while let Some(page) = receiver.recv().await {
                came.extend(page.entries.into_iter().map(|entry| (entry.id, entry.digest)));
            }
        };
        let (increment, ()) = tokio::join!(Box::pin(reading), taking);
        if let Ok((gone, mark)) = &increment.told {
            match gone {
                Gone::These(ids) => self.entries.retain(|id, _| !ids.contains(id)),
                Gone::AllBut(ids) => self.entries.retain(|id, _| ids.contains(id)),
            }
            self.entries.append(&mut came);
            self.mark = mark.clone();
        }
        increment
    }

    async fn is_what_a_full_read_gives(&self, when: &str) {
        let full = Self::by_full_read_with(&self.access, &self.credentials).await;
        assert_eq!(self.entries, full.entries, "{when}");
    }
}

#[tokio::test]
async fn y10_without_a_change_nothing_is_read() {
    let slapd = Slapd::start(&folder::own("still")).await;
    let tree = Tree::of(&slapd);
    tree.add_people(30);
    let mut known = Known::by_full_read(&tree.access()).await;
    let increment = known.increment().await;
    assert_eq!(increment.read, 0);
    assert_eq!(increment.told, Ok((Gone::These([].into()), known.mark.clone())));
    assert_eq!(increment.server, format!("ldap://127.0.0.1:{}", slapd.ldap()));
}

#[tokio::test]
async fn y10_what_was_added_changed_renamed_hidden_and_deleted_shows_in_both_phases() {
    let slapd = Slapd::start(&folder::own("phases")).await;
    let tree = Tree::of(&slapd);
    let base = &tree.base;
    tree.add_people(30);
    tree.add_group("all", "mail: all@corp.test");
    for (round, restarts) in [(0, false), (1, true)] {
        let mut known = Known::by_full_read(&tree.access()).await;
        let n = |number: u32| format!("u{}", round * 10 + number);
        slapd.modify(&format!(
            "dn: cn=new{round},{base}\nchangetype: add\nobjectClass: user\ncn: new{round}\nsn: n\nmail: new{round}@corp.test\n\n\
             dn: cn={},{base}\nchangetype: modify\nadd: proxyAddresses\nproxyAddresses: smtp:more{round}@corp.test\n\n\
             dn: cn={},{base}\nchangetype: modrdn\nnewrdn: cn=renamed{round}\ndeleteoldrdn: 1\n\n\
             dn: cn={},{base}\nchangetype: modify\ndelete: proxyAddresses\n\n\
             dn: cn={},{base}\nchangetype: delete\n\n\
             dn: cn=all,{base}\nchangetype: modify\nreplace: displayName\ndisplayName: All {round}\n",
            n(0),
            n(1),
            n(2),
            n(3)
        ));
        if restarts {
            slapd.restart().await;
        }
        let increment = known.increment().await;
        match (&increment.told, restarts) {
            (Ok((Gone::These(gone), _)), false) => assert!(gone.len() >= 2, "{increment:?}"),
            (Ok((Gone::AllBut(left), _)), true) => assert_eq!(left.len(), 29, "{increment:?}"),
            _ => panic!("another phase: {increment:?}"),
        }
        assert_eq!(increment.read, 4, "new, changed, renamed, and the group");
        known.is_what_a_full_read_gives(&format!("round {round}")).await;
        // What was told is not told again.
        assert_eq!(known.increment().await.read, 0);
    }
}

#[tokio::test]
async fn y11_a_server_that_is_behind_the_mark_or_shows_no_marks_is_not_asked_what_changed() {
    let tree = Tree::new().await;
    tree.add_people(3);
    let mut known = Known::by_full_read(&tree.access()).await;
    // A server restored from a backup, and one that lags: what it is at went back.
    known.mark.value = known.mark.value.replacen("20", "21", 1);
    let increment = known.increment().await;
    assert!(increment.told.is_err_and(|problem| problem.reason == Reason::ServerSwitched));
    // Ids of another kind could not be deleted by entryUUID.
    let mut access = tree.access();
    access.attributes.id = "cn".to_owned();
    assert_eq!(read(&access).await.ending.mark, None);
}

#[tokio::test]
async fn y5_changes_beyond_the_size_limit_are_not_all_there_are() {
    let slapd = Slapd::start(&folder::own("many")).await;
    let tree = Tree::of(&slapd);
    tree.add_people(5);
    let mut known = Known::by_full_read(&tree.access()).await;
    let more = |number| tree.user(&format!("more{number}"), &format!("mail: more{number}@corp.test"));
    slapd.add(&(0..60).map(more).collect::<String>());
    known.access.bind_dn = account("limited");
    let increment = known.increment().await;
    assert!(increment.told.is_err_and(|problem| problem.reason == Reason::SizeLimitExceeded));
}

/// Random changes of every kind in batches, with restarts between: what increments add up to is what a full read gives.
#[tokio::test]
async fn y10_increments_add_up_to_a_full_read() {
    let slapd = Slapd::start(&folder::own("random")).await;
    let tree = Tree::of(&slapd);
    let base = &tree.base;
    tree.add_people(20);
    slapd.add(&format!("dn: ou=west,{base}\nobjectClass: organizationalUnit\nou: west\n"));
    let mut known = Known::by_full_read(&tree.access()).await;
    let mut dice = Dice::new("what changes in the directory");
    let mut there: Vec<String> = (0..20).map(|number| format!("cn=u{number},{base}")).collect();
    let mut next = 20;
    for batch in 0..scale(25, 250) {
        let mut ldif = String::new();
        for _ in 0..=dice.below(12) {
            let place = usize::try_from(dice.below(there.len() as u64)).unwrap();
            let dn = there[place].clone();
            next += 1;
            ldif += &match dice.below(8) {
                0 => {
                    there.push(format!("cn=u{next},{base}"));
                    format!("dn: cn=u{next},{base}\nchangetype: add\nobjectClass: user\ncn: u{next}\nsn: u\nmail: u{next}@corp.test\n\n")
                }
                1 => {
                    there.push(format!("cn=g{next},{base}"));
                    format!("dn: cn=g{next},{base}\nchangetype: add\nobjectClass: group\ncn: g{next}\nmail: g{next}@corp.test\n\n")
                }
                2 if there.len() > 5 => {
                    there.swap_remove(place);
                    format!("dn: {dn}\nchangetype: delete\n\n")
                }
                3 => {
                    there[place] = format!("cn=r{next},ou=west,{base}");
                    format!("dn: {dn}\nchangetype: modrdn\nnewrdn: cn=r{next}\ndeleteoldrdn: 1\nnewsuperior: ou=west,{base}\n\n")
                }
                // No filter finds it any more, until it gets another one.
                4 => format!("dn: {dn}\nchangetype: modify\nreplace: mail\n-\nreplace: proxyAddresses\n\n"),
                5 => format!("dn: {dn}\nchangetype: modify\nreplace: proxyAddresses\nproxyAddresses: SMTP:p{next}@corp.test\n\n"),
                // Nothing that is read.
                6 => format!("dn: {dn}\nchangetype: modify\nreplace: sAMAccountName\nsAMAccountName: s{next}\n\n"),
                _ => format!("dn: {dn}\nchangetype: modify\nreplace: displayName\ndisplayName: Name {next}\n\n"),
            };
        }
        slapd.modify(&ldif);
        if dice.below(6) == 0 {
            slapd.restart().await;
        }
        let increment = known.increment().await;
        assert!(increment.told.is_ok(), "batch {batch}: {increment:?}");
        known.is_what_a_full_read_gives(&format!("batch {batch}: {ldif}")).await;
    }
}

#[tokio::test]
async fn y10_a_domain_controller_tells_what_changed_and_who_may_see_it_what_was_deleted() {
    let Some(samba) = support::samba().await else { return };
    let (base, elsewhere) = (samba.fresh_base(), samba.fresh_base());
    let person = |name: &str| format!("dn: CN={name},{base}\nobjectClass: contact\nproxyAddresses: SMTP:{name}@corp.test\n\n");
    samba.add(&["i0", "i1", "i2", "i3", "i4", "i5"].map(person).concat());
    samba.add(&format!("dn: CN=iall,{base}\nobjectClass: group\nsAMAccountName: iall\nmail: iall@corp.test\n"));
    let access = active_directory::access(samba, &base);
    let administrator = Access { bind_dn: "administrator@corp.test".to_owned(), ..access.clone() };
    let with = |password| active_directory::credentials(samba, password);
    let mut ordinary = Known::by_full_read_with(&access, &with(samba::PASSWORD)).await;
    let mut privileged = Known::by_full_read_with(&administrator, &with(samba::ADMINISTRATOR_PASSWORD)).await;
    assert_eq!(ordinary.entries.len(), 7);

    samba.modify(&format!(
        "dn: CN=inew,{base}\nchangetype: add\nobjectClass: contact\nmail: inew@corp.test\n\n\
         dn: CN=i0,{base}\nchangetype: modify\nadd: proxyAddresses\nproxyAddresses: smtp:imore@corp.test\n\n\
         dn: CN=i1,{base}\nchangetype: modrdn\nnewrdn: CN=irenamed\ndeleteoldrdn: 1\n\n\
         dn: CN=i2,{base}\nchangetype: modify\ndelete: proxyAddresses\n\n\
         dn: CN=i3,{base}\nchangetype: modrdn\nnewrdn: CN=i3\ndeleteoldrdn: 1\nnewsuperior: {elsewhere}\n\n\
         dn: CN=i4,{base}\nchangetype: delete\n\n\
         dn: CN=iall,{base}\nchangetype: modify\nreplace: displayName\ndisplayName: All\n"
    ));
    let increment = privileged.increment().await;
    assert_eq!(increment.read, 4, "new, changed, renamed, and the group: {increment:?}");
    privileged.is_what_a_full_read_gives("to who sees deleted objects").await;

    let increment = ordinary.increment().await;
    assert!(increment.told.is_ok(), "{increment:?}");
    let full = Known::by_full_read_with(&access, &with(samba::PASSWORD)).await;
    let only_known: Vec<_> = ordinary.entries.keys().filter(|id| !full.entries.contains_key(id)).collect();
    assert_eq!(only_known.len(), 1, "who was deleted stays until a full read, and nobody else");
    ordinary.entries.retain(|id, _| full.entries.contains_key(id));
    assert_eq!(ordinary.entries, full.entries);

    // Another controller has numbers of its own.
    ordinary.mark.server = "00000000-0000-0000-0000-000000000000".to_owned();
    let increment = ordinary.increment().await;
    assert!(increment.told.is_err_and(|problem| problem.reason == Reason::ServerSwitched));
}
