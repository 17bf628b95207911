//! The URL of a directory's server (RFC 4516), of which only scheme, host and port mean anything here.

use std::net::Ipv6Addr;

use super::connection::invalid;
use crate::model::{ServerUrl, TlsMode};
use crate::plan::desired::Violation;

/// Where Active Directory's global catalog listens (Y5).
const GLOBAL_CATALOG: [u16; 2] = [3268, 3269];

/// The server at this place of `spec.urls`. No message repeats what may be a password (Y9).
pub(super) fn parse(index: usize, text: &str, tls: TlsMode) -> Result<ServerUrl, Violation> {
    let fault = |message: String| Err(invalid(&format!("urls[{index}]"), &message));
    if text.contains('@') {
        return fault("has a user name in it; who reads is declared in spec.bind, so write it as ldaps://dc1.corp.example".to_owned());
    }
    // Extensions of LDAP URLs may be bind passwords: nothing is shown beyond the host.
    let (text, more) = cut(text);
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let (secure, default_port) = match scheme.to_ascii_lowercase().as_str() {
        "ldaps" => (true, 636),
        "ldap" => (false, 389),
        _ => return fault(format!("{text:?} begins with neither ldaps:// nor ldap://; write it as ldaps://dc1.corp.example")),
    };
    if !matches!(more, "" | "/") {
        return fault(format!("{text:?} has more than a host and a port; what is searched is declared in spec.baseDN and the filters"));
    }
    let (host, port) = match rest.strip_prefix('[') {
        // An IPv6 address stands in brackets, which keep its colons from the port's.
        Some(inner) => match inner.split_once(']') {
            Some((host, port)) if host.parse::<Ipv6Addr>().is_ok() => (host, port),
            _ => return fault(format!("{text:?} has no IPv6 address between its brackets; write it as ldaps://[2001:db8::1]")),
        },
        None => {
            let (host, port) = rest.split_at(rest.find(':').unwrap_or(rest.len()));
            if !is_host(host) {
                return fault(format!(
                    "{text:?} has no host name; write it as ldaps://dc1.corp.example, or a non-ASCII name as its A-label"
                ));
            }
            (host, port)
        }
    };
    let port = match port.strip_prefix(':') {
        None if port.is_empty() => default_port,
        Some(digits) if digits.bytes().all(|digit| digit.is_ascii_digit()) => match digits.parse::<u16>() {
            Ok(number) if number > 0 => number,
            _ => return fault(format!("{text:?} has a port that is not 1 to 65535")),
        },
        _ => return fault(format!("{text:?} has a port that is no number")),
    };
    if GLOBAL_CATALOG.contains(&port) {
        return fault(format!(
            "{text:?} is a global catalog, which lacks attributes and tells nothing of completeness; read the domain itself, at port 636 or 389"
        ));
    }
    match (secure, tls) {
        (true, TlsMode::Ldaps) | (false, TlsMode::StartTls | TlsMode::None) => Ok(ServerUrl { host: host.to_owned(), port }),
        (false, TlsMode::Ldaps) => fault(format!("{text:?} does not fit spec.tls.mode LDAPS; write ldaps://, or set the mode to StartTLS")),
        (true, _) => fault(format!("{text:?} fits spec.tls.mode LDAPS alone; write ldap://, or set the mode to LDAPS")),
    }
}

/// A URL up to its host and port, and what follows.
fn cut(text: &str) -> (&str, &str) {
    let authority = text.find("://").map_or(0, |place| place + 3);
    let end = text.get(authority..).and_then(|rest| rest.find(['/', '?', '#']));
    text.split_at(end.map_or(text.len(), |end| authority + end))
}

