//! Doing it: one checkpoint that no engine has made.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat};
use futures::TryStreamExt;

use super::moves::{first_window, moves, published, read_again, stood};
use super::standing::stands;
use super::{Destination, Moving, RepositionError, Repositioned, Repositioning, ResultMove};
use crate::checkpoints::{
    CheckpointError, Claimant, ClaimedTable, GAPS, HeldFile, InsertProgress, Manifest, PartitionProgress, REPUBLISH,
    Savepoint, SavepointLabel, SavepointName, StateContent, StateFile, StreamProgress, TableChange, TableProperties,
    Version,
};
use crate::event::{EventTime, Stream, TableName};
use crate::iceberg::{RowCut, ScanFile, StagedFile, Table, read_file};
use crate::job::explain::describe;
use crate::job::{Insert, Plan};
use crate::sinks::{PublishError, Publisher, Taken, Target, file_value, layout, staged_change, take, targets};
use crate::state::encode as encode_state;
use crate::vitals::Vitals;

/// Savepoints of one second at most, before their names run out.
const NAMES_MAX: usize = 100;

/// Moves a job that isn't running: refused while another process runs it, unless that is to be taken over; a run that goes
/// on unheard of is fenced. How it stood is kept as a savepoint first. Idempotent in its effect: given again after a crash, it does what is left or all of
/// it.
///
/// # Errors
/// When it is refused, or store or tables fail; then the job stands where it stood, or, once the new checkpoint is put, the
/// next run finishes it.
pub async fn execute(moving: &Moving<'_>, destination: &Destination) -> Result<Repositioned, RepositionError> {
    // Before the claim, which would stop a run of the other version.
    let known = moving.checkpoints.usable().await?.newest;
    destination.check_version(moving.plan, known.manifest.as_ref())?;
    destination.check_windows(moving.plan)?;
    destination.check_held(moving.plan)?;
    // Another version may have more columns.
    let evolve = matches!(destination, Destination::Upgrade(_));
    let targets: Vec<Target> = targets(moving.plan).into_iter().map(|target| Target { evolve, ..target }).collect();
    let claimant = Claimant {
        // What was taken out of its tables is published again from where it is reset to.
        accepts_rollback: matches!(destination, Destination::Reset(_)),
        take_over: moving.take_over,
        falls_back: true,
        ..Claimant::new(moving.clock.clone())
    };
    let vitals = Vitals::new(moving.clock);
    let taken = take(moving.catalog, moving.checkpoints, &claimant, &targets, &vitals).await?;
    let heartbeat = taken.heartbeat().clone();
    let moved = tokio::select! {
        moved = move_taken(moving, destination, taken, Before::Keep(&targets)) => moved,
        // Finishing the newest checkpoint may take as long as an outage does.
        newer = heartbeat.fenced() => Err(PublishError::from(newer).into()),
    };
    heartbeat.release().await;
    moved
}

/// What is done before a job is moved.
#[derive(Clone, Copy, Debug)]
pub(super) enum Before<'a> {
    /// How it stands is kept as a savepoint, and its tables are widened where they may be.
    Keep(&'a [Target]),
    /// Nothing: what it goes back to is all that there is.
    Nothing,
}

/// Moves a job that is claimed.
pub(super) async fn move_taken(
    moving: &Moving<'_>,
    destination: &Destination,
    taken: Taken,
    before: Before<'_>,
) -> Result<Repositioned, RepositionError> {
    if taken.newest().is_behind() {
        taken.check_whole()?;
    }
    let newest = stands(moving, &taken, destination).await?;
    let kept = taken.newest().manifest.clone();
    destination.check_version(moving.plan, newest.as_ref())?;
    // The newest one is continued and its commits are finished, so that at any moment there is a checkpoint to go on from:
    // that one, and then the one below.
    let mut publisher = taken.begin().await?;
    let mut savepoint = None;
    if let Before::Keep(targets) = before {
        for target in targets.iter().filter(|target| target.evolve) {
            publisher.evolve(target, &BTreeMap::new()).await?;
        }
        if let Some(kept) = &kept {
            savepoint = keep(moving, kept, destination.reason()).await?;
        }
    }
    let moves = moves(moving, newest.as_ref(), destination).await?;
    let (state, held) = match destination {
        Destination::Savepoint(savepoint) => {
            (copy_state(moving, savepoint, &publisher).await?, stage_held(moving.plan, savepoint, &publisher).await?)
        }
        Destination::Reset(_) | Destination::Upgrade(_) => (Vec::new(), Vec::new()),
    };
    let new = Manifest { state, held, ..manifest(moving.plan, &publisher, newest.as_ref(), destination, &moves) };
    let checkpoint = new.id;
    publisher.publish(new).await?;
    Ok(Repositioned { moves, savepoint, checkpoint })
}

