//! A panic to order: what one fault does to everybody else can only be seen on the real servers. Compiled into debug builds alone.

use crate::plan::Desired;
use crate::plan::desired::Declared;

/// Names the address whose planning panics.
const VARIABLE: &str = "MAILROSTER_TEST_PANIC";

/// Panics when an EmailAddress in view declares the address that the environment names.
#[allow(clippy::panic, clippy::manual_assert, reason = "that is what it is for")]
pub fn strike(desired: &Desired) {
    let Ok(struck) = std::env::var(VARIABLE) else { return };
    let declares = |declared: &Declared| matches!(declared, Declared::Address(a) if a.address.canonical().as_str() == struck);
    assert!(!desired.resources.values().any(|resource| resource.active().is_some_and(declares)), "{VARIABLE} names {struck}");
}
