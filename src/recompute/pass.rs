//! One pass over the histories of streams that are computed together: the loop between sources and engine.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use super::memory::Guard;
use super::run::RecomputeError;
use super::{HistoryState, Scope};
use crate::engine::{EPOCHS_IN_FLIGHT_MAX, Engine, EngineOptions, EpochOutput};
use crate::event::{EventBatch, EventTime};
use crate::iceberg::IcebergError;
use crate::job::{Insert, Plan};
use crate::memory::{Kept, Pressure};
use crate::sources::{History, HistoryEvent, HistoryOptions};
use crate::windows::PublishRange;

/// Records after which an epoch closes.
const EPOCH_ROWS: usize = 65_536;

/// What is read, and how.
pub(super) struct Pass<'a> {
    pub(super) plan: &'a Arc<Plan>,
    pub(super) scope: &'a Scope,
    /// Indices of the streams, each with how its history is read.
    pub(super) reads: Vec<(usize, HistoryOptions)>,
    pub(super) workers: usize,
    /// Bytes that the process may hold; `None`: no limit.
    pub(super) memory_max: Option<u64>,
    /// Whether windows close as history is read; else none ever does, and only late rows come out.
    pub(super) closing: bool,
    /// Whether the end of history is the end of the log, so that windows that are open there are whole.
    pub(super) drain: bool,
}

impl Pass<'_> {
    /// Reads, feeds what `alter` leaves of each batch, and gives each epoch's output to `take`, in order. When memory gets
    /// short, epochs get smaller; at the limit nothing is read until what is under way has been taken.
    pub(super) async fn run<E, F>(
        &self,
        alter: &mut (dyn FnMut(RecordBatch) -> RecordBatch + Send),
        take: &mut F,
    ) -> Result<(), RecomputeError<E>>
    where
        E: std::error::Error + 'static,
        F: AsyncFnMut(EpochOutput, Pressure) -> Result<Kept, RecomputeError<E>>,
    {
        let mut engine = self.engine()?;
        let mut records = Histories::open(self).await?;
        let mut ended = false;
        let mut stated = EventTime::MIN;
        let mut guard = Guard::new(self.memory_max);
        let edge = |watermark: EventTime| if self.closing { watermark } else { EventTime::MIN };
        while !(ended && engine.in_flight() == 0) {
            if !ended && guard.wants_cut() && engine.in_flight() < EPOCHS_IN_FLIGHT_MAX {
                stated = records.watermark();
                engine.close_epoch(edge(stated), false);
                guard.cut();
            }
            let epoch_rows = guard.epoch_rows(EPOCH_ROWS);
            let has_room = engine.rows_open() < epoch_rows || engine.in_flight() < EPOCHS_IN_FLIGHT_MAX;
            let may_take = !ended && guard.may_take() && has_room;
            tokio::select! {
                biased;
                output = engine.next(), if engine.in_flight() > 0 => {
                    let output = settled(output?);
                    self.check_by_data(&output)?;
                    guard.note(self.plan, &output);
                    let kept = take(output, guard.pressure()).await?;
                    // What has ended gives back all that it holds.
                    guard.taken(kept, !ended && engine.in_flight() == 0)?;
                }
                event = records.next(), if may_take => match event {
                    Some((stream, HistoryEvent::Records(batch))) => {
                        guard.read(batch.num_rows());
                        let records = alter(batch);
                        if records.num_rows() > 0 {
                            let closed_below = EventTime::MIN;
                            engine.feed(EventBatch { stream, partition: None, records, closed_below });
                        }
                    }
                    Some((_, HistoryEvent::FileRead(_))) => {}
                    Some((_, HistoryEvent::Failed(error))) => return Err(error.into()),
                    None => assert_eq!(records.watermark(), EventTime::MAX, "a reader of history ended before its files"),
                }
            }
            if ended || engine.in_flight() >= EPOCHS_IN_FLIGHT_MAX {
                continue;
            }
            let watermark = records.watermark();
            ended = watermark == EventTime::MAX;
            if ended {
                engine.close_epoch(edge(EventTime::MAX), false);
            } else if engine.rows_open() >= epoch_rows || (watermark > stated && engine.in_flight() == 0) {
                stated = watermark;
                engine.close_epoch(edge(watermark), false);
            }
        }
        Ok(())
    }

    /// Where the data makes windows, it shows in them whether they are whole: no window of the range may have begun before
    /// what is known of history, none may end behind where it is complete.
    fn check_by_data<E: std::error::Error>(&self, output: &EpochOutput) -> Result<(), RecomputeError<E>> {
        let whole = self.plan.inserts.iter().zip(&output.inserts).filter(|(insert, _)| self.covers(insert));
        for (insert, output) in whole {
            let histories = || insert.streams().map(|stream| &self.scope.histories[stream]);
            let table = &insert.table;
            if output.open.cut_off > 0 {
                let latest = histories().max_by_key(|history| history.complete_from);
                let HistoryState { table: history, complete_from, .. } = latest.expect("an INSERT reads a stream");
                let (history, complete_from) = (history.name().clone(), *complete_from);
                return Err(RecomputeError::CutOff { history, table: table.clone(), complete_from });
            }
            let needed = output.open.latest_end.plus(insert.allowed);
            let least = histories().min_by_key(|history| history.watermark);
            let HistoryState { table: history, watermark, .. } = least.expect("an INSERT reads a stream");
            if !self.drain && needed > *watermark {
                let (history, watermark) = (history.name().clone(), *watermark);
                return Err(RecomputeError::StillOpen { history, table: table.clone(), needed, watermark });
            }
        }
        Ok(())
    }

    /// Whether an INSERT takes part: all that it reads is read, or some of it where only late rows are wanted.
    fn covers(&self, insert: &Insert) -> bool {
        let is_read = |stream| self.reads.iter().any(|(read, _)| *read == stream);
        if self.closing { insert.streams().all(is_read) } else { insert.streams().any(is_read) }
    }

    fn engine<E: std::error::Error + 'static>(&self) -> Result<Engine, RecomputeError<E>> {
        // The INSERTs of other streams get nothing in this pass.
        let nothing = PublishRange::of_marks(EventTime::MAX, EventTime::MAX);
        let windows = self.plan.inserts.iter().zip(&self.scope.windows);
        let publish = windows.map(|(insert, &windows)| if self.covers(insert) { windows } else { nothing });
        let complete_from = self.plan.inserts.iter().map(|insert| self.scope.complete_from(insert));
        let options = EngineOptions {
            workers: self.workers,
            publish: publish.collect(),
            places: self.scope.results.iter().map(|result| result.places.clone()).collect(),
            complete_from: complete_from.collect(),
            ..EngineOptions::default()
        };
        Ok(Engine::start(self.plan, options)?)
    }
}

