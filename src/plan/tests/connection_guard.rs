//! The guard of a connection by itself (SPEC Y6, Y7, C6): who passes, who is held, and what a yes releases.

use jiff::{SignedDuration, Timestamp};

use super::world::{NOON, World, address, key};
use crate::model::CanonicalAddress;
use crate::plan::desired::{ConnectionDeclared, Declared};
use crate::plan::directory::guard::{ConnectionNumbers, Judgement, judge, leave_to_others};
use crate::plan::directory::rows::Leaver;

type Leavers = Vec<(CanonicalAddress, Leaver)>;

/// With the guard of ten percent and ten, and `missedRuns: 2`.
fn declared() -> ConnectionDeclared {
    let mut world = World::new();
    world.apply(
        "DirectoryConnection/corp: {type: OpenLDAP, urls: [ldaps://ldap.corp.example], baseDN: dc=corp,
            bind: {dn: 'cn=sync,dc=corp', passwordSecretRef: {name: s, key: k}}}",
    );
    match &world.desired.resources[&key("DirectoryConnection/corp")].declared {
        Ok(Declared::Connection(declared)) => declared.as_ref().clone(),
        other => panic!("{other:?}"),
    }
}

fn noon() -> Timestamp {
    NOON.parse().unwrap()
}

/// So many who were missed so often: `name0`, `name1`, …
fn missing(name: &str, count: usize, missed: u32) -> Leavers {
    let leaver = Leaver { since: noon(), missed, held: false, approved: false, cleared_at: None };
    (0..count).map(|n| (address(&format!("{name}{n:02}@acme.example")), leaver)).collect()
}

fn held(name: &str, count: usize) -> Leavers {
    missing(name, count, 2).into_iter().map(|(address, leaver)| (address, Leaver { held: true, ..leaver })).collect()
}

fn let_pass(name: &str, count: usize) -> Leavers {
    let at = noon() - SignedDuration::from_hours(1);
    missing(name, count, 2).into_iter().map(|(address, leaver)| (address, Leaver { cleared_at: Some(at), ..leaver })).collect()
}

fn names(leavers: &Leavers) -> Vec<CanonicalAddress> {
    leavers.iter().map(|(address, _)| address.clone()).collect()
}

fn of(entries: u64, done: u64) -> ConnectionNumbers {
    ConnectionNumbers { entries, done }
}

#[test]
fn y7_as_many_as_the_limit_pass_and_with_one_more_none_does() {
    let declared = declared();
    // Of how many, and the limit: the larger of ten and ten percent, and never more than half.
    for (entries, limit) in [(20, 10), (100, 10), (101, 11), (1_000, 100), (12, 6), (9, 4), (3, 1), (1, 1)] {
        let some = missing("a", limit, 2);
        let judgement = judge(&some, of(entries, 0), &declared, None);
        let expected = Judgement { cleared: names(&some), ..Judgement::default() };
        assert_eq!(judgement, expected, "{limit} of {entries}");
        let judgement = judge(&missing("a", limit + 1, 2), of(entries, 0), &declared, None);
        assert!(judgement.hold && judgement.cleared.is_empty(), "{} of {entries}: {judgement:?}", limit + 1);
        assert_eq!(judgement.held.unwrap().count, limit + 1);
    }
}

#[test]
fn y7_those_let_pass_within_the_day_count_against_the_next() {
    let declared = declared();
    let three = missing("a", 3, 2);
    assert_eq!(judge(&three, of(100, 7), &declared, None).cleared, names(&three));
    let judgement = judge(&three, of(100, 8), &declared, None);
    assert!(judgement.hold && judgement.cleared.is_empty(), "{judgement:?}");
    // With nobody to let pass there is nothing to hold, however many passed.
    assert_eq!(judge(&missing("a", 3, 1), of(100, 50), &declared, None), Judgement::default());
    assert_eq!(judge(&let_pass("b", 30), of(100, 30), &declared, None), Judgement::default());
}

