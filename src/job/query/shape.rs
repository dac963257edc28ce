//! Which clauses a query of one layer has: one SELECT with GROUP BY over one window. All others are refused here, with the
//! place of the clause; queries of several layers are planned in `composed`.

use datafusion_sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, Query, Select, SelectItem, SetExpr, Spanned as _, TableFactor, Value, ValueWithSpan,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use crate::job::Problems;
use crate::job::definition::InsertDefinition;

/// The clauses of a query that can be planned.
pub(super) struct Shape<'a> {
    /// The SELECT.
    pub select: &'a Select,
    /// Its columns, in order.
    pub items: Vec<Item<'a>>,
    /// By what columns are qualified: the alias in FROM, or the relation's name.
    pub qualifier: String,
    /// GROUP BY, in order; not empty.
    pub group: &'a [Expr],
}

/// One item of the SELECT list.
pub(super) struct Item<'a> {
    /// What is computed.
    pub expression: &'a Expr,
    /// The name given by AS.
    pub alias: Option<&'a Ident>,
}

impl Item<'_> {
    /// The expression, or the whole item where that has no place of its own.
    pub(super) fn span(&self) -> Span {
        let span = self.expression.span();
        if span == Span::empty() { self.alias.map_or(span, |alias| alias.span) } else { span }
    }
}

impl<'a> Shape<'a> {
    /// What a GROUP BY expression stands for: itself, or the item that it names by alias or number.
    /// A column of the stream goes before an alias, as in DataFusion and Postgres.
    pub(super) fn group_target(&self, expression: &'a Expr, is_column: impl Fn(&str) -> bool) -> &'a Expr {
        match expression {
            Expr::Identifier(ident) if !is_column(&identifier(ident)) => self
                .items
                .iter()
                .find(|item| item.alias.is_some_and(|alias| identifier(alias) == identifier(ident)))
                .map_or(expression, |item| item.expression),
            Expr::Value(ValueWithSpan { value: Value::Number(number, _), .. }) => number
                .to_string()
                .parse::<usize>()
                .ok()
                .and_then(|number| self.items.get(number.checked_sub(1)?))
                .map_or(expression, |item| item.expression),
            Expr::Nested(inner) => self.group_target(inner, is_column),
            _ => expression,
        }
    }
}

/// The name that an identifier means: as it is in quotes, else in lower case.
pub(super) fn identifier(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() }
}

/// The clauses of `insert`'s query; `None` when one of them is refused.
pub(super) fn shape<'a>(insert: &'a InsertDefinition, problems: &mut Problems) -> Option<Shape<'a>> {
    let query = insert.query.as_ref();
    let mut refusals = Refusals { problems, count: 0, fallback: fallback(insert) };
    refuse_around_select(query, &mut refusals);
    let select = match query.body.as_ref() {
        SetExpr::Select(select) => select.as_ref(),
        SetExpr::Query(inner) => {
            refusals.add(inner.span(), "a SELECT in parentheses isn't supported", "write it without them");
            return None;
        }
        other => {
            refusals.add(
                other.span(),
                "an INSERT needs a SELECT",
                "write SELECT … FROM TUMBLE(…) GROUP BY window_start, window_end, …",
            );
            return None;
        }
    };
    refuse_in_select(select, &mut refusals);
    let qualifier = relation(insert, select, &mut refusals);
    let items = items(select, &mut refusals);
    let group = group(select, &mut refusals);
    if refusals.count > 0 {
        return None;
    }
    Some(Shape { select, items, qualifier: qualifier?, group: group? })
}

/// Where to point at when a clause has no place of its own.
pub(super) fn fallback(insert: &InsertDefinition) -> Span {
    let span = insert.query.span();
    if span == Span::empty() { insert.table.span } else { span }
}

struct Refusals<'p> {
    problems: &'p mut Problems,
    count: usize,
    fallback: Span,
}

impl Refusals<'_> {
    fn add(&mut self, span: Span, message: &str, help: &str) {
        let span = if span == Span::empty() { self.fallback } else { span };
        self.problems.add(span, message, help);
        self.count += 1;
    }
}

/// ORDER BY without LIMIT: what is wrong, and the way out.
pub(super) const ORDER_ALONE: (&str, &str) = (
    "ORDER BY isn't possible in an INSERT",
    "rows are a set: readers sort them; files are sorted by window and keys. With LIMIT it gives the first rows of each window",
);

fn refuse_around_select(query: &Query, refusals: &mut Refusals<'_>) {
    if let Some(order_by) = &query.order_by {
        refusals.add(order_by.span(), ORDER_ALONE.0, ORDER_ALONE.1);
    }
    let odd = !query.locks.is_empty()
        || query.for_clause.is_some()
        || query.settings.is_some()
        || query.format_clause.is_some()
        || !query.pipe_operators.is_empty();
    if odd {
        refusals.add(
            Span::empty(),
            "FOR, SETTINGS, FORMAT and |> aren't possible behind a SELECT",
            "leave the clause out",
        );
    }
}

