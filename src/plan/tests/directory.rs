//! Directories (SPEC 8, L4, L5, L7, L8), with runs in place of servers: what a run hands to the plan and to the guard is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use serde_yaml::Value;

use super::world::{World, address, check, key};
use crate::model::{
    Access, Account, Address, AttributeNames, DirectoryType, Entry, EntryId, EntrySort, MailValue, Rank, SecretKey, Signs, TlsMode,
};
use crate::plan::desired::{Actions, ConnectionDeclared, Declared, Last, LeaverAction, LeaversDeclared, Resource, SecretState};
use crate::plan::directory::guard::{ConnectionNumbers, Judgement, WINDOW, held_holders, judge};
use crate::plan::directory::rows::Leaver;
use crate::plan::directory::{Account as Outcome, Found};
use crate::plan::observed::WaitAction;
use crate::plan::settings::Guard;
use crate::plan::{Change, plan};

const HOUR: i64 = 3_600;

/// A tenant whose directory is `corp`.
struct Corp {
    world: World,
    /// When leavers were seen through.
    departed: Vec<jiff::Timestamp>,
    /// Runs bring what the server shows to have changed.
    shown: bool,
    /// They come from a server that no complete run agrees with yet.
    unproved: bool,
}

/// Two domains, and a connection with its defaults.
fn corp(more: &str) -> Corp {
    let world = check(
        &format!("InternalDomain/x: {{domain: acme.example}}\nInternalDomain/y: {{domain: acme.test}}\n{more}"),
        "InternalDomain/x Succeeded",
    );
    let mut corp = Corp { world, departed: Vec::new(), shown: false, unproved: false };
    corp.connect("corp", |_| {});
    corp
}

fn declared() -> ConnectionDeclared {
    let secret = SecretKey { name: "corp-ldap".to_owned(), key: "password".to_owned() };
    ConnectionDeclared {
        access: Access {
            directory: DirectoryType::OpenLdap,
            servers: Vec::new(),
            tls: TlsMode::Ldaps,
            ca: None,
            server_name: None,
            bind_dn: "cn=sync".to_owned(),
            bind_password: secret,
            base_dn: "dc=corp".to_owned(),
            user_filter: String::new(),
            group_filter: String::new(),
            attributes: AttributeNames {
                id: "entryUUID".to_owned(),
                mail: "mail".to_owned(),
                aliases: "proxyAddresses".to_owned(),
                display_name: "displayName".to_owned(),
                disabled: String::new(),
                member: "member".to_owned(),
                extra: BTreeMap::new(),
            },
            page_size: 1_000,
            timeout: Duration::from_secs(30),
        },
        domains: BTreeSet::new(),
        interval: SignedDuration::from_mins(15),
        full_interval: SignedDuration::from_hours(24),
        full_only: false,
        link_aliases: true,
        acknowledge_disabled: true,
        leavers: LeaversDeclared { action: LeaverAction::Disable, missed_runs: 2, after: SignedDuration::from_hours(24) },
        guard: Guard { max_percent: 10, min_count: 10 },
        secrets: SecretState::Ready,
    }
}

/// `id: {mail: [SMTP:a@acme.example, b@acme.example], name: A, list: true, disabled: true, department: x}`.
fn entries(text: &str) -> BTreeMap<EntryId, Arc<Entry>> {
    let all: serde_yaml::Mapping = serde_yaml::from_str(text).unwrap();
    all.into_iter()
        .map(|(id, entry)| {
            let id = EntryId::from_text(id.as_str().unwrap()).unwrap();
            let mut values: BTreeMap<_, MailValue> = BTreeMap::new();
            for text in entry.get("mail").and_then(Value::as_sequence).into_iter().flatten() {
                let text = text.as_str().unwrap();
                let (rank, text) = match text.split_once(':') {
                    Some(("SMTP", text)) => (Rank::Primary, text),
                    Some(("mail", text)) => (Rank::Mail, text),
                    _ => (Rank::Proxy, text),
                };
                let address = Address::parse(text).unwrap();
                values.insert(address.canonical().clone(), MailValue { address, primary: rank != Rank::Proxy, rank });
            }
            let text = |name: &str| entry.get(name).and_then(Value::as_str).map(str::to_owned);
            let is = |name: &str| entry.get(name).and_then(Value::as_bool) == Some(true);
            let entry = Entry {
                id: id.clone(),
                dn: format!("uid={id},dc=corp"),
                sort: if is("list") { EntrySort::List } else { EntrySort::Mailbox },
                values: values.into_values().collect(),
                display_name: text("name"),
                attributes: text("department").map(|value| ("department".to_owned(), value)).into_iter().collect(),
                account: if is("disabled") { Account::Disabled } else { Account::Enabled },
                signs: Signs::default(),
                faults: Vec::new(),
                digest: [0; 16],
            };
            (id, Arc::new(entry))
        })
        .collect()
}

impl Corp {
    fn connect(&mut self, name: &str, edit: impl Fn(&mut ConnectionDeclared)) {
        let key = key(&format!("DirectoryConnection/{name}"));
        let mut declared = declared();
        edit(&mut declared);
        let resource = Resource {
            key: key.clone(),
            uid: Box::default(),
            created: self.world.now,
            generation: 1,
            deleting: false,
            finalizer: false,
            suspended: false,
            declared: Ok(Declared::Connection(Box::new(declared))),
            actions: Actions::default(),
            last: Last::default(),
        };
        self.world.desired.resources.insert(key, Arc::new(resource));
    }

    /// Plans and executes what a run brings.
    fn bring(&mut self, connection: &str, entries: BTreeMap<EntryId, Arc<Entry>>, last: bool) -> Outcome {
        let key = key(&format!("DirectoryConnection/{connection}"));
        self.world.desired.found = Some((key, Found { entries, last, shown: self.shown, unproved: self.unproved }));
        self.world.count();
        let run = plan(&self.world.desired, &self.world.observed, self.world.now).run;
        self.world.settle();
        self.world.desired.found = None;
        self.world.settle();
        run
    }

