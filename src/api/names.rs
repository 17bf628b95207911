//! The words by which the cluster knows us. They are API: changing one breaks resources in other people's Git.

/// The API group of every kind.
pub const GROUP: &str = "mailroster.dev";
/// The version of every kind.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` as it stands in a manifest.
pub const API_VERSION: &str = "mailroster.dev/v1alpha1";
/// `kubectl get mailroster` lists all kinds.
pub const CATEGORY: &str = "mailroster";
/// The field manager of everything the controller applies.
pub const FIELD_MANAGER: &str = "mailroster";
/// The only name an [`AccountSettings`](super::AccountSettings) may have.
pub const ACCOUNT_SETTINGS: &str = "default";

/// Held by AliasLink, DelegateMailbox, AdminRole and whatever else must be undone before its resource goes (SPEC U1).
pub const FINALIZER: &str = "mailroster.dev/roster";

/// A Secret is read only with this label set to [`READABLE_VALUE`]: a resource must not be a way to read any Secret (SPEC P1).
pub const READABLE_LABEL: &str = "mailroster.dev/readable";
/// The value that [`READABLE_LABEL`] must have.
pub const READABLE_VALUE: &str = "true";

/// Reconcile now. Value: any token; it acts once, when it differs from the last one handled (SPEC C6, as all that follow).
pub const REQUESTED_AT: &str = "mailroster.dev/requestedAt";
/// EmailAddress: unlock the logon. Value: a token.
pub const UNLOCK_AT: &str = "mailroster.dev/unlockAt";
/// EmailAddress: unlock the password reset function. Value: a token.
pub const RESET_CODES_AT: &str = "mailroster.dev/resetCodesAt";
/// Release exactly the held plan that has this hash.
pub const APPROVE: &str = "mailroster.dev/approve";
/// InternalDomain: hand the domain to another namespace. Value: `NAMESPACE TOKEN` (SPEC D1).
pub const TRANSFER_TO: &str = "mailroster.dev/transferTo";
/// InternalDomain: unlock an address that no resource declares. Value: `ADDRESS TOKEN`.
pub const UNLOCK: &str = "mailroster.dev/unlock";
/// InternalDomain: unlock the password reset function of an address that no resource declares. Value: `ADDRESS TOKEN`.
pub const RESET_CODES: &str = "mailroster.dev/resetCodes";

/// The longest annotation value, in characters, that `status.lastHandled` has room for. A longer one is no token and is not acted on: a cut
/// token would differ from its annotation for ever and act again each time.
pub const LONGEST_TOKEN: usize = 512;
/// How many reports `status.lastRun` of a DirectoryConnection has room for, and the longest of them, in characters.
pub const MOST_REPORTS: usize = 10;
/// See [`MOST_REPORTS`].
pub const LONGEST_REPORT: usize = 1024;
/// The longest condition message, in characters. A longer one must be cut: the API server would refuse the whole status.
pub const LONGEST_MESSAGE: usize = 32_768;
