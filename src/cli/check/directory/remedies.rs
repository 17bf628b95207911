//! What to do about each reason for which a run is not complete: `check directory` prints it, and docs/directory.md has it as a table.

use crate::model::{Access, DirectoryType};
use crate::plan::reason::Reason;

/// Of a service account of OpenLDAP whose searches end too soon: all it may need.
pub(super) fn size_limit(access: &Access) -> String {
    format!(
        "# OpenLDAP: let the bind name read all there is, by pages and, for syncrepl, without (in cn=config: olcLimits)
limits dn.exact=\"{}\" size=unlimited size.prtotal=unlimited time=unlimited",
        access.bind_dn
    )
}

/// Of an OpenLDAP that does not tell what changed.
pub(super) const SYNC_REPL: &str = "# OpenLDAP: have the database tell what changed (docs/directory.md)
moduleload syncprov
overlay syncprov
syncprov-checkpoint 1000 5
syncprov-sessionlog 10000";

/// Of an Active Directory that hides who was deleted.
pub(super) const DELETED_OBJECTS: &str =
    "# Active Directory: let the account see who was deleted; run as a Domain Admin, with your domain and the account's name
dsacls \"CN=Deleted Objects,DC=corp,DC=example\" /takeownership
dsacls \"CN=Deleted Objects,DC=corp,DC=example\" /G CORP\\mailroster:LCRP";

/// Of entries that come without what they have.
pub(super) fn attributes(access: &Access) -> String {
    let names = &access.attributes;
    let all = [&names.id, &names.mail, &names.aliases, &names.display_name, &names.member];
    let list = all.into_iter().filter(|name| !name.is_empty()).map(String::as_str).collect::<Vec<_>>().join(",");
    match access.directory {
        DirectoryType::OpenLdap | DirectoryType::Generic => {
            format!(
                "# let the bind name read what is asked for, as in OpenLDAP:\naccess to attrs=entry,objectClass,{list} by dn.exact=\"{}\" read by * break",
                access.bind_dn
            )
        }
        DirectoryType::ActiveDirectory => {
            format!("# Active Directory: let the account read {list} and userAccountControl of the entries (docs/directory.md)")
        }
    }
}

/// None: the reason is not one for which a run is not complete.
pub(crate) fn of(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::DirectoryUnreachable => {
            "Is the host right, does its name resolve where the controller runs, and may it connect there (a firewall, a NetworkPolicy)? The next run comes within a minute or so."
        }
        Reason::DirectoryBusy => {
            "Nothing, if it passes: the next run comes by itself. A second server in `spec.urls` is asked when the first is busy."
        }
        Reason::BindRefused => {
            "The message has what the server said. Put the right password into the Secret, without a line end: it is tried at once. Or have the account enabled, unlocked, its password renewed, and ask for a run with `requestedAt`."
        }
        Reason::TlsFailed => {
            "Give the authority of the server's certificate by `tls.caSecretRef`, its name by `tls.serverName` where that is not the host's, or have the certificate renewed. Another Secret or spec is tried at once. There is no way around the check."
        }
        Reason::BaseNotFound => "Mend `spec.baseDN`, or give the account the right to see that entry: what may not be seen is not there.",
        Reason::SearchRefused => "The message has what the server said. Give the account the right to search and read below `spec.baseDN`.",
        Reason::SizeLimitExceeded => {
            "Let the account read by pages without a limit (OpenLDAP: `size.prtotal=unlimited`), or set `spec.pageSize` no higher than the server's limit of a page."
        }
        Reason::TimeLimitExceeded => {
            "Raise the server's time limit for the account, index the attributes that the filters name, or narrow filters and base."
        }
        Reason::ConnectionLost => {
            "Nothing, if it passes: the next run reads everything again. If it does not, raise `spec.timeout`, lower `spec.pageSize`, and look at what lies between."
        }
        Reason::ReferenceLeftOut => {
            "The message has where it leads. Set `spec.baseDN` below or beside it, and declare a connection of its own for what lies there."
        }
        Reason::NobodyFound => {
            "Look at `spec.baseDN`, the filters and the account's rights. Of a directory that is really empty nothing is ever concluded."
        }
        Reason::AttributesHidden => {
            "Give the account the right to read the attribute that the message names. If everybody has really lost it, declare a connection of another name that does not ask for it, and delete this one."
        }
        Reason::TooManyChanged => "Nothing: each run brings what it kept, until a run keeps all. Ask for the next with `requestedAt`.",
        Reason::ScopeChanged => {
            "Nothing, if you meant it: the second complete run agrees, and from then on absence counts again. Ask for it with `requestedAt`."
        }
        Reason::ServerSwitched => {
            "Another server answered, or one that lags behind the last one or was restored: until a second complete run there agrees only additions and disables are taken from it. Nothing to do. If servers take turns all the time, put the one that is always there first in `spec.urls`."
        }
        _ => return None,
    })
}
