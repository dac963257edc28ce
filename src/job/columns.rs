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
                if leg.window.goes_by_positions() {
                    columns.extend([definition.partition_index(), definition.offset_index()]);
                }
                for expression in input.expressions() {
                    columns.extend(collect_columns(expression).into_iter().map(|column| column.index()));
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
        self.filter.iter().chain(keys).chain(aggregates)
    }
}
