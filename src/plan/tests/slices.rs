//! Property 8: planning slices, driven by what changes, comes to the same rows and verdicts as planning the whole world.
//!
//! [`Sliced`] does what the engine does, with the pure interpreter in place of the store: what a batch reads here is what
//! `store::read` reads.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;

use super::generate::{Step, config, generate};
use super::world::{World, last, without_counts};
use crate::model::{CanonicalAddress, DomainName, Kind, ResourceKey};
use crate::plan::desired::{Action, Declared, Desired, Resource};
use crate::plan::observed::{Observed, WaitAction};
use crate::plan::relation::LISTED;
use crate::plan::slice::{Roster, Slice};
use crate::plan::{Change, Subject, Verdict, plan};

#[derive(Default)]
struct Seed {
    keys: BTreeSet<ResourceKey>,
    subjects: BTreeSet<Subject>,
    reported: BTreeSet<Subject>,
    ended: BTreeSet<ResourceKey>,
}

struct Sliced {
    world: World,
    roster: Roster,
    seed: Seed,
    schedule: BTreeMap<Subject, Timestamp>,
    verdicts: BTreeMap<ResourceKey, Verdict>,
}

impl Sliced {
    fn new() -> Self {
        let mut roster = Roster::default();
        for kind in Kind::ALL {
            roster.sight(kind, "", BTreeSet::new());
        }
        Self { world: World::new(), roster, seed: Seed::default(), schedule: BTreeMap::new(), verdicts: BTreeMap::new() }
    }

    fn happen(&mut self, step: &Step) {
        self.world.plan.verdicts = self.verdicts.clone();
        self.world.happen(step);
        for key in step.keys() {
            match self.world.desired.resources.get(&key) {
                Some(resource) => {
                    if self.roster.is_missing(&key) {
                        self.seed.subjects.insert(Subject::Absences(key.namespace.clone()));
                    }
                    self.seed.keys.extend(self.roster.insert(Resource::clone(resource)));
                    self.seed.keys.insert(key);
                }
                None if self.roster.get(&key).is_some() => self.gone(&key, !matches!(step, Step::Vanish(_))),
                None => {}
            }
        }
        match step {
            Step::Learn(address) => {
                self.seed.subjects.insert(Subject::Domain(super::world::address(address).domain()));
            }
            Step::Held(address, _) => {
                self.seed.reported.insert(Subject::Address(super::world::address(address)));
                let waiting = self.world.observed.waiting.keys().map(|(address, _)| Subject::Domain(address.domain()));
                self.seed.subjects.extend(waiting);
            }
            _ => {}
        }
    }

    fn gone(&mut self, key: &ResourceKey, seen: bool) {
        self.seed.keys.extend(self.roster.remove(key, seen));
        if !seen && self.roster.miss(key) {
            self.seed.subjects.insert(Subject::Absences(key.namespace.clone()));
        }
        self.seed.ended.insert(key.clone());
        self.world.desired.deleted.clear();
        self.verdicts.remove(key);
    }

    fn work(&mut self) {
        for _ in 0..30 {
            if self.seed.keys.is_empty() && self.seed.subjects.is_empty() && self.seed.reported.is_empty() && self.seed.ended.is_empty() {
                return;
            }
            let seed = std::mem::take(&mut self.seed);
            self.batch(&seed);
        }
        panic!("batches go on for ever: {:?}", self.seed.keys);
    }

