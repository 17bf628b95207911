//! What a server's refusal is to us: a reason, and words without secrets (SPEC Y5, Y9).

use ldap3::LdapResult;

use super::redaction::Redaction;
use crate::plan::directory::rows::Problem;
use crate::plan::reason::Reason;

/// Result codes (RFC 4511 A.1).
const TIME_LIMIT: u32 = 3;
const SIZE_LIMIT: u32 = 4;
const STRONGER_AUTH_REQUIRED: u32 = 8;
const REFERRAL: u32 = 10;
const ADMIN_LIMIT: u32 = 11;
const UNAVAILABLE_CRITICAL_EXTENSION: u32 = 12;
const CONFIDENTIALITY_REQUIRED: u32 = 13;
const NO_SUCH_OBJECT: u32 = 32;
const INVALID_DN_SYNTAX: u32 = 34;
const INVALID_CREDENTIALS: u32 = 49;
const INSUFFICIENT_ACCESS: u32 = 50;
const BUSY: u32 = 51;
const UNAVAILABLE: u32 = 52;
const UNWILLING: u32 = 53;

pub(super) fn problem(reason: Reason, message: impl Into<String>) -> Problem {
    Problem { reason, message: message.into() }
}

/// Why a bind was refused.
pub(super) fn bind_problem(result: &LdapResult, bind_dn: &str, password: &str, redaction: &Redaction) -> Problem {
    if matches!(result.rc, BUSY | UNAVAILABLE) {
        return problem(Reason::DirectoryBusy, format!("the server takes nobody at the moment: {}", said(result, redaction)));
    }
    let who = redaction.text(bind_dn);
    let why = match result.rc {
        INVALID_CREDENTIALS => active_directory(&result.text).unwrap_or("no such bind name, or another password"),
        STRONGER_AUTH_REQUIRED | CONFIDENTIALITY_REQUIRED => "the server takes passwords over an encrypted connection only: set tls.mode",
        INVALID_DN_SYNTAX | NO_SUCH_OBJECT => "bind.dn is no name that the server knows",
        REFERRAL => "the server names another one for this bind name",
        _ => "the server refused it",
    };
    let hint = if password.ends_with(['\n', '\r']) { "; the password in the Secret ends in a line end" } else { "" };
    problem(Reason::BindRefused, format!("{why}, as {who}: {}{hint}", said(result, redaction)))
}

/// Why a search did not end clean; None: it did.
pub(super) fn search_problem(result: &LdapResult, base: &str, redaction: &Redaction) -> Option<Problem> {
    let base = redaction.text(base);
    let (reason, why) = match result.rc {
        0 => return None,
        TIME_LIMIT => (Reason::TimeLimitExceeded, "the server ended the search at its time limit".to_owned()),
        SIZE_LIMIT => (Reason::SizeLimitExceeded, "the server ended the search at its size limit for this bind name".to_owned()),
        ADMIN_LIMIT => (
            Reason::SizeLimitExceeded,
            "the search is beyond a limit that the server has for this bind name, perhaps of pageSize".to_owned(),
        ),
        REFERRAL => (Reason::ReferenceLeftOut, format!("another server has {base}: {}", redaction.text(&result.refs.join(" ")))),
        NO_SUCH_OBJECT => (Reason::BaseNotFound, format!("there is no {base}, or the bind name may not see it")),
        INVALID_DN_SYNTAX => (Reason::BaseNotFound, format!("baseDN {base} is no DN")),
        BUSY | UNAVAILABLE => (Reason::DirectoryBusy, "the server is busy or shutting down".to_owned()),
        INSUFFICIENT_ACCESS => (Reason::SearchRefused, format!("the bind name has no right to search in {base}")),
        UNAVAILABLE_CRITICAL_EXTENSION => (Reason::SearchRefused, "the server lacks a control that the read needs".to_owned()),
        UNWILLING => (Reason::SearchRefused, "the server is not willing to search".to_owned()),
        _ => (Reason::SearchRefused, "the server refused the search".to_owned()),
    };
    Some(problem(reason, format!("{why}: {}", said(result, redaction))))
}

