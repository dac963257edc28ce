//! What moving a job does to its results: what is published again, what nobody publishes, which late rows and rejects go.
//!
//! Late rows and rejects of records that are read again, and late for windows from the first one on, are replaced by what
//! the run says of them, in the checkpoint that takes the records: before that they stay, so that a move that is undone in
//! between has lost none. The run judges these records as before, as every record below the positions has an event time
//! below the first window's start, so that it can make nothing late that isn't. Rows of records below the positions, of
//! older windows and of other results stay: nobody would write them again.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Destination, Moving, RepositionError, Repositioning, ResultMove, dropped};
use crate::checkpoints::{Manifest, Newest, RepublishRange, StreamProgress, TableProperties, check_not_lost};
use crate::event::{EventTime, Micros, ResumeOffset, Stream, TableName};
use crate::iceberg::{IcebergError, OffsetCut, RowCut, ScanFile, ScanFilter, Table, count_cut, plan_files};
use crate::job::{Insert, Plan};
use crate::sinks::{PublishError, layout, rejects_table};
use crate::windows::{PublishRange, Published};

/// Works out what moving a job would do. Reads only; claims nothing, so a job that runs meanwhile may change the answer.
///
/// # Errors
/// When it would be refused.
pub async fn plan(moving: &Moving<'_>, destination: &Destination) -> Result<Repositioning, RepositionError> {
    let newest = moving.checkpoints.usable().await?.newest;
    destination.check_version(moving.plan, newest.manifest.as_ref())?;
    destination.check_windows(moving.plan)?;
    destination.check_held(moving.plan)?;
    for insert in &moving.plan.inserts {
        let Some(table) = moving.catalog.load(&insert.table).await? else { continue };
        if let Some(difference) = table.difference(&layout::result(insert)) {
            return Err(PublishError::Layout { table: insert.table.clone(), difference }.into());
        }
        check_owner(moving.plan, &table, &newest)?;
    }
    moves(moving, newest.manifest.as_ref(), destination).await
}

fn check_owner(plan: &Plan, table: &Table, newest: &Newest) -> Result<(), RepositionError> {
    let properties = properties(plan, table)?;
    check_not_lost(newest.id(), newest.abandoned, table.name(), properties.checkpoint).map_err(PublishError::from)?;
    match properties.owner {
        Some(owner) if owner != plan.name => {
            Err(PublishError::OtherOwner { table: table.name().clone(), owner }.into())
        }
        _ => Ok(()),
    }
}

/// As [`plan`], of a job that is known to be movable, with `newest` as its newest checkpoint.
pub(super) async fn moves(
    moving: &Moving<'_>,
    newest: Option<&Manifest>,
    destination: &Destination,
) -> Result<Repositioning, RepositionError> {
    let mut inserts = Vec::with_capacity(moving.plan.inserts.len());
    for insert in &moving.plan.inserts {
        inserts.push(result_move(moving, newest, destination, insert).await?);
    }
    let mut rejects = BTreeMap::new();
    for index in 0..moving.plan.streams.len() {
        let Some(name) = rejects_table(moving.plan, index) else { continue };
        let again = read_again(newest, destination, &moving.plan.streams[index].name);
        let cut = RowCut { positions: Some(again), ..layout::reject_rows_of(&moving.plan.streams[index]) };
        let count = count(moving, &name, &cut).await?;
        *rejects.entry(name.to_string()).or_default() += count;
    }
    let streams = moving.plan.streams.iter().map(|stream| {
        let stood = newest.and_then(|newest| newest.streams.get(&stream.name));
        let old = |partition: &i32| stood.and_then(|stood| stood.get(partition)).map(|at| at.next_offset);
        let positions = destination.positions(&stream.name).into_iter();
        (stream.name.clone(), positions.map(|(partition, new)| (partition, (old(&partition), new))).collect())
    });
    let of_windows = |insert: &&Insert| !insert.window.is_without_end();
    let first_windows = moving.plan.inserts.iter().filter(of_windows);
    let first_windows = first_windows.map(|insert| destination.first_window(&insert.table));
    Ok(Repositioning {
        checkpoint: newest.map(|newest| newest.id),
        streams: streams.collect(),
        dropped: dropped(newest),
        first_window: first_windows.min().unwrap_or(EventTime::MIN),
        inserts,
        rejects,
    })
}

async fn count(moving: &Moving<'_>, name: &TableName, cut: &RowCut) -> Result<u64, IcebergError> {
    match moving.catalog.load(name).await? {
        Some(table) => count_cut(&table, std::slice::from_ref(cut)).await,
        None => Ok(0),
    }
}

