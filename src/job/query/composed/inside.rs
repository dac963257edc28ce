//! Whether a plan stays inside one window: which of its columns tell the window, from layer to layer, and a refusal where
//! a layer loses it.

use datafusion_common::{Column, JoinSide, JoinType};
use datafusion_expr::logical_plan::{Distinct, Join};
use datafusion_expr::utils::grouping_set_to_exprlist;
use datafusion_expr::{Expr, LogicalPlan, WindowFunctionDefinition};

use super::super::aggregate::Refusal;
use super::super::expression::unaliased;
use super::super::sets::Sets;
use super::flat::Flat;
use super::nested::window_above;
use super::partition;
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
    or_null: Vec<Option<OrNull>>,
    /// Whether its windows are made of windows.
    pub is_nested: bool,
    /// What of PARTITION BY its columns are.
    keys: Keys,
}

/// An instant of a window, of which not every row has one.
#[derive(Clone, Copy, PartialEq)]
struct OrNull {
    edge: WindowEdge,
    /// Of which side of which full join it is; each row has one of both sides. Else it may be null by itself.
    side: Option<(usize, JoinSide)>,
}

/// Keys that have windows of their own, where groups above must hold them ([`partition::own_keys`]).
#[derive(Clone)]
struct Keys {
    /// How many there are.
    count: usize,
    /// For each column, which key it is.
    of_columns: Vec<Option<usize>>,
    /// Why LIMIT can't be had of the window.
    no_limit: bool,
}

impl Keys {
    fn none(columns: usize) -> Keys {
        Keys { count: 0, of_columns: vec![None; columns], no_limit: false }
    }

    /// The same keys, where columns are others.
    fn of(&self, of_columns: Vec<Option<usize>>) -> Keys {
        Keys { of_columns, ..*self }
    }

    /// Refuses what doesn't hold all of them.
    fn told(&self, held: &[Option<usize>], place: &str) -> Result<(), Refusal> {
        if (0..self.count).all(|key| held.contains(&Some(key))) {
            return Ok(());
        }
        let message = format!(
            "{place} must hold what COUNT_WINDOW is partitioned by: a key's windows close when it has its records, whatever \
             the others have"
        );
        Err(Refusal::Words(message, "add the columns of PARTITION BY, and select them in the query below".to_owned()))
    }
}

