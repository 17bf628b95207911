//! Runs of DirectoryConnections from a real LDAP server to a real Postgres, as an administrator sees them (SPEC 8).

mod active_directory;
mod clashes;
mod consequences;
mod controllers;
mod corp;
mod endings;
mod faults;
mod guarded;
mod holds;
mod increments;
mod leavers;
mod people;
mod quiet;
mod renames;
mod selection;
mod several;
mod switches;
mod told;
