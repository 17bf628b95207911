//! A verdict as the status that the API server gets, and the events that its transitions are worth.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::Value;

use super::shadow::{Shadow, Transition};
use super::status::Status;
use crate::api::{self, names};
use crate::plan::desired::Action;
use crate::plan::directory::rows::RunRecord;
use crate::plan::reason::{Disposition, Reason};
use crate::plan::verdict::{AddressDetail, ConnectionDetail, Detail, HeldPlan};
use crate::plan::{Verdict, verdict};

/// Something that changed, for an Event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub reason: Reason,
    pub message: String,
    pub warning: bool,
}

/// Conditions whose True is bad news.
const TROUBLES: [&str; 8] =
    ["Locked", "ResetLocked", "Disabled", "HolderChanged", "DeletionsHeld", "AddressesEnding", "PostmasterMissing", "LearningHeld"];

/// The whole status, with the transition times of `shadow` where nothing changed.
pub fn status(verdict: &Verdict, shadow: &Shadow, now: Timestamp) -> Status {
    let conditions = conditions(verdict, shadow, now);
    let observed_generation = Some(verdict.generation);
    let token = |action: Action| verdict.handled.get(&action).cloned();
    let requested = || token(Action::RequestedAt).map(|token| api::LastHandled { requested_at: Some(token) });
    match &verdict.detail {
        Detail::Settings { held } => {
            let handled = api::AccountSettingsLastHandled { requested_at: token(Action::RequestedAt), approve: token(Action::Approve) };
            Status::from(api::AccountSettingsStatus {
                observed_generation,
                conditions,
                held_plan: held.as_ref().map(held_plan),
                last_handled: (!verdict.handled.is_empty()).then_some(handled),
            })
        }
        Detail::Domain { addresses, held } => {
            let handled = api::InternalDomainLastHandled {
                requested_at: token(Action::RequestedAt),
                approve: token(Action::Approve),
                transfer_to: token(Action::TransferTo),
                unlock: token(Action::Unlock),
                reset_codes: token(Action::ResetCodes),
            };
            Status::from(api::InternalDomainStatus {
                observed_generation,
                conditions,
                addresses: addresses.map(counts).or_else(|| shadow.addresses.as_deref().cloned()),
                held_plan: held.as_ref().map(held_plan),
                last_handled: (!verdict.handled.is_empty()).then_some(handled),
            })
        }
        Detail::Address(detail) => address(detail, verdict, observed_generation, conditions).into(),
        Detail::Link { primary, origin } => Status::from(api::AliasLinkStatus {
            observed_generation,
            conditions,
            primary: filled(primary),
            // A link's origin is Declared or Directory; the roster's word for what a resource declares is Manual.
            origin: match origin.as_str() {
                "Declared" => Some(api::Origin::Manual),
                "Directory" => Some(api::Origin::Directory),
                _ => None,
            },
            last_handled: requested(),
        }),
        Detail::Delegation { effective_at, visible_from } => Status::from(api::DelegateMailboxStatus {
            observed_generation,
            conditions,
            effective_at: effective_at.map(time),
            visible_from: *visible_from,
            last_handled: requested(),
        }),
        Detail::Role { total, in_force, rejected } => Status::from(api::AdminRoleStatus {
            observed_generation,
            conditions,
            members: Some(api::RoleMembers {
                total: number(*total),
                in_force: number(*in_force),
                rejected: rejected
                    .iter()
                    .map(|r| api::RejectedMember { address: r.address.clone(), reason: r.reason.to_string(), holder: filled(&r.holder) })
                    .collect(),
            }),
            last_handled: requested(),
        }),
        Detail::Connection(detail) => {
            let ConnectionDetail { last_run, last_complete, last_successful, held_leavers, held_holders } = &**detail;
            let handled = api::DirectoryConnectionLastHandled { requested_at: token(Action::RequestedAt), approve: token(Action::Approve) };
            Status::from(api::DirectoryConnectionStatus {
                observed_generation,
                conditions,
                last_run: last_run.as_ref().map(run),
                last_complete_run: last_complete.map(time),
                last_successful_run: last_successful.map(time),
                held_plan: held_leavers.as_ref().map(held_plan),
                held_holders: held_holders.as_ref().map(held_plan),
                last_handled: (!verdict.handled.is_empty()).then_some(handled),
            })
        }
    }
}

fn run(record: &RunRecord) -> api::DirectoryRun {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let RunRecord { started_at, finished_at, server, mode, complete, counts, problem: _, reports } = record;
    api::DirectoryRun {
        started_at: Some(time(*started_at)),
        finished_at: Some(time(*finished_at)),
        server: filled(server),
        mode: filled(mode),
        complete: *complete,
        read: number(counts.read),
        skipped: number(counts.skipped),
        created: number(counts.created),
        updated: number(counts.updated),
        unchanged: number(counts.unchanged),
        linked: number(counts.linked),
        relinked: number(counts.relinked),
        unlinked: number(counts.unlinked),
        disabled: number(counts.disabled),
        enabled: number(counts.enabled),
        missing: number(counts.missing),
        held: number(counts.held),
        reported: number(counts.reported),
        reports: reports.iter().take(names::MOST_REPORTS).map(|report| report.chars().take(names::LONGEST_REPORT).collect()).collect(),
    }
}

