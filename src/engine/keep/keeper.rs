//! What all kinds of windows have in common on the worker that keeps them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, TimestampMicrosecondArray, UInt32Array, new_null_array};
use arrow::compute::{take_arrays, take_record_batch};
use arrow::datatypes::{Int64Type, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;

use super::adjacent::AdjacentWindows;
use super::by_data::{Gate, GivenWhen};
use super::counting::OpenCounts;
use super::each::PassingRows;
use super::made::OpenMade;
use super::overlapping::OverlappingWindows;
use super::{Closed, Closing, Fault, Inputs, Keep, KeepError, Wanted};
use crate::engine::epoch::{EngineError, FrozenPane, OpenWindows, RestoredPane};
use crate::engine::exchange::rows_of_worker;
use crate::engine::prepare::Preparation;
use crate::engine::result::selected;
use crate::event::{EventTime, TIMESTAMP_ZONE};
use crate::job::{Insert, Kept, Leg, Plan};
use crate::windows::pane::PaneError;
use crate::windows::{ByData, MadeWindows, PublishRange, Revised, Sessions, SlidingWindows, Window};

/// Which windows of an INSERT are published, and which of them are already.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Published {
    /// Those that are published at all.
    pub(in crate::engine) range: PublishRange,
    /// What restored state was frozen at: windows that this closed for good aren't in it. [`EventTime::MIN`]: there is none.
    pub(in crate::engine) watermark: EventTime,
    /// Windows of the restored state that end at or before it are published as they are in it.
    pub(in crate::engine) published_below: EventTime,
    /// The event time from which on all records are read.
    pub(in crate::engine) complete_from: EventTime,
}

/// What has come of windows on one worker.
#[derive(Default)]
pub(in crate::engine) struct Results {
    /// Rows of windows that are over.
    pub(in crate::engine) rows: Vec<RecordBatch>,
    /// What tells the rows that they take the place of ([`Insert::told_by`]).
    pub(in crate::engine) replaced: Option<RecordBatch>,
}

/// The open windows of one leg on one worker.
pub(in crate::engine) struct Keeper {
    /// Index of the INSERT.
    pub(in crate::engine) insert: usize,
    number: usize,
    leg: Leg,
    gathered: SchemaRef,
    plan: Arc<Plan>,
    keep: Box<dyn Keep>,
}

impl Keeper {
    /// Keeps, on this worker, what `preparation` makes of records. Fails if an aggregate can't be set up.
    pub(in crate::engine) fn new(
        plan: &Arc<Plan>,
        preparation: &Preparation,
        published: Published,
        worker: usize,
    ) -> Result<Keeper, EngineError> {
        let insert = &plan.inserts[preparation.insert];
        let (_, leg) = plan.legs().nth(preparation.leg).expect("what is prepared is for a leg");
        let failed = |source: PaneError| told(insert, KeepError { window: None, fault: source.into() });
        let inputs = Inputs::new(leg, preparation).map_err(failed)?;
        let range = insert.marks_of(leg, published.range);
        let [watermark, published_below] =
            [published.watermark, published.published_below].map(|watermark| leg.closes_at(watermark));
        let published = Published { range, watermark, published_below, ..published };
        let keep: Box<dyn Keep> = match leg.window {
            Window::Tumbling(window) => {
                Box::new(AdjacentWindows::new(window, insert, inputs, published.published_below))
            }
            Window::Calendar(window) => {
                Box::new(AdjacentWindows::new(window, insert, inputs, published.published_below))
            }
            Window::EachRecord => Box::new(PassingRows::new(preparation.keys.clone())),
            Window::Hopping(window) => Box::new(OverlappingWindows::new(window, insert, inputs, published)),
            Window::Cumulating(window) => Box::new(OverlappingWindows::new(window, insert, inputs, published)),
            Window::ByData(window) => {
                keep_by_data(window, (insert, leg), inputs, preparation, (published, worker)).map_err(failed)?
            }
        };
        Ok(Keeper {
            insert: preparation.insert,
            number: preparation.leg,
            gathered: leg.gathered_schema(),
            leg: leg.clone(),
            plan: plan.clone(),
            keep,
        })
    }

    fn insert(&self) -> &Insert {
        &self.plan.inserts[self.insert]
    }

    /// Adds prepared rows.
    pub(in crate::engine) fn add(&mut self, rows: &RecordBatch) -> Result<(), EngineError> {
        self.keep.add(rows).map_err(|error| told(self.insert(), error))
    }

    /// Takes what worker `index` of `peers` is to keep of a frozen pane.
    pub(in crate::engine) fn restore(
        &mut self,
        pane: &RestoredPane,
        index: usize,
        peers: usize,
    ) -> Result<(), EngineError> {
        let keys = &pane.rows.columns()[self.keep.keys_of_state()];
        let mine = rows_of_worker(&pane.rows, keys, index, peers)
            .map_err(|source| told(self.insert(), Fault::from(source).at(pane.start)))?;
        if mine.num_rows() == 0 {
            return Ok(());
        }
        self.keep.restore(pane.start, &mine).map_err(|error| told(self.insert(), error))
    }

