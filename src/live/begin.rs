//! The beginning of an attempt: claims, the newest checkpoint, and where each partition is taken up.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{RunError, RunOptions, Setup, Until};
use crate::checkpoints::{Begun, Claimant, Manifest, TableProperties};
use crate::engine::RestoredPane;
use crate::event::{EventTime, LiveFace, Micros, Stream, TableName};
use crate::iceberg::{Catalog, ScanFilter, plan_files};
use crate::job::Plan;
use crate::sinks::{PublishError, Publisher, Taken, Target, layout, take};
use crate::sources::{Logs, SourceError, TakeUp, resume};
use crate::start::{Begin, LogFacts, Start, begin, read_back};
use crate::vitals::Vitals;

/// What an attempt continues or begins.
pub(super) struct Beginning {
    pub(super) publisher: Publisher,
    /// The checkpoint that is continued.
    pub(super) manifest: Option<Manifest>,
    /// Start of the first window that is published.
    pub(super) first_window: EventTime,
    /// For each stream, where its partitions are taken up.
    pub(super) take_up: Vec<BTreeMap<i32, TakeUp>>,
    /// Open windows.
    pub(super) restored: Vec<RestoredPane>,
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
    (claimant, vitals): (&Claimant, &Vitals),
) -> Result<Beginning, RunError> {
    let known = setup.checkpoints.newest().await.map_err(PublishError::from)?;
    let mut asked = None;
    if known.manifest.is_none() {
        // Before the claim, which would keep backfills out of the tables though nothing ever runs.
        let ends = ends(plan, setup, options).await?;
        let (_, first_window) = start_anew(plan, options, &ends)?;
        check_unpublished(plan, &setup.catalog, first_window).await?;
        asked = Some(ends);
    }
    let taken = take(&setup.catalog, &setup.checkpoints, claimant, &targets(plan), vitals).await?;
    let heartbeat = taken.heartbeat().clone();
    let beginning = tokio::select! {
        beginning = begin_claimed(plan, setup, options, taken, asked) => beginning,
        // Finishing the newest checkpoint may take as long as an outage does.
        newer = heartbeat.fenced() => Err(PublishError::from(newer).into()),
    };
    if beginning.is_err() {
        heartbeat.release().await;
    }
    beginning
}

/// Goes on from the newest checkpoint, or begins; `asked` is what the logs have said.
async fn begin_claimed(
    plan: &Arc<Plan>,
    setup: &Setup,
    options: &RunOptions,
    taken: Taken,
    asked: Option<Vec<BTreeMap<i32, LogFacts>>>,
) -> Result<Beginning, RunError> {
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
    let ends = match asked {
        Some(ends) => ends,
        None => ends(plan, setup, options).await?,
    };
    match manifest {
        Some(manifest) => {
            let take_up =
                plan.streams.iter().zip(ends).map(|(stream, facts)| {
                    resume(manifest.streams.get(&stream.name), &facts, options.until == Until::End)
                });
            Ok(Beginning {
                take_up: take_up.collect(),
                restored: restore(publisher.begun(), &manifest).await?,
                first_window: manifest.first_window,
                manifest: Some(manifest),
                publisher,
            })
        }
        None => {
            let (take_up, first_window) = start_anew(plan, options, &ends)?;
            Ok(Beginning { publisher, manifest: None, first_window, take_up, restored: Vec::new() })
        }
    }
}

/// What the logs say now.
async fn ends(
    plan: &Arc<Plan>,
    setup: &Setup,
    options: &RunOptions,
) -> Result<Vec<BTreeMap<i32, LogFacts>>, SourceError> {
    let mut facts = Vec::with_capacity(plan.streams.len());
    for stream in &plan.streams {
        let at = match &options.start {
            Start::Time(time) => stream.max_future.map(|ahead| read_back(*time, Micros(0), ahead)),
            _ => None,
        };
        facts.push(ask(&setup.logs, stream, at).await?);
    }
    Ok(facts)
}

async fn ask(
    logs: &Arc<dyn Logs>,
    stream: &Arc<Stream>,
    at: Option<EventTime>,
) -> Result<BTreeMap<i32, LogFacts>, SourceError> {
    let (logs, stream) = (logs.clone(), stream.clone());
    let asked = tokio::task::spawn_blocking(move || logs.facts(&stream, at)).await;
    asked.expect("asking a log doesn't panic")
}

fn limit(facts: &LogFacts, until: Until) -> Option<crate::event::ResumeOffset> {
    (until == Until::End).then_some(facts.high)
}

/// Refuses to publish windows a second time: a run without a checkpoint begins where nothing is published yet.
async fn check_unpublished(plan: &Plan, catalog: &Catalog, first_window: EventTime) -> Result<(), RunError> {
    for insert in &plan.inserts {
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

type TakenUp = (Vec<BTreeMap<i32, TakeUp>>, EventTime);

fn start_anew(plan: &Plan, options: &RunOptions, facts: &[BTreeMap<i32, LogFacts>]) -> Result<TakenUp, RunError> {
    let mut take_up = Vec::with_capacity(facts.len());
    let mut first_window = EventTime::MIN;
    for (stream, facts) in plan.streams.iter().zip(facts) {
        let start = match (&options.start, &stream.live) {
            // A file is always read whole.
            (_, LiveFace::File { .. }) => &Start::Earliest,
            (start, LiveFace::Kafka { .. }) => start,
        };
        let Begin { positions, first_window: first } =
            begin(&stream.name, start, stream.max_future, facts, options.vouched)?;
        first_window = first_window.max(first);
        let partitions = positions.into_iter().map(|(partition, from)| {
            (partition, TakeUp { from, seen: None, limit: limit(&facts[&partition], options.until) })
        });
        take_up.push(partitions.collect());
    }
    Ok((take_up, first_window))
}

/// Reads the open windows of a checkpoint. Only the panes that a file is listed for count.
async fn restore(begun: &Begun, manifest: &Manifest) -> Result<Vec<RestoredPane>, RunError> {
    let mut restored = Vec::new();
    for file in &manifest.state {
        let bytes = begun.store().get_state(file).await.map_err(PublishError::from)?;
        for (start, rows) in crate::state::decode(&bytes)? {
            if file.panes.contains(&start) {
                restored.push(RestoredPane { insert: file.insert, start, rows });
            }
        }
    }
    Ok(restored)
}
