//! Whether a range can be recomputed: its edges, its history, its completeness.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::DataType;
use thiserror::Error;

use crate::checkpoints::{PropertyError, STREAM, TableProperties};
use crate::event::{EventTime, ResumeOffset, SEEN, Stream, TableName};
use crate::iceberg::{Catalog, IcebergError, ScanFile, Table};
use crate::job::{Insert, Plan};
use crate::sinks::HistoryProgress;
use crate::sources::{Anew, AnewError, DisagreementError, History, agree, declaration};
use crate::windows::{Others, Places, PublishRange};

/// A range of a job's results, as asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requested {
    /// Of the time partition column of every result.
    pub range: Range<EventTime>,
    /// Grow the range to the results' partition edges, instead of refusing one that isn't on them.
    pub widen: bool,
    /// The end of history counts as the end of the log: windows that are open there are whole.
    pub drain: bool,
}

/// What a recomputation covers: the windows of each INSERT, and the history of each stream.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The range, on partition edges.
    pub range: Range<EventTime>,
    /// For each INSERT.
    pub windows: Vec<PublishRange>,
    /// For each stream that an INSERT reads.
    pub histories: Vec<HistoryState>,
    /// For each INSERT.
    pub results: Vec<ResultState>,
}

/// A result table, as it was when the scope was made, and which records are a live job's to say something of.
#[derive(Clone, Debug, Default)]
pub struct ResultState {
    /// The table, if it is there.
    pub base: Option<Table>,
    /// Without a window: what a live job publishes, beside what is in `base`.
    pub places: Places,
    /// By stream and partition, the offset from which on late rows are the live job's. Without the stream: no live job says any
    /// of the range.
    pub late_below: BTreeMap<usize, BTreeMap<i32, ResumeOffset>>,
}

impl Scope {
    /// How far the histories of all streams that an INSERT reads are complete.
    pub fn watermark_of(&self, insert: &Insert) -> EventTime {
        insert.streams().map(|stream| self.histories[stream].watermark).min().unwrap_or(EventTime::MIN)
    }

    /// From where on they have all records.
    pub(super) fn complete_from(&self, insert: &Insert) -> EventTime {
        insert.streams().map(|stream| self.histories[stream].complete_from).max().unwrap_or(EventTime::MIN)
    }
}

/// The history of one stream, as it was when the scope was made.
#[derive(Clone, Debug)]
pub struct HistoryState {
    /// The table.
    pub table: Table,
    /// Event times that are read.
    pub times: Range<EventTime>,
    /// Files that may hold them, by their least event time.
    pub files: Vec<ScanFile>,
    /// How far it is complete, for the job's bound.
    pub watermark: EventTime,
    /// Partitions that were left out of the watermark, as they were idle.
    pub idle: Vec<i32>,
    /// Whether `kappa archive` wrote it. A foreign table has no positions: then nothing is late.
    pub archived: bool,
    /// How rows are brought to the stream's declaration, where it differs from the history's own.
    pub anew: Option<Arc<Anew>>,
    /// By partition, where it ends; empty for a table that something else has made.
    pub ends: BTreeMap<i32, ResumeOffset>,
    /// All records with an event time from here on are in it and are read. [`EventTime::MAX`]: nothing tells since when.
    pub complete_from: EventTime,
}

impl HistoryState {
    /// Where it ends in a partition.
    fn end(&self, partition: i32) -> ResumeOffset {
        self.ends.get(&partition).copied().unwrap_or(ResumeOffset(0))
    }
}

