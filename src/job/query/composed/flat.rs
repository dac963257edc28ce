//! Projections and filters over one table, put together: what each column is over the table, and which rows are left.

use datafusion_common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion_common::{Column, DFSchemaRef, Result};
use datafusion_expr::{Expr, LogicalPlan};

use super::super::expression::unaliased;

/// A plan of nothing but projections and filters.
#[derive(Debug)]
pub(super) struct Flat {
    /// What the plan's columns are over the table's, which are unqualified.
    pub columns: Vec<Expr>,
    /// The conditions, all of which must hold.
    pub filters: Vec<Expr>,
}

impl Flat {
    /// `plan` as one over `table`; `None` if it is anything else.
    pub(super) fn of(plan: &LogicalPlan, table: &str) -> Option<Flat> {
        match plan {
            LogicalPlan::TableScan(scan) if scan.table_name.table() == table && scan.filters.is_empty() => {
                let names = scan.projected_schema.fields().iter().map(|field| field.name());
                let columns = names.map(|name| Expr::Column(Column::new_unqualified(name))).collect();
                Some(Flat { columns, filters: Vec::new() })
            }
            LogicalPlan::SubqueryAlias(alias) => Flat::of(&alias.input, table),
            LogicalPlan::Filter(filter) => {
                let mut below = Flat::of(&filter.input, table)?;
                let condition = below.over_table(filter.predicate.clone(), filter.input.schema()).ok()?;
                below.filters.push(condition);
                Some(below)
            }
            LogicalPlan::Projection(projection) => {
                let below = Flat::of(&projection.input, table)?;
                let schema = projection.input.schema();
                let columns = projection.expr.iter().map(|column| below.over_table(column.clone(), schema));
                Some(Flat { columns: columns.collect::<Result<_>>().ok()?, filters: below.filters })
            }
            _ => None,
        }
    }

    /// `expression`, which names columns of the plan's `schema`, over the table.
    pub(super) fn over_table(&self, expression: Expr, schema: &DFSchemaRef) -> Result<Expr> {
        let rewritten = expression.transform_down(|expression| {
            Ok(match expression {
                Expr::Column(column) => {
                    let index = schema.index_of_column(&column)?;
                    Transformed::new(self.columns[index].clone(), true, TreeNodeRecursion::Jump)
                }
                other => Transformed::no(other),
            })
        })?;
        Ok(unaliased(rewritten.data))
    }
}
