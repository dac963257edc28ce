//! The beginning of an attempt: claims, the newest checkpoint, and where each partition is taken up.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::starting::{Starting, check_logs, starting};
use super::{RunError, RunOptions, Setup, Until};
use crate::checkpoints::{CheckpointError, Claimant, Manifest, StateFile, TableProperties, Usable};
use crate::engine::RestoredPane;
use crate::event::{EventTime, Stream};
use crate::handing::{self, Feed};
use crate::iceberg::{Catalog, ScanFilter, plan_files};
use crate::job::explain::{describe, difference};
use crate::job::{Insert, Plan};
use crate::kill_point::KillPoint;
use crate::reposition::{FellBack, Moving, fall_back};
use crate::sinks::{PublishError, Publisher, Taken, layout, take, targets};
use crate::sources::{Identities, Logs, SourceError, TakeUp, agree, ask, declaration, resume};
use crate::start::{Begin, LogFacts, Start, StartPlace, Vouched, hand_over};
use crate::vitals::Vitals;

/// State files that are read at a time: a store takes its time for each.
const FILES_AT_ONCE: usize = 8;

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
    /// Of the topics.
    pub(super) identities: Identities,
}

/// How often a start goes back to an older checkpoint: each time it puts a new one, so more means a store that damages
/// whatever it is given.
const FALLS_MAX: usize = 2;

/// Claims the job and decides where it begins. Nothing is published before the version of the checkpoint is known to be
/// the file's, but for what that checkpoint itself had staged. If files of the newest checkpoint are damaged or gone, the job
/// first goes back to the one before.
pub(super) async fn claim(
    plan: &Arc<Plan>,
    setup: &Setup,
    options: &RunOptions,
    (claimant, vitals): (&Claimant, &Vitals),
) -> Result<Beginning, RunError> {
    let mut falls = 0;
    loop {
        let taken = match claim_once(plan, setup, options, (claimant, vitals)).await? {
            Claimed::Begun(beginning) => return Ok(*beginning),
            Claimed::Behind(taken) => taken,
            Claimed::Damaged(_, damage) if falls == FALLS_MAX => return Err(PublishError::from(damage).into()),
            Claimed::Damaged(taken, _) => taken,
        };
        falls += 1;
        let Setup { catalog, checkpoints, clock, .. } = setup;
        let moving = Moving { plan, catalog, checkpoints, clock, take_over: claimant.take_over };
        // Or somebody has put the file back.
        if let Some(fallen) = fall_back(&moving, *taken).await? {
            tell(plan, &fallen);
        }
    }
}

/// How a claim ended.
enum Claimed {
    Begun(Box<Beginning>),
    /// The newest good checkpoint is an older one.
    Behind(Box<Taken>),
    /// State of the newest one is damaged.
    Damaged(Box<Taken>, CheckpointError),
}

fn tell(plan: &Plan, fallen: &FellBack) {
    let flaws = match fallen.flaws.is_empty() {
        true => "newer checkpoints were left behind".to_owned(),
        false => fallen.flaws.join("; "),
    };
    tracing::warn!("{flaws}; job {} goes on from the checkpoint before, {}", plan.name, fallen.to);
    for moved in &fallen.moves.inserts {
        if let Some(again) = moved.republish {
            let (from, to) = (again.from, again.to);
            tracing::warn!("{} publishes {from} to {to} again; the old rows stay until then", moved.table);
        }
    }
}

async fn claim_once(
    plan: &Arc<Plan>,
    setup: &Setup,
    options: &RunOptions,
    (claimant, vitals): (&Claimant, &Vitals),
) -> Result<Claimed, RunError> {
    let Usable { newest: known, damages, .. } = setup.checkpoints.usable().await.map_err(PublishError::from)?;
    // Before the tables are looked at: a changed SELECT list is a changed job.
    check_version(plan, known.manifest.as_ref())?;
    check_histories(plan, &setup.catalog).await?;
    let mut planned = None;
    if known.manifest.is_none() && damages.is_empty() && !known.is_behind() {
        // Before the claim, which would keep backfills out of the tables though nothing ever runs.
        let starting = starting(plan, setup, &options.start, options.vouched).await?;
        check_unpublished(plan, &setup.catalog, &starting.first_windows).await?;
        planned = Some(starting);
    }
    let taken = take(&setup.catalog, &setup.checkpoints, claimant, &targets(plan), vitals).await?;
    let heartbeat = taken.heartbeat().clone();
    let beginning = tokio::select! {
        beginning = begin_claimed(plan, setup, options, taken, planned) => beginning,
        // Finishing the newest checkpoint may take as long as an outage does.
        newer = heartbeat.fenced() => Err(PublishError::from(newer).into()),
    };
    if beginning.is_err() {
        heartbeat.release().await;
    }
    beginning
}

/// Whether what is wrong with the newest checkpoint is that its files are damaged or gone.
fn damage_of(error: RunError) -> Result<CheckpointError, RunError> {
    match error {
        RunError::Publish(PublishError::Checkpoint(damage)) if damage.is_damage() => Ok(damage),
        error => Err(error),
    }
}

