//! Addresses learned from outbound mail (SPEC 14, record_sender_v1; U8).

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::addresses;
use super::subject::Subject;
use super::working::Working;
use crate::model::Address;

/// New addresses a domain and hour.
const LIMIT: u64 = 100;
/// How long a purged address is not learned again (U8).
const TOMBSTONE: SignedDuration = SignedDuration::from_hours(90 * 24);

pub(super) fn settle(w: &mut Working<'_>) {
    for (domain, queue) in w.next.learned.clone() {
        let Some(row) = w.next.domains.get(&domain) else {
            w.next.learned.remove(&domain);
            continue;
        };
        let namespace = row.namespace.clone();
        let learns = row.learn_senders && !matches!(row.recipient_validation.as_str(), "Directory" | "None");
        let mut room = LIMIT.saturating_sub(w.next.numbers.get(&domain).map_or(0, |n| n.learned));
        let mut left = BTreeSet::new();
        for queued in queue {
            // What mail servers report is folded by SQL, which knows less than A1 asks.
            let Ok(parsed) = Address::parse(queued.as_str()) else {
                continue;
            };
            let address = parsed.canonical().clone();
            let buried = w.next.tombstones.get(&address).is_some_and(|at| w.now.duration_since(*at) < TOMBSTONE);
            if !learns || buried || w.next.addresses.contains_key(&address) {
                continue;
            }
            if room == 0 {
                left.insert(queued);
                continue;
            }
            room -= 1;
            let new = addresses::new_row(w, &parsed, &namespace, "MailFlow");
            w.next.addresses.insert(address.clone(), new);
            w.next.numbers.entry(domain.clone()).or_default().learned += 1;
            w.because(Subject::Address(address), super::Cause { actor: "mail flow".to_owned(), reason: "SenderLearned" });
        }
        if !left.is_empty() {
            let again = w.now.saturating_add(SignedDuration::from_mins(1)).unwrap_or(w.now);
            w.moments.push((again, Subject::Domain(domain.clone())));
        }
        w.next.learned.insert(domain, left);
    }
}
