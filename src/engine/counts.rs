//! When a domain's counts are due (SPEC D3, P8): soon after a quiet minute, else at most once a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::model::DomainName;
use crate::plan::Subject;

const SOON: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
struct Count {
    counted: Option<Instant>,
    due: Option<Instant>,
}

/// When each domain was counted, and when it is to be again.
#[derive(Debug, Default)]
pub struct Counting {
    domains: BTreeMap<DomainName, Count>,
    /// To be counted with the first batch that comes through with them in it.
    now_due: BTreeSet<DomainName>,
}

impl Counting {
    /// Addresses of the domain changed.
    pub fn changed(&mut self, domain: &DomainName) {
        let now = Instant::now();
        let count = self.domains.entry(domain.clone()).or_default();
        let after_minute = count.counted.map_or(now, |counted| counted + MINUTE);
        count.due.get_or_insert((now + SOON).max(after_minute));
    }

    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.domains.values().filter_map(|count| count.due).min()
    }

    /// Takes the domains whose counts are due; [`Self::within`] gives them to the batch that has them.
    pub fn take_due(&mut self) -> Vec<DomainName> {
        let now = Instant::now();
        let mut due = Vec::new();
        for (domain, count) in &mut self.domains {
            if count.due.is_some_and(|at| at <= now) {
                *count = Count { counted: Some(now), due: None };
                due.push(domain.clone());
            }
        }
        self.now_due.extend(due.iter().cloned());
        due
    }

    /// What was counted last could not be told yet, and may be out of date when it can.
    pub fn again(&mut self, domain: &DomainName) {
        self.now_due.insert(domain.clone());
    }

    /// The domains among these that are to be counted.
    pub fn within(&self, subjects: &BTreeSet<Subject>) -> BTreeSet<DomainName> {
        self.now_due.iter().filter(|domain| subjects.contains(&Subject::Domain((*domain).clone()))).cloned().collect()
    }

    /// A batch that counted these came through.
    pub fn counted(&mut self, domains: &BTreeSet<DomainName>) {
        self.now_due.retain(|domain| !domains.contains(domain));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d3_what_is_due_stays_due_until_a_batch_that_has_it_came_through() {
        let (acme, globex) = (DomainName::from_store("acme.example"), DomainName::from_store("globex.example"));
        let mut counting = Counting::default();
        counting.again(&acme);
        let without = BTreeSet::from([Subject::Domain(globex)]);
        assert!(counting.within(&without).is_empty());
        let with = BTreeSet::from([Subject::Domain(acme.clone())]);
        // A batch that is planned twice counts twice.
        for _ in 0..2 {
            assert_eq!(counting.within(&with), BTreeSet::from([acme.clone()]));
        }
        counting.counted(&counting.within(&with));
        assert!(counting.within(&with).is_empty());
    }
}
