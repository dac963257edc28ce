//! The late rows of a backfilled range: those of its INSERT that are late for a window in it go, the new ones come.
//! Invariant: rows of other INSERTs and of windows outside the range stay, whatever file they stand in.

use std::time::Duration;

use arrow::array::{Array, AsArray, BooleanArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;
use futures::StreamExt;
use uuid::Uuid;

use super::BackfillError;
use crate::iceberg::{
    Catalog, Change, CommitError, IcebergError, Operation, Remove, ScanFile, ScanFilter, StagedFile, Table, plan_files,
    read_file,
};
use crate::job::{Insert, Plan};
use crate::recompute::Scope;
use crate::sinks::{layout, stage};
use crate::windows::PublishRange;

/// Tries against others that commit to the table, before giving up.
const ATTEMPTS_MAX: u32 = 100;

/// Pause after the first lost try; doubles up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(20);

/// Longest pause between tries.
const PAUSE_MAX: Duration = Duration::from_millis(1_280);

/// Replaces the late rows of the range, and says how many there are now. A table that isn't there and has nothing to
/// take is not made.
pub(super) async fn replace(
    job: &Plan,
    catalog: &Catalog,
    insert: &Insert,
    scope: &Scope,
    late: Vec<RecordBatch>,
) -> Result<u64, BackfillError> {
    let stream = &job.streams[insert.stream];
    let spec = layout::late(insert, stream);
    let windows = insert.windows_in(&scope.range);
    let count = late.iter().map(|batch| batch.num_rows() as u64).sum();
    // The same new rows whoever wins meanwhile, so they are written once.
    let mut new_files: Option<(Uuid, Vec<StagedFile>)> = None;
    let (mut pause, mut last) = (PAUSE_FIRST, None);
    for _ in 0..ATTEMPTS_MAX {
        let table = match catalog.load(&insert.late).await? {
            Some(table) => table,
            None if count == 0 => return Ok(0),
            None => catalog.create(&insert.late, &spec).await?,
        };
        let owned = Owned { result: insert.table.to_string(), windows };
        let event_time = stream.columns[stream.event_time].name.clone();
        let filter = ScanFilter {
            time: Some((event_time, insert.times_of(windows))),
            equals: vec![("result".to_owned(), owned.result.clone())],
        };
        let (removed, kept) = owned.cut_out(&table, plan_files(&table, None, &filter).await?).await?;
        if removed.is_empty() && count == 0 {
            return Ok(0);
        }
        let mut add = match &new_files {
            Some((uuid, files)) if *uuid == table.uuid() => files.clone(),
            _ => stage(&table, &spec.sort, late.clone()).await?,
        };
        new_files = Some((table.uuid(), add.clone()));
        add.extend(stage(&table, &spec.sort, kept).await?);
        let change = Change {
            operation: Operation::Overwrite,
            add,
            remove: if removed.is_empty() { Remove::None } else { Remove::Files(removed) },
            ..Change::nothing(&table)
        };
        match catalog.commit_on(&table, &change).await {
            Ok(_) => return Ok(count),
            // Somebody else was first: what is there now is looked at again. A commit whose answer was lost is found
            // then as the rows that are to be replaced, by the same rows.
            Err(error @ (CommitError::Conflict { .. } | CommitError::Unknown { .. })) => last = Some(error),
            Err(source) => return Err(BackfillError::Commit { table: insert.late.clone(), source: Box::new(source) }),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    let source = last.expect("at least one attempt was made");
    Err(BackfillError::Commit { table: insert.late.clone(), source: Box::new(source) })
}

/// Which late rows belong to the range.
struct Owned {
    result: String,
    windows: PublishRange,
}

impl Owned {
    /// The files that hold rows of the range, and their other rows.
    async fn cut_out(
        &self,
        table: &Table,
        files: Vec<ScanFile>,
    ) -> Result<(Vec<String>, Vec<RecordBatch>), IcebergError> {
        let columns: Vec<String> = table.arrow_schema()?.fields().iter().map(|field| field.name().clone()).collect();
        let mut removed = Vec::new();
        let mut kept = Vec::new();
        for file in files {
            let mut rows = read_file(table, &file, &columns, None).await?;
            let mut others = Vec::new();
            let mut found = false;
            while let Some(batch) = rows.next().await {
                let batch = batch?;
                let mine = self.mine(&batch);
                found |= mine.true_count() > 0;
                let other = BooleanArray::new(!mine.values(), None);
                others.push(filter_record_batch(&batch, &other).expect("the mask is as long as the batch"));
            }
            if found {
                removed.push(file.path);
                kept.extend(others.into_iter().filter(|batch| batch.num_rows() > 0));
            }
        }
        Ok((removed, kept))
    }

    fn mine(&self, batch: &RecordBatch) -> BooleanArray {
        let result = batch.column_by_name("result").expect("late tables have it").as_string::<i32>();
        let first = batch.column_by_name("first_late").expect("late tables have it");
        let first = first.as_primitive::<TimestampMicrosecondType>();
        let mine = BooleanBuffer::collect_bool(batch.num_rows(), |row| {
            result.value(row) == self.result && first.is_valid(row) && self.windows.contains(first.value(row))
        });
        BooleanArray::new(mine, None)
    }
}
