//! The query of an INSERT: each expression checked by itself, as it is written and with its place, then all of it planned
//! by DataFusion. So the second step meets only what the first can't see.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion_common::config::ConfigOptions;
use datafusion_common::{DFSchema, DFSchemaRef, DataFusionError, TableReference};
use datafusion_expr::{ExprSchemable, LogicalPlan};
use datafusion_optimizer::AnalyzerRule;
use datafusion_optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion_physical_expr::PhysicalExpr;
use datafusion_sql::planner::{PlannerContext, SqlToRel};
use datafusion_sql::sqlparser::ast::{
    Expr, GroupByExpr, Ident, SetExpr, Spanned as _, Statement, Value, ValueWithSpan,
};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::aggregate::Records;
use super::catalog::{Catalog, parser_options};
use super::error::problem;
use super::expression::{coerce, unqualified};
use super::names::{Clause, Names};
use super::output::{self, Parts, Places};
use super::partitions::Named;
use super::shape::{self, Shape, identifier};
use super::types::{result_type, sql_name};
use super::window::window_columns;
use crate::event::Stream;
use crate::job::Problems;
use crate::job::definition::{InsertDefinition, WindowCall, WindowFunction};
use crate::windows::{Window, WindowEdge};

/// One query on its way.
pub(super) struct Query<'a> {
    insert: &'a InsertDefinition,
    call: &'a WindowCall,
    window: &'a Window,
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

