//! Every reason a condition can carry, with its meaning: the one list that the code, docs/conditions.md and the events share.

use std::fmt;
use std::str::FromStr;

/// What a reason on Ready asks of people (SPEC C1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// In force.
    Fine,
    /// Something else must come, or it is being retried: Reconciling.
    Waiting,
    /// Someone must act: Stalled.
    Rejected,
    /// Stands on another condition than Ready, or on an Event.
    Aside,
}

macro_rules! reasons {
    ($($name:ident $disposition:ident $meaning:literal)*) => {
        /// A CamelCase reason; part of the API (SPEC C1).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Reason { $(#[doc = $meaning] $name,)* }

        impl Reason {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }

            #[must_use]
            pub fn disposition(self) -> Disposition {
                match self { $(Self::$name => Disposition::$disposition,)* }
            }
        }
    };
}

reasons! {
    Succeeded Fine "What is declared is in force in the store."
    Suspended Aside "`suspend: true`: nothing is written for the resource and nothing undone; Ready keeps its value."
    SpecInvalid Rejected "A value in the spec can't be stored; the message names the field."
    SpecUnreadable Rejected "The resource has a shape that this version of mailroster can't decode; what it had in force stands."
    AddressInvalid Rejected "An address in the spec is not one; the message names the offending part."
    DomainInvalid Rejected "The domain is not a valid internet domain name."
    DomainNotAllowed Rejected "A single label or a public suffix can't be an internal domain."
    DomainNotFound Waiting "The address's domain is not in the store yet; it goes on by itself once an InternalDomain of this namespace declares it."
    DomainClaimed Rejected "The domain belongs to somebody else."
    ParentDomainClaimed Rejected "A domain above this one belongs to another tenant."
    ChildDomainClaimed Rejected "A domain below this one belongs to another tenant."
    AddressClaimed Rejected "Another resource holds the address; the message names it."
    AliasClaimed Rejected "Another AliasLink holds the alias; the message names it."
    DelegationClaimed Rejected "Another DelegateMailbox holds the same reader and mailbox."
    AdoptionRefused Rejected "The store has a row that no resource owns, and `adoptionPolicy: Fail` forbids taking it over."
    SameAddress Rejected "Both ends are the same address."
    AliasChain Rejected "A primary is never itself an alias, and an alias has no aliases."
    PrimaryNotFound Waiting "The primary address is not in the store yet."
    AliasIsMailbox Rejected "The alias is a living mailbox (it has a credential, a role, a delegation or a directory entry); `takeOverMailbox: true` makes it an alias all the same."
    CrossDomain Rejected "Alias and primary are in different domains; `crossDomain: true` allows it."
    ReaderNotFound Waiting "The reader is not an internal address of this namespace yet."
    MailboxNotFound Waiting "The mailbox is not an internal address of this namespace yet."
    AliasNamed Rejected "A delegation or role names an alias; name its primary."
    AliasMoved Rejected "A named address has become an alias; the right ended. Name its primary."
    MembersRejected Rejected "Some members are refused, each with its reason in status.members.rejected; the rest of the role is in force."
    MemberNotFound Aside "The member is not an internal address of this namespace."
    MemberClaimed Aside "The member is held by another role."
    LastSuperAdministrator Rejected "The change would remove the namespace's last super administrator."
    SecretNotFound Waiting "The Secret or its key is missing; everything else of the address is in force."
    SecretNotReadable Rejected "The Secret lacks the label `mailroster.dev/readable: \"true\"`, without which no Secret is read."
    PasswordRefused Rejected "The password breaks a rule; the message names the rule. The old password stays in force."
    PasswordPending Waiting "The password is being hashed, or its resource is suspended or ending: then the value is not looked at."
    StoreUnavailable Waiting "The store can't be reached; what was in force stays in force."
    PurgeBlocked Waiting "The address is to be purged and something stands in the way; status.purge.blockers lists all of it."
    RemovalPending Waiting "The link ends once no other end was asked for in its domain for 10 seconds (60 at most)."
    MassDeletion Rejected "More is ending than the guard lets pass: in a domain, of a directory, or of rights in the namespace whose resources vanished. Approve the held plan of the InternalDomain, the DirectoryConnection or AccountSettings, or declare again what is missing."
    DeletionBlocked Rejected "The domain can't be deleted while addresses remain in it."
    TransferBlocked Rejected "The domain can't be handed over while a link, delegation or role joins it to what stays behind."
    InternalError Waiting "A fault in mailroster; it is retried, and logged with a trace."
    NotLocked Aside "No lock is in force."
    TooManyFailedLogons Aside "Failed logons reached the limit; the lock ends by itself or by the annotation `mailroster.dev/unlockAt`."
    TooManyFailedCodes Aside "Wrong password-reset codes reached the limit; `mailroster.dev/resetCodesAt` opens the reset function again."
    NotDisabled Aside "Nothing blocks cloud-password logons."
    Declared Aside "`disabled: true` blocks cloud-password logons; mail flows on."
    Undeclared Aside "The resource that declared the address is gone: its cloud password is shut until one declares it again."
    NotBlocked Aside "No purge was asked for, or nothing stands in its way."
    Delay Aside "A purge waits for `purge.delay` after it was asked for."
    HeldMail Aside "A message to or from the address or its aliases is held, queued or in processing."
    HeldMailUnknown Aside "A mail queue has not reported since the purge was asked for, or none is known and reports are Required."
    AdminRole Aside "The address is a member of an AdminRole; take it out first."
    DeclaredAlias Aside "An AliasLink declares it, or one of its aliases; delete that first."
    NotManaged Aside "No password is declared here."
    NotAlias Aside "The address is a mailbox of its own."
    InheritsFromPrimary Aside "The address is an alias: its own access, password and role settings are ignored."
    SameHolder Aside "The person behind the address has not changed."
    Accepted Aside "The domain's mode accepts mail to the address."
    DirectoryOnly Aside "The domain accepts only what a directory has found."
    SendsOnly Aside "The domain accepts no mail (recipientValidation: None)."
    Purging Aside "Only held mail keeps the address from being purged: it takes no new mail."
    NothingHeld Aside "Nothing waits for approval."
    NobodyEnds Aside "No address stops taking mail because a directory lacks it."
    NotNeeded Aside "The domain does not validate by directory."
    NoConnection Aside "The domain validates by directory and no connection serves it: unknown recipients are deferred."
    PostmasterPresent Aside "postmaster@ and abuse@ have somewhere to go (RFC 5321, RFC 2142)."
    PostmasterMissing Aside "Neither spec.postmaster nor addresses of their own take postmaster@ and abuse@; mail to them is deferred."
    WithinLimit Aside "New senders are learned as they come."
    TooManyNewSenders Aside "More than 100 new senders within an hour; the rest waits."
    NoDisagreement Aside "No directory names another primary."
    DriftCorrected Aside "Something else had changed a declared value in the store; it was put right."
    LastSuperAdministratorKept Aside "The role is gone; the store keeps its last super administrator until another exists."
    Synchronised Aside "A directory run changed something; the message tells how much."
    DirectoryDisabled Aside "The directory has disabled the account; only the directory enables it again."
    DirectoryMissing Aside "The directory lacks the account: its cloud password is shut until the same entry is back."
    HolderChanged Aside "Another directory entry has the address than before: cloud password, role and delegations are withheld until status.heldHolders of the DirectoryConnection is approved."
    LeaversDue Aside "Addresses that the directory lacks take no more mail from a time on: declare those that are to stay, or bring them back in the directory."
    DirectoryManaged Aside "A directory still has the address: it would come back."
    AddressRenamed Aside "The person's address has changed in the directory; this one is its alias now."
    AddressesExchanged Aside "Directory entries exchange addresses in one run; nothing of it is done until status.heldHolders of the DirectoryConnection is approved."
    DirectoryDisagrees Aside "A directory names another primary for the alias; the declared link stands."
    DirectoryFresh Aside "A complete synchronisation covers the domain, and it is recent."
    DirectoryIncomplete Aside "No complete synchronisation has covered the domain yet: unknown recipients are deferred."
    DirectoryStale Aside "The last clean synchronisation is too old: unknown recipients are deferred."
    NeverRun Waiting "The connection has not run yet."
    DirectoryUnreachable Waiting "No server of the connection could be reached."
    DirectoryBusy Waiting "The server is busy or shutting down; the run is tried again."
    BindRefused Rejected "The server refused the bind name or its password."
    TlsFailed Rejected "The way to the server can't be kept secret: its certificate is not trusted, bears another name or has expired, or StartTLS is refused. There is no fallback to clear text."
    BaseNotFound Rejected "The base of the search does not exist there."
    SearchRefused Rejected "The server refused the search."
    SizeLimitExceeded Rejected "The server ended the search at its size limit: the account needs paging or a higher limit."
    TimeLimitExceeded Rejected "The server ended the search at its time limit."
    ConnectionLost Waiting "The connection to the server broke in the middle of the read."
    ReferenceLeftOut Rejected "The search met a reference to another server, whose entries were not read."
    NobodyFound Rejected "The search found nobody at all."
    AttributesHidden Rejected "Attributes that the entries had can't be read any more: the account's rights may have changed."
    TooManyChanged Waiting "More entries had to wait for the end of the run than are kept for it; what was kept is in, and the next runs bring the rest."
    ScopeChanged Waiting "Base, filter, bind name, domains or servers differ from those of the last complete run: absence proves nothing until a second complete run agrees."
    ServerSwitched Waiting "Another server answered than the last time: absence proves nothing until a complete run there agrees."
    PasswordNotAscii Aside "The password has letters that some mail clients can't send."
}

impl FromStr for Reason {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == text).ok_or(())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