/// What `plan` is, which reads `relations`.
pub(super) fn inside<'p>(plan: &'p LogicalPlan, relations: &'p [Relation<'_>]) -> Result<Inside, Refusal> {
    let below = |plan: &LogicalPlan| inside(plan, relations);
    let layer = |plan: &'p LogicalPlan| Ok::<_, Refusal>(Below { plan, inside: inside(plan, relations)?, relations });
    match plan {
        LogicalPlan::TableScan(scan) => {
            let name = scan.table_name.table();
            let Some(relation) = relations.iter().find(|relation| relation.call.relation == name) else {
                let message = format!("`{name}` is read without a window");
                return Err(Refusal::Words(message, format!("write FROM TUMBLE({name}, time, INTERVAL '1 minute')")));
            };
            let names = || scan.projected_schema.fields().iter().map(|field| field.name());
            let keys = Keys {
                count: partition::own_keys(relation).len(),
                of_columns: names()
                    .map(|name| partition::own_key(relation, &Expr::Column(Column::new_unqualified(name))))
                    .collect(),
                no_limit: partition::has_windows_beside_each_other(relation),
            };
            Ok(Inside::of(relation.window, names().map(|name| edge(name)).collect(), false, keys))
        }
        LogicalPlan::SubqueryAlias(alias) => below(&alias.input),
        LogicalPlan::Filter(filter) => below(&filter.input),
        LogicalPlan::Sort(sort) => below(&sort.input),
        LogicalPlan::Limit(limit) => {
            let below = below(&limit.input)?;
            if below.keys.no_limit {
                let message = format!(
                    "LIMIT over {} isn't supported: windows of different keys may begin and end together, and would share it",
                    below.window.name()
                );
                let help =
                    "number the rows with ROW_NUMBER() OVER (PARTITION BY window_start, window_end, key ORDER BY …)";
                return Err(Refusal::Words(message, help.to_owned()));
            }
            Ok(below)
        }
        LogicalPlan::Projection(projection) => {
            let below = layer(&projection.input)?;
            let above = projection.expr.iter().find_map(window_above);
            match above {
                Some((window, _)) => {
                    let edges = projection.expr.iter().map(|column| Some(window_above(column)?.1));
                    Ok(Inside::of(window, edges.collect(), true, Keys::none(projection.expr.len())))
                }
                None => {
                    let edges = projection.expr.iter().map(|column| below.edge(column)).collect();
                    let or_null = projection.expr.iter().map(|column| below.edge_or_null(column)).collect();
                    let keys = projection.expr.iter().map(|column| below.key(column)).collect();
                    Ok(Inside { edges, or_null, keys: below.inside.keys.of(keys), ..below.inside })
                }
            }
        }
        LogicalPlan::Aggregate(aggregate) => {
            let below = layer(&aggregate.input)?;
            let groups = grouping_set_to_exprlist(&aggregate.group_expr)?;
            let mut edges: Vec<Option<WindowEdge>> = groups.iter().map(|group| below.edge(group)).collect();
            let mut keys: Vec<Option<usize>> = groups.into_iter().map(|group| below.key(group)).collect();
            match Sets::of(aggregate)? {
                None => below.inside.told(&edges, &keys, "GROUP BY above a window")?,
                Some(sets) => (edges, keys) = below.inside.in_all_sets(&edges, &keys, &sets)?,
            }
            edges.resize(aggregate.schema.fields().len(), None);
            keys.resize(aggregate.schema.fields().len(), None);
            Ok(Inside::of(below.inside.window, edges, below.inside.is_nested, below.inside.keys.of(keys)))
        }
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let inside = below(input)?;
            inside.told(&inside.edges, &inside.keys.of_columns, "DISTINCT above a window")?;
            Ok(inside)
        }
        LogicalPlan::Window(over) => {
            let below = layer(&over.input)?;
            for expression in &over.window_expr {
                let Expr::WindowFunction(call) = unaliased(expression.clone()) else { continue };
                let moves = !call.params.window_frame.is_ever_expanding();
                if matches!(call.fun, WindowFunctionDefinition::AggregateUDF(_)) && moves {
                    let message = format!("`{}` OVER a frame whose beginning moves isn't supported", call.fun.name());
                    return Err(Refusal::Words(message, "begin the frame at UNBOUNDED PRECEDING".to_owned()));
                }
                let partition = &call.params.partition_by;
                let edges: Vec<Option<WindowEdge>> = partition.iter().map(|key| below.edge(key)).collect();
                let keys: Vec<Option<usize>> = partition.iter().map(|key| below.key(key)).collect();
                below.inside.told(&edges, &keys, &format!("{} OVER: PARTITION BY", call.fun.name()))?;
            }
            Ok(below.inside.widened(over.schema.fields().len()))
        }
        LogicalPlan::Union(union) => {
            let mut inputs = union.inputs.iter().map(|input| below(input));
            let first = inputs.next().unwrap_or_else(|| Err(nothing()))?;
            inputs.try_fold(first, |all, input| both_ways(all, input?))
        }
        LogicalPlan::Join(join) => joined(join, below(&join.left)?, below(&join.right)?),
        other => {
            let message = format!("{} isn't supported above a window", other.display());
            Err(Refusal::Words(message, "write one INSERT for each part of the query".to_owned()))
        }
    }
}

/// The layer below another.
struct Below<'p, 'r> {
    plan: &'p LogicalPlan,
    inside: Inside,
    relations: &'p [Relation<'r>],
}

