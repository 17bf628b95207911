//! Increments against full runs: whatever happens in a directory, both end in the same store (SPEC Y10, Y11).

use super::corp::{Corp, FULL};
use super::faults::{STORE, own_slapd};
use crate::support::wait::PATIENCE;
use crate::support::{self, Samba, Slapd, dice::Dice, eventually};
use crate::tenant::Tenant;
use std::fmt::Write as _;

/// Where it happens.
enum Tree {
    OpenLdap(&'static Slapd),
    ActiveDirectory(&'static Samba),
}

impl Tree {
    fn add(&self, ldif: &str) {
        match self {
            Self::OpenLdap(slapd) => slapd.add(ldif),
            Self::ActiveDirectory(samba) => samba.add(ldif),
        }
    }

    fn modify(&self, ldif: &str) {
        match self {
            Self::OpenLdap(slapd) => slapd.modify(ldif),
            Self::ActiveDirectory(samba) => samba.modify(ldif),
        }
    }

    /// What an entry of that name needs besides its addresses.
    fn lines(&self, name: &str, is_list: bool) -> String {
        match (self, is_list) {
            (Self::OpenLdap(_), true) => format!("objectClass: group\ncn: {name}"),
            (Self::OpenLdap(_), false) => format!("objectClass: user\nsn: x\ncn: {name}"),
            (Self::ActiveDirectory(_), true) => format!("objectClass: group\nsAMAccountName: {name}"),
            (Self::ActiveDirectory(_), false) => format!("objectClass: user\nsAMAccountName: {name}"),
        }
    }
}

/// A directory that changes by chance.
struct Changing {
    tree: Tree,
    base: String,
    dice: Dice,
    /// Entries by number, with what they are called and which addresses they have; the first is the primary.
    people: Vec<Person>,
    next: usize,
}

#[derive(Clone)]
struct Person {
    name: String,
    /// In the part of the directory that is read too, one level down.
    below: bool,
    addresses: Vec<String>,
    is_list: bool,
}

impl Changing {
    /// Of people who are there: `u0`, `u1`, … with an alias each ([`super::faults::many`]).
    fn new(tree: Tree, base: String, people: usize) -> Self {
        tree.add(&format!("dn: ou=below,{base}\nobjectClass: organizationalUnit\nou: below\n"));
        let person = |n| Person { name: format!("u{n}"), below: false, addresses: vec![format!("u{n}"), format!("v{n}")], is_list: false };
        Self { tree, base, dice: Dice::new("changes of a directory"), people: (0..people).map(person).collect(), next: people }
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.dice.below(end as u64)).expect("a small number")
    }

    fn parent(&self, person: &Person) -> String {
        if person.below { format!("ou=below,{}", self.base) } else { self.base.clone() }
    }

    fn dn(&self, person: &Person) -> String {
        format!("cn={},{}", person.name, self.parent(person))
    }

    fn values(person: &Person) -> String {
        person.addresses.iter().enumerate().fold(String::new(), |mut text, (place, local)| {
            let prefix = if place == 0 { "SMTP" } else { "smtp" };
            let _ = writeln!(text, "proxyAddresses: {prefix}:{local}@acme.example");
            text
        })
    }

    fn readdress(&self, person: &Person) {
        let values = Self::values(person);
        self.tree.modify(&format!("dn: {}\nchangetype: modify\nreplace: proxyAddresses\n{values}", self.dn(person)));
    }

    /// One change.
    fn change(&mut self) {
        let (sort, who, number) = (self.below(12), self.below(self.people.len()), self.next);
        self.next += 1;
        let mut person = self.people.swap_remove(who);
        match sort {
            // Somebody new.
            0 | 1 => {
                let is_list = sort == 1 && number % 3 == 0;
                let new = Person { name: format!("u{number}"), below: number % 2 == 0, addresses: vec![format!("u{number}")], is_list };
                self.tree.add(&format!("dn: {}\n{}\n{}", self.dn(&new), self.tree.lines(&new.name, is_list), Self::values(&new)));
                self.people.push(new);
            }
            // Somebody leaves.
            2 if !person.is_list => {
                self.tree.modify(&format!("dn: {}\nchangetype: delete\n", self.dn(&person)));
                return;
            }
            // A new alias, one less, the alias that becomes the primary, a marriage with and without the old address.
            3 | 4 => person.addresses.push(format!("w{number}")),
            5 => person.addresses.truncate(1),
            6 => person.addresses.rotate_left(1),
            7 => person.addresses.insert(0, format!("x{number}")),
            8 => person.addresses[0] = format!("y{number}"),
            9 => {
                // An alias that moves to another one.
                if person.addresses.len() > 1
                    && let Some(alias) = person.addresses.pop()
                {
                    let to = self.below(self.people.len());
                    self.readdress(&person);
                    self.people[to].addresses.push(alias);
                    self.readdress(&self.people[to]);
                }
            }
            10 => {
                let (dn, superior) = (self.dn(&person), if person.below { self.base.clone() } else { format!("ou=below,{}", self.base) });
                self.tree.modify(&format!(
                    "dn: {dn}\nchangetype: modrdn\nnewrdn: cn={}\ndeleteoldrdn: 1\nnewsuperior: {superior}\n",
                    person.name
                ));
                person.below = !person.below;
            }
            _ => {
                let dn = self.dn(&person);
                person.name = format!("n{number}");
                self.tree.modify(&format!("dn: {dn}\nchangetype: modrdn\nnewrdn: cn={}\ndeleteoldrdn: 1\n", person.name));
            }
        }
        if (3..=8).contains(&sort) {
            self.readdress(&person);
        }
        self.people.push(person);
    }
}

const LEAVERS: &str = "leavers: {missedRuns: 1}, deletionGuard: {maxPercent: 100, minCount: 1000}, pageSize: 40";

/// Changes a directory by chance, with a run of both tenants after each part of the changes, until their stores are alike. The first one reads by
/// increments of this mechanism. `between` happens before each run; true: the server has become one that lags behind, so that a second
/// complete run has to agree (Y11).
async fn compare(
    mut changing: Changing,
    [auto, full]: [&Corp; 2],
    (changes, runs): (usize, usize),
    mechanism: &str,
    between: impl AsyncFn(usize, &mut Changing) -> bool,
) {
    assert_eq!(auto.run().await["mode"], mechanism);
    for run in 0..runs {
        (0..changes / runs).for_each(|_| changing.change());
        let lags = between(run, &mut changing).await;
        if lags {
            let (one, other) = tokio::join!(auto.run(), full.run());
            assert_eq!((&one["problem"]["reason"], &other["problem"]["reason"]), (&"ServerSwitched".into(), &"ServerSwitched".into()));
        }
        let (one, other) = tokio::join!(auto.run(), full.run());
        assert_eq!((&one["complete"], &other["complete"]), (&true.into(), &true.into()), "{one} {other}");
        // Only while somebody wants what another one has, which is reported, may all be read (Y3): no server tells of who waits.
        assert!(one["mode"] == mechanism || (one["mode"] == "Full" && (lags || one["reported"] != 0)), "{one}");
        assert_eq!(other["mode"], "Full");
        // Who was let pass is shut a moment after the run.
        eventually(PATIENCE, &format!("the stores are alike after run {run} ({one}; {other})"), async || {
            let (expected, found) = (full.tenant.rows(STORE).await, auto.tenant.rows(STORE).await);
            let lacks = |rows: &[String], other: &[String]| rows.iter().filter(|row| !other.contains(row)).cloned().collect::<Vec<_>>();
            let (missing, more) = (lacks(&expected, &found), lacks(&found, &expected));
            if missing.is_empty() && more.is_empty() { Ok(()) } else { Err((missing, more)) }
        })
        .await;
    }
}

async fn domain(corp: &Corp) {
    corp.tenant.apply("InternalDomain/acme {domain: acme.example}").await;
    corp.tenant.ready("InternalDomain/acme").await;
}

/// `MAILROSTER_TEST_SEED` plays the changes again.
#[tokio::test]
async fn y10_y11_random_changes_read_by_increments_end_in_the_store_that_full_runs_make() {
    let scale = support::scale((200, 8), (500, 25));
    let (slapd, base) = own_slapd("directory-of-chance", 150).await;
    let (auto, full) = tokio::join!(Tenant::start(), Tenant::start());
    let changing = Changing::new(Tree::OpenLdap(slapd), base.clone(), 150);
    let (auto, full) = (Corp::at(auto, slapd, base.clone()), Corp::at(full, slapd, base));
    for (corp, more) in [(&auto, ""), (&full, FULL)] {
        domain(corp).await;
        corp.connect("corp", &format!("{LEAVERS}, {more}")).await;
        corp.tenant.ready("DirectoryConnection/corp").await;
    }
    let kept = std::sync::Mutex::new(Vec::new());
    let between = async |run: usize, changing: &mut Changing| {
        let middle = scale.1 / 2;
        if run == middle - 1 {
            slapd.back_up().await;
            kept.lock().expect("people").clone_from(&changing.people);
        } else if run == middle {
            // Restarted it forgets what was deleted before: the present phase.
            slapd.restart().await;
        } else if run == middle + 2 {
            slapd.restore().await;
            changing.people.clone_from(&kept.lock().expect("people"));
        }
        run == middle + 2
    };
    compare(changing, [&auto, &full], scale, "SyncRepl", between).await;
}

#[tokio::test]
async fn y10_y11_random_changes_of_a_domain_controller_read_by_its_numbers_end_in_the_store_that_full_runs_make() {
    let Some(samba) = support::samba().await else { return };
    let scale = support::scale((60, 5), (500, 25));
    let base = samba.fresh_base();
    let tree = Tree::ActiveDirectory(samba);
    let person = |n: usize| {
        let lines = tree.lines(&format!("u{n}"), false);
        format!("dn: CN=u{n},{base}\n{lines}\nproxyAddresses: SMTP:u{n}@acme.example\nproxyAddresses: smtp:v{n}@acme.example\n\n")
    };
    tree.add(&(0..40).map(person).collect::<String>());
    let changing = Changing::new(tree, base.clone(), 40);
    let (auto, full) = tokio::join!(Tenant::start(), Tenant::start());
    // They run and look; the directory is another one.
    let other = support::slapd().await;
    let (auto, full) = (Corp::at(auto, other, base.clone()), Corp::at(full, other, base.clone()));
    for (corp, more) in [(&auto, ""), (&full, FULL)] {
        domain(corp).await;
        let pem = samba.ca().replace('\n', "\n      ");
        // Only who may read the deleted objects is told of them.
        let secret = format!(
            "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: corp-ldap, labels: {{mailroster.dev/readable: \"true\"}}}}\nstringData:\n  password: {}\n  ca: |\n      {pem}\n",
            support::samba::ADMINISTRATOR_PASSWORD
        );
        corp.tenant.cluster.apply(&corp.tenant.namespace, &secret).await;
        corp.tenant
            .apply(&format!(
                "DirectoryConnection/corp {{type: ActiveDirectory, urls: ['ldaps://{}'], baseDN: '{base}', interval: 24h, \
                 tls: {{mode: LDAPS, caSecretRef: {{name: corp-ldap, key: ca}}}}, \
                 bind: {{dn: 'administrator@corp.test', passwordSecretRef: {{name: corp-ldap, key: password}}}}, {LEAVERS}, {more}}}",
                samba.address()
            ))
            .await;
        corp.tenant.ready("DirectoryConnection/corp").await;
    }
    compare(changing, [&auto, &full], scale, "UpdateSequenceNumber", async |_, _| false).await;
}

#[tokio::test]
async fn y4_attributes_that_go_from_many_in_one_increment_are_hidden_and_from_few_have_changed() {
    let corp = Corp::without_connection().await;
    let people: Vec<_> = (0..30).map(|n| format!("u{n} SMTP:u{n}@acme.example")).collect();
    corp.add(&people.join("\n"));
    corp.connect("corp", "").await;
    corp.tenant.ready("DirectoryConnection/corp").await;
    let strip = |numbers: std::ops::Range<usize>| {
        let entries = numbers.map(|n| format!("dn: {}\nchangetype: modify\ndelete: proxyAddresses\n\n", corp.dn(&format!("u{n}"))));
        corp.slapd.modify(&entries.collect::<String>());
    };
    strip(0..2);
    let run = corp.run().await;
    assert_eq!((&run["mode"], &run["complete"], &run["missing"]), (&"SyncRepl".into(), &true.into(), &2.into()), "{run}");
    // More than ten of them, the guard's limit, come without.
    strip(2..14);
    corp.add("new SMTP:new@acme.example");
    for _ in 0..2 {
        let run = corp.run().await;
        assert_eq!(
            (&run["complete"], &run["problem"]["reason"], &run["missing"]),
            (&false.into(), &"AttributesHidden".into(), &2.into()),
            "{run}"
        );
    }
    let message = corp.tenant.message("DirectoryConnection/corp", "AttributesHidden").await;
    assert!(message.contains("12 of the 31 entries that had the attribute aliases"), "{message}");
    corp.store("SELECT count(*) FROM gateway.recipient_v1 WHERE address = 'new@acme.example'", "1").await;
    // Seen again, nothing has happened to them.
    for n in 2..14 {
        corp.readdress(&format!("u{n}"), &format!("SMTP:u{n}@acme.example"));
    }
    let run = corp.run().await;
    assert_eq!((&run["complete"], &run["missing"]), (&true.into(), &2.into()), "{run}");
    corp.tenant.reasons("DirectoryConnection/corp Succeeded").await;
}
