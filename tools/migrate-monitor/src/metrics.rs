//! Metrics for Prometheus and for CloudWatch, made of a [`View`].
//!
//! Formats: OpenMetrics 1.0 (served), the text format 0.0.4 of Prometheus (the file for node_exporter's textfile collector),
//! and CloudWatch's embedded metric format (lines of the log).

use std::fmt;

use events::Phase;
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use serde_json::json;

use crate::view::View;

/// What OpenMetrics over HTTP is called.
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics as OpenMetrics text.
pub(crate) fn open_metrics(view: &View) -> String {
    let labels =
        [("profile".into(), view.profile_name.clone().into()), ("command".into(), view.command.clone().into())];
    let mut registry = Registry::with_prefix_and_labels("ddb_pipe", labels.into_iter());
    registry.register_collector(Box::new(Metrics(view.clone())));
    let mut text = String::new();
    // Writing into a string cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &registry);
    text
}

/// The metrics in Prometheus' own text format.
///
/// It names a counter with its `_total`, has no units, and no end.
pub(crate) fn text_format(view: &View) -> String {
    let mut text = String::new();
    let metrics = open_metrics(view);
    let counters: Vec<_> =
        metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    for line in metrics.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) if counters.contains(&name) => {
                text.extend(["# ", what, " ", name, "_total ", rest, "\n"]);
            }
            // The type is not known there.
            (Some("#"), Some("TYPE"), Some(name), Some("info")) => text.extend(["# TYPE ", name, "_info gauge\n"]),
            (Some("#"), Some("HELP"), Some(name), Some(rest)) if name.ends_with("ddb_pipe_migration") => {
                text.extend(["# HELP ", name, "_info ", rest, "\n"]);
            }
            _ => text.extend([line, "\n"]),
        }
    }
    text
}

#[derive(Debug)]
struct Metrics(View);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Service {
    service: String,
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Self(view) = self;
        let counts = view.counts;
        let info = |encoder: &mut DescriptorEncoder| {
            let labels = vec![
                ("version", env!("CARGO_PKG_VERSION").to_owned()),
                ("source", view.source.clone()),
                ("export", view.export.clone().unwrap_or_default()),
            ];
            let info = Info::new(labels);
            let metric = encoder.encode_descriptor("migration", "What is migrated", None, info.metric_type())?;
            info.encode(metric)
        };
        info(&mut encoder)?;
        for (name, help, value) in [
            (
                "items_read",
                "Items that were read from the export, those of earlier processes of the run included",
                view.read(),
            ),
            ("records_scanned", "Records of which it is durable what became of them", counts.scanned),
            ("rows_inserted", "Rows written, or compared", counts.inserted),
            ("records_merged", "Records merged into a row that another one had begun", counts.merged),
            ("records_skipped", "Records left out by the profile's filter", counts.skipped),
            ("records_rejected", "Records in the rejects file", counts.errors),
            ("records_suppressed", "Records of rows that a trigger or rule of the table suppressed", counts.suppressed),
            ("files_processed", "Data files that are done", view.files_processed),
            ("files_failed", "Data files that failed in this process", view.files_failed),
        ] {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let bytes = ConstCounter::new(view.bytes_processed);
        let help = "Compressed bytes of the data files that are done";
        bytes.encode(encoder.encode_descriptor("processed", help, Some(&Unit::Bytes), bytes.metric_type())?)?;
        if !view.retries.is_empty() {
            let counter = ConstCounter::new(0_u64);
            let help = "Retries of this process, by service";
            let mut family = encoder.encode_descriptor("retries", help, None, counter.metric_type())?;
            for (service, count) in &view.retries {
                let labels = Service { service: service.clone() };
                ConstCounter::new(*count).encode(family.encode_family(&labels)?)?;
            }
        }
        let mut gauge = |name: &str, help: &str, unit: Option<&Unit>, value: Option<f64>| {
            let Some(value) = value else { return Ok(()) };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, unit, gauge.metric_type())?)
        };
        // No count has 2^52.
        #[expect(clippy::cast_precision_loss, reason = "no count has 2^52")]
        let number = |value: u64| value as f64;
        let yes = |value: bool| Some(f64::from(u8::from(value)));
        gauge("items", "Items in the export", None, view.items_total.map(number))?;
        gauge("files", "Data files in the export", None, Some(number(view.files_total)))?;
        gauge("size", "Compressed bytes of the data files", Some(&Unit::Bytes), view.bytes_total.map(number))?;
        gauge("items_pending", "Items that are read and not durable", None, Some(number(view.pending)))?;
        let help = "Records of rows that are kept aside until the end, because they refer to rows that may come later";
        gauge("records_waiting", help, None, Some(number(counts.waiting)))?;
        gauge("remaining", "Estimated time to the end", Some(&Unit::Seconds), view.seconds_left.map(number))?;
        gauge("writing", "Whether the target is waited for", None, yes(view.phase != Phase::Reading))?;
        gauge("running", "Whether the run has not ended", None, yes(view.completed.is_none()))?;
        gauge(
            "completed",
            "Whether everything is done but what was rejected",
            None,
            yes(view.completed == Some(true)),
        )?;
        let help = "The exit code of the run, once it has ended";
        gauge("exit_code", help, None, view.exit_code.map(|code| number(code.into())))?;
        let seconds = |time: &str| time.parse::<Timestamp>().ok().map(|time| number(time.as_second().unsigned_abs()));
        let started = view.started.as_deref().and_then(seconds);
        gauge("start_time", "When this process of the run began, since 1970", Some(&Unit::Seconds), started)?;
        let updated = seconds(&view.updated);
        gauge("last_event_time", "When the run was last heard of, since 1970", Some(&Unit::Seconds), updated)
    }
}

