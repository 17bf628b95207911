//! A company's directory in the soak: a third tenant, whose domain a DirectoryConnection fills from an OpenLDAP server that changes by chance.
//!
//! Neither model of the declared resources looks at it. What is judged is simpler than either: in the end the store has who the directory
//! has, by their addresses, and mail servers take mail for these and for nobody who was ever there besides.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::names::{STAFF, percent, pick};
use crate::resources::Resources;
use crate::support::dice::Dice;
use crate::support::{Cluster, Slapd, folder, slapd};
use crate::world::World;
use serde_json::{Value, json};

const CONNECTION: &str = "staff";
/// Finds everybody; and only some: with them who must never be missed.
const EVERYBODY: &str = "(objectClass=user)";
const SOME: &str = "(&(objectClass=user)(|(cn=p1*)(cn=stead*)(cn=moving)))";
/// How many people there are at first. Nobody is hired beyond twice as many.
const PEOPLE: usize = 40;
/// Reads the mailbox of `steady1`, and has a new address now and then.
const MOVING: &str = "moving";

pub struct Directory {
    slapd: Slapd,
    pub resources: Resources,
    pub namespace: String,
    attic: String,
    people: BTreeMap<String, Person>,
    /// Every local part that anybody ever had.
    ever: BTreeSet<String>,
    /// What the last request for a run was.
    token: String,
    next: u64,
}

struct Person {
    /// Local parts; the first is the primary.
    addresses: Vec<String>,
    display: u64,
    disabled: bool,
    /// In a part of the directory that is not read.
    hidden: bool,
}

impl Person {
    fn new(address: String) -> Self {
        Self { addresses: vec![address], display: 0, disabled: false, hidden: false }
    }

    fn values(&self) -> String {
        let mut text = format!("displayName: Name {}\nuserAccountControl: {}\n", self.display, if self.disabled { 514 } else { 512 });
        for (place, local) in self.addresses.iter().enumerate() {
            let _ = writeln!(text, "proxyAddresses: {}:{local}@{STAFF}", if place == 0 { "SMTP" } else { "smtp" });
        }
        text
    }
}

impl Directory {
    /// A server with people, whom nobody has read yet.
    pub async fn start(cluster: &Cluster, namespace: String, system: &str) -> Self {
        let slapd = Slapd::start(&folder::own("directory")).await;
        let attic = slapd.fresh_base();
        slapd.add(&format!("dn: {}\nobjectClass: organizationalUnit\nou: staff\n", base()));
        let resources = Resources::new(cluster, std::slice::from_ref(&namespace), system).await;
        let (people, ever) = (BTreeMap::new(), BTreeSet::new());
        let mut directory = Self { slapd, resources, namespace, attic, people, ever, token: String::new(), next: 0 };
        for (name, aliases) in [("steady0", &["steadily0"][..]), ("steady1", &[]), (MOVING, &[])] {
            let mut person = Person::new(name.to_owned());
            person.addresses.extend(aliases.iter().map(ToString::to_string));
            directory.hire(name.to_owned(), person);
        }
        for _ in 0..PEOPLE {
            directory.hire_anybody(1);
        }
        directory
    }

    /// Kind, name and spec of all that the tenant declares, in the order in which it comes into force.
    pub fn declared(&self) -> Vec<(&'static str, &'static str, Value)> {
        let pair = |reader: &str| json!({"reader": format!("{reader}@{STAFF}"), "mailbox": format!("steady1@{STAFF}")});
        let quick = json!({"purge": {"delay": "2s", "heldMailReports": "NotRequired"}});
        vec![
            ("AccountSettings", "default", quick),
            ("InternalDomain", "staff", json!({"domain": STAFF, "recipientValidation": "Directory"})),
            ("DirectoryConnection", CONNECTION, self.spec(EVERYBODY)),
            ("DelegateMailbox", "steady", pair("steady0")),
            ("DelegateMailbox", MOVING, pair(MOVING)),
        ]
    }

