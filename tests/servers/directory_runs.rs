//! Runs of DirectoryConnections from a real LDAP server to a real Postgres, as an administrator sees them (SPEC 8).

mod corp;
mod holds;
mod leavers;
mod people;
