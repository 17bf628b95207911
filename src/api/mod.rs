//! WIRE: the custom resources of `mailroster.dev/v1alpha1`, one file per kind, and the definitions that serve them.
//!
//! What stands here is shape and documentation: serde, schemas, CEL rules and the text of `kubectl explain`. What a value *says* (an
//! address, a domain, a reference) is judged later, in conditions, because one object refused by the API server would stop a whole Git
//! revision (SPEC 1). So no parsing and no decisions here: only `plan::admit` turns these types into the model.
//!
//! Everything in a status is optional: a status that an older or newer version wrote must still be read.

mod account_settings;
mod admin_role;
mod alias_link;
mod condition;
mod definitions;
mod delegate_mailbox;
mod directory_connection;
mod directory_status;
mod duration;
mod email_address;
mod held_plan;
mod internal_domain;
mod last_handled;
pub mod names;
mod origin;
mod schema;
#[cfg(test)]
mod tests;

pub use account_settings::{
    AccountSettings, AccountSettingsSpec, AccountSettingsStatus, DeletionGuard, HeldMailReports, Lockout, PasswordPolicy, PasswordReset,
    Purge,
};
pub use admin_role::{AdminRole, AdminRoleSpec, AdminRoleStatus, BuiltInRole, Permission, RejectedMember, RoleMembers};
pub use alias_link::{AliasLink, AliasLinkSpec, AliasLinkStatus};
pub use definitions::crds;
pub use delegate_mailbox::{DelegateMailbox, DelegateMailboxSpec, DelegateMailboxStatus};
pub use directory_connection::{
    ChangeDetection, DirectoryAttributes, DirectoryBind, DirectoryConnection, DirectoryConnectionSpec, DirectoryTls, DirectoryType,
    LeaverAction, LeaverGuard, Leavers, TlsMode,
};
pub use directory_status::{DirectoryConnectionStatus, DirectoryRun};
pub use email_address::{
    Access, AddressDeletionPolicy, AdoptionPolicy, EmailAddress, EmailAddressSpec, EmailAddressStatus, LockStatus, Password,
    PasswordChangedBy, PasswordFormat, PasswordResetStatus, PasswordStatus, PurgeBlocker, PurgeStatus, SecretKeyReference,
};
pub use held_plan::HeldPlan;
pub use internal_domain::{
    AddressCounts, DeletionPolicy, InternalDomain, InternalDomainSpec, InternalDomainStatus, RecipientValidation, UnknownRecipients,
};
pub use last_handled::{
    AccountSettingsLastHandled, DirectoryConnectionLastHandled, EmailAddressLastHandled, InternalDomainLastHandled, LastHandled,
};
pub use origin::Origin;

pub use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
pub use kube::core::Duration;