impl Below<'_, '_> {
    /// The instant of the window that `expression` is, if it is one and nothing else.
    fn edge(&self, expression: &Expr) -> Option<WindowEdge> {
        match unaliased(expression.clone()) {
            Expr::Column(column) => self.inside.edges[self.plan.schema().maybe_index_of_column(&column)?],
            // Of the two sides of an outer join, one has the row.
            Expr::ScalarFunction(call) if call.func.name() == "coalesce" => {
                let edges: Option<Vec<OrNull>> = call.args.iter().map(|argument| self.edge_or_null(argument)).collect();
                let edges = edges?;
                let edge = edges.first()?.edge;
                let has = |side: (usize, JoinSide)| edges.iter().any(|other| other.side == Some(side));
                let is_whole = call.args.iter().any(|argument| self.edge(argument).is_some())
                    || edges.iter().filter_map(|edge| edge.side).any(|(join, side)| has((join, side.negate())));
                (is_whole && edges.iter().all(|other| other.edge == edge)).then_some(edge)
            }
            _ => None,
        }
    }

    /// The same, also where the expression is null as a join has found no row.
    fn edge_or_null(&self, expression: &Expr) -> Option<OrNull> {
        let Expr::Column(column) = unaliased(expression.clone()) else {
            return self.edge(expression).map(|edge| OrNull { edge, side: None });
        };
        self.inside.or_null[self.plan.schema().maybe_index_of_column(&column)?]
    }

    /// The key with windows of its own that `expression` is.
    fn key(&self, expression: &Expr) -> Option<usize> {
        if self.inside.keys.count == 0 {
            return None;
        }
        if let Expr::Column(column) = unaliased(expression.clone()) {
            return self.inside.keys.of_columns[self.plan.schema().maybe_index_of_column(&column)?];
        }
        let flat = Flat::of(self.plan)?;
        let relation = self.relations.iter().find(|relation| relation.call.relation == flat.table)?;
        partition::own_key(relation, &flat.over_table(expression.clone(), self.plan.schema()).ok()?)
    }
}

impl Inside {
    fn of(window: Window, edges: Vec<Option<WindowEdge>>, is_nested: bool, keys: Keys) -> Inside {
        let or_null = edges.iter().map(|edge| edge.map(|edge| OrNull { edge, side: None })).collect();
        Inside { window, or_null, edges, is_nested, keys }
    }

    /// Refuses what doesn't hold the window, and its keys where each has windows of its own.
    fn told(&self, edges: &[Option<WindowEdge>], keys: &[Option<usize>], place: &str) -> Result<(), Refusal> {
        told(edges, place)?;
        self.keys.told(keys, place)
    }

    /// The edges and keys that all sets hold: what a set lacks is null in its rows.
    fn in_all_sets(&self, edges: &[Option<WindowEdge>], keys: &[Option<usize>], sets: &Sets) -> Result<Held, Refusal> {
        for set in sets.holds() {
            self.told(&held(edges, set), &held(keys, set), "every grouping set over a window")?;
        }
        let in_all: Vec<bool> = (0..edges.len()).map(|index| sets.holds().iter().all(|set| set[index])).collect();
        Ok((held(edges, &in_all), held(keys, &in_all)))
    }

    /// With columns behind it that are no window's.
    fn widened(mut self, columns: usize) -> Inside {
        self.edges.resize(columns, None);
        self.or_null.resize(columns, None);
        self.keys.of_columns.resize(columns, None);
        self
    }
}

/// Edges and keys of columns.
type Held = (Vec<Option<WindowEdge>>, Vec<Option<usize>>);

/// Of what columns are what a set holds.
fn held<T: Copy>(columns: &[Option<T>], set: &[bool]) -> Vec<Option<T>> {
    columns.iter().zip(set).map(|(column, holds)| column.filter(|_| *holds)).collect()
}

/// What UNION ALL puts together is of one kind of window. A column is what it is in both.
fn both_ways(one: Inside, other: Inside) -> Result<Inside, Refusal> {
    if one.window != other.window {
        let (one, other) = (one.window.explain(), other.window.explain());
        let message = format!("UNION ALL of windows that aren't the same: {one} and {other}");
        return Err(Refusal::Words(message, "write the same window everywhere, or one INSERT for each".to_owned()));
    }
    if one.keys.count + other.keys.count > 0 {
        let message =
            "UNION ALL of COUNT_WINDOW isn't supported: its windows close when each has its records".to_owned();
        return Err(Refusal::Words(message, "write one INSERT for each SELECT".to_owned()));
    }
    let columns = one.edges.len();
    let edges = one.edges.iter().zip(&other.edges).map(|(one, other)| one.filter(|_| one == other)).collect();
    let keys = Keys { no_limit: one.keys.no_limit || other.keys.no_limit, ..Keys::none(columns) };
    Ok(Inside::of(one.window, edges, one.is_nested || other.is_nested, keys))
}