    /// A full run that saw everything; entries come one by one, so that nothing hangs on their company.
    fn run(&mut self, text: &str) -> Outcome {
        self.run_of("corp", text, None)
    }

    fn run_of(&mut self, connection: &str, text: &str, approve: Option<&str>) -> Outcome {
        let all = entries(text);
        let (mut outcome, mut later) = (Outcome::default(), BTreeMap::new());
        for (id, entry) in &all {
            let one = self.bring(connection, BTreeMap::from([(id.clone(), entry.clone())]), false);
            later.extend(one.deferred.iter().map(|id| (id.clone(), all[id].clone())));
            outcome.add(one);
        }
        self.miss(connection, &all);
        if !later.is_empty() {
            outcome.add(self.bring(connection, later, true));
        }
        self.judge(connection, approve);
        outcome
    }

    /// As the store does after a complete run ([`crate::store::Leader::miss`]).
    fn miss(&mut self, connection: &str, seen: &BTreeMap<EntryId, Arc<Entry>>) {
        let observed = &mut self.world.observed;
        for (_, leaver) in observed.leavers.iter_mut().filter(|(_, leaver)| leaver.cleared_at.is_none()) {
            leaver.missed += 1;
        }
        for ((_, of, id), entry) in &mut observed.entries {
            if of == connection && !seen.contains_key(id) {
                entry.digest = None;
                if let Some(address) = &entry.address {
                    let new = Leaver { since: self.world.now, missed: 1, held: false, approved: false, cleared_at: None };
                    observed.leavers.entry(address.clone()).or_insert(new);
                }
            }
        }
    }

    /// As a run ends ([`crate::store::Leader::mark`]).
    fn judge(&mut self, connection: &str, approve: Option<&str>) -> Judgement {
        let day = self.world.now - WINDOW;
        for change in &self.world.history {
            if matches!(change, Change::PutDeparted { .. }) {
                self.departed.push(self.world.now);
            }
        }
        self.world.history.clear();
        let observed = &mut self.world.observed;
        let leavers: Vec<_> = observed.leavers.iter().map(|(address, leaver)| (address.clone(), *leaver)).collect();
        let departed = self.departed.iter().filter(|at| **at > day).count() as u64;
        let passed = leavers.iter().filter(|(_, l)| !l.approved && l.cleared_at.is_some_and(|at| at > day)).count() as u64;
        let entries = observed.entries.iter().filter(|((_, of, _), entry)| of == connection && entry.address.is_some()).count() as u64;
        let resource = &self.world.desired.resources[&key(&format!("DirectoryConnection/{connection}"))];
        let Ok(Declared::Connection(declared)) = &resource.declared else { panic!() };
        let numbers = ConnectionNumbers { entries: entries + departed, done: passed + departed };
        let judgement = judge(&leavers, numbers, declared, approve);
        for (address, leaver) in &mut observed.leavers {
            leaver.held |= judgement.hold && leaver.cleared_at.is_none();
            if judgement.cleared.contains(address) {
                (leaver.held, leaver.cleared_at) = (false, Some(self.world.now));
                leaver.approved |= judgement.approved.is_some();
            }
        }
        self.world.settle();
        judgement
    }

    fn say_same_holder(&mut self) {
        let rows = self.world.observed.addresses.iter().filter(|(_, row)| row.directory.as_ref().is_some_and(|s| s.holder_since.is_some()));
        let holders: Vec<_> = rows.filter_map(|(address, row)| Some((address.clone(), row.entry()?.clone()))).collect();
        assert!(held_holders(&holders, &[]).is_some());
        for (address, _) in holders {
            let row = self.world.observed.addresses.get_mut(&address).unwrap();
            row.directory.as_mut().unwrap().holder_since = None;
        }
        self.world.settle();
    }

    /// Somebody says yes to all exchanges that are held.
    fn approve_exchanges(&mut self) {
        for exchange in self.world.observed.entries.values_mut().filter_map(|entry| entry.exchange.as_mut()) {
            exchange.approved = true;
        }
    }

    fn origin(&self, name: &str) -> &str {
        self.world.row(name).map_or("", |row| row.origin.as_str())
    }

    /// Why a cloud password does not open the mailbox (P6).
    fn shut(&self, name: &str) -> Vec<&'static str> {
        let Some(row) = self.world.row(name) else { return vec!["gone"] };
        let Some(side) = &row.directory else { return vec![] };
        let signs = [
            (side.directory_disabled, "DirectoryDisabled"),
            (side.directory_missing, "DirectoryMissing"),
            (side.holder_since.is_some(), "HolderChanged"),
        ];
        signs.into_iter().filter(|(is, _)| *is).map(|(_, sign)| sign).collect()
    }

    fn missing(&self) -> Vec<String> {
        self.world.observed.leavers.keys().map(ToString::to_string).collect()
    }
}

#[test]
fn y2_entries_become_addresses_lists_and_aliases_and_others_are_skipped() {
    let mut corp = corp("");
    let outcome = corp.run(
        "a: {mail: ['SMTP:anna@acme.example', 'a@acme.example', 'anna@elsewhere.example'], name: Anna A}
l: {mail: ['SMTP:all@acme.example'], list: true}
z: {mail: ['SMTP:z@elsewhere.example']}",
    );
    assert_eq!((corp.origin("anna@acme.example"), corp.origin("all@acme.example")), ("Directory", "DistributionList"));
    assert_eq!(corp.world.alias_of("a@acme.example"), Some("anna@acme.example".to_owned()));
    let row = corp.world.row("anna@acme.example").unwrap();
    assert_eq!(row.directory.as_ref().unwrap().global_name, "Anna A");
    assert_eq!((outcome.counts.created, outcome.counts.skipped, outcome.counts.linked), (2, 1, 1));
    // The same again is nothing new.
    let before = corp.world.observed.clone();
    corp.run("a: {mail: ['SMTP:anna@acme.example', 'a@acme.example'], name: Anna A}\nl: {mail: ['SMTP:all@acme.example'], list: true}");
    assert_eq!(corp.world.observed.addresses, before.addresses);
}

