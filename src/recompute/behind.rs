//! Records that live found behind the watermark: the only way in which live and backfill differ by themselves.

use arrow::array::{Array, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use futures::StreamExt;

use crate::event::{EventTime, Stream};
use crate::iceberg::{Catalog, IcebergError, ScanFilter, Table, plan_files, read_file};
use crate::job::{Insert, Plan};

/// Counts the records in an INSERT's late table that are in time by their own partition, but came when the live run had
/// closed their window, for the windows whose range column lies in `range`. A backfill counts them.
pub async fn behind_watermark(
    job: &Plan,
    insert: &Insert,
    catalog: &Catalog,
    range: &std::ops::Range<EventTime>,
) -> Result<u64, IcebergError> {
    let mut count = 0;
    for late in &insert.late {
        if let Some(table) = catalog.load(&late.table).await? {
            count += behind_in(&table, insert, &job.streams[late.stream], range).await?;
        }
    }
    Ok(count)
}

async fn behind_in(
    table: &Table,
    insert: &Insert,
    stream: &Stream,
    range: &std::ops::Range<EventTime>,
) -> Result<u64, IcebergError> {
    let windows = insert.windows_in(range);
    let (window, marks) = insert.judged_by(windows);
    let ahead = window.name_ahead().0;
    let event_time = stream.columns[stream.event_time].name.clone();
    let result = insert.table.to_string();
    let times = insert.late_times_of(windows);
    let filter = ScanFilter {
        time: Some((event_time.clone(), times.clone())),
        equals: vec![("result".to_owned(), result.clone())],
    };
    // Where the data makes windows, the event time itself tells whose a record is.
    let by_time = window.is_late_by_time();
    let whose = if by_time { [event_time.as_str(); 2] } else { ["first_late", "last_late"] };
    let columns = ["result", "reason", whose[0], whose[1]].map(str::to_owned);
    let mut count = 0;
    for file in plan_files(table, None, &filter).await? {
        let mut rows = read_file(table, &file, &columns, None).await?;
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            let (results, reasons) = (batch.column(0).as_string::<i32>(), batch.column(1).as_string::<i32>());
            let late = [2, 3].map(|column| batch.column(column).as_primitive::<TimestampMicrosecondType>());
            let is_behind = |&row: &usize| {
                results.value(row) == result
                    && reasons.value(row) == "behind_watermark"
                    && late.iter().all(|instants| instants.is_valid(row))
                    && if by_time {
                        times.contains(&EventTime(late[0].value(row)))
                    } else {
                        marks.meets(late[0].value(row) - ahead, late[1].value(row) - ahead)
                    }
            };
            count += (0..batch.num_rows()).filter(is_behind).count() as u64;
        }
    }
    Ok(count)
}
