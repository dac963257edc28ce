//! What is said where a run begins on the real broker: every refusal and warning, each with its way out, and that this way is
//! one.

use super::hours::{Hours, JOB};
use crate::support::kafka::{self, Producer};

const WATERMARK: &str = "WATERMARK FOR t AS t";
const END: [&str; 2] = ["--until", "end"];
const AT_THREE: [&str; 4] = ["--start", "2026-01-01T03:00:00Z", "--until", "end"];

/// A topic with these settings, and a record in the middle of each hour up to 05:30.
fn hours(settings: &[(&str, &str)], watermark: &str) -> Hours {
    let topic = kafka::create_topic_with("begun", 1, settings);
    let hours = Hours::with_kafka(topic, &[("bootstrap.servers", &crate::support::kafka_address())], watermark);
    hours.send(&[(0, "00:30"), (0, "01:30"), (0, "02:30"), (0, "03:30"), (0, "04:30"), (0, "05:30")]);
    hours
}

/// The hours that are published.
fn published(hours: &Hours) -> Vec<String> {
    hours.results().into_iter().map(|(hour, _)| hour).collect()
}

#[test]
fn a_topic_that_was_cut_off_needs_somebody_to_vouch() {
    let hours = hours(&[], WATERMARK);
    kafka::trim(&hours.topic, 0, 1);
    hours.says("start-cut-off", &["run"], &END);
    hours.kappa(&["run"], &["--whole-from", "2026-01-01T03:00:00Z", "--until", "end"]).ok();
    assert_eq!(published(&hours), ["03:00", "04:00"]);
}

#[test]
fn a_time_behind_records_that_were_removed_needs_retention_by_age() {
    let cut = hours(&[], WATERMARK);
    kafka::trim(&cut.topic, 0, 1);
    cut.says("start-removed", &["run"], &AT_THREE);
    cut.kappa(&["run"], &[&["--allow-partial"], &AT_THREE[..]].concat()).ok();
    // The look-up goes back by MAX FUTURE, an hour.
    assert_eq!(published(&cut), ["02:00", "03:00", "04:00"]);
    // A hundred years: whatever went by age is older than the records.
    let by_age = hours(&[("retention.ms", "3153600000000")], WATERMARK);
    kafka::trim(&by_age.topic, 0, 1);
    by_age.kappa(&["run"], &AT_THREE).ok();
    assert_eq!(published(&by_age), ["03:00", "04:00"]);
}

#[test]
fn a_time_is_for_no_stream_without_max_future() {
    let hours = hours(&[], "WATERMARK FOR t AS t MAX FUTURE NONE");
    hours.says("start-no-max-future", &["run"], &AT_THREE);
    hours.kappa(&["run"], &END).ok();
    assert_eq!(published(&hours).len(), 5);
}

#[test]
fn records_without_timestamps_are_found_by_no_time() {
    let topic = kafka::create_topic("begun", 1);
    let address = crate::support::kafka_address();
    let hours = Hours::with_kafka(topic, &[("bootstrap.servers", &address)], WATERMARK);
    // What brokers keep for a client that sets none: -1.
    let messages = hours.messages(&[(0, "00:30"), (0, "01:30"), (0, "02:30"), (0, "03:30")]);
    let without = messages.into_iter().map(|message| kafka::Message { timestamp_ms: Some(-1), ..message });
    kafka::produce(&hours.topic, &without.collect::<Vec<_>>());
    assert!(kafka::read(&hours.topic).iter().all(|record| record.timestamp_ms.is_none_or(|ms| ms < 0)));
    hours.says("start-no-timestamps", &["run"], &AT_THREE);
    hours.edit(WATERMARK, "WATERMARK FOR t AS t MAX FUTURE NONE");
    hours.kappa(&["archive"], &END).ok();
    hours.kappa(&["run"], &END).ok();
    assert_eq!(published(&hours), ["00:00", "01:00", "02:00"]);
    let range = ["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T03:00:00Z"];
    hours.kappa(&["diff"], &range).ok();
}