    fn batch(&mut self, seed: &Seed) {
        self.world.count();
        let observed = &self.world.observed;
        let mut slice = Slice { keys: seed.keys.clone(), subjects: &seed.subjects | &seed.reported };
        let owned_ones = owned(observed, &seed.keys.union(&seed.ended).cloned().collect());
        let is_no_domain = |subject: &&Subject| !matches!(subject, Subject::Domain(_));
        slice.keys.extend(seed.subjects.iter().filter(is_no_domain).flat_map(|subject| self.roster.dependents(subject)));
        slice.keys.extend(owned_ones.iter().flat_map(|subject| self.roster.dependents_of_owned(subject)));
        slice.subjects.extend(owned_ones);
        self.roster.close(&mut slice);
        let overdue: BTreeSet<_> =
            slice.namespaces_of_absences().iter().flat_map(|namespace| self.roster.missing(namespace)).cloned().collect();
        slice.subjects.extend(owned(observed, &overdue));
        self.roster.close(&mut slice);
        // As the engine does: what waits in a domain brings in others, and with them other domains in which something may wait.
        loop {
            let found = guarded(observed, &slice, &self.leaving(&slice));
            if found.is_subset(&slice.subjects) {
                break;
            }
            slice.subjects.extend(found);
            self.roster.close(&mut slice);
        }
        let view = view(observed, &slice, &self.leaving(&slice), &self.roster.purging(&slice));
        let namespaces = slice.namespaces_of_absences().into_iter().map(|namespace| (namespace, "first".to_owned())).collect();
        let mut desired = Desired { overdue, namespaces, ..self.roster.desired(&slice) };
        self.roster.add_unreadable_owners(&mut desired, &view);
        let plan = plan(&desired, &view, self.world.now);
        self.world.execute(&plan);
        self.world.count();
        self.seed.keys.extend(self.roster.domains_waiting_for(&plan.changes));
        self.roster.forget_deleted(&seed.ended);
        for change in &plan.changes {
            if let Change::PutAbsence { key, absence } = change
                && absence.ended_at.is_some()
            {
                self.roster.found(key);
            }
        }
        self.seed.keys.extend(self.roster.concerned(&plan.changes).into_iter().filter(|key| !slice.keys.contains(key)));
        for subject in &slice.subjects {
            let at = plan.moments.iter().filter(|(_, of)| of == subject).map(|(at, _)| *at).min();
            match at {
                Some(at) => self.schedule.insert(subject.clone(), at),
                None => self.schedule.remove(subject),
            };
        }
        for (key, verdict) in plan.verdicts {
            // An owner that was brought in by its row was not read whole: its tokens are missing.
            if !slice.keys.contains(&key) {
                self.seed.keys.extend(verdict.release.then_some(key));
                continue;
            }
            if let Some(slot) = self.roster.get_mut_last(&key) {
                *slot = last(&verdict, slot);
            }
            let release = verdict.release;
            self.verdicts.insert(key.clone(), verdict);
            if release {
                self.world.desired.resources.remove(&key);
                self.gone(&key, true);
            }
        }
    }

    fn leaving(&self, slice: &Slice) -> BTreeSet<DomainName> {
        let resources = slice.keys.iter().filter_map(|key| self.roster.get(key)).filter(|resource| resource.deleting);
        resources
            .filter_map(|r| if let Ok(Declared::Domain(d)) = &r.declared { d.delete.then(|| d.domain.clone()) } else { None })
            .collect()
    }

    fn advance(&mut self, seconds: i64) {
        let target = self.world.now + SignedDuration::from_secs(seconds);
        while let Some(at) = self.schedule.values().filter(|at| **at <= target).min().copied() {
            self.world.now = self.world.now.max(at);
            let due: Vec<_> = self.schedule.iter().filter(|(_, due)| **due <= at).map(|(subject, _)| subject.clone()).collect();
            for subject in due {
                self.schedule.remove(&subject);
                let subjects = if matches!(subject, Subject::Address(_)) { &mut self.seed.reported } else { &mut self.seed.subjects };
                subjects.insert(subject);
            }
            self.work();
        }
        self.world.now = target;
    }
}