    /// The Secret of the connection.
    pub async fn let_in(&self) -> Result<(), String> {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "staff-ldap",
            "labels": {"mailroster.dev/readable": "true"}}, "stringData": {"password": slapd::PASSWORD}});
        self.resources.apply_object("Secret", &self.namespace, "staff-ldap", &secret).await
    }

    fn spec(&self, filter: &str) -> Value {
        json!({
            "type": "OpenLDAP", "urls": [format!("ldap://127.0.0.1:{}", self.slapd.ldap())], "tls": {"mode": "None"}, "baseDN": base(),
            "bind": {"dn": format!("cn=sync,{}", slapd::SUFFIX), "passwordSecretRef": {"name": "staff-ldap", "key": "password"}},
            "userFilter": filter, "groupFilter": "(!(objectClass=*))", "attributes": {"aliases": "proxyAddresses", "displayName": "displayName"},
            "interval": "1m", "fullInterval": "1h", "leavers": {"action": "Purge", "missedRuns": 1, "after": "1m"}, "pageSize": 10,
        })
    }

    fn parent(&self, person: &Person) -> String {
        if person.hidden { self.attic.clone() } else { base() }
    }

    fn hire(&mut self, name: String, person: Person) {
        let dn = format!("cn={name},{}", self.parent(&person));
        self.slapd.add(&format!("dn: {dn}\nobjectClass: user\ncn: {name}\nsn: x\n{}", person.values()));
        self.ever.extend(person.addresses.iter().cloned());
        self.people.insert(name, person);
    }

    fn fresh(&mut self, sort: char) -> String {
        self.next += 1;
        format!("{sort}{}", self.next)
    }

    /// Somebody new; gives the name.
    fn hire_anybody(&mut self, aliases: u64) -> String {
        let name = self.fresh('p');
        let mut person = Person::new(name.clone());
        person.addresses.extend((0..aliases).map(|_| self.fresh('q')));
        self.hire(name.clone(), person);
        name
    }

    fn fire(&mut self, name: &str) -> Option<Person> {
        let person = self.people.remove(name)?;
        self.slapd.modify(&format!("dn: cn={name},{}\nchangetype: delete\n", self.parent(&person)));
        Some(person)
    }

    /// Writes what somebody is now.
    fn update(&mut self, name: &str, change: impl FnOnce(&mut Person)) {
        let Some(person) = self.people.get_mut(name) else { return };
        change(person);
        let mut text = String::new();
        for attribute in ["displayName", "userAccountControl", "proxyAddresses"] {
            let values: String =
                person.values().lines().filter(|line| line.starts_with(attribute)).fold(String::new(), |all, line| all + line + "\n");
            let _ = write!(text, "replace: {attribute}\n{values}-\n");
        }
        self.ever.extend(person.addresses.iter().cloned());
        let parent = self.parent(&self.people[name]);
        self.slapd.modify(&format!("dn: cn={name},{parent}\nchangetype: modify\n{text}"));
    }

    /// Moves somebody out of the connection's sight, or back.
    fn hide(&mut self, name: &str, hidden: bool) {
        let Some(person) = self.people.get(name) else { return };
        let from = self.parent(person);
        let to = if hidden { self.attic.clone() } else { base() };
        if from != to {
            self.slapd
                .modify(&format!("dn: cn={name},{from}\nchangetype: modrdn\nnewrdn: cn={name}\ndeleteoldrdn: 1\nnewsuperior: {to}\n"));
            self.people.get_mut(name).expect("somebody").hidden = hidden;
        }
    }

    fn anybody(&self, dice: &mut Dice) -> String {
        let names: Vec<_> = self.people.keys().filter(|name| name.starts_with('p')).cloned().collect();
        pick(dice, &names).clone()
    }

    /// One change of the directory; says which.
    fn change(&mut self, dice: &mut Dice) -> String {
        let who = self.anybody(dice);
        match dice.below(14) {
            0 | 1 if self.people.len() < 2 * PEOPLE => {
                let name = self.hire_anybody(dice.below(3));
                format!("{name} is new")
            }
            2 if self.people.len() > PEOPLE / 2 => {
                self.fire(&who);
                format!("{who} leaves")
            }
            // The address goes to somebody else: a new holder.
            3 => {
                let successor = self.fresh('p');
                if let Some(person) = self.fire(&who) {
                    self.hire(successor.clone(), Person { hidden: false, ..person });
                }
                format!("{successor} has all that {who} had")
            }
            4 | 5 => {
                let (address, keeps) = (self.fresh('p'), dice.below(2) == 0);
                self.update(&who, |person| {
                    person.addresses.insert(0, address.clone());
                    if !keeps {
                        person.addresses.remove(1);
                    }
                });
                format!("{who} is called {address}, and keeps the old address: {keeps}")
            }
            6 => {
                let alias = self.fresh('q');
                self.update(&who, |person| person.addresses.push(alias.clone()));
                format!("{who} has {alias} too")
            }
            7 => {
                self.update(&who, |person| person.addresses.truncate(1));
                format!("{who} has one address")
            }
            8 => {
                self.update(&who, |person| person.addresses.rotate_left(1));
                format!("{who} has another first address")
            }
            9 => {
                let other = self.anybody(dice);
                let mut moved = None;
                self.update(&who, |person| moved = (person.addresses.len() > 1).then(|| person.addresses.pop()).flatten());
                self.update(&other, |person| person.addresses.extend(moved.clone()));
                format!("{moved:?} goes from {who} to {other}")
            }
            // Two who exchange all they have.
            10 => {
                let other = self.anybody(dice);
                let (one, two) = (self.people[&who].addresses.clone(), self.people[&other].addresses.clone());
                self.update(&who, |person| person.addresses = two);
                self.update(&other, |person| person.addresses = one);
                format!("{who} and {other} exchange their addresses")
            }
            11 => {
                let display = dice.below(100);
                self.update(&who, |person| (person.disabled, person.display) = (!person.disabled, display));
                format!("{who} is Name {display}, and disabled or enabled")
            }
            12 => {
                let hidden = !self.people[&who].hidden;
                self.hide(&who, hidden);
                format!("{who} is out of sight: {hidden}")
            }
            _ => {
                let address = self.fresh('p');
                self.update(MOVING, |person| {
                    person.addresses.insert(0, address.clone());
                    person.addresses.truncate(3);
                });
                format!("{MOVING} is called {address}")
            }
        }
    }

    pub async fn kill(&self) {
        self.slapd.kill().await;
    }

    pub async fn start_again(&self) {
        self.slapd.start_again().await;
    }

    pub async fn freeze(&self) {
        self.slapd.freeze().await;
    }

    pub async fn thaw(&self) {
        self.slapd.thaw().await;
    }

    async fn request(&mut self) -> Result<(), String> {
        self.token = self.fresh('r');
        self.resources.annotate("DirectoryConnection", &self.namespace, CONNECTION, "requestedAt", &self.token).await
    }

    /// What every address must be, in the words of [`differences`].
    fn expected(&self) -> BTreeMap<String, String> {
        let mut expected = BTreeMap::new();
        for person in self.people.values().filter(|person| !person.hidden) {
            let Some((primary, aliases)) = person.addresses.split_first() else { continue };
            expected.insert(
                format!("{primary}@{STAFF}"),
                format!("a mailbox, Name {}{}", person.display, if person.disabled { ", disabled" } else { "" }),
            );
            expected.extend(aliases.iter().map(|alias| (format!("{alias}@{STAFF}"), format!("an alias of {primary}@{STAFF}"))));
        }
        expected
    }
}

