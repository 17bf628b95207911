//! The command line: what is understood, what it means, and how commands end.

use clap::error::ErrorKind;
use clap::{Arg, CommandFactory as _, Parser as _};
use jiff::SignedDuration;

use super::{Arguments, Command, Exit, Failure, Outcome, duration, operator};
use crate::operator::Options;
use crate::store::Location;

fn options(words: &[&str]) -> Options {
    let words = ["mailroster", "operator"].iter().chain(words);
    let Command::Operator(written) = Arguments::try_parse_from(words).unwrap().command else { panic!("not operator") };
    written.options(Location { url: "postgres://store".to_owned(), password_file: None })
}

fn refusal(words: &[&str]) -> clap::Error {
    Arguments::try_parse_from(["mailroster"].iter().chain(words)).unwrap_err()
}

#[test]
fn the_command_line_is_consistent() {
    Arguments::command().debug_assert();
}

#[test]
fn every_flag_has_an_environment_variable_of_its_name() {
    let mut command = Arguments::command();
    command.build();
    let mut flags = 0;
    for command in std::iter::once(&command).chain(command.get_subcommands()) {
        let own = |argument: &&Arg| !argument.is_positional() && !["help", "version"].contains(&argument.get_id().as_str());
        for flag in command.get_arguments().filter(own) {
            let name = flag.get_long().unwrap();
            let expected = format!("MAILROSTER_{}", name.to_uppercase().replace('-', "_"));
            assert_eq!(flag.get_env().and_then(|name| name.to_str()), Some(expected.as_str()), "{} --{name}", command.get_name());
            flags += 1;
        }
    }
    assert!(flags > 20, "only {flags} flags were looked at");
}

#[test]
fn the_help_never_shows_a_url_from_the_environment() {
    let mut command = Arguments::command();
    command.build();
    for command in command.get_subcommands() {
        for flag in command.get_arguments().filter(|flag| flag.get_long() == Some("store")) {
            assert!(flag.is_hide_env_values_set(), "{}", command.get_name());
        }
    }
}

#[test]
fn the_operator_has_the_documented_defaults() {
    let Options {
        listen,
        system_namespace,
        namespaces,
        new_domain_grace,
        fingerprint_key,
        audit_retention_days,
        role_prefix,
        take_over_store,
        store,
    } = options(&[]);
    assert_eq!(listen.to_string(), "0.0.0.0:8080");
    assert_eq!((system_namespace, namespaces, fingerprint_key), (None, Vec::new(), None));
    assert_eq!(new_domain_grace, SignedDuration::from_hours(1));
    assert_eq!(audit_retention_days, 400);
    assert_eq!(role_prefix, "mailroster");
    assert!(!take_over_store);
    assert_eq!(store.url, "postgres://store");
}

#[test]
fn what_is_written_is_understood() {
    let options = options(&[
        "--listen=127.0.0.1:0",
        "--namespaces=globex,acme,,acme",
        "--new-domain-grace=0s",
        "--audit-retention=36h",
        "--take-over-store",
        "--system-namespace=mail",
    ]);
    assert_eq!(options.namespaces, ["acme", "globex"]);
    assert_eq!(options.new_domain_grace, SignedDuration::ZERO);
    assert_eq!(options.audit_retention_days, 2, "a begun day counts");
    assert!(options.take_over_store);
    assert_eq!(options.system_namespace.as_deref(), Some("mail"));
}

#[test]
fn durations_are_written_as_people_write_them() {
    for (text, seconds) in
        [("1h", 3_600), ("15m", 900), ("400d", 34_560_000), ("1h 30m", 5_400), ("1h30m", 5_400), ("PT1H", 3_600), ("2w", 1_209_600)]
    {
        assert_eq!(duration::parse(text).map(|duration| duration.as_secs()), Ok(seconds), "{text}");
    }
    for (text, words) in
        [("1", "not a duration"), ("soon", "not a duration"), ("-1h", "negative"), ("1mo", "months"), ("", "not a duration")]
    {
        let message = duration::parse(text).unwrap_err();
        assert!(message.contains(words), "{text}: {message}");
    }
}

#[test]
fn role_prefixes_are_refused_before_anything_is_connected() {
    for prefix in ["mailroster", "_mail2"] {
        assert!(operator::role_prefix(prefix).is_ok(), "{prefix}");
    }
    for prefix in ["", "Mail", "2mail", "mail-roster", "a\"b", &"a".repeat(42)] {
        assert!(operator::role_prefix(prefix).is_err(), "{prefix}");
    }
}

#[test]
fn a_command_line_that_can_not_be_read_ends_with_status_2() {
    for words in [&["operator", "--no-such-flag"][..], &["transfer", "acme.example"], &["check", "everything"], &["completion", "cmd"]] {
        assert_eq!(refusal(words).exit_code(), i32::from(Failure::STATUS), "{words:?}");
    }
    let help = refusal(&["--help"]);
    assert_eq!((help.kind(), help.exit_code()), (ErrorKind::DisplayHelp, 0));
}

#[test]
fn exit_statuses_are_those_of_the_documentation() {
    assert_eq!((Exit::Done.status(), Exit::Findings.status(), Failure::STATUS), (0, 1, 2));
}

#[test]
fn a_failure_tells_its_causes_once() {
    let cause = std::io::Error::other("connection refused");
    assert_eq!(Failure::to("reach the store (--store)", cause).chain(), "failed to reach the store (--store): connection refused");
    #[derive(Debug, thiserror::Error)]
    #[error("the store is not available: {0}")]
    struct Twice(#[source] std::io::Error);
    let twice = Twice(std::io::Error::other("connection refused"));
    assert_eq!(Failure::to("read", twice).chain(), "failed to read: the store is not available: connection refused");
}

#[test]
fn log_levels_that_name_nothing_are_refused() {
    for (level, good) in [("info", true), ("mailroster::store=debug,warn", true), ("inof", false), ("mailroster=loud", false), ("", false)]
    {
        let arguments = Arguments::try_parse_from(["mailroster", "--log-level", level, "version"]).unwrap();
        assert_eq!(arguments.logging.filter().is_ok(), good, "{level:?}");
    }
}

#[tokio::test]
async fn commands_without_servers_run() {
    let run = async |words: &[&str]| super::run(Arguments::try_parse_from(["mailroster"].iter().chain(words)).unwrap().command).await;
    assert_eq!(run(&["version"]).await.unwrap(), Outcome::done("mailroster 0.1.0\n"));
    assert_eq!(run(&["crds"]).await.unwrap().text.matches("kind: CustomResourceDefinition").count(), crate::api::crds().len());
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completion", shell]).await.unwrap().text.contains("mailroster"), "{shell}");
    }
    let missing = run(&["explain", "sales@acme.example"]).await.unwrap_err().chain();
    assert!(missing.contains("--store") && missing.contains("MAILROSTER_STORE"), "{missing}");
    let wrong = run(&["transfer", "acme..example", "globex"]).await.unwrap_err().chain();
    assert!(wrong.starts_with("failed to read DOMAIN: "), "{wrong}");
    let wrong = run(&["transfer", "acme.example", "Globex"]).await.unwrap_err().chain();
    assert!(wrong.starts_with("failed to read NAMESPACE: "), "{wrong}");
}
