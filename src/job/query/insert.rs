//! One INSERT: checked as written, planned as a whole by DataFusion, then taken apart into filter, keys, aggregates and
//! result. The first part finds all problems with their places; the second meets only what those checks can't see.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion_common::{DFSchema, DFSchemaRef, DataFusionError};
use datafusion_expr::{ExprSchemable, LogicalPlan};
use datafusion_optimizer::AnalyzerRule;
use datafusion_optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion_sql::planner::{PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast::{Expr, GroupByExpr, Ident, SetExpr, Spanned as _, Statement};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::aggregate::Records;
use super::catalog::{Catalog, parser_options};
use super::error::problem;
use super::expression::coerce;
use super::names::{Clause, Names, Uses, did_you_mean};
use super::output::{self, Parts};
use super::partitions::{self, Named};
use super::shape::{self, Shape, identifier, shape};
use super::types::{result_type, sql_name};
use crate::event::{Micros, Stream, timestamp_type};
use crate::job::Problems;
use crate::job::definition::{InsertDefinition, StreamDefinition, WindowCall, WindowFunction};
use crate::job::plan::{Insert, Publish, WindowEdge};
use crate::windows::{Tumbling, WINDOW_COLUMNS, Window};

/// Plans one INSERT. `streams` are those of the job, in its order ([`Insert::stream`] counts in it); a stream that is only
/// in `stream_definitions` was refused already, and its INSERTs are passed over without a word.
/// `None` when something is wrong: then `problems` says what.
pub fn plan_insert(
    insert: &InsertDefinition,
    streams: &[Arc<Stream>],
    stream_definitions: &[StreamDefinition],
    problems: &mut Problems,
) -> Option<Insert> {
    // Problems of this INSERT alone, as the steps go on only while there are none.
    let mut own = Problems::default();
    let planned = plan(insert, streams, stream_definitions, &mut own);
    let fine = own.is_empty();
    own.into_sorted().into_iter().for_each(|problem| problems.push(problem));
    planned.filter(|_| fine)
}

fn plan(
    insert: &InsertDefinition,
    streams: &[Arc<Stream>],
    stream_definitions: &[StreamDefinition],
    problems: &mut Problems,
) -> Option<Insert> {
    let shape = shape(insert, problems);
    let call = insert.windows.first()?;
    let index = stream_index(call, streams, stream_definitions, problems)?;
    let stream = streams[index].as_ref();
    let window = window(call, stream, problems);
    let (shape, window) = (shape?, window?);
    let query = Query::new(insert, shape, call, stream, problems)?;
    let columns = query.check(problems);
    // What is missing by default only shows in a SELECT list that is right.
    let can_tell = insert.partitioned_by.is_some() || problems.is_empty();
    let partitions =
        columns.as_ref().filter(|_| can_tell).and_then(|columns| partitions::partitions(insert, columns, problems));
    let (columns, (fields, range)) = (columns?, partitions?);
    let allowed = allowed(insert, &columns, problems);
    if !problems.is_empty() {
        return None;
    }
    let parts = query.take_apart(&columns, problems)?;
    if !partitions::check_types(insert, &fields, &parts.result_schema, problems) {
        return None;
    }
    let sort = output::sort(&columns, &parts);
    let Parts { filter, keys, aggregates, closed_schema, having, columns, result_schema } = parts;
    Some(Insert {
        table: insert.table.value.clone(),
        stream: index,
        filter,
        window,
        allowed,
        keys,
        aggregates,
        closed_schema,
        having,
        columns,
        result_schema,
        partitions: fields,
        range,
        sort,
        late: insert
            .late_into
            .as_ref()
            .map_or_else(|| insert.table.value.with_suffix("_late"), |late| late.value.clone()),
        publish: insert.publish.as_ref().map_or(Publish::EachWindow, |publish| publish.value),
    })
}

fn stream_index(
    call: &WindowCall,
    streams: &[Arc<Stream>],
    stream_definitions: &[StreamDefinition],
    problems: &mut Problems,
) -> Option<usize> {
    let name = &call.stream.value;
    let index = streams.iter().position(|stream| stream.name == *name);
    let declared = stream_definitions.iter().map(|definition| definition.name.value.as_str());
    if index.is_none() && !declared.clone().any(|declared| declared == name) {
        let names = streams.iter().map(|stream| stream.name.as_str()).chain(declared);
        let help = did_you_mean(name, names, format!("declare it: CREATE STREAM {name} (…)"));
        problems.add(call.stream.span, format!("unknown stream `{name}`"), help);
    }
    index
}

/// The window of a call, its time argument checked.
fn window(call: &WindowCall, stream: &Stream, problems: &mut Problems) -> Option<Window> {
    let time = &stream.columns[stream.event_time].name;
    let mut fine = true;
    if call.time.value != *time {
        let message = format!("`{}` isn't the time of stream `{}`", call.time.value, stream.name);
        problems.add(call.time.span, message, format!("windows go by the stream's watermark column: `{time}`"));
        fine = false;
    }
    for name in WINDOW_COLUMNS {
        if stream.columns.iter().any(|column| column.name == name) {
            let message = format!("stream `{}` has a column `{name}`, which the window adds too", stream.name);
            problems.add(
                call.span,
                message,
                "name the stream's column differently: x TYPE FROM 'window_start'".replace("window_start", name),
            );
            fine = false;
        }
    }
    let WindowFunction::Tumble { size, offset } = &call.function;
    if size.value.0 <= 0 {
        problems.add(size.span, "a window's size must be positive", "write INTERVAL '1 minute', for example");
        return None;
    }
    let offset = offset.as_ref().map_or(Micros::default(), |offset| Micros(offset.value.0.rem_euclid(size.value.0)));
    fine.then_some(Window::Tumbling(Tumbling { size: size.value, offset }))
}

/// ALLOW LATENESS; it needs to be told from the result which window a row belongs to.
fn allowed(insert: &InsertDefinition, columns: &[Named], problems: &mut Problems) -> Micros {
    let Some(allowed) = &insert.allow_lateness else { return Micros::default() };
    for (edge, name) in [(WindowEdge::Start, "window_start"), (WindowEdge::End, "window_end")] {
        if allowed.value.0 > 0 && !columns.iter().any(|column| column.edge == Some(edge)) {
            let message = format!("ALLOW LATENESS revises rows by window, and the result has no {name}");
            problems.add(allowed.span, message, format!("select {name}"));
        }
    }
    allowed.value
}

/// One query on its way.
struct Query<'a> {
    insert: &'a InsertDefinition,
    shape: Shape<'a>,
    /// The table that the window call stands for: the record's columns, then the window's.
    catalog: Catalog,
    /// Its columns, qualified.
    input: DFSchemaRef,
    records: Records<'a>,
    /// Names of the record's columns.
    columns: Vec<String>,
    /// Names given by AS.
    aliases: Vec<String>,
}

