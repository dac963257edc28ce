//! Which columns of a stream a job reads. Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion_physical_expr::PhysicalExpr;
use datafusion_physical_expr::utils::collect_columns;

use super::{Input, Plan};

impl Plan {
    /// Indices into the stream's record schema that the engine needs to compute every result over it: a history scan may
    /// leave the others null. Rows for a late table need all columns.
    pub fn columns_of(&self, stream: usize) -> BTreeSet<usize> {
        let definition = &self.streams[stream];
        let mut columns = BTreeSet::from([definition.event_time, definition.seen_index()]);
        for (_, leg) in self.legs() {
            for input in leg.inputs.iter().filter(|input| input.stream == stream) {
                if leg.window.goes_by_positions() || leg.window.is_without_end() {
                    columns.extend([definition.partition_index(), definition.offset_index()]);
                }
                for expression in input.expressions() {
                    let used = collect_columns(expression).into_iter().map(|column| column.index());
                    // What UNNEST adds comes behind the record's own.
                    columns.extend(used.filter(|&column| column < definition.record_schema().fields().len()));
                }
            }
        }
        columns
    }
}

impl Input {
    /// Every expression over the record schema.
    fn expressions(&self) -> impl Iterator<Item = &Arc<dyn PhysicalExpr>> {
        let keys = self.keys.iter().map(|key| &key.expression);
        let aggregates =
            self.aggregates.iter().flat_map(|aggregate| aggregate.arguments.iter().chain(&aggregate.filter));
        let unnest = self.unnest.iter().flat_map(|unnest| std::iter::once(&unnest.list).chain(&unnest.filter));
        self.filter.iter().chain(unnest).chain(keys).chain(aggregates)
    }
}
