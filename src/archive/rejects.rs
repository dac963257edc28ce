//! Rejected records decoded again, under today's declaration: those that it takes go into history, each once, and out of
//! the rejects table by the same checkpoint.
//!
//! A record's `_seen` is what a replay of the log would find now: those that had been rejects count. Rows behind them keep
//! the `_seen` by which they were archived; up to the event time to which it may be too low, which the history states,
//! readers find it anew.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, TimestampMicrosecondArray};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use futures::TryStreamExt;

use super::attempt::targets;
use super::widening::widening;
use super::write::manifest;
use super::{ArchiveError, Setup, history_of, owner};
use crate::checkpoints::{CheckpointStore, Claimant, Manifest, SEEN_ANEW, TableChange, format_time};
use crate::decode::{Decoder, RawBatch, RawRecord};
use crate::event::{EventTime, Micros, ResumeOffset, Stream, TIMESTAMP, TableName};
use crate::iceberg::{RowCut, ScanFile, ScanFilter, Table, plan_files, read_file};
use crate::sinks::{HistoryProgress, Publisher, layout, staged_change, take};
use crate::sources::{Agreement, Anew, Seen, SourceError, seen_anew};
use crate::vitals::Vitals;

/// What became of a history's rejects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RejectsReport {
    /// Name of the stream.
    pub stream: String,
    /// Rejects before, by reason.
    pub before: BTreeMap<String, u64>,
    /// Those that are still rejects.
    pub after: BTreeMap<String, u64>,
    /// Those of them that were kept without a key or header that the stream takes, so that nobody can tell what they are.
    pub incomplete: u64,
    /// Least and greatest event time of those that are in history now.
    pub times: Option<(EventTime, EventTime)>,
}

/// Decodes the rejects of a stream's history again. Refused while an archiver of it runs.
///
/// # Errors
/// If the stream's declaration isn't the history's; nothing is changed then.
pub async fn decode_rejects(stream: &Arc<Stream>, setup: &Setup) -> Result<RejectsReport, ArchiveError> {
    let history = history_of(stream)?;
    let name = history.with_suffix("_rejects");
    let mut report = RejectsReport { stream: stream.name.clone(), ..RejectsReport::default() };
    if setup.catalog.load(&name).await?.is_none() {
        return Ok(report);
    }
    widening(&setup.catalog, history, stream, false).await?;
    let archived = Arc::new(stream.archived());
    let (store, claimant) = (CheckpointStore::at(&setup.state, &owner(history)), Claimant::new(setup.clock.clone()));
    let tables = targets(&archived, history, false);
    let taken = take(&setup.catalog, &store, &claimant, &tables, &Vitals::new(&setup.clock)).await?;
    let heartbeat = taken.heartbeat().clone();
    let newest = taken.newest().manifest.clone();
    let moved = async {
        let publisher = taken.begin().await?;
        match newest {
            Some(newest) => move_rejects(&archived, setup, (publisher, newest), &mut report).await,
            // Nothing was ever archived.
            None => Ok(()),
        }
    };
    let moved = moved.await;
    heartbeat.release().await;
    moved.map(|()| report)
}

async fn move_rejects(
    stream: &Arc<Stream>,
    setup: &Setup,
    (publisher, newest): (Publisher, Manifest),
    report: &mut RejectsReport,
) -> Result<(), ArchiveError> {
    let history = history_of(stream)?;
    let name = history.with_suffix("_rejects");
    let (Some(table), Some(rejects)) = (setup.catalog.load(history).await?, setup.catalog.load(&name).await?) else {
        return Ok(());
    };
    let decoder =
        Decoder::new(stream).map_err(|source| SourceError::Decoder { stream: stream.name.clone(), source })?;
    let mut again = Again { stream, rejects: &rejects, decoder };
    let files = plan_files(&rejects, None, &ScanFilter::default()).await?;
    let found = again.find(&table, &files).await?;
    let mut moving = Moving { publisher, history, name, newest, number: 1, found, table };
    for file in &files {
        let decoded = again.decode(file).await?;
        for (reason, count) in decoded.reasons(|_| true) {
            *report.before.entry(reason).or_default() += count;
        }
        for (reason, count) in decoded.reasons(|position| !decoded.taken.contains(position)) {
            *report.after.entry(reason).or_default() += count;
        }
        report.incomplete += decoded.incomplete;
        if decoded.taken.is_empty() {
            continue;
        }
        for records in &decoded.records {
            let times = records.column(stream.event_time).as_primitive::<TimestampMicrosecondType>();
            for &time in times.values() {
                let (least, greatest) = report.times.unwrap_or((EventTime::MAX, EventTime::MIN));
                report.times = Some((least.min(EventTime(time)), greatest.max(EventTime(time))));
            }
        }
        moving.take(stream, decoded).await?;
    }
    Ok(())
}

/// What the records that are taken now make of `seen`.
struct Found {
    seen: Seen,
    /// The event time below which `_seen` of rows that are there may be too low now.
    until: EventTime,
}

