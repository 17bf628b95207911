//! When a domain's counts are due (SPEC D3, P8): soon after a quiet minute, else at most once a minute.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::DomainName;

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
    now_due: Vec<DomainName>,
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

    /// Takes the domains whose counts are due; [`Self::counted`] hands them to the next batch.
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

    /// The domains to count in the batch that begins.
    pub fn for_batch(&mut self) -> Vec<DomainName> {
        std::mem::take(&mut self.now_due)
    }
}
