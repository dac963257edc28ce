//! What a backfill would do. Writes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;

use super::{BackfillError, BackfillOptions};
use crate::checkpoints::TableProperties;
use crate::engine::EpochOutput;
use crate::event::{EventTime, TableName};
use crate::iceberg::{Catalog, IcebergError, ScanFilter, Table, TableSpec, plan_files};
use crate::job::{Insert, Plan};
use crate::memory::{Kept, Pressure};
use crate::ownership::{NotWritable, Owned, Writer, writable};
use crate::recompute::{
    Incomplete, RangeError, RecomputeError, RecomputeOptions, Scope, behind_watermark, check, recompute, scope,
};
use crate::sinks::layout;

/// Records above which a plan doesn't compute the rows that will come out: up to here it takes seconds.
pub const COMPUTED_RECORDS_MAX: u64 = 20_000_000;

/// What a backfill would do.
#[derive(Debug)]
pub struct BackfillPlan {
    /// What it covers.
    pub scope: Scope,
    /// For each INSERT.
    pub inserts: Vec<InsertPlan>,
    /// Records that were read to know the expected rows; `None`: there are more than [`COMPUTED_RECORDS_MAX`], so those
    /// aren't known.
    pub records: Option<u64>,
    /// What stands against it; empty: `run` would do it.
    pub conflicts: Vec<Conflict>,
}

/// What a backfill would do to one result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsertPlan {
    /// The result table.
    pub table: TableName,
    /// Whether it is there.
    pub exists: bool,
    /// Its partitions in the range, by their start.
    pub partitions: BTreeMap<EventTime, PartitionPlan>,
    /// Late records of the range: they stay out with `--late exact`, and are counted with `--late include`. `None`: not
    /// known.
    pub late: Option<u64>,
    /// Records that live left out as they came behind its watermark; the backfill counts them.
    pub behind_watermark: u64,
}

/// One partition of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartitionPlan {
    /// Rows now.
    pub current: u64,
    /// Rows afterwards; `None`: not known.
    pub expected: Option<u64>,
}

/// What stands against a backfill.
#[derive(Debug)]
pub enum Conflict {
    /// Somebody else owns the range, or may still change it.
    NotWritable(NotWritable),
    /// A table doesn't fit the job.
    Layout {
        /// The table.
        table: TableName,
        /// What differs, column by column.
        difference: String,
    },
    /// History isn't complete.
    Incomplete(Box<Incomplete>),
}

impl From<Conflict> for BackfillError {
    fn from(conflict: Conflict) -> BackfillError {
        match conflict {
            Conflict::NotWritable(error) => BackfillError::NotWritable(error),
            Conflict::Layout { table, difference } => BackfillError::Layout { table, difference },
            Conflict::Incomplete(error) => BackfillError::Range(RangeError::Incomplete(error)),
        }
    }
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Conflict::NotWritable(error) => error.fmt(f),
            Conflict::Layout { table, difference } => {
                BackfillError::Layout { table: table.clone(), difference: difference.clone() }.fmt(f)
            }
            Conflict::Incomplete(error) => error.fmt(f),
        }
    }
}

/// Works out what a backfill would do, by computing all of it, unless that is long, but writing nothing. `watch` is told
/// the records read.
pub async fn plan(
    job: &Arc<Plan>,
    catalog: &Catalog,
    options: &BackfillOptions,
    watch: &(dyn Fn(&Scope, u64) + Sync),
) -> Result<BackfillPlan, BackfillError> {
    let scope = scope(job, catalog, &options.requested).await?;
    let mut conflicts = Vec::new();
    match check(job, &scope, options.requested.drain) {
        Ok(()) => {}
        Err(RangeError::Incomplete(incomplete)) => conflicts.push(Conflict::Incomplete(incomplete)),
        Err(error) => return Err(error.into()),
    }
    let mut inserts = Vec::with_capacity(job.inserts.len());
    for insert in &job.inserts {
        let table = catalog.load(&insert.table).await?;
        let late = late_tables(insert, catalog).await?;
        let obstacle = obstacle(job, insert, table.as_ref(), &late, &scope)?;
        let partitions = match &table {
            // Rows of another layout can't be told by the range.
            Some(table) if table.difference(&layout::result(insert)).is_none() => {
                current_rows(insert, table, &scope).await?
            }
            _ => BTreeMap::new(),
        };
        conflicts.extend(obstacle);
        inserts.push(InsertPlan {
            table: insert.table.clone(),
            exists: table.is_some(),
            partitions,
            late: None,
            behind_watermark: behind_watermark(job, insert, catalog, &scope.range).await?,
        });
    }
    let records: u64 = scope.histories.iter().flat_map(|history| &history.files).map(|file| file.records).sum();
    // What history lacks is told already.
    let drain = options.requested.drain || !conflicts.is_empty();
    let counting = Counting { job, scope: &scope, options, drain, watch };
    let records = match records {
        0..=COMPUTED_RECORDS_MAX => Some(counting.compute(&mut inserts).await?),
        _ => None,
    };
    Ok(BackfillPlan { scope, inserts, records, conflicts })
}

/// Working out the rows that will come out.
struct Counting<'a> {
    job: &'a Arc<Plan>,
    scope: &'a Scope,
    options: &'a BackfillOptions,
    /// Whether windows that are open where history ends count as whole.
    drain: bool,
    watch: &'a (dyn Fn(&Scope, u64) + Sync),
}