fn nothing() -> Refusal {
    Refusal::Words("UNION ALL of nothing".to_owned(), "write a SELECT".to_owned())
}

/// A join must not leave the window: its condition makes the windows of both sides equal.
fn joined(join: &Join, left: Inside, right: Inside) -> Result<Inside, Refusal> {
    if left.window != right.window {
        let message =
            format!("a join of windows that aren't the same: {} and {}", left.window.explain(), right.window.explain());
        return Err(Refusal::Words(message, "write the same window on both sides".to_owned()));
    }
    let place = |plan: &LogicalPlan, expression: &Expr| {
        let Expr::Column(column) = unaliased(expression.clone()) else { return None };
        plan.schema().maybe_index_of_column(&column)
    };
    let places: Vec<Option<(usize, usize)>> =
        join.on.iter().map(|(one, other)| Some((place(&join.left, one)?, place(&join.right, other)?))).collect();
    let equal = both(&places, &left.edges, &right.edges);
    let decided = left.window.edges_decide_each_other() && equal.iter().any(Option::is_some);
    if !decided && told(&equal, "").is_err() {
        let message =
            "a join must make the windows of both sides equal: else it would reach over their edges".to_owned();
        let help = "add ON a.window_start = b.window_start AND a.window_end = b.window_end";
        return Err(Refusal::Words(message, help.to_owned()));
    }
    left.keys.told(&both(&places, &left.keys.of_columns, &right.keys.of_columns), "a join's condition")?;
    let columns = join.schema.fields().len();
    let (left_is_whole, right_is_whole) = match join.join_type {
        JoinType::Inner => (true, true),
        JoinType::Left => (true, false),
        JoinType::Right => (false, true),
        JoinType::Full => (false, false),
        JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => return Ok(left.widened(columns)),
        JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => return Ok(right.widened(columns)),
    };
    let is_full = join.join_type == JoinType::Full;
    let number = std::ptr::from_ref(join).addr();
    let or_null = |inside: &Inside, is_whole: bool, side: JoinSide| {
        let side = is_full.then_some((number, side));
        let column = move |(edge, or_null): (&Option<WindowEdge>, &Option<OrNull>)| match (edge, or_null) {
            (Some(edge), _) if !is_whole => Some(OrNull { edge: *edge, side }),
            (None, Some(or_null)) if !is_whole => Some(OrNull { side: None, ..*or_null }),
            (_, or_null) => *or_null,
        };
        inside.edges.iter().zip(&inside.or_null).map(column).collect::<Vec<_>>()
    };
    let or_null =
        [or_null(&left, left_is_whole, JoinSide::Left), or_null(&right, right_is_whole, JoinSide::Right)].concat();
    Ok(Inside {
        window: left.window,
        edges: [whole(left.edges, left_is_whole), whole(right.edges, right_is_whole)].concat(),
        or_null,
        is_nested: left.is_nested || right.is_nested,
        keys: Keys {
            of_columns: [whole(left.keys.of_columns, left_is_whole), whole(right.keys.of_columns, right_is_whole)]
                .concat(),
            no_limit: left.keys.no_limit || right.keys.no_limit,
            ..left.keys
        },
    })
}

/// What each pair of equal columns is, if both are the same.
fn both<T: Copy + PartialEq>(
    places: &[Option<(usize, usize)>],
    left: &[Option<T>],
    right: &[Option<T>],
) -> Vec<Option<T>> {
    let same = |place: &Option<(usize, usize)>| {
        let (one, other) = (*place)?;
        left[one].filter(|_| left[one] == right[other])
    };
    places.iter().map(same).collect()
}

/// What may be null tells no window.
fn whole<T>(columns: Vec<Option<T>>, is_whole: bool) -> Vec<Option<T>> {
    columns.into_iter().map(|column| column.filter(|_| is_whole)).collect()
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