/// Goes on from the newest checkpoint, or begins where it was `planned`.
async fn begin_claimed(
    plan: &Arc<Plan>,
    setup: &Setup,
    options: &RunOptions,
    taken: Taken,
    planned: Option<Starting>,
) -> Result<Claimed, RunError> {
    let manifest = taken.newest().manifest.clone();
    check_version(plan, manifest.as_ref())?;
    if taken.newest().is_behind() || (manifest.is_none() && !taken.damages().is_empty()) {
        return Ok(Claimed::Behind(Box::new(taken)));
    }
    let restored = match restore(&taken).await {
        Ok(restored) => restored,
        Err(error) => return damage_of(error).map(|damage| Claimed::Damaged(Box::new(taken), damage)),
    };
    for damage in taken.damages() {
        tracing::warn!("{}; nothing that is needed was in it", damage.flaw());
    }
    let publisher = taken.begin().await?;
    let stated = manifest.as_ref().map(|manifest| manifest.topics.clone()).unwrap_or_default();
    let identities = Identities::ask(&setup.logs, &plan.streams, &stated).await?;
    let beginning = match (manifest, planned) {
        (Some(manifest), _) => continued(plan, setup, options, (publisher, identities), (manifest, restored)).await?,
        (None, Some(planned)) => anew(options, publisher, identities, planned),
        // The checkpoint that was there a moment ago is gone.
        (None, None) => {
            let starting = starting(plan, setup, &options.start, options.vouched).await?;
            anew(options, publisher, identities, starting)
        }
    };
    Ok(Claimed::Begun(Box::new(beginning)))
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

/// Behind a checkpoint: where everything stood. A stream that it takes from history goes on where history ends now.
async fn continued(
    plan: &Arc<Plan>,
    setup: &Setup,
    options: &RunOptions,
    (publisher, identities): (Publisher, Identities),
    (manifest, restored): (Manifest, Vec<RestoredPane>),
) -> Result<Beginning, RunError> {
    let to_end = options.until == Until::End;
    let mut take_up = Vec::with_capacity(plan.streams.len());
    let mut feeds = Vec::with_capacity(plan.streams.len());
    for (index, stream) in plan.streams.iter().enumerate() {
        let (places, feed) = match manifest.from_history.get(&stream.name) {
            Some(&first) => handed_over(plan, setup, index, first, to_end).await?,
            None => {
                let facts = facts(&setup.logs, stream).await?;
                (resume(manifest.streams.get(&stream.name), &facts, to_end), None)
            }
        };
        take_up.push(places);
        feeds.push(feed);
    }
    check_logs(plan, &setup.logs).await?;
    let first_window = |insert: &Insert| {
        let known = manifest.inserts.iter().find(|progress| progress.table == insert.table);
        known.map_or(EventTime::MIN, |progress| progress.first_window)
    };
    Ok(Beginning {
        take_up,
        restored,
        feeds,
        first_windows: plan.inserts.iter().map(first_window).collect(),
        manifest: Some(manifest),
        publisher,
        identities,
    })
}

/// Where the partitions of a stream are taken up behind its history, and the part of that with windows from `first` on.
async fn handed_over(
    plan: &Plan,
    setup: &Setup,
    index: usize,
    first: EventTime,
    to_end: bool,
) -> Result<(BTreeMap<i32, TakeUp>, Option<Feed>), RunError> {
    let stream = &plan.streams[index];
    let reach = plan.inserts.iter().filter(|insert| insert.reads(index)).map(Insert::reach).max();
    let answers = ask(&setup.logs, stream, Start::History, reach.unwrap_or_default()).await?;
    let asked = answers.asked(stream, Vouched::default(), setup.clock.now());
    let (facts, feed) = handing::facts(stream, &setup.catalog, first, asked.reach).await?;
    let begun = hand_over(&asked, &facts)?;
    Ok((places(&begun, &answers.facts, to_end), begun.from_history.then_some(feed)))
}

/// Without a checkpoint: where it was worked out.
fn anew(options: &RunOptions, publisher: Publisher, identities: Identities, starting: Starting) -> Beginning {
    let streams = starting.streams.iter().zip(&starting.facts);
    let take_up = streams.map(|(begun, facts)| places(begun, facts, options.until == Until::End)).collect();
    let Starting { first_windows, feeds, .. } = starting;
    Beginning { publisher, manifest: None, first_windows, take_up, restored: Vec::new(), feeds, identities }
}

/// The places of a beginning; with `to_end`, the log ends for this run where it ends now.
fn places(begun: &Begin, facts: &BTreeMap<i32, LogFacts>, to_end: bool) -> BTreeMap<i32, TakeUp> {
    let place = |(partition, place): (&i32, &StartPlace)| {
        let limit = to_end.then(|| facts[partition].high);
        (*partition, TakeUp { from: place.offset, seen: place.seen, limit })
    };
    begun.places.iter().map(place).collect()
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

/// Reads the open windows of the newest checkpoint. Only the panes that a file is listed for count.
async fn restore(taken: &Taken) -> Result<Vec<RestoredPane>, RunError> {
    let files = taken.newest().manifest.iter().flat_map(|manifest| &manifest.state);
    let reading: Vec<_> = files.map(|file| panes_of(taken, file)).collect();
    stream::iter(reading).buffered(FILES_AT_ONCE).try_concat().await
}

async fn panes_of(taken: &Taken, file: &StateFile) -> Result<Vec<RestoredPane>, RunError> {
    KillPoint::Recovering.reach();
    let panes = crate::state::decode(&taken.state(file).await?)?;
    let listed = panes.into_iter().filter(|(start, _)| file.panes.contains(start));
    Ok(listed.map(|(start, rows)| RestoredPane { leg: file.leg, start, rows }).collect())
}
