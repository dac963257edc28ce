//! The beginning of an attempt: claims, the newest checkpoint, and where each partition is taken up.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::handing::Feed;
use super::starting::{Starting, check_logs, starting};
use super::{RunError, RunOptions, Setup, Until};
use crate::checkpoints::{Begun, Manifest, TableProperties};
use crate::engine::RestoredPane;
use crate::event::{EventTime, Stream, TableName};
use crate::iceberg::{Catalog, ScanFilter, plan_files};
use crate::job::{Insert, Plan};
use crate::sinks::{Publisher, Target, layout, take};
use crate::sources::{Logs, SourceError, TakeUp, resume};
use crate::start::{LogFacts, StartPlace};
use crate::vitals::Vitals;

/// What an attempt continues or begins.
pub(super) struct Beginning {
    pub(super) publisher: Publisher,
    /// The checkpoint that is continued.
    pub(super) manifest: Option<Manifest>,
    /// For each INSERT, the start of the first window that is published.
    pub(super) first_windows: Vec<EventTime>,
    /// For each stream, where its partitions are taken up.
    pub(super) take_up: Vec<BTreeMap<i32, TakeUp>>,
    /// Open windows.
    pub(super) restored: Vec<RestoredPane>,
    /// For each stream, the part of its history that comes before its log.
    pub(super) feeds: Vec<Option<Feed>>,
}

/// The table that takes a stream's rejects in a live run: only streams without a history need one, as the archive
/// keeps the others' rejects.
pub(super) fn rejects_table(plan: &Plan, stream: usize) -> Option<TableName> {
    if plan.streams[stream].history.is_some() {
        return None;
    }
    let first = plan.inserts.iter().find(|insert| insert.stream == stream)?;
    Some(first.table.with_suffix("_rejects"))
}

/// Every table that a job writes to, results first.
pub(super) fn targets(plan: &Plan) -> Vec<Target> {
    let mut targets: Vec<Target> = Vec::new();
    for insert in &plan.inserts {
        targets.push(Target { table: insert.table.clone(), spec: layout::result(insert), owned: true });
    }
    for insert in &plan.inserts {
        let late = layout::late(insert, &plan.streams[insert.stream]);
        add_shared(&mut targets, &insert.late, late);
    }
    for stream in 0..plan.streams.len() {
        if let Some(table) = rejects_table(plan, stream) {
            add_shared(&mut targets, &table, layout::rejects());
        }
    }
    targets
}

fn add_shared(targets: &mut Vec<Target>, table: &TableName, spec: crate::iceberg::TableSpec) {
    if !targets.iter().any(|target| target.table == *table) {
        targets.push(Target { table: table.clone(), spec, owned: false });
    }
}

/// Claims the job and decides where it begins. Nothing is published before the version of the checkpoint is known to be
/// the file's, but for what that checkpoint itself had staged.
pub(super) async fn claim(
    plan: &Arc<Plan>,
    setup: &Setup,
    options: &RunOptions,
    vitals: &Vitals,
) -> Result<Beginning, RunError> {
    let known = setup.checkpoints.newest().await.map_err(crate::sinks::PublishError::from)?;
    let mut planned = None;
    if known.manifest.is_none() {
        // Before the claim, which would keep backfills out of the tables though nothing ever runs.
        let starting = starting(plan, setup, &options.start, options.vouched).await?;
        check_unpublished(plan, &setup.catalog, &starting.first_windows).await?;
        planned = Some(starting);
    }
    let taken = take(&setup.catalog, &setup.checkpoints, &targets(plan), vitals).await?;
    let manifest = taken.newest().manifest.clone();
    if let Some(manifest) = &manifest
        && manifest.fingerprint != plan.fingerprint
    {
        return Err(RunError::Version {
            job: plan.name.clone(),
            checkpoint: manifest.id.to_string(),
            found: manifest.fingerprint.clone(),
            wanted: plan.fingerprint.clone(),
        });
    }
    let publisher = taken.begin().await?;
    match (manifest, planned) {
        (Some(manifest), _) => continued(plan, setup, options, publisher, manifest).await,
        (None, Some(planned)) => Ok(anew(options, publisher, planned)),
        // The checkpoint that was there a moment ago is gone.
        (None, None) => Ok(anew(options, publisher, starting(plan, setup, &options.start, options.vouched).await?)),
    }
}

