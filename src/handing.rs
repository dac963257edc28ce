//! A hand-over from history to a live run: up to which time backfills have published, and what history holds of the windows
//! behind that time, or behind any other from which on a job goes on. Writes nothing.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use thiserror::Error;

use crate::checkpoints::{STREAM, TableProperties};
use crate::event::{EventTime, Micros, ResumeOffset, SEEN, Stream, TableName};
use crate::iceberg::{Catalog, IcebergError, Table};
use crate::job::Plan;
use crate::sinks::HistoryProgress;
use crate::sources::{
    Agreement, Anew, AnewError, DisagreementError, History, HistoryEvent, HistoryOptions, agree, declaration,
};
use crate::start::{ArchivedPartition, HistoryFacts, StartError, StartPlace};

/// Files of history that are read at the same time.
const READERS: usize = 2;

/// Why a run can't take over from backfills.
#[derive(Debug, Error)]
pub enum HandOverError {
    /// No backfill has said up to where it has published.
    #[error(
        "no backfill has published complete windows to {table} yet, so there is nothing to go on from; run `kappa backfill \
         run` first, or start at a time with --start TIME"
    )]
    NotBackfilled {
        /// The result.
        table: TableName,
    },
    /// Results end at different times.
    #[error(
        "backfills have published {one} up to {one_to} but {other} up to {other_to}; backfill {other} from {other_to} to \
         {one_to} first, so that the job goes on from one time"
    )]
    Differ {
        /// A result.
        one: TableName,
        /// Where it ends.
        one_to: EventTime,
        /// One that ends earlier.
        other: TableName,
        /// Where it ends.
        other_to: EventTime,
    },
    /// A straggler may be anywhere in the log, so no place in it is behind all that backfills have published.
    #[error(
        "{table} is without a window: records of any time may have come since it was backfilled; start at the time up to which \
         it is, with --start {to}, and backfill the range below once more when the job has published its first checkpoint: that \
         brings those that came in between"
    )]
    WithoutWindow {
        /// The result.
        table: TableName,
        /// Up to where it is backfilled.
        to: EventTime,
    },
    /// A stream has no history, or it isn't there.
    #[error(
        "stream {stream} has no history to go on from; declare HISTORY FROM ICEBERG 'namespace.table' and fill it with `kappa \
         archive`, or start at a time with --start TIME"
    )]
    NoHistory {
        /// The stream.
        stream: String,
    },
    /// History was made by something else, or under another declaration.
    #[error("history {table} of {stream} can't be gone on from: {difference}; start at a time with --start TIME")]
    Unusable {
        /// The table.
        table: TableName,
        /// The stream.
        stream: String,
        /// In words.
        difference: String,
    },
    /// A property can't be read.
    #[error("{table}: {source}")]
    Property {
        /// The table.
        table: TableName,
        /// What is wrong.
        source: crate::checkpoints::PropertyError,
    },
    /// Log and history don't fit together.
    #[error(transparent)]
    Start(#[from] StartError),
    /// What decides lateness can't be found anew.
    #[error(transparent)]
    Anew(AnewError),
    /// A table can't be read.
    #[error(transparent)]
    Iceberg(#[from] IcebergError),
}

impl From<AnewError> for HandOverError {
    fn from(error: AnewError) -> HandOverError {
        match error {
            AnewError::Iceberg(error) => HandOverError::Iceberg(error),
            error => HandOverError::Anew(error),
        }
    }
}

/// The part of a history that comes before the log.
#[derive(Clone, Debug)]
pub struct Feed {
    /// The table, as it was when the beginning was worked out.
    pub table: Table,
    /// Event times that are read.
    pub times: Range<EventTime>,
    /// How rows are brought to the stream's declaration, where it differs from the history's own.
    pub anew: Option<Arc<Anew>>,
}

/// For each INSERT, the start of the first window that backfills haven't published.
///
/// # Errors
/// When there are none, or they differ.
pub async fn edges(plan: &Plan, catalog: &Catalog) -> Result<Vec<EventTime>, HandOverError> {
    let mut edges: Vec<(&TableName, EventTime)> = Vec::with_capacity(plan.inserts.len());
    for insert in &plan.inserts {
        let none = || HandOverError::NotBackfilled { table: insert.table.clone() };
        let table = catalog.load(&insert.table).await?.ok_or_else(none)?;
        let properties = TableProperties::parse(&plan.name, table.properties())
            .map_err(|source| HandOverError::Property { table: insert.table.clone(), source })?;
        edges.push((&insert.table, properties.backfilled_to.ok_or_else(none)?));
    }
    let (Some(&(one, one_to)), Some(&(other, other_to))) =
        (edges.iter().max_by_key(|edge| edge.1), edges.iter().min_by_key(|edge| edge.1))
    else {
        return Ok(Vec::new());
    };
    if one_to != other_to {
        let (one, other) = (one.clone(), other.clone());
        return Err(HandOverError::Differ { one, one_to, other, other_to });
    }
    if let Some(insert) = plan.inserts.iter().find(|insert| insert.window.is_without_end()) {
        return Err(HandOverError::WithoutWindow { table: insert.table.clone(), to: one_to });
    }
    if let Some(insert) = plan.inserts.iter().find(|insert| !insert.can_begin_at_an_edge()) {
        let table = insert.table.clone();
        return Err(match insert.begins_anywhere() {
            Some(window) => StartError::CutsInnerWindows { table, window: window.name() },
            None => StartError::CutsWindows { table, window: insert.window.name() },
        }
        .into());
    }
    Ok(plan.inserts.iter().zip(edges).map(|(insert, (_, edge))| insert.first_mark(edge)).collect())
}

/// What the history of a stream holds for windows that start at or after `first`, and the part of it that holds it.
///
/// # Errors
/// When there is no history of the stream that can be gone on from.
pub async fn facts(
    stream: &Arc<Stream>,
    catalog: &Catalog,
    first: EventTime,
    reach: Micros,
) -> Result<(HistoryFacts, Feed), HandOverError> {
    let none = || HandOverError::NoHistory { stream: stream.name.clone() };
    let name = stream.history.as_ref().ok_or_else(none)?;
    let table = catalog.load(name).await?.ok_or_else(none)?;
    let (agreement, progress, ends) = archived(&table, stream)?;
    let times = first.minus(reach)..EventTime::MAX;
    let anew = Anew::find(&table, stream, &agreement, times.start).await?.map(Arc::new);
    let feed = Feed { table, times, anew };
    let needed = first_needed(stream, &feed).await?;
    // What lies too far back to be found anew makes nothing late from there on.
    let seen = |partition: i32| match &feed.anew {
        Some(anew) => anew.seen.greatest(partition),
        None => progress.seen.get(&partition).copied().flatten(),
    };
    let partitions = ends.into_iter().map(|(partition, offset)| {
        let end = StartPlace { offset, seen: seen(partition) };
        (partition, ArchivedPartition { first_needed: needed.get(&partition).copied(), end })
    });
    let facts = HistoryFacts { from: first, whole_from: progress.whole_from, partitions: partitions.collect() };
    Ok((facts, feed))
}

/// How a stream agrees with its history, how far that is, and where it ends in each partition.
type Archived = (Agreement, HistoryProgress, BTreeMap<i32, ResumeOffset>);

/// How far an archived history is, and where it ends in each partition.
fn archived(table: &Table, stream: &Stream) -> Result<Archived, HandOverError> {
    let name = table.name().clone();
    let unusable =
        |difference: String| HandOverError::Unusable { table: name.clone(), stream: stream.name.clone(), difference };
    if table.arrow_schema()?.field_with_name(SEEN).is_err() {
        return Err(unusable("it wasn't made by `kappa archive`, so its rows have no positions".to_owned()));
    }
    let declared = declaration(table).map_err(|error| unusable(error.to_string()))?;
    let declared = declared.ok_or_else(|| unusable(format!("it has no property {STREAM}")))?;
    let agreement = agree(table, &declared, stream).map_err(|error| match error {
        DisagreementError::Other { difference, .. } => {
            unusable(format!("it was archived under another declaration: {difference}"))
        }
        error => unusable(error.to_string()),
    })?;
    let progress = HistoryProgress::parse(table.properties()).and_then(Result::ok);
    let progress = progress.ok_or_else(|| unusable("it doesn't say how far it is".to_owned()))?;
    let owner = format!("archive-{name}");
    let properties = TableProperties::parse(&owner, table.properties())
        .map_err(|source| HandOverError::Property { table: name.clone(), source })?;
    // One stream is archived to a history, whatever the job called it.
    let ends = properties.offsets.and_then(|offsets| offsets.into_values().next());
    Ok((agreement, progress, ends.ok_or_else(|| unusable("it doesn't say where it ends".to_owned()))?))
}

/// For each partition, the record of least offset in the feed.
async fn first_needed(stream: &Arc<Stream>, feed: &Feed) -> Result<BTreeMap<i32, StartPlace>, IcebergError> {
    let options = HistoryOptions {
        range: feed.times.clone(),
        columns: vec![stream.event_time, stream.partition_index(), stream.offset_index(), stream.seen_index()],
        readers: READERS,
        unseen: false,
        anew: feed.anew.clone(),
    };
    let mut history = History::open(&feed.table, stream, options).await?;
    let mut places = BTreeMap::new();
    while let Some(event) = history.next().await {
        match event {
            HistoryEvent::Records(records) => note_least(stream, &records, &mut places),
            HistoryEvent::FileRead(_) => {}
            HistoryEvent::Failed(error) => return Err(error),
        }
    }
    Ok(places)
}

fn note_least(stream: &Stream, records: &RecordBatch, places: &mut BTreeMap<i32, StartPlace>) {
    let partitions = records.column(stream.partition_index()).as_primitive::<Int32Type>();
    let offsets = records.column(stream.offset_index()).as_primitive::<Int64Type>();
    let seen = records.column(stream.seen_index()).as_primitive::<TimestampMicrosecondType>();
    for row in 0..records.num_rows() {
        let place = StartPlace {
            offset: ResumeOffset(offsets.value(row)),
            seen: seen.is_valid(row).then(|| EventTime(seen.value(row))),
        };
        let least = places.entry(partitions.value(row)).or_insert(place);
        if place.offset < least.offset {
            *least = place;
        }
    }
}
