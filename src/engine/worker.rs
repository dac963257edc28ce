//! One worker: a thread with its share of every INSERT's keys.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::Arc;

use crossbeam_channel::{Receiver, TryRecvError};
use timely::container::NoopBuilder;
use timely::dataflow::InputHandle;
use timely::dataflow::operators::generic::operator::Operator;
use timely::worker::Worker;
use tokio::sync::mpsc;

use super::container::Rows;
use super::epoch::{EngineError, Epoch, FailPoint, FrozenPane, InsertOutput, RestoredPane};
use super::exchange::by_key;
use super::keep::{Keeper, Published};
use super::prepare::Preparation;
use crate::event::{EventBatch, EventTime};
use crate::job::Plan;
use crate::windows::PublishRange;

/// What the driver tells a worker.
#[derive(Debug)]
pub(super) enum Command {
    /// Records of an epoch that is still open.
    Feed(u64, EventBatch),
    /// No more records of this epoch or an earlier one.
    Close { epoch: u64, watermark: EventTime, barrier: bool },
    /// Leave.
    Stop,
}

/// A worker's share of one epoch's output; or, with `error`, its last word.
#[derive(Debug, Default)]
pub(super) struct WorkerOutput {
    pub(super) worker: usize,
    pub(super) epoch: u64,
    pub(super) watermark: EventTime,
    pub(super) inserts: Vec<InsertOutput>,
    pub(super) frozen: Option<Vec<FrozenPane>>,
    pub(super) error: Option<EngineError>,
}

/// What all workers share.
pub(super) struct Context {
    pub(super) plan: Arc<Plan>,
    pub(super) publish: Vec<PublishRange>,
    pub(super) complete_from: Vec<EventTime>,
    pub(super) restored: Vec<RestoredPane>,
    pub(super) restored_at: EventTime,
    pub(super) fail_point: Option<FailPoint>,
    pub(super) outputs: mpsc::Sender<WorkerOutput>,
}

/// How an epoch was closed.
#[derive(Clone, Copy)]
struct Closed {
    watermark: EventTime,
    barrier: bool,
}

/// What the two halves of a worker share: the feeding loop and the keeping operator, on one thread.
#[derive(Default)]
struct Shared {
    closed: BTreeMap<u64, Closed>,
    /// Late rows and counts of the epochs that are not complete.
    prepared: BTreeMap<u64, Vec<InsertOutput>>,
}

/// Runs a worker until it is told to stop. A panic is told to the driver before the thread goes: the other workers
/// would wait for this one for ever, and the driver for them.
pub(super) fn run_to_the_end(
    worker: &mut Worker,
    context: &Arc<Context>,
    commands: Receiver<Command>,
) -> Result<(), EngineError> {
    let index = worker.index();
    // Nothing is used afterwards but the channel of outputs.
    let ended = catch_unwind(AssertUnwindSafe(|| run(worker, context, &commands)));
    ended.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
        let error = EngineError::WorkerDied { message: format!("worker {index} panicked: {text}") };
        tell(&context.outputs, WorkerOutput { error: Some(error), ..WorkerOutput::default() });
        resume_unwind(panic)
    })
}

fn run(worker: &mut Worker, context: &Arc<Context>, commands: &Receiver<Command>) -> Result<(), EngineError> {
    let preparations = preparations(context);
    let started = preparations.and_then(|preparations| {
        let keepers = keepers(context, &preparations, worker.index(), worker.peers())?;
        Ok((preparations, keepers))
    });
    let (preparations, keepers) = match started {
        Ok(started) => started,
        Err(error) => {
            tell(&context.outputs, WorkerOutput { error: Some(error), ..WorkerOutput::default() });
            return Ok(());
        }
    };
    let shared = Rc::new(RefCell::new(Shared::default()));
    let mut input = InputHandle::new_with_builder();
    // Epochs count from 1.
    input.advance_to(1);
    build(worker, &mut input, context, &preparations, keepers, &shared);
    loop {
        match commands.try_recv() {
            Ok(Command::Feed(epoch, batch)) => feed(&mut input, &preparations, &shared, epoch, &batch),
            Ok(Command::Close { epoch, watermark, barrier }) => {
                if let Some(fail_point) = &context.fail_point {
                    (fail_point.0)(worker.index(), Epoch(epoch));
                }
                shared.borrow_mut().closed.insert(epoch, Closed { watermark, barrier });
                input.advance_to(epoch + 1);
            }
            Ok(Command::Stop) | Err(TryRecvError::Disconnected) => break,
            Err(TryRecvError::Empty) => {
                worker.step_or_park(None);
                continue;
            }
        }
        worker.step();
    }
    // What is left is wanted by nobody. Waiting for the dataflow to run dry would wait for workers that are gone.
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
    Ok(())
}

fn preparations(context: &Context) -> Result<Vec<Preparation>, EngineError> {
    let inserts = context.plan.inserts.iter().zip(&context.publish);
    inserts
        .map(|(insert, &publish)| {
            Preparation::new(insert, &context.plan.streams[insert.stream], publish).map_err(|source| {
                EngineError::Evaluate { table: insert.table.clone(), window: None, source: Box::new(source) }
            })
        })
        .collect()
}

