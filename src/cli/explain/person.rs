//! Who owns the row, what its user may do, and what waits for it.

use super::facts::{Access, Facts, Logon, Row};
use super::{Sheet, ago, span};

pub(super) fn write(sheet: &mut Sheet, facts: &Facts) {
    let Some(row) = &facts.row else { return };
    write_row(sheet, facts, row);
    if let Some(access) = &facts.access {
        let whose = facts.primary.as_ref().map_or(String::new(), |primary| format!(" (of {primary}: an alias inherits it)"));
        sheet.heading(&format!("what it may do{whose}"));
        write_logon(sheet, facts, access, row);
    }
    write_rights(sheet, facts);
    write_waits(sheet, facts);
}

fn write_row(sheet: &mut Sheet, facts: &Facts, row: &Row) {
    sheet.heading("the row");
    if row.display != row.canonical {
        sheet.line("declared as", &row.display);
    }
    let owner = match (&row.owner, &row.last_owner) {
        (Some(owner), _) => format!("EmailAddress {}/{owner}", row.namespace),
        (None, Some(last)) => format!("none; EmailAddress {}/{last} declared it last", row.namespace),
        (None, None) => format!("none; no resource of namespace {} ever declared it", row.namespace),
    };
    sheet.line("owner", owner);
    sheet.line("keys", row.keys.join(", "));
    if !facts.aliases.is_empty() {
        sheet.line("aliases", facts.aliases.join(", "));
    }
    if let Some(start) = row.archive_start {
        sheet.line("archive from", start);
    }
}

fn write_logon(sheet: &mut Sheet, facts: &Facts, access: &Access, row: &Row) {
    let allowed = |allowed: bool| if allowed { "allowed" } else { "not allowed" };
    sheet.line("SMTP submission", allowed(access.smtp_submission));
    sheet.line("POP", allowed(access.pop));
    sheet.line("cloud password", password(facts));
    let disabled: Vec<_> =
        [(access.disabled, "Declared"), (access.shut, "Undeclared")].into_iter().filter_map(|(is, reason)| is.then_some(reason)).collect();
    let disabled = match disabled.as_slice() {
        [] => "no".to_owned(),
        reasons => format!("yes: {}", reasons.join(", ")),
    };
    sheet.line("disabled", disabled);
    if row.closing {
        sheet.line("closing", "it is being purged: no logon, no new mail");
    }
    if let Some(logon) = &facts.logon {
        write_lock(sheet, facts, logon);
    }
}

fn password(facts: &Facts) -> String {
    let Some(credential) = &facts.credential else { return "none".to_owned() };
    let mut words =
        vec![format!("set {} ago by {}", ago(facts.now, credential.set_at), if credential.by_user { "the user" } else { "its Secret" })];
    if credential.forced {
        words.push("must be changed at the next logon".to_owned());
    }
    if credential.expired {
        words.push("expired".to_owned());
    }
    words.join("; ")
}

fn write_lock(sheet: &mut Sheet, facts: &Facts, logon: &Logon) {
    let Logon { locked, locked_until, failed, limit, last_failed_at, last_source, reset_locked, failed_codes, codes_limit } = logon;
    let locked = match locked_until.filter(|_| *locked) {
        Some(until) => format!("yes, for {} more (until {until})", span(until.duration_since(facts.now))),
        None => "no".to_owned(),
    };
    sheet.line("locked", locked);
    let last = match (last_failed_at, last_source) {
        (Some(at), Some(source)) if *failed > 0 => format!(", the last {} ago at {source}", ago(facts.now, *at)),
        (Some(at), None) if *failed > 0 => format!(", the last {} ago", ago(facts.now, *at)),
        _ => String::new(),
    };
    sheet.line("failed logons", format!("{failed} of {limit}{last}"));
    let locked = if *reset_locked { "; the reset function is locked" } else { "" };
    sheet.line("wrong codes", format!("{failed_codes} of {codes_limit}{locked}"));
}

fn write_rights(sheet: &mut Sheet, facts: &Facts) {
    if let Some(role) = &facts.role {
        let gone = if role.owned { "" } else { " (its resource is gone; the last super administrator stays)" };
        sheet.line("role", format!("{}{gone}: {}", role.name, role.permissions.join(", ")));
    }
    if !facts.reads.is_empty() {
        sheet.line("may read", facts.reads.join(", "));
    }
    if !facts.read_by.is_empty() {
        sheet.line("is read by", facts.read_by.join(", "));
    }
}

fn write_waits(sheet: &mut Sheet, facts: &Facts) {
    if facts.held.is_empty() && facts.waits.is_empty() {
        return;
    }
    sheet.heading("what waits");
    for held in &facts.held {
        sheet.line("held mail", format!("{} {} at {}, the oldest for {}", held.count, held.state, held.source, ago(facts.now, held.since)));
    }
    for wait in &facts.waits {
        let what = match wait.action.as_str() {
            "Purge" => "its purge",
            "Shut" => "the end of its cloud password (Undeclared)",
            "Unlink" => "the end of its link",
            other => other,
        };
        let state = match (wait.approved, wait.held) {
            (true, _) => ", approved",
            (false, true) => ", part of a held plan: it needs an approval",
            (false, false) => "",
        };
        sheet.line("waits", format!("{what}, for {}{state}", ago(facts.now, wait.since)));
    }
}
