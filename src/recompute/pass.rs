//! One pass over the history of one stream: the loop between source and engine.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use super::Scope;
use super::run::RecomputeError;
use crate::engine::{EPOCHS_IN_FLIGHT_MAX, Engine, EngineOptions, EpochOutput};
use crate::event::{EventBatch, EventTime};
use crate::job::Plan;
use crate::sources::{History, HistoryEvent, HistoryOptions};
use crate::windows::PublishRange;

/// Records after which an epoch closes.
const EPOCH_ROWS: usize = 65_536;

/// What is read, and how.
pub(super) struct Pass<'a> {
    pub(super) plan: &'a Arc<Plan>,
    pub(super) scope: &'a Scope,
    /// Index of the stream.
    pub(super) stream: usize,
    pub(super) workers: usize,
    pub(super) read: HistoryOptions,
    /// Whether windows close as history is read; else none ever does, and only late rows come out.
    pub(super) closing: bool,
    /// Whether the end of history is the end of the log, so that windows that are open there are whole.
    pub(super) drain: bool,
}

impl Pass<'_> {
    /// Reads, feeds what `alter` leaves of each batch, and gives each epoch's output to `take`, in order.
    pub(super) async fn run<E, F>(
        &self,
        alter: &mut (dyn FnMut(RecordBatch) -> RecordBatch + Send),
        take: &mut F,
    ) -> Result<(), RecomputeError<E>>
    where
        E: std::error::Error + 'static,
        F: AsyncFnMut(EpochOutput) -> Result<(), RecomputeError<E>>,
    {
        let mut engine = self.engine()?;
        let history = &self.scope.histories[self.stream];
        let mut records = History::open(&history.table, &self.plan.streams[self.stream], self.read.clone()).await?;
        let mut ended = false;
        let mut stated = EventTime::MIN;
        while !(ended && engine.in_flight() == 0) {
            let may_take = !ended && (engine.rows_open() < EPOCH_ROWS || engine.in_flight() < EPOCHS_IN_FLIGHT_MAX);
            tokio::select! {
                biased;
                output = engine.next(), if engine.in_flight() > 0 => {
                    let output = output?;
                    self.check_by_data(&output)?;
                    take(output).await?;
                }
                event = records.next(), if may_take => match event {
                    Some(HistoryEvent::Records(batch)) => {
                        let records = alter(batch);
                        if records.num_rows() > 0 {
                            let (stream, closed_below) = (self.stream, EventTime::MIN);
                            engine.feed(EventBatch { stream, partition: None, records, closed_below });
                        }
                    }
                    Some(HistoryEvent::FileRead(_)) => {}
                    Some(HistoryEvent::Failed(error)) => return Err(error.into()),
                    None => assert_eq!(records.watermark(), EventTime::MAX, "a reader of history ended before its files"),
                }
            }
            if ended || engine.in_flight() >= EPOCHS_IN_FLIGHT_MAX {
                continue;
            }
            let watermark = records.watermark();
            ended = watermark == EventTime::MAX;
            if ended {
                engine.close_epoch(if self.closing { EventTime::MAX } else { EventTime::MIN }, false);
            } else if engine.rows_open() >= EPOCH_ROWS || (watermark > stated && engine.in_flight() == 0) {
                stated = watermark;
                engine.close_epoch(if self.closing { watermark } else { EventTime::MIN }, false);
            }
        }
        Ok(())
    }

    /// Where the data makes windows, it shows in them whether they are whole: no window of the range may have begun before
    /// what is known of history, none may end behind where it is complete.
    fn check_by_data<E: std::error::Error>(&self, output: &EpochOutput) -> Result<(), RecomputeError<E>> {
        let state = &self.scope.histories[self.stream];
        let of_stream =
            self.plan.inserts.iter().zip(&output.inserts).filter(|(insert, _)| insert.stream == self.stream);
        for (insert, output) in of_stream {
            let (history, table) = (state.table.name(), &insert.table);
            if output.open.cut_off > 0 {
                let complete_from = state.complete_from;
                return Err(RecomputeError::CutOff { history: history.clone(), table: table.clone(), complete_from });
            }
            let needed = output.open.latest_end.plus(insert.allowed);
            if !self.drain && needed > state.watermark {
                let watermark = state.watermark;
                return Err(RecomputeError::StillOpen {
                    history: history.clone(),
                    table: table.clone(),
                    needed,
                    watermark,
                });
            }
        }
        Ok(())
    }

    fn engine<E: std::error::Error + 'static>(&self) -> Result<Engine, RecomputeError<E>> {
        // The INSERTs of other streams get nothing in this pass.
        let nothing = PublishRange::of_starts(EventTime::MAX, EventTime::MAX);
        let windows = self.plan.inserts.iter().zip(&self.scope.windows);
        let publish = windows.map(|(insert, &windows)| if insert.stream == self.stream { windows } else { nothing });
        let complete_from = self.plan.inserts.iter().map(|insert| self.scope.histories[insert.stream].complete_from);
        let options = EngineOptions {
            workers: self.workers,
            publish: publish.collect(),
            complete_from: complete_from.collect(),
            ..EngineOptions::default()
        };
        Ok(Engine::start(self.plan, options)?)
    }
}