#[test]
fn y3_smtp_wins_over_a_proxy_address_and_that_over_mail_in_whatever_order_they_come() {
    for (better, worse) in [
        ("SMTP:x@acme.example", "x@acme.example"),
        ("x@acme.example", "mail:x@acme.example"),
        ("SMTP:x@acme.example", "mail:x@acme.example"),
    ] {
        // The better one has the higher id and comes later.
        let with = |id: &str, value: &str| match value.strip_prefix("mail:") {
            Some(_) => format!("{id}: {{mail: ['{value}']}}\n"),
            None => format!("{id}: {{mail: ['{value}', '{id}@acme.example']}}\n"),
        };
        let mut corp = corp("");
        corp.run(&with("b", worse));
        corp.run(&(with("b", worse) + &with("c", better)));
        let holder = |corp: &Corp| {
            let row = corp.world.row("x@acme.example").unwrap();
            let primary = corp.world.alias_of("x@acme.example");
            primary.map_or_else(|| row.entry().unwrap().as_str().to_owned(), |primary| primary.replace("@acme.example", ""))
        };
        assert_eq!(holder(&corp), "c", "{better} against {worse}");
        corp.run(&(with("b", worse) + &with("c", better)));
        assert_eq!(holder(&corp), "c", "and it stays so: {better} against {worse}");
    }
}

#[test]
fn y3_a_primary_outside_gives_way_to_the_first_internal_value() {
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:anna@elsewhere.example', 'b@acme.example', 'a@acme.example']}");
    assert_eq!(corp.origin("a@acme.example"), "Directory");
    assert_eq!(corp.world.alias_of("b@acme.example"), Some("a@acme.example".to_owned()));
}

#[test]
fn y3_of_two_entries_the_one_with_the_primary_wins_in_whatever_order_they_come() {
    for (first, second) in [("a", "b"), ("b", "a")] {
        let mut corp = corp("");
        corp.run(&format!("{first}: {{mail: ['SMTP:x@acme.example']}}\n{second}: {{mail: ['SMTP:y@acme.example', 'x@acme.example']}}"));
        assert_eq!(corp.world.alias_of("x@acme.example"), None, "{first}");
        assert_eq!(corp.world.row("x@acme.example").unwrap().entry().unwrap().as_str(), first);
    }
    // The one that comes later with the better claim takes it from an alias.
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:y@acme.example', 'x@acme.example']}");
    let outcome = corp.run("a: {mail: ['SMTP:y@acme.example', 'x@acme.example']}\nb: {mail: ['SMTP:x@acme.example']}");
    assert_eq!(corp.world.alias_of("x@acme.example"), None);
    assert!(!outcome.reports.is_empty(), "the other is reported");
}

#[test]
fn y3_the_present_holder_keeps_what_two_claim_alike() {
    let mut corp = corp("");
    corp.run("b: {mail: ['SMTP:x@acme.example']}");
    let outcome = corp.run("a: {mail: ['SMTP:x@acme.example']}\nb: {mail: ['SMTP:x@acme.example']}");
    assert_eq!(corp.world.row("x@acme.example").unwrap().entry().unwrap().as_str(), "b");
    assert_eq!(outcome.reports.len(), 1, "{:?}", outcome.reports);
}

#[test]
fn y4_what_the_directory_disables_it_alone_enables() {
    let mut corp = corp("EmailAddress/anna: {address: anna@acme.example}");
    corp.run("a: {mail: ['SMTP:anna@acme.example'], disabled: true}");
    assert_eq!(corp.shut("anna@acme.example"), ["DirectoryDisabled"]);
    assert_eq!(corp.world.condition("EmailAddress/anna", "Disabled"), "True DirectoryDisabled");
    assert_eq!(corp.world.condition("EmailAddress/anna", "MailAccepted"), "True Accepted", "mail flows on");
    corp.run("a: {mail: ['SMTP:anna@acme.example']}");
    assert_eq!(corp.shut("anna@acme.example"), Vec::<&str>::new());
}

#[test]
fn y6_a_leaver_is_shut_after_two_runs_and_leaves_after_a_day() {
    let mut corp = corp("");
    let both = "a: {mail: ['SMTP:anna@acme.example', 'a@acme.example']}\nb: {mail: ['SMTP:bert@acme.example']}";
    corp.run(both);
    corp.run("b: {mail: ['SMTP:bert@acme.example']}");
    assert_eq!((corp.missing(), corp.shut("anna@acme.example")), (vec!["anna@acme.example".to_owned()], vec![]));
    corp.run("b: {mail: ['SMTP:bert@acme.example']}");
    assert_eq!(corp.shut("anna@acme.example"), ["DirectoryMissing"]);
    assert_eq!(
        (corp.origin("anna@acme.example"), corp.world.alias_of("a@acme.example")),
        ("Directory", Some("anna@acme.example".to_owned()))
    );
    corp.world.advance(24 * HOUR);
    assert_eq!((corp.origin("anna@acme.example"), corp.shut("anna@acme.example")), ("MailFlow", vec!["DirectoryMissing"]));
    // L5: only now its aliases go.
    assert!(corp.world.row("a@acme.example").is_none());
    // The same entry back restores all.
    corp.run(both);
    assert_eq!((corp.origin("anna@acme.example"), corp.shut("anna@acme.example")), ("Directory", vec![]));
    assert_eq!(corp.world.alias_of("a@acme.example"), Some("anna@acme.example".to_owned()));
}

#[test]
fn y6_who_comes_back_in_time_never_left() {
    let mut corp = corp("");
    let one = "a: {mail: ['SMTP:anna@acme.example', 'a@acme.example']}";
    corp.run(&format!("{one}\nb: {{mail: ['SMTP:bert@acme.example']}}"));
    let before = corp.world.observed.addresses.clone();
    for _ in 0..2 {
        corp.run("b: {mail: ['SMTP:bert@acme.example']}");
    }
    corp.run(&format!("{one}\nb: {{mail: ['SMTP:bert@acme.example']}}"));
    assert_eq!((corp.missing(), &corp.world.observed.addresses), (vec![], &before));
}

