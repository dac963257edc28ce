//! The loop between history and engine.

use std::sync::Arc;

use thiserror::Error;

use super::Scope;
use crate::engine::{EPOCHS_IN_FLIGHT_MAX, Engine, EngineError, EngineOptions, EpochOutput};
use crate::event::{EventBatch, EventTime};
use crate::iceberg::IcebergError;
use crate::job::Plan;
use crate::sources::{History, HistoryEvent, HistoryOptions};
use crate::windows::PublishRange;

/// Records after which an epoch closes.
const EPOCH_ROWS: usize = 65_536;

/// How windows are recomputed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecomputeOptions {
    /// Engine workers, and files read at the same time; at least 1.
    pub workers: usize,
    /// Count late records as if they had come in time.
    pub include_late: bool,
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
    /// The rows can't be taken.
    #[error(transparent)]
    Taken(E),
}

/// Recomputes the windows of `scope` and gives each epoch's output to `take`, in order. `watch` is told the records read
/// so far.
pub async fn recompute<E, F>(
    plan: &Arc<Plan>,
    scope: &Scope,
    options: RecomputeOptions,
    take: &mut F,
    watch: &(dyn Fn(u64) + Sync),
) -> Result<Counted, RecomputeError<E>>
where
    E: std::error::Error + 'static,
    F: AsyncFnMut(EpochOutput) -> Result<(), E>,
{
    let mut counted = Counted::default();
    for stream in 0..plan.streams.len() {
        // The INSERTs of other streams get nothing in this pass.
        let publish = plan.inserts.iter().zip(&scope.windows).map(|(insert, &windows)| {
            if insert.stream == stream { windows } else { PublishRange { from: EventTime::MAX, to: EventTime::MAX } }
        });
        let publish = publish.collect();
        let mut engine = Engine::start(
            plan,
            EngineOptions { workers: options.workers, publish, restored: Vec::new(), fail_point: None },
        )?;
        let history = &scope.histories[stream];
        let read = HistoryOptions {
            range: history.times.clone(),
            columns: plan.columns_of(stream).into_iter().collect(),
            readers: options.workers,
            unseen: options.include_late,
        };
        let mut records = History::open(&history.table, &plan.streams[stream], read).await?;
        let mut ended = false;
        let mut stated = EventTime::MIN;
        loop {
            if ended && engine.in_flight() == 0 {
                break;
            }
            let may_take = !ended && (engine.rows_open() < EPOCH_ROWS || engine.in_flight() < EPOCHS_IN_FLIGHT_MAX);
            tokio::select! {
                biased;
                output = engine.next(), if engine.in_flight() > 0 => {
                    take(output?).await.map_err(RecomputeError::Taken)?;
                }
                event = records.next(), if may_take => match event {
                    Some(HistoryEvent::Records(batch)) => {
                        counted.records += batch.num_rows() as u64;
                        watch(counted.records);
                        engine.feed(EventBatch { stream, partition: None, records: batch, closed_below: EventTime::MIN });
                    }
                    Some(HistoryEvent::FileRead(_)) => {}
                    Some(HistoryEvent::Failed(error)) => return Err(error.into()),
                    None => {}
                }
            }
            if ended || engine.in_flight() >= EPOCHS_IN_FLIGHT_MAX {
                continue;
            }
            let watermark = records.watermark();
            if watermark == EventTime::MAX {
                ended = true;
                engine.close_epoch(EventTime::MAX, false);
            } else if engine.rows_open() >= EPOCH_ROWS || (watermark > stated && engine.in_flight() == 0) {
                stated = watermark;
                engine.close_epoch(watermark, false);
            }
        }
    }
    Ok(counted)
}