/// What a line of the embedded metric format says is new since the one before.
///
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
pub(crate) fn embedded(view: &View, before: &View, time: Timestamp) -> String {
    let counts = |name: &'static str, value: u64| (name, "Count", json!(value));
    let since = |now: u64, before: u64| now.saturating_sub(before);
    let (now, then) = (view.counts, before.counts);
    let mut metrics = vec![
        counts("ItemsRead", since(view.read(), before.read())),
        counts("RowsInserted", since(now.inserted, then.inserted)),
        counts("RecordsMerged", since(now.merged, then.merged)),
        counts("RecordsSkipped", since(now.skipped, then.skipped)),
        counts("RecordsRejected", since(now.errors, then.errors)),
        counts("RecordsSuppressed", since(now.suppressed, then.suppressed)),
        counts("FilesProcessed", since(view.files_processed, before.files_processed)),
        counts("FilesFailed", since(view.files_failed, before.files_failed)),
        counts("Retries", since(view.retries(), before.retries())),
        counts("ItemsPending", view.pending),
        counts("RecordsWaiting", now.waiting),
    ];
    metrics.extend(view.percent.map(|percent| ("Progress", "Percent", json!(percent))));
    metrics.extend(view.seconds_left.map(|seconds| ("Remaining", "Seconds", json!(seconds))));
    metrics.extend(view.completed.map(|completed| counts("Completed", u64::from(completed))));
    let names: Vec<_> = metrics.iter().map(|(name, unit, _)| json!({ "Name": name, "Unit": unit })).collect();
    let mut line = json!({
        "_aws": {
            "Timestamp": time.as_millisecond(),
            "CloudWatchMetrics": [{ "Namespace": "ddb-pipe", "Dimensions": [["profile", "command"]], "Metrics": names }],
        },
        "profile": view.profile_name,
        "command": view.command,
    });
    for (name, _, value) in metrics {
        line[name] = value;
    }
    line.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_format_has_what_is_new() {
        let counts = |scanned, errors, suppressed| events::Counts {
            scanned,
            errors,
            suppressed,
            waiting: 4,
            ..events::Counts::default()
        };
        let then = View { counts: counts(10, 1, 2), ..View::default() };
        let now = View {
            profile_name: "p".to_owned(),
            command: "run".to_owned(),
            counts: counts(30, 1, 5),
            percent: Some(12.5),
            ..View::default()
        };
        let line: serde_json::Value =
            serde_json::from_str(&embedded(&now, &then, Timestamp::from_millisecond(1_700_000_000_123).unwrap()))
                .unwrap();
        assert_eq!(line["_aws"]["Timestamp"], json!(1_700_000_000_123_i64));
        assert_eq!(
            (&line["profile"], &line["ItemsRead"], &line["RecordsRejected"]),
            (&json!("p"), &json!(20), &json!(0))
        );
        assert_eq!((&line["RecordsSuppressed"], &line["RecordsWaiting"]), (&json!(3), &json!(4)));
        let metrics = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(metrics["Dimensions"], json!([["profile", "command"]]));
        assert_eq!(metrics["Metrics"][11], json!({ "Name": "Progress", "Unit": "Percent" }));
        assert_eq!(line["Progress"], json!(12.5));
        for metric in metrics["Metrics"].as_array().unwrap() {
            assert!(line[metric["Name"].as_str().unwrap()].is_number(), "{metric}");
        }
    }
}