/// Why a range can't be recomputed.
#[derive(Debug, Error)]
pub enum RangeError {
    /// The stream declares no history.
    #[error(
        "stream {stream} has no HISTORY FROM clause, so there is nothing to recompute from; add HISTORY FROM ICEBERG 'namespace.table' and archive it"
    )]
    NoHistory {
        /// The stream.
        stream: String,
    },
    /// The history isn't there.
    #[error("history {table} of stream {stream} doesn't exist; fill it with `kappa archive`")]
    HistoryMissing {
        /// The table.
        table: TableName,
        /// The stream.
        stream: String,
    },
    /// The history was made under a declaration that accepts other records.
    #[error(transparent)]
    Disagreement(#[from] DisagreementError),
    /// The history doesn't say what it was made under.
    #[error(
        "{table} has columns of a history, but no property {STREAM}, so something else has made it: name another table"
    )]
    Undeclared {
        /// The table.
        table: TableName,
    },
    /// What decides lateness can't be found anew.
    #[error(transparent)]
    Anew(#[from] AnewError),
    /// The progress in the table can't be read.
    #[error("{table} doesn't say how far it is complete ({source}); archive to it again with this version of kappa")]
    UnreadableProgress {
        /// The table.
        table: TableName,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The range cuts partitions.
    #[error(
        "the range [{from}, {to}) cuts partitions of {table}, which is partitioned by {partition}: the nearest whole range is \
         [{whole_from}, {whole_to}); give that, or let --widen do it"
    )]
    Edges {
        /// The result.
        table: TableName,
        /// Its time transform.
        partition: String,
        /// As asked for.
        from: EventTime,
        /// As asked for.
        to: EventTime,
        /// On an edge.
        whole_from: EventTime,
        /// On an edge.
        whole_to: EventTime,
    },
    /// A table that something else made lacks columns of the stream, or has others.
    #[error("{table} can't be read as the history of {stream}: {difference}; declare its columns as they are there")]
    Columns {
        /// The table.
        table: TableName,
        /// The stream.
        stream: String,
        /// In words.
        difference: String,
    },
    /// History doesn't reach far enough.
    #[error("{0}")]
    Incomplete(Box<Incomplete>),
    /// A live job has taken records that history hasn't got.
    #[error(
        "{result} holds what the live job has made of partition {partition} up to offset {needed}, and history {table} \
         ends at {end}; archive on, so that nothing of it is lost"
    )]
    BehindLive {
        /// The history.
        table: TableName,
        /// The result.
        result: TableName,
        /// The partition.
        partition: i32,
        /// Where history ends.
        end: i64,
        /// Where the live job was.
        needed: i64,
    },
    /// A live job has published records whose places history doesn't tell.
    #[error(
        "{result} is without a window and belongs to a live job: its rows are told from what a backfill gives by their \
         offsets, and {table} has none, as it wasn't made by `kappa archive`"
    )]
    NoPositions {
        /// The history.
        table: TableName,
        /// The result.
        result: TableName,
    },
    /// A live job has claimed a result without a window, and not said yet where it begins.
    #[error("a live job has claimed {result}, but published nothing yet; wait for its first checkpoint")]
    NotPublished {
        /// The result.
        result: TableName,
    },
    /// Properties of a result can't be read.
    #[error("{table}: {source}")]
    Property {
        /// The table.
        table: TableName,
        /// What is wrong.
        source: PropertyError,
    },
    /// A table can't be read.
    #[error(transparent)]
    Iceberg(#[from] IcebergError),
}

/// How far a history is from what a range needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incomplete {
    /// The history.
    pub table: TableName,
    /// The result that needs more.
    pub result: TableName,
    /// The range that was asked for.
    pub range: Range<EventTime>,
    /// As history says.
    pub watermark: EventTime,
    /// As the range needs.
    pub needed: EventTime,
    /// The last complete edge.
    pub last: EventTime,
    /// Partitions left out of the watermark.
    pub idle: Vec<i32>,
}

impl std::fmt::Display for Incomplete {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Incomplete { table, result, watermark, needed, last, .. } = self;
        write!(f, "history {table} isn't complete for the range: ")?;
        match *watermark {
            EventTime::MIN => f.write_str("it is complete up to no time yet")?,
            watermark => write!(f, "it is complete up to {watermark}")?,
        }
        if !self.idle.is_empty() {
            let names: Vec<String> = self.idle.iter().map(ToString::to_string).collect();
            write!(f, " (idle partitions left out of that: {})", names.join(", "))?;
        }
        write!(f, ", and the last windows of {result} need {needed}; archive on")?;
        if *last > self.range.start {
            write!(f, ", end the range at {last}")?;
        }
        f.write_str(", or take the end of history for the end of the log with --drain")
    }
}

/// What a range covers, on the edges of every result's partitions.
pub async fn scope(plan: &Plan, catalog: &Catalog, requested: &Requested) -> Result<Scope, RangeError> {
    covering(plan, catalog, on_edges(plan, requested)?).await
}

/// What a range covers, wherever its ends are: the windows whose range column lies in it.
pub async fn covering(plan: &Plan, catalog: &Catalog, range: Range<EventTime>) -> Result<Scope, RangeError> {
    let windows: Vec<PublishRange> = plan.inserts.iter().map(|insert| insert.windows_in(&range)).collect();
    let mut histories = Vec::with_capacity(plan.streams.len());
    for (index, stream) in plan.streams.iter().enumerate() {
        let of_stream = plan.inserts.iter().zip(&windows).filter(|(insert, _)| insert.reads(index));
        let times: Vec<Range<EventTime>> = of_stream.map(|(insert, &windows)| insert.times_of(windows)).collect();
        let from = times.iter().map(|times| times.start).min().unwrap_or(EventTime::MAX);
        let to = times.iter().map(|times| times.end).max().unwrap_or(EventTime::MIN);
        histories.push(history(stream, catalog, from..to).await?);
    }
    let mut results = Vec::with_capacity(plan.inserts.len());
    for insert in &plan.inserts {
        results.push(result(plan, insert, catalog, (&histories, &range)).await?);
    }
    Ok(Scope { range, windows, histories, results })
}

