//! Whether a range can be recomputed: its edges, its history, its completeness.

use std::ops::Range;
use std::sync::Arc;

use thiserror::Error;

use crate::checkpoints::STREAM;
use crate::event::{EventTime, SEEN, Stream, TableName};
use crate::iceberg::{Catalog, IcebergError, ScanFile, Table};
use crate::job::{Declaration, DeclarationError, Plan};
use crate::sinks::HistoryProgress;
use crate::sources::History;
use crate::windows::PublishRange;

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
    #[error("{table} was archived under another declaration of {stream}: {difference}; declare it as it was")]
    Declaration {
        /// The table.
        table: TableName,
        /// The stream.
        stream: String,
        /// In words.
        difference: String,
    },
    /// The declaration in the table can't be read.
    #[error("{table}: {source}")]
    UnreadableDeclaration {
        /// The table.
        table: TableName,
        /// What is wrong.
        source: DeclarationError,
    },
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
         [{whole_from}, {whole_to}); give that, or let `--widen` do it"
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
    /// History doesn't reach far enough.
    #[error(
        "history {table} isn't complete for the range: its watermark is {watermark}, but {needed} is needed for the last \
         windows of {result}{}; archive on, end the range at or before {last}, or take the end of history for the end of \
         the log with `--drain`", idle_text(.idle)
    )]
    Incomplete {
        /// The history.
        table: TableName,
        /// The result that needs more.
        result: TableName,
        /// As history says.
        watermark: EventTime,
        /// As the range needs.
        needed: EventTime,
        /// The last complete edge.
        last: EventTime,
        /// Partitions left out of the watermark.
        idle: Vec<i32>,
    },
    /// A table can't be read.
    #[error(transparent)]
    Iceberg(#[from] IcebergError),
}

fn idle_text(idle: &[i32]) -> String {
    match idle {
        [] => String::new(),
        idle => {
            let names: Vec<String> = idle.iter().map(ToString::to_string).collect();
            format!(" (idle partitions left out of it: {})", names.join(", "))
        }
    }
}

/// What a range covers, on the edges of every result's partitions.
pub async fn scope(plan: &Plan, catalog: &Catalog, requested: &Requested) -> Result<Scope, RangeError> {
    let range = on_edges(plan, requested)?;
    let windows: Vec<PublishRange> = plan.inserts.iter().map(|insert| insert.windows_in(&range)).collect();
    let mut histories = Vec::with_capacity(plan.streams.len());
    for (index, stream) in plan.streams.iter().enumerate() {
        let of_stream = plan.inserts.iter().zip(&windows).filter(|(insert, _)| insert.stream == index);
        let times: Vec<Range<EventTime>> = of_stream.map(|(insert, &windows)| insert.times_of(windows)).collect();
        let from = times.iter().map(|times| times.start).min().unwrap_or(EventTime::MAX);
        let to = times.iter().map(|times| times.end).max().unwrap_or(EventTime::MIN);
        histories.push(history(stream, catalog, from..to).await?);
    }
    Ok(Scope { range, windows, histories })
}

/// Checks that history is complete for every window of the scope.
pub fn check(plan: &Plan, scope: &Scope, requested: &Requested) -> Result<(), RangeError> {
    if requested.drain {
        return Ok(());
    }
    for insert in &plan.inserts {
        let history = &scope.histories[insert.stream];
        let needed = insert.complete_at(scope.range.end);
        if needed > history.watermark {
            return Err(RangeError::Incomplete {
                table: history.table.name().clone(),
                result: insert.table.clone(),
                watermark: history.watermark,
                needed,
                last: insert.sealed_edge(history.watermark),
                idle: history.idle.clone(),
            });
        }
    }
    Ok(())
}

/// The range, if it is on every result's edges, or grown to them.
fn on_edges(plan: &Plan, requested: &Requested) -> Result<Range<EventTime>, RangeError> {
    let mut range = requested.range.clone();
    loop {
        let before = range.clone();
        for insert in &plan.inserts {
            let transform = insert.range_transform();
            let from = transform.floor(range.start);
            let floor = transform.floor(range.end);
            let to = if floor == range.end { floor } else { transform.next_edge(range.end) };
            if (from..to) == range {
                continue;
            }
            if !requested.widen {
                return Err(RangeError::Edges {
                    table: insert.table.clone(),
                    partition: insert.partitions[insert.range.partition].to_string(),
                    from: range.start,
                    to: range.end,
                    whole_from: from,
                    whole_to: to,
                });
            }
            range = from..to;
        }
        // Edges of one result may cut partitions of another.
        if range == before {
            return Ok(range);
        }
    }
}

async fn history(stream: &Arc<Stream>, catalog: &Catalog, times: Range<EventTime>) -> Result<HistoryState, RangeError> {
    let Some(name) = &stream.history else {
        return Err(RangeError::NoHistory { stream: stream.name.clone() });
    };
    let Some(table) = catalog.load(name).await? else {
        return Err(RangeError::HistoryMissing { table: name.clone(), stream: stream.name.clone() });
    };
    let archived = table.arrow_schema()?.field_with_name(SEEN).is_ok();
    let files = History::files(&table, stream, &times).await?;
    let (watermark, idle) = if archived {
        let declared = check_declaration(&table, stream)?;
        match HistoryProgress::parse(table.properties()) {
            None => (EventTime::MIN, Vec::new()),
            Some(Ok(progress)) => progress.watermark_for(declared, stream.bound),
            Some(Err(source)) => return Err(RangeError::UnreadableProgress { table: name.clone(), source }),
        }
    } else {
        let all = History::files(&table, stream, &(EventTime::MIN..EventTime::MAX)).await?;
        let newest = all.iter().filter_map(|file| file.upper).max();
        (newest.map_or(EventTime::MIN, |newest| newest.minus(stream.bound)), Vec::new())
    };
    Ok(HistoryState { table, times, files, watermark, idle, archived })
}

/// The bound that the history was archived under, if the job reads the same records from it.
fn check_declaration(table: &Table, stream: &Stream) -> Result<crate::event::Micros, RangeError> {
    let name = table.name().clone();
    let refused =
        |difference: String| RangeError::Declaration { table: name.clone(), stream: stream.name.clone(), difference };
    let Some(text) = table.properties().get(STREAM) else {
        return Err(refused(format!("it has no property {STREAM}")));
    };
    let declared =
        Declaration::parse(text).map_err(|source| RangeError::UnreadableDeclaration { table: name.clone(), source })?;
    let difference = Declaration::of(stream).difference(&declared);
    if !difference.records.is_empty() || !difference.time.is_empty() {
        return Err(refused(difference.all().join("; ")));
    }
    Ok(crate::event::Micros(declared.bound_us))
}
