//! From the rows of closed windows to rows of the result: HAVING or what the query does above its windows, then the
//! SELECT list. Where that needs all rows of a window, they are gathered on one worker first.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::compute::{concat_batches, filter_record_batch};
use arrow::datatypes::TimestampMicrosecondType;
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;

use super::container::Rows;
use super::epoch::{EngineError, WindowRows};
use super::given::Given;
use super::worker::WorkerOutput;
use crate::event::EventTime;
use crate::job::{Insert, Plan, Running};

/// The result's rows for rows laid out as the only leg's [`crate::job::Leg::closed_schema`], or as what came out above.
pub(super) fn selected(insert: &Insert, mut rows: RecordBatch) -> Result<RecordBatch, DataFusionError> {
    if let Some(having) = &insert.having {
        let mask = having.evaluate(&rows)?.into_array(rows.num_rows())?;
        rows = filter_record_batch(&rows, mask.as_boolean())?;
    }
    let columns: Result<Vec<ArrayRef>, DataFusionError> =
        insert.columns.iter().map(|column| column.expression.evaluate(&rows)?.into_array(rows.num_rows())).collect();
    Ok(RecordBatch::try_new(insert.result_schema.clone(), columns?)?)
}

/// Makes results of gathered rows, on one worker: of whole windows, which the exchange by window brings together.
pub(super) struct Finish {
    plan: Arc<Plan>,
    /// For each leg its INSERT, and which of its legs it is.
    legs: Vec<(usize, usize)>,
    above: Vec<Option<Running>>,
    /// Windows that late records may still change: what each worker has closed of them, by INSERT, start and end.
    revisable: BTreeMap<(usize, i64, i64), Revisable>,
    /// For each INSERT, windows that end at or before it were published before this engine was started.
    published_below: Vec<EventTime>,
    /// For each leg, windows that start at or after it are whole ([`Leg::whole_from`]).
    whole_from: Vec<EventTime>,
}

/// Rows of a window, with the leg of the INSERT that they are of and the worker that they are from.
type Gathered = ((usize, usize), RecordBatch);

/// A window that may come again.
struct Revisable {
    /// Each worker's rows of it, by leg.
    closed: BTreeMap<(usize, usize), RecordBatch>,
    /// Workers give their rows at different times, so here it is seen to that it isn't published more often than it may be.
    given: Given,
}

impl Finish {
    /// Fails if an operator can't be set up.
    pub(super) fn new(
        plan: &Arc<Plan>,
        published_below: &[EventTime],
        complete_from: &[EventTime],
    ) -> Result<Finish, EngineError> {
        let start = |insert: &Insert| {
            let running = insert.above.as_ref().map(|above| above.start()).transpose();
            running.map_err(|source| failed(insert, source))
        };
        let above = plan.inserts.iter().map(start).collect::<Result<_, _>>()?;
        let legs = plan.inserts.iter().enumerate();
        let legs = legs.flat_map(|(index, insert)| (0..insert.legs.len()).map(move |leg| (index, leg))).collect();
        let published_below = published_below.to_vec();
        let from = |insert: usize| complete_from.get(insert).copied().unwrap_or(EventTime::MIN);
        let whole_from = plan.legs().map(|(insert, leg)| leg.whole_from(from(insert))).collect();
        Ok(Finish { plan: plan.clone(), legs, above, revisable: BTreeMap::new(), published_below, whole_from })
    }

    /// Whether an INSERT's rows are gathered.
    pub(super) fn gathers(plan: &Plan) -> bool {
        plan.inserts.iter().any(Insert::is_gathered)
    }

    /// Adds the results of an epoch to its `output`: of the windows in `closed`, which holds all that workers closed of
    /// them in it.
    pub(super) fn run(&mut self, closed: Vec<Rows>, output: &mut WorkerOutput) -> Result<(), EngineError> {
        let plan = self.plan.clone();
        let mut gathered: BTreeMap<usize, Vec<Gathered>> = BTreeMap::new();
        let closed = self.without_cut_off(closed).map_err(|(insert, source)| failed(&plan.inserts[insert], source))?;
        for rows in closed {
            let (insert, leg) = self.legs[rows.leg];
            gathered.entry(insert).or_default().extend(rows.rows.map(|batch| ((leg, rows.from), batch)));
        }
        for (index, closed) in gathered {
            let insert = &plan.inserts[index];
            if insert.revises_whole_windows() {
                self.take(index, closed);
                continue;
            }
            let results = self.results(index, closed.into_iter())?;
            if results.num_rows() > 0 {
                output.inserts[index].results.push(results);
            }
        }
        let watermark = output.watermark;
        let is_final =
            |&(insert, _, end): &(usize, i64, i64)| EventTime(end).plus(plan.inserts[insert].allowed) <= watermark;
        let due = self.revisable.iter().filter(|(key, window)| window.given.is_due(watermark, is_final(key)));
        let due: Vec<(usize, i64, i64)> = due.map(|(&key, _)| key).collect();
        for key in due {
            let window = self.give(key, watermark)?;
            output.inserts[key.0].windows.push(window);
        }
        self.revisable.retain(|key, _| !is_final(key));
        Ok(())
    }