    /// Closes windows at `watermark`, and gives the result's rows, earliest window first; the closed windows' own rows where
    /// they are gathered ([`Insert::is_gathered`]).
    pub(in crate::engine) fn close(&mut self, watermark: EventTime, barrier: bool) -> Result<Results, EngineError> {
        let watermark = self.leg.closes_at(watermark);
        let Closing { closed, replaced } =
            self.keep.close(watermark, barrier).map_err(|error| told(self.insert(), error))?;
        let mut results = Results::default();
        for closed in closed {
            let window = closed.window;
            let rows =
                self.result_rows(closed).map_err(|source| told(self.insert(), Fault::from(source).at(window)))?;
            if rows.num_rows() > 0 {
                results.rows.push(rows);
            }
        }
        if let Some(replaced) = replaced {
            let replaced = named_in_result(self.insert(), &replaced);
            let replaced = replaced.map_err(|source| told(self.insert(), Fault::from(source).anywhere()))?;
            results.replaced = Some(replaced);
        }
        Ok(results)
    }

    /// What changed in the open windows since the last call.
    pub(in crate::engine) fn freeze(&mut self) -> Result<Vec<FrozenPane>, EngineError> {
        let changed = self.keep.freeze().map_err(|error| told(self.insert(), error))?;
        let frozen = changed.into_iter().map(|changed| FrozenPane {
            leg: self.number,
            start: changed.pane,
            states: changed.states,
            covers: changed.covers,
        });
        Ok(frozen.collect())
    }

    /// What the open windows hold.
    pub(in crate::engine) fn open(&self) -> OpenWindows {
        self.keep.open()
    }

    /// Puts the window's columns before closed rows; then what [`selected`] does, unless they are gathered.
    fn result_rows(&self, closed: Closed) -> Result<RecordBatch, DataFusionError> {
        let insert = self.insert();
        let closed = if self.leg.kept == Kept::Counted { repeated(closed)? } else { closed };
        let mut columns: Vec<ArrayRef> = closed.columns;
        if let Some(within) = &self.leg.within {
            let times = columns[2].as_primitive::<TimestampMicrosecondType>();
            let starts: TimestampMicrosecondArray = times.unary(|time| within.start_of(time));
            columns.insert(0, Arc::new(starts.with_timezone(TIMESTAMP_ZONE)));
        }
        columns.extend(closed.rows.columns().iter().cloned());
        if !insert.is_gathered() {
            return selected(insert, RecordBatch::try_new(self.leg.closed_schema.clone(), columns)?);
        }
        Ok(RecordBatch::try_new(self.gathered.clone(), columns)?)
    }
}

/// Each row as often as its last column says, and without it.
fn repeated(closed: Closed) -> Result<Closed, DataFusionError> {
    let count = closed.rows.num_columns() - 1;
    let counts = closed.rows.column(count).as_primitive::<Int64Type>().values().iter();
    let rows = counts.enumerate().flat_map(|(row, &count)| (0..count).map(move |_| row as u32));
    let rows: UInt32Array = rows.collect();
    let kept: Vec<usize> = (0..count).collect();
    Ok(Closed {
        window: closed.window,
        columns: take_arrays(&closed.columns, &rows, None)?,
        rows: take_record_batch(&closed.rows.project(&kept)?, &rows)?,
    })
}

fn keep_by_data(
    window: ByData,
    (insert, leg): (&Insert, &Leg),
    inputs: Inputs,
    preparation: &Preparation,
    (published, worker): (Published, usize),
) -> Result<Box<dyn Keep>, PaneError> {
    let Published { range, complete_from, .. } = published;
    let wanted = Wanted { window, range, complete_from, together: leg.within.is_some() };
    let (keys, functions) = (inputs.aggregation().keys.clone(), inputs.aggregation().functions.clone());
    let (allowed, published_below) = (insert.allowed, published.published_below);
    let revised = insert.revises().then_some(Revised { allowed, published_below });
    let when = if insert.revises() { GivenWhen::Over } else { GivenWhen::Settled };
    let gate = Gate::new(wanted, insert.allowed, when);
    Ok(match window {
        ByData::Session(window) => {
            Box::new(OpenMade::new(Sessions::new(window, keys, functions, revised, worker)?, gate, inputs, wanted))
        }
        ByData::Sliding(window) => Box::new(OpenMade::new(
            SlidingWindows::new(window, keys, functions, revised, worker)?,
            gate,
            inputs,
            wanted,
        )),
        ByData::Counting(window) => Box::new(OpenCounts::new(window, inputs, preparation.schema(), wanted, worker)),
    })
}

/// What tells the rows of windows in the result: the columns [`Insert::told_by`].
fn named_in_result(insert: &Insert, windows: &MadeWindows) -> Result<RecordBatch, DataFusionError> {
    let mut columns = windows.window_columns(insert.window.has_reason());
    columns.extend(windows.rows().columns().iter().cloned());
    // What doesn't tell them isn't asked for.
    let closed_schema = &insert.legs[0].closed_schema;
    for field in &closed_schema.fields()[columns.len()..] {
        columns.push(new_null_array(field.data_type(), windows.windows().len()));
    }
    let closed = RecordBatch::try_new(closed_schema.clone(), columns)?;
    let told_by = insert.told_by();
    let value = |&column: &usize| insert.columns[column].expression.evaluate(&closed)?.into_array(closed.num_rows());
    let values: Result<Vec<ArrayRef>, DataFusionError> = told_by.iter().map(value).collect();
    Ok(RecordBatch::try_new(Arc::new(insert.result_schema.project(&told_by)?), values?)?)
}

/// The error as the driver is told.
fn told(insert: &Insert, error: KeepError) -> EngineError {
    let (table, window) = (insert.table.clone(), error.window);
    match error.fault {
        Fault::Pane(source) => EngineError::Aggregate { table, window, source: Box::new(source) },
        Fault::Evaluate(source) => EngineError::Evaluate { table, window, source: Box::new(source) },
    }
}