#[test]
fn y6_with_purge_a_leaver_is_purged_behind_its_blockers_and_a_declared_one_never() {
    let mut corp = corp("EmailAddress/anna: {address: anna@acme.example}");
    corp.connect("corp", |declared| declared.leavers.action = LeaverAction::Purge);
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:bert@acme.example']}\nc: {mail: ['SMTP:c@acme.example']}");
    for _ in 0..3 {
        corp.run("c: {mail: ['SMTP:c@acme.example']}");
    }
    assert!(corp.world.observed.leavers.values().all(|leaver| leaver.held), "two of three are more than the guard lets pass");
    let hash = corp.judge("corp", None).held.unwrap().hash;
    corp.judge("corp", Some(&hash));
    corp.world.advance(24 * HOUR);
    assert!(corp.world.waits("bert@acme.example", WaitAction::Purge));
    assert!(!corp.world.waits("anna@acme.example", WaitAction::Purge), "Y12: a declared row is never purged");
    assert_eq!(corp.origin("anna@acme.example"), "Manual");
}

#[test]
fn y6_who_comes_back_while_the_purge_waits_is_not_purged_at_the_next_leave() {
    let mut corp = corp("");
    corp.connect("corp", |declared| declared.leavers.action = LeaverAction::Purge);
    let both = "a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:bert@acme.example']}";
    corp.run(both);
    for _ in 0..2 {
        corp.run("b: {mail: ['SMTP:bert@acme.example']}");
    }
    corp.world.advance(24 * HOUR);
    assert!(corp.world.waits("anna@acme.example", WaitAction::Purge));
    corp.run(both);
    assert!(!corp.world.waits("anna@acme.example", WaitAction::Purge));
    assert_eq!((corp.origin("anna@acme.example"), corp.shut("anna@acme.example")), ("Directory", vec![]));
    assert!(!corp.world.row("anna@acme.example").unwrap().closing);
}

#[test]
fn y6_a_dropped_alias_goes_after_the_same_waiting() {
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:anna@acme.example', 'a@acme.example', 'ann@acme.example']}");
    let less = "a: {mail: ['SMTP:anna@acme.example', 'ann@acme.example']}";
    corp.run(less);
    assert_eq!(corp.missing(), ["a@acme.example"]);
    corp.run(less);
    corp.world.advance(23 * HOUR);
    assert_eq!(corp.world.alias_of("a@acme.example"), Some("anna@acme.example".to_owned()));
    corp.world.advance(HOUR);
    assert!(corp.world.row("a@acme.example").is_none() && corp.world.row("ann@acme.example").is_some());
}

#[test]
fn y7_an_address_that_a_changed_entry_came_without_counts_as_missed_by_all_runs() {
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:anna@acme.example', 'a@acme.example', 'ann@acme.example']}");
    corp.shown = true;
    let less = entries("a: {mail: ['SMTP:anna@acme.example', 'ann@acme.example']}");
    corp.bring("corp", less, false);
    // No later increment tells of the entry again.
    assert_eq!(corp.judge("corp", None).cleared, [address("a@acme.example")]);
    corp.world.advance(24 * HOUR);
    assert!(corp.world.row("a@acme.example").is_none() && corp.world.row("ann@acme.example").is_some());
}

#[test]
fn y7_many_who_leave_are_held_and_only_their_own_hash_releases_them() {
    let mut corp = corp("");
    let all =
        |range: std::ops::Range<usize>| range.map(|n| format!("u{n}: {{mail: ['SMTP:u{n}@acme.example']}}")).collect::<Vec<_>>().join("\n");
    corp.run(&all(0..40));
    for _ in 0..2 {
        corp.run(&all(12..40));
    }
    let first = corp.judge("corp", None).held.unwrap();
    assert_eq!(first.count, 12);
    // Others leave too: the first hash releases nothing any more.
    corp.run(&all(20..40));
    let stale = corp.judge("corp", Some(&first.hash));
    assert!(stale.approved.is_none() && stale.held.as_ref().unwrap().count == 20);
    corp.world.advance(72 * HOUR);
    assert_eq!(corp.origin("u3@acme.example"), "Directory", "no passing of time releases them");
    assert_eq!(corp.judge("corp", Some(&stale.held.unwrap().hash)).cleared.len(), 20);
    assert_eq!(corp.origin("u3@acme.example"), "MailFlow");
}

#[test]
fn y7_a_few_a_run_do_not_drip_through() {
    let mut corp = corp("");
    let all = |from: usize| (from..200).map(|n| format!("u{n}: {{mail: ['SMTP:u{n}@acme.example']}}")).collect::<Vec<_>>().join("\n");
    corp.run(&all(0));
    for run in 1..=10 {
        corp.run(&all(run * 12));
        corp.world.advance(900);
    }
    let shut = (0..200).filter(|n| !corp.shut(&format!("u{n}@acme.example")).is_empty()).count();
    assert_eq!(shut, 12, "those of the first run; with the next ones there would be more within the day than twenty");
}

#[test]
fn y7_a_tenant_of_eight_that_loses_five_is_held() {
    let mut corp = corp("");
    let all = |from: usize| (from..8).map(|n| format!("u{n}: {{mail: ['SMTP:u{n}@acme.example']}}")).collect::<Vec<_>>().join("\n");
    corp.run(&all(0));
    for _ in 0..5 {
        corp.run(&all(5));
    }
    assert_eq!(corp.judge("corp", None).held.unwrap().count, 5);
    assert_eq!(corp.shut("u0@acme.example"), Vec::<&str>::new());
}