/// `Store::owned`.
fn owned(observed: &Observed, keys: &BTreeSet<ResourceKey>) -> BTreeSet<Subject> {
    let by = |kind, namespace: &str, owner: &Option<String>| {
        owner.as_ref().is_some_and(|name| keys.contains(&ResourceKey::new(kind, namespace, name)))
    };
    let mut found = BTreeSet::new();
    let domains = observed.domains.iter().filter(|(_, row)| by(Kind::InternalDomain, &row.namespace, &row.owner));
    found.extend(domains.map(|(domain, _)| Subject::Domain(domain.clone())));
    let addresses = observed.addresses.iter().filter(|(_, row)| by(Kind::EmailAddress, &row.namespace, &row.owner));
    found.extend(addresses.map(|(address, _)| Subject::Address(address.clone())));
    let links = observed.links.iter().filter(|(_, row)| by(Kind::AliasLink, &row.namespace, &row.owner));
    found.extend(links.map(|(alias, _)| Subject::Link(alias.clone())));
    let pairs = observed.delegations.iter().filter(|(_, row)| by(Kind::DelegateMailbox, &row.namespace, &row.owner));
    found.extend(pairs.map(|(pair, _)| Subject::Pair(pair.0.clone(), pair.1.clone())));
    let is_ours = |id: &(String, String)| keys.contains(&ResourceKey::new(Kind::AdminRole, &id.0, &id.1));
    found.extend(observed.roles.keys().filter(|id| is_ours(id)).map(|id| Subject::Role(id.0.clone(), id.1.clone())));
    found.extend(observed.members.iter().filter(|(_, id)| is_ours(id)).map(|(address, _)| Subject::Member(address.clone())));
    found
}

fn domains_of(slice: &Slice) -> BTreeSet<DomainName> {
    let mut found: BTreeSet<_> = slice.subjects.iter().flat_map(Subject::addresses).map(CanonicalAddress::domain).collect();
    for subject in &slice.subjects {
        if let Subject::Domain(domain) = subject {
            found.extend(domain.ancestors());
            found.insert(domain.clone());
        }
    }
    found
}

/// `Store::guarded`.
fn guarded(observed: &Observed, slice: &Slice, leaving: &BTreeSet<DomainName>) -> BTreeSet<Subject> {
    let domains = domains_of(slice);
    let waiting = observed.waiting.keys().map(|(address, _)| address).filter(|address| domains.contains(&address.domain()));
    let undeclared = observed.addresses.iter().filter(|(a, row)| row.owner.is_none() && leaving.contains(&a.domain())).map(|(a, _)| a);
    // A sender to be learned may have a row or a tombstone by now.
    let learned = observed.learned.iter().filter(|(domain, _)| domains.contains(*domain)).flat_map(|(_, queue)| queue);
    let mut found = BTreeSet::new();
    // AddressesRemain names the first five, whatever else the slice is about.
    let first = leaving.iter().flat_map(|domain| observed.addresses.keys().filter(|address| address.is_in(domain)).take(10));
    for address in waiting.chain(undeclared).chain(learned).chain(first) {
        found.insert(Subject::Address(address.clone()));
        if observed.addresses.get(address).is_some_and(|row| row.is_alias) {
            found.insert(Subject::Link(address.clone()));
        }
    }
    found
}

