//! What each type's presets are, and what a DirectoryConnection is refused for.

use kube::CustomResourceExt as _;
use serde_json::{Value, json};

use super::*;

fn spec(more: &Value) -> api::DirectoryConnectionSpec {
    let mut spec = json!({
        "type": "OpenLDAP", "urls": ["ldaps://ldap.corp.example"], "baseDN": "dc=corp,dc=example",
        "bind": {"dn": "cn=sync,dc=corp,dc=example", "passwordSecretRef": {"name": "corp-ldap", "key": "password"}},
    });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

fn declared(more: &Value) -> ConnectionDeclared {
    match spec(more).admit() {
        Ok(Declared::Connection(declared)) => *declared,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_left_out_comes_from_the_type() {
    for (directory, preset) in [("ActiveDirectory", ACTIVE_DIRECTORY), ("OpenLDAP", OPEN_LDAP), ("Generic", GENERIC)] {
        let access = declared(&json!({"type": directory})).access;
        assert_eq!((access.user_filter.as_str(), access.group_filter.as_str()), (preset.user_filter, preset.group_filter), "{directory}");
        for filter in [preset.user_filter, preset.group_filter].into_iter().filter(|filter| !filter.is_empty()) {
            assert_eq!(filter::check(filter), Ok(()), "{filter}");
        }
        let AttributeNames { id, mail, aliases, display_name, disabled, member, extra } = access.attributes;
        assert_eq!([id.as_str(), mail.as_str(), display_name.as_str()], [preset.id, MAIL, preset.display_name], "{directory}");
        assert_eq!([aliases.as_str(), disabled.as_str(), member.as_str()], [preset.aliases, "", preset.member], "{directory}");
        assert!(extra.is_empty());
    }
}

#[test]
fn y2_the_presets_of_active_directory_are_those_of_the_specification_and_filter_nobody_for_being_disabled() {
    let part = "(|(proxyAddresses=smtp:*)(mail=*))";
    assert_eq!(ACTIVE_DIRECTORY.user_filter, format!("(&{part}(|(objectCategory=person)(objectClass=publicFolder)))"));
    assert_eq!(ACTIVE_DIRECTORY.group_filter, format!("(&{part}(|(objectCategory=group)(objectClass=msExchDynamicDistributionList)))"));
    assert!(![ACTIVE_DIRECTORY, OPEN_LDAP, GENERIC].iter().any(|preset| preset.user_filter.contains("userAccountControl")));
}

#[test]
fn kubectl_explain_tells_every_preset() {
    let text = serde_json::to_string(&api::DirectoryConnection::crd()).unwrap();
    for preset in [ACTIVE_DIRECTORY, OPEN_LDAP, GENERIC] {
        for word in [preset.user_filter, preset.group_filter, preset.id, preset.aliases, preset.display_name, preset.member, MAIL] {
            assert!(word.is_empty() || text.contains(&format!("`{word}`")), "{word}");
        }
    }
}

#[test]
fn what_is_declared_is_taken_over_the_preset() {
    let more = json!({
        "type": "ActiveDirectory", "urls": ["ldap://a.example", "ldap://b.example:1389"],
        "tls": {"mode": "StartTLS", "caSecretRef": {"name": "corp-ca", "key": "ca.crt"}, "serverName": "dc.example"},
        "bind": {"dn": "sync@corp.example", "passwordSecretRef": {"name": "s", "key": "k"}},
        "userFilter": "(mail=*)", "groupFilter": "(!(objectClass=*))",
        "attributes": {"id": "uid", "aliases": "", "member": "", "disabled": "locked", "extra": {"room": "roomNumber"}},
        "domains": ["ACME.example", "bücher.example"], "interval": "1m", "fullInterval": "1m", "changeDetection": "Full",
        "linkAliases": false, "acknowledgeDisabledAccounts": false, "leavers": {"action": "Purge", "missedRuns": 3, "after": "1h"},
        "deletionGuard": {"maxPercent": 1, "minCount": 2}, "pageSize": 7, "timeout": "1m",
    });
    let ConnectionDeclared {
        access,
        domains,
        interval,
        full_interval,
        detection,
        link_aliases,
        acknowledge_disabled,
        leavers,
        guard,
        secrets: _,
    } = declared(&more);
    assert_eq!(
        access.servers.iter().map(|server| (server.host.as_str(), server.port)).collect::<Vec<_>>(),
        [("a.example", 389), ("b.example", 1389)]
    );
    assert_eq!((access.tls, access.server_name.as_deref()), (TlsMode::StartTls, Some("dc.example")));
    assert_eq!(access.ca, Some(SecretKey { name: "corp-ca".to_owned(), key: "ca.crt".to_owned() }));
    assert_eq!((access.bind_dn.as_str(), access.bind_password.name.as_str()), ("sync@corp.example", "s"));
    assert_eq!((access.user_filter.as_str(), access.group_filter.as_str()), ("(mail=*)", "(!(objectClass=*))"));
    let names = &access.attributes;
    assert_eq!([&names.id, &names.aliases, &names.member, &names.disabled], ["uid", "", "", "locked"]);
    assert_eq!(names.extra, [("room".to_owned(), "roomNumber".to_owned())].into());
    assert_eq!((access.page_size, access.timeout), (7, std::time::Duration::from_mins(1)));
    assert_eq!(domains.iter().map(DomainName::as_str).collect::<Vec<_>>(), ["acme.example", "xn--bcher-kva.example"]);
    assert_eq!((interval, full_interval), (SignedDuration::from_mins(1), SignedDuration::from_mins(1)));
    assert_eq!((detection, link_aliases, acknowledge_disabled), (Detection::Full, false, false));
    assert_eq!(leavers, LeaversDeclared { action: LeaverAction::Purge, missed_runs: 3, after: SignedDuration::from_hours(1) });
    assert_eq!(guard, Guard { max_percent: 1, min_count: 2 });
}

#[test]
fn an_empty_spec_beyond_what_is_required_has_the_defaults_of_the_specification() {
    let ConnectionDeclared {
        access,
        domains,
        interval,
        full_interval,
        detection,
        link_aliases,
        acknowledge_disabled,
        leavers,
        guard,
        secrets: _,
    } = declared(&json!({}));
    assert_eq!((access.tls, access.page_size, access.timeout), (TlsMode::Ldaps, 1000, std::time::Duration::from_secs(30)));
    assert_eq!((access.ca, access.server_name, domains.len()), (None, None, 0));
    assert_eq!((interval, full_interval), (SignedDuration::from_mins(15), SignedDuration::from_hours(24)));
    assert_eq!((detection, link_aliases, acknowledge_disabled), (Detection::Auto, true, true));
    assert_eq!(leavers, LeaversDeclared { action: LeaverAction::Disable, missed_runs: 2, after: SignedDuration::from_hours(24) });
    assert_eq!(guard, Guard { max_percent: 10, min_count: 10 });
}

#[test]
fn what_cannot_be_used_is_refused_with_the_field_and_what_would_be_right() {
    let bind = |dn: &str| json!({"bind": {"dn": dn, "passwordSecretRef": {"name": "s", "key": "k"}}});
    for (more, reason, expected) in [
        (json!({"urls": ["ldaps://a.example", "b.example"]}), Reason::SpecInvalid, "spec.urls[1] \"b.example\" begins with neither"),
        (json!({"urls": ["ldaps://a.example:3269"]}), Reason::SpecInvalid, "spec.urls[0] \"ldaps://a.example:3269\" is a global catalog"),
        (json!({"urls": []}), Reason::SpecInvalid, "spec.urls is empty"),
        (json!({"tls": {"mode": "None"}}), Reason::SpecInvalid, "spec.urls[0]"),
        (json!({"tls": {"serverName": "not a host"}}), Reason::SpecInvalid, "spec.tls.serverName \"not a host\" is no host name"),
        (bind(" "), Reason::SpecInvalid, "spec.bind.dn"),
        (bind("sync@corp.example"), Reason::SpecInvalid, "spec.bind.dn is no distinguished name"),
        (bind("cn=sync\0"), Reason::SpecInvalid, "spec.bind.dn has a NUL character"),
        (json!({"baseDN": "corp.example"}), Reason::SpecInvalid, "spec.baseDN \"corp.example\" is no distinguished name; write it as dc="),
        (json!({"userFilter": "(&(mail=*)(cn=a)"}), Reason::SpecInvalid, "spec.userFilter is no LDAP filter (RFC 4515): a closing"),
        (json!({"groupFilter": "mail=*"}), Reason::SpecInvalid, "spec.groupFilter is no LDAP filter (RFC 4515): an opening"),
        (json!({"attributes": {"id": ""}}), Reason::SpecInvalid, "spec.attributes.id \"\" is no name of an attribute"),
        (json!({"attributes": {"mail": ""}}), Reason::SpecInvalid, "spec.attributes.mail"),
        (json!({"attributes": {"aliases": "proxy addresses"}}), Reason::SpecInvalid, "spec.attributes.aliases \"proxy addresses\""),
        (json!({"attributes": {"extra": {"room": "*"}}}), Reason::SpecInvalid, "spec.attributes.extra.room \"*\""),
        (json!({"domains": ["acme.example", "acme..example"]}), Reason::DomainInvalid, "spec.domains: the domain \"acme..example\""),
        (json!({"interval": "2h", "fullInterval": "1h"}), Reason::SpecInvalid, "spec.fullInterval is shorter than spec.interval"),
        (
            json!({"changeDetection": "UpdateSequenceNumber"}),
            Reason::SpecInvalid,
            "spec.changeDetection names a mechanism of servers of type Active",
        ),
        (
            json!({"changeDetection": "SyncRepl", "type": "ActiveDirectory"}),
            Reason::SpecInvalid,
            "spec.changeDetection names a mechanism of servers of type OpenLDAP",
        ),
        (
            json!({"changeDetection": "SyncRepl", "attributes": {"id": "nsUniqueId"}}),
            Reason::SpecInvalid,
            "spec.changeDetection is SyncRepl, which names who was deleted by entryUUID alone",
        ),
    ] {
        let violation = spec(&more).admit().unwrap_err();
        assert_eq!(violation.reason, reason, "{more}: {}", violation.message);
        assert!(violation.message.contains(expected), "{more}: {}", violation.message);
    }
    for (directory, mechanism) in [("OpenLDAP", "SyncRepl"), ("ActiveDirectory", "UpdateSequenceNumber")] {
        assert_eq!(declared(&json!({"type": directory, "changeDetection": mechanism})).detection, Detection::CountedOn);
    }
    assert!(spec(&json!({"suspend": true})).suspended() && !spec(&json!({})).suspended());
}
