//! What a query does above its windows: second aggregates, window functions, DISTINCT, LIMIT. It runs over the rows of
//! closed windows, as a batch, on DataFusion's operators.
//!
//! Invariant: one answer. The input is sorted by all its columns and is one partition, ties of an ORDER BY fall by all
//! columns, and planning has made sure that nothing reaches over a window's edge; so the rows depend on the rows of the
//! windows alone, not on how many of them close together, nor on where they were kept.

mod operators;
mod rows;

use std::collections::BTreeMap;
use std::ops::Range;
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

/// Begins the names of the tables that stand for the rows of closed windows in [`Above::plan`]; the number of the leg follows.
const CLOSED: &str = "closed windows ";

/// Name of the table that stands for the rows of the closed windows of a leg.
pub(super) fn closed_table(leg: usize) -> String {
    format!("{CLOSED}{leg}")
}

/// The leg whose table has this name.
pub(super) fn leg_of(table: &str) -> Option<usize> {
    table.strip_prefix(CLOSED)?.parse().ok()
}

/// The part of a query above its windows.
#[derive(Clone, Debug)]
pub struct Above {
    plan: LogicalPlan,
    closed: Vec<Closed>,
    schema: SchemaRef,
    each_window: bool,
}

/// The rows of closed windows of one leg, as they come.
#[derive(Clone, Debug)]
pub(super) struct Closed {
    /// Their layout.
    pub schema: SchemaRef,
    /// The columns that tell their window.
    pub window: Range<usize>,
}

impl Above {
    /// The operators of `plan`, which reads a table for each leg ([`closed_table`]), laid out as `closed`. Its types are settled
    /// and its functions immutable. Fails if an operator or an expression can't be had.
    pub(super) fn new(plan: LogicalPlan, closed: Vec<Closed>) -> Result<Above> {
        let mut each_window = false;
        plan.apply_with_subqueries(|node| {
            each_window |= matches!(node, LogicalPlan::Limit(_));
            Ok(datafusion_common::tree_node::TreeNodeRecursion::Continue)
        })?;
        let fields = plan.schema().fields().iter().enumerate();
        let fields = fields.map(|(index, field)| Field::new(format!("c{index}"), field.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let above = Above { plan, closed, schema, each_window };
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
        let rows: Vec<Arc<Rows>> =
            self.closed.iter().enumerate().map(|(leg, closed)| Arc::new(Rows::new(leg, closed))).collect();
        let operators = operators::operators(&self.plan, &rows)?;
        Ok(Running { rows, operators, schema: Arc::clone(&self.schema), each_window: self.each_window })
    }
}

/// The operators of one worker.
#[derive(Debug)]
pub struct Running {
    rows: Vec<Arc<Rows>>,
    operators: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
    each_window: bool,
}

impl Running {
    /// What comes out for whole closed windows, whose rows are in `closed`, for each leg, laid out as
    /// [`super::Leg::gathered_schema`].
    pub fn run(&mut self, closed: &[Vec<RecordBatch>]) -> Result<RecordBatch> {
        let sorted = self.rows.iter().zip(closed).map(|(rows, closed)| rows.sorted(closed));
        let sorted = sorted.collect::<Result<Vec<_>>>()?;
        let mut results = Vec::new();
        for parts in if self.each_window { self.by_window(&sorted)? } else { vec![sorted] } {
            self.rows.iter().zip(parts).for_each(|(rows, part)| rows.put(part));
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

    /// Sorted rows of each leg, cut by window: for each window, in order, those of each leg.
    fn by_window(&self, sorted: &[RecordBatch]) -> Result<Vec<Vec<RecordBatch>>> {
        let empty: Vec<RecordBatch> = sorted.iter().map(|rows| rows.slice(0, 0)).collect();
        let mut windows: BTreeMap<Vec<i64>, Vec<RecordBatch>> = BTreeMap::new();
        for (leg, (rows, sorted)) in self.rows.iter().zip(sorted).enumerate() {
            for (window, part) in rows.windows(sorted)? {
                windows.entry(window).or_insert_with(|| empty.clone())[leg] = part;
            }
        }
        Ok(windows.into_values().collect())
    }
}
