//! What planning costs: resources planned a second on one core, at several sizes, beside a baseline measured in the same run (copying
//! the same rows and comparing them once, which any planner has to do).
//!
//! `cargo bench --bench plan`, or `make bench`. Prints a table; asserts nothing.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a benchmark that can't run has failed"
)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use mailroster::api::{EmailAddressSpec, InternalDomainSpec};
use mailroster::model::{Kind, ResourceKey};
use mailroster::plan::admit::Admit;
use mailroster::plan::desired::{Actions, Desired, Last, Resource};
use mailroster::plan::{Observed, plan};

fn resource(kind: Kind, name: &str, spec: &dyn Admit) -> Resource {
    Resource {
        key: ResourceKey::new(kind, "acme", name),
        uid: Box::default(),
        created: Timestamp::UNIX_EPOCH,
        generation: 1,
        deleting: false,
        finalizer: false,
        suspended: false,
        declared: spec.admit(),
        actions: Actions::default(),
        last: Last::default(),
    }
}

fn tenant(addresses: usize) -> Desired {
    let domain = InternalDomainSpec { domain: "acme.example".to_owned(), ..Default::default() };
    let mut resources = vec![resource(Kind::InternalDomain, "acme", &domain)];
    for i in 0..addresses {
        let spec = EmailAddressSpec {
            address: format!("desk{i}@acme.example"),
            display_name: Some(format!("Desk {i}")),
            attributes: Some(BTreeMap::from([("department".to_owned(), "Sales".to_owned())])),
            ..Default::default()
        };
        resources.push(resource(Kind::EmailAddress, &format!("desk{i}"), &spec));
    }
    Desired { resources: resources.into_iter().map(|r| (r.key.clone(), Arc::new(r))).collect(), ..Desired::default() }
}

/// The controller's own (see main.rs).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The median of five runs.
fn median(mut run: impl FnMut()) -> Duration {
    let mut times: Vec<_> = (0..5)
        .map(|_| {
            let began = Instant::now();
            run();
            began.elapsed()
        })
        .collect();
    times.sort();
    times[2]
}

fn main() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    println!("{:>10} {:>16} {:>16} {:>16} {:>12}", "resources", "create, /s", "unchanged, /s", "baseline, /s", "of baseline");
    for size in [1_000, 10_000, 50_000] {
        let desired = tenant(size);
        let empty = Observed::default();
        let mut settled = Observed::default();
        for change in &plan(&desired, &empty, now).changes {
            settled.apply(change).unwrap();
        }
        let create = median(|| drop(black_box(plan(&desired, &empty, now))));
        let unchanged = median(|| drop(black_box(plan(&desired, &settled, now))));
        let baseline = median(|| assert!(black_box(&settled).clone() == settled));
        let rate = |took: Duration| size as f64 / took.as_secs_f64();
        println!(
            "{size:>10} {:>16.0} {:>16.0} {:>16.0} {:>11.2}x",
            rate(create),
            rate(unchanged),
            rate(baseline),
            unchanged.as_secs_f64() / baseline.as_secs_f64()
        );
    }
}