fn base() -> String {
    format!("ou=staff,{}", slapd::SUFFIX)
}

/// One thing that people do in or to the directory, while its server is there.
pub async fn one(world: &mut World) {
    if crate::faults::is_directory_away(world) {
        return;
    }
    let (World { directory, dice, .. }, mut done) = (&mut *world, Ok(()));
    let (what, rest) = match dice.below(10) {
        0..6 => ("directory", directory.change(dice)),
        6..9 => {
            done = directory.request().await;
            ("request a run", directory.token.clone())
        }
        _ => {
            // Another filter, at times with a typo; other rules for leavers, another guard; at times it is suspended.
            let mut spec = directory.spec(if percent(dice, 30) { SOME } else { EVERYBODY });
            spec["changeDetection"] = json!(pick(dice, &["Auto", "Auto", "Full"]));
            spec["leavers"] =
                json!({"action": pick(dice, &["Disable", "Purge"]), "missedRuns": 1 + dice.below(2), "after": pick(dice, &["1m", "1h"])});
            spec["deletionGuard"] = json!({"maxPercent": pick(dice, &[0, 10, 50]), "minCount": pick(dice, &[1, 3, 10])});
            spec["suspend"] = json!(percent(dice, 10));
            done = directory.resources.apply("DirectoryConnection", &directory.namespace, CONNECTION, &spec).await;
            ("apply DirectoryConnection", spec["userFilter"].to_string())
        }
    };
    world.note(what, &rest, &done);
}