/// What is known of GROUP BY before planning.
struct Grouping {
    /// Window columns that stand in it by themselves.
    edges: Vec<&'static str>,
}

impl<'a> Query<'a> {
    fn new(
        insert: &'a InsertDefinition,
        shape: Shape<'a>,
        call: &WindowCall,
        stream: &'a Stream,
        problems: &mut Problems,
    ) -> Option<Query<'a>> {
        let schema = stream.record_schema();
        let input: SchemaRef = Arc::new(Schema::new(
            schema
                .fields()
                .iter()
                .cloned()
                .chain(output::window_fields().into_iter().map(Arc::new))
                .collect::<Vec<_>>(),
        ));
        let schemas = DFSchema::try_from_qualified_schema(shape.qualifier.as_str(), &input)
            .and_then(|qualified| Ok((qualified, DFSchema::try_from(Arc::clone(&schema))?)));
        let (qualified, unqualified) = match schemas {
            Ok(schemas) => schemas,
            Err(error) => {
                problems.push(problem(&error, call.span));
                return None;
            }
        };
        let columns = schema.fields().iter().map(|field| field.name().clone()).collect();
        let aliases = shape.items.iter().filter_map(|item| item.alias).map(identifier).collect();
        Some(Query {
            insert,
            catalog: Catalog::new(&call.relation, input),
            input: Arc::new(qualified),
            records: Records { stream, schema, columns: Arc::new(unqualified) },
            columns,
            aliases,
            shape,
        })
    }

    fn fallback(&self) -> Span {
        shape::fallback(self.insert)
    }

    fn names(&self) -> Names<'_> {
        Names {
            qualifier: Some(&self.shape.qualifier),
            columns: &self.columns,
            aliases: &self.aliases,
            fallback: self.fallback(),
        }
    }

    /// Checks all clauses, each by itself; the result's columns when the list of them is fine.
    fn check(&self, problems: &mut Problems) -> Option<Vec<Named>> {
        let select = self.shape.select;
        if let Some(condition) = &select.selection
            && self.names().check(condition, Clause::Where, problems).is_some()
        {
            self.check_condition(condition, "WHERE", problems);
        }
        let items: Vec<Option<Uses>> = self
            .shape
            .items
            .iter()
            .map(|item| {
                let uses = self.names().check(item.expression, Clause::Select, problems)?;
                self.check_item(item, problems);
                Some(uses)
            })
            .collect();
        self.check_group(problems);
        let having = select.having.as_ref().and_then(|condition| {
            let uses = self.names().check(condition, Clause::Having, problems)?;
            if !uses.alias {
                self.check_condition(condition, "HAVING", problems);
            }
            Some(uses)
        });
        let aggregates = items.iter().flatten().chain(&having).any(|uses| uses.aggregate);
        if !aggregates && items.iter().all(Option::is_some) {
            problems.add(
                select.select_token.0.span,
                "a SELECT without aggregates isn't supported yet",
                "add one, for example count(*) AS records",
            );
        }
        self.result_names(problems)
    }

    /// The type of an expression of this query by itself.
    fn type_of(&self, expression: &Expr) -> Result<DataType, DataFusionError> {
        let planner = SqlToRel::new_with_options(&self.catalog, parser_options());
        let logical = planner.sql_to_expr(expression.clone(), &self.input, &mut PlannerContext::new())?;
        coerce(logical, &self.input)?.get_type(self.input.as_ref())
    }

    fn place(&self, span: Span) -> Span {
        if span == Span::empty() { self.fallback() } else { span }
    }

    fn check_condition(&self, condition: &Expr, clause: &str, problems: &mut Problems) {
        let span = self.place(condition.span());
        match self.type_of(condition) {
            Ok(DataType::Boolean | DataType::Null) => {}
            Ok(other) => problems.add(
                span,
                format!("{clause} needs a condition, and this is {}", sql_name(&other)),
                "compare it with something: x > 0, x IS NOT NULL",
            ),
            Err(error) => problems.push(problem(&error, span)),
        }
    }

    fn check_item(&self, item: &shape::Item<'_>, problems: &mut Problems) {
        let span = self.place(item.span());
        match self.type_of(item.expression) {
            Ok(data_type) => {
                if let Err((message, help)) = result_type(&data_type) {
                    problems.add(span, message, help);
                }
            }
            Err(error) => problems.push(problem(&error, span)),
        }
    }

    fn check_group(&self, problems: &mut Problems) {
        let mut grouping = Grouping { edges: Vec::new() };
        let mut fine = true;
        for expression in self.shape.group {
            let Some(mut uses) = self.names().check(expression, Clause::GroupBy, problems) else {
                fine = false;
                continue;
            };
            let target = self.group_target(expression);
            if let (Expr::Value(value), true) = (target, std::ptr::eq(target, expression)) {
                let message = format!("GROUP BY {value} names no column of the SELECT list");
                let help = format!("numbers go from 1 to {}", self.shape.items.len());
                problems.add(self.place(expression.span()), message, help);
                fine = false;
                continue;
            }
            if !std::ptr::eq(target, expression) {
                // Reported with the SELECT list, if anything is wrong with it.
                let Some(of_target) = self.names().check(target, Clause::Select, &mut Problems::default()) else {
                    fine = false;
                    continue;
                };
                uses = of_target;
                if uses.aggregate {
                    let help = "group by columns of the record";
                    problems.add(self.place(expression.span()), "an aggregate can't be used in GROUP BY", help);
                    fine = false;
                    continue;
                }
            } else if !uses.alias
                && let Err(error) = self.type_of(expression)
            {
                problems.push(problem(&error, self.place(expression.span())));
                fine = false;
            }
            if uses.window && uses.record {
                problems.add(
                    self.place(expression.span()),
                    "a GROUP BY expression mixes columns of the window and of the record",
                    "group by each of them, and put them together in the SELECT list",
                );
                fine = false;
            }
            grouping.edges.extend(self.window_column(target));
        }
        if fine && !grouping.edges.iter().any(|edge| *edge != "window_time") {
            let span = self.shape.group.first().map_or_else(Span::empty, |first| first.span());
            problems.add(
                self.place(span),
                "GROUP BY must name window_start or window_end: without a window a group never ends",
                "write GROUP BY window_start, window_end, and the keys",
            );
        }
    }

    fn group_target(&self, expression: &'a Expr) -> &'a Expr {
        let is_column = |name: &str| WINDOW_COLUMNS.contains(&name) || self.columns.iter().any(|column| column == name);
        self.shape.group_target(expression, is_column)
    }

    /// The window column that an expression is, if it is one and nothing else.
    fn window_column(&self, expression: &Expr) -> Option<&'static str> {
        let ident = match expression {
            Expr::Identifier(ident) => ident,
            Expr::CompoundIdentifier(parts) if parts.len() == 2 && identifier(&parts[0]) == self.shape.qualifier => {
                &parts[1]
            }
            Expr::Nested(inner) => return self.window_column(inner),
            _ => return None,
        };
        let name = identifier(ident);
        WINDOW_COLUMNS.into_iter().find(|column| *column == name)
    }

    /// Names of the result's columns: given, or those of plain columns.
    fn result_names(&self, problems: &mut Problems) -> Option<Vec<Named>> {
        let mut names: Vec<Named> = Vec::with_capacity(self.shape.items.len());
        let mut fine = true;
        for item in &self.shape.items {
            let given = item.alias.or(match item.expression {
                Expr::Identifier(ident) => Some(ident),
                Expr::CompoundIdentifier(parts) => parts.last(),
                _ => None,
            });
            let span = self.place(item.span());
            let Some(name) = given.map(identifier) else {
                let message = format!("`{}` needs a name, as it becomes a column of the result", item.expression);
                problems.add(span, message, format!("name it with AS: {} AS name", item.expression));
                fine = false;
                continue;
            };
            if names.iter().any(|other| other.name.eq_ignore_ascii_case(&name)) {
                let span = self.place(item.alias.map_or(span, |alias| alias.span));
                problems.add(span, format!("the result has two columns `{name}`"), "give one another name with AS");
                fine = false;
                continue;
            }
            let edge = match self.window_column(item.expression) {
                Some("window_start") => Some(WindowEdge::Start),
                Some("window_end") => Some(WindowEdge::End),
                Some(_) => Some(WindowEdge::Time),
                None => None,
            };
            names.push(Named { name, edge });
        }
        fine.then_some(names)
    }

    /// Plans the query as a whole and takes the plan apart.
    fn take_apart(&self, columns: &[Named], problems: &mut Problems) -> Option<Parts> {
        let plan = match self.logical_plan() {
            Ok(plan) => plan,
            Err(error) => {
                problems.push(problem(&error, self.fallback()));
                return None;
            }
        };
        let places: Vec<Span> = self.shape.items.iter().map(|item| self.place(item.span())).collect();
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        output::parts(
            &plan,
            &self.records,
            &names,
            &output::Places { items: &places, query: self.fallback() },
            problems,
        )
    }

    /// DataFusion's plan, with the types of all expressions settled.
    fn logical_plan(&self) -> Result<LogicalPlan, DataFusionError> {
        let planner = SqlToRel::new_with_options(&self.catalog, parser_options());
        let plan = planner.sql_statement_to_plan(Statement::Query(Box::new(self.grouped_by_all_edges())))?;
        TypeCoercion::new().analyze(plan, &Default::default())
    }

    /// The query with every window column in GROUP BY: one of them decides the others, and DataFusion doesn't know.
    fn grouped_by_all_edges(&self) -> datafusion_sql::sqlparser::ast::Query {
        let written: Vec<&str> = self
            .shape
            .group
            .iter()
            .filter_map(|expression| self.window_column(self.group_target(expression)))
            .collect();
        let mut query = self.insert.query.as_ref().clone();
        if let SetExpr::Select(select) = query.body.as_mut()
            && let GroupByExpr::Expressions(expressions, _) = &mut select.group_by
        {
            for column in WINDOW_COLUMNS.into_iter().filter(|column| !written.contains(column)) {
                let qualifier = Ident::with_quote('"', &self.shape.qualifier);
                expressions.push(Expr::CompoundIdentifier(vec![qualifier, Ident::new(column)]));
            }
        }
        query
    }
}

/// What the window's columns are: instants, never null.
pub(super) fn window_type() -> DataType {
    timestamp_type()
}