#[test]
fn l8_marriage_moves_rights_to_the_new_address_and_the_old_one_becomes_its_alias() {
    let mut corp = corp(
        "EmailAddress/anna: {address: anna@acme.example, password: {secretRef: {name: s, key: p}}, access: {pop: true}, metadata: {password: hash1}}
EmailAddress/info: {address: info@acme.example}
DelegateMailbox/d: {reader: anna@acme.example, mailbox: info@acme.example}
AdminRole/r: {builtIn: HelpDesk, members: [anna@acme.example]}",
    );
    corp.run("a: {mail: ['SMTP:anna@acme.example']}");
    corp.run("a: {mail: ['SMTP:anna.new@acme.example', 'anna@acme.example']}");
    assert_eq!(corp.world.alias_of("anna@acme.example"), Some("anna.new@acme.example".to_owned()));
    assert!(corp.world.may_read("anna.new@acme.example", "info@acme.example") && corp.world.row("anna.new@acme.example").unwrap().pop);
    assert_eq!(corp.world.role_of("anna.new@acme.example"), Some("r"));
    assert!(corp.world.observed.credentials.contains_key(&address("anna.new@acme.example")));
    assert_eq!(corp.shut("anna.new@acme.example"), Vec::<&str>::new());
    corp.world.expect("DelegateMailbox/d Succeeded\nAdminRole/r Succeeded");
    assert_eq!(corp.world.condition("EmailAddress/anna", "PermissionsInherited"), "True AddressRenamed");
    // What names the old address goes on meaning the person.
    corp.world.advance(48 * HOUR);
    assert!(corp.world.may_read("anna.new@acme.example", "info@acme.example"));
    corp.world.delete("DelegateMailbox/d");
    assert!(!corp.world.may_read("anna.new@acme.example", "info@acme.example"));
}

#[test]
fn l8_an_old_address_that_the_entry_gave_up_stays_for_a_while_without_rights() {
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}\nc: {mail: ['SMTP:c@acme.example']}");
    for _ in 0..2 {
        corp.run("a: {mail: ['SMTP:anna.new@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}\nc: {mail: ['SMTP:c@acme.example']}");
    }
    assert_eq!((corp.origin("anna@acme.example"), corp.origin("anna.new@acme.example")), ("Directory", "Directory"));
    corp.world.advance(25 * HOUR);
    assert_eq!(corp.origin("anna@acme.example"), "MailFlow");
}

#[test]
fn l8_what_names_an_address_that_its_person_gave_up_means_the_person_also_after_its_time() {
    let mut corp = corp(
        "EmailAddress/anna: {address: anna@acme.example, password: {secretRef: {name: s, key: p}}, metadata: {password: hash1}}
EmailAddress/info: {address: info@acme.example}
DelegateMailbox/d: {reader: anna@acme.example, mailbox: info@acme.example}
AdminRole/r: {builtIn: HelpDesk, members: [anna@acme.example]}",
    );
    let rest = "b: {mail: ['SMTP:b@acme.example']}\nc: {mail: ['SMTP:c@acme.example']}";
    corp.run(&format!("a: {{mail: ['SMTP:anna@acme.example']}}\n{rest}"));
    for round in 0..3 {
        corp.run(&format!("a: {{mail: ['SMTP:anna.new@acme.example']}}\n{rest}"));
        for (name, has) in [("anna@acme.example", false), ("anna.new@acme.example", true)] {
            assert_eq!(corp.world.may_read(name, "info@acme.example"), has, "{name} {round}");
            assert_eq!(corp.world.role_of(name).is_some(), has, "{name} {round}");
            assert_eq!(corp.world.observed.credentials.contains_key(&address(name)), has, "{name} {round}");
        }
        assert_eq!(corp.world.condition("EmailAddress/anna", "PermissionsInherited"), "True AddressRenamed");
        assert_eq!(corp.world.condition("EmailAddress/anna", "CredentialReady"), "True NotManaged");
        corp.world.expect("DelegateMailbox/d Succeeded\nAdminRole/r Succeeded\nEmailAddress/anna Succeeded");
        corp.world.advance(25 * HOUR);
    }
    assert_eq!(corp.origin("anna@acme.example"), "Manual");
    // What is declared anew for the old address is about that person too.
    corp.world.delete("DelegateMailbox/d");
    assert!(!corp.world.may_read("anna.new@acme.example", "info@acme.example"));
}

#[test]
fn l5_an_alias_that_becomes_the_primary_and_one_that_moves_to_another() {
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:anna@acme.example', 'a@acme.example', 'team@acme.example']}\nb: {mail: ['SMTP:bert@acme.example']}");
    corp.run("a: {mail: ['SMTP:a@acme.example', 'anna@acme.example']}\nb: {mail: ['SMTP:bert@acme.example', 'team@acme.example']}");
    assert_eq!(corp.world.alias_of("a@acme.example"), None);
    assert_eq!(corp.world.alias_of("anna@acme.example"), Some("a@acme.example".to_owned()));
    assert_eq!(corp.world.alias_of("team@acme.example"), Some("bert@acme.example".to_owned()));
    assert_eq!(corp.missing(), Vec::<String>::new());
}

#[test]
fn l4_a_declared_link_beats_the_directory_and_says_so() {
    let mut corp =
        corp("EmailAddress/info: {address: info@acme.example}\nAliasLink/l: {alias: desk@acme.example, primary: info@acme.example}");
    corp.run("a: {mail: ['SMTP:anna@acme.example', 'desk@acme.example']}");
    assert_eq!(corp.world.alias_of("desk@acme.example"), Some("info@acme.example".to_owned()));
    assert_eq!(corp.world.condition("AliasLink/l", "DirectoryDisagrees"), "True DirectoryDisagrees");
    // Without the declaration what the directory says holds.
    corp.world.delete("AliasLink/l");
    corp.world.advance(60);
    assert_eq!(corp.world.alias_of("desk@acme.example"), Some("anna@acme.example".to_owned()));
}

#[test]
fn l4_over_a_mailbox_of_the_directory_a_link_needs_a_word_also_when_the_mailbox_comes_later() {
    let mut corp = corp("EmailAddress/info: {address: info@acme.example}");
    corp.run("a: {mail: ['SMTP:anna@acme.example']}");
    corp.world.apply("AliasLink/l: {alias: anna@acme.example, primary: info@acme.example}");
    corp.world.expect("AliasLink/l AliasIsMailbox");
}

