//! What Prometheus is shown.

use super::*;

#[test]
fn every_series_is_registered_under_a_full_name_with_its_unit() {
    let metrics = Metrics::new();
    metrics.leads(true);
    metrics.reconciled(Kind::EmailAddress, Ended::Changed);
    metrics.batch(3, Duration::from_millis(20));
    metrics.queue(2, Duration::from_millis(1500));
    metrics.settled(Duration::from_millis(800));
    metrics.store_call("read", Duration::from_millis(3), true);
    metrics.api_call("patch", "EmailAddress", Duration::from_millis(3), true);
    metrics.watched(Kind::EmailAddress, 7);
    metrics.condition(Kind::EmailAddress, "Ready", true, 6);
    metrics.event("DriftCorrected", true);
    metrics.status_written(Kind::EmailAddress, Ended::Changed);
    metrics.status_repeated(Kind::EmailAddress);
    metrics.last_super_kept();
    metrics.unknown_addresses("record_logon_v1", 9);
    metrics.password(Hashed::Hashed, Duration::from_millis(80));
    let text = metrics.encode().unwrap();
    for series in [
        "mailroster_build_info{version=\"0.1.0\"} 1",
        "mailroster_leader 1",
        "mailroster_reconciles_total{kind=\"EmailAddress\",result=\"changed\"} 1",
        "mailroster_batch_resources_count 1",
        "mailroster_batch_duration_seconds_count 1",
        "mailroster_queue_depth 2",
        "mailroster_queue_age_seconds 1.5",
        "mailroster_settling_duration_seconds 0.8",
        "mailroster_store_call_duration_seconds_count{call=\"read\"} 1",
        "mailroster_store_errors_total{call=\"read\"} 1",
        "mailroster_api_request_duration_seconds_count{verb=\"patch\",kind=\"EmailAddress\"} 1",
        "mailroster_api_errors_total{verb=\"patch\",kind=\"EmailAddress\"} 1",
        "mailroster_resources{kind=\"EmailAddress\"} 7",
        "mailroster_resource_conditions{kind=\"EmailAddress\",condition=\"Ready\",status=\"True\"} 6",
        "mailroster_events_total{reason=\"DriftCorrected\",type=\"Warning\"} 1",
        "mailroster_status_writes_total{kind=\"EmailAddress\",result=\"changed\"} 1",
        "mailroster_status_repeats_total{kind=\"EmailAddress\"} 1",
        "mailroster_last_super_administrator_kept_total 1",
        "mailroster_gateway_unknown_addresses_total{function=\"record_logon_v1\"} 9",
        "mailroster_passwords_total{result=\"hashed\"} 1",
        "mailroster_password_hash_duration_seconds_count 1",
    ] {
        assert!(text.lines().any(|line| line == series), "{series} is missing in:\n{text}");
    }
    assert!(text.ends_with("# EOF\n"), "{text}");
}
