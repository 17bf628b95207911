//! What a DirectoryConnection says of itself, and its end (SPEC Y7, Y8).

use std::sync::Arc;

use super::world::{World, address, check, key};
use crate::model::Kind;
use crate::plan::desired::{Action, Declared, Resource, SecretState};
use crate::plan::directory::Begin;
use crate::plan::directory::rows::{ConnectionRow, Ending, Problem, RunCounts, RunRecord};
use crate::plan::reason::Reason;
use crate::plan::slice::Roster;
use crate::plan::verdict::{Condition, Detail, HeldPlan};
use crate::plan::{Change, plan};

const SPEC: &str = "type: OpenLDAP, urls: [ldaps://ldap.corp.example], baseDN: dc=corp,
    bind: {dn: 'cn=sync,dc=corp', passwordSecretRef: {name: s, key: k}}";
const DAY: i64 = 86_400;

fn applied(more: &str) -> World {
    let mut world = World::new();
    world.apply(&format!("DirectoryConnection/corp: {{{SPEC}{more}}}"));
    world
}

/// A run that ended, as the row that it leaves.
fn ran(world: &World, problem: Option<(Reason, &str)>) -> ConnectionRow {
    let run = RunRecord {
        started_at: world.now,
        finished_at: world.now,
        server: "ldaps://ldap.corp.example".to_owned(),
        mode: "Full".to_owned(),
        complete: problem.is_none(),
        counts: RunCounts { read: 7, created: 2, updated: 1, unchanged: 3, missing: 4, reported: 5, ..RunCounts::default() },
        problem: problem.map(|(reason, message)| Problem { reason, message: message.to_owned() }),
        reports: Vec::new(),
    };
    ConnectionRow { last_run: Some(run), generation: 1, last_complete: Some(world.now), ..ConnectionRow::default() }
}

/// As the store has it after a run.
fn keep(world: &mut World, row: ConnectionRow) {
    world.observed.connections.insert(("acme".to_owned(), "corp".to_owned()), row);
    world.settle();
}

fn conditions(world: &World) -> Vec<Condition> {
    world.verdict("DirectoryConnection/corp").conditions.clone()
}

fn is_kept(world: &World) -> bool {
    world.observed.connections.contains_key(&("acme".to_owned(), "corp".to_owned()))
}

fn held(lines: &[&str]) -> HeldPlan {
    HeldPlan { hash: "00aa".to_owned(), count: lines.len(), sample: lines.iter().map(ToString::to_string).collect() }
}

#[test]
fn c1_a_connection_says_how_its_last_run_went() {
    let mut world = check(&format!("DirectoryConnection/corp: {{{SPEC}}}"), "DirectoryConnection/corp NeverRun");
    assert!(!world.desired.resources[&key("DirectoryConnection/corp")].wants_finalizer());
    let row = ran(&world, None);
    keep(&mut world, row);
    world.expect("DirectoryConnection/corp Succeeded");
    let said = world.message("DirectoryConnection/corp");
    assert_eq!(
        said,
        "7 entries read from ldaps://ldap.corp.example; addresses: 2 created, 1 updated, 3 unchanged, 4 missing; 5 to look at in status.lastRun.reports"
    );
    let row = ran(&world, Some((Reason::BindRefused, "the server refused cn=sync")));
    keep(&mut world, row);
    world.expect("DirectoryConnection/corp BindRefused");
    let verdict = world.verdict("DirectoryConnection/corp");
    assert_eq!(verdict.ready.message, "the server refused cn=sync");
    let Detail::Connection(detail) = &verdict.detail else { panic!("{verdict:?}") };
    assert_eq!((detail.last_run.as_ref().map(|run| run.counts.read), detail.last_complete), (Some(7), Some(world.now)));
}

#[test]
fn y6_addresses_that_will_take_no_more_mail_are_warned_of_until_it_has_happened() {
    let mut world = applied("");
    let mut row = ran(&world, None);
    let (first, last) = (world.now + jiff::SignedDuration::from_secs(DAY), world.now + jiff::SignedDuration::from_secs(DAY + 60));
    row.ending = Some(Ending { count: 6, first, last, sample: vec!["a@acme.example".to_owned(), "b@acme.example".to_owned()] });
    keep(&mut world, row);
    let warned = |world: &World| conditions(world).into_iter().find(|condition| condition.kind == "AddressesEnding").unwrap();
    let condition = warned(&world);
    assert_eq!((condition.status, condition.reason), (true, Reason::LeaversDue));
    assert!(condition.message.starts_with("6 addresses") && condition.message.contains(&first.to_string()), "{}", condition.message);
    assert!(condition.message.contains("a@acme.example, b@acme.example, …;"), "{}", condition.message);
    world.advance(DAY + 61);
    assert_eq!((warned(&world).status, warned(&world).reason), (false, Reason::NobodyEnds));
}

