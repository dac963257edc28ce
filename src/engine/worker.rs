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
use super::judged::Judged;
use super::keep::{Keeper, Published};
use super::prepare::Preparation;
use super::result::Finish;
use crate::event::{EventBatch, EventTime};
use crate::job::Plan;
use crate::kill_point::KillPoint;
use crate::windows::{Places, PublishRange};

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
    pub(super) places: Vec<Places>,
    pub(super) complete_from: Vec<EventTime>,
    pub(super) restored: Vec<RestoredPane>,
    pub(super) watermark: EventTime,
    pub(super) published_below: Vec<EventTime>,
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
    /// Outputs of complete epochs, without the results of windows that are to be finished.
    kept: BTreeMap<u64, WorkerOutput>,
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
        if !context.restored.is_empty() {
            KillPoint::Rescaling.reach();
        }
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
    if let Err(error) = build(worker, &mut input, context, &preparations, keepers, &shared) {
        tell(&context.outputs, WorkerOutput { error: Some(error), ..WorkerOutput::default() });
        return Ok(());
    }
    loop {
        match commands.try_recv() {
            Ok(Command::Feed(epoch, batch)) => {
                let inserts = context.plan.inserts.len();
                feed(&mut input, &preparations, &shared, (worker.index(), epoch), &batch, inserts);
            }
            Ok(Command::Close { epoch, watermark, barrier }) => {
                if let Some(fail_point) = &context.fail_point {
                    (fail_point.0)(worker.index(), Epoch(epoch));
                }
                shared.borrow_mut().closed.insert(epoch, Closed { watermark, barrier });
                input.advance_to(epoch + 1);
                if barrier {
                    KillPoint::BetweenBarriers.reach();
                }
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
    let plan = &context.plan;
    let mut preparations = Vec::new();
    for (number, (index, leg)) in plan.legs().enumerate() {
        let insert = &plan.inserts[index];
        for input in &leg.inputs {
            let taken = (input, &plan.streams[input.stream]);
            let places = context.places.get(index).cloned().unwrap_or_default();
            let made = Preparation::new((index, insert), (number, leg), taken, (context.publish[index], places));
            preparations.push(made.map_err(|source| EngineError::Evaluate {
                table: insert.table.clone(),
                window: None,
                source: Box::new(source),
            })?);
        }
    }
    Ok(preparations)
}

fn keepers(
    context: &Context,
    preparations: &[Preparation],
    index: usize,
    peers: usize,
) -> Result<Vec<Keeper>, EngineError> {
    let mut keepers = Vec::with_capacity(preparations.len());
    for preparation in first_of_legs(preparations) {
        let insert = preparation.insert;
        let complete_from = context.complete_from.get(insert).copied().unwrap_or_default();
        let published_below = context.published_below.get(insert).copied().unwrap_or_default();
        let (range, watermark) = (context.publish[insert], context.watermark);
        let published = Published { range, watermark, published_below, complete_from };
        keepers.push(Keeper::new(&context.plan, preparation, published, index)?);
    }
    for pane in &context.restored {
        keepers[pane.leg].restore(pane, index, peers)?;
    }
    Ok(keepers)
}

/// One preparation for each leg, in order: those of one leg lay out their rows alike.
fn first_of_legs(preparations: &[Preparation]) -> impl Iterator<Item = &Preparation> {
    preparations.chunk_by(|one, other| one.leg == other.leg).map(|of_leg| &of_leg[0])
}

/// Prepares a batch for every leg over its stream and sends the rows off to their keepers.
fn feed(
    input: &mut InputHandle<u64, NoopBuilder<Rows>>,
    preparations: &[Preparation],
    shared: &RefCell<Shared>,
    (worker, epoch): (usize, u64),
    batch: &EventBatch,
    inserts: usize,
) {
    for of_insert in preparations.chunk_by(|one, other| one.insert == other.insert) {
        let mut judged: Vec<Judged> = Vec::new();
        for preparation in of_insert.iter().filter(|preparation| preparation.stream_index() == batch.stream) {
            let prepared = preparation.prepare(batch);
            judged.push(Judged { late: prepared.late, count: prepared.late_count });
            for rows in prepared.rows {
                input.send_batch(&mut Rows::new(preparation.leg, worker, rows));
            }
        }
        let Some(Judged { late, count }) = Judged::together(judged) else { continue };
        let mut shared = shared.borrow_mut();
        let outputs = shared.prepared.entry(epoch).or_insert_with(|| empty_outputs(inserts));
        let output = &mut outputs[of_insert[0].insert];
        let counts = output.counts.entry(batch.partition).or_default();
        counts.late += count;
        counts.accepted += batch.records.num_rows() as u64 - count;
        output.late.extend(late);
    }
}

fn empty_outputs(inserts: usize) -> Vec<InsertOutput> {
    (0..inserts).map(|_| InsertOutput::default()).collect()
}

/// The dataflow: exchange by key, then keep; where a query goes on above its windows, exchange by window, then finish.
fn build(
    worker: &mut Worker,
    input: &mut InputHandle<u64, NoopBuilder<Rows>>,
    context: &Arc<Context>,
    preparations: &[Preparation],
    keepers: Vec<Keeper>,
    shared: &Rc<RefCell<Shared>>,
) -> Result<(), EngineError> {
    let keys = first_of_legs(preparations).map(|preparation| preparation.dealt_by.clone()).collect();
    let windows = context.plan.legs().map(|(_, leg)| Some(leg.gathered_by())).collect();
    let finish = Finish::gathers(&context.plan)
        .then(|| Finish::new(&context.plan, &context.published_below, &context.complete_from))
        .transpose()?;
    let step = Step { worker: worker.index(), outputs: context.outputs.clone(), shared: shared.clone() };
    let keeping = Keeping { step: step.clone(), plan: context.plan.clone(), keepers, ends_here: finish.is_none() };
    worker.dataflow::<u64, _, _>(|scope| {
        let rows = input.to_stream(scope);
        let closed = rows.unary_frontier::<NoopBuilder<Rows>, _, _, _>(by_key(keys), "keep", |capability, _| {
            let mut keeping = keeping;
            let mut epochs = Epochs::default();
            let mut capability = Some(capability);
            move |(input, frontier), output| {
                input.for_each(|time, rows| epochs.add(*time.time(), rows));
                let complete_below = frontier.frontier().first().copied().unwrap_or(u64::MAX);
                while let Some(held) = capability.as_mut() {
                    // Rows of the lowest open epoch go into their panes at once; later ones wait, so that the state
                    // at a barrier holds nothing from behind it.
                    let closed = match keeping.take(epochs.next, epochs.rows(), epochs.next < complete_below) {
                        Ok(None) => break,
                        Ok(Some(closed)) => closed,
                        Err(error) => {
                            keeping.step.fail(error);
                            capability = None;
                            break;
                        }
                    };
                    held.downgrade(&epochs.next);
                    for mut rows in closed {
                        output.session_with_builder(&*held).give_container(&mut rows);
                    }
                    epochs.next += 1;
                    held.downgrade(&epochs.next);
                }
            }
        });
        let Some(mut finish) = finish else { return };
        closed.unary_frontier::<NoopBuilder<Rows>, _, _, _>(by_key(windows), "finish", |_, _| {
            let mut epochs = Epochs::default();
            let mut failed = false;
            move |(input, frontier), _output| {
                input.for_each(|time, rows| epochs.add(*time.time(), rows));
                let complete_below = frontier.frontier().first().copied().unwrap_or(u64::MAX);
                while !failed && epochs.next < complete_below {
                    let rows = epochs.rows();
                    match step.finished(&mut finish, epochs.next, rows) {
                        Ok(true) => epochs.next += 1,
                        Ok(false) => break,
                        Err(error) => {
                            step.fail(error);
                            failed = true;
                        }
                    }
                }
            }
        });
    });
    Ok(())
}

/// Rows by the epoch that they belong to.
struct Epochs {
    waiting: BTreeMap<u64, Vec<Rows>>,
    /// The lowest that isn't complete.
    next: u64,
}

impl Default for Epochs {
    fn default() -> Epochs {
        Epochs { waiting: BTreeMap::new(), next: 1 }
    }
}

impl Epochs {
    fn add(&mut self, epoch: u64, rows: &mut Rows) {
        self.waiting.entry(epoch).or_default().push(std::mem::take(rows));
    }

    /// Those of the lowest open epoch that have come since the last call.
    fn rows(&mut self) -> Vec<Rows> {
        self.waiting.remove(&self.next).unwrap_or_default()
    }
}

/// What both operators of a worker share.
#[derive(Clone)]
struct Step {
    worker: usize,
    outputs: mpsc::Sender<WorkerOutput>,
    shared: Rc<RefCell<Shared>>,
}

impl Step {
    fn tell(&self, epoch: u64, output: WorkerOutput) {
        tell(&self.outputs, WorkerOutput { worker: self.worker, epoch, ..output });
    }

    fn fail(&self, error: EngineError) {
        tell(&self.outputs, WorkerOutput { error: Some(error), ..WorkerOutput::default() });
    }

    /// Adds the results of the windows in `rows` to the epoch's output, and tells it. False: this worker's share of the
    /// epoch isn't there, as the driver has left.
    fn finished(&self, finish: &mut Finish, epoch: u64, rows: Vec<Rows>) -> Result<bool, EngineError> {
        let Some(mut output) = self.shared.borrow_mut().kept.remove(&epoch) else { return Ok(false) };
        finish.run(rows, &mut output)?;
        self.tell(epoch, output);
        Ok(true)
    }
}

/// The keeping operator.
struct Keeping {
    step: Step,
    plan: Arc<Plan>,
    keepers: Vec<Keeper>,
    /// Whether nothing comes behind it.
    ends_here: bool,
}

impl Keeping {
    /// Adds rows to the open `epoch`; closes it if it is complete, and gives the rows of closed windows that are to be
    /// finished. `None`: the epoch goes on.
    fn take(&mut self, epoch: u64, rows: Vec<Rows>, complete: bool) -> Result<Option<Vec<Rows>>, EngineError> {
        for rows in rows {
            let batch = rows.rows.as_ref().expect("an exchanged container holds rows");
            self.keepers[rows.leg].add(batch)?;
        }
        if !complete {
            return Ok(None);
        }
        let mut shared = self.step.shared.borrow_mut();
        let Some(closed) = shared.closed.remove(&epoch) else { return Ok(None) };
        let prepared = shared.prepared.remove(&epoch);
        drop(shared);
        let inserts = prepared.unwrap_or_else(|| empty_outputs(self.plan.inserts.len()));
        let (output, unfinished) = self.close(inserts, closed)?;
        if self.ends_here {
            self.step.tell(epoch, output);
            return Ok(Some(Vec::new()));
        }
        self.step.shared.borrow_mut().kept.insert(epoch, output);
        Ok(Some(unfinished))
    }

    /// Closes windows up to the epoch's watermark, and freezes what is left at a barrier. The rows of windows that are to be
    /// finished come beside the output.
    fn close(
        &mut self,
        mut inserts: Vec<InsertOutput>,
        closed: Closed,
    ) -> Result<(WorkerOutput, Vec<Rows>), EngineError> {
        let mut unfinished = Vec::new();
        for (number, keeper) in self.keepers.iter_mut().enumerate() {
            let results = keeper.close(closed.watermark, closed.barrier)?;
            let output = &mut inserts[keeper.insert];
            output.replaced.extend(results.replaced);
            output.open.join(keeper.open());
            if self.plan.inserts[keeper.insert].is_gathered() {
                unfinished.extend(results.rows.into_iter().map(|rows| Rows::new(number, self.step.worker, rows)));
            } else {
                output.results = results.rows;
            }
        }
        let mut frozen = closed.barrier.then(Vec::new);
        for keeper in self.keepers.iter_mut().filter(|_| closed.barrier) {
            frozen.get_or_insert_default().extend(keeper.freeze()?);
        }
        let watermark = closed.watermark;
        Ok((WorkerOutput { watermark, inserts, frozen, ..WorkerOutput::default() }, unfinished))
    }
}

fn tell(outputs: &mpsc::Sender<WorkerOutput>, output: WorkerOutput) {
    // The channel has room for every epoch in flight; only a driver that is gone makes this fail.
    if outputs.try_send(output).is_err() {
        tracing::debug!("an output came after the driver had left");
    }
}
