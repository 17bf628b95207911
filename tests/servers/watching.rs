//! How the controller is watched: probes, metrics, logs (SPEC 13, DESIGN 5).

use crate::passwords::ACME;
use crate::support::operator::Settings;
use crate::support::wait::PATIENCE;
use crate::support::{self, Operator, Postgres, eventually, folder};
use crate::tenant::Tenant;
use serde_json::Value;
use std::collections::BTreeSet;

/// The series of a controller that has done some work. Names never change without a release note: alerts are made of them.
const SERIES: [&str; 18] = [
    "mailroster_build_info",
    "mailroster_leader",
    "mailroster_reconciles_total",
    "mailroster_batch_resources_count",
    "mailroster_batch_duration_seconds_count",
    "mailroster_queue_depth",
    "mailroster_queue_age_seconds",
    "mailroster_store_call_duration_seconds_count",
    "mailroster_api_request_duration_seconds_count",
    "mailroster_resources",
    "mailroster_resource_conditions",
    "mailroster_events_total",
    "mailroster_status_writes_total",
    "mailroster_last_super_administrator_kept_total",
    "mailroster_gateway_unknown_addresses_total",
    "mailroster_passwords_total",
    "mailroster_password_hash_duration_seconds_count",
    "mailroster_api_errors_total",
];

#[tokio::test]
async fn metrics_count_what_happens_and_name_no_tenant_and_no_address() {
    let tenant = Tenant::with(ACME).await;
    tenant.secret("sales", "Correct-Horse-7").await;
    tenant.address("sales", "").await;
    tenant.address_ready("sales").await;
    tenant.apply("EmailAddress/stray {address: stray@elsewhere.example}").await;
    tenant.cluster.wait_reason("EmailAddress", &tenant.namespace, "stray", "DomainNotFound").await;
    let unknown = "SELECT gateway.record_logon_v1(gen_random_uuid(), 'nobody@acme.example', 'wrong_password', 'imap')";
    sqlx::query(unknown).execute(&tenant.auth()).await.expect("a logon");

    let at_least = async |series: &str, least: f64| {
        eventually(PATIENCE, series, async || match tenant.operator.metric(series).await {
            Some(value) if value >= least => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
    };
    at_least("mailroster_leader", 1.0).await;
    at_least("mailroster_passwords_total{result=\"hashed\"}", 1.0).await;
    at_least("mailroster_resources{kind=\"EmailAddress\"}", 2.0).await;
    at_least("mailroster_resource_conditions{kind=\"EmailAddress\",condition=\"Ready\",status=\"False\"}", 1.0).await;
    at_least("mailroster_gateway_unknown_addresses_total{function=\"record_logon_v1\"}", 1.0).await;

    let metrics = tenant.operator.metrics().await;
    let series: BTreeSet<_> = metrics.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    for name in SERIES.into_iter().filter(|name| *name != "mailroster_api_errors_total") {
        assert!(series.contains(name), "{name} is missing in\n{metrics}");
    }
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("mailroster_") && line.len() < 300, "{line}");
        for word in ["@", "acme", "sales", "example", tenant.namespace.as_str()] {
            assert!(!line.contains(word), "{line}");
        }
    }
    assert!(metrics.ends_with("# EOF\n"));
}

#[tokio::test]
async fn probes_answer_with_the_store_away() {
    let cluster = support::control_plane().await;
    let postgres = Postgres::start(&folder::own("probes")).await;
    let (database, namespace) = (postgres.fresh_database().await, support::fresh_namespace().await);
    let operator = Operator::start_with(Settings::new(cluster, &database, &[&namespace]).await).await;
    let tenant = Tenant::of(database, namespace, operator).await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(tenant.operator.get(path).await.0, 200, "{path}");
    }
    postgres.kill().await;
    tenant.apply("EmailAddress/sales {address: sales@acme.example}").await;
    tenant.cluster.wait_reason("EmailAddress", &tenant.namespace, "sales", "StoreUnavailable").await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(tenant.operator.get(path).await.0, 200, "{path}");
    }
    assert!(tenant.operator.metric("mailroster_store_errors_total").await.is_some_and(|errors| errors >= 1.0));
    postgres.start_again().await;
    tenant.address_ready("sales").await;
    assert_eq!(tenant.operator.get("/nothing").await.0, 404);
}

#[tokio::test]
async fn the_json_log_has_one_span_for_each_reconcile_with_kind_namespace_and_name() {
    let cluster = support::control_plane().await;
    let (database, namespace) = (support::fresh_database().await, support::fresh_namespace().await);
    let mut settings = Settings::new(cluster, &database, &[&namespace]).await;
    settings.arguments = ["--log-format", "json", "--log-level", "info,mailroster=debug"].map(str::to_owned).to_vec();
    let tenant = Tenant::of(database, namespace, Operator::start_with(settings).await).await;
    tenant.apply("EmailAddress/sales {address: sales@acme.example}").await;
    tenant.address_ready("sales").await;
    let log = tenant.operator.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    for line in &lines {
        assert!(line["timestamp"].is_string() && line["level"].is_string() && line["message"].is_string(), "{line}");
    }
    let of_sales = |line: &&Value| line["span"]["resource"] == "sales" && line["span"]["kind"] == "EmailAddress";
    let mut spans = lines.iter().filter(of_sales).peekable();
    assert!(spans.peek().is_some(), "{log}");
    for line in spans {
        assert_eq!(line["span"]["namespace"], tenant.namespace.as_str(), "{line}");
        assert_eq!(line["span"]["name"], "reconcile", "{line}");
        assert_eq!(line["spans"].as_array().map(Vec::len), Some(1), "{line}");
    }
}