    /// The rows without those of windows above that hold one which may be cut off: nobody knows what these lack.
    fn without_cut_off(&self, mut closed: Vec<Rows>) -> Result<Vec<Rows>, (usize, DataFusionError)> {
        let mut cut_off: BTreeSet<(usize, i64)> = BTreeSet::new();
        for rows in closed.iter().filter(|rows| self.whole_from[rows.leg] > EventTime::MIN) {
            let Some(batch) = &rows.rows else { continue };
            let from = self.whole_from[rows.leg].0;
            let [within, starts] = [0, 1].map(|column| batch.column(column).as_primitive::<TimestampMicrosecondType>());
            let cut = within.values().iter().zip(starts.values()).filter(|(_, start)| **start < from);
            cut_off.extend(cut.map(|(within, _)| (self.legs[rows.leg].0, *within)));
        }
        for rows in closed.iter_mut().filter(|_| !cut_off.is_empty()) {
            let (insert, _) = self.legs[rows.leg];
            let Some(batch) = rows.rows.take() else { continue };
            let is_whole = match self.plan.inserts[insert].legs.iter().any(|leg| leg.within.is_some()) {
                true => {
                    let within = batch.column(0).as_primitive::<TimestampMicrosecondType>().values().iter();
                    within.map(|within| Some(!cut_off.contains(&(insert, *within)))).collect()
                }
                false => BooleanArray::from(vec![true; batch.num_rows()]),
            };
            let whole = filter_record_batch(&batch, &is_whole).map_err(|source| (insert, source.into()))?;
            rows.rows = (whole.num_rows() > 0).then_some(whole);
        }
        Ok(closed)
    }

    /// Takes rows of windows that a worker has closed or changed.
    fn take(&mut self, index: usize, closed: Vec<Gathered>) {
        let published_below = self.published_below.get(index).copied().unwrap_or_default();
        for (from, rows) in closed {
            let [start, end] =
                [0, 1].map(|column| rows.column(column).as_primitive::<TimestampMicrosecondType>().value(0));
            let window = self.revisable.entry((index, start, end)).or_insert_with(|| Revisable {
                closed: BTreeMap::new(),
                given: Given { at: (EventTime(end) <= published_below).then_some(published_below), changed: false },
            });
            window.closed.insert(from, rows);
            window.given.changed = true;
        }
    }

    /// A window as it is now.
    fn give(&mut self, key: (usize, i64, i64), watermark: EventTime) -> Result<WindowRows, EngineError> {
        let (index, start, end) = key;
        let window = self.revisable.get_mut(&key).expect("it was just there");
        let closed: Vec<Gathered> = window.closed.iter().map(|(of, rows)| (*of, rows.clone())).collect();
        let again = window.given.at.is_some();
        window.given = Given { at: Some(watermark), changed: false };
        let mark = self.plan.inserts[index].window.mark_of(EventTime(start), EventTime(end));
        Ok(WindowRows { mark, rows: self.results(index, closed.into_iter())?, again })
    }

    /// The result's rows for all rows of some windows.
    fn results(&mut self, index: usize, closed: impl Iterator<Item = Gathered>) -> Result<RecordBatch, EngineError> {
        let insert = &self.plan.inserts[index];
        let mut by_leg: Vec<Vec<RecordBatch>> = vec![Vec::new(); insert.legs.len()];
        closed.for_each(|((leg, _), rows)| by_leg[leg].push(rows));
        let rows = match &mut self.above[index] {
            Some(above) => above.run(&by_leg),
            None => concat_batches(&insert.legs[0].closed_schema, &by_leg[0]).map_err(DataFusionError::from),
        };
        rows.and_then(|rows| selected(insert, rows)).map_err(|source| failed(insert, source))
    }
}

fn failed(insert: &Insert, source: DataFusionError) -> EngineError {
    EngineError::Evaluate { table: insert.table.clone(), window: None, source: Box::new(source) }
}
