//! mailroster.
pub mod model;
pub mod plan;