/// The records of a stream that were taken before and are read again, by partition.
pub(super) fn read_again(
    newest: Option<&Manifest>,
    destination: &Destination,
    stream: &str,
) -> BTreeMap<i32, OffsetCut> {
    let Some(newest) = newest else { return BTreeMap::new() };
    let mut taken: BTreeMap<i32, ResumeOffset> = newest.reread.get(stream).cloned().unwrap_or_default();
    for (&partition, at) in newest.streams.get(stream).into_iter().flatten() {
        let taken = taken.entry(partition).or_insert(at.next_offset);
        *taken = at.next_offset.max(*taken);
    }
    let positions = destination.positions(stream);
    let again = taken.into_iter().map(|(partition, to)| {
        let from = positions.get(&partition).copied().unwrap_or(ResumeOffset(0));
        (partition, OffsetCut { from, to })
    });
    again.filter(|(_, again)| again.from < again.to).collect()
}

/// Late rows of an INSERT over a stream that the run replaces.
fn late_cut(stream: &Stream, newest: Option<&Manifest>, destination: &Destination, insert: &Insert) -> RowCut {
    let from = match insert.window.is_without_end() && stood(newest, insert).is_some() {
        true => again_from(destination, insert),
        false => destination.first_window(&insert.table),
    };
    let windows = PublishRange::of_marks(from, EventTime::MAX);
    let again = read_again(newest, destination, &stream.name);
    RowCut { positions: Some(again), ..layout::late_rows(insert, stream, windows) }
}

/// What was published before of a result without a window, and isn't published again.
pub(super) fn published(
    newest: Option<&Manifest>,
    destination: &Destination,
    (plan, insert): (&Plan, &Insert),
) -> Option<Published> {
    let stood = stood(newest, insert).filter(|_| insert.window.is_without_end())?;
    let stream = plan.streams[insert.only_stream()].name.as_str();
    let none = StreamProgress::new();
    let mut below = stood.in_table(newest.and_then(|newest| newest.streams.get(stream)).unwrap_or(&none));
    // What is skipped on the way is a backfill's to give.
    for (partition, position) in destination.positions(stream) {
        let end = below.entry(partition).or_insert(position);
        *end = position.max(*end);
    }
    Some(Published { below, again_from: again_from(destination, insert) })
}

/// The event time from which on a result without a window is published again: a reset says it, and else it stays as it is.
fn again_from(destination: &Destination, insert: &Insert) -> EventTime {
    match destination {
        // Who wants cut-off windows too doesn't say which rows are of records below the positions, so none of them goes.
        Destination::Reset(positions) if destination.first_window(&insert.table) == EventTime::MIN => {
            let is_cut_off = positions.streams.values().flat_map(BTreeMap::values).any(|&at| at > ResumeOffset(0));
            if is_cut_off { EventTime::MAX } else { EventTime::MIN }
        }
        Destination::Reset(_) => destination.first_window(&insert.table),
        Destination::Upgrade(_) | Destination::Savepoint(_) => EventTime::MAX,
    }
}

/// Start of the first window that is published from now on. Without a window, the least event time: what the job has begun
/// with, or what it goes back to.
pub(super) fn first_window(newest: Option<&Manifest>, destination: &Destination, insert: &Insert) -> EventTime {
    let first = destination.first_window(&insert.table);
    match stood(newest, insert).filter(|_| insert.window.is_without_end()) {
        Some(stood) => first.min(stood.first_window),
        None => first,
    }
}

/// How many late rows of an INSERT the run replaces.
async fn late_count(
    moving: &Moving<'_>,
    newest: Option<&Manifest>,
    destination: &Destination,
    insert: &Insert,
) -> Result<u64, IcebergError> {
    let mut total = 0;
    for late in &insert.late {
        let cut = late_cut(&moving.plan.streams[late.stream], newest, destination, insert);
        total += count(moving, &late.table, &cut).await?;
    }
    Ok(total)
}

