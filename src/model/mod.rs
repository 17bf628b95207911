//! Validated values: whatever the rest of the program touches has been through a `parse` here, so that a malformed address or domain
//! cannot exist behind these types. Newtypes with private fields, no behaviour beyond what the value itself defines, no IO.

mod access;
mod address;
mod domain;
mod entry;
mod hex;
mod phc;
mod policy;
mod resource;
mod secret;

pub use access::{Access, AttributeNames, DirectoryType, SecretKey, ServerUrl, TlsMode};
pub use address::{Address, AddressError, CanonicalAddress};
pub use domain::{DomainError, DomainName};
pub use entry::{Account, Complete, Entry, EntryId, EntrySort, MailValue, Rank, Signs};
pub use hex::hex;
pub use phc::{Phc, PhcError};
pub use policy::{PasswordPolicy, PolicyError};
pub use resource::{Kind, Named, ResourceKey};
pub use secret::Secret;