impl<'a> Query<'a> {
    pub(super) fn new(
        insert: &'a InsertDefinition,
        shape: Shape<'a>,
        (call, window): (&'a WindowCall, &'a Window),
        (stream_index, stream): (usize, &'a Stream),
        problems: &mut Problems,
    ) -> Option<Query<'a>> {
        let schema = stream.record_schema();
        let input: SchemaRef = Arc::new(Schema::new(
            schema
                .fields()
                .iter()
                .cloned()
                .chain(output::window_fields(window_columns(call)).into_iter().map(Arc::new))
                .collect::<Vec<_>>(),
        ));
        let schemas = DFSchema::try_from_qualified_schema(TableReference::bare(shape.qualifier.as_str()), &input)
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
            window,
            catalog: Catalog::new([(call.relation.as_str(), input)]),
            input: Arc::new(qualified),
            records: Records {
                stream,
                stream_index,
                schema,
                columns: Arc::new(unqualified),
                chosen: None,
                window_columns: window_columns(call),
                partition_by: Vec::new(),
            },
            call,
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
            window_columns: self.records.window_columns,
            aliases: &self.aliases,
            fallback: self.fallback(),
        }
    }

    /// Checks all clauses, each by itself; the result's columns when the list of them is fine.
    pub(super) fn check(&self, problems: &mut Problems) -> Option<Vec<Named>> {
        let select = self.shape.select;
        if let Some(condition) = &select.selection
            && self.names().check(condition, Clause::Where, problems).is_some()
        {
            self.check_condition(condition, "WHERE", problems);
        }
        for item in &self.shape.items {
            if self.names().check(item.expression, Clause::Select, problems).is_some() {
                self.check_item(item, problems);
            }
        }
        self.check_group(problems);
        if let Some(condition) = &select.having
            && self.names().check(condition, Clause::Having, problems).is_some_and(|uses| !uses.alias)
        {
            self.check_condition(condition, "HAVING", problems);
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
        let targets: Vec<Option<&Expr>> =
            self.shape.group.iter().map(|expression| self.check_group_expression(expression, problems)).collect();
        let grouped_by =
            |column: &str| targets.iter().flatten().any(|target| self.window_column(target) == Some(column));
        if !targets.iter().all(Option::is_some) {
            return;
        }
        let (by_start, by_end) = (grouped_by("window_start"), grouped_by("window_end"));
        let message = if !by_start && !by_end {
            "GROUP BY must name window_start or window_end: without a window a group never ends"
        } else if (by_start && by_end) || self.window.edges_decide_each_other() {
            return;
        } else if matches!(self.window, Window::ByData(_)) {
            "GROUP BY must name window_start and window_end: here one doesn't decide the other"
        } else if !by_end {
            "GROUP BY must name window_end: windows that begin together end at different times"
        } else {
            return;
        };
        let span = self.shape.group.first().map_or_else(Span::empty, |first| first.span());
        problems.add(self.place(span), message, "write GROUP BY window_start, window_end, and the keys");
    }

    /// What a GROUP BY expression stands for; `None` when it was refused.
    fn check_group_expression(&self, expression: &'a Expr, problems: &mut Problems) -> Option<&'a Expr> {
        let span = self.place(expression.span());
        let mut uses = self.names().check(expression, Clause::GroupBy, problems)?;
        let target = self.group_target(expression);
        if !std::ptr::eq(target, expression) {
            // What is wrong with the item was said with the SELECT list.
            uses = self.names().check(target, Clause::Select, &mut Problems::default())?;
        } else if let Expr::Value(ValueWithSpan { value: value @ Value::Number(..), .. }) = target {
            let help = format!("numbers go from 1 to {}", self.shape.items.len());
            problems.add(span, format!("GROUP BY {value} names no column of the SELECT list"), help);
            return None;
        } else if !uses.alias
            && let Err(error) = self.type_of(expression)
        {
            problems.push(problem(&error, span));
            return None;
        }
        if uses.aggregate {
            problems.add(span, "an aggregate can't be used in GROUP BY", "group by columns of the record");
            return None;
        }
        if uses.window && uses.record {
            problems.add(
                span,
                "a GROUP BY expression mixes columns of the window and of the record",
                "group by each of them, and put them together in the SELECT list",
            );
            return None;
        }
        Some(target)
    }

    fn group_target(&self, expression: &'a Expr) -> &'a Expr {
        let windows = self.records.window_columns;
        let is_column = |name: &str| windows.contains(&name) || self.columns.iter().any(|column| column == name);
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
        self.records.window_columns.iter().copied().find(|column| *column == name)
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
                Some("window_time") => Some(WindowEdge::Time),
                _ => None,
            };
            names.push(Named { name, edge });
        }
        fine.then_some(names)
    }

    /// Plans PARTITION BY: what windows are told apart by. False: something was refused.
    pub(super) fn plan_partition_by(&mut self, problems: &mut Problems) -> bool {
        let mut fine = true;
        for written in &self.call.partition_by {
            if self.names().check(&written.value, Clause::PartitionBy, problems).is_none() {
                fine = false;
                continue;
            }
            match self.partition_key(&written.value) {
                Ok(key) => self.records.partition_by.push(key),
                Err(error) => {
                    problems.push(problem(&error, written.span));
                    fine = false;
                }
            }
        }
        fine
    }

    fn partition_key(&self, expression: &Expr) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
        let planner = SqlToRel::new_with_options(&self.catalog, parser_options());
        let logical = planner.sql_to_expr(expression.clone(), &self.input, &mut PlannerContext::new())?;
        let logical = unqualified(coerce(logical, &self.input)?)?;
        Ok(output::key(logical, "", &self.records)?.0)
    }

    /// How many of the group keys tell windows apart: all of PARTITION BY, which must be in GROUP BY.
    pub(super) fn partition_keys(&self, parts: &Parts, problems: &mut Problems) -> Option<usize> {
        let by = &self.records.partition_by;
        let is_missing =
            |key: &Arc<dyn PhysicalExpr>| !parts.legs[0].keys().iter().any(|other| &other.expression == key);
        if let Some(missing) = by.iter().position(is_missing) {
            let written = &self.call.partition_by[missing];
            let message = format!("`{}` has windows of its own, so GROUP BY must name it", written.value);
            problems.add(
                written.span,
                message,
                format!("add it: GROUP BY window_start, window_end, {}", written.value),
            );
            return None;
        }
        let keys = parts.legs[0].keys();
        let count = keys.iter().filter(|key| by.contains(&key.expression)).count();
        if matches!(self.call.function, WindowFunction::Sliding { .. }) && count < keys.len() {
            let key = &keys[count].name;
            let message =
                format!("SLIDING makes windows for each key of PARTITION BY, and `{key}` is only in GROUP BY");
            problems.add(self.call.span, message, "add it to PARTITION BY, or leave it out of GROUP BY");
            return None;
        }
        Some(count)
    }

    /// Plans the query as a whole and takes the plan apart.
    pub(super) fn take_apart(&self, columns: &[Named], problems: &mut Problems) -> Option<Parts> {
        let plan = match self.logical_plan() {
            Ok(plan) => plan,
            Err(error) => {
                problems.push(problem(&error, self.fallback()));
                return None;
            }
        };
        let items: Vec<Span> = self.shape.items.iter().map(|item| self.place(item.span())).collect();
        let groups: Vec<Span> = self.shape.group.iter().map(|expression| self.place(expression.span())).collect();
        let places = Places {
            items: &items,
            groups: &groups,
            filter: self.clause_span(self.shape.select.selection.as_ref()),
            having: self.clause_span(self.shape.select.having.as_ref()),
            query: self.fallback(),
        };
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        output::parts(&plan, (*self.window, &self.records), &names, &places, problems)
    }

    fn clause_span(&self, condition: Option<&Expr>) -> Span {
        self.place(condition.map_or_else(Span::empty, |condition| condition.span()))
    }

    /// DataFusion's plan, with the types of all expressions settled.
    fn logical_plan(&self) -> Result<LogicalPlan, DataFusionError> {
        let planner = SqlToRel::new_with_options(&self.catalog, parser_options());
        let plan = planner.sql_statement_to_plan(Statement::Query(Box::new(self.grouped_by_all_edges())))?;
        TypeCoercion::new().analyze(plan, &ConfigOptions::default())
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
            for column in self.records.window_columns.iter().filter(|column| !written.contains(column)) {
                let qualifier = Ident::with_quote('"', &self.shape.qualifier);
                expressions.push(Expr::CompoundIdentifier(vec![qualifier, Ident::new(*column)]));
            }
        }
        query
    }
}
