//! Epochs: the driver feeds records, closes epochs, and takes back what each complete one has brought.
//! Invariant: outputs come in the order of epochs, each once, with the shares of all workers put together.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Thread;

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use crossbeam_channel::Sender;
use datafusion_common::DataFusionError;
use thiserror::Error;
use timely::WorkerConfig;
use timely::communication::WorkerGuards;
use timely::execute::Config;
use timely::worker::Worker;
use tokio::sync::mpsc;

use super::worker::{self, Command, Context, WorkerOutput};
use crate::event::{EventBatch, EventTime, TableName};
use crate::job::Plan;
use crate::windows::pane::PaneError;
use crate::windows::{ASIDE, Deferred, Gone, Places, PublishRange};

/// Epochs that may be under way: enough to keep all workers busy while one closes, few enough that back-pressure
/// reaches the source within a fraction of a second.
pub const EPOCHS_IN_FLIGHT_MAX: usize = 4;

/// Commands that may wait for one worker. Workers never wait for the driver, so a full queue empties by itself.
const COMMANDS_MAX: usize = 256;

/// Number of an epoch, from 1 in each run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// How an engine is started.
#[derive(Debug, Default)]
pub struct EngineOptions {
    /// Worker threads; at least 1. Results don't depend on it.
    pub workers: usize,
    /// For each INSERT, the windows that it publishes.
    pub publish: Vec<PublishRange>,
    /// For each INSERT without a window, which records it publishes by their places; without it, by event time alone.
    pub places: Vec<Places>,
    /// For each INSERT, the event time from which on all records are read: windows that the data makes are given only where
    /// that shows that they are whole. Without it, all are read.
    pub complete_from: Vec<EventTime>,
    /// Open panes of a checkpoint.
    pub restored: Vec<RestoredPane>,
    /// The checkpoint's watermark.
    pub watermark: EventTime,
    /// For each INSERT, windows that end at or before it are published, as the restored state has them. Without it, none are.
    pub published_below: Vec<EventTime>,
    /// For tests of what happens when a worker dies.
    pub fail_point: Option<FailPoint>,
}

/// Something that every worker calls when it is told to close an epoch, with its own number and the epoch's, and that
/// may panic there. Only tests have a use for it: it stands in for our own bugs.
#[derive(Clone)]
pub struct FailPoint(pub Arc<dyn Fn(usize, Epoch) + Send + Sync>);

impl std::fmt::Debug for FailPoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FailPoint")
    }
}

/// State of one pane from a checkpoint.
#[derive(Clone, Debug)]
pub struct RestoredPane {
    /// Number of the leg ([`Plan::legs`]).
    pub leg: usize,
    /// Start of the window.
    pub start: EventTime,
    /// As [`FrozenPane::states`], of any number of workers.
    pub rows: RecordBatch,
}

impl RestoredPane {
    /// Panes of a checkpoint without the rows that others of them say to be gone; what was set aside, of which there may be
    /// many parts, in one piece.
    fn standing(panes: Vec<RestoredPane>) -> Vec<RestoredPane> {
        let mut gone = Gone::default();
        panes.iter().for_each(|pane| gone.note(pane.leg, &pane.rows));
        let (parts, mut standing): (Vec<_>, Vec<_>) = panes.into_iter().partition(|pane| pane.start.0 == ASIDE);
        let mut parts_of: BTreeMap<usize, Vec<RecordBatch>> = BTreeMap::new();
        for part in parts {
            parts_of.entry(part.leg).or_default().push(gone.without(part.leg, part.rows));
        }
        for (leg, parts) in parts_of {
            // Parts of different layouts are refused where the job's is known.
            let pieces = concat_batches(&parts[0].schema(), &parts).map_or(parts, |all| vec![all]);
            standing.extend(pieces.into_iter().map(|rows| RestoredPane { leg, start: EventTime(ASIDE), rows }));
        }
        standing
    }
}

/// State of one pane on one worker, for a checkpoint.
#[derive(Clone, Debug)]
pub struct FrozenPane {
    /// Number of the leg ([`Plan::legs`]).
    pub leg: usize,
    /// Start of the window.
    pub start: EventTime,
    /// Keys and partial states ([`crate::windows::Aggregation::state_schema`]); `None`: the pane is gone.
    pub states: Option<Deferred>,
    /// The freezes of the pane on this worker whose changes they hold: they take the place of what these gave
    /// ([`crate::windows::Frozen::covers`]).
    pub covers: Range<u64>,
}

