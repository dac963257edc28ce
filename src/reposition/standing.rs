//! How a job stands whose tables have more than its newest good checkpoint knows: what a checkpoint that is damaged or gone
//! has brought, as far as the tables tell. They tell all that moving a job needs: up to where records were read that have
//! late rows or rejects, and which records a result without a window has. Which windows are there, their files say.
//!
//! Of the checkpoint that nobody can read, any number of commits may have been made, in their order: late rows and rejects
//! first, then results.

use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type};
use futures::TryStreamExt;

use super::moves::{properties, stood};
use super::{Destination, Moving, RepositionError};
use crate::checkpoints::{InsertProgress, Manifest, ManifestId, TableProperties};
use crate::event::{EventTime, OFFSET, PARTITION, ResumeOffset, TableName};
use crate::iceberg::{IcebergError, ScanFilter, Table, plan_files, read_file};
use crate::job::explain::describe;
use crate::job::{Insert, Plan};
use crate::sinks::{Taken, rejects_table};
use crate::windows::Published;

type Offsets = BTreeMap<i32, ResumeOffset>;

/// The checkpoint that moving the job starts from; `None`: there never was one. If the newest good one is behind its tables,
/// it is one made up of that and of what they say, or, where none is good, of what they say alone.
///
/// # Errors
/// When tables don't answer, or don't tell enough.
pub(super) async fn stands(
    moving: &Moving<'_>,
    taken: &Taken,
    destination: &Destination,
) -> Result<Option<Manifest>, RepositionError> {
    let (plan, newest) = (moving.plan, taken.newest());
    let Some(left_behind) = newest.abandoned.filter(|_| newest.is_behind()) else { return Ok(newest.manifest.clone()) };
    let known = Known::of(plan, taken.tables())?;
    let mut reread = known.taken();
    let manifest = match &newest.manifest {
        Some(good) => {
            join(&mut reread, good.reread.clone());
            good.clone()
        }
        None => {
            // What was read before a move, only the rows tell.
            join(&mut reread, rows_of_records(plan, taken.tables()).await?);
            nothing_but(plan, left_behind)
        }
    };
    let inserts = plan.inserts.iter().map(|insert| {
        let progress = known.progress(insert, &manifest);
        known.check_told(insert, &progress, left_behind, destination)?;
        Ok(progress)
    });
    let inserts = inserts.collect::<Result<Vec<_>, RepositionError>>()?;
    Ok(Some(Manifest { inserts, reread, ..manifest }))
}

/// The properties of a job's tables.
struct Known<'a> {
    plan: &'a Plan,
    tables: BTreeMap<&'a TableName, TableProperties>,
}

