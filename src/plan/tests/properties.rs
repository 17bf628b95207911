//! The properties of a plan that need no slices. [`World::settle`] and [`World::advance`] hold every case to totality (1), convergence
//! (3), order (5) and minimality (7), and let nothing happen between the moments that a plan asked for.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::generate::{Step, config, generate};
use super::world::{World, key};
use crate::model::CanonicalAddress;
use crate::plan::desired::Desired;
use crate::plan::observed::{Observed, WaitAction};
use crate::plan::{Change, Plan, plan};

fn planned(world: &mut World) -> Plan {
    world.count();
    plan(&world.desired, &world.observed, world.now)
}

/// Plays a case; `look` sees each step when it has happened and nothing was planned for it yet.
fn play(steps: &[Step], mut look: impl FnMut(&Step, &mut World)) -> World {
    let mut world = World::new();
    for step in steps {
        world.happen(step);
        look(step, &mut world);
        world.settle();
        if let Step::Advance(seconds) = step {
            world.advance(*seconds);
        }
    }
    world
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn plans_are_total_convergent_ordered_and_minimal(steps in generate()) {
        play(&steps, |_, _| {});
    }

    #[test]
    fn plans_are_deterministic(steps in generate()) {
        play(&steps, |_, world| {
            let first = planned(world);
            let shuffled = Desired { resources: world.desired.resources.clone().into_iter().rev().collect(), ..world.desired.clone() };
            assert_eq!(format!("{first:?}"), format!("{:?}", plan(&shuffled, &world.observed, world.now)));
        });
    }

    #[test]
    fn a_broken_resource_changes_nobody_elses_outcome(steps in generate()) {
        play(&steps, |_, world| {
            let without = planned(world);
            let mut with = world.clone();
            for (name, spec) in [
                ("InternalDomain/a/broken", "{domain: co.uk, deletionPolicy: Delete}"),
                ("EmailAddress/a/broken", "{address: 'x y@acme.example', deletionPolicy: Purge}"),
                ("EmailAddress/b/broken", "{address: own@nowhere.example}"),
                ("AliasLink/a/broken", "{alias: own@acme.example, primary: own@acme.example, takeOverMailbox: true}"),
                ("DelegateMailbox/a/broken", "{reader: own@acme.example, mailbox: ann@acme.example}"),
                ("AdminRole/a/broken", "{builtIn: HelpDesk, members: [own@acme.example, nobody]}"),
            ] {
                with.put_one(&key(name), serde_yaml::from_str(spec).unwrap());
            }
            let mut with = plan(&with.desired, &with.observed, with.now);
            with.verdicts.retain(|key, _| key.name != "broken");
            // The role itself is made; it has nobody in it.
            with.changes.retain(|change| !matches!(change, Change::PutRole { name, .. } if name == "broken"));
            assert_eq!(with.changes, without.changes);
            assert_eq!(with.verdicts, without.verdicts);
        });
    }

    #[test]
    fn nothing_is_purged_that_was_not_asked_for_and_free(steps in generate()) {
        let mut world = World::new();
        for step in &steps {
            world.happen(step);
            check_purges(&mut world);
            world.settle();
            if let Step::Advance(seconds) = step {
                let target = world.now + SignedDuration::from_secs(*seconds);
                for at in world.plan.moments.iter().map(|(at, _)| *at).filter(|at| *at <= target).collect::<Vec<_>>() {
                    if at > world.now {
                        world.now = at;
                        check_purges(&mut world);
                        world.settle();
                    }
                }
                world.now = target;
                check_purges(&mut world);
                world.settle();
            }
        }
    }

    #[test]
    fn a_tenant_changes_no_row_of_another(steps in generate()) {
        play(&steps, |step, world| {
            let Some(namespace) = step.namespace() else { return };
            let plan = planned(world);
            // A domain that ends may let somebody else's claim come into force.
            if !plan.changes.iter().any(|change| matches!(change, Change::DeleteDomain { .. } | Change::TransferDomain { .. })) {
                for change in &plan.changes {
                    let touched = touches(&world.observed, change);
                    assert!(touched.as_ref().is_none_or(|owner| *owner == namespace), "{namespace} touches {touched:?} by {change:?}");
                }
            }
        });
    }

    #[test]
    fn a_super_administrator_is_never_the_last_to_go(steps in generate()) {
        let supers = |observed: &Observed| {
            let is_super = |role: &&(String, String)| observed.roles.get(*role).is_some_and(super::super::observed::RoleRow::is_super);
            observed.members.values().filter(is_super).map(|role| role.0.clone()).collect::<std::collections::BTreeSet<_>>()
        };
        let mut before = BTreeSet::default();
        let world = play(&steps, |_, world| {
            let now = supers(&world.observed);
            assert!(now.is_superset(&before), "{before:?} became {now:?}");
            before = now;
        });
        assert!(supers(&world.observed).is_superset(&before));
    }
}