#[test]
fn l4_a_link_ends_when_the_directory_brings_a_mailbox_there_and_the_mailbox_is_there_without_a_gap() {
    let both = "EmailAddress/info: {address: info@acme.example}\nAliasLink/late: {alias: late@acme.example, primary: info@acme.example}";
    let mut corp = corp(both);
    let entry = "a: {mail: ['SMTP:late@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}";
    let outcome = corp.run(entry);
    corp.world.expect("AliasLink/late AliasIsMailbox");
    assert!(outcome.reports[0].contains("AliasLink late"), "{:?}", outcome.reports);
    // Its removal waits as any does (U4); then the row is the mailbox, although the link had made it.
    assert_eq!(corp.world.alias_of("late@acme.example"), Some("info@acme.example".to_owned()));
    corp.world.advance(60);
    assert_eq!((corp.world.alias_of("late@acme.example"), corp.origin("late@acme.example")), (None, "Directory"));
    corp.run(entry);
    corp.world.expect("AliasLink/late AliasIsMailbox");
    assert_eq!(corp.missing(), Vec::<String>::new());
    // With a word the link stands.
    let mut corp = self::corp(&both.replace("info@acme.example}", "info@acme.example, takeOverMailbox: true}").replacen(
        ", takeOverMailbox: true",
        "",
        1,
    ));
    corp.run(entry);
    corp.world.advance(60);
    corp.world.expect("AliasLink/late Succeeded");
    assert_eq!(corp.world.alias_of("late@acme.example"), Some("info@acme.example".to_owned()));
}

#[test]
fn y1_another_entry_with_the_address_is_a_new_holder_until_somebody_says_otherwise() {
    let mut corp = corp("EmailAddress/anna: {address: anna@acme.example}");
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    corp.run("b: {mail: ['SMTP:b@acme.example']}\nnew: {mail: ['SMTP:anna@acme.example']}");
    assert_eq!(corp.shut("anna@acme.example"), ["HolderChanged"]);
    assert_eq!(corp.origin("anna@acme.example"), "Directory", "mail flows on");
    assert_eq!(corp.world.condition("EmailAddress/anna", "HolderChanged"), "True HolderChanged");
    assert_eq!(corp.missing(), Vec::<String>::new(), "an address that any entry carries is not missing");
    corp.say_same_holder();
    assert_eq!(corp.shut("anna@acme.example"), Vec::<&str>::new());
}

#[test]
fn y1_a_rename_or_a_move_is_an_update() {
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:anna@acme.example'], name: Anna}");
    let outcome = corp.run("a: {mail: ['SMTP:anna@acme.example'], name: Anna B}");
    assert_eq!((outcome.counts.created, outcome.counts.updated), (0, 1));
    assert_eq!(corp.world.row("anna@acme.example").unwrap().directory.as_ref().unwrap().global_name, "Anna B");
}

#[test]
fn l8_entries_that_exchange_addresses_wait_for_a_yes() {
    let mut corp = corp("EmailAddress/anna: {address: anna@acme.example, access: {pop: true}}");
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:bert@acme.example']}");
    let exchanged = "a: {mail: ['SMTP:bert@acme.example']}\nb: {mail: ['SMTP:anna@acme.example']}";
    corp.run(exchanged);
    let holder = |corp: &Corp, name: &str| corp.world.row(name).unwrap().entry().unwrap().as_str().to_owned();
    assert_eq!((holder(&corp, "anna@acme.example"), holder(&corp, "bert@acme.example")), ("a".to_owned(), "b".to_owned()));
    assert!(corp.world.observed.entries.values().all(|entry| entry.exchange.as_ref().is_some_and(|exchange| !exchange.approved)));
    corp.approve_exchanges();
    corp.run(exchanged);
    assert_eq!((holder(&corp, "anna@acme.example"), holder(&corp, "bert@acme.example")), ("b".to_owned(), "a".to_owned()));
    // The archive stays with the address, and what is older is another's.
    assert!(corp.world.row("anna@acme.example").unwrap().archive_start.is_some());
    assert_eq!(corp.shut("anna@acme.example"), Vec::<&str>::new());
}

#[test]
fn l7_l8_after_an_exchange_a_role_and_a_delegation_mean_the_same_people_until_they_say_otherwise() {
    let rights =
        "EmailAddress/info: {address: info@acme.example}\nDelegateMailbox/d: {reader: bert@acme.example, mailbox: info@acme.example}\n";
    let role = |members: &str| format!("AdminRole/r: {{permissions: [addresses.read], members: [{members}]}}");
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:bert@acme.example']}");
    corp.world.apply(&format!("{rights}{}", role("anna@acme.example")));
    let exchanged = "a: {mail: ['SMTP:bert@acme.example']}\nb: {mail: ['SMTP:anna@acme.example']}";
    corp.run(exchanged);
    corp.approve_exchanges();
    corp.run(exchanged);
    let members = |corp: &Corp| corp.world.observed.members.keys().map(ToString::to_string).collect::<Vec<_>>();
    let readers = |corp: &Corp| corp.world.observed.delegations.iter().map(|((reader, _), _)| reader.to_string()).collect::<Vec<_>>();
    assert_eq!((members(&corp), readers(&corp)), (vec!["bert@acme.example".to_owned()], vec!["anna@acme.example".to_owned()]));
    // Any later plan, and one that marries, finds the person.
    corp.run("a: {mail: ['SMTP:new@acme.example']}\nb: {mail: ['SMTP:anna@acme.example']}");
    assert_eq!(members(&corp), ["new@acme.example"]);
    // Both names in one role are both people; a name that is written anew means who goes by it now.
    corp.world.apply(&role("bert@acme.example, anna@acme.example"));
    assert_eq!(members(&corp), ["new@acme.example"], "bert@ and anna@ are both the former names of one who has another now");
    corp.world.apply(&role("new@acme.example"));
    corp.world.apply(&role("anna@acme.example"));
    assert_eq!(members(&corp), ["anna@acme.example"]);
}