/// `Store::observe`.
fn view(whole: &Observed, slice: &Slice, leaving: &BTreeSet<DomainName>, purging: &BTreeSet<CanonicalAddress>) -> Observed {
    let addresses: BTreeSet<_> = slice.subjects.iter().flat_map(Subject::addresses).cloned().collect();
    let domains = domains_of(slice);
    let namespaces: BTreeSet<_> = slice.subjects.iter().filter_map(|s| if let Subject::Settings(n) = s { Some(n) } else { None }).collect();
    let roles: BTreeSet<_> =
        slice.subjects.iter().filter_map(|s| if let Subject::Role(n, r) = s { Some((n.clone(), r.clone())) } else { None }).collect();
    let mut view =
        Observed { held_sources: whole.held_sources.clone(), transfer_blockers: whole.transfer_blockers.clone(), ..Observed::default() };
    let below = |name: &DomainName| {
        slice.subjects.iter().any(|s| matches!(s, Subject::Domain(d) if !whole.domains.contains_key(d) && name.is_below(d)))
    };
    for (name, row) in whole.domains.iter().filter(|(name, _)| domains.contains(*name) || below(name)) {
        view.domains.insert(name.clone(), row.clone());
    }
    for (key, wait) in whole.waiting.iter().filter(|((address, _), _)| domains.contains(&address.domain())) {
        view.waiting.insert(key.clone(), *wait);
    }
    let mut rows = addresses.clone();
    let waiting = view.waiting.keys().filter(|(_, action)| *action == WaitAction::Purge).map(|(address, _)| address);
    let purging: BTreeSet<_> = waiting.chain(purging).cloned().collect();
    let mut aliases: BTreeSet<_> = whole.links.iter().map(|(alias, _)| alias).filter(|alias| addresses.contains(*alias)).collect();
    for primary in &addresses {
        let others = whole.links.aliases_of(primary).filter(|alias| !addresses.contains(*alias));
        aliases.extend(others.take(if purging.contains(primary) { usize::MAX } else { LISTED }));
    }
    for alias in aliases {
        let link = whole.links.get(alias).unwrap();
        rows.insert(link.primary.clone());
        rows.extend(link.directory.clone());
        if purging.contains(&link.primary) {
            rows.insert(alias.clone());
        }
        view.links.insert(alias.clone(), link.clone());
    }
    for primary in &addresses {
        view.links.leave_out(primary.clone(), whole.links.count_aliases_of(primary) - view.links.count_aliases_of(primary));
    }
    for (address, row) in whole.addresses.iter().filter(|(address, _)| rows.contains(address)) {
        view.addresses.insert(address.clone(), row.clone());
    }
    // The store finds them with the row; one that was made in this plan learns of its held mail with the next report.
    view.reports.clone_from(&whole.reports);
    let named = |address: &CanonicalAddress| addresses.contains(address);
    view.credentials.extend(whole.credentials.iter().filter(|(a, _)| named(a)).map(|(a, row)| (a.clone(), row.clone())));
    view.tombstones.extend(whole.tombstones.iter().filter(|(a, _)| named(a)).map(|(a, at)| (a.clone(), *at)));
    for (pair, row) in whole.delegations.iter().filter(|(pair, _)| named(&pair.0) || named(&pair.1)) {
        view.delegations.insert(pair.clone(), row.clone());
    }
    for (id, row) in &whole.roles {
        let supers = row.is_super() && namespaces.contains(&id.0);
        let held = whole.members.iter().any(|(address, role)| role == id && named(address));
        if roles.contains(id) || supers || held {
            view.roles.insert(id.clone(), row.clone());
        }
        let members = whole.members.iter().filter(|(address, role)| *role == id && (roles.contains(id) || supers || named(address)));
        view.members.extend(members.map(|(address, role)| (address.clone(), role.clone())));
    }
    view.settings.extend(whole.settings.iter().filter(|(n, _)| namespaces.contains(n)).map(|(n, s)| (n.clone(), s.clone())));
    let seen = slice.namespaces_of_absences();
    view.absences.extend(whole.absences.iter().filter(|(key, _)| seen.contains(&key.namespace)).map(|(k, a)| (k.clone(), *a)));
    view.rights.extend(whole.rights.iter().filter(|((_, n), _)| seen.contains(n)).map(|(k, n)| (k.clone(), *n)));
    view.namespaces.extend(whole.namespaces.iter().filter(|(n, _)| seen.contains(*n)).map(|(n, uid)| (n.clone(), uid.clone())));
    view.handled.extend(whole.handled.iter().filter(|((key, _), _)| slice.keys.contains(key)).map(|(k, v)| (k.clone(), v.clone())));
    view.learned.extend(whole.learned.iter().filter(|(d, q)| domains.contains(*d) && !q.is_empty()).map(|(d, q)| (d.clone(), q.clone())));
    let count = |domain: &DomainName| {
        leaving.contains(domain) || view.learned.contains_key(domain) || view.waiting.keys().any(|(address, _)| address.is_in(domain))
    };
    view.numbers.extend(whole.numbers.iter().filter(|(domain, _)| count(domain)).map(|(domain, numbers)| (domain.clone(), *numbers)));
    view
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn slices_come_to_the_rows_and_verdicts_of_the_whole_world(steps in generate()) {
        play_both(&steps);
    }

    #[test]
    fn slices_that_see_some_of_many_aliases_come_to_the_same(steps in links()) {
        play_both(&steps);
    }
}

