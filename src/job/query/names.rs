//! The names in an expression, before DataFusion plans it: every unknown or forbidden one is a problem with its own
//! place, where DataFusion would stop at the first.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArgumentClause, FunctionArguments, Query, Spanned as _, Value, ValueWithSpan, Visit,
    Visitor,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::catalog::FUNCTIONS;
use super::refused::refused_aggregate;
use super::shape::identifier;
use crate::job::Problems;
use crate::job::suggest::nearest;

/// Where an expression stands, which decides what it may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clause {
    /// SELECT list: all columns, aggregates.
    Select,
    /// WHERE: the record's columns only.
    Where,
    /// PARTITION BY of a window: the record's columns only.
    PartitionBy,
    /// GROUP BY: all columns, names of the SELECT list.
    GroupBy,
    /// HAVING: all columns, names of the SELECT list, aggregates.
    Having,
    /// A computed column: columns read from the message only.
    Computed,
    /// WHEN of a watermark: columns of the stream only.
    When,
}

/// What the expressions of one query may name.
pub(super) struct Names<'a> {
    /// Qualifier of columns; `None` inside CREATE STREAM.
    pub qualifier: Option<&'a str>,
    /// Columns of a record.
    pub columns: &'a [String],
    /// Columns that the window adds.
    pub window_columns: &'a [&'static str],
    /// Names given by AS in the SELECT list.
    pub aliases: &'a [String],
    /// Where to point at when a name has no place of its own.
    pub fallback: Span,
}

/// What an expression uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Uses {
    /// A window column outside aggregates.
    pub window: bool,
    /// A column of the record outside aggregates.
    pub record: bool,
    /// An aggregate.
    pub aggregate: bool,
    /// A name of the SELECT list.
    pub alias: bool,
}

impl Names<'_> {
    /// Checks `expression`; `None` when something in it was refused.
    pub(super) fn check(&self, expression: &Expr, clause: Clause, problems: &mut Problems) -> Option<Uses> {
        let mut walk = Walk {
            names: self,
            clause,
            problems,
            refused: false,
            aggregates_open: 0,
            uses: Uses::default(),
            place: place(expression.span(), self.fallback),
        };
        // A subquery breaks off: its names aren't ours.
        let _ = expression.visit(&mut walk);
        (!walk.refused).then_some(walk.uses)
    }

    fn is_column(&self, name: &str) -> bool {
        self.columns.iter().any(|column| column == name)
    }

    fn is_alias(&self, name: &str) -> bool {
        self.aliases.iter().any(|alias| alias == name)
    }
}

fn place(span: Span, fallback: Span) -> Span {
    if span == Span::empty() { fallback } else { span }
}

/// `did you mean …?`, or `otherwise`.
pub(super) fn did_you_mean<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>, otherwise: String) -> String {
    nearest(name, candidates).map_or(otherwise, |candidate| format!("did you mean `{candidate}`?"))
}

struct Walk<'a> {
    names: &'a Names<'a>,
    clause: Clause,
    problems: &'a mut Problems,
    refused: bool,
    /// How many aggregates are around the expression visited.
    aggregates_open: usize,
    uses: Uses,
    place: Span,
}

