//! Directories (SPEC 8, L4, L5, L7, L8), with runs in place of servers: what a run hands to the plan and to the guard is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use serde_yaml::Value;
use sha2::{Digest as _, Sha256};

use super::world::{World, address, check, key};
use crate::model::{
    Access, Account, Address, AttributeNames, DirectoryType, Entry, EntryId, EntrySort, MailValue, Rank, SecretKey, Signs, TlsMode,
};
use crate::plan::desired::{Actions, ConnectionDeclared, Declared, Detection, Last, LeaverAction, LeaversDeclared, Resource, SecretState};
use crate::plan::directory::guard::{ConnectionNumbers, Judgement, WINDOW, held_holders, judge};
use crate::plan::directory::rows::Leaver;
use crate::plan::directory::{Account as Outcome, Found};
use crate::plan::observed::WaitAction;
use crate::plan::settings::Guard;
use crate::plan::{Change, plan};

mod connections;
mod entries;
mod leavers;
mod renames;

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
        detection: Detection::Auto,
        link_aliases: true,
        acknowledge_disabled: true,
        leavers: LeaversDeclared { action: LeaverAction::Disable, missed_runs: 2, after: SignedDuration::from_hours(24) },
        guard: Guard { max_percent: 10, min_count: 10 },
        secrets: SecretState::Ready(String::new()),
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
            let digest = Sha256::digest(serde_yaml::to_string(&entry).unwrap());
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
                digest: digest[..16].try_into().unwrap(),
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
            // What reads as it did is not planned again.
            let known = self.world.observed.entries.get(&("acme".to_owned(), connection.to_owned(), id.clone()));
            if known.is_some_and(|known| known.address.is_some() && known.digest == Some(entry.digest)) {
                continue;
            }
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
