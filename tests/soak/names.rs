//! Who is who in the soak: pools of names small enough that everything meets everything.

use crate::support::dice::Dice;

/// Domains, and which of the two tenants has them. The last is deleted with all that is in it, again and again.
pub const DOMAINS: [(&str, usize); 4] = [("d0.example", 0), ("d1.example", 0), ("d2.example", 1), (DOOMED, 0)];
pub const DOOMED: &str = "d3.example";
/// A third tenant's, which a directory fills ([`crate::directory`]).
pub const STAFF: &str = "staff.example";
/// Mailboxes: never an alias.
const MAILBOXES: u64 = 30;
/// Aliases: never declared as addresses of their own.
const ALIASES: u64 = 20;
/// Names that are now this, now that.
const EITHER: u64 = 6;
/// Senders: nobody declares them.
const SENDERS: u64 = 20;

pub fn pick<'a, T>(dice: &mut Dice, of: &'a [T]) -> &'a T {
    &of[usize::try_from(dice.below(of.len() as u64)).expect("an index")]
}

/// True in so many of a hundred cases.
pub fn percent(dice: &mut Dice, percent: u64) -> bool {
    dice.below(100) < percent
}

pub fn domain(dice: &mut Dice) -> (&'static str, usize) {
    // The doomed one gets less.
    let index = [0, 0, 1, 1, 2, 2, 3][usize::try_from(dice.below(7)).expect("an index")];
    DOMAINS[index]
}

/// A local part of a mailbox, at times one of those that may be anything.
pub fn mailbox(dice: &mut Dice) -> String {
    if percent(dice, 8) { format!("x{}", dice.below(EITHER)) } else { format!("u{}", dice.below(MAILBOXES)) }
}

pub fn alias(dice: &mut Dice) -> String {
    if percent(dice, 8) { format!("x{}", dice.below(EITHER)) } else { format!("n{}", dice.below(ALIASES)) }
}

pub fn sender(dice: &mut Dice) -> String {
    format!("s{}", dice.below(SENDERS))
}

/// Whether an address is of a pool whose members are one thing only, in a domain that lives throughout.
pub fn is_strict(address: &str) -> bool {
    !address.starts_with('x') && !address.ends_with(DOOMED)
}

/// The name of a resource for something: two resources may want the same thing.
pub fn resource(dice: &mut Dice, what: &str) -> String {
    let text = what.replace('@', "-").to_lowercase();
    if percent(dice, 15) { format!("{text}-rival") } else { text }
}
