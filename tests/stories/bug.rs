//! A bug in a job's SQL, found after three months.

use std::collections::BTreeMap;

use super::story::{SETTINGS, Story, behind};
use crate::support::Value;
use crate::support::kafka::{self, Message};
use crate::support::project::{Catalog, Project};
use crate::support::python::sound_tables;

const PARTITIONS: i64 = 2;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const WINDOW_MS: i64 = 6 * HOUR_MS;
/// Of the watermark.
const BOUND_MS: i64 = HOUR_MS;
const FIRST_MS: i64 = 1_759_276_800_000; // 2025-10-01
/// Orders, one every four hours: three months of them up to the day of the last one, then what comes while the bug is mended.
const THREE_MONTHS: i64 = 91 * 6 + 4;
const AFTERWARDS: i64 = THREE_MONTHS + 8;
/// Where the new version takes over: the day of the newest order then, 2025-12-31.
const EDGE_MS: i64 = 91 * DAY_MS;
const SHOPS: [&str; 3] = ["east", "north", "west"];
const BUG: &str = "";
const MENDED: &str = "WHERE  state <> 'cancelled'\n";

#[test]
fn a_bug_that_is_found_after_three_months_is_gone_from_all_of_them() {
    let topic = kafka::create_topic("orders", usize::try_from(PARTITIONS).expect("is small"));
    let project = Project::on_kafka(Catalog::Sql, SETTINGS);
    let namespace = project.namespace().to_owned();
    let revenue = format!("{namespace}.revenue");
    let published = || sound_tables(&project, [&revenue])[0].rows();
    let job = |condition: &str| job(&topic, &namespace, condition);
    kafka::produce(&topic, &(0..THREE_MONTHS).map(message).collect::<Vec<_>>());

    let mut story = Story::new(&project, (&topic, "orders"), "shop");
    story.tell("A job has been live for three months, and its archive beside it.");
    story.write("jobs/revenue.sql", &job(BUG));
    story.give("kappa run jobs/revenue.sql --until end", 0);
    story.give("kappa archive jobs/revenue.sql --until end", 0);
    assert_eq!(published(), expected(THREE_MONTHS, |_| BUG));

    story.tell("Cancelled orders were counted all along. The file is mended; a supervisor starts the job again.");
    story.write("jobs/revenue.sql", &job(MENDED));
    story.give("kappa run jobs/revenue.sql --until end", 3);
    story.tell("The change is meant.");
    let upgraded = story.give("kappa run jobs/revenue.sql --upgrade --until end", 0);
    let both = |start: i64| if start < EDGE_MS { BUG } else { MENDED };
    assert_eq!(
        published(),
        expected(THREE_MONTHS, both),
        "older windows are still the old version's, newer ones the new"
    );

    story.tell("The three months are brought over as it was told; first the plan, which writes nothing.");
    let backfill = behind(&upgraded.stderr, "bring them over with `").trim_end_matches('`').to_owned();
    story.give(&backfill.replace("backfill run", "backfill plan"), 0);
    story.give(&backfill, 0);
    assert_eq!(
        published(),
        expected(THREE_MONTHS, |_| MENDED),
        "no row is stale, none is there twice, none is missing"
    );

    story.tell("Orders go on coming. `--upgrade` may stay on the supervisor's command line.");
    kafka::produce(&topic, &(THREE_MONTHS..AFTERWARDS).map(message).collect::<Vec<_>>());
    story.give("kappa run jobs/revenue.sql --upgrade --until end", 0);
    story.give("kappa archive jobs/revenue.sql --until end", 0);
    story.give("kappa diff jobs/revenue.sql --from 2025-10-01 --to 2026-01-01", 0);
    story.ends("bug");
    assert_eq!(published(), expected(AFTERWARDS, |_| MENDED));
}

fn job(topic: &str, namespace: &str, condition: &str) -> String {
    format!(
        "CREATE STREAM orders (
  shop TEXT, amount BIGINT, state TEXT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '1 hour'
)
LIVE    FROM KAFKA   '{topic}' FORMAT JSON
HISTORY FROM ICEBERG '{namespace}.orders';

INSERT INTO ICEBERG '{namespace}.revenue' PARTITIONED BY (day(window_start))
SELECT window_start, window_end, shop, count(*) AS sold, sum(amount) AS revenue
FROM   TUMBLE(orders, t, INTERVAL '6 hours')
{condition}GROUP  BY window_start, window_end, shop;
"
    )
}

/// Milliseconds since the first day.
fn time(number: i64) -> i64 {
    number * 4 * HOUR_MS + number % 3 * 60_000
}

fn shop(number: i64) -> &'static str {
    SHOPS[usize::try_from(number * number % 7 % 3).expect("is not negative")]
}

fn is_cancelled(number: i64) -> bool {
    number % 5 == 2
}

fn message(number: i64) -> Message {
    let state = if is_cancelled(number) { "cancelled" } else { "paid" };
    let (shop, at) = (shop(number), FIRST_MS + time(number));
    let value = format!(r#"{{"shop":"{shop}","amount":{number},"state":"{state}","t":{at}}}"#);
    Message {
        partition: i32::try_from(number % PARTITIONS).expect("is small"),
        key: None,
        value: Some(value.into_bytes()),
        timestamp_ms: Some(at),
    }
}

/// The rows of all windows that are published once so many orders are there: a plain sum. `version` says by which version of
/// the job, from a window's start.
fn expected(orders: i64, version: impl Fn(i64) -> &'static str) -> Vec<Vec<Value>> {
    let mut groups: BTreeMap<(i64, &str), (i64, i64)> = BTreeMap::new();
    for number in 0..orders {
        let start = time(number) / WINDOW_MS * WINDOW_MS;
        if version(start) == BUG || !is_cancelled(number) {
            let (sold, revenue) = groups.entry((start, shop(number))).or_default();
            (*sold, *revenue) = (*sold + 1, *revenue + number);
        }
    }
    // Of the partition that is behind the other by one order.
    let watermark = time(orders - PARTITIONS) - BOUND_MS;
    let instant = |ms: i64| Value::Timestamp((FIRST_MS + ms) * 1_000);
    let mut rows: Vec<Vec<Value>> = groups
        .into_iter()
        .filter(|((start, _), _)| start + WINDOW_MS <= watermark)
        .map(|((start, shop), (sold, revenue))| {
            vec![instant(start), instant(start + WINDOW_MS), shop.into(), sold.into(), revenue.into()]
        })
        .collect();
    rows.sort();
    rows
}