impl Walk<'_> {
    fn refuse(&mut self, span: Span, message: String, help: impl Into<String>) {
        self.problems.add(place(span, self.place), message, help);
        self.refused = true;
    }

    fn column(&mut self, name: &str, span: Span) {
        let is_window = self.names.window_columns.contains(&name);
        if is_window {
            return self.window_column(name, span);
        }
        if self.names.is_column(name) {
            self.uses.record |= self.aggregates_open == 0;
            return;
        }
        let aliased = self.names.is_alias(name);
        if aliased && matches!(self.clause, Clause::GroupBy | Clause::Having) {
            self.uses.alias = true;
            return;
        }
        let help = if aliased {
            format!("`{name}` is a name of the SELECT list, which is made later: write its expression here")
        } else {
            let columns = self.names.columns.iter().map(String::as_str);
            let windows = self.names.window_columns.iter().copied();
            did_you_mean(name, columns.chain(windows), self.known_columns())
        };
        self.refuse(span, format!("unknown column `{name}`"), help);
    }

    fn known_columns(&self) -> String {
        let columns = self.names.columns.iter().filter(|column| !column.starts_with('_'));
        format!("columns here: {}", columns.map(String::as_str).collect::<Vec<_>>().join(", "))
    }

    fn window_column(&mut self, name: &str, span: Span) {
        if self.aggregates_open > 0 {
            let help = "it is the same for all records of the window: use it beside the aggregate, not inside";
            self.refuse(span, format!("`{name}` can't be used inside an aggregate"), help);
        } else if self.clause == Clause::Where {
            let help = "write the condition in HAVING, or as one on the time column";
            self.refuse(span, format!("`{name}` can't be used in WHERE, which goes before the window"), help);
        }
        if self.clause == Clause::PartitionBy {
            let help = "windows are told apart by columns of the record";
            self.refuse(span, format!("`{name}` can't be used in PARTITION BY, which makes the window"), help);
        }
        self.uses.window = true;
    }

    fn compound(&mut self, parts: &[datafusion_sql::sqlparser::ast::Ident], span: Span) {
        let first = identifier(&parts[0]);
        if self.names.qualifier == Some(first.as_str()) && parts.len() > 1 {
            return self.column(&identifier(&parts[1]), parts[1].span);
        }
        if self.names.is_column(&first) {
            return self.column(&first, parts[0].span);
        }
        let help = match self.names.qualifier {
            Some(qualifier) => format!("columns are written as `{qualifier}.column`, or without anything before them"),
            None => self.known_columns(),
        };
        self.refuse(span, format!("unknown table or column `{first}`"), help);
    }

    fn function(&mut self, function: &Function) {
        let span = function.name.span();
        let name = function_name(function);
        if function.over.is_some() {
            let help = "use aggregates with GROUP BY window_start";
            return self.refuse(span, format!("`{name}(…) OVER` isn't supported yet"), help);
        }
        if let Some((message, help)) = refused_order(function).or_else(|| refused_function(&name)) {
            return self.refuse(span, message, help);
        }
        if FUNCTIONS.aggregates.contains_key(&name) {
            self.aggregate(&name, span);
        }
    }

    fn aggregate(&mut self, name: &str, span: Span) {
        self.uses.aggregate = true;
        if self.aggregates_open > 0 {
            let help = "write a second INSERT over the result, or compute it where the table is read";
            return self.refuse(span, format!("`{name}` stands inside another aggregate"), help);
        }
        let (clause, help) = match self.clause {
            Clause::Where => ("WHERE, which goes before the window", "write the condition in HAVING"),
            Clause::GroupBy => ("GROUP BY", "group by columns of the record"),
            Clause::PartitionBy => ("PARTITION BY", "windows are told apart by columns of the record"),
            Clause::Computed => ("a computed column", "a computed column sees one record: aggregate in a SELECT"),
            Clause::When => ("WHEN", "it is asked of one record at a time: name what a marker record has"),
            Clause::Select | Clause::Having => return,
        };
        self.refuse(span, format!("the aggregate `{name}` can't be used in {clause}"), help);
    }
}

/// Why ORDER BY can't stand among the arguments of `function`: DataFusion would take what it orders by for the value.
pub(super) fn refused_order(function: &Function) -> Option<(String, String)> {
    let name = function_name(function);
    let FunctionArguments::List(list) = &function.args else { return None };
    let has_order = list.clauses.iter().any(|clause| matches!(clause, FunctionArgumentClause::OrderBy(_)));
    if !has_order || !FUNCTIONS.aggregates.get(&name)?.supports_within_group_clause() {
        return None;
    }
    let help = format!("write {name}(0.95) WITHIN GROUP (ORDER BY x), or {name}(x, 0.95)");
    Some((format!("`{name}` takes no ORDER BY inside its parentheses"), help))
}

/// Why the function `name` can't be called, and the way out; `None` for functions that can.
pub(super) fn refused_function(name: &str) -> Option<(String, String)> {
    if FUNCTIONS.scalars.contains_key(name) || FUNCTIONS.aggregates.contains_key(name) {
        return None;
    }
    if FUNCTIONS.volatile.iter().any(|volatile| volatile == name) {
        let help = "it would give another answer when the window is computed again: use a column of the record, such as its time";
        return Some((format!("`{name}` depends on more than the log"), help.to_owned()));
    }
    if name == "unnest" {
        let help =
            "unnest in an INSERT without a window: SELECT …, element FROM stream CROSS JOIN UNNEST(list) AS u(element)";
        let message = "`unnest` stands in FROM, or in the SELECT list over a stream without a window";
        return Some((message.to_owned(), help.to_owned()));
    }
    if let Some(refused) = refused_aggregate(name) {
        return Some(refused);
    }
    let candidates = FUNCTIONS.scalars.keys().chain(FUNCTIONS.aggregates.keys()).map(String::as_str);
    let help = did_you_mean(name, candidates, "functions are those of DataFusion 54".to_owned());
    Some((format!("unknown function `{name}`"), help))
}

impl Visitor for Walk<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.refuse(
            query.span(),
            "a subquery isn't supported yet".to_owned(),
            "write its result into a stream, or join where the table is read",
        );
        ControlFlow::Break(())
    }

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        match expression {
            Expr::Identifier(ident) => self.column(&identifier(ident), ident.span),
            Expr::CompoundIdentifier(parts) => self.compound(parts, expression.span()),
            Expr::Value(ValueWithSpan { value: Value::Placeholder(name), span }) => {
                self.refuse(*span, format!("`{name}` has no value"), "a job has no parameters: write the value itself");
            }
            Expr::Function(function) => {
                self.function(function);
                if is_aggregate(function) {
                    self.aggregates_open += 1;
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        if matches!(expression, Expr::Function(function) if is_aggregate(function)) {
            self.aggregates_open -= 1;
        }
        ControlFlow::Continue(())
    }
}

fn is_aggregate(function: &Function) -> bool {
    FUNCTIONS.aggregates.contains_key(&function_name(function))
}

pub(super) fn function_name(function: &Function) -> String {
    function.name.0.last().and_then(|part| part.as_ident()).map(identifier).unwrap_or_default()
}
