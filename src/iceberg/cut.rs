//! Rows that a change takes out of a table, named by what they hold: the files that have them are found when the change is
//! made, and rewritten without them, whatever others have made of the files since.
//! Invariants: exactly the rows that are meant go; the others keep their order; files without such a row are left alone.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use futures::stream::StreamExt;
use serde::{Deserialize, Serialize};

use super::like::Wanted;
use super::{
    FileWriter, IcebergError, LikeRows, ScanFile, ScanFilter, StagedFile, Table, WriteOptions, plan_files, read_file,
};
use crate::event::{EventTime, OFFSET, PARTITION, ResumeOffset};

/// Which rows go: those that meet all of these conditions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowCut {
    /// Times of timestamp columns. Files are found by the first one.
    pub times: Vec<TimeCut>,
    /// TEXT columns and the values that they have.
    pub equals: BTreeMap<String, String>,
    /// For rows that are records of a log: they stand there, by partition. `None`: anywhere.
    pub positions: Option<BTreeMap<i32, OffsetCut>>,
    /// For rows that are records of a log: they are these, offsets rising.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<BTreeMap<i32, Vec<i64>>>,
    /// They have the values of one of these rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub like: Option<LikeRows>,
}

/// A half-open range of offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OffsetCut {
    /// Inclusive.
    pub from: ResumeOffset,
    /// Exclusive.
    pub to: ResumeOffset,
}

/// A timestamp column and the half-open range of its values. A null is in no range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeCut {
    /// The column.
    pub column: String,
    /// Inclusive.
    pub from: EventTime,
    /// Exclusive.
    pub to: EventTime,
}

/// What a table loses.
#[derive(Debug, Default)]
pub struct CutOut {
    /// Locations of the files that hold rows of the cuts.
    pub files: Vec<String>,
    /// Their other rows, in files that no table knows yet.
    pub kept: Vec<StagedFile>,
    /// Rows that go.
    pub rows: u64,
}

impl RowCut {
    /// Rows whose `column` is in `[from, to)`.
    pub fn of_times(column: &str, from: EventTime, to: EventTime) -> RowCut {
        RowCut { times: vec![TimeCut { column: column.to_owned(), from, to }], ..RowCut::default() }
    }

    fn filter(&self) -> ScanFilter {
        let time = self.times.first().map(|time| (time.column.clone(), time.from..time.to));
        ScanFilter { time, equals: self.equals.clone().into_iter().collect() }
    }

    /// Whether all rows of a file are meant, as its partition and bounds tell without a look at them.
    fn holds_all_of(&self, file: &ScanFile, partitioned_by: &[String]) -> bool {
        let [time] = self.times.as_slice() else { return false };
        // In a partition of a time no row lacks the time.
        self.equals.is_empty()
            && self.positions.is_none()
            && self.records.is_none()
            && self.like.is_none()
            && partitioned_by.contains(&time.column)
            && file.times.get(&time.column).is_some_and(|&(least, most)| time.from <= least && most < time.to)
    }

    /// Those of [`RowCut::like`] aside.
    fn marks(&self, rows: &RecordBatch) -> BooleanBuffer {
        let mut marks = BooleanBuffer::new_set(rows.num_rows());
        let column = |name: &str| rows.column_by_name(name).expect("all columns of the table were read");
        for time in &self.times {
            let values = column(&time.column).as_primitive::<TimestampMicrosecondType>();
            let inside = BooleanBuffer::collect_bool(values.len(), |row| {
                values.is_valid(row) && time.from.0 <= values.value(row) && values.value(row) < time.to.0
            });
            marks = &marks & &inside;
        }
        for (name, wanted) in &self.equals {
            let values = column(name).as_string::<i32>();
            let equal = BooleanBuffer::collect_bool(values.len(), |row| {
                values.is_valid(row) && values.value(row) == wanted.as_str()
            });
            marks = &marks & &equal;
        }
        if let Some(positions) = &self.positions {
            let partitions = column(PARTITION).as_primitive::<Int32Type>();
            let offsets = column(OFFSET).as_primitive::<Int64Type>();
            let there = BooleanBuffer::collect_bool(partitions.len(), |row| {
                let range = positions.get(&partitions.value(row));
                let holds = |range: &OffsetCut| (range.from.0..range.to.0).contains(&offsets.value(row));
                partitions.is_valid(row) && offsets.is_valid(row) && range.is_some_and(holds)
            });
            marks = &marks & &there;
        }
        if let Some(records) = &self.records {
            let partitions = column(PARTITION).as_primitive::<Int32Type>();
            let offsets = column(OFFSET).as_primitive::<Int64Type>();
            let named = BooleanBuffer::collect_bool(partitions.len(), |row| {
                let of_partition = records.get(&partitions.value(row)).filter(|_| partitions.is_valid(row));
                of_partition.is_some_and(|of| offsets.is_valid(row) && of.binary_search(&offsets.value(row)).is_ok())
            });
            marks = &marks & &named;
        }
        marks
    }
}

