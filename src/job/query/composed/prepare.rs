//! A query as written, made ready for DataFusion: `*` over a window written out, and all of a window's columns in a
//! GROUP BY that names one.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, Function, GroupByExpr, Ident, Query, Select, SelectItem, SetExpr, TableFactor, Visit, VisitMut, Visitor,
    VisitorMut,
};

use super::super::catalog::FUNCTIONS;
use super::super::names::function_name;
use super::super::shape::identifier;
use crate::job::definition::{InsertDefinition, WindowInput};
use crate::windows::{COUNT_WINDOW_COLUMNS, WINDOW_COLUMNS, Window};

/// Whether the query of `insert` has more layers than one aggregate over one window.
pub(super) fn is_composed(insert: &InsertDefinition) -> bool {
    let query = insert.query.as_ref();
    if query.with.is_some() || query.limit_clause.is_some() || query.fetch.is_some() {
        return true;
    }
    let select = match query.body.as_ref() {
        SetExpr::Select(select) => select,
        other => return matches!(other, SetExpr::SetOperation { .. }),
    };
    let groups = match &select.group_by {
        GroupByExpr::Expressions(expressions, _) => !expressions.is_empty(),
        GroupByExpr::All(_) => true,
    };
    let derived = select.from.iter().any(|table| matches!(table.relation, TableFactor::Derived { .. }));
    let of_query = insert.windows.iter().any(|call| matches!(call.input, WindowInput::Query(_)));
    let several = insert.windows.len() > 1 || (insert.windows.len() == 1 && joins(select));
    let aggregates = select.projection.iter().any(|item| item.visit(&mut HasAggregate).is_break());
    let plain_rows = !groups && !aggregates && select.having.is_none() && !insert.windows.is_empty();
    derived
        || of_query
        || several
        || plain_rows
        || select.distinct.is_some()
        || select.qualify.is_some()
        || matches!(&select.group_by, GroupByExpr::Expressions(groups, _) if groups.iter().any(is_several_sets))
        || !select.named_window.is_empty()
        || query.visit(&mut HasOver).is_break()
}

fn joins(select: &Select) -> bool {
    select.from.len() > 1 || select.from.iter().any(|table| !table.joins.is_empty())
}

/// Finds an aggregate that isn't a window function.
struct HasAggregate;

impl Visitor for HasAggregate {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        match expression {
            Expr::Function(function) if function.over.is_none() && is_aggregate(function) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn is_aggregate(function: &Function) -> bool {
    FUNCTIONS.aggregates.contains_key(&function_name(function))
}

/// Finds a window function.
struct HasOver;

impl Visitor for HasOver {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        match expression {
            Expr::Function(function) if function.over.is_some() => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// What `*` over a window stands for.
pub(in crate::job::query) struct Visible<'a> {
    /// The name of the window, or of the stream.
    pub relation: &'a str,
    /// The window, if it is one.
    pub window: Option<Window>,
    /// The columns.
    pub columns: &'a [String],
}

/// `query` with each `*` over a window written out, and all edges of the window in a GROUP BY over it
/// that names enough of them.
pub(in crate::job::query) fn prepared(query: &Query, windows: &[Visible<'_>]) -> Query {
    let mut query = query.clone();
    // The walk never breaks off.
    let _ = VisitMut::visit(&mut query, &mut Prepare { windows });
    query
}

struct Prepare<'a> {
    windows: &'a [Visible<'a>],
}

impl VisitorMut for Prepare<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if let Some((qualifier, visible)) = self.read(select) {
            write_out_stars(select, &qualifier, visible.columns);
            if let Some(window) = &visible.window {
                add_edges(select, &qualifier, window);
            }
        }
        ControlFlow::Continue(())
    }
}

impl<'a> Prepare<'a> {
    /// By what the window's columns are qualified, and the window, if `select` reads one and nothing else.
    fn read(&self, select: &Select) -> Option<(String, &'a Visible<'a>)> {
        let [from] = select.from.as_slice() else { return None };
        let TableFactor::Table { name, alias, .. } = &from.relation else { return None };
        let written = name.0.last().and_then(|part| part.as_ident()).map(identifier)?;
        let window = self.windows.iter().find(|window| from.joins.is_empty() && written == window.relation)?;
        let qualifier = alias.as_ref().map_or(written, |alias| identifier(&alias.name));
        Some((qualifier, window))
    }
}

fn write_out_stars(select: &mut Select, qualifier: &str, columns: &[String]) {
    let items = std::mem::take(&mut select.projection);
    for item in items {
        match item {
            SelectItem::Wildcard(options) if is_plain(&options) => {
                select.projection.extend(columns.iter().map(|name| SelectItem::UnnamedExpr(column(qualifier, name))));
            }
            other => select.projection.push(other),
        }
    }
}

fn is_plain(options: &datafusion_sql::sqlparser::ast::WildcardAdditionalOptions) -> bool {
    options.opt_exclude.is_none()
        && options.opt_except.is_none()
        && options.opt_replace.is_none()
        && options.opt_rename.is_none()
        && options.opt_ilike.is_none()
}

fn is_several_sets(group: &Expr) -> bool {
    matches!(group, Expr::GroupingSets(_) | Expr::Rollup(_) | Expr::Cube(_))
}

/// Adds all edges of `window` to a GROUP BY that names enough of them to tell one from another: DataFusion doesn't know that
/// one decides the others.
fn add_edges(select: &mut Select, qualifier: &str, window: &Window) {
    let GroupByExpr::Expressions(groups, _) = &mut select.group_by else { return };
    let named = edges_of(groups);
    let by_start = named.contains(&"window_start");
    let by_end = named.contains(&"window_end") || named.contains(&"window_time");
    let are_told = match window {
        Window::Cumulating(_) => by_end,
        window if window.edges_decide_each_other() => by_start || by_end,
        _ => by_start && by_end,
    };
    if are_told {
        let all: &[&str] = if window.has_reason() { &COUNT_WINDOW_COLUMNS } else { &WINDOW_COLUMNS };
        let missing = all.iter().filter(|name| !named.contains(name));
        groups.extend(missing.map(|name| column(qualifier, name)));
    }
}

/// The columns of the window that GROUP BY expressions name; of grouping sets those that all of them name.
fn edges_of(groups: &[Expr]) -> Vec<&'static str> {
    let is_named = |edge: &str| {
        groups.iter().any(|group| match group {
            Expr::Identifier(ident) => identifier(ident) == edge,
            Expr::CompoundIdentifier(parts) => parts.last().is_some_and(|ident| identifier(ident) == edge),
            Expr::GroupingSets(sets) => sets.iter().all(|set| edges_of(set).contains(&edge)),
            _ => false,
        })
    };
    COUNT_WINDOW_COLUMNS.into_iter().filter(|edge| is_named(edge)).collect()
}

fn column(qualifier: &str, name: &str) -> Expr {
    Expr::CompoundIdentifier(vec![Ident::with_quote('"', qualifier), Ident::with_quote('"', name)])
}
