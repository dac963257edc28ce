//! Which clauses a query without a window may have. What looks at several records is refused with the place of the clause,
//! and with what to write instead.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, GroupByExpr, Query, Select, SetExpr, Spanned as _, TableFactor, Visit, Visitor,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use crate::job::Problems;
use crate::job::definition::InsertDefinition;
use crate::job::query::catalog::FUNCTIONS;
use crate::job::query::composed;
use crate::job::query::names::function_name;
use crate::job::query::shape::{ORDER_ALONE, identifier};
use crate::windows::COUNT_WINDOW_COLUMNS;

/// The stream that a query reads.
pub(super) struct Read {
    /// Its name.
    pub(super) name: String,
    /// Where it stands.
    pub(super) span: Span,
}

/// What is said of something that looks at several records of the stream, if that is known: why not, and the way out.
pub(super) fn needs_state(what: &str, stream: Option<&str>) -> (String, String) {
    let stream = stream.unwrap_or("stream");
    let message = format!("{what} needs state outside a window, which would never end");
    let help = format!(
        "put it inside windows: FROM TUMBLE({stream}, time, INTERVAL '1 minute'), with window_start and window_end in every group"
    );
    (message, help)
}

/// Looks through the query: the stream that it reads, or `None`, when something is refused.
pub(super) fn check(insert: &InsertDefinition, problems: &mut Problems) -> Option<Read> {
    let fallback = composed::place(insert);
    let mut found = Found::default();
    // The walk never breaks off.
    let _ = insert.query.visit(&mut found);
    let mut read = found.tables.into_iter().filter(|table| !found.layers.contains(&table.name));
    let (first, second) = (read.next(), read.next());
    let stream = first.as_ref().map(|read| read.name.clone());
    let before = problems.len();
    // What is meant as one query over a window is told as one problem.
    if let Some(refused) = found.refused.into_iter().min_by_key(|refused| refused.what) {
        let span = if refused.span == Span::empty() { fallback } else { refused.span };
        let (message, help) = refused.words(stream.as_deref());
        problems.add(span, message, help);
    } else if let Some(again) = second {
        let (message, help) = needs_state("a join", stream.as_deref());
        problems.add(again.span, message, help);
    }
    let Some(read) = first else {
        problems.add(fallback, "the query reads no stream", "write FROM and the name of a stream");
        return None;
    };
    (problems.len() == before).then_some(read)
}

/// What a query can't have, what says most first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    WindowColumn,
    SetOperation,
    GroupBy,
    Aggregate,
    Having,
    Distinct,
    Over,
    Qualify,
    Limit,
    OrderBy,
}

struct Refused {
    what: What,
    span: Span,
}

impl Refused {
    /// What is wrong, and the way out.
    fn words(&self, stream: Option<&str>) -> (String, String) {
        let what = match self.what {
            What::WindowColumn => {
                let (_, help) = needs_state("", stream);
                return ("this is a column of a window, and the query has none".to_owned(), help);
            }
            What::SetOperation => {
                let help = "write one INSERT for each SELECT, each into a table of its own";
                return ("UNION, EXCEPT and INTERSECT aren't supported without a window".to_owned(), help.to_owned());
            }
            What::OrderBy => return (ORDER_ALONE.0.to_owned(), ORDER_ALONE.1.to_owned()),
            What::GroupBy => "GROUP BY",
            What::Aggregate => "an aggregate",
            What::Having => "HAVING",
            What::Distinct => "DISTINCT",
            What::Over => "OVER",
            What::Qualify => "QUALIFY",
            What::Limit => "LIMIT",
        };
        needs_state(what, stream)
    }
}

#[derive(Default)]
struct Found {
    tables: Vec<Read>,
    /// Names of CTEs.
    layers: Vec<String>,
    refused: Vec<Refused>,
}

impl Found {
    fn refuse(&mut self, what: What, span: Span) {
        self.refused.push(Refused { what, span });
    }
}

impl Visitor for Found {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let layers = query.with.iter().flat_map(|with| &with.cte_tables);
        self.layers.extend(layers.map(|layer| identifier(&layer.alias.name)));
        if let Some(order) = &query.order_by {
            self.refuse(What::OrderBy, order.span());
        }
        if query.limit_clause.is_some() || query.fetch.is_some() {
            self.refuse(What::Limit, query.limit_clause.as_ref().map_or_else(Span::empty, |limit| limit.span()));
        }
        if matches!(query.body.as_ref(), SetExpr::SetOperation { .. }) {
            self.refuse(What::SetOperation, query.body.span());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        let here = select.select_token.0.span;
        if select.distinct.is_some() {
            self.refuse(What::Distinct, here);
        }
        let groups = match &select.group_by {
            GroupByExpr::Expressions(expressions, modifiers) => !expressions.is_empty() || !modifiers.is_empty(),
            GroupByExpr::All(_) => true,
        };
        if groups {
            self.refuse(What::GroupBy, select.group_by.span());
        } else if let Some(having) = &select.having {
            self.refuse(What::Having, having.span());
        }
        if let Some(condition) = &select.qualify {
            self.refuse(What::Qualify, condition.span());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, .. } = table {
            let written = name.0.last().and_then(|part| part.as_ident()).map(identifier).unwrap_or_default();
            self.tables.push(Read { name: written, span: name.span() });
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        let name = match expression {
            Expr::Identifier(name) => Some(name),
            Expr::CompoundIdentifier(parts) => parts.last(),
            _ => None,
        };
        // No stream has a column of such a name.
        if let Some(name) = name.filter(|name| COUNT_WINDOW_COLUMNS.contains(&identifier(name).as_str())) {
            self.refuse(What::WindowColumn, name.span);
        }
        if let Expr::Function(function) = expression {
            let is_aggregate = FUNCTIONS.aggregates.contains_key(&function_name(function));
            if function.over.is_some() {
                self.refuse(What::Over, function.name.span());
            } else if is_aggregate {
                self.refuse(What::Aggregate, function.name.span());
            }
        }
        ControlFlow::Continue(())
    }
}