fn address(
    detail: &AddressDetail,
    verdict: &Verdict,
    observed_generation: Option<i64>,
    conditions: Vec<Condition>,
) -> api::EmailAddressStatus {
    let handled = api::EmailAddressLastHandled {
        requested_at: verdict.handled.get(&Action::RequestedAt).cloned(),
        unlock_at: verdict.handled.get(&Action::UnlockAt).cloned(),
        reset_codes_at: verdict.handled.get(&Action::ResetCodesAt).cloned(),
    };
    let last_handled = (!verdict.handled.is_empty()).then_some(handled);
    if detail.origin.is_empty() {
        return api::EmailAddressStatus { observed_generation, conditions, last_handled, ..Default::default() };
    }
    let changed_by = match detail.password_changed_by {
        "User" => Some(api::PasswordChangedBy::User),
        "Declared" => Some(api::PasswordChangedBy::Declared),
        _ => None,
    };
    api::EmailAddressStatus {
        observed_generation,
        conditions,
        origin: serde_json::from_value(Value::String(detail.origin.clone())).ok(),
        global_name: filled(&detail.global_name),
        alias_of: filled(&detail.alias_of),
        aliases: detail.aliases.clone(),
        alias_count: Some(number(detail.alias_count)),
        role: filled(&detail.role),
        lock: Some(api::LockStatus { failed_logons: i64::from(detail.failed_logons), locked_until: detail.locked_until.map(time) }),
        password_reset: Some(api::PasswordResetStatus { failed_codes: i64::from(detail.failed_codes) }),
        password: changed_by.map(|changed_by| api::PasswordStatus {
            set_at: detail.password_set_at.map(time),
            expires_at: detail.password_expires_at.map(time),
            changed_by: Some(changed_by),
        }),
        held_messages: Some(i64::from(detail.held_messages)),
        purge: detail.purge.as_ref().map(|purge| api::PurgeStatus {
            requested_at: Some(time(purge.requested_at)),
            not_before: Some(time(purge.not_before)),
            blockers: purge
                .blockers
                .iter()
                .map(|blocker| api::PurgeBlocker {
                    reason: blocker.reason.to_string(),
                    message: cut(&blocker.message),
                    since: Some(time(purge.requested_at)),
                })
                .collect(),
        }),
        last_handled,
    }
}

/// The kstatus triple, then the kind's own (C1, C2).
fn conditions(verdict: &Verdict, shadow: &Shadow, now: Timestamp) -> Vec<Condition> {
    let ready = &verdict.ready;
    let was_ready = shadow.transition("Ready").is_some_and(|ready| ready.status);
    let is_ready = if ready.reason == Reason::Suspended { was_ready } else { ready.is_fine() };
    let mut all = vec![verdict::Condition::new("Ready", is_ready, ready.reason, ready.message.clone())];
    match ready.reason.disposition() {
        Disposition::Waiting => all.push(verdict::Condition::new("Reconciling", true, ready.reason, ready.message.clone())),
        Disposition::Rejected => all.push(verdict::Condition::new("Stalled", true, ready.reason, ready.message.clone())),
        Disposition::Fine | Disposition::Aside => {}
    }
    all.extend(verdict.conditions.iter().cloned());
    all.into_iter()
        .map(|condition| {
            let since = shadow.transition(condition.kind).filter(|before| before.status == condition.status).map(Transition::time);
            Condition {
                type_: condition.kind.to_owned(),
                status: if condition.status { "True" } else { "False" }.to_owned(),
                reason: condition.reason.to_string(),
                message: cut(&condition.message),
                observed_generation: Some(verdict.generation),
                last_transition_time: Time(since.unwrap_or(now)),
            }
        })
        .collect()
}

/// What is worth an Event: another reason on Ready, or another condition that turned (C5). What is in force from the start tells nobody
/// anything new; an Event for each would be a second write for each resource.
pub fn transitions(status: &Status, shadow: &Shadow) -> Vec<Told> {
    let mut found = Vec::new();
    for condition in status.conditions().iter().filter(|condition| !matches!(condition.type_.as_str(), "Reconciling" | "Stalled")) {
        let (kind, is_true) = (condition.type_.as_str(), condition.status == "True");
        let reason = condition.reason.parse().unwrap_or(Reason::InternalError);
        let before = shadow.transition(kind);
        let worth = match (kind, before) {
            ("Ready", Some(before)) => before.reason != Some(reason),
            ("Ready", None) => !is_true,
            (_, Some(before)) => before.status != is_true,
            (kind, None) => is_true && TROUBLES.contains(&kind),
        };
        if worth {
            let message = if condition.message.is_empty() { format!("{kind} is {is_true}") } else { condition.message.clone() };
            // What goes on by itself is no warning.
            let warning = match kind {
                "Ready" | "CredentialReady" => !is_true && reason.disposition() == Disposition::Rejected,
                kind => is_true && TROUBLES.contains(&kind),
            };
            found.push(Told { reason, message, warning });
        }
    }
    found.dedup_by(|a, b| a.reason == b.reason);
    found
}

