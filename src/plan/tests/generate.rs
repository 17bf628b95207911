//! Small worlds by chance: two tenants, a parent and a child domain and a third, a handful of addresses, and everything that may be
//! declared about them, changed over several steps. The same cases run against the pure interpreter and against Postgres.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;

use super::world::{World, key};
use crate::model::{DomainName, ResourceKey};

/// One thing that happens; what follows from it is planned afterwards, all at once.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Resources applied together: key and entry of [`World`]'s YAML.
    Apply(Vec<(ResourceKey, String)>),
    Delete(Vec<ResourceKey>),
    /// They go out of sight, nobody knows how (U6).
    Vanish(Vec<ResourceKey>),
    /// Sets an action annotation, where the resource is there.
    Annotate(ResourceKey, &'static str, String),
    /// Approves what the domain holds then.
    Approve(ResourceKey),
    /// The mail queue reports, with this many messages held for the address.
    Held(String, u32),
    Learn(String),
    Advance(i64),
}

impl Step {
    /// The one namespace whose people did it; None for mail servers and the clock.
    pub(crate) fn namespace(&self) -> Option<String> {
        let mut found = self.keys().into_iter().map(|key| key.namespace.clone());
        let first = found.next()?;
        found.all(|other| other == first).then_some(first)
    }

    pub(crate) fn keys(&self) -> Vec<ResourceKey> {
        match self {
            Self::Apply(resources) => resources.iter().map(|(key, _)| key.clone()).collect(),
            Self::Delete(keys) | Self::Vanish(keys) => keys.clone(),
            Self::Annotate(key, ..) | Self::Approve(key) => vec![key.clone()],
            Self::Held(..) | Self::Learn(_) | Self::Advance(_) => vec![],
        }
    }
}

impl World {
    /// Lets a step happen, without planning. The time is moved by the caller.
    pub(crate) fn happen(&mut self, step: &Step) {
        match step {
            Step::Apply(resources) => {
                for (key, spec) in resources {
                    self.put_one(key, serde_yaml::from_str(spec).unwrap());
                }
            }
            Step::Delete(keys) => {
                for key in keys {
                    self.mark_deleted(&format!("{key}"));
                }
            }
            Step::Vanish(keys) => {
                for key in keys {
                    self.mark_vanished(key);
                }
            }
            Step::Annotate(key, annotation, value) => self.put_annotation(key, annotation, value),
            Step::Approve(key) => {
                if let Some(hash) = self.plan.verdicts.get(key).and_then(held).map(|held| held.hash) {
                    self.put_annotation(key, "approve", &hash);
                }
            }
            Step::Held(address, count) => {
                self.observed.held_sources.insert("queue".to_owned(), self.now);
                self.reports(address).held = *count;
            }
            Step::Learn(address) => {
                let address = super::world::address(address);
                let domain: DomainName = address.domain();
                if self.observed.domains.contains_key(&domain) {
                    self.observed.learned.entry(domain).or_default().insert(address);
                }
            }
            Step::Advance(_) => {}
        }
    }
}

fn held(verdict: &crate::plan::Verdict) -> Option<crate::plan::verdict::HeldPlan> {
    match &verdict.detail {
        crate::plan::verdict::Detail::Domain { held, .. } => held.clone(),
        _ => None,
    }
}

fn name() -> impl Strategy<Value = &'static str> {
    select(vec!["one", "two", "three"])
}

fn namespace() -> impl Strategy<Value = &'static str> {
    prop_oneof![3 => Just("a"), 1 => Just("b")]
}

fn domain() -> impl Strategy<Value = &'static str> {
    prop_oneof![4 => Just("acme.example"), 1 => Just("mail.acme.example"), 1 => Just("other.example")]
}

fn address() -> impl Strategy<Value = String> {
    let local = select(LOCALS.to_vec());
    prop_oneof![20 => (local, domain()).prop_map(|(local, domain)| format!("{local}@{domain}")), 1 => Just("no one@acme.example".to_owned())]
}

/// `, suspend: true` now and then.
fn suspend() -> impl Strategy<Value = &'static str> {
    prop_oneof![9 => Just(""), 1 => Just(", suspend: true")]
}