/// Behind a checkpoint: where everything stood.
async fn continued(
    plan: &Arc<Plan>,
    setup: &Setup,
    options: &RunOptions,
    publisher: Publisher,
    manifest: Manifest,
) -> Result<Beginning, RunError> {
    let mut take_up = Vec::with_capacity(plan.streams.len());
    for stream in &plan.streams {
        let facts = facts(&setup.logs, stream).await?;
        take_up.push(resume(manifest.streams.get(&stream.name), &facts, options.until == Until::End));
    }
    check_logs(plan, &setup.logs).await?;
    let first_window = |insert: &Insert| {
        let known = manifest.inserts.iter().find(|progress| progress.table == insert.table);
        known.map_or(EventTime::MIN, |progress| progress.first_window)
    };
    Ok(Beginning {
        take_up,
        restored: restore(publisher.begun(), &manifest).await?,
        feeds: Vec::new(),
        first_windows: plan.inserts.iter().map(first_window).collect(),
        manifest: Some(manifest),
        publisher,
    })
}

/// Without a checkpoint: where it was worked out.
fn anew(options: &RunOptions, publisher: Publisher, starting: Starting) -> Beginning {
    let take_up = starting.streams.iter().zip(&starting.facts).map(|(begin, facts)| {
        let limit = |partition: &i32| (options.until == Until::End).then(|| facts[partition].high);
        let place = |(partition, place): (&i32, &StartPlace)| {
            (*partition, TakeUp { from: place.offset, seen: place.seen, limit: limit(partition) })
        };
        begin.places.iter().map(place).collect()
    });
    let take_up = take_up.collect();
    let Starting { first_windows, feeds, .. } = starting;
    Beginning { publisher, manifest: None, first_windows, take_up, restored: Vec::new(), feeds }
}

async fn facts(logs: &Arc<dyn Logs>, stream: &Arc<Stream>) -> Result<BTreeMap<i32, LogFacts>, SourceError> {
    let (logs, stream) = (logs.clone(), stream.clone());
    let asked = tokio::task::spawn_blocking(move || logs.facts(&stream, None)).await;
    asked.expect("asking a log doesn't panic")
}

/// Refuses to publish windows a second time: a run without a checkpoint begins where nothing is published yet.
async fn check_unpublished(plan: &Plan, catalog: &Catalog, first_windows: &[EventTime]) -> Result<(), RunError> {
    for (insert, &first_window) in plan.inserts.iter().zip(first_windows) {
        let Some(table) = catalog.load(&insert.table).await? else { continue };
        // Another layout, another owner or a lost checkpoint is told by the claim, in better words.
        let told = match TableProperties::parse(&plan.name, table.properties()) {
            Ok(known) => known.checkpoint.is_some() || known.owner.is_some_and(|owner| owner != plan.name),
            Err(_) => true,
        };
        if told || table.difference(&layout::result(insert)).is_some() {
            continue;
        }
        let column = insert.partitions[insert.range.partition].column.clone();
        let from = insert.range_from(first_window);
        let filter = ScanFilter { time: Some((column, from..EventTime::MAX)), ..ScanFilter::default() };
        let files = plan_files(&table, None, &filter).await?;
        if let Some(greatest) = files.iter().map(|file| file.upper.unwrap_or(EventTime::MAX)).max() {
            return Err(RunError::AlreadyPublished {
                table: insert.table.clone(),
                job: plan.name.clone(),
                from,
                next: insert.range_transform().next_edge(greatest),
            });
        }
    }
    Ok(())
}

/// Reads the open windows of a checkpoint. Only the panes that a file is listed for count.
async fn restore(begun: &Begun, manifest: &Manifest) -> Result<Vec<RestoredPane>, RunError> {
    let mut restored = Vec::new();
    for file in &manifest.state {
        let bytes = begun.store().get_state(file).await.map_err(crate::sinks::PublishError::from)?;
        for (start, rows) in crate::state::decode(&bytes)? {
            if file.panes.contains(&start) {
                restored.push(RestoredPane { insert: file.insert, start, rows });
            }
        }
    }
    Ok(restored)
}
