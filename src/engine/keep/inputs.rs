//! Where a pane's keys and arguments stand in prepared rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use datafusion_common::DataFusionError;

use super::Fault;
use crate::engine::prepare::{Argument, Preparation};
use crate::job::{Kept, Leg};
use crate::windows::pane::PaneError;
use crate::windows::{Aggregation, Fed, Pane};

/// What the panes of one leg have in common, and how prepared rows go into one.
pub(in crate::engine) struct Inputs {
    aggregation: Arc<Aggregation>,
    keys: Range<usize>,
    arguments: Vec<Vec<Argument>>,
    filters: Vec<Option<usize>>,
}

impl Inputs {
    pub(super) fn new(leg: &Leg, preparation: &Preparation) -> Result<Inputs, PaneError> {
        let window_columns = leg.window_columns().len();
        let keys = &leg.closed_schema.fields()[window_columns..window_columns + leg.keys().len()];
        let keys = Arc::new(Schema::new(keys.to_vec()));
        let functions = leg.aggregates().iter().map(|aggregate| aggregate.function.clone()).collect();
        let aggregation = match leg.kept {
            Kept::Groups | Kept::Counted => Aggregation::new(keys, functions)?,
            Kept::Rows => Aggregation::of_rows(keys),
        };
        Ok(Inputs {
            aggregation: Arc::new(aggregation),
            keys: preparation.keys.clone(),
            arguments: preparation.arguments.clone(),
            filters: preparation.filters.clone(),
        })
    }

    pub(super) fn aggregation(&self) -> &Arc<Aggregation> {
        &self.aggregation
    }

    /// Adds prepared rows to a pane.
    pub(super) fn update(&self, pane: &mut Pane, rows: &RecordBatch) -> Result<(), Fault> {
        let Fed { keys, arguments, filters } = self.read(rows)?;
        Ok(pane.update(&keys, &arguments, &filters)?)
    }

    /// The keys of prepared rows, and what the aggregates take of them.
    pub(super) fn read(&self, rows: &RecordBatch) -> Result<Fed, Fault> {
        let count = rows.num_rows();
        let argument = |argument: &Argument| -> Result<ArrayRef, DataFusionError> {
            match argument {
                Argument::Column(index) => Ok(rows.column(*index).clone()),
                Argument::Constant(value) => value.to_array_of_size(count),
            }
        };
        let mut arguments = Vec::with_capacity(self.arguments.len());
        for of_aggregate in &self.arguments {
            let values: Result<Vec<ArrayRef>, DataFusionError> = of_aggregate.iter().map(argument).collect();
            arguments.push(values?);
        }
        let filters: Vec<Option<BooleanArray>> =
            self.filters.iter().map(|filter| filter.map(|index| rows.column(index).as_boolean().clone())).collect();
        Ok(Fed { keys: rows.columns()[self.keys.clone()].to_vec(), arguments, filters })
    }
}
