//! The core against its specification: cases by SPEC id, and the eight properties of [`super`].

mod world;

mod addresses;
mod domains;
mod links;
mod rights;