#[test]
fn c2_what_is_held_stands_on_conditions_with_the_command_that_releases_it() {
    let mut world = applied("");
    let said = |world: &World| conditions(world).iter().map(|c| (c.kind, c.status, c.reason)).collect::<Vec<_>>();
    let ending = ("AddressesEnding", false, Reason::NobodyEnds);
    let quiet = [("DeletionsHeld", false, Reason::NothingHeld), ("HolderChanged", false, Reason::SameHolder), ending];
    assert_eq!(said(&world), quiet);
    let row = ConnectionRow {
        held_leavers: Some(held(&["Leave a@acme.example"])),
        held_holders: Some(held(&["NewHolder b@acme.example"])),
        ..ran(&world, None)
    };
    keep(&mut world, row);
    world.expect("DirectoryConnection/corp Succeeded");
    assert_eq!(said(&world), [("DeletionsHeld", true, Reason::MassDeletion), ("HolderChanged", true, Reason::HolderChanged), ending]);
    for condition in conditions(&world).iter().filter(|condition| condition.status) {
        let command = "kubectl -n acme annotate directoryconnection corp mailroster.dev/approve=00aa --overwrite";
        assert!(condition.message.starts_with("1 ") && condition.message.ends_with(command), "{}", condition.message);
    }
    for (lines, reason) in [
        (vec!["Exchange a@acme.example", "Exchange b@acme.example"], Reason::AddressesExchanged),
        (vec!["Exchange a@acme.example", "NewHolder b@acme.example"], Reason::HolderChanged),
    ] {
        let row = ConnectionRow { held_holders: Some(held(&lines)), ..ran(&world, None) };
        keep(&mut world, row);
        assert_eq!(conditions(&world)[1].reason, reason, "{lines:?}");
    }
}

#[test]
fn y8_the_row_of_a_connection_goes_with_it_and_with_nothing_less() {
    let mut world = applied("");
    let row = ran(&world, None);
    keep(&mut world, row);
    // What it says can't be acted on: it is there all the same, and so is what it found.
    for (more, reason) in
        [(", domains: [acme..example]", "DomainInvalid"), (", userFilter: '(mail=*'", "SpecInvalid"), (", suspend: true", "Suspended")]
    {
        world.apply(&format!("DirectoryConnection/corp: {{{SPEC}{more}}}"));
        world.expect(&format!("DirectoryConnection/corp {reason}"));
        let Detail::Connection(detail) = &world.verdict("DirectoryConnection/corp").detail else { panic!() };
        assert!(is_kept(&world) && detail.last_run.is_some(), "{more}");
    }
    world.make_unreadable("DirectoryConnection/corp");
    world.settle();
    assert!(is_kept(&world));
    world.apply(&format!("DirectoryConnection/corp: {{{SPEC}}}"));
    world.expect("DirectoryConnection/corp Succeeded");

    let mut sheltered = world.clone();
    sheltered.desired.sheltered.insert((Kind::DirectoryConnection, "acme".to_owned()));
    sheltered.delete("DirectoryConnection/corp");
    assert!(is_kept(&sheltered), "its namespace is going, or can't be seen (U4)");
    world.delete("DirectoryConnection/corp");
    assert!(!is_kept(&world));
}

#[test]
fn u6_a_connection_that_vanished_counts_as_ended_after_a_day() {
    let mut world = applied("");
    let row = ran(&world, None);
    keep(&mut world, row);
    world.vanish("DirectoryConnection/corp");
    world.advance(DAY - 1);
    assert!(is_kept(&world));
    world.advance(1);
    assert!(!is_kept(&world));
}

#[test]
fn c6_a_connection_takes_requests_and_approvals_and_no_other_action() {
    let mut world = applied("");
    world.annotate("DirectoryConnection/corp", "requestedAt", "one");
    let verdict = world.verdict("DirectoryConnection/corp");
    assert_eq!(
        verdict.handled.iter().map(|(action, token)| (action.as_str(), token.as_str())).collect::<Vec<_>>(),
        [("requestedAt", "one")]
    );
    let known = Action::ALL.into_iter().filter(|action| action.known_to(Kind::DirectoryConnection));
    assert_eq!(known.map(Action::as_str).collect::<Vec<_>>(), ["requestedAt", "approve"]);
}

