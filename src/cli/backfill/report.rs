//! What a backfill would do or has done, in lines and as JSON.

use std::time::Duration;

use serde::Serialize;

use super::Late;
use crate::backfill::{BackfillPlan, BackfillReport, COMPUTED_RECORDS_MAX, InsertPlan, InsertReport};
use crate::cli::output;
use crate::event::{EventTime, Micros};
use crate::job::Plan;
use crate::recompute::{HistoryState, Scope};

/// Partitions that a plan lists in lines; `--json` lists all.
const PARTITIONS_SHOWN_MAX: usize = 48;

/// Records a second that one worker is reckoned to manage where nothing was measured: careful, for wide records.
const RECORDS_PER_SECOND: u64 = 500_000;

/// A plan in lines.
pub(super) fn plan_text(job: &Plan, planned: &BackfillPlan, late: Late, workers: usize, elapsed: Duration) -> String {
    let scope = &planned.scope;
    let mut text = format!("backfill of {} over {}\n", job.name, output::range(&scope.range));
    for history in &scope.histories {
        text += &read_text(scope, history);
    }
    for (insert, of_insert) in job.inserts.iter().zip(&planned.inserts) {
        let by = &insert.partitions[insert.range.partition];
        text += &write_text(of_insert, &by.to_string(), late);
    }
    match planned.records {
        Some(_) => text += &format!("estimate: {} to run, as working out this plan took\n", output::duration(elapsed)),
        None => text += &estimate(scope, workers),
    }
    text
}

fn read_text(scope: &Scope, history: &HistoryState) -> String {
    let files = output::count(history.files.len(), "file", "files");
    let rows = output::count(rows_of(history), "row", "rows");
    let bytes = output::bytes(history.files.iter().map(|file| file.bytes).sum());
    let mut text = format!("read    {}: {files}, up to {rows}, {bytes}\n", history.table.name());
    let ahead = span(history.times.start, scope.range.start);
    let behind = span(scope.range.end, history.times.end);
    text += &format!("        warm-up {ahead}, run-out {behind}: event times {}\n", output::range(&history.times));
    text += &match history.watermark {
        EventTime::MIN => "        complete up to no time yet".to_owned(),
        watermark => format!("        complete up to {watermark}"),
    };
    match &history.idle[..] {
        [] => text += "\n",
        idle => {
            let idle: Vec<String> = idle.iter().map(ToString::to_string).collect();
            text += &format!(", with idle partitions left out: {}\n", idle.join(", "));
        }
    }
    if !history.archived {
        text += "        not written by `kappa archive`: no record counts as late\n";
    }
    if let Some(anew) = &history.anew {
        text += &format!(
            "        what counts as late is found anew, from {} of any event time:\n",
            output::count(anew.records, "row", "rows"),
        );
        text += &anew.reasons.iter().map(|reason| format!("          {reason}\n")).collect::<String>();
    }
    text
}

fn write_text(insert: &InsertPlan, by: &str, late: Late) -> String {
    let made = if insert.exists { "" } else { ", which will be made" };
    let mut text = format!("write   {}{made}, by {by}\n", insert.table);
    let mut table = output::Table::new(&[
        output::Column::Text("        partition"),
        output::Column::Number("rows now"),
        output::Column::Number("rows after"),
    ]);
    let after = |rows: Option<u64>| rows.map_or("?".to_owned(), output::number);
    for (start, partition) in insert.partitions.iter().take(PARTITIONS_SHOWN_MAX) {
        table.row([format!("        {start}"), output::number(partition.current), after(partition.expected)]);
    }
    let hidden = insert.partitions.len().saturating_sub(PARTITIONS_SHOWN_MAX);
    if insert.partitions.len() > 1 {
        let current: u64 = insert.partitions.values().map(|partition| partition.current).sum();
        let expected = insert.partitions.values().map(|partition| partition.expected).sum();
        let all = if hidden == 0 { "in all" } else { "in all, with those not shown" };
        table.row([format!("        {all}"), output::number(current), after(expected)]);
    }
    text += &match table.is_empty() {
        true => "        no rows in the range now, and none afterwards\n".to_owned(),
        false => table.to_string(),
    };
    if hidden > 0 {
        text += &format!("        {} not shown; --json lists all\n", output::count(hidden, "partition", "partitions"));
    }
    text += &match (insert.late, late) {
        (None, _) => String::new(),
        (Some(0), _) => "        late records: none\n".to_owned(),
        (Some(count), Late::Exact) => format!(
            "        late records: {}, left out as by the live run (--late include counts them)\n",
            output::number(count)
        ),
        (Some(count), Late::Include) => format!("        late records: {}, counted\n", output::number(count)),
    };
    if insert.behind_watermark > 0 {
        let count = output::count(insert.behind_watermark, "record", "records");
        text += &format!("        {count} counted that live left out, as they came behind its watermark\n");
    }
    text
}

/// The estimate for more records than a plan computes.
fn estimate(scope: &Scope, workers: usize) -> String {
    let records: u64 = scope.histories.iter().map(rows_of).sum();
    format!(
        "estimate: {} to run, at {} records a second and worker\nrows after and late records aren't worked out for more \
         than {} records: it would take as long as the run\n",
        output::duration(Duration::from_secs(records / (RECORDS_PER_SECOND * workers as u64).max(1))),
        output::number(RECORDS_PER_SECOND),
        output::number(COMPUTED_RECORDS_MAX),
    )
}

