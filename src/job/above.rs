//! What a query does above its windows: second aggregates, window functions, DISTINCT, LIMIT. It runs over the rows of
//! closed windows, as a batch, on DataFusion's operators.
//!
//! Invariant: one answer. The input is sorted by all its columns and is one partition, ties of an ORDER BY fall by all
//! columns, and planning has made sure that nothing reaches over a window's edge; so the rows depend on the rows of the
//! windows alone, not on how many of them close together, nor on where they were kept.

mod operators;
mod rows;

use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use datafusion_common::Result;
use datafusion_execution::TaskContext;
use datafusion_expr::LogicalPlan;
use datafusion_physical_plan::{ExecutionPlan, execution_plan::reset_plan_states};
use futures::TryStreamExt as _;
use futures::executor::block_on;

use rows::Rows;

/// Name of the table that stands for the rows of closed windows in [`Above::plan`].
pub(super) const CLOSED: &str = "closed windows";

/// The part of a query above its windows.
#[derive(Clone, Debug)]
pub struct Above {
    plan: LogicalPlan,
    closed: SchemaRef,
    schema: SchemaRef,
    each_window: bool,
}

impl Above {
    /// The operators of `plan`, which reads one table, [`CLOSED`], laid out as `closed`. Its types are settled and its
    /// functions immutable. Fails if an operator or an expression can't be had.
    pub(super) fn new(plan: LogicalPlan, closed: &SchemaRef) -> Result<Above> {
        let mut each_window = false;
        plan.apply_with_subqueries(|node| {
            each_window |= matches!(node, LogicalPlan::Limit(_));
            Ok(datafusion_common::tree_node::TreeNodeRecursion::Continue)
        })?;
        let fields = plan.schema().fields().iter().enumerate();
        let fields = fields.map(|(index, field)| Field::new(format!("c{index}"), field.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let above = Above { plan, closed: Arc::clone(closed), schema, each_window };
        above.start()?;
        Ok(above)
    }

    /// Columns of what comes out: `c0`, `c1`, …
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The operators, for those who explain them or tell versions apart.
    pub fn operators(&self) -> Arc<dyn ExecutionPlan> {
        self.start().expect("they could be had when it was planned").operators
    }

    /// Operators of its own for one worker. Fails as [`Above::new`] would have.
    pub fn start(&self) -> Result<Running> {
        let rows = Arc::new(Rows::new(&self.closed));
        let operators = operators::operators(&self.plan, &rows)?;
        Ok(Running { rows, operators, schema: Arc::clone(&self.schema), each_window: self.each_window })
    }
}

/// The operators of one worker.
#[derive(Debug)]
pub struct Running {
    rows: Arc<Rows>,
    operators: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
    each_window: bool,
}

impl Running {
    /// What comes out for whole closed windows, whose rows are in `closed`, laid out as [`super::Insert::closed_schema`].
    pub fn run(&mut self, closed: &[RecordBatch]) -> Result<RecordBatch> {
        let sorted = rows::sorted(&concat_batches(self.rows.schema(), closed)?)?;
        let mut results = Vec::new();
        for part in if self.each_window { rows::windows(&sorted) } else { vec![sorted] } {
            self.rows.put(part);
            let operators = reset_plan_states(Arc::clone(&self.operators))?;
            // Everything is in memory, so nothing is ever waited for.
            let stream = operators.execute(0, Arc::new(TaskContext::default()))?;
            results.extend(block_on(stream.try_collect::<Vec<_>>())?);
        }
        let renamed =
            results.into_iter().map(|batch| RecordBatch::try_new(Arc::clone(&self.schema), batch.columns().to_vec()));
        let renamed = renamed.collect::<Result<Vec<_>, _>>()?;
        Ok(concat_batches(&self.schema, &renamed)?)
    }
}
