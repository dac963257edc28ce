//! The clicks of four hours: a topic, the job that counts them, and what it must find.

use std::collections::BTreeMap;

use crate::support::Value;
use crate::support::kafka::Message;

/// Path of the job's file.
pub const JOB: &str = "jobs/hits.sql";
/// Of the topic.
pub const PARTITIONS: i32 = 3;
/// Messages; one every two seconds of event time, so that there are four hours of them.
pub const MESSAGES: i64 = 7_200;
/// Two of the hours, which history knows all about.
pub const HOURS: [&str; 4] = ["--from", "2026-01-01T01:00:00Z", "--to", "2026-01-01T03:00:00Z"];
const FIRST_MS: i64 = 1_767_225_600_000; // 2026-01-01
const STEP_MS: i64 = 2_000;
const HOSTS: [&str; 3] = ["a", "b", "c"];

/// Counts and sums up by host and five minutes.
pub fn job(topic: &str, namespace: &str) -> String {
    format!(
        "CREATE STREAM clicks (
           host TEXT, bytes BIGINT, t TIMESTAMP NOT NULL,
           WATERMARK FOR t AS t - INTERVAL '5 seconds'
         )
         LIVE    FROM KAFKA   '{topic}' FORMAT JSON
         HISTORY FROM ICEBERG '{namespace}.raw';

         INSERT INTO ICEBERG '{namespace}.hits' PARTITIONED BY (hour(window_start))
         SELECT window_start, window_end, host, count(*) AS hits, sum(bytes) AS bytes
         FROM   TUMBLE(clicks, t, INTERVAL '5 minutes')
         GROUP  BY window_start, window_end, host;"
    )
}

fn host(number: i64) -> &'static str {
    HOSTS[usize::try_from(number * number % 3).expect("is not negative")]
}

/// The message with this number.
pub fn message(number: i64) -> Message {
    let time = FIRST_MS + number * STEP_MS;
    let value = format!(r#"{{"host":"{}","bytes":{number},"t":{time}}}"#, host(number));
    let partition = i32::try_from(number % i64::from(PARTITIONS)).expect("is small");
    Message { partition, key: None, value: Some(value.into_bytes()), timestamp_ms: Some(time) }
}

/// Of all messages: hits and bytes by window and host, sorted.
pub fn expected() -> Vec<Vec<Value>> {
    let window_ms = 5 * 60 * 1_000;
    let mut groups: BTreeMap<(i64, &str), (i64, i64)> = BTreeMap::new();
    for number in 0..MESSAGES {
        let start = (FIRST_MS + number * STEP_MS) / window_ms * window_ms;
        let group = groups.entry((start, host(number))).or_default();
        *group = (group.0 + 1, group.1 + number);
    }
    let instant = |ms: i64| Value::Timestamp(ms * 1_000);
    let mut rows: Vec<Vec<Value>> = groups
        .into_iter()
        .map(|((start, host), (hits, bytes))| {
            vec![instant(start), instant(start + window_ms), host.into(), hits.into(), bytes.into()]
        })
        .collect();
    rows.sort();
    rows
}