/// The whole filter, a person who approves what is held, and runs; then what the store has that the directory does not, or the other way round.
pub async fn open_ends(world: &mut World) -> Result<Vec<String>, String> {
    let directory = &mut world.directory;
    let (kind, namespace) = ("DirectoryConnection", directory.namespace.clone());
    let mut spec = directory.spec(EVERYBODY);
    // Runs come when they are asked for, and not while it is judged whether all stands still.
    (spec["interval"], spec["fullInterval"]) = (json!("24h"), json!("24h"));
    directory.resources.apply(kind, &namespace, CONNECTION, &spec).await?;
    let status = directory.resources.get(kind, &namespace, CONNECTION).await?.ok_or("no DirectoryConnection")?["status"].clone();
    let mut left = Vec::new();
    for held in ["heldPlan", "heldHolders"] {
        if let Some(hash) = status[held]["hash"].as_str() {
            left.push(format!("{held} {}", status[held]));
            directory.resources.annotate(kind, &namespace, CONNECTION, "approve", hash).await?;
        }
    }
    if status["lastHandled"]["requestedAt"] != directory.token.as_str() {
        left.push(format!("the run {} was asked for and has not ended", directory.token));
    }
    left.extend(differences(world).await?);
    if !left.is_empty() {
        world.directory.request().await?;
    }
    let domain = world.directory.resources.get("InternalDomain", &namespace, "staff").await?.unwrap_or_default();
    let count = world.rows(&format!("SELECT ARRAY[count(*)::text] FROM mailroster.address WHERE namespace = '{namespace}'")).await?;
    let count = count.into_iter().flatten().flatten().collect::<String>();
    if domain["status"]["addresses"]["total"].as_u64() != count.parse().ok() {
        left.push(format!("{} addresses are told of, and {count} are there", domain["status"]["addresses"]));
    }
    Ok(left.into_iter().map(|end| format!("directory: {end}")).collect())
}

pub async fn differences(world: &World) -> Result<Vec<String>, String> {
    let directory = &world.directory;
    let expected = directory.expected();
    let rows = "SELECT ARRAY[a.canonical, CASE WHEN a.is_alias THEN 'an alias of ' || coalesce(p.canonical, 'nobody')
            ELSE 'a mailbox, ' || coalesce(a.global_name, 'nameless') || CASE WHEN a.directory_disabled THEN ', disabled' ELSE '' END END,
            CASE WHEN a.directory_missing THEN ', missing' END, CASE WHEN a.holder_since IS NOT NULL THEN ', of a new holder' END]
        FROM mailroster.address a LEFT JOIN mailroster.link l ON l.alias_id = a.id LEFT JOIN mailroster.address p ON p.id = l.primary_id
        WHERE a.origin = 'Directory'";
    let rows = world.rows(rows).await?.into_iter().filter_map(|row| {
        let mut texts = row.into_iter().flatten();
        texts.next().map(|address| (address, texts.collect::<String>()))
    });
    let found: BTreeMap<String, String> = rows.collect();
    let mut wrong = Vec::new();
    let either: BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    for address in either {
        let (must, is) = (expected.get(address), found.get(address));
        if must != is {
            wrong.push(format!("{address} must be {must:?} and is {is:?}"));
        }
    }
    let asked: Vec<String> = directory.ever.iter().map(|local| format!("('{local}@{STAFF}')")).collect();
    let accepted =
        format!("SELECT ARRAY[address, gateway.recipient_action_v1(address)] FROM (VALUES {}) asked (address)", asked.join(", "));
    for answer in world.rows(&accepted).await? {
        let address = answer[0].clone().unwrap_or_default();
        let right = match (expected.contains_key(&address), &answer[1]) {
            (true, None) => true,
            (false, Some(text)) => text.starts_with("550"),
            _ => false,
        };
        if !right {
            wrong.push(format!("mail for {address} is answered with {:?}", answer[1]));
        }
    }
    let readers = format!(
        "SELECT ARRAY[string_agg(DISTINCT r.canonical, ' ' ORDER BY r.canonical)] FROM mailroster.delegation d
         JOIN mailroster.address r ON r.id = d.reader_id JOIN mailroster.address m ON m.id = d.mailbox_id WHERE m.canonical = 'steady1@{STAFF}'"
    );
    let readers = world.rows(&readers).await?.into_iter().flatten().flatten().collect::<String>();
    let moving = &directory.people[MOVING].addresses[0];
    if readers != format!("{moving}@{STAFF} steady0@{STAFF}") {
        wrong.push(format!("steady1 is read by {readers}, not by {moving} and steady0"));
    }
    Ok(wrong)
}