/// A message as it was kept: its bytes, and what stood beside it.
type Message<'a> = (RawRecord<'a>, Vec<Option<&'a [u8]>>);

/// One file of rejects, decoded again.
struct Decoded {
    /// As they are in the file.
    rows: Vec<RecordBatch>,
    /// Those that are taken, laid out as records, by partition.
    records: Vec<RecordBatch>,
    /// Their positions.
    taken: BTreeSet<(i32, i64)>,
    /// Rows that lack what the stream takes beside messages; they stay.
    incomplete: u64,
}

struct Again<'a> {
    stream: &'a Arc<Stream>,
    rejects: &'a Table,
    decoder: Decoder,
}

impl Again<'_> {
    /// Finds `seen` with the records that are taken now.
    async fn find(&mut self, history: &Table, files: &[ScanFile]) -> Result<Found, ArchiveError> {
        let everything = Agreement {
            bound: Micros(0),
            added: Vec::new(),
            anew: vec!["rejects are decoded again".to_owned()],
            seen_anew: None,
        };
        let archived = Anew::find(history, self.stream, &everything, EventTime::MIN).await?;
        let mut seen = archived.map(|anew| anew.seen).unwrap_or_default();
        let mut taken = Vec::new();
        let mut until = seen_anew(history)?.unwrap_or(EventTime::MIN);
        for file in files {
            for records in self.decode(file).await?.records {
                let records = counted(self.stream, &records);
                let times = records.column(self.stream.event_time).as_primitive::<TimestampMicrosecondType>();
                let markers = crate::time::markers(self.stream, &records);
                for (row, (partition, offset)) in positions(self.stream, &records).enumerate() {
                    let time = EventTime(times.value(row));
                    let counts = markers.as_ref().is_none_or(|markers| markers.value(row));
                    if counts && seen.below(partition, offset).is_none_or(|seen| seen < time) {
                        until = until.max(time);
                    }
                }
                // Only what decides: a row of each record.
                taken.push(records);
            }
        }
        for records in &taken {
            seen.add(self.stream, records)
                .map_err(|_| ArchiveError::TooMuchSeen { stream: self.stream.name.clone() })?;
        }
        seen.finish();
        Ok(Found { seen, until })
    }

    async fn decode(&mut self, file: &ScanFile) -> Result<Decoded, ArchiveError> {
        let wanted = self.decoder.inputs().names();
        let schema = layout::rejects(self.decoder.inputs()).schema;
        let mut names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
        // No archiver of this declaration has begun yet.
        let columns = self.rejects.arrow_schema()?;
        names.retain(|name| columns.field_with_name(name).is_ok());
        let rows: Vec<RecordBatch> = read_file(self.rejects, file, &names, None).await?.try_collect().await?;
        let mut sorted: BTreeMap<i32, BTreeMap<i64, Message<'_>>> = BTreeMap::new();
        let mut incomplete = 0;
        for batch in &rows {
            let stamps = batch.column(3).as_primitive::<TimestampMicrosecondType>();
            let raw = batch.column(4).as_binary::<i32>();
            for (row, (partition, offset)) in rejected(batch).enumerate() {
                let timestamp = stamps.is_valid(row).then(|| stamps.value(row));
                let value = if raw.is_valid(row) { raw.value(row) } else { &[] };
                let Some(sides) = sides(batch, row, &wanted) else {
                    incomplete += 1;
                    continue;
                };
                let record = RawRecord { offset, timestamp, value };
                sorted.entry(partition).or_default().insert(offset, (record, sides));
            }
        }
        let (mut records, mut taken) = (Vec::new(), BTreeSet::new());
        for (partition, messages) in sorted {
            let mut raw = RawBatch::new(partition, self.decoder.inputs());
            let next = messages.keys().last().map_or(0, |last| last + 1);
            for (record, sides) in messages.into_values() {
                raw.push(record, sides);
            }
            let decoded = self.decoder.decode(&raw, ResumeOffset(next));
            if decoded.records.num_rows() > 0 {
                taken.extend(positions(self.stream, &decoded.records));
                records.push(decoded.records);
            }
        }
        Ok(Decoded { rows, records, taken, incomplete })
    }
}

impl Decoded {
    /// How many rows at such positions there are, by reason.
    fn reasons(&self, is: impl Fn(&(i32, i64)) -> bool) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for batch in &self.rows {
            let reasons = batch.column(5).as_string::<i32>();
            for (row, position) in rejected(batch).enumerate() {
                if is(&position) {
                    *counts.entry(reasons.value(row).to_owned()).or_default() += 1;
                }
            }
        }
        counts
    }

    /// The rows that are rejects no longer.
    fn cut(&self) -> RowCut {
        let mut records: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
        for &(partition, offset) in &self.taken {
            records.entry(partition).or_default().push(offset);
        }
        // Only files of these times are looked at; a record without a timestamp may be in any.
        let stamps = self.records.iter().map(|records| records.column(records.num_columns() - 2));
        let stamps: Vec<&TimestampMicrosecondArray> = stamps.map(|stamps| stamps.as_primitive()).collect();
        let known = stamps.iter().all(|stamps| stamps.null_count() == 0);
        let least = stamps.iter().filter_map(|stamps| arrow::compute::min(*stamps)).min();
        let most = stamps.iter().filter_map(|stamps| arrow::compute::max(*stamps)).max();
        let cut = match (known, least, most) {
            (true, Some(least), Some(most)) => {
                RowCut::of_times(TIMESTAMP, EventTime(least), EventTime(most.saturating_add(1)))
            }
            _ => RowCut::default(),
        };
        RowCut { records: Some(records), ..cut }
    }
}