fn refuse_in_select(select: &Select, refusals: &mut Refusals<'_>) {
    let from_here = select.select_token.0.span;
    if let Some(prewhere) = &select.prewhere {
        refusals.add(prewhere.span(), "PREWHERE isn't possible", "write WHERE");
    }
    let odd = [
        (select.top.is_some(), "TOP"),
        (select.into.is_some(), "INTO"),
        (select.exclude.is_some(), "EXCLUDE"),
        (select.select_modifiers.is_some(), "a modifier behind SELECT"),
        (select.value_table_mode.is_some(), "SELECT AS"),
        (!select.lateral_views.is_empty(), "LATERAL VIEW"),
        (!select.connect_by.is_empty(), "CONNECT BY"),
        (!select.cluster_by.is_empty(), "CLUSTER BY"),
        (!select.distribute_by.is_empty(), "DISTRIBUTE BY"),
        (!select.sort_by.is_empty(), "SORT BY"),
    ];
    for (_, clause) in odd.into_iter().filter(|(written, _)| *written) {
        refusals.add(from_here, &format!("{clause} isn't possible in an INSERT"), "leave it out");
    }
}

/// The name by which the window's columns are qualified.
fn relation(insert: &InsertDefinition, select: &Select, refusals: &mut Refusals<'_>) -> Option<String> {
    const JOIN: &str = "write one INSERT for each, or join the results where they are read";
    let Some(first) = select.from.first() else {
        refusals.add(
            select.select_token.0.span,
            "a SELECT needs FROM",
            "write FROM TUMBLE(stream, time, INTERVAL '1 minute')",
        );
        return None;
    };
    if let Some(second) = select.from.get(1) {
        refusals.add(second.span(), "several tables in FROM aren't supported yet", JOIN);
        return None;
    }
    if let Some(join) = first.joins.first() {
        refusals.add(join.span(), "joins aren't supported yet", JOIN);
        return None;
    }
    let TableFactor::Table { name, alias, sample, args, .. } = &first.relation else {
        let help = "write FROM TUMBLE(stream, time, INTERVAL '1 minute')";
        refusals.add(first.relation.span(), "FROM takes one window of one stream", help);
        return None;
    };
    if sample.is_some() {
        refusals.add(
            name.span(),
            "TABLESAMPLE would leave records to chance",
            "filter by a function of a column, in WHERE",
        );
    }
    let written = name.0.last().and_then(|part| part.as_ident()).map(identifier).unwrap_or_default();
    let Some(window) = insert.windows.iter().find(|window| window.relation == written).filter(|_| args.is_none())
    else {
        refusals.add(
            name.span(),
            "a table beside a window isn't supported yet",
            &format!("write FROM TUMBLE({written}, time, INTERVAL '1 minute') and GROUP BY window_start, window_end"),
        );
        return None;
    };
    let Some(alias) = alias else { return Some(window.relation.clone()) };
    if let Some(column) = alias.columns.first() {
        refusals.add(
            column.name.span,
            "column names behind an alias aren't supported",
            "name columns with AS in the SELECT list",
        );
    }
    Some(identifier(&alias.name))
}

fn items<'a>(select: &'a Select, refusals: &mut Refusals<'_>) -> Vec<Item<'a>> {
    let mut items = Vec::with_capacity(select.projection.len());
    for item in &select.projection {
        match item {
            SelectItem::UnnamedExpr(expression) => items.push(Item { expression, alias: None }),
            SelectItem::ExprWithAlias { expr, alias } => items.push(Item { expression: expr, alias: Some(alias) }),
            SelectItem::ExprWithAliases { expr, .. } => {
                refusals.add(
                    expr.span(),
                    "several names for one expression aren't supported",
                    "give it one name with AS",
                );
            }
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..) => refusals.add(
                item.span(),
                "* would select columns that aren't in GROUP BY",
                "list the columns: window_start, window_end, keys and aggregates",
            ),
        }
    }
    items
}

fn group<'a>(select: &'a Select, refusals: &mut Refusals<'_>) -> Option<&'a [Expr]> {
    let (expressions, modifiers) = match &select.group_by {
        GroupByExpr::Expressions(expressions, modifiers) => (expressions, modifiers),
        GroupByExpr::All(_) => {
            refusals.add(
                select.group_by.span(),
                "GROUP BY ALL isn't supported",
                "list the columns: GROUP BY window_start, window_end, …",
            );
            return None;
        }
    };
    if !modifiers.is_empty() {
        refusals.add(
            select.group_by.span(),
            "WITH ROLLUP, CUBE and TOTALS aren't supported yet",
            "write one INSERT for each set of keys",
        );
    }
    if expressions.is_empty() {
        refusals.add(
            select.select_token.0.span,
            "a SELECT without GROUP BY isn't supported yet",
            "group by the window: GROUP BY window_start, window_end, and take values with aggregates",
        );
        return None;
    }
    Some(expressions)
}
