//! Tidying up: when a time partition can't change any more, or hardly, its small files become few large sorted ones.
//! Invariant: same rows. A change replaces exactly the files that were read, or nothing; a failure leaves the partition
//! as it was, to be found again by a later run.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;

use super::{Publisher, layout};
use crate::event::{EventTime, PartitionField, Stream, TableName};
use crate::iceberg::{
    Catalog, CompactOptions, IcebergError, PartitionRange, ScanFilter, TableSpec, compact, plan_files,
};
use crate::job::Insert;
use crate::kill_point::KillPoint;

/// Arrow bytes that are sorted at once. Sorting copies them, so about twice as much is held.
const SORTED_BYTES: usize = 32 << 20;
/// Small files from which on a partition is rewritten when it is complete.
const SMALL_FILES_MIN: usize = 2;
/// Partitions that are rewritten by one commit: what is lost if it conflicts.
const PARTITIONS_MAX: usize = 128;
/// Times that rows come into a complete partition until it is rewritten again: late rows of history trickle in, and must
/// not have the whole partition rewritten each time.
const AGAIN_TIMES: u32 = 16;

/// Which partitions of a table have got rows and are not tidied up yet.
#[derive(Clone, Debug)]
pub struct Tidy {
    table: TableName,
    /// The time partitioning that the table grows by.
    field: PartitionField,
    sort: Vec<String>,
    /// Starts of partitions to rewrite as soon as they are complete.
    waiting: BTreeSet<EventTime>,
    /// How often rows have come into partitions that were complete already.
    again: BTreeMap<EventTime, u32>,
    /// Greatest edge so far below which partitions are complete.
    edge: EventTime,
}

/// Neighbouring partitions to be rewritten, each by itself; those in between that have large files are left alone.
#[derive(Clone, Debug)]
pub struct Rewrite {
    table: TableName,
    range: PartitionRange,
    options: CompactOptions,
}

impl Tidy {
    /// For an INSERT's result table.
    pub fn of_result(insert: &Insert) -> Tidy {
        Tidy::new(&insert.table, layout::result(insert), insert.range.partition)
    }

    /// For the history of a stream.
    pub fn of_history(stream: &Stream, history: &TableName) -> Tidy {
        Tidy::new(history, layout::history(stream), 0)
    }

    fn new(table: &TableName, spec: TableSpec, field: usize) -> Tidy {
        Tidy {
            table: table.clone(),
            field: spec.partitions[field].clone(),
            sort: spec.sort,
            waiting: BTreeSet::new(),
            again: BTreeMap::new(),
            edge: EventTime::MIN,
        }
    }

    /// Starts of the partitions that rows fall into.
    ///
    /// # Panics
    /// When the rows are not the table's.
    pub fn partitions_of(&self, rows: &[RecordBatch]) -> BTreeSet<EventTime> {
        let mut starts = BTreeSet::new();
        for batch in rows {
            let times = batch.column_by_name(&self.field.column).expect("the rows are the table's");
            let mut last: Option<(EventTime, EventTime)> = None;
            for &time in times.as_primitive::<TimestampMicrosecondType>().values() {
                let time = EventTime(time);
                if !last.is_some_and(|(from, to)| from <= time && time < to) {
                    let from = self.field.transform.floor(time);
                    last = Some((from, self.field.transform.next_edge(time)));
                    starts.insert(from);
                }
            }
        }
        starts
    }

    /// Notes that partitions have got rows.
    pub fn saw(&mut self, partitions: BTreeSet<EventTime>) {
        for from in partitions {
            if self.field.transform.next_edge(from) > self.edge {
                self.waiting.insert(from);
                continue;
            }
            let times = self.again.entry(from).or_default();
            *times += 1;
            if *times >= AGAIN_TIMES {
                self.again.remove(&from);
                self.waiting.insert(from);
            }
        }
    }

    /// The next partitions that have got rows and end at or before `edge`, earliest first; each is given once. Several at
    /// a time, as looking for their files costs the same for one as for many.
    pub fn next(&mut self, edge: EventTime) -> Option<Rewrite> {
        self.edge = self.edge.max(edge);
        let transform = self.field.transform;
        let complete = self.waiting.iter().copied().take_while(|&from| transform.next_edge(from) <= edge);
        let partitions: Vec<EventTime> = complete.take(PARTITIONS_MAX).collect();
        let (from, last) = (*partitions.first()?, *partitions.last()?);
        let to = transform.next_edge(last);
        for from in partitions {
            self.waiting.remove(&from);
        }
        let options = CompactOptions {
            sort: self.sort.clone(),
            memory_bytes: SORTED_BYTES,
            small_files_min: SMALL_FILES_MIN,
            ..CompactOptions::default()
        };
        let range = PartitionRange { field: self.field.clone(), from, to };
        Some(Rewrite { table: self.table.clone(), range, options })
    }

    /// The partitions below `edge` that an earlier run has left in small files, for [`Tidy::saw`]. Reads the table's
    /// metadata only.
    pub async fn find(&self, catalog: &Catalog, edge: EventTime) -> Result<BTreeSet<EventTime>, IcebergError> {
        if edge == EventTime::MIN {
            return Ok(BTreeSet::new());
        }
        let Some(table) = catalog.load(&self.table).await? else { return Ok(BTreeSet::new()) };
        let filter = ScanFilter { time: Some((self.field.column.clone(), EventTime::MIN..edge)), equals: Vec::new() };
        let small_bytes = CompactOptions::default().small_bytes;
        // For each partition, its small files and a time inside.
        let mut small: BTreeMap<_, (usize, EventTime)> = BTreeMap::new();
        for file in plan_files(&table, None, &filter).await? {
            // A file that doesn't tell its times was not written by us.
            let Some((least, _)) = file.times.get(&self.field.column).copied() else { continue };
            if file.bytes < small_bytes {
                small.entry(file.partition).or_insert((0, least)).0 += 1;
            }
        }
        let many = small.into_values().filter(|(files, _)| *files >= SMALL_FILES_MIN);
        Ok(many.map(|(_, least)| self.field.transform.floor(least)).collect())
    }
}

impl Rewrite {
    /// Rewrites the partitions that have more than hardly any small files, then expires the table's oldest snapshots. What
    /// goes wrong is logged: nothing depends on it.
    pub async fn run(self, publisher: &Publisher) {
        self.rewrite(publisher).await;
        KillPoint::InCompaction.reach();
        match publisher.catalog().expire_snapshots(&self.table).await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(table = %self.table, count, "old snapshots expired"),
            Err(error) => tracing::warn!(%error, table = %self.table, "old snapshots were not expired"),
        }
    }

    async fn rewrite(&self, publisher: &Publisher) {
        let (table, from) = (&self.table, self.range.from);
        let change = match compact(publisher.catalog(), table, &self.range, &self.options).await {
            Ok(None) => return,
            Ok(Some(change)) => change,
            Err(error) => {
                tracing::warn!(%error, %table, partition = %from, "partitions were not rewritten");
                return;
            }
        };
        KillPoint::InCompaction.reach();
        if let Err(error) = publisher.replace(change).await {
            tracing::warn!(%error, %table, partition = %from, "rewritten partitions were not committed");
        }
    }
}

#[cfg(test)]
mod tests;