/// `result 49 "80090308: …"`
fn said(result: &LdapResult, redaction: &Redaction) -> String {
    let text = redaction.text(&result.text);
    if text.is_empty() { format!("result {}", result.rc) } else { format!("result {} \"{text}\"", result.rc) }
}

/// Active Directory says why in a Windows error code: `AcceptSecurityContext error, data 52e, v3839`.
fn active_directory(text: &str) -> Option<&'static str> {
    let (_, rest) = text.split_once("data ")?;
    let code = rest.split(|c: char| !c.is_ascii_hexdigit()).next()?;
    Some(match code {
        "525" => "there is no such bind name",
        "52e" => "another password than this",
        "530" => "the account may not log on at this time",
        "531" => "the account may not log on from this machine",
        "532" => "the account's password has expired",
        "533" => "the account is disabled",
        "701" => "the account has expired",
        "773" => "the account's password must be changed first",
        "775" => "the account is locked out",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;

    fn result(rc: u32, text: &str) -> LdapResult {
        LdapResult { rc, matched: String::new(), text: text.to_owned(), refs: vec!["ldap://other/".to_owned()], ctrls: vec![] }
    }

    fn redaction() -> Redaction {
        Redaction::new(&Secret::new(b"geheim".to_vec()))
    }

    #[test]
    fn y5_each_result_has_a_reason_and_only_success_has_none() {
        for (rc, reason) in [
            (1, Reason::SearchRefused),
            (3, Reason::TimeLimitExceeded),
            (4, Reason::SizeLimitExceeded),
            (10, Reason::ReferenceLeftOut),
            (11, Reason::SizeLimitExceeded),
            (12, Reason::SearchRefused),
            (32, Reason::BaseNotFound),
            (34, Reason::BaseNotFound),
            (50, Reason::SearchRefused),
            (51, Reason::DirectoryBusy),
            (52, Reason::DirectoryBusy),
            (53, Reason::SearchRefused),
            (80, Reason::SearchRefused),
            (9999, Reason::SearchRefused),
        ] {
            let problem = search_problem(&result(rc, "why\n"), "dc=acme", &redaction()).unwrap();
            assert_eq!(problem.reason, reason, "{rc}");
            assert!(problem.message.ends_with(&format!(": result {rc} \"why\"")), "{}", problem.message);
        }
        assert_eq!(search_problem(&result(0, ""), "dc=acme", &redaction()), None);
    }

    #[test]
    fn y5_a_refused_bind_says_why_in_words() {
        for (rc, text, reason, words) in [
            (
                49,
                "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 52e, v1db1\0",
                Reason::BindRefused,
                "another password",
            ),
            (
                49,
                "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 533, v1db1",
                Reason::BindRefused,
                "disabled",
            ),
            (
                49,
                "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 701, v1db1",
                Reason::BindRefused,
                "has expired",
            ),
            (
                49,
                "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data 773, v1db1",
                Reason::BindRefused,
                "must be changed",
            ),
            (49, "data 0", Reason::BindRefused, "no such bind name, or another password"),
            (49, "", Reason::BindRefused, "no such bind name, or another password, as cn=sync: result 49"),
            (8, "", Reason::BindRefused, "set tls.mode"),
            (51, "", Reason::DirectoryBusy, "takes nobody"),
            (52, "", Reason::DirectoryBusy, "takes nobody"),
        ] {
            let problem = bind_problem(&result(rc, text), "cn=sync", "geheim", &redaction());
            assert_eq!(problem.reason, reason, "{rc} {text}");
            assert!(problem.message.contains(words), "{}", problem.message);
        }
    }

    #[test]
    fn y9_a_server_that_repeats_the_password_is_not_quoted_in_a_problem() {
        let problem = bind_problem(&result(49, "not geheim!"), "cn=geheim", "geheim\n", &redaction());
        assert_eq!(
            problem.message,
            "no such bind name, or another password, as cn=***: result 49 \"not ***!\"; the password in the Secret ends in a line end"
        );
    }
}