#[test]
fn l8_after_an_exchange_access_declared_for_one_is_not_given_to_the_other_until_it_is_declared_anew() {
    let declared = "EmailAddress/anna: {address: anna@acme.example, access: {pop: true}}";
    let mut corp = corp(declared);
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:bert@acme.example']}");
    let exchanged = "a: {mail: ['SMTP:bert@acme.example']}\nb: {mail: ['SMTP:anna@acme.example']}";
    corp.run(exchanged);
    corp.approve_exchanges();
    corp.run(exchanged);
    let pop = |corp: &Corp| ["anna", "bert"].map(|name| corp.world.row(&format!("{name}@acme.example")).unwrap().pop);
    assert_eq!(pop(&corp), [false, true], "it went along with Anna");
    assert_eq!(corp.world.condition("EmailAddress/anna", "PermissionsInherited"), "True AddressRenamed");
    corp.world.apply("EmailAddress/anna: {address: anna@acme.example, access: {pop: true}, displayName: edited}");
    assert_eq!(pop(&corp), [false, true]);
    corp.world.delete("EmailAddress/anna");
    corp.world.apply(declared);
    assert_eq!(pop(&corp), [true, true]);
    assert_eq!(corp.world.condition("EmailAddress/anna", "PermissionsInherited"), "False NotAlias");
}