/// Checks that history is complete for every window of the scope. With `drain` its end is the end of the log, so it is.
pub fn check(plan: &Plan, scope: &Scope, drain: bool) -> Result<(), RangeError> {
    if drain {
        return Ok(());
    }
    let inserts = plan.inserts.iter().zip(&scope.results);
    // Beside a live job history has all that that one has taken, which is all that is wanted without a window.
    let inserts = inserts.filter(|(_, result)| result.places.others.is_none()).map(|(insert, _)| insert);
    for (insert, stream) in inserts.flat_map(|insert| insert.streams().map(move |stream| (insert, stream))) {
        let history = &scope.histories[stream];
        let needed = match insert.complete_at(scope.range.end) {
            // Where no watermark tells, it shows when they are computed.
            EventTime::MAX => scope.range.end.plus(insert.reach()),
            needed => needed,
        };
        if needed > history.watermark {
            return Err(RangeError::Incomplete(Box::new(Incomplete {
                table: history.table.name().clone(),
                result: insert.table.clone(),
                range: scope.range.clone(),
                watermark: history.watermark,
                needed,
                last: insert.sealed_edge(history.watermark, EventTime::MIN),
                idle: history.idle.clone(),
            })));
        }
    }
    Ok(())
}

/// The range, if it is on every result's edges, or grown to them.
fn on_edges(plan: &Plan, requested: &Requested) -> Result<Range<EventTime>, RangeError> {
    let asked = &requested.range;
    let whole = grown(plan, asked);
    if requested.widen || whole == *asked {
        return Ok(whole);
    }
    let cut = plan.inserts.iter().find(|insert| grown_for(insert, asked) != *asked);
    let insert = cut.expect("a range that grows cuts a partition of some result");
    Err(RangeError::Edges {
        table: insert.table.clone(),
        partition: insert.partitions[insert.range.partition].to_string(),
        from: asked.start,
        to: asked.end,
        whole_from: whole.start,
        whole_to: whole.end,
    })
}

/// The least range on the partition edges of every result that holds `range`.
fn grown(plan: &Plan, range: &Range<EventTime>) -> Range<EventTime> {
    let mut range = range.clone();
    loop {
        let before = range.clone();
        for insert in &plan.inserts {
            range = grown_for(insert, &range);
        }
        // Edges of one result may cut partitions of another.
        if range == before {
            return range;
        }
    }
}

fn grown_for(insert: &Insert, range: &Range<EventTime>) -> Range<EventTime> {
    let transform = insert.range_transform();
    let floor = transform.floor(range.end);
    let to = if floor == range.end { floor } else { transform.next_edge(range.end) };
    transform.floor(range.start)..to
}

/// A result, and what of it is a live job's.
async fn result(
    plan: &Plan,
    insert: &Insert,
    catalog: &Catalog,
    (histories, range): (&[HistoryState], &Range<EventTime>),
) -> Result<ResultState, RangeError> {
    let Some(base) = catalog.load(&insert.table).await? else { return Ok(ResultState::default()) };
    let properties = TableProperties::parse(&plan.name, base.properties())
        .map_err(|source| RangeError::Property { table: insert.table.clone(), source })?;
    let taken = |stream: usize| match insert.window.is_without_end() {
        true => properties.in_table.as_ref(),
        false => properties.offsets.as_ref().and_then(|offsets| offsets.get(&plan.streams[stream].name)),
    };
    // Of windows before its first the live job says nothing. What history lacks stays as the live job has said it.
    let is_live = properties.first_window.is_none_or(|first| range.end > first);
    let archived = insert.streams().filter(|&stream| is_live && histories[stream].archived);
    let late_below = archived.filter_map(|stream| {
        let below =
            taken(stream)?.iter().map(|(&partition, &at)| (partition, at.min(histories[stream].end(partition))));
        Some((stream, below.collect()))
    });
    let late_below = late_below.collect();
    let mut places = Places::default();
    if insert.window.is_without_end() {
        let stream = insert.only_stream();
        places.others = live(insert, &properties, taken(stream), &histories[stream])?;
    }
    Ok(ResultState { base: Some(base), places, late_below })
}

/// The records of a result without a window that are a live job's, which has `taken` all below.
fn live(
    insert: &Insert,
    properties: &TableProperties,
    taken: Option<&BTreeMap<i32, ResumeOffset>>,
    history: &HistoryState,
) -> Result<Option<Others>, RangeError> {
    let (table, result) = (history.table.name().clone(), insert.table.clone());
    let Some(taken) = taken else {
        return match properties.generation {
            Some(_) => Err(RangeError::NotPublished { result }),
            None => Ok(None),
        };
    };
    if !history.archived {
        return Err(RangeError::NoPositions { table, result });
    }
    if let Some((&partition, &needed)) = taken.iter().find(|(partition, taken)| **taken > history.end(**partition)) {
        let (end, needed) = (history.end(partition).0, needed.0);
        return Err(RangeError::BehindLive { table, result, partition, end, needed });
    }
    Ok(Some(Others { time: properties.first_window.unwrap_or(EventTime::MIN), offsets: taken.clone() }))
}