#[test]
fn c6_another_spec_is_tried_at_once_and_an_unchanged_one_when_its_interval_is_over() {
    let mut world = applied("");
    set_secrets(&mut world, "");
    let row = ConnectionRow { generation: world.desired.resources[&key("DirectoryConnection/corp")].generation, ..ran(&world, None) };
    world.observed.connections.insert(("acme".to_owned(), "corp".to_owned()), row.clone());
    let begins = |world: &World| plan(&world.desired, &world.observed, world.now).runs;
    assert_eq!(begins(&world), []);
    world.observed.connections.insert(("acme".to_owned(), "corp".to_owned()), ConnectionRow { generation: row.generation - 1, ..row });
    assert_eq!(begins(&world), [(key("DirectoryConnection/corp"), Begin::Due)]);
}

#[test]
fn y8_each_connection_begins_at_a_place_of_its_own_within_a_tenth_of_its_interval() {
    let mut world = World::new();
    let names: Vec<_> = (0..100).map(|n| format!("c{n}")).collect();
    let resources: String = names.iter().map(|name| format!("DirectoryConnection/{name}: {{{SPEC}, interval: 100m}}\n")).collect();
    world.apply(&resources);
    for name in &names {
        let generation = world.desired.resources[&key(&format!("DirectoryConnection/{name}"))].generation;
        let row = ConnectionRow { generation, ..ran(&world, None) };
        world.observed.connections.insert(("acme".to_owned(), name.clone()), row);
    }
    let plan = plan(&world.desired, &world.observed, world.now);
    let after: Vec<_> = plan.moments.iter().map(|(at, _)| at.duration_since(world.now).as_secs()).collect();
    assert_eq!((after.len(), plan.runs.len()), (100, 0));
    assert!(after.iter().all(|seconds| (6_000..=6_600).contains(seconds)), "{after:?}");
    assert!(after.iter().collect::<std::collections::BTreeSet<_>>().len() > 50, "{after:?}");
}

#[test]
fn c6_another_secret_is_tried_at_once_where_the_last_one_opened_nothing() {
    let mut world = applied("");
    set_secrets(&mut world, "one");
    let generation = world.desired.resources[&key("DirectoryConnection/corp")].generation;
    let mut begins = |problem: Option<Reason>, read: u64| {
        let mut row = ConnectionRow { generation, secrets: "one".to_owned(), ..ran(&world, problem.map(|reason| (reason, ""))) };
        row.last_run.as_mut().unwrap().counts.read = read;
        world.observed.connections.insert(("acme".to_owned(), "corp".to_owned()), row);
        ["one", "another"].map(|secrets| {
            set_secrets(&mut world, secrets);
            plan(&world.desired, &world.observed, world.now).runs.len()
        })
    };
    assert_eq!(begins(Some(Reason::BindRefused), 0), [0, 1]);
    assert_eq!(begins(Some(Reason::TlsFailed), 0), [0, 1]);
    // It opens the way to what is read: the next run, when it is due, takes the new one.
    assert_eq!(begins(None, 40), [0, 0]);
    assert_eq!(begins(Some(Reason::SizeLimitExceeded), 40), [0, 0]);
}

/// What the connection's Secrets say.
fn set_secrets(world: &mut World, secrets: &str) {
    for resource in world.desired.resources.values_mut() {
        if let Ok(Declared::Connection(declared)) = &mut Arc::make_mut(resource).declared {
            declared.secrets = SecretState::Ready(secrets.to_owned());
        }
    }
}

/// What was handled is read for the resources of a slice alone. Of others a request would be written again and again, and a new one would
/// count as handled although no run began.
#[test]
fn c6_no_action_is_taken_of_a_connection_that_is_there_for_one_of_its_addresses_alone() {
    let mut world = applied("");
    world.apply("InternalDomain/x: {domain: acme.example}\nEmailAddress/anna: {address: anna@acme.example}");
    let row = world.observed.addresses.get_mut(&address("anna@acme.example")).unwrap();
    row.directory.get_or_insert_default().connection = Some("corp".to_owned());
    world.annotate("DirectoryConnection/corp", "requestedAt", "one");
    let noted = world.observed.handled.remove(&(key("DirectoryConnection/corp"), Action::RequestedAt));
    assert_eq!(noted.as_deref(), Some("one"));
    let whole = plan(&world.desired, &world.observed, world.now);
    assert!(matches!(whole.changes.as_slice(), [Change::PutHandled { .. }]), "{:?}", whole.changes);

    let mut roster = Roster::default();
    roster.insert(Resource::clone(&world.desired.resources[&key("DirectoryConnection/corp")]));
    world.desired.resources.remove(&key("DirectoryConnection/corp"));
    roster.add_unreadable_owners(&mut world.desired, &world.observed);
    assert!(world.desired.resources.contains_key(&key("DirectoryConnection/corp")));
    let part = plan(&world.desired, &world.observed, world.now);
    assert!(part.changes.is_empty() && part.runs.iter().all(|(_, begin)| *begin == Begin::Due), "{:?} {:?}", part.changes, part.runs);
}