/// A cut, ready to be compared with rows.
struct Prepared<'c> {
    cut: &'c RowCut,
    like: Option<Wanted>,
}

impl<'c> Prepared<'c> {
    fn all(table: &Table, cuts: &'c [RowCut]) -> Result<Vec<Prepared<'c>>, IcebergError> {
        let ready = |cut: &'c RowCut| {
            let time = cut.times.first().map(|time| time.column.as_str());
            let like = cut.like.as_ref().map(|like| Wanted::new(table, like, time)).transpose()?;
            Ok(Prepared { cut, like })
        };
        cuts.iter().map(ready).collect()
    }

    /// The files that may hold such rows.
    async fn files(&self, table: &Table) -> Result<Vec<ScanFile>, IcebergError> {
        let mut found = plan_files(table, None, &self.cut.filter()).await?;
        if let Some(like) = &self.like {
            found.retain(|file| like.may_be_in(file.lower, file.upper));
        }
        Ok(found)
    }

    fn marks(&self, table: &Table, rows: &RecordBatch) -> Result<BooleanBuffer, IcebergError> {
        let marks = self.cut.marks(rows);
        match &self.like {
            Some(like) if marks.count_set_bits() > 0 => Ok(&marks & &like.marks(table, rows)?),
            _ => Ok(marks),
        }
    }
}

/// Finds the rows of all cuts in the newest snapshot of `table`, and writes the others of their files anew. Commits
/// nothing: a change that removes [`CutOut::files`] and adds [`CutOut::kept`] is a conflict once one of them is gone.
pub async fn cut_out(table: &Table, cuts: &[RowCut]) -> Result<CutOut, IcebergError> {
    let prepared = Prepared::all(table, cuts)?;
    let files = files(table, &prepared).await?;
    let by_time = table.partitions()?.into_iter().filter(|field| field.transform.is_time());
    let partitioned_by: Vec<String> = by_time.map(|field| field.column).collect();
    let mut out = CutOut::default();
    for file in files.into_values() {
        if cuts.iter().any(|cut| cut.holds_all_of(&file, &partitioned_by)) {
            out.rows += file.records;
            out.files.push(file.path);
        } else {
            without(table, file, &prepared, &mut out).await?;
        }
    }
    Ok(out)
}

/// Counts the rows of all cuts.
pub async fn count_cut(table: &Table, cuts: &[RowCut]) -> Result<u64, IcebergError> {
    let prepared = Prepared::all(table, cuts)?;
    let mut count = 0;
    for file in files(table, &prepared).await?.into_values() {
        let mut rows = read_file(table, &file, &all_columns(table)?, None).await?;
        while let Some(batch) = rows.next().await {
            count += marks(table, &prepared, &batch?)?.count_set_bits() as u64;
        }
    }
    Ok(count)
}

/// The files that may hold rows of the cuts, by location.
async fn files(table: &Table, cuts: &[Prepared<'_>]) -> Result<BTreeMap<String, ScanFile>, IcebergError> {
    let mut files: BTreeMap<String, ScanFile> = BTreeMap::new();
    for cut in cuts {
        files.extend(cut.files(table).await?.into_iter().map(|file| (file.path.clone(), file)));
    }
    Ok(files)
}

async fn without(table: &Table, file: ScanFile, cuts: &[Prepared<'_>], out: &mut CutOut) -> Result<(), IcebergError> {
    let mut rows = read_file(table, &file, &all_columns(table)?, None).await?;
    // One writer a file: what is left of a sorted file is sorted.
    let mut writer = FileWriter::new(table, WriteOptions::default())?;
    let mut gone = 0;
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let marks = marks(table, cuts, &batch)?;
        gone += marks.count_set_bits() as u64;
        let others = filter_record_batch(&batch, &BooleanArray::new(!&marks, None));
        let others = others.map_err(IcebergError::rows(table.name(), "take rows out"))?;
        if others.num_rows() > 0 {
            writer.write(&others).await?;
        }
    }
    if gone == 0 {
        return writer.abort().await;
    }
    out.kept.extend(writer.finish().await?);
    out.files.push(file.path);
    out.rows += gone;
    Ok(())
}

fn marks(table: &Table, cuts: &[Prepared<'_>], rows: &RecordBatch) -> Result<BooleanBuffer, IcebergError> {
    let mut marks = BooleanBuffer::new_unset(rows.num_rows());
    for cut in cuts {
        marks = &marks | &cut.marks(table, rows)?;
    }
    Ok(marks)
}

fn all_columns(table: &Table) -> Result<Vec<String>, IcebergError> {
    Ok(table.arrow_schema()?.fields().iter().map(|field| field.name().clone()).collect())
}