/// Where an archived history ends in each partition.
fn history_ends(table: &Table, name: &TableName) -> Result<BTreeMap<i32, ResumeOffset>, RangeError> {
    let owner = format!("archive-{name}");
    let properties = TableProperties::parse(&owner, table.properties())
        .map_err(|source| RangeError::Property { table: name.clone(), source })?;
    // One stream is archived to a history, whatever the job called it.
    Ok(properties.offsets.and_then(|offsets| offsets.into_values().next()).unwrap_or_default())
}

async fn history(stream: &Arc<Stream>, catalog: &Catalog, times: Range<EventTime>) -> Result<HistoryState, RangeError> {
    let Some(name) = &stream.history else {
        return Err(RangeError::NoHistory { stream: stream.name.clone() });
    };
    let Some(table) = catalog.load(name).await? else {
        return Err(RangeError::HistoryMissing { table: name.clone(), stream: stream.name.clone() });
    };
    let archived = table.arrow_schema()?.field_with_name(SEEN).is_ok();
    let agreement = match (archived, declaration(&table)?) {
        (false, _) => None,
        (true, Some(declared)) => Some(agree(&table, &declared, stream)?),
        (true, None) => return Err(RangeError::Undeclared { table: name.clone() }),
    };
    let added = agreement.as_ref().map_or(&[][..], |agreement| &agreement.added);
    check_columns(&table, stream, added)?;
    let files = History::files(&table, stream, &times).await?;
    let anew = match &agreement {
        Some(agreement) => Anew::find(&table, stream, agreement, times.start).await?.map(Arc::new),
        None => None,
    };
    let (watermark, idle) = match &agreement {
        Some(agreement) => match HistoryProgress::parse(table.properties()) {
            None => (EventTime::MIN, Vec::new()),
            Some(Ok(progress)) => match &anew {
                None => progress.watermark_for(agreement.bound, stream.bound),
                // Rows too old for the range show nothing, and their partitions are not complete for it.
                Some(anew) => {
                    progress.watermark_by(agreement.bound, stream.bound, |partition, _| anew.seen.greatest(partition))
                }
            },
            Some(Err(source)) => return Err(RangeError::UnreadableProgress { table: name.clone(), source }),
        },
        None => {
            let all = History::files(&table, stream, &(EventTime::MIN..EventTime::MAX)).await?;
            let newest = all.iter().filter_map(|file| file.upper).max();
            (newest.map_or(EventTime::MIN, |newest| newest.minus(stream.bound)), Vec::new())
        }
    };
    let whole_from = match HistoryProgress::parse(table.properties()) {
        Some(Ok(progress)) => progress.whole_from.unwrap_or(EventTime::MAX),
        // Something else made it, or it is empty.
        _ => EventTime::MIN,
    };
    let complete_from = whole_from.max(times.start);
    let ends = if archived { history_ends(&table, name)? } else { BTreeMap::new() };
    Ok(HistoryState { table, times, files, watermark, idle, archived, anew, ends, complete_from })
}

/// Whether the table has every declared column, but those that it tells by others, of its declared type: somebody else may
/// have made or changed it.
fn check_columns(table: &Table, stream: &Stream, added: &[String]) -> Result<(), RangeError> {
    let found = table.arrow_schema()?;
    let differences = stream.columns.iter().filter_map(|column| {
        let (name, declared) = (&column.name, &column.column_type);
        match found.field_with_name(name) {
            Err(_) if added.contains(name) => None,
            Err(_) => Some(format!("it has no column `{name}`, declared {declared}")),
            Ok(field) if is_same(field.data_type(), &declared.arrow()) => None,
            Ok(field) => Some(format!("its column `{name}` is {}, declared {declared}", field.data_type())),
        }
    });
    let differences: Vec<String> = differences.collect();
    if differences.is_empty() {
        return Ok(());
    }
    Err(RangeError::Columns {
        table: table.name().clone(),
        stream: stream.name.clone(),
        difference: differences.join("; "),
    })
}

/// Whether two types hold the same values; field ids and what may be null inside don't matter.
fn is_same(left: &DataType, right: &DataType) -> bool {
    match (left, right) {
        (DataType::List(left), DataType::List(right)) => is_same(left.data_type(), right.data_type()),
        (DataType::Struct(left), DataType::Struct(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| left.name() == right.name() && is_same(left.data_type(), right.data_type()))
        }
        (left, right) => left == right,
    }
}
