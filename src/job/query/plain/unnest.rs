//! UNNEST: `CROSS JOIN UNNEST(list) [WITH ORDINALITY] AS u(element, ordinal)` beside a stream, or `unnest(list)` in the SELECT
//! list over it. It is taken out of the query, which then reads element and ordinal as columns of the stream.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion_common::{DFSchema, TableReference};
use datafusion_expr::ExprSchemable;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_sql::planner::{PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, JoinConstraint, JoinOperator, Query,
    Select, SelectItem, Spanned as _, TableFactor, Visit, VisitMut, Visitor, VisitorMut,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::super::aggregate::Refusal;
use super::super::catalog::{Catalog, parser_options};
use super::super::composed;
use super::super::expression::{bind, coerce, unqualified};
use super::super::names::function_name;
use super::super::shape::identifier;
use super::super::types::sql_name;
use crate::event::Stream;
use crate::job::Problems;

/// The columns that stand for what UNNEST adds; no column of a stream has a dot in its name.
const ELEMENT: &str = "unnest.element";
const ORDINAL: &str = "unnest.ordinal";

const HELP: &str = "write FROM stream CROSS JOIN UNNEST(list) AS u(element)";

/// Whether an expression uses what UNNEST adds.
pub(super) fn is_added(expression: &datafusion_expr::Expr) -> bool {
    expression.column_refs().iter().any(|column| column.name == ELEMENT || column.name == ORDINAL)
}

/// An UNNEST that was taken out of a query.
pub(super) struct Unnesting {
    /// Over the record schema.
    pub(super) list: Arc<dyn PhysicalExpr>,
    pub(super) with_ordinality: bool,
    /// The record schema, then what it adds.
    pub(super) schema: SchemaRef,
}

impl Unnesting {
    /// Takes the UNNEST out of `query`, which reads `stream`. `None` when it is refused; `Some(None)`: there is none.
    pub(super) fn take_out(
        query: &mut Query,
        stream: &Stream,
        place: Span,
        problems: &mut Problems,
    ) -> Option<Option<Unnesting>> {
        let mut taking = Taking { stream, found: Vec::new(), refused: None };
        // Broken off where something is refused.
        let _ = VisitMut::visit(query, &mut taking);
        let at = |span: Span| if span == Span::empty() { place } else { span };
        if let Some((message, help, span)) = taking.refused {
            problems.add(at(span), message, help);
            return None;
        }
        let mut found = taking.found.into_iter();
        let Some(written) = found.next() else { return Some(None) };
        if let Some(second) = found.next() {
            let help = "write one, over a list that holds both: array_concat(a, b), or a list of structs";
            problems.add(at(second.list.span()), "several UNNESTs in one query aren't supported", help);
            return None;
        }
        let span = at(written.list.span());
        let before = problems.len();
        composed::check_expression(&written.list, span, problems);
        if problems.len() > before {
            return None;
        }
        match Unnesting::of(&written, stream) {
            Ok(unnesting) => Some(Some(unnesting)),
            Err(refusal) => {
                refusal.tell(span, problems);
                None
            }
        }
    }

    fn of(written: &Written, stream: &Stream) -> Result<Unnesting, Refusal> {
        let records = stream.record_schema();
        let qualified =
            DFSchema::try_from_qualified_schema(TableReference::bare(written.qualifier.as_str()), &records)?;
        let catalog = Catalog::new([(stream.name.as_str(), Arc::clone(&records))]);
        let planner = SqlToRel::new_with_options(&catalog, parser_options());
        let list = planner.sql_to_expr(written.list.clone(), &qualified, &mut PlannerContext::new())?;
        let list = unqualified(coerce(list, &qualified)?)?;
        let columns = Arc::new(DFSchema::try_from(Arc::clone(&records))?);
        let element = match list.get_type(columns.as_ref())? {
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::ListView(item)
            | DataType::FixedSizeList(item, _) => item.data_type().clone(),
            other => {
                let message = format!("UNNEST takes a list, and this is {}", sql_name(&other));
                let help = "string_to_array(text, ',') makes one of a text; a column is declared as type[]";
                return Err(Refusal::Words(message, help.to_owned()));
            }
        };
        let mut fields: Vec<Arc<Field>> = records.fields().to_vec();
        fields.push(Arc::new(Field::new(ELEMENT, element, true)));
        if written.with_ordinality {
            fields.push(Arc::new(Field::new(ORDINAL, DataType::Int64, false)));
        }
        Ok(Unnesting {
            list: bind(list, &columns)?,
            with_ordinality: written.with_ordinality,
            schema: Arc::new(Schema::new(fields)),
        })
    }
}

/// An UNNEST as it was written.
struct Written {
    list: Expr,
    with_ordinality: bool,
    /// What columns of the stream are qualified by beside it.
    qualifier: String,
}

/// Takes UNNESTs out of each SELECT that reads the stream.
struct Taking<'a> {
    stream: &'a Stream,
    found: Vec<Written>,
    refused: Option<(String, &'static str, Span)>,
}

impl VisitorMut for Taking<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        match self.take(select) {
            Ok(()) => ControlFlow::Continue(()),
            Err(refused) => {
                self.refused = Some(refused);
                ControlFlow::Break(())
            }
        }
    }
}

