//! `mailroster` keeps the roster of a mail gateway: which domains are internal, which addresses exist in them, which address is an
//! alias of which, who may read whose mailbox, and who administers. People declare it as Kubernetes resources; a Postgres store, which
//! mail servers read, is made to match.
pub mod api;
#[cfg(feature = "operator")]
pub mod cli;
#[cfg(feature = "operator")]
pub mod engine;
pub mod model;
#[cfg(feature = "operator")]
pub mod operator;
pub mod plan;
#[cfg(feature = "operator")]
pub mod store;
