//! The words for what mail servers are told of a recipient, and what would change it (SPEC V1 to V4).

use super::facts::{Domain, Facts, Row};
use super::{Sheet, ago, span};
use crate::model::Address;

pub(super) fn write(sheet: &mut Sheet, asked: &str, facts: &Facts) {
    sheet.heading(&format!("{asked}: {}", verdict(facts)));
    sheet.line("why", why(asked, facts));
    if let Some(action) = &facts.action {
        sheet.line("answer", action);
    }
    if let Err(error) = Address::parse(asked) {
        sheet.line("note", format!("it can't be declared: {error}"));
    }
    if let Some(domain) = &facts.domain {
        write_domain(sheet, facts, domain);
    }
    match &facts.row {
        Some(row) => write_match(sheet, asked, facts, row),
        None => write_unknown(sheet, facts),
    }
    if facts.domain.as_ref().is_some_and(|domain| domain.validation == "Directory") {
        sheet.line("directory", "no complete synchronisation of this domain yet");
    }
    sheet.line("would change it", remedy(facts));
}

fn verdict(facts: &Facts) -> &'static str {
    if !facts.answers {
        return "deferred (451)";
    }
    match facts.action.as_deref() {
        _ if facts.domain.is_none() => "not our domain, no objection",
        None => "accepted",
        Some(action) if action.starts_with("550") => "refused (550)",
        Some(action) if action.starts_with("451") => "deferred (451)",
        Some(_) => "the next hop is asked",
    }
}

fn why(asked: &str, facts: &Facts) -> String {
    if !facts.answers {
        return "the roster is not complete yet: no plan made from all that is declared was executed".to_owned();
    }
    let Some(domain) = &facts.domain else {
        return "the store has no domain of that name; mail to it is none of its business".to_owned();
    };
    let mode = domain.validation.as_str();
    let local = asked.rsplit_once('@').map_or(asked, |(local, _)| local).to_lowercase();
    let role_mailbox = ["postmaster", "abuse"].contains(&local.as_str());
    match (&facts.row, facts.action.as_deref()) {
        (Some(row), Some(_)) if row.closing => "it is being purged and takes no new mail".to_owned(),
        (Some(row), _) if row.accepted => format!("it is in the roster, and mode {mode} accepts it"),
        (_, None) if mode == "Any" => "mode Any accepts every address of the domain".to_owned(),
        (None, None) if role_mailbox => format!("{local}@ stands for {}", domain.postmaster),
        (_, Some(_)) if role_mailbox => format!("the domain must have a {local}@ (RFC 5321, RFC 2142) and has none: never refused"),
        (Some(row), _) if mode == "Directory" => {
            format!("mode Directory accepts what a directory has found; this row has origin {}", row.origin)
        }
        (_, _) if mode == "None" => "mode None: the domain sends only".to_owned(),
        (None, _) if facts.now < domain.grace_ends_at => {
            format!("not in the roster; the domain is {} old, so it is deferred and not refused", ago(facts.now, domain.created_at))
        }
        (None, _) if mode == "CallForward" => format!("not in the roster; {} decides", domain.next_hop),
        (None, _) => format!("not in the roster (mode {mode}, unknown recipients: {})", domain.unknown),
        (Some(_), _) => format!("mode {mode} does not accept it"),
    }
}