fn spec() -> impl Strategy<Value = (&'static str, String)> {
    let domain = (domain(), select(vec!["Retain", "Delete"]), select(vec!["Known", "Any", "Directory"]), suspend()).prop_map(
        |(domain, policy, mode, suspend)| {
            ("InternalDomain", format!("{{domain: {domain}, deletionPolicy: {policy}, recipientValidation: {mode}{suspend}}}"))
        },
    );
    let more = select(vec![
        "",
        ", displayName: Ann",
        ", disabled: true",
        ", adoptionPolicy: Fail",
        ", password: {secretRef: {name: s, key: k}}, metadata: {password: one}",
        ", password: {secretRef: {name: s, key: k}}, metadata: {password: open two}",
        ", displayName: \"A\\0\"",
    ]);
    let email = (address(), select(vec!["Retain", "Purge"]), more, suspend()).prop_map(|(address, policy, more, suspend)| {
        ("EmailAddress", format!("{{address: {address}, deletionPolicy: {policy}{more}{suspend}}}"))
    });
    let link = (address(), address(), any::<bool>(), any::<bool>(), suspend()).prop_map(|(alias, primary, cross, take, suspend)| {
        ("AliasLink", format!("{{alias: {alias}, primary: {primary}, crossDomain: {cross}, takeOverMailbox: {take}{suspend}}}"))
    });
    let delegation = (address(), address(), suspend())
        .prop_map(|(reader, mailbox, suspend)| ("DelegateMailbox", format!("{{reader: {reader}, mailbox: {mailbox}{suspend}}}")));
    let role = (select(vec!["SuperAdministrator", "HelpDesk"]), proptest::collection::vec(address(), 0..3), suspend()).prop_map(
        |(role, mut members, suspend)| {
            members.sort();
            members.dedup();
            ("AdminRole", format!("{{builtIn: {role}, members: [{}]{suspend}}}", members.join(", ")))
        },
    );
    let connection = (select(vec!["", ", domains: [acme..example]", ", userFilter: '('"]), suspend()).prop_map(|(more, suspend)| {
        let bind = "{dn: 'cn=sync,dc=x', passwordSecretRef: {name: s, key: k}}";
        let spec = format!("{{type: Generic, urls: [ldaps://ldap.example], baseDN: dc=x, bind: {bind}{more}{suspend}}}");
        ("DirectoryConnection", spec)
    });
    prop_oneof![3 => domain, 6 => email, 4 => link, 2 => delegation, 3 => role, 1 => connection]
}

fn resource() -> impl Strategy<Value = (ResourceKey, String)> {
    (namespace(), name(), spec()).prop_map(|(namespace, name, (kind, spec))| (key(&format!("{kind}/{namespace}/{name}")), spec))
}

fn any_key() -> impl Strategy<Value = ResourceKey> {
    let kind = prop_oneof![
        2 => Just("InternalDomain"), 4 => Just("EmailAddress"), 3 => Just("AliasLink"), 2 => Just("DelegateMailbox"), 3 => Just("AdminRole"),
        1 => Just("DirectoryConnection")
    ];
    (kind, namespace(), name()).prop_map(|(kind, namespace, name)| key(&format!("{kind}/{namespace}/{name}")))
}

fn domain_key() -> impl Strategy<Value = ResourceKey> {
    (namespace(), name()).prop_map(|(namespace, name)| key(&format!("InternalDomain/{namespace}/{name}")))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => proptest::collection::vec(resource(), 1..4).prop_map(Step::Apply),
        4 => proptest::collection::vec(any_key(), 1..4).prop_map(Step::Delete),
        2 => proptest::collection::vec(any_key(), 1..4).prop_map(Step::Vanish),
        1 => (domain_key(), select(vec!["b 1", "a 2", "b 2020-01-01T00:00:00Z"])).prop_map(|(key, token)| {
            Step::Annotate(key, "transferTo", token.to_owned())
        }),
        1 => (any_key(), select(vec!["x", "y"])).prop_map(|(key, token)| Step::Annotate(key, "requestedAt", token.to_owned())),
        2 => domain_key().prop_map(Step::Approve),
        2 => (address(), 0..2_u32).prop_map(|(address, count)| Step::Held(address, count)),
        1 => address().prop_filter("parses", |a| !a.contains(' ')).prop_map(Step::Learn),
        4 => select(vec![5_i64, 10, 61, 3600, 4000, 86_400]).prop_map(Step::Advance),
    ]
}

/// The first step fills the world; domains come first, so that much of it is in force.
pub(crate) fn generate() -> impl Strategy<Value = Vec<Step>> {
    let base = [
        (key("InternalDomain/a/one"), "{domain: acme.example}".to_owned()),
        (key("InternalDomain/b/one"), "{domain: other.example}".to_owned()),
        (key("EmailAddress/a/one"), "{address: ann@acme.example, deletionPolicy: Purge}".to_owned()),
        (key("EmailAddress/a/two"), "{address: info@acme.example}".to_owned()),
    ];
    let first = proptest::collection::vec(resource(), 4..14).prop_map(move |more| Step::Apply(base.iter().cloned().chain(more).collect()));
    (first, proptest::collection::vec(step(), 2..10)).prop_map(|(first, rest)| std::iter::once(first).chain(rest).collect())
}

/// How many cases each property tries in the suite.
const CASES: u32 = 64;

/// The local parts of all addresses.
pub(crate) const LOCALS: [&str; 4] = ["ann", "info", "cat", "postmaster"];

/// The same few cases each time, so that the suite is quick and says the same twice; `PROPTEST_CASES` tries that many others, and
/// `PROPTEST_RNG_SEED` those of one seed again.
pub(crate) fn config() -> ProptestConfig {
    let asked = |name: &str| std::env::var_os(name).is_some();
    let chosen = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    match (asked("PROPTEST_CASES"), asked("PROPTEST_RNG_SEED")) {
        (true, _) => chosen,
        (false, true) => ProptestConfig { cases: CASES, ..chosen },
        (false, false) => ProptestConfig { cases: CASES, rng_seed: RngSeed::Fixed(1), ..chosen },
    }
}