/// What one complete epoch has brought.
#[derive(Debug)]
pub struct EpochOutput {
    /// Which.
    pub epoch: Epoch,
    /// The watermark it was closed with: windows that end at or before it are in here or in earlier outputs.
    pub watermark: EventTime,
    /// For each INSERT.
    pub inserts: Vec<InsertOutput>,
    /// With a barrier: what changed in the open panes of each worker since the last one.
    pub frozen: Option<Vec<(usize, FrozenPane)>>,
}

/// What one complete epoch has brought for one INSERT.
#[derive(Debug, Default)]
pub struct InsertOutput {
    /// Rows of closed windows ([`crate::job::Insert::result_schema`]), whole windows, in no promised order.
    pub results: Vec<RecordBatch>,
    /// Rows of earlier epochs that these, or none, take the place of: each is told by these columns of the result
    /// ([`crate::job::Insert::told_by`]).
    pub replaced: Vec<RecordBatch>,
    /// Windows that may come again, as late records may still change them ([`crate::job::Insert::revises`]).
    pub windows: Vec<WindowRows>,
    /// Rows for late tables.
    pub late: Vec<Late>,
    /// What became of the records, by partition (`None`: batches of mixed partitions).
    pub counts: BTreeMap<Option<i32>, Counts>,
    /// What its open windows hold after the epoch.
    pub open: OpenWindows,
}

/// Late records of one stream.
#[derive(Clone, Debug)]
pub struct Late {
    /// Index of the stream.
    pub stream: usize,
    /// Laid out as [`crate::event::Stream::late_schema`]; of one reason.
    pub rows: RecordBatch,
}

/// All rows of one window, as they are now.
#[derive(Clone, Debug)]
pub struct WindowRows {
    /// The window ([`PublishRange`]).
    pub mark: EventTime,
    /// Its rows ([`crate::job::Insert::result_schema`]); none, if HAVING leaves none.
    pub rows: RecordBatch,
    /// Whether they replace what came of it before.
    pub again: bool,
}

/// What the open windows of one INSERT hold, about: for those who watch a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenWindows {
    /// How many there are; keys of one window may be on several workers, so of the worker that has most of them.
    pub windows: usize,
    /// Bytes of all.
    pub bytes: usize,
    /// The one that holds most on a worker: its start, and its bytes there.
    pub largest: Option<(EventTime, usize)>,
    /// No open window begins before it, nor one that opens later. `None` where the watermark tells as much.
    pub opens_from: Option<EventTime>,
    /// Windows of the published range that were not given since the engine began, as they may be cut off.
    pub cut_off: u64,
    /// The latest end of a window that the data has made and that was given since the engine began.
    pub latest_end: EventTime,
}

impl OpenWindows {
    /// Of what is held, each with the time that it begins at and its bytes.
    pub(super) fn of(held: impl Iterator<Item = (EventTime, usize)>) -> OpenWindows {
        let mut open = OpenWindows::default();
        for (start, bytes) in held {
            open.windows += 1;
            open.bytes += bytes;
            if open.largest.is_none_or(|(_, most)| bytes > most) {
                open.largest = Some((start, bytes));
            }
        }
        open
    }

    /// Adds those of another leg of the INSERT.
    pub(super) fn join(&mut self, other: OpenWindows) {
        *self = match *self == OpenWindows::default() {
            true => other,
            false => {
                let mut both = *self;
                both.add(other);
                both
            }
        };
    }

    /// Adds the share of another worker.
    fn add(&mut self, other: OpenWindows) {
        self.windows = self.windows.max(other.windows);
        self.bytes += other.bytes;
        self.opens_from = self.opens_from.into_iter().chain(other.opens_from).min();
        self.cut_off += other.cut_off;
        self.latest_end = self.latest_end.max(other.latest_end);
        self.largest = self.largest.into_iter().chain(other.largest).max_by_key(|&(start, bytes)| (bytes, start));
    }
}