impl<'a> Known<'a> {
    fn of(plan: &'a Plan, tables: &'a BTreeMap<TableName, Table>) -> Result<Known<'a>, RepositionError> {
        let known = tables.iter().map(|(name, table)| Ok((name, properties(plan, table)?)));
        Ok(Known { plan, tables: known.collect::<Result<_, RepositionError>>()? })
    }

    /// The offset below which records were taken, at least for as far as any table has something of them.
    fn taken(&self) -> BTreeMap<String, Offsets> {
        let mut taken = BTreeMap::new();
        for properties in self.tables.values() {
            join(&mut taken, properties.offsets.clone().unwrap_or_default());
        }
        taken.retain(|stream, _| self.plan.streams.iter().any(|known| known.name == *stream));
        taken
    }

    /// Refuses a result without a window whose late rows were committed by the checkpoint that is lost, if its own rows may
    /// not have been: which records are in it, nobody can tell then.
    fn check_told(
        &self,
        insert: &Insert,
        progress: &InsertProgress,
        left_behind: ManifestId,
        destination: &Destination,
    ) -> Result<(), RepositionError> {
        let begins_anew =
            matches!(destination, Destination::Reset(_)) && destination.first_window(&insert.table) == EventTime::MIN;
        let Some(published) = progress.published.as_ref().filter(|_| !begins_anew) else { return Ok(()) };
        let result = self.tables.get(&insert.table).and_then(|table| table.checkpoint);
        let stream = &self.plan.streams[insert.only_stream()].name;
        for late in &insert.late {
            let Some(known) = self.tables.get(&late.table).filter(|known| known.checkpoint > result) else { continue };
            let taken = known.offsets.as_ref().and_then(|offsets| offsets.get(stream)).into_iter().flatten();
            let has_all = |(partition, end)| published.below.get(partition).is_some_and(|below| below >= end);
            if !taken.into_iter().all(has_all) {
                return Err(RepositionError::Partly {
                    checkpoint: left_behind,
                    table: insert.table.clone(),
                    late: late.table.clone(),
                });
            }
        }
        Ok(())
    }

    /// How an INSERT stands.
    fn progress(&self, insert: &Insert, manifest: &Manifest) -> InsertProgress {
        let none = TableProperties::default();
        let known = self.tables.get(&insert.table).unwrap_or(&none);
        let told = || InsertProgress {
            sealed_edge: known.sealed_edge.unwrap_or(EventTime::MIN),
            republish: known.republish,
            ..InsertProgress::new(insert.table.clone(), known.first_window.unwrap_or(EventTime::MIN))
        };
        let mut progress = stood(Some(manifest), insert).cloned().unwrap_or_else(told);
        if insert.window.is_without_end() {
            let stream = manifest.streams.get(&self.plan.streams[insert.only_stream()].name);
            let mut below = progress.in_table(stream.unwrap_or(&BTreeMap::new()));
            join_offsets(&mut below, known.in_table.clone().unwrap_or_default());
            progress.published = Some(Published { below, again_from: EventTime::MAX });
        }
        progress
    }
}

/// A checkpoint of which nothing is known.
fn nothing_but(plan: &Plan, id: ManifestId) -> Manifest {
    // Whatever version it was of: no state of it is gone on with.
    let fingerprint = plan.fingerprint.clone();
    Manifest { fingerprint, description: describe(plan), ..Manifest::empty(id, plan.name.clone()) }
}

/// By stream and partition, the offset below which all records lie that have late rows or rejects. Of tables that several
/// streams or jobs share, it may be too high, which costs a few looks.
async fn rows_of_records(
    plan: &Plan,
    tables: &BTreeMap<TableName, Table>,
) -> Result<BTreeMap<String, Offsets>, RepositionError> {
    let mut found = BTreeMap::new();
    for (index, stream) in plan.streams.iter().enumerate() {
        let late = plan.inserts.iter().flat_map(|insert| &insert.late).filter(|late| late.stream == index);
        let names = late.map(|late| late.table.clone()).chain(rejects_table(plan, index));
        for table in names.filter_map(|name| tables.get(&name)) {
            let ends = ends_of(table).await?;
            join(&mut found, BTreeMap::from([(stream.name.clone(), ends)]));
        }
    }
    Ok(found)
}

async fn ends_of(table: &Table) -> Result<Offsets, IcebergError> {
    let mut ends = Offsets::new();
    for file in plan_files(table, None, &ScanFilter::default()).await? {
        let mut rows = read_file(table, &file, &[PARTITION.to_owned(), OFFSET.to_owned()], None).await?;
        while let Some(batch) = rows.try_next().await? {
            let partitions = batch.column(0).as_primitive::<Int32Type>().values();
            let offsets = batch.column(1).as_primitive::<Int64Type>().values();
            for (&partition, &offset) in partitions.iter().zip(offsets) {
                join_offsets(&mut ends, Offsets::from([(partition, ResumeOffset(offset + 1))]));
            }
        }
    }
    Ok(ends)
}

fn join(all: &mut BTreeMap<String, Offsets>, more: BTreeMap<String, Offsets>) {
    for (stream, offsets) in more {
        join_offsets(all.entry(stream).or_default(), offsets);
    }
}

fn join_offsets(all: &mut Offsets, more: Offsets) {
    for (partition, offset) in more {
        let end = all.entry(partition).or_insert(offset);
        *end = offset.max(*end);
    }
}