#[test]
fn y1_l8_rights_that_are_withheld_from_a_successor_stay_so_when_its_address_changes() {
    let mut corp = corp("EmailAddress/info: {address: info@acme.example}");
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    corp.world.apply("AdminRole/r: {permissions: [addresses.read], members: [anna@acme.example]}");
    corp.run("new: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    assert_eq!(corp.shut("anna@acme.example"), ["HolderChanged"]);
    corp.run("new: {mail: ['SMTP:other@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    assert_eq!(corp.shut("other@acme.example"), ["HolderChanged"]);
    corp.run("new: {mail: ['SMTP:other@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    assert_eq!(corp.shut("other@acme.example"), ["HolderChanged"]);
    corp.say_same_holder();
    assert_eq!(corp.shut("other@acme.example"), Vec::<&str>::new());
}

#[test]
fn l8_a_yes_to_one_exchange_is_none_to_the_next() {
    let three = |a: &str, b: &str, c: &str| {
        format!(
            "a: {{mail: ['SMTP:{a}@acme.example', 'x@acme.example']}}\nb: {{mail: ['SMTP:{b}@acme.example', 'x@acme.example']}}\nc: {{mail: ['SMTP:{c}@acme.example']}}"
        )
    };
    let mut corp = corp("");
    corp.run(&three("a1", "b1", "c1"));
    corp.run(&three("b1", "a1", "c1"));
    corp.approve_exchanges();
    corp.run(&three("b1", "a1", "c1"));
    let holder = |corp: &Corp, name: &str| corp.world.row(&format!("{name}@acme.example")).unwrap().entry().unwrap().as_str().to_owned();
    assert_eq!(["a1", "b1", "c1"].map(|name| holder(&corp, name)), ["b", "a", "c"]);
    // Another exchange, of one who was in the last and is still looked at again (two want x@): nothing of it is done.
    corp.run(&three("c1", "a1", "b1"));
    assert_eq!(["a1", "b1", "c1"].map(|name| holder(&corp, name)), ["b", "a", "c"]);
    // A yes to this one does not go for another that they plan meanwhile.
    corp.approve_exchanges();
    corp.run(&three("a1", "c1", "b1"));
    assert_eq!(["a1", "b1", "c1"].map(|name| holder(&corp, name)), ["b", "a", "c"]);
}

#[test]
fn y1_l8_the_plan_of_holders_says_who_goes_where() {
    let address = |name: &str| address(&format!("{name}@acme.example"));
    let id = |name: &str| EntryId::from_text(name).unwrap();
    let hash = |holders: &[(_, _)], exchanges: &[(_, _)]| held_holders(holders, exchanges).unwrap().hash;
    assert_ne!(hash(&[(address("x"), id("one"))], &[]), hash(&[(address("x"), id("two"))], &[]), "another entry has it by now");
    let ring = |order: [&str; 3]| {
        [(order[0], order[1]), (order[1], order[2]), (order[2], order[0])].map(|(from, to)| (address(from), address(to)))
    };
    assert_ne!(hash(&[], &ring(["a", "b", "c"])), hash(&[], &ring(["a", "c", "b"])), "the other way round");
}

#[test]
fn p6_l8_a_logon_that_was_shut_or_disabled_stays_so_at_the_new_address() {
    let mut corp = corp("EmailAddress/anna: {address: anna@acme.example}\nEmailAddress/wed: {address: wed@acme.example}");
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    corp.world.delete("EmailAddress/anna");
    corp.world.advance(60);
    assert!(corp.world.row("anna@acme.example").unwrap().shut, "nobody declares it any more");
    corp.run("a: {mail: ['SMTP:new@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    assert!(corp.world.row("new@acme.example").unwrap().shut);
    // One that is declared says itself what it says, and keeps what it does not.
    let mut row = corp.world.observed.addresses.get_mut(&address("b@acme.example")).unwrap();
    row.disabled = true;
    corp.run("a: {mail: ['SMTP:new@acme.example']}\nb: {mail: ['SMTP:wed@acme.example']}");
    row = corp.world.observed.addresses.get_mut(&address("wed@acme.example")).unwrap();
    assert!(row.disabled && !row.shut);
}

#[test]
fn y1_what_was_anothers_mailbox_is_archived_for_its_new_primary_from_that_day_on() {
    let mut corp = corp("");
    corp.run("b: {mail: ['mail:bob@acme.example']}\nm: {mail: ['SMTP:m@acme.example']}");
    assert_eq!(corp.world.row("bob@acme.example").unwrap().archive_start, None);
    corp.run("b: {mail: ['mail:bob@acme.example']}\nm: {mail: ['SMTP:m@acme.example', 'bob@acme.example']}");
    assert_eq!(corp.world.alias_of("bob@acme.example"), Some("m@acme.example".to_owned()));
    assert!(corp.world.row("bob@acme.example").unwrap().archive_start.is_some());
}

#[test]
fn l2_y4_a_mailbox_in_use_is_nobodys_alias_and_is_disabled_by_its_entry_whoever_comes_with_it() {
    let mut corp = corp("");
    let before = "b: {mail: ['mail:bob@acme.example']}\nm: {mail: ['SMTP:m@acme.example']}";
    corp.run(before);
    corp.world.apply("AdminRole/r: {permissions: [addresses.read], members: [bob@acme.example]}");
    let both = entries("b: {mail: ['mail:bob@acme.example'], disabled: true}\nm: {mail: ['SMTP:m@acme.example', 'bob@acme.example']}");
    corp.bring("corp", both, true);
    assert_eq!(corp.world.alias_of("bob@acme.example"), None);
    assert_eq!(corp.shut("bob@acme.example"), ["DirectoryDisabled"]);
}

#[test]
fn l8_one_whose_new_address_is_declared_as_an_alias_keeps_the_old_one() {
    let mut corp = corp(
        "EmailAddress/info: {address: info@acme.example}\nAliasLink/l: {alias: new@acme.example, primary: info@acme.example, takeOverMailbox: true}",
    );
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    corp.world.apply("AdminRole/r: {permissions: [addresses.read], members: [anna@acme.example]}");
    corp.run("a: {mail: ['SMTP:new@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    assert_eq!(corp.world.alias_of("new@acme.example"), Some("info@acme.example".to_owned()));
    assert!(corp.world.role_of("anna@acme.example").is_some());
    assert_eq!(corp.missing(), Vec::<String>::new());
}

#[test]
fn y8_the_first_of_two_connections_keeps_an_address_until_its_own_run_lacks_it() {
    let mut corp = corp("");
    corp.connect("other", |_| {});
    corp.run("a: {mail: ['SMTP:anna@acme.example']}\nb: {mail: ['SMTP:b@acme.example']}");
    let outcome = corp.run_of("other", "x: {mail: ['SMTP:anna@acme.example']}", None);
    assert_eq!(corp.world.row("anna@acme.example").unwrap().connection(), Some("corp"));
    assert_eq!(outcome.reports.len(), 1);
    corp.run("b: {mail: ['SMTP:b@acme.example']}");
    corp.run_of("other", "x: {mail: ['SMTP:anna@acme.example']}", None);
    assert_eq!(corp.world.row("anna@acme.example").unwrap().connection(), Some("other"));
    assert_eq!(corp.missing(), Vec::<String>::new());
}

#[test]
fn y8_a_connection_that_is_deleted_leaves_its_rows_open_and_another_takes_them_over() {
    let mut corp = corp("");
    corp.run("a: {mail: ['SMTP:anna@acme.example'], disabled: true}\nb: {mail: ['SMTP:b@acme.example']}");
    corp.world.observed.connections.insert(("acme".to_owned(), "corp".to_owned()), crate::plan::directory::rows::ConnectionRow::default());
    corp.world.delete("DirectoryConnection/corp");
    assert_eq!((corp.origin("anna@acme.example"), corp.shut("anna@acme.example")), ("Directory", vec![]));
    assert_eq!(corp.world.row("anna@acme.example").unwrap().connection(), None);
    corp.connect("new", |_| {});
    corp.run_of("new", "a: {mail: ['SMTP:anna@acme.example'], disabled: true}\nb: {mail: ['SMTP:b@acme.example']}", None);
    assert_eq!(corp.shut("anna@acme.example"), ["DirectoryDisabled"], "the same entry: no new holder");
    assert_eq!(corp.world.row("b@acme.example").unwrap().connection(), Some("new"));
}

#[test]
fn y11_from_a_server_that_no_complete_run_agrees_with_only_additions_and_disables_are_taken() {
    let mut corp = corp("EmailAddress/b: {address: bert@acme.example, access: {pop: true}}");
    corp.run("a: {mail: ['SMTP:anna@acme.example', 'a@acme.example']}\nb: {mail: ['SMTP:bert@acme.example']}\nc: {mail: ['SMTP:carl@acme.example'], disabled: true}");
    let other = "a: {mail: ['SMTP:anna@acme.example', 'new@acme.example'], disabled: true, name: Another}
b: {mail: ['SMTP:wed@acme.example']}
c: {mail: ['SMTP:carl@acme.example', 'a@acme.example']}
d: {mail: ['SMTP:dora@acme.example', 'd@acme.example', 'a@acme.example']}
e: {mail: ['SMTP:anna@acme.example']}";
    corp.unproved = true;
    corp.bring("corp", entries(other), true);
    assert_eq!(corp.shut("anna@acme.example"), ["DirectoryDisabled"]);
    assert_eq!(corp.shut("carl@acme.example"), ["DirectoryDisabled"], "nobody is let in again");
    let alias_of = |corp: &Corp, name: &str| corp.world.alias_of(&format!("{name}@acme.example")).unwrap_or_default();
    assert_eq!(
        ["a", "new", "d", "wed"].map(|name| alias_of(&corp, name)),
        ["anna", "anna", "dora", "bert"].map(|name| format!("{name}@acme.example"))
    );
    assert_eq!(corp.world.row("anna@acme.example").unwrap().directory.as_ref().unwrap().global_name, "");
    assert_eq!(corp.world.row("anna@acme.example").unwrap().entry().unwrap().as_str(), "a");
    assert_eq!(corp.missing(), Vec::<String>::new());
    // A complete run agrees.
    corp.unproved = false;
    corp.run(other);
    assert_eq!((corp.shut("carl@acme.example"), alias_of(&corp, "bert")), (vec![], String::new()));
    assert!(corp.world.row("wed@acme.example").unwrap().pop && !corp.world.row("wed@acme.example").unwrap().is_alias);
    assert_eq!(corp.missing(), ["bert@acme.example"], "it gave that one up");
}

#[test]
fn y12_what_a_resource_declares_the_connection_leaves_alone() {
    let mut corp = corp("EmailAddress/anna: {address: anna@acme.example, displayName: Declared, attributes: {department: Sales}}");
    corp.run("a: {mail: ['SMTP:anna@acme.example'], name: From Directory, department: Other}");
    let row = corp.world.row("anna@acme.example").unwrap();
    assert_eq!((row.display_name.as_str(), row.attributes["department"].as_str()), ("Declared", "Sales"));
    assert_eq!(row.directory.as_ref().unwrap().global_name, "From Directory");
}
