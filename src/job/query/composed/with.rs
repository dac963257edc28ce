//! What window calls make windows of, found by name: streams, views and queries of WITH, as far as they stand before.

use std::ops::ControlFlow;

use datafusion_sql::sqlparser::ast::{Query, TableFactor, Visit, Visitor};
use datafusion_sql::sqlparser::tokenizer::Span;

use super::super::shape::identifier;
use super::functions;
use super::relation::{Relation, Streams};
use crate::job::Problems;
use crate::job::definition::{InsertDefinition, WindowCall, WindowInput};

/// The relation of `call`, which stands in `insert` behind the calls `before`. `None` when something is wrong: `problems` says
/// what.
pub(super) fn relation<'a>(
    call: &'a WindowCall,
    insert: &InsertDefinition,
    (streams, before): (Streams<'a>, &[Relation<'a>]),
    unknown: &dyn Fn(&str, Span, &mut Problems),
    problems: &mut Problems,
) -> Option<Relation<'a>> {
    let query = insert.query.as_ref();
    match &call.input {
        WindowInput::Named(name) => match (streams.find(&name.value), named(query, &name.value)) {
            (_, Some(input)) => of_query(call, &input, (streams, before), problems),
            (Some(stream), None) => Relation::of_stream(call, stream, problems),
            (None, None) => {
                unknown(&name.value, name.span, problems);
                None
            }
        },
        WindowInput::Query(input) => {
            let mut input = input.value.clone();
            put_before(&mut input, query, known_before(insert, before));
            of_query(call, &input, (streams, before), problems)
        }
    }
}

fn of_query<'a>(
    call: &'a WindowCall,
    input: &Query,
    (streams, before): (Streams<'a>, &[Relation<'a>]),
    problems: &mut Problems,
) -> Option<Relation<'a>> {
    let wrong_before = problems.len();
    functions::check(input, tables(streams, before), call.input.span(), problems);
    if problems.len() > wrong_before {
        return None;
    }
    Relation::of_query(call, input, streams, before, problems)
}

/// Names of the tables that a query may read.
pub(super) fn tables(streams: Streams<'_>, relations: &[Relation<'_>]) -> Vec<String> {
    let streams = streams.0.iter().map(|stream| stream.name.clone());
    relations.iter().map(|relation| relation.call.relation.clone()).chain(streams).collect()
}

/// The query that WITH gives a name, with those before it.
fn named(query: &Query, name: &str) -> Option<Query> {
    let with = query.with.as_ref()?;
    let place = with.cte_tables.iter().position(|cte| identifier(&cte.alias.name) == name)?;
    let mut named = with.cte_tables[place].query.as_ref().clone();
    put_before(&mut named, query, place);
    Some(named)
}

/// Gives `input` the first queries of WITH.
fn put_before(input: &mut Query, query: &Query, count: usize) {
    let Some(with) = query.with.as_ref().filter(|_| count > 0) else { return };
    let mut all = with.clone();
    all.cte_tables.truncate(count);
    all.cte_tables.extend(input.with.take().into_iter().flat_map(|own| own.cte_tables));
    input.with = Some(all);
}

/// How many queries of WITH, from the first, read no window that comes later.
fn known_before(insert: &InsertDefinition, before: &[Relation<'_>]) -> usize {
    let ctes = insert.query.with.iter().flat_map(|with| &with.cte_tables);
    let later = &insert.windows[before.len()..];
    ctes.take_while(|cte| cte.query.visit(&mut Reads { later }).is_continue()).count()
}

/// Finds a window that comes later.
struct Reads<'a> {
    later: &'a [WindowCall],
}

impl Visitor for Reads<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, table: &TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, .. } = table else { return ControlFlow::Continue(()) };
        let written = name.0.last().and_then(|part| part.as_ident()).map(identifier);
        match self.later.iter().any(|call| Some(&call.relation) == written.as_ref()) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}