type Refused = (String, &'static str, Span);

impl Taking<'_> {
    fn take(&mut self, select: &mut Select) -> Result<(), Refused> {
        let in_list = select.projection.visit(&mut HasUnnest).is_break();
        let tables = take_tables(select)?;
        if tables.is_empty() && !in_list {
            return Ok(());
        }
        let Some(qualifier) = self.qualifier(select) else {
            let span = tables.first().map_or_else(|| select.select_token.0.span, |table| table.list.span());
            return Err(("UNNEST stands beside a stream, and not here".to_owned(), HELP, span));
        };
        for table in tables {
            let names = Names { table, qualifier: qualifier.clone(), stream: self.stream };
            names.check()?;
            names.replace(select);
            let FromTable { list, with_ordinality, .. } = names.table;
            self.found.push(Written { list, with_ordinality, qualifier: qualifier.clone() });
        }
        let mut calls = Calls { qualifier: &qualifier, lists: Vec::new() };
        for item in &mut select.projection {
            let _ = item.visit(&mut calls);
        }
        let written = |list| Written { list, with_ordinality: false, qualifier: qualifier.clone() };
        self.found.extend(calls.lists.into_iter().map(written));
        Ok(())
    }

    /// By what the stream's columns are qualified, if `select` reads the stream and nothing else.
    fn qualifier(&self, select: &Select) -> Option<String> {
        let [from] = select.from.as_slice() else { return None };
        let TableFactor::Table { name, alias, .. } = &from.relation else { return None };
        let written = name.0.last().and_then(|part| part.as_ident()).map(identifier)?;
        let is_stream = from.joins.is_empty() && written == self.stream.name;
        is_stream.then(|| alias.as_ref().map_or(written, |alias| identifier(&alias.name)))
    }
}

/// An UNNEST in FROM.
struct FromTable {
    list: Expr,
    with_ordinality: bool,
    /// Of the table that it stands for.
    alias: Option<String>,
    /// Of the element, and of the ordinal.
    columns: Vec<Ident>,
}

/// Takes the UNNESTs out of FROM.
fn take_tables(select: &mut Select) -> Result<Vec<FromTable>, Refused> {
    let mut tables = Vec::new();
    for from in &mut select.from {
        for join in std::mem::take(&mut from.joins) {
            let is_cross = match &join.join_operator {
                JoinOperator::CrossJoin(JoinConstraint::None) => true,
                JoinOperator::Join(constraint) | JoinOperator::Inner(constraint) => is_always(constraint),
                _ => false,
            };
            match from_table(&join.relation)? {
                Some(table) if is_cross => tables.push(table),
                Some(table) => {
                    let message = "UNNEST is joined by CROSS JOIN: records with an empty list have no row";
                    return Err((message.to_owned(), HELP, table.list.span()));
                }
                None => from.joins.push(join),
            }
        }
    }
    let mut kept = Vec::with_capacity(select.from.len());
    for from in std::mem::take(&mut select.from) {
        match from_table(&from.relation)? {
            Some(table) if from.joins.is_empty() && !kept.is_empty() => tables.push(table),
            _ => kept.push(from),
        }
    }
    select.from = kept;
    Ok(tables)
}

fn is_always(constraint: &JoinConstraint) -> bool {
    use datafusion_sql::sqlparser::ast::{Value, ValueWithSpan};
    matches!(constraint, JoinConstraint::On(Expr::Value(ValueWithSpan { value: Value::Boolean(true), .. })))
}

fn from_table(table: &TableFactor) -> Result<Option<FromTable>, Refused> {
    let TableFactor::UNNEST { alias, array_exprs, with_offset, with_ordinality, .. } = table else { return Ok(None) };
    let [list] = array_exprs.as_slice() else {
        let span = array_exprs.first().map_or_else(Span::empty, |list| list.span());
        return Err(("UNNEST takes one list".to_owned(), HELP, span));
    };
    if *with_offset {
        let help = "write WITH ORDINALITY AS u(element, ordinal), which counts from 1";
        return Err(("WITH OFFSET isn't supported".to_owned(), help, list.span()));
    }
    let columns: Vec<Ident> = alias.iter().flat_map(|alias| &alias.columns).map(|column| column.name.clone()).collect();
    if columns.len() > 1 + usize::from(*with_ordinality) {
        let help = "one for the element; WITH ORDINALITY adds one for its place, from 1";
        return Err(("too many names for the columns of UNNEST".to_owned(), help, list.span()));
    }
    Ok(Some(FromTable {
        list: list.clone(),
        with_ordinality: *with_ordinality,
        alias: alias.as_ref().map(|alias| identifier(&alias.name)),
        columns,
    }))
}

/// What the columns of an UNNEST in FROM are called.
struct Names<'a> {
    table: FromTable,
    qualifier: String,
    stream: &'a Stream,
}

