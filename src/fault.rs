//! Faults to order: what one does to everybody else can only be seen on the real servers. In release builds nothing of it is compiled.

use crate::plan::Desired;

/// Panics when an EmailAddress in view declares the address that the environment names.
pub fn strike(desired: &Desired) {
    #[cfg(debug_assertions)]
    ordered::strike(desired);
    #[cfg(not(debug_assertions))]
    let _ = desired;
}

/// Ends the process on the spot, with nothing flushed, closed or told, when this is the step that the environment names.
pub fn reach(step: &str) {
    #[cfg(debug_assertions)]
    ordered::reach(step);
    #[cfg(not(debug_assertions))]
    let _ = step;
}

#[cfg(debug_assertions)]
mod ordered {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use crate::plan::Desired;
    use crate::plan::desired::Declared;

    /// Names the address whose planning panics.
    const PANIC: &str = "MAILROSTER_TEST_PANIC";
    /// Names the step at which the process dies, and the how manieth time it is reached: `committed:2`.
    const CRASH: &str = "MAILROSTER_TEST_CRASH";

    #[allow(clippy::panic, clippy::manual_assert, reason = "that is what it is for")]
    pub fn strike(desired: &Desired) {
        let Ok(struck) = std::env::var(PANIC) else { return };
        let declares = |declared: &Declared| matches!(declared, Declared::Address(a) if a.address.canonical().as_str() == struck);
        assert!(!desired.resources.values().any(|resource| resource.active().is_some_and(declares)), "{PANIC} names {struck}");
    }

    pub fn reach(step: &str) {
        static CHOSEN: OnceLock<Option<(String, u32)>> = OnceLock::new();
        static REACHED: AtomicU32 = AtomicU32::new(0);
        let parse = || {
            let text = std::env::var(CRASH).ok()?;
            let (step, times) = text.split_once(':')?;
            Some((step.to_owned(), times.parse().ok()?))
        };
        let Some((chosen, times)) = CHOSEN.get_or_init(parse) else { return };
        if step == chosen && REACHED.fetch_add(1, Ordering::Relaxed) + 1 == *times {
            tracing::warn!(step, "dying to order");
            std::process::abort();
        }
    }
}