/// Plays the steps by planning slices and by planning the whole world, and compares what comes of each.
pub(super) fn play_both(steps: &[Step]) {
    let (mut whole, mut sliced) = (World::new(), Sliced::new());
    for (n, step) in steps.iter().enumerate() {
        whole.happen(step);
        whole.settle();
        sliced.happen(step);
        sliced.work();
        if let Step::Advance(seconds) = step {
            whole.advance(*seconds);
            sliced.advance(*seconds);
        }
        compare(&mut whole, &mut sliced, &format!("step {n}, {step:?}"));
    }
}

/// Six links among a few names, so that primaries have more aliases than are listed, and come, go and are relinked.
fn links() -> impl Strategy<Value = Vec<Step>> {
    let link = |n: u8| super::world::key(&format!("AliasLink/a/l{n}"));
    let one =
        (0..6_u8, "[a-f]", prop::sample::select(vec!["ann", "info", "a"]), any::<bool>()).prop_map(move |(n, alias, primary, suspend)| {
            (link(n), format!("{{alias: {alias}@acme.example, primary: {primary}@acme.example, suspend: {suspend}}}"))
        });
    let ann = super::world::key("EmailAddress/a/ann");
    let declared = (ann.clone(), "{address: ann@acme.example, deletionPolicy: Purge}".to_owned());
    let base = vec![
        (super::world::key("InternalDomain/a/acme"), "{domain: acme.example}".to_owned()),
        (super::world::key("EmailAddress/a/info"), "{address: info@acme.example}".to_owned()),
        declared.clone(),
    ];
    let many = (0..6_u8).map(|n| (link(n), format!("{{alias: {}@acme.example, primary: ann@acme.example}}", char::from(b'a' + n))));
    let base: Vec<_> = base.into_iter().chain(many).collect();
    let step = prop_oneof![
        4 => proptest::collection::vec(one, 1..4).prop_map(Step::Apply),
        3 => proptest::collection::vec((0..6_u8).prop_map(link), 1..3).prop_map(Step::Delete),
        1 => Just(Step::Delete(vec![ann])),
        1 => Just(Step::Apply(vec![declared])),
        1 => ("[a-f]", 0..2_u32).prop_map(|(alias, count)| Step::Held(format!("{alias}@acme.example"), count)),
        3 => prop::sample::select(vec![5_i64, 11, 61, 4000]).prop_map(Step::Advance),
    ];
    let rest = proptest::collection::vec(step, 3..12);
    rest.prop_map(move |rest| std::iter::once(Step::Apply(base.clone())).chain(rest).collect())
}

#[track_caller]
fn compare(whole: &mut World, sliced: &mut Sliced, after: &str) {
    let (a, b) = (&whole.observed, &sliced.world.observed);
    assert_eq!(b.domains, a.domains, "domains after {after}");
    assert_eq!(b.addresses, a.addresses, "addresses after {after}");
    assert_eq!(b.links, a.links, "links after {after}");
    assert_eq!(b.delegations, a.delegations, "delegations after {after}");
    assert_eq!((&b.roles, &b.members), (&a.roles, &a.members), "roles after {after}");
    assert_eq!(b.waiting, a.waiting, "waits after {after}");
    assert_eq!(b.absences, a.absences, "absences after {after}");
    let approved = |observed: &Observed| observed.handled.iter().filter(|((_, a), _)| *a != Action::RequestedAt).count();
    assert_eq!(approved(b), approved(a), "tokens after {after}");
    whole.count();
    let verdicts = plan(&whole.desired, &whole.observed, whole.now).verdicts;
    assert_eq!(sliced.verdicts.keys().collect::<Vec<_>>(), verdicts.keys().collect::<Vec<_>>());
    for (key, verdict) in &verdicts {
        let found = sliced.verdicts.get(key).map(without_counts);
        assert_eq!(found, Some(without_counts(verdict)), "{key} after {after}");
    }
}