/// Whether this is what a server may be called, or an IPv4 address.
pub(super) fn is_host(text: &str) -> bool {
    let label = |label: &str| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    text.len() <= 253 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str, tls: TlsMode) -> Result<String, String> {
        parse(1, text, tls).map(|server| format!("{} {}", server.host, server.port)).map_err(|violation| violation.message)
    }

    #[test]
    fn a_url_is_a_scheme_that_fits_the_mode_a_host_and_a_port() {
        for (text, tls, expected) in [
            ("ldaps://dc1.corp.example", TlsMode::Ldaps, "dc1.corp.example 636"),
            ("LDAPS://dc1.corp.example/", TlsMode::Ldaps, "dc1.corp.example 636"),
            ("ldaps://10.0.0.1:1636", TlsMode::Ldaps, "10.0.0.1 1636"),
            ("ldap://localhost", TlsMode::None, "localhost 389"),
            ("ldap://ad_1", TlsMode::StartTls, "ad_1 389"),
            ("ldap://[2001:db8::1]", TlsMode::StartTls, "2001:db8::1 389"),
            ("ldaps://[::1]:65535", TlsMode::Ldaps, "::1 65535"),
        ] {
            assert_eq!(parsed(text, tls), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_with_what_would_be_right() {
        for (text, tls, expected) in [
            ("dc1.corp.example", TlsMode::Ldaps, "begins with neither ldaps:// nor ldap://; write it as ldaps://"),
            ("", TlsMode::Ldaps, "begins with neither"),
            ("https://dc1", TlsMode::Ldaps, "begins with neither"),
            ("ldap://dc1", TlsMode::Ldaps, "does not fit spec.tls.mode LDAPS; write ldaps://, or set the mode to StartTLS"),
            ("ldaps://dc1", TlsMode::StartTls, "fits spec.tls.mode LDAPS alone; write ldap://"),
            ("ldaps://dc1", TlsMode::None, "fits spec.tls.mode LDAPS alone"),
            ("ldaps://dc1/dc=corp,dc=example", TlsMode::Ldaps, "more than a host and a port"),
            ("ldaps://dc1?sub", TlsMode::Ldaps, "more than a host and a port"),
            ("ldaps://", TlsMode::Ldaps, "no host name"),
            ("ldaps://:636", TlsMode::Ldaps, "no host name"),
            ("ldaps://dc1..corp", TlsMode::Ldaps, "no host name"),
            ("ldaps://dc 1", TlsMode::Ldaps, "no host name"),
            ("ldaps://münchen.example", TlsMode::Ldaps, "A-label"),
            ("ldaps://2001:db8::1", TlsMode::Ldaps, "a port that is no number"),
            ("ldaps://[dc1]", TlsMode::Ldaps, "no IPv6 address"),
            ("ldaps://[::1", TlsMode::Ldaps, "no IPv6 address"),
            ("ldaps://[::1]x", TlsMode::Ldaps, "a port that is no number"),
            ("ldaps://dc1:", TlsMode::Ldaps, "not 1 to 65535"),
            ("ldaps://dc1:0", TlsMode::Ldaps, "not 1 to 65535"),
            ("ldaps://dc1:65536", TlsMode::Ldaps, "not 1 to 65535"),
            ("ldaps://dc1:ldap", TlsMode::Ldaps, "a port that is no number"),
        ] {
            let message = parsed(text, tls).unwrap_err();
            assert!(message.starts_with("spec.urls[1] ") && message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn y5_a_global_catalog_is_refused_with_the_reason() {
        for (text, tls) in
            [("ldaps://dc1:3269", TlsMode::Ldaps), ("ldap://dc1:3268", TlsMode::StartTls), ("ldap://dc1:3268/", TlsMode::None)]
        {
            assert!(parsed(text, tls).unwrap_err().contains("is a global catalog"), "{text}");
        }
    }

    #[test]
    fn y9_a_password_in_a_url_is_not_repeated() {
        for text in [
            "ldaps://sync:hunter2@dc1",
            "sync:hunter2@dc1",
            "ldaps://sync:hunter2/@dc1",
            "ldaps://dc1/????!bindname=cn=sync,!x-bindpw=hunter2",
            "http://dc1/?password=hunter2",
            "dc1/?password=hunter2",
        ] {
            let message = parsed(text, TlsMode::Ldaps).unwrap_err();
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