fn rows_of(history: &HistoryState) -> u64 {
    history.files.iter().map(|file| file.records).sum()
}

/// The time from one edge to another, if it is that way round.
fn span(from: EventTime, to: EventTime) -> String {
    if from < to { Micros(to.0.saturating_sub(from.0)).to_string() } else { "none".to_owned() }
}

/// A report in lines.
pub(super) fn run_text(report: &BackfillReport, late: Late, elapsed: Duration) -> String {
    let mut text = String::new();
    for insert in &report.inserts {
        text += &format!(
            "{} over {}: {} in place of {}, in one snapshot ({})\n",
            insert.table,
            output::range(&report.range),
            output::count(insert.rows, "row", "rows"),
            output::number(insert.removed),
            insert.snapshot_id,
        );
        text += &match (late, insert.late) {
            (Late::Exact, 0) => "  no late records in the range\n".to_owned(),
            (Late::Include, 0) => {
                format!("  late records are counted; none of the range are in {} now\n", late_tables(insert))
            }
            (_, count) => {
                let count = output::count(count, "late record", "late records");
                format!("  {count} of the range in {}\n", late_tables(insert))
            }
        };
    }
    text += &format!(
        "{} read in {}, {} a second\n",
        output::count(report.records, "record", "records"),
        output::duration(elapsed),
        output::number((report.records as f64 / elapsed.as_secs_f64().max(1e-3)) as u64)
    );
    text
}

/// A plan, as `--json` shows it.
#[derive(Serialize)]
pub(super) struct PlanDocument {
    job: String,
    from: Option<String>,
    to: Option<String>,
    histories: Vec<HistoryDocument>,
    results: Vec<ResultDocument>,
    conflicts: Vec<String>,
}

#[derive(Serialize)]
struct HistoryDocument {
    stream: String,
    table: String,
    from: Option<String>,
    to: Option<String>,
    files: usize,
    rows_at_most: u64,
    bytes: u64,
    watermark: Option<String>,
    idle: Vec<i32>,
    archived: bool,
    /// Why what counts as late is found anew.
    found_anew: Vec<String>,
}

#[derive(Serialize)]
struct ResultDocument {
    table: String,
    exists: bool,
    late: Option<u64>,
    behind_watermark: u64,
    partitions: Vec<PartitionDocument>,
}

#[derive(Serialize)]
struct PartitionDocument {
    from: Option<String>,
    current: u64,
    expected: Option<u64>,
}

impl PlanDocument {
    pub(super) fn new(job: &Plan, planned: &BackfillPlan) -> PlanDocument {
        let histories = job.streams.iter().zip(&planned.scope.histories).map(|(stream, history)| HistoryDocument {
            stream: stream.name.clone(),
            table: history.table.name().to_string(),
            from: output::time(history.times.start),
            to: output::time(history.times.end),
            files: history.files.len(),
            rows_at_most: rows_of(history),
            bytes: history.files.iter().map(|file| file.bytes).sum(),
            watermark: output::time(history.watermark),
            idle: history.idle.clone(),
            archived: history.archived,
            found_anew: history.anew.as_ref().map(|anew| anew.reasons.clone()).unwrap_or_default(),
        });
        let partitions = |insert: &InsertPlan| {
            let partitions = insert.partitions.iter().map(|(from, rows)| PartitionDocument {
                from: output::time(*from),
                current: rows.current,
                expected: rows.expected,
            });
            partitions.collect()
        };
        let results = planned.inserts.iter().map(|insert| ResultDocument {
            table: insert.table.to_string(),
            exists: insert.exists,
            late: insert.late,
            behind_watermark: insert.behind_watermark,
            partitions: partitions(insert),
        });
        PlanDocument {
            job: job.name.clone(),
            from: output::time(planned.scope.range.start),
            to: output::time(planned.scope.range.end),
            histories: histories.collect(),
            results: results.collect(),
            conflicts: planned.conflicts.iter().map(ToString::to_string).collect(),
        }
    }
}

/// What was done, as `--json` shows it.
#[derive(Serialize)]
pub(super) struct RunDocument {
    job: String,
    from: Option<String>,
    to: Option<String>,
    records: u64,
    results: Vec<DoneDocument>,
}

#[derive(Serialize)]
struct DoneDocument {
    table: String,
    rows: u64,
    removed: u64,
    late_table: String,
    late: u64,
    snapshot_id: i64,
}

impl RunDocument {
    pub(super) fn new(job: &Plan, report: &BackfillReport) -> RunDocument {
        let results = report.inserts.iter().map(|insert| DoneDocument {
            table: insert.table.to_string(),
            rows: insert.rows,
            removed: insert.removed,
            late_table: late_tables(insert),
            late: insert.late,
            snapshot_id: insert.snapshot_id,
        });
        RunDocument {
            job: job.name.clone(),
            from: output::time(report.range.start),
            to: output::time(report.range.end),
            records: report.records,
            results: results.collect(),
        }
    }
}

/// The names of the tables that take an INSERT's late records: one for each stream that it reads.
fn late_tables(insert: &InsertReport) -> String {
    insert.late_tables.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
