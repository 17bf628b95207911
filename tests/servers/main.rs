//! What holds only on the real servers: the control plane, Postgres, the controller's process. One file per boundary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that meets the unexpected has failed"
)]

#[path = "../support/mod.rs"]
mod support;

mod absence;
mod account;
mod addresses;
mod api_faults;
mod attack;
mod check_directory;
mod clocks;
mod commands;
mod crashes;
mod directory_kind;
mod directory_read;
mod directory_runs;
mod domains;
mod endings;
mod gateway;
mod guard;
mod leaders;
mod leaks;
mod links;
mod logons;
mod narrowed;
mod outage;
mod passwords;
mod plan_directory;
mod races;
mod reports;
mod rights;
mod robustness;
mod scene;
mod size;
mod store_anew;
mod store_faults;
mod store_room;
mod store_wire;
mod support_itself;
mod tenant;
mod watching;
mod whole_tenant;
