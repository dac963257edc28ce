//! Going over to another version of a job: it begins where the old one had sealed everything, so that no window is half old
//! and half new; older windows stay as they are until a backfill brings them over.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::moves::{above, files, properties, stood};
use super::{Destination, Moving, Positions, RepositionError, Repositioned, execute, shared_edge};
use crate::checkpoints::Manifest;
use crate::event::{EventTime, LiveFace, Micros, ResumeOffset, Stream};
use crate::handing::{self, HandOverError};
use crate::job::Insert;
use crate::sources::{Identities, Logs, ask};
use crate::start::{Asked, Begin, Start, StartError, Vouched, begin, hand_over};

/// What an upgrade has done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// The job has no checkpoint: the first run is of the new version.
    NotBegun,
    /// The newest checkpoint is of the file's version already.
    UpToDate,
    /// The job goes on as the new version.
    Done(Box<Upgraded>),
}

/// A job that goes on as another version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgraded {
    /// Fingerprint of the old version.
    pub from: String,
    /// What was done.
    pub done: Repositioned,
    /// Windows of the old version that stay: backfilling them brings them to the new one. `None`: there are none.
    pub backfill: Option<Range<EventTime>>,
}

/// Goes over to the version of the job file, if the newest checkpoint is of another.
///
/// The first window of the new version is the first one at or above the sealed edges of all results, on a partition edge
/// that all of them share: below it nothing can change any more, so the old version has said all that it has to say. Windows
/// that a move before was publishing again are of it too. A result without a window has no sealed edge: of each record the
/// version tells that has read it first, so the new one goes on behind the last record of the old.
///
/// # Errors
/// When neither the logs nor history hold the first window any more (unless `vouched` for), tables don't fit the new
/// version, or as [`execute`].
pub async fn upgrade(moving: &Moving<'_>, logs: &Arc<dyn Logs>, vouched: Vouched) -> Result<Upgrade, RepositionError> {
    let usable = moving.checkpoints.usable().await?;
    let newest = match (usable.newest.manifest, usable.damages.into_iter().next()) {
        (Some(newest), _) => newest,
        (None, Some(damage)) => return Err(damage.into()),
        (None, None) => return Ok(Upgrade::NotBegun),
    };
    if newest.fingerprint == moving.plan.fingerprint {
        return Ok(Upgrade::UpToDate);
    }
    let edge = first_edge(moving, &newest).await?;
    let positions = positions(moving, logs, (&newest, edge), vouched).await?;
    // What is published from the beginning leaves nothing of the old version.
    let stays = |insert: &&Insert| {
        goes_on(&newest, insert) || positions.first_windows.get(&insert.table) != Some(&EventTime::MIN)
    };
    let inserts: Vec<Insert> = moving.plan.inserts.iter().filter(stays).cloned().collect();
    let done = execute(moving, &Destination::Upgrade(positions)).await?;
    let backfill = older(moving, &inserts, edge).await?;
    Ok(Upgrade::Done(Box::new(Upgraded { from: newest.fingerprint, done, backfill })))
}

/// The partition edge, of every result over windows, from which on the new version publishes; `None`: there are none.
async fn first_edge(moving: &Moving<'_>, newest: &Manifest) -> Result<Option<EventTime>, RepositionError> {
    let mut least: Option<EventTime> = None;
    for insert in moving.plan.inserts.iter().filter(|insert| !goes_on(newest, insert)) {
        let edge = sealed_edge(moving, newest, insert).await?;
        least = Some(least.map_or(edge, |least| least.min(edge)));
    }
    Ok(least.map(|least| shared_edge(moving.plan, least)))
}

/// Whether an INSERT has no window and goes on behind the last record that the old version has read.
fn goes_on(newest: &Manifest, insert: &Insert) -> bool {
    insert.window.is_without_end() && stood(Some(newest), insert).is_some()
}

/// Up to where an INSERT's result has been published for good.
async fn sealed_edge(moving: &Moving<'_>, newest: &Manifest, insert: &Insert) -> Result<EventTime, RepositionError> {
    let stood = stood(Some(newest), insert);
    let table = moving.catalog.load(&insert.table).await?;
    let (stated, ends) = match &table {
        None => (EventTime::MIN, None),
        Some(table) => {
            let files = files(table, insert).await?;
            let ends = files.iter().map(|file| file.upper.unwrap_or(EventTime::MAX).plus(Micros(1))).max();
            (properties(moving.plan, table)?.sealed_edge.unwrap_or(EventTime::MIN), ends)
        }
    };
    let known = stood.map_or(EventTime::MIN, |stood| stood.sealed_edge).max(stated);
    // A result that the old version didn't have begins with the others.
    let edge = if stood.is_some() { known } else { insert.sealed_edge(newest.watermark, EventTime::MIN) };
    let first = insert.range_from(stood.map_or(EventTime::MIN, |stood| stood.first_window));
    let edge = match edge {
        // Drained: sealed as far as it goes.
        EventTime::MAX => ends.map_or(first, |ends| above(insert, ends)),
        // Nothing is sealed yet: all that it has published is published again.
        EventTime::MIN => first,
        edge => edge,
    };
    Ok(match stood.and_then(|stood| stood.republish) {
        Some(left) => edge.min(left.from),
        None => edge,
    })
}