/// Keeps how the job stands, under a name of its own. `None`: its state is damaged, so there is nothing to go back to.
async fn keep(moving: &Moving<'_>, newest: &Manifest, reason: &str) -> Result<Option<SavepointName>, RepositionError> {
    let legs = moving.plan.state_columns();
    let version = Version { fingerprint: &moving.plan.fingerprint, legs: &legs };
    let now = moving.clock.now();
    let time = DateTime::from_timestamp_micros(now.0).unwrap_or_default();
    let time = time.to_rfc3339_opts(SecondsFormat::Secs, true).replace(['-', ':'], "").to_ascii_lowercase();
    let base = format!("before-{reason}-{time}");
    for number in 1..=NAMES_MAX {
        let text = if number == 1 { base.clone() } else { format!("{base}-{number}") };
        let label = SavepointLabel {
            name: text.parse().expect("digits and small letters"),
            created: now,
            reason: format!("how the job stood before a {reason}"),
        };
        match moving.checkpoints.keep(&label, newest, &version).await {
            Ok(savepoint) => return Ok(Some(savepoint.name)),
            Err(CheckpointError::SavepointTaken { .. }) if number < NAMES_MAX => {}
            Err(error) if error.is_damage() => {
                tracing::warn!("how the job stood isn't kept as a savepoint: {}", error.flaw());
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
    }
    unreachable!("the last name gives its error back")
}

/// State files of a savepoint as this run's own.
async fn copy_state(
    moving: &Moving<'_>,
    savepoint: &Savepoint,
    publisher: &Publisher,
) -> Result<Vec<StateFile>, RepositionError> {
    let mut copied = Vec::with_capacity(savepoint.manifest.state.len());
    for (number, file) in savepoint.manifest.state.iter().enumerate() {
        let panes = moving.checkpoints.panes(file).await?;
        let rows = panes.iter().map(|(_, rows)| rows.num_rows() as u64).sum();
        let unreadable = |source| CheckpointError::State { path: file.path.clone(), source };
        let bytes = Bytes::from(encode_state(&panes).map_err(unreadable)?);
        let content = StateContent { rows, insert: file.insert, leg: file.leg, panes: file.panes.clone() };
        copied.push(publisher.put_state(1, &format!("savepoint-{number}"), bytes, content).await?);
    }
    Ok(copied)
}

/// Rows that waited for their partition, in files of their own: the old ones may have been published since.
async fn stage_held(
    plan: &Plan,
    savepoint: &Savepoint,
    publisher: &Publisher,
) -> Result<Vec<HeldFile>, RepositionError> {
    let mut staged = Vec::new();
    for held in &savepoint.manifest.held {
        let Some(insert) = plan.inserts.iter().find(|insert| insert.table == held.table) else { continue };
        let rows = held_rows(savepoint, held, publisher.table(&held.table)).await?;
        for file in publisher.stage(&held.table, &layout::result(insert).sort, rows).await? {
            let file = file_value(&file);
            staged.push(HeldFile { file, ..held.clone() });
        }
    }
    Ok(staged)
}

/// Rows of a savepoint that wait for their partition.
pub(super) async fn held_rows(
    savepoint: &Savepoint,
    held: &HeldFile,
    table: &Table,
) -> Result<Vec<RecordBatch>, RepositionError> {
    let gone = |source: Box<dyn std::error::Error + Send + Sync>| RepositionError::HeldRows {
        savepoint: savepoint.name.clone(),
        table: held.table.clone(),
        source,
    };
    let file: StagedFile = serde_json::from_value(held.file.clone()).map_err(|error| gone(error.into()))?;
    let columns: Vec<String> = table.arrow_schema()?.fields().iter().map(|field| field.name().clone()).collect();
    let rows = read_file(table, &scan_file(file), &columns, None).await.map_err(|error| gone(error.into()))?;
    rows.try_collect().await.map_err(|error| gone(error.into()))
}

fn scan_file(file: StagedFile) -> ScanFile {
    ScanFile {
        path: file.path,
        records: file.record_count,
        bytes: file.bytes,
        lower: None,
        upper: None,
        times: file.times,
        partition: file.partition,
    }
}

/// The checkpoint that says where the job goes on, without state.
fn manifest(
    plan: &Plan,
    publisher: &Publisher,
    newest: Option<&Manifest>,
    destination: &Destination,
    moves: &Repositioning,
) -> Manifest {
    let kept = match destination {
        Destination::Savepoint(savepoint) => Some(&savepoint.manifest),
        Destination::Reset(_) | Destination::Upgrade(_) => None,
    };
    let inserts = plan.inserts.iter().zip(&moves.inserts).map(|(insert, moved)| {
        let first_window = first_window(newest, destination, insert);
        let published = published(newest, destination, (plan, insert));
        let new = || InsertProgress::new(insert.table.clone(), first_window);
        let counted = stood(kept, insert).cloned().unwrap_or_else(new);
        InsertProgress {
            first_window,
            sealed_edge: moved.sealed_edge,
            republish: moved.republish,
            published,
            ..counted
        }
    });
    let claimed = targets(plan).into_iter().map(|target| {
        let table = publisher.table(&target.table);
        ClaimedTable { table: table.name().clone(), uuid: table.uuid() }
    });
    let progress = |stream: &Arc<Stream>| {
        // Another version may see other times.
        let same = newest.filter(|newest| newest.fingerprint == plan.fingerprint);
        let stood = same.and_then(|newest| newest.streams.get(&stream.name));
        (stream.name.clone(), progress(kept, stood, destination, &stream.name))
    };
    let reread = plan.streams.iter().filter_map(|stream| {
        let again = read_again(newest, destination, &stream.name);
        let ends: BTreeMap<_, _> = again.into_iter().map(|(partition, again)| (partition, again.to)).collect();
        (!ends.is_empty()).then(|| (stream.name.clone(), ends))
    });
    Manifest {
        id: publisher.begun().id(1),
        owner: plan.name.clone(),
        fingerprint: plan.fingerprint.clone(),
        description: describe(plan),
        streams: plan.streams.iter().map(progress).collect(),
        inserts: inserts.collect(),
        watermark: kept.map_or(EventTime::MIN, |kept| kept.watermark),
        finished: kept.is_some_and(|kept| kept.finished),
        state: Vec::new(),
        claimed: claimed.collect(),
        tables: changes(plan, publisher, newest, destination, moves),
        held: Vec::new(),
        reread: reread.collect(),
        topics: destination.topics().clone(),
        from_history: destination.given_by_history().clone(),
    }
}

/// Where a stream goes on; what became of its records is counted anew, unless a savepoint knows it. A partition that goes on
/// where it `stood` has seen what it had: without a new record it would hold back the watermark otherwise.
fn progress(
    kept: Option<&Manifest>,
    stood: Option<&StreamProgress>,
    destination: &Destination,
    stream: &str,
) -> StreamProgress {
    if let Some(known) = kept.and_then(|kept| kept.streams.get(stream)) {
        return known.clone();
    }
    let positions = destination.positions(stream).into_iter();
    let anew = |(partition, next_offset)| {
        let stood = stood.and_then(|stood| stood.get(&partition)).filter(|stood| stood.next_offset == next_offset);
        let seen = stood.and_then(|stood| stood.seen);
        (partition, PartitionProgress { next_offset, seen, taken: 0, rejected: 0 })
    };
    positions.map(anew).collect()
}

/// What every result is told.
fn changes(
    plan: &Plan,
    publisher: &Publisher,
    newest: Option<&Manifest>,
    destination: &Destination,
    moves: &Repositioning,
) -> Vec<TableChange> {
    let mut changes: BTreeMap<TableName, TableChange> = BTreeMap::new();
    for (insert, moved) in plan.inserts.iter().zip(&moves.inserts) {
        let change = result_change(plan, publisher, (newest, destination), (insert, moved));
        changes.insert(insert.table.clone(), change);
    }
    changes.into_values().collect()
}

fn result_change(
    plan: &Plan,
    publisher: &Publisher,
    (newest, destination): (Option<&Manifest>, &Destination),
    (insert, moved): (&Insert, &ResultMove),
) -> TableChange {
    let published = published(newest, destination, (plan, insert));
    let properties = TableProperties {
        sealed_edge: (!insert.window.is_without_end()).then_some(moved.sealed_edge),
        first_window: Some(insert.range_from(first_window(newest, destination, insert))),
        republish: moved.republish,
        gaps: Some(moved.gaps.clone()).filter(|gaps| !gaps.is_empty()),
        in_table: published.map(|published| published.below),
        ..TableProperties::default()
    };
    // Nothing was there; a backfill that was quicker than this commit may have put something.
    let column = &insert.partitions[insert.range.partition].column;
    let cut = moved.ends_at.map(|end| RowCut::of_times(column, end, EventTime::MAX));
    let mut change = staged_change(publisher.table(&insert.table), &[], cut.as_slice());
    change.properties = properties.format(&plan.name);
    change.summary.insert("kappa.reposition".to_owned(), destination.reason().to_owned());
    if moved.republish.is_none() {
        change.remove_properties.push(REPUBLISH.to_owned());
    }
    if moved.gaps.is_empty() {
        change.remove_properties.push(GAPS.to_owned());
    }
    change
}
