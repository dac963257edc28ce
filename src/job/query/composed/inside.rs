//! Whether a plan stays inside one window: which of its columns tell the window, from layer to layer, and a refusal where
//! a layer loses it.

use datafusion_common::JoinType;
use datafusion_expr::logical_plan::{Distinct, Join};
use datafusion_expr::utils::grouping_set_to_exprlist;
use datafusion_expr::{Expr, LogicalPlan, WindowFunctionDefinition};

use super::super::aggregate::Refusal;
use super::super::expression::unaliased;
use super::super::sets::Sets;
use super::nested::window_above;
use super::relation::Relation;
use crate::windows::{Window, WindowEdge};

/// A plan, as far as windows go.
#[derive(Clone)]
pub(super) struct Inside {
    /// The window that its rows are of.
    pub window: Window,
    /// For each of its columns, the instant of the window that it is.
    pub edges: Vec<Option<WindowEdge>>,
    /// The same, also of columns that are null where an outer join has found no row.
    or_null: Vec<Option<WindowEdge>>,
    /// Whether its windows are made of windows.
    pub is_nested: bool,
}

/// What `plan` is, which reads `relations`.
pub(super) fn inside(plan: &LogicalPlan, relations: &[Relation<'_>]) -> Result<Inside, Refusal> {
    let below = |plan: &LogicalPlan| inside(plan, relations);
    match plan {
        LogicalPlan::TableScan(scan) => {
            let name = scan.table_name.table();
            let Some(relation) = relations.iter().find(|relation| relation.call.relation == name) else {
                let message = format!("`{name}` is read without a window");
                return Err(Refusal::Words(message, format!("write FROM TUMBLE({name}, time, INTERVAL '1 minute')")));
            };
            let edges = scan.projected_schema.fields().iter().map(|field| edge(field.name()));
            Ok(Inside::of(relation.window, edges.collect(), false))
        }
        LogicalPlan::SubqueryAlias(alias) => below(&alias.input),
        LogicalPlan::Filter(filter) => below(&filter.input),
        LogicalPlan::Sort(sort) => below(&sort.input),
        LogicalPlan::Limit(limit) => below(&limit.input),
        LogicalPlan::Projection(projection) => {
            let below = Below { plan: &projection.input, inside: below(&projection.input)? };
            let above = projection.expr.iter().find_map(window_above);
            match above {
                Some((window, _)) => {
                    let edges = projection.expr.iter().map(|column| Some(window_above(column)?.1));
                    Ok(Inside::of(window, edges.collect(), true))
                }
                None => {
                    let edges = projection.expr.iter().map(|column| below.edge(column)).collect();
                    let or_null = projection.expr.iter().map(|column| below.edge_or_null(column)).collect();
                    Ok(Inside { edges, or_null, ..below.inside })
                }
            }
        }
        LogicalPlan::Aggregate(aggregate) => {
            let below = Below { plan: &aggregate.input, inside: below(&aggregate.input)? };
            let groups = grouping_set_to_exprlist(&aggregate.group_expr)?;
            let mut edges: Vec<Option<WindowEdge>> = groups.into_iter().map(|group| below.edge(group)).collect();
            match Sets::of(aggregate)? {
                None => told(&edges, "GROUP BY above a window")?,
                Some(sets) => edges = edges_of_sets(&edges, &sets)?,
            }
            edges.resize(aggregate.schema.fields().len(), None);
            Ok(Inside::of(below.inside.window, edges, below.inside.is_nested))
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let inside = below(input)?;
            told(&inside.edges, "DISTINCT above a window")?;
            Ok(inside)
        }
        LogicalPlan::Window(over) => {
            let below = Below { plan: &over.input, inside: below(&over.input)? };
            for expression in &over.window_expr {
                let Expr::WindowFunction(call) = unaliased(expression.clone()) else { continue };
                let moves = !call.params.window_frame.is_ever_expanding();
                if matches!(call.fun, WindowFunctionDefinition::AggregateUDF(_)) && moves {
                    let message = format!("`{}` OVER a frame whose beginning moves isn't supported", call.fun.name());
                    return Err(Refusal::Words(message, "begin the frame at UNBOUNDED PRECEDING".to_owned()));
                }
                let partition: Vec<Option<WindowEdge>> =
                    call.params.partition_by.iter().map(|key| below.edge(key)).collect();
                told(&partition, &format!("{} OVER: PARTITION BY", call.fun.name()))?;
            }
            Ok(below.inside.widened(over.schema.fields().len()))
        }
        LogicalPlan::Join(join) => joined(join, below(&join.left)?, below(&join.right)?),
        other => {
            let message = format!("{} isn't supported above a window", other.display());
            Err(Refusal::Words(message, "write one INSERT for each part of the query".to_owned()))
        }
    }
}

/// The edges that all sets hold: what a set lacks is null in its rows.
fn edges_of_sets(edges: &[Option<WindowEdge>], sets: &Sets) -> Result<Vec<Option<WindowEdge>>, Refusal> {
    for set in sets.holds() {
        let held: Vec<Option<WindowEdge>> =
            edges.iter().zip(set).map(|(edge, holds)| edge.filter(|_| *holds)).collect();
        told(&held, "every grouping set over a window")?;
    }
    let in_all = |index: usize| sets.holds().iter().all(|set| set[index]);
    Ok(edges.iter().enumerate().map(|(index, edge)| edge.filter(|_| in_all(index))).collect())
}

/// The layer below another.
struct Below<'p> {
    plan: &'p LogicalPlan,
    inside: Inside,
}