/// What stood beside the message of a row: the value of each name, `None` where the record had none. Nothing if one of the
/// names wasn't kept.
fn sides<'a>(batch: &'a RecordBatch, row: usize, names: &[String]) -> Option<Vec<Option<&'a [u8]>>> {
    if names.is_empty() {
        return Some(Vec::new());
    }
    let kept = batch.column_by_name(layout::METADATA)?.as_list::<i32>();
    if kept.is_null(row) {
        return None;
    }
    let ends = kept.value_offsets();
    let range = usize::try_from(ends[row]).ok()?..usize::try_from(ends[row + 1]).ok()?;
    let entries = kept.values().as_struct();
    let (kept_names, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_binary::<i32>());
    let side = |name: &String| {
        let at = range.clone().find(|&at| kept_names.value(at) == name)?;
        Some(values.is_valid(at).then(|| values.value(at)))
    };
    names.iter().map(side).collect()
}

/// Positions of rows of a rejects table.
fn rejected(batch: &RecordBatch) -> impl Iterator<Item = (i32, i64)> {
    let partitions = batch.column(1).as_primitive::<Int32Type>().clone();
    let offsets = batch.column(2).as_primitive::<Int64Type>().clone();
    (0..batch.num_rows()).map(move |row| (partitions.value(row), offsets.value(row)))
}

fn positions(stream: &Stream, records: &RecordBatch) -> impl Iterator<Item = (i32, i64)> {
    let partitions = records.column(stream.partition_index()).as_primitive::<Int32Type>().clone();
    let offsets = records.column(stream.offset_index()).as_primitive::<Int64Type>().clone();
    (0..records.num_rows()).map(move |row| (partitions.value(row), offsets.value(row)))
}

/// Those that aren't beyond MAX FUTURE.
fn counted(stream: &Stream, records: &RecordBatch) -> RecordBatch {
    let Some(future) = crate::time::future(stream, records) else { return records.clone() };
    let counted = BooleanBuffer::collect_bool(future.len(), |row| !future.value(row));
    filter_record_batch(records, &BooleanArray::new(counted, None)).expect("the mask is as long as the batch")
}

/// Moves records from the rejects table into history, file by file, a checkpoint each.
struct Moving<'a> {
    publisher: Publisher,
    history: &'a TableName,
    name: TableName,
    /// What the next checkpoint goes on from.
    newest: Manifest,
    number: u64,
    found: Found,
    /// The history when nothing was moved yet.
    table: Table,
}

impl Moving<'_> {
    async fn take(&mut self, stream: &Stream, decoded: Decoded) -> Result<(), ArchiveError> {
        for records in &decoded.records {
            self.account(stream, records);
        }
        let cut = decoded.cut();
        let records = decoded.records.into_iter().map(|records| self.found.seen.fill(stream, records)).collect();
        let sort = layout::history(stream).sort;
        let rows = self.publisher.stage(self.history, &sort, records).await?;
        let tables = vec![
            TableChange {
                properties: self.properties(),
                ..staged_change(self.publisher.table(self.history), &rows, &[])
            },
            staged_change(self.publisher.table(&self.name), &[], &[cut]),
        ];
        let streams = self.newest.streams.clone();
        let fingerprint = self.newest.fingerprint.clone();
        let topics = self.newest.topics.clone();
        let next =
            manifest(&self.publisher, self.number, (streams, topics), (self.newest.watermark, fingerprint), tables);
        self.publisher.publish(next).await?;
        self.number += 1;
        Ok(())
    }

    /// What partitions have shown, and how many of their records are rejects, in the next checkpoint.
    fn account(&mut self, stream: &Stream, records: &RecordBatch) {
        // A history has one stream, whatever the job calls it.
        let Some(progress) = self.newest.streams.values_mut().next() else { return };
        for (partition, _) in positions(stream, records) {
            if let Some(at) = progress.get_mut(&partition) {
                at.rejected = at.rejected.saturating_sub(1);
                at.seen = at.seen.max(self.found.seen.greatest(partition));
            }
        }
    }

    fn properties(&self) -> BTreeMap<String, String> {
        let mut properties = BTreeMap::new();
        if let Some(Ok(mut stated)) = HistoryProgress::parse(self.table.properties()) {
            for (partition, at) in self.newest.streams.values().flatten() {
                stated.seen.insert(*partition, at.seen);
            }
            properties = stated.properties();
        }
        if self.found.until > EventTime::MIN {
            properties.insert(SEEN_ANEW.to_owned(), format_time(self.found.until));
        }
        properties
    }
}
