//! A first job on a topic that has been filling for hours, with everything in a bucket and a REST catalog.

use std::collections::{BTreeMap, BTreeSet};

use super::story::{SETTINGS, Story};
use crate::support::Value;
use crate::support::kafka::{self, Message};
use crate::support::project::{Catalog, Project};
use crate::support::python::sound_tables;

const PARTITIONS: i64 = 2;
/// One request every 20 seconds of six hours.
const REQUESTS: i64 = 1_080;
const STEP_MS: i64 = 20_000;
const FIRST_MS: i64 = 1_767_225_600_000; // 2026-01-01
const WINDOW_MS: i64 = 10 * MINUTE_MS;
const MINUTE_MS: i64 = 60_000;
const BOUND_MS: i64 = 15_000;
const HOSTS: [&str; 3] = ["api", "shop", "www"];
/// Requests that say a time far back: one before the job's first window, one behind it.
const LATE: [(i64, i64); 2] = [(600, 60 * MINUTE_MS), (1_000, 245 * MINUTE_MS)];
/// One that lacks its time.
const BROKEN: i64 = 900;

const QUERY: &str = "SELECT window_start, window_end, host, count(*) AS hits, count(DISTINCT ip) AS visitors
FROM   TUMBLE(web_requests, event_time, INTERVAL '10 minutes')
GROUP  BY window_start, window_end, host;
";

#[test]
fn a_first_job_on_an_existing_topic_goes_live_and_its_past_is_backfilled() {
    let topic = kafka::create_topic("web-requests", usize::try_from(PARTITIONS).expect("is small"));
    kafka::produce(&topic, &(0..REQUESTS).map(message).collect::<Vec<_>>());
    let project = Project::on_kafka(Catalog::GuardedOnS3, SETTINGS);
    let namespace = project.namespace().to_owned();
    let (hits, late) = (format!("{namespace}.page_hits"), format!("{namespace}.page_hits_late"));

    let mut story = Story::new(&project, (&topic, "web-requests"), "web");
    story.tell("A topic holds the requests of six hours. A job is written for it.");
    story.write("jobs/page_hits.sql", &job(&topic, &namespace));
    story.tell("What would it meet? Nothing is written yet.");
    story.give("kappa config", 0);
    story.give("kappa validate jobs/page_hits.sql --connect", 0);
    story.give("kappa explain jobs/page_hits.sql", 0);
    story
        .tell("It goes live with the windows from 04:00 on; here up to the end of the log, so that the story goes on.");
    story.give("kappa run jobs/page_hits.sql --start 2026-01-01T04:00:00Z --until end", 0);
    story.give("kappa status jobs/page_hits.sql", 0);
    story.give("kappa offsets get jobs/page_hits.sql", 0);
    assert_eq!(sound_tables(&project, [&hits])[0].rows(), expected(4 * 60 * MINUTE_MS));

    story.tell("The topic goes into history, before retention takes it. The hours before 04:00 come from there.");
    story.give("kappa archive jobs/page_hits.sql --until end", 0);
    let older = "jobs/page_hits.sql --from 2026-01-01T00:00:00Z --to 2026-01-01T04:00:00Z";
    story.give(&format!("kappa backfill plan {older}"), 0);
    story.give(&format!("kappa backfill run {older}"), 0);
    story.tell("Backfilled or live, the rows are those that history gives.");
    story.give("kappa diff jobs/page_hits.sql --from 2026-01-01T00:00:00Z --to 2026-01-01T05:00:00Z", 0);
    story.ends("first_job");

    let [hits, late] = sound_tables(&project, [&hits, &late]);
    assert_eq!(hits.rows(), expected(0));
    assert!(hits.files.iter().all(|file| file.path.starts_with("s3://lake/")));
    let positions: BTreeSet<(i32, i64)> = late.positions().into_iter().collect();
    let records = LATE.map(|(number, _)| (partition(number), number / PARTITIONS));
    assert_eq!((positions, late.positions().len()), (BTreeSet::from(records), records.len()));
}

fn job(topic: &str, namespace: &str) -> String {
    format!(
        "CREATE STREAM web_requests (
  host TEXT, ip TEXT, event_time TIMESTAMP NOT NULL,
  WATERMARK FOR event_time AS event_time - INTERVAL '15 seconds' IDLE AFTER INTERVAL '1 minute'
)
LIVE    FROM KAFKA   '{topic}' FORMAT JSON
HISTORY FROM ICEBERG '{namespace}.requests';

INSERT INTO ICEBERG '{namespace}.page_hits' PARTITIONED BY (hour(window_start))
{QUERY}"
    )
}

fn partition(number: i64) -> i32 {
    i32::try_from(number % PARTITIONS).expect("is small")
}

/// Milliseconds of the day that a request says it was made at.
fn time(number: i64) -> i64 {
    LATE.iter().find(|(late, _)| *late == number).map_or(number * STEP_MS, |(_, time)| *time)
}

fn host(number: i64) -> &'static str {
    HOSTS[usize::try_from(number * number % 3).expect("is not negative")]
}

fn ip(number: i64) -> i64 {
    number % 7
}

fn message(number: i64) -> Message {
    let told = match number {
        BROKEN => String::new(),
        _ => format!(r#","event_time":{}"#, FIRST_MS + time(number)),
    };
    let value = format!(r#"{{"host":"{}","ip":"10.0.0.{}"{told}}}"#, host(number), ip(number));
    Message {
        partition: partition(number),
        key: None,
        value: Some(value.into_bytes()),
        timestamp_ms: Some(FIRST_MS + number * STEP_MS),
    }
}

/// The rows of all windows from `from_ms` of the day on that the job has published: a plain count, and the rule of lateness.
fn expected(from_ms: i64) -> Vec<Vec<Value>> {
    let mut seen = [i64::MIN; 2];
    let mut groups: BTreeMap<(i64, &str), (i64, BTreeSet<i64>)> = BTreeMap::new();
    for number in (0..REQUESTS).filter(|number| *number != BROKEN) {
        let seen = &mut seen[usize::try_from(partition(number)).expect("is not negative")];
        let start = time(number) / WINDOW_MS * WINDOW_MS;
        let is_late = start + WINDOW_MS <= seen.saturating_sub(BOUND_MS);
        *seen = (*seen).max(time(number));
        if !is_late {
            let (hits, visitors) = groups.entry((start, host(number))).or_default();
            *hits += 1;
            visitors.insert(ip(number));
        }
    }
    let watermark = seen.into_iter().min().expect("there are two") - BOUND_MS;
    let instant = |ms: i64| Value::Timestamp((FIRST_MS + ms) * 1_000);
    let published = groups.into_iter().filter(|((start, _), _)| *start >= from_ms && start + WINDOW_MS <= watermark);
    let mut rows: Vec<Vec<Value>> = published
        .map(|((start, host), (hits, visitors))| {
            let visitors = i64::try_from(visitors.len()).expect("is small");
            vec![instant(start), instant(start + WINDOW_MS), host.into(), hits.into(), visitors.into()]
        })
        .collect();
    rows.sort();
    rows
}
