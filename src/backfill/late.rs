//! The late rows of a backfilled range: those of its INSERT that are late for a window in it go, the new ones come.
//! Invariant: rows of other INSERTs and of windows outside the range stay, or come anew, whatever file they stand in; so do
//! those of records that a live job has taken since the results were looked at, or is to take.

use std::collections::BTreeMap;
use std::time::Duration;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::record_batch::RecordBatch;
use uuid::Uuid;

use super::BackfillError;
use crate::event::{ResumeOffset, Stream};
use crate::iceberg::{Catalog, Change, CommitError, OffsetCut, Operation, Remove, RowCut, StagedFile, cut_out};
use crate::job::{Insert, LateTable, Plan};
use crate::kill_point::KillPoint;
use crate::recompute::Scope;
use crate::sinks::{layout, stage};

/// Tries against others that commit to the table, before giving up.
const ATTEMPTS_MAX: u32 = 100;

/// Pause after the first lost try; doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(20);

/// Longest pause between tries.
const PAUSE_MAX: Duration = Duration::from_millis(1_280);

/// The late rows that a backfill owns. With `include_late` its windows count them, and a record that stays late for a window
/// outside of the range keeps its row.
pub(super) fn owned(job: &Plan, (insert, stream): (&Insert, usize), scope: &Scope, include_late: bool) -> RowCut {
    let below = late_below(job, (insert, stream), scope);
    let (stream, windows) = (&job.streams[stream], insert.windows_in(&scope.range));
    let rows = match include_late {
        false => layout::late_rows(insert, stream, windows),
        true => layout::late_rows_inside(insert, stream, windows),
    };
    RowCut { positions: below, ..rows }
}

/// Where the records stand whose late rows are not a live job's to say; `None`: anywhere.
fn late_below(job: &Plan, (insert, stream): (&Insert, usize), scope: &Scope) -> Option<BTreeMap<i32, OffsetCut>> {
    let index = job.inserts.iter().position(|other| other.table == insert.table)?;
    let below = scope.results[index].late_below.get(&stream)?;
    let cut = |(&partition, &to): (&i32, &ResumeOffset)| (partition, OffsetCut { from: ResumeOffset(0), to });
    Some(below.iter().map(cut).collect())
}

/// The late rows that are owned, of those that came out.
pub(super) fn only_owned(stream: &Stream, owned: &RowCut, late: Vec<RecordBatch>) -> Vec<RecordBatch> {
    let Some(positions) = &owned.positions else { return late };
    let only = |rows: RecordBatch| {
        let partitions = rows.column(stream.partition_index()).as_primitive::<Int32Type>();
        let offsets = rows.column(stream.offset_index()).as_primitive::<Int64Type>();
        let mask = BooleanBuffer::collect_bool(rows.num_rows(), |row| {
            let range = positions.get(&partitions.value(row)).filter(|_| partitions.is_valid(row));
            range.is_some_and(|range| range.from.0 <= offsets.value(row) && offsets.value(row) < range.to.0)
        });
        filter_record_batch(&rows, &BooleanArray::new(mask, None)).expect("the mask is as long as the batch")
    };
    late.into_iter().map(only).filter(|rows| rows.num_rows() > 0).collect()
}

/// Replaces the late rows that are owned, and says how many there are now. A table that isn't there and has nothing to
/// take is not made.
pub(super) async fn replace(
    job: &Plan,
    catalog: &Catalog,
    (insert, into): (&Insert, &LateTable),
    owned: &RowCut,
    late: Vec<RecordBatch>,
) -> Result<u64, BackfillError> {
    let spec = layout::late(insert, &job.streams[into.stream]);
    let count = late.iter().map(|batch| batch.num_rows() as u64).sum();
    // The same new rows whoever wins meanwhile, so they are written once.
    let mut new_files: Option<(Uuid, Vec<StagedFile>)> = None;
    let (mut pause, mut last) = (PAUSE_FIRST, None);
    for _ in 0..ATTEMPTS_MAX {
        let table = match catalog.load(&into.table).await? {
            Some(table) => table,
            None if count == 0 => return Ok(0),
            None => catalog.create(&into.table, &spec).await?,
        };
        let removed = cut_out(&table, std::slice::from_ref(owned)).await?;
        if removed.files.is_empty() && count == 0 {
            return Ok(0);
        }
        let mut add = match &new_files {
            Some((uuid, files)) if *uuid == table.uuid() => files.clone(),
            _ => stage(&table, &spec.sort, late.clone()).await?,
        };
        new_files = Some((table.uuid(), add.clone()));
        add.extend(removed.kept);
        let change = Change {
            operation: Operation::Overwrite,
            add,
            remove: if removed.files.is_empty() { Remove::None } else { Remove::Files(removed.files) },
            ..Change::nothing(&table)
        };
        KillPoint::InRangeOverwrite.reach();
        match catalog.commit_on(&table, &change).await {
            Ok(_) => return Ok(count),
            // Somebody else was first: what is there now is looked at again. A commit whose answer was lost is found
            // then as the rows that are to be replaced, by the same rows.
            Err(error @ (CommitError::Conflict { .. } | CommitError::Unknown { .. })) => last = Some(error),
            Err(source) => return Err(BackfillError::Commit { table: into.table.clone(), source: Box::new(source) }),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    let source = last.expect("at least one attempt was made");
    Err(BackfillError::Commit { table: into.table.clone(), source: Box::new(source) })
}
