//! The core against its specification: cases by SPEC id, and the eight properties of [`super`].

pub(crate) mod world;

mod absence;
mod actions;
mod addresses;
mod connection_guard;
mod connections;
mod directory;
mod domains;
mod ends;
pub(crate) mod generate;
mod links;
mod look;
mod passwords;
mod properties;
mod rights;
mod slice_cases;
mod slices;