/// The API writes whole seconds; what reads back must be what was written (C3).
fn time(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

fn filled(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn cut(message: &str) -> String {
    let longest = names::LONGEST_MESSAGE;
    if message.chars().count() <= longest { message.to_owned() } else { message.chars().take(longest).collect() }
}

fn held_plan(plan: &HeldPlan) -> api::HeldPlan {
    api::HeldPlan { hash: plan.hash.clone(), count: number(plan.count), sample: plan.sample.clone() }
}

fn counts(counts: crate::plan::observed::Counts) -> api::AddressCounts {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    api::AddressCounts {
        total: number(counts.total),
        manual: number(counts.manual),
        mail_flow: number(counts.mail_flow),
        directory: number(counts.directory),
        imported: number(counts.imported),
        distribution_lists: number(counts.distribution_lists),
        aliases: number(counts.aliases),
        undeclared: number(counts.undeclared),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::verdict::Finding;

    fn verdict(ready: Reason, locked: bool) -> Verdict {
        let lock = if locked { Reason::TooManyFailedLogons } else { Reason::NotLocked };
        Verdict {
            generation: 1,
            ready: Finding { reason: ready, message: "as it is".to_owned() },
            conditions: vec![verdict::Condition::quiet("Locked", locked, lock)],
            detail: Detail::Address(Box::default()),
            handled: std::collections::BTreeMap::new(),
            release: false,
        }
    }

    fn told(verdict: &Verdict, shadow: &Shadow) -> Vec<(Reason, bool)> {
        let status = status(verdict, shadow, Timestamp::UNIX_EPOCH);
        transitions(&status, shadow).into_iter().map(|t| (t.reason, t.warning)).collect()
    }

    fn after(verdict: &Verdict) -> Shadow {
        let mut status = status(verdict, &Shadow::default(), Timestamp::UNIX_EPOCH);
        let digests = status.digests();
        Shadow::default().with_status(&status, digests)
    }

    #[test]
    fn c5_events_tell_of_transitions_only() {
        let fine = verdict(Reason::Succeeded, false);
        assert_eq!(told(&fine, &Shadow::default()), [], "in force from the start");
        assert_eq!(told(&fine, &after(&fine)), []);
        let locked = verdict(Reason::Succeeded, true);
        assert_eq!(told(&locked, &after(&fine)), [(Reason::TooManyFailedLogons, true)]);
        assert_eq!(told(&fine, &after(&locked)), [(Reason::NotLocked, false)]);
        let waiting = verdict(Reason::DomainNotFound, false);
        assert_eq!(told(&waiting, &Shadow::default()), [(Reason::DomainNotFound, false)]);
        assert_eq!(told(&fine, &after(&waiting)), [(Reason::Succeeded, false)]);
        assert_eq!(told(&verdict(Reason::DomainNotFound, false), &after(&fine)), [(Reason::DomainNotFound, false)]);
        assert_eq!(told(&verdict(Reason::AddressClaimed, false), &after(&fine)), [(Reason::AddressClaimed, true)]);
    }

    #[test]
    fn c1_the_triple_is_ready_always_and_the_others_only_while_true() {
        let types = |verdict: &Verdict| {
            let status = status(verdict, &Shadow::default(), Timestamp::UNIX_EPOCH);
            status.conditions().iter().map(|c| format!("{}={}", c.type_, c.status)).collect::<Vec<_>>()
        };
        assert_eq!(types(&verdict(Reason::Succeeded, false)), ["Ready=True", "Locked=False"]);
        assert_eq!(types(&verdict(Reason::DomainNotFound, false)), ["Ready=False", "Reconciling=True", "Locked=False"]);
        assert_eq!(types(&verdict(Reason::AddressClaimed, false)), ["Ready=False", "Stalled=True", "Locked=False"]);
    }

    #[test]
    fn c3_a_time_stays_while_its_condition_does() {
        let fine = verdict(Reason::Succeeded, false);
        let later = Timestamp::from_second(1_000).unwrap();
        let again = status(&fine, &after(&fine), later);
        assert_eq!(again.conditions()[0].last_transition_time.0, Timestamp::UNIX_EPOCH);
        let turned = status(&verdict(Reason::AddressClaimed, false), &after(&fine), later);
        assert_eq!(turned.conditions()[0].last_transition_time.0, later);
    }
}
