//! Which tables are history for which jobs, and how far they are complete.

use kappa::backfill::BackfillError;
use kappa::event::{EventTime, PartitionField, TableName, Transform};
use kappa::iceberg::{Change, Operation, TableSpec};
use kappa::recompute::RangeError;
use kappa::sinks::stage;

use super::log::{Log, Record};
use super::rig::{DRAINED, How, Rig, at, between, job};

const EXACT: How = How { drain: false, widen: false, include_late: false };

fn sql(columns: &str, watermark: &str) -> String {
    format!(
        "CREATE STREAM events ({columns} t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL {watermark})
         LIVE FROM KAFKA 'events' FORMAT JSON HISTORY FROM ICEBERG 'raw.events';
         INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
         SELECT window_start, window_end, host, count(*) AS n FROM TUMBLE(events, t, INTERVAL '10 minutes')
         GROUP BY window_start, window_end, host;"
    )
}

fn record(time: &str) -> Record {
    (at(time).0, format!(r#"{{"host":"a","t":"{time}"}}"#))
}

fn refusal(error: BackfillError) -> String {
    assert!(matches!(error, BackfillError::Range(_)), "{error}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_may_differ_from_history_in_the_bound_and_not_in_its_records() {
    let rig = Rig::new().await;
    let archived = job("hits", &sql("host TEXT,", "'1 minute'"));
    let times = ["2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z", "2026-01-01T00:30:00Z", "2026-01-01T02:10:00Z"];
    rig.archive(&archived, &Log::new(vec![times.into_iter().map(record).collect()])).await;
    let hour = between("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
    let done = rig.backfill(&archived, hour.clone(), &EXACT).await;
    assert_eq!((done.inserts[0].rows, done.inserts[0].late), (1, 1));
    // An hour's bound: the record of half past is in time, and history is complete for less.
    let patient = job("hits", &sql("host TEXT,", "'1 hour'"));
    let done = rig.backfill(&patient, hour.clone(), &EXACT).await;
    assert_eq!((done.inserts[0].rows, done.inserts[0].late), (2, 0));
    let second = between("2026-01-01T01:00:00Z", "2026-01-01T02:00:00Z");
    let refused = refusal(rig.try_backfill(&patient, second, &EXACT).await.expect_err("an hour less is complete"));
    assert!(refused.contains("complete up to 2026-01-01T01:10:00Z"), "{refused}");

    let other = job("hits", &sql("host TEXT NOT NULL, extra INT,", "'1 minute'"));
    let refused = refusal(rig.try_backfill(&other, hour.clone(), &EXACT).await.expect_err("other records"));
    assert_eq!(
        refused,
        "raw.events was archived under another declaration of events: column `host`: TEXT NOT NULL here, TEXT there; \
         column `extra`: declared here, not there, and history doesn't keep undeclared fields; declare it as it was"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn archiving_on_under_another_bound_states_the_watermark_by_the_new_one() {
    let rig = Rig::new().await;
    let first = [record("2026-01-01T00:00:00Z"), record("2026-01-01T01:00:00Z")];
    let both = |more: &[Record]| Log::new(vec![first.iter().chain(more).cloned().collect(), first.to_vec()]);
    let (near, far) = (job("hits", &sql("host TEXT,", "'1 minute'")), job("hits", &sql("host TEXT,", "'30 minutes'")));
    rig.archive(&far, &both(&[])).await;
    let state =
        async |plan| rig.plan(plan, between("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"), &EXACT).await.scope;
    let of_far = state(&far).await;
    assert_eq!(of_far.histories[0].watermark, at("2026-01-01T00:30:00Z"));
    assert_eq!(state(&near).await.histories[0].watermark, at("2026-01-01T00:59:00Z"));
    // One partition goes on by ten minutes: the other must not be taken for idle, and holds both back.
    rig.archive(&near, &both(&[record("2026-01-01T01:10:00Z")])).await;
    for (plan, watermark) in [(&near, "2026-01-01T00:59:00Z"), (&far, "2026-01-01T00:30:00Z")] {
        let history = &state(plan).await.histories[0];
        assert_eq!((history.watermark, &history.idle[..]), (at(watermark), &[][..]));
    }
    rig.archive(&far, &both(&[record("2026-01-01T01:10:00Z"), record("2026-01-01T01:11:00Z")])).await;
    let history = &state(&far).await.histories[0];
    assert_eq!((history.watermark, &history.idle[..]), (at("2026-01-01T00:30:00Z"), &[][..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_partition_is_left_out_of_completeness_and_named() {
    let rig = Rig::new().await;
    let plan = job("hits", &sql("host TEXT,", "'1 minute'"));
    let times = ["2026-01-01T00:00:00Z", "2026-01-01T01:30:00Z"];
    rig.archive(&plan, &Log::new(vec![times.into_iter().map(record).collect(), Vec::new()])).await;
    let range = between("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
    let planned = rig.plan(&plan, range, &EXACT).await;
    assert_eq!(planned.scope.histories[0].idle, [1]);
    assert!(planned.conflicts.is_empty());
    let beyond = between("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z");
    let refused = refusal(rig.try_backfill(&plan, beyond, &EXACT).await.expect_err("not complete"));
    assert!(refused.contains("(idle partitions left out of that: 1)"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_history_says_what_to_do() {
    let rig = Rig::new().await;
    let range = between("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z");
    let plan = job("hits", &sql("host TEXT,", "'1 minute'"));
    let refused = refusal(rig.try_backfill(&plan, range.clone(), &EXACT).await.expect_err("nothing was archived"));
    assert_eq!(refused, "history raw.events of stream events doesn't exist; fill it with `kappa archive`");
    let without = sql("host TEXT,", "'1 minute'").replace("HISTORY FROM ICEBERG 'raw.events'", "");
    let refused = rig.try_backfill(&job("hits", &without), range, &EXACT).await.expect_err("no history is declared");
    assert!(refusal(refused).contains("add HISTORY FROM ICEBERG"));
}

/// A history that something else has written: the stream's columns, nothing of ours, and days as partitions.
async fn foreign(rig: &Rig, columns: &str, times: &[&str]) {
    let plan = job("hits", &sql(columns, "'1 minute'"));
    let schema = plan.streams[0].declared_schema();
    let name = TableName::parse("raw.events").expect("a name");
    let spec = TableSpec {
        schema: schema.clone(),
        partitions: vec![PartitionField { column: "t".to_owned(), transform: Transform::Day }],
        sort: Vec::new(),
        properties: Default::default(),
    };
    let table = rig.catalog.create(&name, &spec).await.expect("it isn't there yet");
    let hosts = arrow::array::StringArray::from_iter_values(times.iter().map(|_| "a"));
    let times = arrow::array::TimestampMicrosecondArray::from_iter_values(times.iter().map(|time| at(time).0));
    let times = times.with_timezone(kappa::event::TIMESTAMP_ZONE);
    let batch =
        arrow::record_batch::RecordBatch::try_new(schema, vec![std::sync::Arc::new(hosts), std::sync::Arc::new(times)]);
    let add = stage(&table, &["t".to_owned()], vec![batch.expect("fits")]).await.expect("the folder takes files");
    let change = Change { operation: Operation::Append, add, ..Change::nothing(&table) };
    rig.catalog.commit(&change).await.expect("nothing stands against it");
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_foreign_table_nothing_is_late() {
    let rig = Rig::new().await;
    foreign(&rig, "host TEXT,", &["2026-01-01T03:00:00Z", "2026-01-01T00:00:00Z", "2026-01-01T00:30:00Z"]).await;
    let plan = job("hits", &sql("host TEXT,", "'1 minute'"));
    let range = between("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z");
    let planned = rig.plan(&plan, range.clone(), &EXACT).await;
    let history = &planned.scope.histories[0];
    assert!(!history.archived);
    assert_eq!((history.watermark, planned.inserts[0].late), (at("2026-01-01T02:59:00Z"), Some(0)));
    let done = rig.backfill(&plan, range.clone(), &EXACT).await;
    assert_eq!((done.inserts[0].rows, done.inserts[0].late), (2, 0));
    rig.assert_equal(&plan, range, false).await;
    let beyond = EventTime(at("2026-01-01T00:00:00Z").0)..at("2026-01-01T04:00:00Z");
    refusal(rig.try_backfill(&plan, beyond.clone(), &EXACT).await.expect_err("it ends before"));
    rig.backfill(&plan, beyond, &DRAINED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_table_with_other_columns_is_refused_with_them() {
    let rig = Rig::new().await;
    foreign(&rig, "host TEXT,", &["2026-01-01T03:00:00Z"]).await;
    let range = between("2026-01-01T00:00:00Z", "2026-01-01T02:00:00Z");
    let plan = job("hits", &sql("host INT, more DOUBLE,", "'1 minute'"));
    let refused = rig.try_backfill(&plan, range, &EXACT).await.expect_err("columns differ");
    assert!(matches!(refused, BackfillError::Range(RangeError::Columns { .. })), "{refused}");
    assert_eq!(
        refused.to_string(),
        "raw.events can't be read as the history of events: its column `host` is Utf8, declared INT; it has no column \
         `more`, declared DOUBLE; declare its columns as they are there"
    );
}