impl Names<'_> {
    /// Of the element: by default that of the table, as in Postgres.
    fn element(&self) -> String {
        let named = self.table.columns.first().map(identifier);
        named.or_else(|| self.table.alias.clone()).unwrap_or_else(|| "unnest".to_owned())
    }

    fn ordinal(&self) -> Option<String> {
        let named = || self.table.columns.get(1).map_or_else(|| "ordinality".to_owned(), identifier);
        self.table.with_ordinality.then(named)
    }

    /// Names must be the UNNEST's own, so that it is plain what each of them means.
    fn check(&self) -> Result<(), Refused> {
        for name in std::iter::once(self.element()).chain(self.ordinal()) {
            if self.stream.columns.iter().any(|column| column.name == name) {
                let message = format!("stream `{}` has a column `{name}` already", self.stream.name);
                let help = "name the columns of UNNEST differently: AS u(element)";
                return Err((message, help, self.table.list.span()));
            }
        }
        Ok(())
    }

    /// Replaces the names by columns of the stream's table, and writes out what `*` would leave out.
    fn replace(&self, select: &mut Select) {
        let mut projection = Vec::with_capacity(select.projection.len() + 1);
        for item in std::mem::take(&mut select.projection) {
            let is_star = matches!(item, SelectItem::Wildcard(_));
            projection.push(self.named(item));
            if is_star {
                let added = [(Some(self.element()), ELEMENT), (self.ordinal(), ORDINAL)];
                let added = added.into_iter().filter_map(|(name, column)| Some((name?, column)));
                projection.extend(added.map(|(name, column)| SelectItem::ExprWithAlias {
                    expr: self.column(column, &[]),
                    alias: Ident::with_quote('"', name),
                }));
            }
        }
        select.projection = projection;
        // Neither walk breaks off.
        let _ = VisitMut::visit(&mut select.projection, &mut Renaming(self));
        let _ = VisitMut::visit(&mut select.selection, &mut Renaming(self));
    }

    /// An item that is a name keeps it, whatever stands for it.
    fn named(&self, item: SelectItem) -> SelectItem {
        let SelectItem::UnnamedExpr(expression) = item else { return item };
        match (self.meaning(&expression), &expression) {
            (Some(_), Expr::Identifier(name)) => {
                let alias = name.clone();
                SelectItem::ExprWithAlias { expr: expression, alias }
            }
            (Some(_), Expr::CompoundIdentifier(parts)) => {
                let alias = parts.last().expect("a name has parts").clone();
                SelectItem::ExprWithAlias { expr: expression, alias }
            }
            _ => SelectItem::UnnamedExpr(expression),
        }
    }

    fn column(&self, name: &str, fields: &[Ident]) -> Expr {
        let own = [Ident::with_quote('"', &self.qualifier), Ident::with_quote('"', name)];
        Expr::CompoundIdentifier(own.into_iter().chain(fields.iter().cloned()).collect())
    }

    /// What a name means, if it is one of these: a column, or a field of the element.
    fn meaning(&self, expression: &Expr) -> Option<Expr> {
        let parts = match expression {
            Expr::Identifier(name) => std::slice::from_ref(name),
            Expr::CompoundIdentifier(parts) => parts.as_slice(),
            _ => return None,
        };
        let by_name = |parts: &[Ident]| {
            let (first, fields) = parts.split_first()?;
            match identifier(first) {
                name if name == self.element() => Some(self.column(ELEMENT, fields)),
                name if Some(&name) == self.ordinal().as_ref() && fields.is_empty() => Some(self.column(ORDINAL, &[])),
                _ => None,
            }
        };
        let of_table = parts.len() > 1 && Some(identifier(&parts[0])) == self.table.alias;
        of_table.then(|| by_name(&parts[1..])).flatten().or_else(|| by_name(parts))
    }
}

struct Renaming<'a>(&'a Names<'a>);

impl VisitorMut for Renaming<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        if let Some(meaning) = self.0.meaning(expression) {
            *expression = meaning;
        }
        ControlFlow::Continue(())
    }
}

fn is_unnest(function: &Function) -> bool {
    function_name(function) == "unnest" && function.over.is_none()
}

/// Finds `unnest(…)`.
struct HasUnnest;

impl Visitor for HasUnnest {
    type Break = ();

    fn pre_visit_expr(&mut self, expression: &Expr) -> ControlFlow<()> {
        match expression {
            Expr::Function(function) if is_unnest(function) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Takes `unnest(list)` out of a SELECT list.
struct Calls<'a> {
    qualifier: &'a str,
    lists: Vec<Expr>,
}

impl VisitorMut for Calls<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expression: &mut Expr) -> ControlFlow<()> {
        let Expr::Function(function) = &*expression else { return ControlFlow::Continue(()) };
        let FunctionArguments::List(arguments) = &function.args else { return ControlFlow::Continue(()) };
        if let [FunctionArg::Unnamed(FunctionArgExpr::Expr(list))] = arguments.args.as_slice()
            && is_unnest(function)
        {
            self.lists.push(list.clone());
            let parts = [self.qualifier, ELEMENT].map(|part| Ident::with_quote('"', part));
            *expression = Expr::CompoundIdentifier(parts.to_vec());
        }
        ControlFlow::Continue(())
    }
}