#[test]
fn a_topic_that_takes_far_timestamps_is_warned_of() {
    let two_hours = hours(&[("message.timestamp.after.max.ms", "7200000")], WATERMARK);
    two_hours.says("start-far-ahead", &["run"], &END);
    two_hours.says("archive-far-ahead", &["archive"], &END);
    let max = i64::MAX.to_string();
    let any = hours(&[("message.timestamp.after.max.ms", &max)], WATERMARK);
    any.says("start-any-ahead", &["run"], &END);
    for quiet in [
        hours(&[("message.timestamp.after.max.ms", "3600000")], WATERMARK),
        hours(&[("message.timestamp.after.max.ms", &max), ("message.timestamp.type", "LogAppendTime")], WATERMARK),
        hours(&[("message.timestamp.after.max.ms", &max)], "WATERMARK FOR t AS t MAX FUTURE NONE"),
    ] {
        assert_eq!(quiet.kappa(&["run"], &END).ok().stderr, "");
    }
}

#[test]
fn a_compacted_topic_is_refused_until_it_is_accepted() {
    for policy in ["compact", "compact,delete"] {
        let hours = hours(&[("cleanup.policy", "delete")], WATERMARK);
        kafka::alter_topic(&hours.topic, "cleanup.policy", policy);
        hours.says("start-compacted", &["run"], &END);
        hours.says("archive-compacted", &["archive"], &END);
        hours.edit("FORMAT JSON", "FORMAT JSON WITH (compacted = 'accept')");
        hours.kappa(&["archive"], &END).ok();
        hours.kappa(&["run"], &END).ok();
        assert_eq!((published(&hours).len(), hours.row_count("history")), (5, 6));
    }
}

#[test]
fn a_topic_that_becomes_compacted_is_refused_at_the_next_start() {
    let hours = hours(&[], WATERMARK);
    hours.kappa(&["run"], &END).ok();
    kafka::alter_topic(&hours.topic, "cleanup.policy", "compact");
    hours.says("start-compacted", &["run"], &END);
}

#[test]
fn offsets_that_are_not_in_the_log_are_named() {
    let hours = hours(&[], WATERMARK);
    let start = ["--start", hours.offsets(&[(0, 7)]), "--until", "end"];
    hours.says("start-out-of-range", &["run"], &start);
    hours.says("archive-out-of-range", &["archive"], &start);
    hours.offsets(&[(3, 0)]);
    hours.says("start-unknown-partition", &["run"], &start);
    hours.project.write("offsets.csv", "elsewhere,0,1\n");
    hours.says("start-unknown-topic", &["run"], &start);
    hours.project.write("offsets.csv", "topic,partition,offset\n");
    hours.says("start-no-offsets", &["run"], &start);
    hours.project.write("offsets.csv", format!("{},0\n", hours.topic));
    hours.says("start-no-offset", &["run"], &start);
    hours.offsets(&[(0, 1), (0, 2)]);
    hours.says("start-offset-twice", &["run"], &start);
    hours.says("start-no-such-file", &["run"], &["--start", "nowhere.csv"]);
    hours.says("start-duration", &["run"], &["--start", "7d"]);
    hours.says("archive-from-history", &["archive"], &["--start", "history"]);
}

#[test]
fn windows_that_are_there_are_not_published_twice() {
    let hours = hours(&[], WATERMARK);
    hours.kappa(&["archive"], &END).ok();
    hours.kappa(&["backfill", "run"], &["--from", "2026-01-01T00:00:00Z", "--to", "2026-01-01T04:00:00Z"]).ok();
    hours.says("start-published", &["run"], &END);
    hours.says("start-published-from", &["run"], &AT_THREE);
    hours.kappa(&["run"], &["--start", "2026-01-01T04:00:00Z", "--until", "end"]).ok();
    assert_eq!(published(&hours), ["00:00", "01:00", "02:00", "03:00", "04:00"]);
}

#[test]
fn a_time_finds_nothing_in_an_open_transaction_and_takes_the_end_before() {
    let hours = hours(&[], WATERMARK);
    let producer = Producer::transactional(&hours.topic);
    producer.begin();
    producer.send(&hours.topic, &hours.messages(&[(0, "06:30")]));
    producer.flush();
    hours.kappa(&["run"], &["--start", "2026-01-01T12:00:00Z", "--until", "end"]).ok();
    producer.commit();
    let offsets = hours.kappa(&["offsets", "get"], &["--json"]).ok();
    let offsets: serde_json::Value = serde_json::from_str(&offsets.stdout).expect("one JSON document");
    assert_eq!(offsets["partitions"][0]["position"], 6, "before the transaction: {offsets} of {JOB}");
}