/// Where the logs, or histories of them, hold the first windows, those whose time is `edge` or later.
async fn positions(
    moving: &Moving<'_>,
    logs: &Arc<dyn Logs>,
    (newest, edge): (&Manifest, Option<EventTime>),
    vouched: Vouched,
) -> Result<Positions, RepositionError> {
    let inserts = &moving.plan.inserts;
    // What goes on where the old version stood counts in the topics that it has read.
    let identities = Identities::ask(logs, &moving.plan.streams, &newest.topics).await?;
    let mut positions = Positions { topics: identities.known().clone(), ..Positions::default() };
    for (index, stream) in moving.plan.streams.iter().enumerate() {
        let read_to = read_to(newest, (index, stream), inserts)?;
        for insert in inserts.iter().filter(|insert| insert.reads(index) && goes_on(newest, insert)) {
            let first = stood(Some(newest), insert).map_or(EventTime::MIN, |stood| stood.first_window);
            positions.first_windows.insert(insert.table.clone(), first);
        }
        let of_stream = || inserts.iter().filter(|insert| insert.reads(index) && !goes_on(newest, insert));
        let Some(edge) = edge.filter(|_| of_stream().next().is_some()) else {
            positions.streams.insert(stream.name.clone(), read_to.unwrap_or_default());
            continue;
        };
        let first = of_stream().map(|insert| insert.first_mark(edge)).min().unwrap_or(edge);
        let reach = of_stream().map(Insert::reach).max().unwrap_or_default();
        let answers = ask(logs, stream, start(stream, first), reach).await?;
        let asked = answers.asked(stream, vouched, moving.clock.now());
        let found = match begin(&asked) {
            Ok(Begin { places, whole_from, from_history }) => {
                let offsets = places.into_iter().map(|(partition, place)| (partition, place.offset)).collect();
                Found { offsets, whole_from, from_history }
            }
            // History isn't in the order of offsets, by which a result without a window goes on.
            Err(log @ (StartError::CutOff { .. } | StartError::Removed { .. }))
                if stream.history.is_some() && read_to.is_none() =>
            {
                find_in_history(moving, stream, &asked, first).await.map_err(|history| match history {
                    // It may pass.
                    HandOverError::Iceberg(error) => RepositionError::Iceberg(error),
                    history => RepositionError::NotHeld { log, history: Box::new(history) },
                })?
            }
            Err(error) => return Err(error.into()),
        };
        if found.from_history {
            positions.from_history.insert(stream.name.clone(), first);
        }
        let mut offsets = found.offsets;
        for (partition, at) in read_to.into_iter().flatten() {
            let first = offsets.entry(partition).or_insert(at);
            *first = at.min(*first);
        }
        positions.streams.insert(stream.name.clone(), offsets);
        for insert in of_stream() {
            let first = insert.first_mark(edge).max(insert.window.first_mark(found.whole_from));
            let known = positions.first_windows.entry(insert.table.clone()).or_insert(first);
            *known = first.max(*known);
        }
    }
    Ok(positions)
}

/// How far the old version has read a stream; `None`: nothing that goes on there reads it.
fn read_to(
    newest: &Manifest,
    (index, stream): (usize, &Stream),
    inserts: &[Insert],
) -> Result<Option<BTreeMap<i32, ResumeOffset>>, RepositionError> {
    let Some(insert) = inserts.iter().find(|insert| insert.reads(index) && goes_on(newest, insert)) else {
        return Ok(None);
    };
    let (table, name) = (insert.table.clone(), stream.name.clone());
    let progress = newest.streams.get(&stream.name).ok_or(RepositionError::StreamUnknown { table, stream: name })?;
    Ok(Some(progress.iter().map(|(&partition, at)| (partition, at.next_offset)).collect()))
}

/// Where the first windows of a stream begin.
struct Found {
    offsets: BTreeMap<i32, ResumeOffset>,
    /// Windows that start at or after it are whole.
    whole_from: EventTime,
    /// Whether the log doesn't hold these offsets any more.
    from_history: bool,
}

/// Where history holds the windows of a stream that start at or after `first`.
async fn find_in_history(
    moving: &Moving<'_>,
    stream: &Arc<Stream>,
    asked: &Asked<'_>,
    first: EventTime,
) -> Result<Found, HandOverError> {
    let (facts, _) = handing::facts(stream, moving.catalog, first, asked.reach).await?;
    let Begin { whole_from, from_history, .. } = hand_over(asked, &facts)?;
    // Not where the log takes over: records from here on are judged anew, and what was said of them is replaced.
    let offset = |partition| {
        let archived = facts.partitions.get(partition);
        archived.map_or(ResumeOffset(0), |archived| archived.first_needed.unwrap_or(archived.end).offset)
    };
    let offsets = asked.log.keys().map(|partition| (*partition, offset(partition))).collect();
    Ok(Found { offsets, whole_from, from_history })
}

/// A log that can't be looked up by time is read whole.
fn start(stream: &Stream, first_window: EventTime) -> Start {
    let is_file = matches!(stream.live, LiveFace::File { .. });
    match is_file || first_window == EventTime::MIN || stream.max_future.is_none() {
        true => Start::Earliest,
        false => Start::Time(first_window),
    }
}

/// The published windows of `inserts` below `edge`, on partition edges that all results share; without an edge, all that is
/// published.
async fn older(
    moving: &Moving<'_>,
    inserts: &[Insert],
    edge: Option<EventTime>,
) -> Result<Option<Range<EventTime>>, RepositionError> {
    let (mut least, mut greatest): (Option<EventTime>, Option<EventTime>) = (None, None);
    for insert in inserts {
        let Some(table) = moving.catalog.load(&insert.table).await? else { continue };
        let files = files(&table, insert).await?;
        let lower = files.iter().filter_map(|file| file.lower).min();
        least = [least, lower].into_iter().flatten().min();
        let behind = files.iter().filter_map(|file| file.upper).max();
        greatest = greatest.max(behind.map(|upper| above(insert, upper.plus(Micros(1)))));
    }
    let from = least.map(|least| shared_edge(moving.plan, least));
    let to = edge.or(greatest).unwrap_or(EventTime::MIN);
    Ok(from.filter(|&from| from < to).map(|from| from..to))
}
