//! From the rows of closed windows to rows of the result: HAVING or what the query does above its windows, then the
//! SELECT list.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::filter_record_batch;
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;

use super::epoch::EngineError;
use crate::job::{Insert, Plan, Running};

/// The columns of closed rows that tell their window: its start and its end.
pub(super) const WINDOW_OF_CLOSED: std::ops::Range<usize> = 0..2;

/// The result's rows for rows laid out as [`Insert::closed_schema`], or as what came out above.
pub(super) fn selected(insert: &Insert, mut rows: RecordBatch) -> Result<RecordBatch, DataFusionError> {
    if let Some(having) = &insert.having {
        let mask = having.evaluate(&rows)?.into_array(rows.num_rows())?;
        rows = filter_record_batch(&rows, mask.as_boolean())?;
    }
    let columns: Result<Vec<ArrayRef>, DataFusionError> =
        insert.columns.iter().map(|column| column.expression.evaluate(&rows)?.into_array(rows.num_rows())).collect();
    Ok(RecordBatch::try_new(insert.result_schema.clone(), columns?)?)
}

/// What the INSERTs of a plan do above their windows, on one worker.
pub(super) struct Finish {
    plan: Arc<Plan>,
    above: Vec<Option<Running>>,
}

impl Finish {
    /// Fails if an operator can't be set up.
    pub(super) fn new(plan: &Arc<Plan>) -> Result<Finish, EngineError> {
        let start = |insert: &Insert| {
            let running = insert.above.as_ref().map(|above| above.start()).transpose();
            running.map_err(|source| failed(insert, source))
        };
        let above = plan.inserts.iter().map(start).collect::<Result<_, _>>()?;
        Ok(Finish { plan: plan.clone(), above })
    }

    /// Whether the rows of an INSERT's closed windows must come together, each window's on one worker.
    pub(super) fn gathers(plan: &Plan) -> bool {
        plan.inserts.iter().any(|insert| insert.above.is_some())
    }

    /// The result's rows for `closed`, which holds all rows of its windows; the same for several windows as for each.
    pub(super) fn run(&mut self, insert: usize, closed: &[RecordBatch]) -> Result<RecordBatch, EngineError> {
        let above = self.above[insert].as_mut().expect("only such rows are gathered");
        let insert = &self.plan.inserts[insert];
        above.run(closed).and_then(|rows| selected(insert, rows)).map_err(|source| failed(insert, source))
    }
}

fn failed(insert: &Insert, source: DataFusionError) -> EngineError {
    EngineError::Evaluate { table: insert.table.clone(), window: None, source: Box::new(source) }
}
