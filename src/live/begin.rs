//! The beginning of an attempt: claims, the newest checkpoint, and where each partition is taken up.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{RunError, RunOptions, Setup, Until};
use crate::checkpoints::{Begun, Claimant, Manifest, TableProperties};
use crate::engine::RestoredPane;
use crate::event::{EventTime, LiveFace, Micros, Stream};
use crate::iceberg::{Catalog, ScanFilter, plan_files};
use crate::job::Plan;
use crate::job::explain::{describe, difference};
use crate::sinks::{PublishError, Publisher, Taken, layout, take, targets};
use crate::sources::{Logs, SourceError, TakeUp, agree, declaration, resume};
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

/// Claims the job and decides where it begins. Nothing is published before the version of the checkpoint is known to be
/// the file's, but for what that checkpoint itself had staged.
pub(super) async fn claim(
    plan: &Arc<Plan>,
    setup: &Setup,
    options: &RunOptions,
    (claimant, vitals): (&Claimant, &Vitals),
) -> Result<Beginning, RunError> {
    let known = setup.checkpoints.newest().await.map_err(PublishError::from)?;
    // Before the tables are looked at: a changed SELECT list is a changed job.
    check_version(plan, known.manifest.as_ref())?;
    check_histories(plan, &setup.catalog).await?;
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
    check_version(plan, manifest.as_ref())?;
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

/// State never passes between versions: no window is half old, half new.
fn check_version(plan: &Plan, newest: Option<&Manifest>) -> Result<(), RunError> {
    match newest {
        Some(manifest) if manifest.fingerprint != plan.fingerprint => Err(RunError::Version {
            job: plan.name.clone(),
            checkpoint: manifest.id.to_string(),
            difference: difference(&manifest.description, &describe(plan)),
        }),
        _ => Ok(()),
    }
}

/// Every job over one history takes the same records: otherwise `seen`, and so what is late, would not be what history
/// says. A history that isn't there yet, or that something else fills, says nothing.
async fn check_histories(plan: &Plan, catalog: &Catalog) -> Result<(), RunError> {
    for stream in &plan.streams {
        let Some(history) = &stream.history else { continue };
        let Some(table) = catalog.load(history).await? else { continue };
        if let Some(archived) = declaration(&table)? {
            agree(&table, &archived, stream)?;
        }
    }
    Ok(())
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