#[test]
fn y6_y7_who_was_missed_too_seldom_does_not_pass_and_waits_along_with_those_that_are_held() {
    let declared = declared();
    let all = [missing("ripe", 10, 2), missing("young", 20, 1)].concat();
    assert_eq!(judge(&all, of(100, 0), &declared, None).cleared, names(&missing("ripe", 10, 2)));
    let all = [missing("ripe", 11, 2), missing("young", 20, 1)].concat();
    let judgement = judge(&all, of(100, 0), &declared, None);
    assert_eq!((judgement.hold, judgement.held.unwrap().count), (true, 31), "there is no drip");
    // And whoever comes to be missing while some are held, be it one alone.
    let all = [held("held", 11), missing("late", 1, 1)].concat();
    let judgement = judge(&all, of(100, 0), &declared, None);
    assert_eq!((judgement.hold, judgement.held.unwrap().count, judgement.cleared.len()), (true, 12, 0));
}

#[test]
fn y7_c6_a_yes_releases_exactly_those_that_were_held_and_who_is_missing_since_stays() {
    let declared = declared();
    let plan = judge(&held("held", 12), of(40, 0), &declared, None).held.unwrap();
    assert_eq!((plan.count, plan.sample.len(), plan.sample[0].as_str()), (12, 10, "Leave held00@acme.example"));
    // Missing since the plan was told, ripe or not, and let pass long ago: none of them is part of it.
    let all = [held("held", 12), missing("late", 2, 1), missing("ripe", 2, 5), let_pass("gone", 3)].concat();
    let judgement = judge(&all, of(40, 3), &declared, Some(&plan.hash));
    let expected = Judgement { cleared: names(&held("held", 12)), hold: false, held: None, approved: Some(plan.hash.clone()) };
    assert_eq!(judgement, expected);
    // They are judged at the next run, by themselves: approved ones count against nobody.
    let rest = [missing("late", 2, 2), missing("ripe", 2, 6), let_pass("gone", 3)].concat();
    let judgement = judge(&rest, of(40, 3), &declared, Some(&plan.hash));
    assert_eq!((judgement.cleared.len(), judgement.approved), (4, None));
}

#[test]
fn y7_c6_a_hash_of_another_plan_releases_nothing() {
    let declared = declared();
    let hash = |leavers: &Leavers| judge(leavers, of(40, 0), &declared, None).held.unwrap().hash;
    let (eleven, twelve) = (hash(&held("held", 11)), hash(&held("held", 12)));
    assert_ne!(eleven, twelve);
    // Of as many, but not the same.
    assert_ne!(hash(&held("other", 12)), twelve);
    for wrong in [eleven.as_str(), "", "0000000000000000", &twelve[..15]] {
        let judgement = judge(&held("held", 12), of(40, 0), &declared, Some(wrong));
        assert_eq!((judgement.approved, judgement.cleared.len(), judgement.hold), (None, 0, true), "{wrong}");
    }
    // Nothing is held: a hash that was a plan's once releases nobody either.
    let judgement = judge(&missing("held", 12, 2), of(40, 0), &declared, Some(&twelve));
    assert_eq!((judgement.approved, judgement.cleared.len(), judgement.held.unwrap().hash), (None, 0, twelve));
}

#[test]
fn y7_who_comes_back_leaves_the_plan_and_the_rest_wait_on() {
    let declared = declared();
    let judgement = judge(&held("held", 1), of(40, 0), &declared, None);
    assert_eq!((judgement.cleared.len(), judgement.held.unwrap().count), (0, 1), "few now, but nobody said yes");
    assert_eq!(judge(&Leavers::new(), of(40, 0), &declared, None), Judgement::default());
}

#[test]
fn y8_whom_another_connection_may_have_waits_for_its_run_and_who_was_missing_before_does_not() {
    let declared = declared();
    let before = |leavers: Leavers, seconds| -> Leavers {
        leavers
            .into_iter()
            .map(|(address, leaver)| (address, Leaver { since: noon() - SignedDuration::from_secs(seconds), ..leaver }))
            .collect()
    };
    let mut all = [before(missing("long", 2, 2), 900), before(missing("now", 30, 2), 0)].concat();
    leave_to_others(&mut all, noon());
    assert_eq!(judge(&all, of(100, 0), &declared, None).cleared, names(&missing("long", 2, 2)));
    // One plan all the same, as soon as there is one.
    let mut all = [before(held("held", 2), 900), before(missing("now", 30, 2), 0)].concat();
    leave_to_others(&mut all, noon());
    assert_eq!(judge(&all, of(100, 0), &declared, None).held.unwrap().count, 32);
}