impl Below<'_> {
    /// The instant of the window that `expression` is, if it is one and nothing else.
    fn edge(&self, expression: &Expr) -> Option<WindowEdge> {
        match unaliased(expression.clone()) {
            Expr::Column(column) => self.inside.edges[self.plan.schema().maybe_index_of_column(&column)?],
            // Of the two sides of an outer join, one has the row.
            Expr::ScalarFunction(call) if call.func.name() == "coalesce" => {
                let mut edges = call.args.iter().map(|argument| self.edge_or_null(argument));
                let first = edges.next()??;
                edges.all(|edge| edge == Some(first)).then_some(first)
            }
            _ => None,
        }
    }

    /// The same, also where the expression is null as a join has found no row.
    fn edge_or_null(&self, expression: &Expr) -> Option<WindowEdge> {
        let Expr::Column(column) = unaliased(expression.clone()) else { return self.edge(expression) };
        self.inside.or_null[self.plan.schema().maybe_index_of_column(&column)?]
    }
}

impl Inside {
    fn of(window: Window, edges: Vec<Option<WindowEdge>>, is_nested: bool) -> Inside {
        Inside { window, or_null: edges.clone(), edges, is_nested }
    }

    /// With columns behind it that are no window's.
    fn widened(mut self, columns: usize) -> Inside {
        self.edges.resize(columns, None);
        self.or_null.resize(columns, None);
        self
    }
}

/// A join must not leave the window: its condition makes the windows of both sides equal.
fn joined(join: &Join, left: Inside, right: Inside) -> Result<Inside, Refusal> {
    if left.window != right.window {
        let message =
            format!("a join of windows that aren't the same: {} and {}", left.window.explain(), right.window.explain());
        return Err(Refusal::Words(message, "write the same window on both sides".to_owned()));
    }
    let edge = |inside: &Inside, plan: &LogicalPlan, expression: &Expr| {
        let Expr::Column(column) = unaliased(expression.clone()) else { return None };
        inside.edges[plan.schema().maybe_index_of_column(&column)?]
    };
    let equal: Vec<Option<WindowEdge>> = join
        .on
        .iter()
        .map(|(one, other)| {
            let one = edge(&left, &join.left, one)?;
            (edge(&right, &join.right, other) == Some(one)).then_some(one)
        })
        .collect();
    let decided = left.window.edges_decide_each_other() && equal.iter().any(Option::is_some);
    if !decided && told(&equal, "").is_err() {
        let message =
            "a join must make the windows of both sides equal: else it would reach over their edges".to_owned();
        let help = "add ON a.window_start = b.window_start AND a.window_end = b.window_end";
        return Err(Refusal::Words(message, help.to_owned()));
    }
    let columns = join.schema.fields().len();
    let (left_is_whole, right_is_whole) = match join.join_type {
        JoinType::Inner => (true, true),
        JoinType::Left => (true, false),
        JoinType::Right => (false, true),
        JoinType::Full => (false, false),
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => return Ok(left.widened(columns)),
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => return Ok(right.widened(columns)),
    };
    // What may be null tells no window.
    let of =
        |edges: Vec<Option<WindowEdge>>, is_whole: bool| edges.into_iter().map(move |edge| edge.filter(|_| is_whole));
    Ok(Inside {
        window: left.window,
        edges: of(left.edges, left_is_whole).chain(of(right.edges, right_is_whole)).collect(),
        or_null: left.or_null.into_iter().chain(right.or_null).collect(),
        is_nested: left.is_nested || right.is_nested,
    })
}

fn edge(name: &str) -> Option<WindowEdge> {
    match name {
        "window_start" => Some(WindowEdge::Start),
        "window_end" => Some(WindowEdge::End),
        "window_time" => Some(WindowEdge::Time),
        _ => None,
    }
}

fn told(columns: &[Option<WindowEdge>], place: &str) -> Result<(), Refusal> {
    let has = |edge: WindowEdge| columns.contains(&Some(edge));
    if has(WindowEdge::Start) && (has(WindowEdge::End) || has(WindowEdge::Time)) {
        return Ok(());
    }
    let message = format!("{place} must hold window_start and window_end: without the window its groups never end");
    Err(Refusal::Words(message, "add window_start and window_end, and select them in the query below".to_owned()))
}
