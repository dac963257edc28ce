//! Whether a plan stays inside one window: which of its columns tell the window, from layer to layer, and a refusal where
//! a layer loses it.

use datafusion_expr::logical_plan::Distinct;
use datafusion_expr::{Expr, LogicalPlan, WindowFunctionDefinition};

use super::super::aggregate::Refusal;
use super::super::expression::unaliased;
use crate::job::above::leg_of;
use crate::windows::{Window, WindowEdge};

/// For each column of `plan`, which is over the rows of closed windows, the instant of the window that it is.
pub(super) fn edges(plan: &LogicalPlan, window: &Window) -> Result<Vec<Option<WindowEdge>>, Refusal> {
    match plan {
        LogicalPlan::TableScan(scan) if leg_of(scan.table_name.table()).is_some() => {
            Ok(scan.projected_schema.fields().iter().map(|field| edge(field.name())).collect())
        }
        LogicalPlan::SubqueryAlias(alias) => edges(&alias.input, window),
        LogicalPlan::Filter(filter) => edges(&filter.input, window),
        LogicalPlan::Sort(sort) => edges(&sort.input, window),
        LogicalPlan::Limit(limit) => edges(&limit.input, window),
        LogicalPlan::Projection(projection) => {
            let below = Below::new(&projection.input, window)?;
            Ok(projection.expr.iter().map(|column| below.edge(column)).collect())
        }
        LogicalPlan::Aggregate(aggregate) => {
            let below = Below::new(&aggregate.input, window)?;
            if matches!(aggregate.group_expr.as_slice(), [Expr::GroupingSet(_)]) {
                let help = "write one INSERT for each set of keys";
                return Err(Refusal::Words("GROUPING SETS, ROLLUP and CUBE aren't supported yet".into(), help.into()));
            }
            let mut columns: Vec<Option<WindowEdge>> =
                aggregate.group_expr.iter().map(|group| below.edge(group)).collect();
            told(&columns, window, "GROUP BY above a window")?;
            columns.resize(aggregate.schema.fields().len(), None);
            Ok(columns)
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let columns = edges(input, window)?;
            told(&columns, window, "DISTINCT above a window")?;
            Ok(columns)
        }
        LogicalPlan::Window(over) => {
            let below = Below::new(&over.input, window)?;
            for expression in &over.window_expr {
                let Expr::WindowFunction(call) = unaliased(expression.clone()) else { continue };
                let moves = !call.params.window_frame.is_ever_expanding();
                if matches!(call.fun, WindowFunctionDefinition::AggregateUDF(_)) && moves {
                    let message = format!("`{}` OVER a frame whose beginning moves isn't supported", call.fun.name());
                    return Err(Refusal::Words(message, "begin the frame at UNBOUNDED PRECEDING".to_owned()));
                }
                let partition: Vec<Option<WindowEdge>> =
                    call.params.partition_by.iter().map(|key| below.edge(key)).collect();
                told(&partition, window, &format!("{} OVER: PARTITION BY", call.fun.name()))?;
            }
            let mut columns = below.edges;
            columns.resize(over.schema.fields().len(), None);
            Ok(columns)
        }
        other => {
            let message = format!("{} isn't supported above a window", other.display());
            Err(Refusal::Words(message, "write one INSERT for each part of the query".to_owned()))
        }
    }
}

/// The layer below another.
struct Below<'p> {
    plan: &'p LogicalPlan,
    edges: Vec<Option<WindowEdge>>,
}

impl<'p> Below<'p> {
    fn new(plan: &'p LogicalPlan, window: &Window) -> Result<Below<'p>, Refusal> {
        Ok(Below { plan, edges: edges(plan, window)? })
    }

    /// The instant of the window that `expression` is, if it is one and nothing else.
    fn edge(&self, expression: &Expr) -> Option<WindowEdge> {
        let Expr::Column(column) = unaliased(expression.clone()) else { return None };
        self.edges[self.plan.schema().maybe_index_of_column(&column)?]
    }
}

fn edge(name: &str) -> Option<WindowEdge> {
    match name {
        "window_start" => Some(WindowEdge::Start),
        "window_end" => Some(WindowEdge::End),
        "window_time" => Some(WindowEdge::Time),
        _ => None,
    }
}

fn told(columns: &[Option<WindowEdge>], _window: &Window, place: &str) -> Result<(), Refusal> {
    let has = |edge: WindowEdge| columns.contains(&Some(edge));
    if has(WindowEdge::Start) && (has(WindowEdge::End) || has(WindowEdge::Time)) {
        return Ok(());
    }
    let message = format!("{place} must hold window_start and window_end: without the window its groups never end");
    Err(Refusal::Words(message, "add window_start and window_end, and select them in the query below".to_owned()))
}
