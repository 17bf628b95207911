//! The controller with the rights of the manifests and no others: each test's controller runs so (`Settings::new`).

use crate::support::operator::Settings;
use crate::support::resources::condition;
use crate::support::{self, Operator};
use crate::tenant::yaml;

const TENANT: &str = "AccountSettings/default {purge: {delay: 1s, heldMailReports: NotRequired}}
InternalDomain/acme {domain: acme.example, postmaster: it@acme.example}
EmailAddress/it {address: it@acme.example, password: {secretRef: {name: it, key: password}}}
EmailAddress/sales {address: sales@acme.example, deletionPolicy: Purge}
EmailAddress/info {address: info@acme.example}
AliasLink/help {alias: help@acme.example, primary: it@acme.example}
DelegateMailbox/it-info {reader: it@acme.example, mailbox: info@acme.example}
AdminRole/helpers {builtIn: HelpDesk, members: [it@acme.example]}";

const SECRET: &str = "apiVersion: v1
kind: Secret
metadata: {name: it, labels: {mailroster.dev/readable: 'true'}}
stringData: {password: Correct-Horse-7}
";

const KINDS: [(&str, &str); 8] = [
    ("AccountSettings", "default"),
    ("InternalDomain", "acme"),
    ("EmailAddress", "it"),
    ("EmailAddress", "sales"),
    ("EmailAddress", "info"),
    ("AliasLink", "help"),
    ("DelegateMailbox", "it-info"),
    ("AdminRole", "helpers"),
];

#[tokio::test]
async fn u1_a_whole_tenant_lives_and_ends_with_the_rights_of_the_manifests() {
    let cluster = support::control_plane().await;
    let (database, namespace) = (support::fresh_database().await, support::fresh_namespace().await);
    let settings = Settings::new(cluster, &database, &[&namespace]).await;
    let system = settings.system_namespace.clone();
    let operator = Operator::start_with(settings).await;
    cluster.apply(&namespace, &yaml(TENANT)).await;
    cluster.apply(&namespace, SECRET).await;
    for (kind, name) in KINDS {
        cluster.wait_ready(kind, &namespace, name).await;
    }
    let holder = cluster.get("Lease", &system, "mailroster").await.unwrap()["spec"]["holderIdentity"].clone();
    assert!(holder.as_str().is_some_and(|holder| !holder.is_empty()), "{holder}");
    assert_eq!(cluster.get("Secret", &system, "mailroster").await.unwrap()["type"], "mailroster.dev/installation");
    cluster.wait_event(&namespace, "it", "Succeeded").await;

    for (kind, name) in [("DelegateMailbox", "it-info"), ("AdminRole", "helpers"), ("AliasLink", "help"), ("EmailAddress", "sales")] {
        let resource = cluster.get(kind, &namespace, name).await.unwrap();
        assert!(resource["metadata"]["finalizers"].as_array().is_some_and(|all| !all.is_empty()), "{kind}");
        cluster.delete(kind, &namespace, name).await;
    }
    cluster.wait_gone("DelegateMailbox", &namespace, "it-info").await;
    cluster.wait_gone("AdminRole", &namespace, "helpers").await;
    cluster.wait_reason("AliasLink", &namespace, "help", "RemovalPending").await;
    database.move_clock(61).await;
    cluster.wait_gone("AliasLink", &namespace, "help").await;
    cluster.wait_gone("EmailAddress", &namespace, "sales").await;
    assert_eq!(
        database.text("SELECT string_agg(canonical, ' ' ORDER BY canonical) FROM mailroster.address").await,
        "info@acme.example it@acme.example"
    );
    let log = operator.log();
    assert!(!log.contains("orbidden"), "{log}");
}

#[tokio::test]
async fn p1_a_tenant_that_has_not_bound_the_reader_is_told_how_and_slows_nobody_else() {
    let cluster = support::control_plane().await;
    let database = support::fresh_database().await;
    let (bound, unbound) = (support::fresh_namespace().await, support::fresh_namespace().await);
    let settings = Settings::without_secrets(cluster, &database, &[&bound, &unbound]).await;
    let system = settings.system_namespace.clone();
    cluster.let_secrets_be_read(&bound, &system).await;
    let _operator = Operator::start_with(settings).await;
    for (namespace, domain) in [(&unbound, "unbound.example"), (&bound, "bound.example")] {
        cluster.apply(namespace, &yaml(&TENANT.replace("acme.example", domain))).await;
        cluster.apply(namespace, SECRET).await;
    }
    for (kind, name) in KINDS {
        cluster.wait_ready(kind, &bound, name).await;
        if name != "it" {
            cluster.wait_ready(kind, &unbound, name).await;
        }
    }
    let address = cluster.wait_reason("EmailAddress", &unbound, "it", "SecretNotFound").await;
    let said = condition(&address, "CredentialReady").unwrap()["message"].as_str().unwrap_or_default().to_owned();
    let command = format!(
        "kubectl -n {unbound} create rolebinding mailroster-secret-reader --clusterrole=mailroster-secret-reader --serviceaccount={system}:mailroster"
    );
    assert!(said.contains(&command), "{said}");
    assert_eq!(condition(&address, "Reconciling").unwrap()["status"], "True");

    // One that asks while it is forbidden is told at once.
    let later = "EmailAddress/later {address: later@unbound.example, password: {secretRef: {name: it, key: password}}}";
    cluster.apply(&unbound, &yaml(later)).await;
    cluster.wait_reason("EmailAddress", &unbound, "later", "SecretNotFound").await;

    // The very command that the condition names heals it.
    let arguments: Vec<_> = command.split(' ').skip(1).collect();
    cluster.kubectl(&arguments).await.succeeded();
    cluster.wait_ready("EmailAddress", &unbound, "it").await;
    cluster.wait_ready("EmailAddress", &unbound, "later").await;
}