fn keepers(
    context: &Context,
    preparations: &[Preparation],
    index: usize,
    peers: usize,
) -> Result<Vec<Keeper>, EngineError> {
    let mut keepers = Vec::with_capacity(preparations.len());
    for (insert, preparation) in preparations.iter().enumerate() {
        let complete_from = context.complete_from.get(insert).copied().unwrap_or_default();
        let published = Published { range: context.publish[insert], watermark: context.restored_at, complete_from };
        keepers.push(Keeper::new(&context.plan, insert, preparation, published)?);
    }
    for pane in &context.restored {
        keepers[pane.insert].restore(pane, index, peers)?;
    }
    Ok(keepers)
}

/// Prepares a batch for every INSERT over its stream and sends the rows off to their keepers.
fn feed(
    input: &mut InputHandle<u64, NoopBuilder<Rows>>,
    preparations: &[Preparation],
    shared: &RefCell<Shared>,
    epoch: u64,
    batch: &EventBatch,
) {
    for (insert, preparation) in preparations.iter().enumerate() {
        if preparation.stream_index() != batch.stream {
            continue;
        }
        let prepared = preparation.prepare(batch);
        let mut shared = shared.borrow_mut();
        let outputs = shared.prepared.entry(epoch).or_insert_with(|| empty_outputs(preparations.len()));
        let counts = outputs[insert].counts.entry(batch.partition).or_default();
        counts.late += prepared.late_count;
        counts.accepted += batch.records.num_rows() as u64 - prepared.late_count;
        outputs[insert].late.extend(prepared.late);
        drop(shared);
        for rows in prepared.rows {
            input.send_batch(&mut Rows::new(insert, rows));
        }
    }
}

fn empty_outputs(inserts: usize) -> Vec<InsertOutput> {
    (0..inserts).map(|_| InsertOutput::default()).collect()
}

/// The dataflow: exchange by key, then keep.
fn build(
    worker: &mut Worker,
    input: &mut InputHandle<u64, NoopBuilder<Rows>>,
    context: &Arc<Context>,
    preparations: &[Preparation],
    mut keepers: Vec<Keeper>,
    shared: &Rc<RefCell<Shared>>,
) {
    let index = worker.index();
    let keys = preparations.iter().map(|preparation| preparation.dealt_by.clone()).collect();
    let outputs = context.outputs.clone();
    let shared = shared.clone();
    let mut waiting: BTreeMap<u64, Vec<Rows>> = BTreeMap::new();
    let mut next = 1;
    let mut failed = false;
    worker.dataflow::<u64, _, _>(|scope| {
        let rows = input.to_stream(scope);
        rows.unary_frontier::<NoopBuilder<Rows>, _, _, _>(by_key(keys), "keep", |_, _| {
            move |(input, frontier), _output| {
                input.for_each(|time, rows| waiting.entry(*time.time()).or_default().push(std::mem::take(rows)));
                let complete_below = frontier.frontier().first().copied().unwrap_or(u64::MAX);
                while !failed {
                    // Rows of the lowest open epoch go into their panes at once; later ones wait, so that the state
                    // at a barrier holds nothing from behind it.
                    let rows = waiting.remove(&next).unwrap_or_default();
                    let added = rows.into_iter().try_for_each(|rows| {
                        let batch = rows.rows.as_ref().expect("an exchanged container holds rows");
                        keepers[rows.insert].add(batch)
                    });
                    if let Err(error) = added {
                        failed = true;
                        tell(&outputs, WorkerOutput { error: Some(error), ..WorkerOutput::default() });
                        break;
                    }
                    if next >= complete_below {
                        break;
                    }
                    let Some(closed) = shared.borrow_mut().closed.remove(&next) else { break };
                    let prepared = shared.borrow_mut().prepared.remove(&next);
                    let inserts = prepared.unwrap_or_else(|| empty_outputs(keepers.len()));
                    let output = close(&mut keepers, inserts, closed).unwrap_or_else(|error| {
                        failed = true;
                        WorkerOutput { error: Some(error), ..WorkerOutput::default() }
                    });
                    tell(&outputs, WorkerOutput { worker: index, epoch: next, ..output });
                    next += 1;
                }
            }
        });
    });
}

/// Closes windows up to the epoch's watermark, and freezes what is left at a barrier.
fn close(keepers: &mut [Keeper], mut inserts: Vec<InsertOutput>, closed: Closed) -> Result<WorkerOutput, EngineError> {
    for (keeper, output) in keepers.iter_mut().zip(&mut inserts) {
        output.results = keeper.close(closed.watermark, closed.barrier)?;
        output.open = keeper.open();
    }
    let frozen = if closed.barrier {
        let mut frozen = Vec::new();
        for keeper in keepers.iter_mut() {
            frozen.extend(keeper.freeze()?);
        }
        Some(frozen)
    } else {
        None
    };
    let watermark = closed.watermark;
    Ok(WorkerOutput { watermark, inserts, frozen, ..WorkerOutput::default() })
}

fn tell(outputs: &mpsc::Sender<WorkerOutput>, output: WorkerOutput) {
    // The channel has room for every epoch in flight; only a driver that is gone makes this fail.
    if outputs.try_send(output).is_err() {
        tracing::debug!("an output came after the driver had left");
    }
}