/// What became of records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Accepted: all that aren't late, those that WHERE drops included.
    pub accepted: u64,
    /// Late.
    pub late: u64,
}

/// Why the engine stopped.
#[derive(Debug, Error)]
pub enum EngineError {
    /// An aggregate's result doesn't fit, or it can't be computed. Running again gives the same.
    #[error("INSERT INTO {table}{}: {source}", window_text(.window))]
    Aggregate {
        /// The result table.
        table: TableName,
        /// Start of the window.
        window: Option<EventTime>,
        /// What the pane says.
        source: Box<PaneError>,
    },
    /// An expression fails on the rows of a closed window. Running again gives the same.
    #[error("INSERT INTO {table}{}: {source}", window_text(.window))]
    Evaluate {
        /// The result table.
        table: TableName,
        /// Start of the window.
        window: Option<EventTime>,
        /// What the expression says.
        source: Box<DataFusionError>,
    },
    /// A worker is gone: a bug of ours. The run can go on from its checkpoint.
    #[error("an engine worker stopped unexpectedly: {message}")]
    WorkerDied {
        /// What is known of it.
        message: String,
    },
}

fn window_text(window: &Option<EventTime>) -> String {
    window.map_or(String::new(), |start| format!(", window that starts at {start}"))
}

/// A running dataflow.
pub struct Engine {
    workers: Vec<WorkerHandle>,
    guards: Option<WorkerGuards<Result<(), EngineError>>>,
    outputs: mpsc::Receiver<WorkerOutput>,
    shares: BTreeMap<u64, Vec<WorkerOutput>>,
    inserts: usize,
    open: u64,
    rows_open: usize,
    next_worker: usize,
    taken: u64,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("workers", &self.workers.len()).field("open", &self.open).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct WorkerHandle {
    commands: Sender<Command>,
    thread: Thread,
}

impl Engine {
    /// Starts the workers. Fails if an aggregate or expression of the plan can't be set up.
    pub fn start(plan: &Arc<Plan>, options: EngineOptions) -> Result<Engine, EngineError> {
        let workers = options.workers.max(1);
        let died = |message: String| EngineError::WorkerDied { message };
        // Each epoch brings one output a worker, and one more tells of a failure: sending never waits.
        let (outputs_in, outputs) = mpsc::channel(workers * (EPOCHS_IN_FLIGHT_MAX + 2));
        let (threads_in, threads) = std::sync::mpsc::sync_channel(workers);
        let mut commands = Vec::with_capacity(workers);
        let mut receivers = Vec::with_capacity(workers);
        for _ in 0..workers {
            let (sender, receiver) = crossbeam_channel::bounded(COMMANDS_MAX);
            commands.push(sender);
            receivers.push(Some(receiver));
        }
        let context = Arc::new(Context {
            plan: plan.clone(),
            publish: options.publish,
            places: options.places,
            complete_from: options.complete_from,
            restored: RestoredPane::standing(options.restored),
            watermark: options.watermark,
            published_below: options.published_below,
            fail_point: options.fail_point,
            outputs: outputs_in,
        });
        let receivers = Mutex::new(receivers);
        let config =
            Config { communication: timely::CommunicationConfig::Process(workers), worker: WorkerConfig::default() };
        let run = move |timely: &mut Worker| {
            let index = timely.index();
            let announced = threads_in.send((index, std::thread::current()));
            announced.map_err(|_| EngineError::WorkerDied { message: "the driver is gone".into() })?;
            // Its own, not one of a shared list: when the worker is gone, so is its end of the channel, and a driver
            // that waits for room in it goes on.
            let mut receivers = receivers.lock().unwrap_or_else(PoisonError::into_inner);
            let commands = receivers[index].take().expect("each worker runs once");
            drop(receivers);
            worker::run_to_the_end(timely, &context, commands)
        };
        let guards = timely::execute(config, run).map_err(died)?;
        let mut announced: Vec<(usize, Thread)> = Vec::with_capacity(workers);
        for _ in 0..workers {
            announced.push(threads.recv().map_err(|_| died("a worker did not start".into()))?);
        }
        announced.sort_by_key(|&(index, _)| index);
        let workers = commands
            .into_iter()
            .zip(announced)
            .map(|(commands, (_, thread))| WorkerHandle { commands, thread })
            .collect();
        Ok(Engine {
            workers,
            guards: Some(guards),
            outputs,
            shares: BTreeMap::new(),
            inserts: plan.inserts.len(),
            open: 1,
            rows_open: 0,
            next_worker: 0,
            taken: 0,
        })
    }