/// The histories of a pass. The one that is behind is read on, so that little waits for the others.
struct Histories(Vec<(usize, History)>);

impl Histories {
    async fn open(pass: &Pass<'_>) -> Result<Histories, IcebergError> {
        let mut opened = Vec::with_capacity(pass.reads.len());
        for (stream, read) in &pass.reads {
            let table = &pass.scope.histories[*stream].table;
            opened.push((*stream, History::open(table, &pass.plan.streams[*stream], read.clone()).await?));
        }
        Ok(Histories(opened))
    }

    /// No record before it comes any more.
    fn watermark(&self) -> EventTime {
        self.0.iter().map(|(_, history)| history.watermark()).min().unwrap_or(EventTime::MAX)
    }

    /// What comes next, and of which stream. Cancel-safe, as [`History::next`] is.
    async fn next(&mut self) -> Option<(usize, HistoryEvent)> {
        let (stream, behind) = self.0.iter_mut().min_by_key(|(_, history)| history.watermark())?;
        Some((*stream, behind.next().await?))
    }
}

/// The output with windows that late records could change among its results: no record comes behind a watermark that
/// history states, so each window comes once.
fn settled(mut output: EpochOutput) -> EpochOutput {
    for insert in &mut output.inserts {
        for window in std::mem::take(&mut insert.windows) {
            debug_assert!(!window.again, "a record of history came behind the watermark");
            insert.results.push(window.rows);
        }
    }
    output
}
