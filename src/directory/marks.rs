//! How far a server has come (SPEC Y11). A mark belongs to what the server says of itself, never to its URL.

use ldap3::{Ldap, Scope, SearchEntry};
use tokio::time::timeout;

use super::connect::Way;
use crate::model::{DirectoryType, EntryId};
use crate::plan::directory::rows::Mark;

/// [`Mark::mechanism`] of RFC 4533. The mark's server is the naming context, its value the contextCSN's values, between semicolons.
pub(super) const SYNC_REPL: &str = "SyncRepl";
/// [`Mark::mechanism`] of Active Directory. The mark's server is an invocationId, its value the highest number that was committed there.
pub(super) const UPDATE_SEQUENCE_NUMBER: &str = "UpdateSequenceNumber";

/// Where an incremental run may go on that begins after now. None: this server can't have one, or does not show it to us.
pub(super) async fn current(way: &Way<'_>, ldap: &mut Ldap) -> Option<Mark> {
    match way.access.directory {
        // What it deletes it names by entryUUID.
        DirectoryType::OpenLdap if way.access.attributes.id.eq_ignore_ascii_case("entryUUID") => context_csn(way, ldap).await,
        DirectoryType::ActiveDirectory => sequence_number(way, ldap).await,
        _ => None,
    }
}

async fn context_csn(way: &Way<'_>, ldap: &mut Ldap) -> Option<Mark> {
    let server = naming_context(way, ldap).await?;
    let mut values = look(way, ldap, &server, "contextCSN").await?;
    values.sort_unstable();
    Some(Mark { server, mechanism: SYNC_REPL.to_owned(), value: values.join(";") })
}

/// invocationId names one life of a domain controller's database: restored, it gets another.
async fn sequence_number(way: &Way<'_>, ldap: &mut Ldap) -> Option<Mark> {
    let first = |values: Vec<String>| values.into_iter().next();
    let settings = first(look(way, ldap, "", "dsServiceName").await?)?;
    let value = first(look(way, ldap, "", "highestCommittedUSN").await?)?;
    let server = look_bytes(way, ldap, &settings, "invocationId").await?.into_iter().next()?;
    let server = EntryId::from_guid(server.try_into().ok()?).to_string();
    value.parse::<u64>().ok()?;
    Some(Mark { server, mechanism: UPDATE_SEQUENCE_NUMBER.to_owned(), value })
}

/// The naming context that holds the base.
pub(super) async fn naming_context(way: &Way<'_>, ldap: &mut Ldap) -> Option<String> {
    context_of(&way.access.base_dn, &look(way, ldap, "", "namingContexts").await?)
}

/// The values of one attribute of one entry.
pub(super) async fn look(way: &Way<'_>, ldap: &mut Ldap, dn: &str, attribute: &str) -> Option<Vec<String>> {
    let values = look_bytes(way, ldap, dn, attribute).await?;
    values.into_iter().map(|value| String::from_utf8(value).ok()).collect()
}

async fn look_bytes(way: &Way<'_>, ldap: &mut Ldap, dn: &str, attribute: &str) -> Option<Vec<Vec<u8>>> {
    let search = ldap.search(dn, Scope::Base, "(objectClass=*)", vec![attribute]);
    let (entries, _) = timeout(way.access.timeout, Box::pin(search)).await.ok()?.ok()?.success().ok()?;
    let SearchEntry { mut attrs, mut bin_attrs, .. } = entries.into_iter().next().map(SearchEntry::construct)?;
    // The library sorts values by whether they happen to be text.
    let text = attrs.remove(attribute).unwrap_or_default().into_iter().map(String::into_bytes);
    let values: Vec<_> = bin_attrs.remove(attribute).unwrap_or_default().into_iter().chain(text).collect();
    Some(values).filter(|values| !values.is_empty())
}

/// The naming context that holds the base: the longest of those that it ends in.
fn context_of(base: &str, contexts: &[String]) -> Option<String> {
    let plain = |dn: &str| dn.split(',').map(|part| part.trim().to_ascii_lowercase()).collect::<Vec<_>>();
    let base = plain(base);
    let holds = |context: &&String| base.ends_with(&plain(context));
    contexts.iter().filter(holds).max_by_key(|context| context.len()).cloned()
}

/// Whether a server that is at `now` has seen all that one at `mark` had. False: it is behind, was restored, or is another one.
pub(crate) fn has_reached(now: &Mark, mark: &Mark) -> bool {
    if now.server != mark.server || now.mechanism != mark.mechanism {
        return false;
    }
    if mark.mechanism == UPDATE_SEQUENCE_NUMBER {
        return number(now) >= number(mark);
    }
    let csns = |mark: &Mark| mark.value.split(';').map(str::to_owned).collect::<Vec<_>>();
    let known = csns(now);
    // The time of a change, a counter, the server that it was made on, a counter: text in the order of time.
    let on_server = |csn: &str| csn.split('#').nth(2).map(str::to_owned);
    csns(mark).iter().all(|seen| known.iter().any(|csn| on_server(csn) == on_server(seen) && csn >= seen))
}

/// The number of a mark of Active Directory.
pub(super) fn number(mark: &Mark) -> Option<u64> {
    mark.value.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn y11_a_server_that_is_behind_has_not_reached_a_mark() {
        let mark = |value: &str| Mark { server: "dc=acme".to_owned(), mechanism: SYNC_REPL.to_owned(), value: value.to_owned() };
        let (one, two) = ("20261128031319.184506Z#000000#001#000000", "20261128041319.184506Z#000000#002#000000");
        let later = "20261128031319.184507Z#000000#001#000000";
        for (now, seen, reached) in [
            (one.to_owned(), one.to_owned(), true),
            (later.to_owned(), one.to_owned(), true),
            (one.to_owned(), later.to_owned(), false),
            // Changes on each of several servers count for themselves.
            (format!("{one};{two}"), one.to_owned(), true),
            (two.to_owned(), one.to_owned(), false),
            (format!("{later};{two}"), format!("{one};{two}"), true),
        ] {
            assert_eq!(has_reached(&mark(&now), &mark(&seen)), reached, "{now} {seen}");
        }
        assert!(!has_reached(&Mark { server: "dc=other".to_owned(), ..mark(one) }, &mark(one)));
        // Numbers, not text.
        let numbered = |value| Mark { mechanism: UPDATE_SEQUENCE_NUMBER.to_owned(), ..mark(value) };
        assert!(has_reached(&numbered("10000"), &numbered("9999")) && !has_reached(&numbered("9999"), &numbered("10000")));
        assert!(!has_reached(&numbered("10000"), &mark("9999")));
    }

    #[test]
    fn y11_the_naming_context_is_the_longest_that_holds_the_base() {
        let contexts = ["dc=acme", "DC=Example,DC=Acme", "dc=me"].map(str::to_owned);
        assert_eq!(context_of("ou=a, dc=example, dc=acme", &contexts).as_deref(), Some("DC=Example,DC=Acme"));
        assert_eq!(context_of("ou=a,dc=acme", &contexts).as_deref(), Some("dc=acme"));
        assert_eq!(context_of("dc=example", &contexts), None);
    }
}