    /// Adds records to the open epoch. Waits at most until a worker has taken an earlier batch.
    pub fn feed(&mut self, batch: EventBatch) {
        self.rows_open += batch.records.num_rows();
        let worker = self.next_worker;
        self.next_worker = (worker + 1) % self.workers.len();
        self.send(worker, Command::Feed(self.open, batch));
    }

    /// Records in the open epoch.
    pub fn rows_open(&self) -> usize {
        self.rows_open
    }

    /// Epochs that are closed and whose output has not been taken.
    pub fn in_flight(&self) -> usize {
        (self.open - 1 - self.taken) as usize
    }

    /// Closes the open epoch at `watermark`; with `barrier`, its output brings the state. Call it only while fewer than
    /// [`EPOCHS_IN_FLIGHT_MAX`] epochs are in flight.
    pub fn close_epoch(&mut self, watermark: EventTime, barrier: bool) -> Epoch {
        assert!(self.in_flight() < EPOCHS_IN_FLIGHT_MAX, "the driver takes outputs before it closes more epochs");
        let epoch = self.open;
        for worker in 0..self.workers.len() {
            self.send(worker, Command::Close { epoch, watermark, barrier });
        }
        self.open += 1;
        self.rows_open = 0;
        Epoch(epoch)
    }

    /// The output of the next complete epoch, or why there will be none; without an epoch in flight it waits for the
    /// latter. Cancel-safe: dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<EpochOutput, EngineError> {
        loop {
            let wanted = self.taken + 1;
            if self.shares.get(&wanted).is_some_and(|shares| shares.len() == self.workers.len()) {
                self.taken = wanted;
                let shares = self.shares.remove(&wanted).unwrap_or_default();
                return Ok(self.put_together(wanted, shares));
            }
            match self.outputs.recv().await {
                Some(WorkerOutput { error: Some(error), .. }) => return Err(error),
                Some(output) => self.shares.entry(output.epoch).or_default().push(output),
                None => return Err(EngineError::WorkerDied { message: "all workers are gone".into() }),
            }
        }
    }

    fn put_together(&self, epoch: u64, shares: Vec<WorkerOutput>) -> EpochOutput {
        let mut output = EpochOutput {
            epoch: Epoch(epoch),
            watermark: EventTime::MIN,
            inserts: (0..self.inserts).map(|_| InsertOutput::default()).collect(),
            frozen: None,
        };
        for share in shares {
            output.watermark = share.watermark;
            for (into, from) in output.inserts.iter_mut().zip(share.inserts) {
                into.results.extend(from.results);
                into.replaced.extend(from.replaced);
                into.windows.extend(from.windows);
                into.late.extend(from.late);
                into.open.add(from.open);
                for (partition, counts) in from.counts {
                    let total = into.counts.entry(partition).or_default();
                    total.accepted += counts.accepted;
                    total.late += counts.late;
                }
            }
            if let Some(frozen) = share.frozen {
                let panes = frozen.into_iter().map(|pane| (share.worker, pane));
                output.frozen.get_or_insert_with(Vec::new).extend(panes);
            }
        }
        output
    }

    fn send(&self, worker: usize, command: Command) {
        let handle = &self.workers[worker];
        // A worker that is gone says so through `next`; the command has nobody to reach.
        if handle.commands.send(command).is_ok() {
            handle.thread.unpark();
        }
    }
}

impl Drop for Engine {
    /// Stops the workers and waits for them, for as long as the slowest takes for what it is at: off the async threads.
    /// They hold no work that anybody will take.
    fn drop(&mut self) {
        for worker in 0..self.workers.len() {
            self.send(worker, Command::Stop);
        }
        self.outputs.close();
        if let Some(guards) = self.guards.take() {
            for joined in guards.join() {
                if let Err(message) = joined {
                    tracing::error!(message, "an engine worker panicked");
                }
            }
        }
    }
}
