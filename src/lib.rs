//! `mailroster` keeps the roster of a mail gateway: which domains are internal, which addresses exist in them, which address is an
//! alias of which, who may read whose mailbox, and who administers. People declare it as Kubernetes resources; a Postgres store, which
//! mail servers read, is made to match.
//!
//! # The tour
//!
//! Follow one resource. [`operator`] watches the API server and hands each resource, slimmed down, to [`engine`]. The engine takes all
//! that became dirty while the last batch ran, has [`store`] read the rows concerned, and asks [`plan`] what to do. The plan is pure:
//! what is declared and what the store holds go in; changes, and a verdict for each resource, come out. The store executes the
//! changes in one transaction, and only then the operator writes the verdicts into statuses. Mail servers read and report through
//! schema `gateway` (`store/schema`); what they report comes back to the engine by the store's change feed.
//!
//! | room | owns | must not |
//! |---|---|---|
//! | [`api`] | the wire: kinds, schemas, CEL rules, the text of `kubectl explain` | have behaviour |
//! | [`model`] | validated values: an address that exists is an address | do IO |
//! | [`plan`] | every decision; [`plan::reason`] has every reason | be async, read a clock, depend on hash order |
//! | [`store`] | Postgres: schema, reading, executing, change feed, fence | decide |
//! | [`directory`] | LDAP: reading all there is, and the proof of it | decide, know a tenant's domains |
//! | [`engine`] | what is dirty, batches, moments to come, work on passwords | know Kubernetes |
//! | [`operator`] | watches, Lease, statuses, finalizers, Events, metrics | decide |
//! | [`cli`] | what was typed, and what it means | be more than a caller |
//!
//! # What always holds
//!
//! - A status calls in force only what a plan that was executed made so: verdicts leave the engine after the commit. The two that leave
//!   it without one, StoreUnavailable and InternalError, call nothing in force.
//! - Who is not the leader can't write the store: each write transaction begins with the fence ([`store::Leader`]). To the API server,
//!   which has none, a process writes only while its Lease holds by its own clock.
//! - A plan sees all that its verdicts rest on: slices are closed under claims, references and guards ([`plan::slice`]).
//! - What is in force is not written again, neither in the store nor in a status.
//! - `--no-default-features` builds `api`, `model` and `plan` alone: that they are pure is a compile error, not a habit.
pub mod api;
#[cfg(feature = "operator")]
pub mod cli;
#[cfg(feature = "operator")]
pub mod directory;
#[cfg(feature = "operator")]
pub mod engine;
#[cfg(feature = "operator")]
mod fault;
pub mod model;
#[cfg(feature = "operator")]
pub mod operator;
pub mod plan;
#[cfg(feature = "operator")]
pub mod store;