/// Whose existing row a change touches.
fn touches(before: &Observed, change: &Change) -> Option<String> {
    let address = |address: &CanonicalAddress| before.addresses.get(address).map(|row| row.namespace.clone());
    match change {
        Change::PutAddress { address: a, .. } | Change::DeleteAddress { address: a, .. } | Change::PutCredential { address: a, .. } => {
            address(a)
        }
        Change::PutWait { address: a, .. } | Change::DeleteWait { address: a, .. } | Change::PutDone { address: a, .. } => address(a),
        Change::DeleteLink { alias, .. } | Change::PutLink { alias, .. } => address(alias),
        Change::DeleteMember { address: a, .. } | Change::PutMember { address: a, .. } => address(a),
        Change::DeleteDelegation { mailbox, .. } | Change::PutDelegation { mailbox, .. } => address(mailbox),
        Change::PutDomain { domain, .. } | Change::DeleteDomain { domain } | Change::TransferDomain { domain, .. } => {
            before.domains.get(domain).map(|row| row.namespace.clone())
        }
        Change::PutRole { namespace, .. } | Change::DeleteRole { namespace, .. } | Change::PutSettings { namespace, .. } => {
            Some(namespace.clone())
        }
        Change::DeleteSettings { namespace } | Change::PutNamespace { namespace, .. } => Some(namespace.clone()),
        Change::PutAbsence { key, .. } | Change::DeleteAbsence { key } => Some(key.namespace.clone()),
        Change::MoveMailboxes { moves } => moves.first().and_then(|moved| address(&moved.from)),
        Change::PutLeaver { address: a, .. } | Change::DeleteLeaver { address: a } => address(a),
        Change::PutEntry { key, .. } | Change::DeleteEntry { key } => Some(key.0.clone()),
        Change::PutDeparted { namespace, .. } | Change::DeleteConnection { namespace, .. } => Some(namespace.clone()),
        // A token is noted when its resource is planned, whoever gave the occasion.
        Change::PutHandled { .. } | Change::ConsumeLearned { .. } | Change::ConsumeTransfer { .. } => None,
    }
}

/// Judges each purge of the next plan by U2, without the plan's own words.
fn check_purges(world: &mut World) {
    let plan = planned(world);
    let before = &world.observed;
    for change in &plan.changes {
        let Change::DeleteAddress { address, purge: true } = change else { continue };
        let asked = |a: &CanonicalAddress| before.waiting.get(&(a.clone(), WaitAction::Purge));
        // Its own purge, or that of its primary.
        let primary = before.links.get(address).map(|row| row.primary.clone());
        let asked_for = asked(address).map(|wait| (address.clone(), *wait));
        let (root, wait) =
            asked_for.or_else(|| primary.and_then(|p| asked(&p).map(|wait| (p, *wait)))).expect("a purge that nobody asked for");
        assert!(wait.since + SignedDuration::from_hours(1) <= world.now, "{address} goes before its delay");
        let approved =
            plan.changes.iter().any(|change| matches!(change, Change::PutHandled { action, .. } if action.as_str() == "approve"));
        assert!(!wait.held || approved, "{address} goes although it is held");
        assert!(
            before.held_sources.values().all(|at| *at >= wait.since) && !before.held_sources.is_empty(),
            "{address}: a queue is silent"
        );
        for name in before.links.aliases_of(&root).chain([&root]) {
            let ends_now = plan.changes.iter().any(|change| matches!(change, Change::DeleteLink { alias, .. } if alias == name));
            assert!(before.reports.get(name).is_none_or(|r| r.held == 0) || ends_now, "mail of {name} is held");
        }
        let leaves = plan.changes.iter().any(|change| matches!(change, Change::DeleteMember { address, .. } if *address == root));
        assert!(!before.members.contains_key(&root) || leaves, "{root} is an administrator");
    }
}
