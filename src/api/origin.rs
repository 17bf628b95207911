//! Where an address came from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where an address came from. Set by the controller alone.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[schemars(transform = super::schema::leave_description_to_the_field)]
pub enum Origin {
    /// A resource created it.
    Manual,
    /// It sent mail, and its domain learns senders.
    MailFlow,
    /// A directory has it.
    Directory,
    /// An AddressImport created it.
    Import,
    /// A directory has it as a mail-enabled group.
    DistributionList,
}