async fn result_move(
    moving: &Moving<'_>,
    newest: Option<&Manifest>,
    destination: &Destination,
    insert: &Insert,
) -> Result<ResultMove, RepositionError> {
    let (known, files) = match moving.catalog.load(&insert.table).await? {
        None => (TableProperties::default(), Vec::new()),
        Some(table) => (properties(moving.plan, &table)?, files(&table, insert).await?),
    };
    let from = match insert.window.is_without_end() && stood(newest, insert).is_some() {
        true => again_from(destination, insert),
        false => published_from(insert, destination),
    };
    let ends = files.iter().map(|file| file.upper.unwrap_or(EventTime::MAX).plus(Micros(1))).max();
    let sealed = stood(newest, insert).map_or(EventTime::MIN, |stood| stood.sealed_edge);
    let sealed = sealed.max(known.sealed_edge.unwrap_or(EventTime::MIN));
    // A drained job has sealed everything; one that goes on hasn't, beyond what there is.
    let (sealed_edge, ends_at) = match sealed {
        EventTime::MAX => {
            let edge = ends.map_or(EventTime::MIN, |ends| above(insert, ends));
            (edge, Some(edge.max(from)))
        }
        sealed => (sealed, None),
    };
    let behind = files.iter().map(|file| file.upper.map_or(EventTime::MAX, |upper| insert.range_after(upper))).max();
    // Backfills may have got up to the sealed edge or, before anything was sealed, to the first window.
    let first = known.first_window.unwrap_or(EventTime::MIN);
    let to = match insert.window.is_without_end() {
        true => behind.unwrap_or(EventTime::MIN),
        false => [behind.unwrap_or(EventTime::MIN), sealed_edge, first].into_iter().max().expect("there are three"),
    };
    let republish = (to > from).then_some(RepublishRange { from, to });
    let sealed_edge = match destination {
        Destination::Savepoint(savepoint) => {
            stood(Some(&savepoint.manifest), insert).map_or(sealed_edge, |kept| sealed_edge.max(kept.sealed_edge))
        }
        Destination::Reset(_) | Destination::Upgrade(_) => sealed_edge,
    };
    let rows = (files.iter().filter_map(|file| file.lower).min(), behind);
    let before = known.gaps.unwrap_or_default();
    let gaps = match destination {
        // What lies between was published by the same version before.
        Destination::Savepoint(_) => before,
        // It goes on where it was.
        Destination::Upgrade(_) if insert.window.is_without_end() => before,
        _ => match newest.and_then(|newest| gap(newest, insert, rows, from)) {
            Some(gap) => before.with(gap),
            None => before,
        },
    };
    Ok(ResultMove {
        table: insert.table.clone(),
        from,
        republish,
        partitions: republish.map_or_else(BTreeMap::new, |range| partitions(insert, &files, range)),
        gaps: gaps.below(from),
        late: late_count(moving, newest, destination, insert).await?,
        sealed_edge,
        ends_at,
    })
}

pub(super) fn properties(plan: &Plan, table: &Table) -> Result<TableProperties, RepositionError> {
    TableProperties::parse(&plan.name, table.properties())
        .map_err(|source| RepositionError::Property { table: table.name().clone(), source })
}

/// All files of a result, with the bounds of its time partition column.
pub(super) async fn files(table: &Table, insert: &Insert) -> Result<Vec<ScanFile>, IcebergError> {
    let column = insert.partitions[insert.range.partition].column.clone();
    let filter = ScanFilter { time: Some((column, EventTime::MIN..EventTime::MAX)), ..ScanFilter::default() };
    plan_files(table, None, &filter).await
}

/// The first partition edge at or above `time`.
pub(super) fn above(insert: &Insert, time: EventTime) -> EventTime {
    let transform = insert.range_transform();
    let floor = transform.floor(time);
    if floor == time { time } else { transform.next_edge(time) }
}

/// What a checkpoint says of an INSERT's result.
pub(super) fn stood<'a>(
    manifest: Option<&'a Manifest>,
    insert: &Insert,
) -> Option<&'a crate::checkpoints::InsertProgress> {
    manifest?.inserts.iter().find(|progress| progress.table == insert.table)
}

/// Least time of the windows that the run publishes.
fn published_from(insert: &Insert, destination: &Destination) -> EventTime {
    let first = insert.range_from(destination.first_window(&insert.table));
    match destination {
        Destination::Reset(_) | Destination::Upgrade(_) => first,
        // Older ones were published before it was made, and are what they were then.
        Destination::Savepoint(savepoint) => first.max(insert.settled_below(savepoint.manifest.watermark)),
    }
}

/// The windows between those that are published and those that will be. The rows that are there begin at one time, and
/// windows behind them at another.
fn gap(
    newest: &Manifest,
    insert: &Insert,
    (begins, behind): (Option<EventTime>, Option<EventTime>),
    from: EventTime,
) -> Option<Range<EventTime>> {
    let stood = stood(Some(newest), insert)?;
    let first = insert.range_from(stood.first_window);
    let reached = match stood.republish {
        Some(left) => left.from,
        None if newest.finished => behind.unwrap_or(first).max(first),
        None => insert.published_below(newest.watermark).max(first),
    };
    // All of them: those that the job knows of begin with the first one that is open or has rows.
    let open = first_open(newest, insert).map(|open| insert.range_from(open));
    let reached = match reached {
        EventTime::MIN => open.into_iter().chain(begins).min()?,
        reached => reached,
    };
    (reached < from).then_some(reached..from)
}

/// Start of the first window of an INSERT that is open.
fn first_open(newest: &Manifest, insert: &Insert) -> Option<EventTime> {
    let index = newest.inserts.iter().position(|progress| progress.table == insert.table)?;
    let files = newest.state.iter().filter(|file| file.insert == index);
    files.flat_map(|file| file.panes.iter().copied()).min()
}

fn partitions(insert: &Insert, files: &[ScanFile], range: RepublishRange) -> BTreeMap<EventTime, u64> {
    let mut partitions = BTreeMap::new();
    for file in files {
        let (lower, upper) = (file.lower.unwrap_or(range.from), file.upper.unwrap_or(EventTime::MAX));
        if upper >= range.from && lower < range.to {
            *partitions.entry(insert.range_transform().floor(lower)).or_default() += file.records;
        }
    }
    partitions
}
