//! All passes over history that a recomputation takes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use thiserror::Error;

use super::Scope;
use super::failing::Failing;
use super::memory::MemoryExhausted;
use super::pass::Pass;
use super::warm_up::warmed_up;
use crate::engine::{EngineError, EpochOutput};
use crate::event::{EventTime, TableName};
use crate::iceberg::IcebergError;
use crate::job::Plan;
use crate::memory::{Kept, Pressure};
use crate::sources::HistoryOptions;

/// How windows are recomputed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecomputeOptions {
    /// Engine workers, and files read at the same time; at least 1.
    pub workers: usize,
    /// Count late records as if they had come in time.
    pub include_late: bool,
    /// The end of history is the end of the log: windows that are open there are whole.
    pub drain: bool,
    /// Bytes that the process may hold; `None`: no limit.
    pub memory_max: Option<u64>,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Records read from history.
    pub records: u64,
}

/// Why windows can't be recomputed.
#[derive(Debug, Error)]
pub enum RecomputeError<E: std::error::Error + 'static> {
    /// History can't be read.
    #[error(transparent)]
    Iceberg(#[from] IcebergError),
    /// The engine stopped.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A window of the range may have begun before history.
    #[error(
        "windows of {table} in the range may have begun before {complete_from}, from where on history {history} has all \
         records, so they may be cut off; begin the range later"
    )]
    CutOff {
        /// The history.
        history: TableName,
        /// The result.
        table: TableName,
        /// The first instant that is known.
        complete_from: EventTime,
    },
    /// A window of the range is open where history ends.
    #[error(
        "history {history} isn't complete for the range: it is complete up to {watermark}, and windows of {table} that begin in \
         it last until {needed}; archive on, end the range earlier, or take the end of history for the end of the log with \
         --drain"
    )]
    StillOpen {
        /// The history.
        history: TableName,
        /// The result.
        table: TableName,
        /// Where the last of them ends, by then.
        needed: EventTime,
        /// How far history is complete.
        watermark: EventTime,
    },
    /// There is too little memory.
    #[error(transparent)]
    Memory(#[from] MemoryExhausted),
    /// The rows can't be taken.
    #[error(transparent)]
    Taken(E),
}

/// Recomputes the windows of `scope` and gives each epoch's output to `take`, in order, with how short memory is: it
/// answers what it keeps of all that it was given, and should keep less when memory is short. `watch` is told the records
/// read so far.
pub async fn recompute<E, F>(
    plan: &Arc<Plan>,
    scope: &Scope,
    options: RecomputeOptions,
    take: &mut F,
    watch: &(dyn Fn(u64) + Sync),
) -> Result<Counted, RecomputeError<E>>
where
    E: std::error::Error + 'static,
    F: AsyncFnMut(EpochOutput, Pressure) -> Result<Kept, E>,
{
    let mut counted = Counted::default();
    for streams in together(plan) {
        let read = |&stream: &usize| {
            let history = &scope.histories[stream];
            let read = HistoryOptions {
                range: history.times.clone(),
                columns: plan.columns_of(stream).into_iter().collect(),
                readers: options.workers,
                unseen: options.include_late,
                anew: history.anew.clone(),
            };
            (stream, read)
        };
        let mut reads: Vec<(usize, HistoryOptions)> = streams.iter().map(read).collect();
        let scope = warmed_up(plan, scope, &reads, options).await?;
        for (stream, read) in &mut reads {
            read.range = scope.histories[*stream].times.clone();
        }
        // Those of which records that fail must be read again.
        let narrow = reads.iter().filter(|(stream, read)| {
            read.unseen || read.columns.len() < plan.streams[*stream].record_schema().fields().len()
        });
        let mut failing: BTreeMap<usize, Failing> = narrow.map(|(stream, _)| (*stream, Failing::default())).collect();
        let RecomputeOptions { workers, drain, memory_max, .. } = options;
        let pass = Pass { plan, scope: &scope, reads, workers, memory_max, closing: true, drain };
        let mut count = |records: RecordBatch| {
            counted.records += records.num_rows() as u64;
            watch(counted.records);
            records
        };
        let mut hand_on = async |mut output: EpochOutput, pressure: Pressure| {
            for (&stream, failing) in &mut failing {
                failing.take_out((stream, &plan.streams[stream]), &mut output);
            }
            take(output, pressure).await.map_err(RecomputeError::Taken)
        };
        pass.run(&mut count, &mut hand_on).await?;
        for (stream, failing) in failing {
            if failing.range().is_some() {
                take_failing(&pass, stream, failing, take).await?;
            }
        }
    }
    Ok(counted)
}

/// The streams of a job, those together that an INSERT reads together.
fn together(plan: &Plan) -> Vec<BTreeSet<usize>> {
    let mut groups: Vec<BTreeSet<usize>> = (0..plan.streams.len()).map(|stream| BTreeSet::from([stream])).collect();
    for insert in &plan.inserts {
        let (mut joined, others): (Vec<_>, Vec<_>) =
            groups.into_iter().partition(|group| insert.streams().any(|stream| group.contains(&stream)));
        let all = joined.drain(..).flatten().collect();
        groups = others;
        groups.push(all);
    }
    groups.sort();
    groups
}

/// Gives `take` the records of a stream on which an expression failed, with all their columns.
async fn take_failing<E, F>(
    pass: &Pass<'_>,
    index: usize,
    failing: Failing,
    take: &mut F,
) -> Result<(), RecomputeError<E>>
where
    E: std::error::Error + 'static,
    F: AsyncFnMut(EpochOutput, Pressure) -> Result<Kept, E>,
{
    let stream = &pass.plan.streams[index];
    let (_, read) = pass.reads.iter().find(|(read, _)| *read == index).expect("only what was read can fail");
    let hidden = read.unseen;
    let read = HistoryOptions {
        range: failing.range().expect("there are such records"),
        columns: (0..stream.record_schema().fields().len()).collect(),
        readers: read.readers,
        unseen: false,
        anew: read.anew.clone(),
    };
    let failing = std::sync::Mutex::new(failing);
    let lock = || failing.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut narrow = |records: RecordBatch| {
        let mut failing = lock();
        let records = failing.candidates(stream, &records);
        if hidden { failing.hide_seen(stream, records) } else { records }
    };
    let mut hand_on = async |mut output: EpochOutput, pressure: Pressure| {
        lock().put_back(stream, &mut output);
        take(output, pressure).await.map_err(RecomputeError::Taken)
    };
    Pass { reads: vec![(index, read)], closing: false, ..*pass }.run(&mut narrow, &mut hand_on).await
}
