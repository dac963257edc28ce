//! Projections and filters over one table, put together: what each column is over the table, and which rows are left.

use datafusion_common::{Column, DFSchemaRef, Result};
use datafusion_expr::{Expr, LogicalPlan};

use super::super::expression::over;
use super::nested::makes_windows;

/// A plan of nothing but projections and filters.
#[derive(Debug)]
pub(in crate::job::query) struct Flat {
    /// The table.
    pub table: String,
    /// What the plan's columns are over the table's, which are unqualified.
    pub columns: Vec<Expr>,
    /// The conditions, all of which must hold.
    pub filters: Vec<Expr>,
}

impl Flat {
    /// `plan` as one over a table; `None` if it is anything else, or makes windows of windows on the way.
    pub(in crate::job::query) fn of(plan: &LogicalPlan) -> Option<Flat> {
        let mut all = Flat::branches(plan)?;
        all.pop().filter(|_| all.is_empty())
    }

    /// The same for what UNION ALL puts together: one for each branch, in order.
    pub(super) fn branches(plan: &LogicalPlan) -> Option<Vec<Flat>> {
        match plan {
            LogicalPlan::TableScan(scan) if scan.filters.is_empty() => {
                let names = scan.projected_schema.fields().iter().map(|field| field.name());
                let columns = names.map(|name| Expr::Column(Column::new_unqualified(name))).collect();
                let table = scan.table_name.table().to_owned();
                Some(vec![Flat { table, columns, filters: Vec::new() }])
            }
            LogicalPlan::SubqueryAlias(alias) => Flat::branches(&alias.input),
            LogicalPlan::Filter(filter) => {
                let mut below = Flat::branches(&filter.input)?;
                for flat in &mut below {
                    let condition = flat.over_table(filter.predicate.clone(), filter.input.schema()).ok()?;
                    flat.filters.push(condition);
                }
                Some(below)
            }
            LogicalPlan::Projection(projection) if !projection.expr.iter().any(makes_windows) => {
                let mut below = Flat::branches(&projection.input)?;
                let schema = projection.input.schema();
                for flat in &mut below {
                    let columns = projection.expr.iter().map(|column| flat.over_table(column.clone(), schema));
                    flat.columns = columns.collect::<Result<_>>().ok()?;
                }
                Some(below)
            }
            LogicalPlan::Union(union) => {
                let branches: Option<Vec<Vec<Flat>>> = union.inputs.iter().map(|input| Flat::branches(input)).collect();
                Some(branches?.into_iter().flatten().collect())
            }
            _ => None,
        }
    }

    /// `expression`, which names columns of the plan's `schema`, over the table.
    pub(super) fn over_table(&self, expression: Expr, schema: &DFSchemaRef) -> Result<Expr> {
        over(expression, schema, &self.columns)
    }
}