fn write_domain(sheet: &mut Sheet, facts: &Facts, domain: &Domain) {
    let Domain { name, namespace, owner, validation, unknown, next_hop, learns, sub_addressing, postmaster, created_at: _, grace_ends_at } =
        domain;
    let declared = owner.as_ref().map_or("no resource declares it".to_owned(), |owner| format!("InternalDomain {namespace}/{owner}"));
    sheet.line("domain", format!("{name} of namespace {namespace}; {declared}"));
    let accepts = match validation.as_str() {
        "Any" => "accepts every address of the domain",
        "Known" => "accepts listed addresses of any origin, aliases and lists",
        "Directory" => "accepts what a directory has found, and its aliases",
        "CallForward" => "accepts known addresses and asks the next hop about others",
        "None" => "accepts nothing, sends only",
        _ => "a mode that this version does not know",
    };
    sheet.line("mode", format!("{validation}: {accepts}; unknown recipients: {unknown}"));
    if !next_hop.is_empty() {
        sheet.line("next hop", next_hop);
    }
    if !sub_addressing.is_empty() {
        sheet.line("sub-addresses", format!("what follows {sub_addressing:?} is ignored"));
    }
    if !postmaster.is_empty() {
        sheet.line("postmaster", postmaster);
    }
    if *learns {
        sheet.line("learns", "the first outbound mail of an authenticated sender makes the address");
    }
    if facts.now < *grace_ends_at {
        sheet.line("new domain", format!("unknown recipients are deferred for {} more", span(grace_ends_at.duration_since(facts.now))));
    }
}

fn write_match(sheet: &mut Sheet, asked: &str, facts: &Facts, row: &Row) {
    let kind = if row.is_alias {
        "alias"
    } else if row.origin == "DistributionList" {
        "list"
    } else {
        "mailbox"
    };
    sheet.line("matches", format!("{} ({kind}, origin {})", row.canonical, row.origin));
    let lower = asked.to_lowercase();
    match row.keys.iter().find(|key| **key == asked).or_else(|| row.keys.iter().find(|key| **key == lower)) {
        Some(key) => sheet.line("by key", key),
        None => sheet.line("by key", "the part before the sub-address sign"),
    }
    if let Some(primary) = &facts.primary {
        let link = facts.link.as_ref();
        let from = match link.and_then(|link| link.owner.as_ref()) {
            Some(owner) => format!("AliasLink {}/{owner}", row.namespace),
            None => format!("no AliasLink declares it, origin {}", link.map_or("unknown", |link| link.origin.as_str())),
        };
        sheet.line("alias of", format!("{primary} ({from})"));
    }
}

fn write_unknown(sheet: &mut Sheet, facts: &Facts) {
    sheet.line("matches", "no row");
    if let Some(seen) = facts.learned_at {
        sheet.line("learned", format!("it sent mail {} ago and waits to become an address", ago(facts.now, seen)));
    }
    if let Some(purged) = facts.purged_at {
        sheet.line("purged", format!("{} ago; it is not learned from mail for 90 days", ago(facts.now, purged)));
    }
}

/// What a person could do about it.
fn remedy(facts: &Facts) -> String {
    if !facts.answers {
        return "a controller that has read all resources and executed its first plan: see its log and /readyz".to_owned();
    }
    let Some(domain) = &facts.domain else {
        return "an InternalDomain that declares the domain".to_owned();
    };
    match (&facts.row, domain.validation.as_str()) {
        (Some(row), _) if row.closing => "deletionPolicy: Retain on the EmailAddress, before the purge is done".to_owned(),
        (Some(row), _) if row.accepted && row.is_alias => "the end of the link, or a purge of the alias".to_owned(),
        (Some(row), _) if row.accepted => match row.owner {
            Some(_) => "deletionPolicy: Purge on the EmailAddress and its deletion, or another recipientValidation".to_owned(),
            None => "another recipientValidation; an EmailAddress with deletionPolicy: Purge, deleted, takes it away".to_owned(),
        },
        (_, "Any") => "another recipientValidation".to_owned(),
        (_, "None") => "another recipientValidation: the domain takes no mail now".to_owned(),
        (_, "Directory") => "a directory that has the address, or another recipientValidation".to_owned(),
        (None, "CallForward") => format!("what {} says of it, or an EmailAddress that declares it", domain.next_hop),
        (None, _) if domain.learns => "an EmailAddress or AliasLink that declares it, or the address's first outbound mail".to_owned(),
        (None, _) => "an EmailAddress or AliasLink that declares it".to_owned(),
        (Some(_), _) => "another recipientValidation".to_owned(),
    }
}