impl Counting<'_> {
    /// Fills in expected rows and late records; answers the records read.
    async fn compute(&self, inserts: &mut [InsertPlan]) -> Result<u64, BackfillError> {
        for planned in inserts.iter_mut() {
            planned.late = Some(0);
            planned.partitions.values_mut().for_each(|partition| partition.expected = Some(0));
        }
        let include = self.options.include_late;
        // The late ones are told by leaving them out, whatever becomes of them.
        let mut exact = async |output: EpochOutput, _: Pressure| -> Result<Kept, IcebergError> {
            for ((planned, insert), output) in inserts.iter_mut().zip(&self.job.inserts).zip(output.inserts) {
                let late = output.late.iter().map(|late| late.rows.num_rows() as u64).sum::<u64>();
                planned.late = planned.late.map(|before| before + late);
                let results = output.results.iter().filter(|_| !include);
                results.for_each(|rows| add_expected(insert, rows, &mut planned.partitions));
            }
            Ok(Kept::default())
        };
        let records = self.recompute(false, &mut exact).await?;
        if include {
            let mut all = async |output: EpochOutput, _: Pressure| -> Result<Kept, IcebergError> {
                for ((planned, insert), output) in inserts.iter_mut().zip(&self.job.inserts).zip(output.inserts) {
                    output.results.iter().for_each(|rows| add_expected(insert, rows, &mut planned.partitions));
                }
                Ok(Kept::default())
            };
            self.recompute(true, &mut all).await?;
        }
        Ok(records)
    }

    async fn recompute<F>(&self, include_late: bool, take: &mut F) -> Result<u64, RecomputeError<IcebergError>>
    where
        F: AsyncFnMut(EpochOutput, Pressure) -> Result<Kept, IcebergError>,
    {
        let &BackfillOptions { workers, memory_max, .. } = self.options;
        let options = RecomputeOptions { workers, include_late, drain: self.drain, memory_max };
        let watch = |records| (self.watch)(self.scope, records);
        Ok(recompute(self.job, self.scope, options, take, &watch).await?.records)
    }
}

/// What stands against writing the range of one result, seen from its tables, as far as they are there.
pub(super) fn obstacle(
    job: &Plan,
    insert: &Insert,
    table: Option<&Table>,
    late: &[(usize, Table)],
    scope: &Scope,
) -> Result<Option<Conflict>, BackfillError> {
    let differs = |table: &Table, spec: &TableSpec| {
        let difference = table.difference(spec)?;
        Some(Conflict::Layout { table: table.name().clone(), difference })
    };
    if let Some(table) = table {
        if let Err(error) = may_write(job, insert, table, scope)? {
            return Ok(Some(Conflict::NotWritable(error)));
        }
        if let Some(conflict) = differs(table, &layout::result(insert)) {
            return Ok(Some(conflict));
        }
    }
    let mut late = late.iter();
    Ok(late.find_map(|(stream, late)| differs(late, &layout::late(insert, &job.streams[*stream]))))
}

/// The late tables of an INSERT that are there, each with its stream.
pub(super) async fn late_tables(insert: &Insert, catalog: &Catalog) -> Result<Vec<(usize, Table)>, IcebergError> {
    let mut tables = Vec::with_capacity(insert.late.len());
    for late in &insert.late {
        tables.extend(catalog.load(&late.table).await?.map(|table| (late.stream, table)));
    }
    Ok(tables)
}

/// Whether the range of a result may be written: by ownership and by the sealed edge of a live job.
pub(super) fn may_write(
    job: &Plan,
    insert: &Insert,
    table: &Table,
    scope: &Scope,
) -> Result<Result<(), NotWritable>, BackfillError> {
    let properties = TableProperties::parse(&job.name, table.properties())
        .map_err(|source| BackfillError::Property { table: insert.table.clone(), source })?;
    if insert.window.is_without_end() {
        // Nothing of it is ever sealed. What a live job publishes stays, as the scope says where its records begin.
        let republish = properties.republish.map(|range| range.from..range.to);
        let owned = Owned { owner: properties.owner, sealed_edge: Some(EventTime::MAX), republish, ..Owned::default() };
        let writer = Writer::Backfill { job: &job.name, from: scope.range.start, to: scope.range.end };
        return Ok(writable(&insert.table, &owned, &writer).map(|_| ()));
    }
    // The owner may have been set by a backfill; only a live run sets the others. One that has claimed the table, but not
    // published yet, may publish any window.
    let claimed = properties.generation.map(|_| EventTime::MIN);
    let owned = Owned {
        owner: properties.owner,
        sealed_edge: properties.sealed_edge,
        first_window: properties.first_window.or(claimed),
        republish: properties.republish.map(|range| range.from..range.to),
    };
    let writer = Writer::Backfill { job: &job.name, from: scope.range.start, to: scope.range.end };
    Ok(writable(&insert.table, &owned, &writer).map(|_| ()))
}

async fn current_rows(
    insert: &Insert,
    table: &Table,
    scope: &Scope,
) -> Result<BTreeMap<EventTime, PartitionPlan>, IcebergError> {
    let column = insert.partitions[insert.range.partition].column.clone();
    let filter = ScanFilter { time: Some((column.clone(), scope.range.clone())), ..ScanFilter::default() };
    let mut partitions: BTreeMap<EventTime, PartitionPlan> = BTreeMap::new();
    for file in plan_files(table, None, &filter).await? {
        // A file lies in one partition, so its least value tells which.
        let start = insert.range_transform().floor(file.lower.unwrap_or(scope.range.start));
        partitions.entry(start).or_default().current += file.records;
    }
    Ok(partitions)
}

fn add_expected(insert: &Insert, rows: &RecordBatch, partitions: &mut BTreeMap<EventTime, PartitionPlan>) {
    let column = &insert.partitions[insert.range.partition].column;
    let times = rows.column_by_name(column).expect("the range column is in the result");
    for &time in times.as_primitive::<TimestampMicrosecondType>().values() {
        let partition = partitions.entry(insert.range_transform().floor(EventTime(time))).or_default();
        *partition.expected.get_or_insert(0) += 1;
    }
}
