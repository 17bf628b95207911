//! Whom changes that were carried out concern, besides those who were planned with them. Forgetting somebody leaves a status, or a right,
//! as it was until something else touches it; naming too many costs a batch of thousands.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Roster;
use crate::model::{Kind, ResourceKey};
use crate::plan::change::Change;
use crate::plan::desired::{Declared, Resource};
use crate::plan::observed::LinkRow;
use crate::plan::reason::Reason;
use crate::plan::subject::Subject;

impl Roster {
    /// For whom changes may matter that were not planned with them: everybody who looks at their subjects. But what is new of an address may
    /// be so to its claimants alone; and that a primary has one more alias, or one less, or soon will, concerns who tells of its aliases and
    /// who wants to make an alias of it, not its thousand others.
    #[must_use]
    pub fn concerned(&self, changes: &[Change]) -> BTreeSet<ResourceKey> {
        let (mut claimed, mut looked_at) = (BTreeSet::new(), BTreeSet::new());
        for change in changes {
            match change {
                Change::PutAddress { address, outward: false, .. } => {
                    claimed.insert(Subject::Address(address.clone()));
                }
                Change::PutLink { alias, row: LinkRow { primary, .. } } | Change::DeleteLink { alias, primary } => {
                    looked_at.insert(Subject::Link(alias.clone()));
                    claimed.extend([Subject::Address(primary.clone()), Subject::Link(primary.clone())]);
                }
                Change::PutWait { address, primary: Some(primary), .. } | Change::DeleteWait { address, primary: Some(primary), .. } => {
                    looked_at.insert(Subject::Link(address.clone()));
                    claimed.insert(Subject::Link(primary.clone()));
                }
                // Every row of it goes along, in view or not.
                Change::TransferDomain { domain, .. } => {
                    let lies_in_it = |subject: &&Subject| subject.addresses().any(|address| address.is_in(domain));
                    looked_at.extend(self.claims.keys().chain(self.references.keys()).filter(lies_in_it).cloned());
                    looked_at.insert(Subject::Domain(domain.clone()));
                }
                _ => looked_at.extend(change.subjects()),
            }
        }
        let with_another_super: BTreeSet<_> = changes.iter().filter_map(|change| self.gains_super(change)).collect();
        let kept = with_another_super.into_iter().flat_map(|namespace| self.kept_for_the_last_super(namespace));
        let claimants = claimed.iter().flat_map(|subject| self.claimants(subject)).cloned();
        looked_at.iter().flat_map(|subject| self.dependents(subject)).chain(claimants).chain(kept).collect()
    }

    /// The namespace that has another super administrator by this change.
    fn gains_super<'c>(&self, change: &'c Change) -> Option<&'c str> {
        match change {
            Change::PutRole { namespace, row, .. } => row.is_super().then_some(namespace),
            Change::PutMember { namespace, role, .. } => {
                let declared = &self.get(&ResourceKey::new(Kind::AdminRole, namespace, role))?.declared;
                matches!(declared, Ok(Declared::Role(role)) if role.is_super()).then_some(namespace)
            }
            _ => None,
        }
    }

    /// Whoever would have removed the last super administrator of a namespace, and may once there is another (R2).
    fn kept_for_the_last_super<'r>(&'r self, namespace: &'r str) -> impl Iterator<Item = ResourceKey> + 'r {
        let of = move |kind| {
            let first = ResourceKey::new(kind, namespace, "");
            self.resources.range(first..).take_while(move |(key, _)| key.kind == kind && key.namespace == namespace)
        };
        let refused = |(_, resource): &(_, &Arc<Resource>)| resource.last.reason == Some(Reason::LastSuperAdministrator);
        [Kind::AliasLink, Kind::AdminRole].into_iter().flat_map(of).filter(refused).map(|(key, _)| key.clone())
    }

    /// The domains whose end (D2) or handover (D1) may have waited for just these changes.
    #[must_use]
    pub fn domains_waiting_for(&self, changes: &[Change]) -> BTreeSet<ResourceKey> {
        let subjects: BTreeSet<_> = changes.iter().flat_map(Change::subjects).collect();
        let domains: BTreeSet<_> = subjects.iter().flat_map(Subject::addresses).map(|a| Subject::Domain(a.domain())).collect();
        let waits = |key: &&ResourceKey| self.resources.get(*key).is_some_and(|resource| resource.waits_for_rows());
        domains.iter().flat_map(|domain| self.claimants(domain)).filter(waits).cloned().collect()
    }
}
