//! What is published in a range, and what its table tells about who published it.

use std::collections::HashMap;
use std::ops::Range;

use arrow::record_batch::RecordBatch;
use futures::StreamExt;

use crate::event::EventTime;
use crate::iceberg::{IcebergError, ScanFilter, Table, plan_files, read_file};
use crate::job::{Insert, Plan};

/// The published rows of the range.
pub(super) async fn rows(
    insert: &Insert,
    table: &Table,
    range: &Range<EventTime>,
) -> Result<Vec<RecordBatch>, IcebergError> {
    let column = insert.partitions[insert.range.partition].column.clone();
    let time = (column, range.clone());
    let filter = ScanFilter { time: Some(time.clone()), ..ScanFilter::default() };
    let columns: Vec<String> = insert.columns.iter().map(|column| column.name.clone()).collect();
    let mut batches = Vec::new();
    for file in plan_files(table, None, &filter).await? {
        let mut rows = read_file(table, &file, &columns, Some(&time)).await?;
        while let Some(batch) = rows.next().await {
            batches.push(batch?);
        }
    }
    Ok(batches)
}

/// Another version of the job that may have published some of the range: the newest one in the table's snapshots, those
/// left out that a backfill of the whole range has replaced since.
pub(super) fn other_version(job: &Plan, table: &Table, range: &Range<EventTime>) -> Option<String> {
    for summary in summaries(table) {
        let backfilled = backfilled(summary);
        let concerns = backfilled.as_ref().is_none_or(|of| of.start < range.end && range.start < of.end);
        let version = summary.get("kappa.fingerprint").filter(|version| **version != job.fingerprint);
        if let Some(version) = version.filter(|_| concerns) {
            return Some(version.clone());
        }
        if backfilled.is_some_and(|of| of.start <= range.start && range.end <= of.end) {
            return None;
        }
    }
    None
}

/// The range of the newest backfill that reaches into `range`, if it counted late records.
pub(super) fn late_included(table: &Table, range: &Range<EventTime>) -> Option<(String, String)> {
    let newest = summaries(table)
        .filter_map(|summary| Some((backfilled(summary)?, summary)))
        .find(|(of, _)| of.start < range.end && range.start < of.end);
    let (of, summary) = newest?;
    let included = summary.get("kappa.backfill.late").is_some_and(|late| late == "include");
    included.then(|| (of.start.to_string(), of.end.to_string()))
}

/// Summaries of the table's snapshots, the newest first.
fn summaries(table: &Table) -> impl Iterator<Item = &HashMap<String, String>> {
    table.ancestors().into_iter().filter_map(|snapshot| table.summary(snapshot))
}

/// The range that a snapshot's backfill replaced; `None`: it is no backfill's.
fn backfilled(summary: &HashMap<String, String>) -> Option<Range<EventTime>> {
    let time = |name: &str| {
        let time = chrono::DateTime::parse_from_rfc3339(summary.get(name)?).ok()?;
        Some(EventTime(time.timestamp_micros()))
    };
    Some(time("kappa.backfill.from")?..time("kappa.backfill.to")?)
}
