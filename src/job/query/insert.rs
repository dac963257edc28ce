//! One INSERT: its window, its query, and the clauses behind it.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion_sql::sqlparser::tokenizer::Span;

use super::composed::{self, Composed};
use super::lateness;
use super::names::did_you_mean;
use super::output::{self, Parts};
use super::partitions::{self, Named};
use super::plain;
use super::select::Query;
use super::shape::shape;
use super::window::{by_partition_keys, window};
use crate::event::{Micros, PartitionField, Stream};
use crate::job::Problems;
use crate::job::definition::{InsertDefinition, StreamDefinition, WindowInput};
use crate::job::plan::{Insert, LateTable, Leg, Publish, RangeColumn};
use crate::windows::{ByData, Window, WindowEdge};

/// Plans one INSERT. `streams` are those of the job, in its order ([`crate::job::Input::stream`] counts in it); a stream that is only
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
    if insert.windows.is_empty() {
        return plain::plan(insert, streams, stream_definitions, problems);
    }
    let Planned { parts, columns, window, fields, range, allowed } = if composed::is_composed(insert) {
        composed(insert, streams, stream_definitions, problems)?
    } else {
        of_one_layer(insert, streams, stream_definitions, problems)?
    };
    if !problems.is_empty() {
        return None;
    }
    if !partitions::check_types(insert, &fields, &parts.result_schema, problems) {
        return None;
    }
    by_data_allows(insert, &window, range.edge, problems)?;
    let (sort, identity) = output::sort(&columns, &parts);
    let Parts { legs, above, having, columns, result_schema } = parts;
    Some(Insert {
        table: insert.table.value.clone(),
        late: late_tables(insert, &legs, streams),
        legs,
        window,
        allowed,
        above,
        having,
        columns,
        result_schema,
        partitions: fields,
        range,
        sort,
        identity,
        publish: insert.publish.as_ref().map_or(Publish::EachWindow, |publish| publish.value),
    })
}

/// What is known of an INSERT when its query is planned.
struct Planned {
    parts: Parts,
    columns: Vec<Named>,
    window: Window,
    fields: Vec<PartitionField>,
    range: RangeColumn,
    allowed: Micros,
}

/// A query of several layers.
fn composed(
    insert: &InsertDefinition,
    streams: &[Arc<Stream>],
    stream_definitions: &[StreamDefinition],
    problems: &mut Problems,
) -> Option<Planned> {
    let unknown = |name: &str, span: Span, problems: &mut Problems| {
        unknown_stream((name, span), streams, stream_definitions, problems);
    };
    let composed = composed::plan(insert, streams, &unknown, problems)?;
    let Composed { parts, columns, window } = composed;
    let (fields, range) = partitions::partitions(insert, &columns, &window, problems)?;
    let allowed = lateness::allowed(insert, &columns, problems);
    lateness::check_layers(insert, &parts, problems);
    Some(Planned { parts, columns, window, fields, range, allowed })
}

/// One SELECT with GROUP BY over one window of one stream.
fn of_one_layer(
    insert: &InsertDefinition,
    streams: &[Arc<Stream>],
    stream_definitions: &[StreamDefinition],
    problems: &mut Problems,
) -> Option<Planned> {
    let shape = shape(insert, problems);
    let call = insert.windows.first()?;
    let WindowInput::Named(name) = &call.input else { unreachable!("a query as an input makes layers") };
    let Some(index) = streams.iter().position(|stream| stream.name == name.value) else {
        unknown_stream((&name.value, name.span), streams, stream_definitions, problems);
        return None;
    };
    let stream = streams[index].as_ref();
    let window = window(call, stream, problems);
    let (shape, window) = (shape?, window?);
    let mut query = Query::new(insert, shape, (call, &window), (index, stream), problems)?;
    let columns = query.check(problems);
    query.plan_partition_by(problems);
    // What is missing by default only shows in a SELECT list that is right.
    let can_tell = insert.partitioned_by.is_some() || problems.is_empty();
    let partitions = columns
        .as_ref()
        .filter(|_| can_tell)
        .and_then(|columns| partitions::partitions(insert, columns, &window, problems));
    let (columns, (fields, range)) = (columns?, partitions?);
    let allowed = lateness::allowed(insert, &columns, problems);
    if !problems.is_empty() {
        return None;
    }
    let mut parts = query.take_apart(&columns, problems)?;
    let partition_keys = query.partition_keys(&parts, problems)?;
    let window = by_partition_keys(window, partition_keys);
    lateness::check_keys(insert, &parts, partition_keys, problems);
    parts.legs[0].window = window;
    Some(Planned { parts, columns, window, fields, range, allowed })
}

/// Where late records go: each stream that is read has a table of its own, as positions of two topics look alike.
fn late_tables(insert: &InsertDefinition, legs: &[Leg], streams: &[Arc<Stream>]) -> Vec<LateTable> {
    let late = insert.late_into.as_ref().map(|late| late.value.clone());
    let late = late.unwrap_or_else(|| insert.table.value.with_suffix("_late"));
    let read: BTreeSet<usize> = legs.iter().flat_map(|leg| &leg.inputs).map(|input| input.stream).collect();
    let several = read.len() > 1;
    let table = |stream: usize| match several {
        true => late.with_suffix(&format!("_{}", streams[stream].name)),
        false => late.clone(),
    };
    read.into_iter().map(|stream| LateTable { stream, table: table(stream) }).collect()
}

/// Says that there is no such stream; not if one of that name was refused already.
fn unknown_stream(
    (name, span): (&str, Span),
    streams: &[Arc<Stream>],
    stream_definitions: &[StreamDefinition],
    problems: &mut Problems,
) {
    let declared = stream_definitions.iter().map(|definition| definition.name.value.as_str());
    if !declared.clone().any(|declared| declared == name) {
        let names = streams.iter().map(|stream| stream.name.as_str()).chain(declared);
        let help = did_you_mean(name, names, format!("declare it: CREATE STREAM {name} (…)"));
        problems.add(span, format!("unknown stream `{name}`"), help);
    }
}

/// Refuses what can't be had of windows that the data makes.
fn by_data_allows(insert: &InsertDefinition, window: &Window, edge: WindowEdge, problems: &mut Problems) -> Option<()> {
    let Window::ByData(window) = window else { return Some(()) };
    let before = problems.len();
    if let (ByData::Counting(_), Some(allowed)) = (window, &insert.allow_lateness) {
        let help = "leave it out: one late record would move every later window of its key; a greater bound in WATERMARK FOR waits for late records";
        problems.add(allowed.span, "COUNT_WINDOW takes no ALLOW LATENESS", help);
    }
    if let (false, Some(publish)) = (window.closes_in_order_of(edge), &insert.publish)
        && publish.value == Publish::WholePartitions
    {
        let message = format!(
            "{} windows don't close in the order of window_start, so no partition of it is known to be whole",
            window.name()
        );
        problems.add(publish.span, message, "partition by a transform of window_end, or PUBLISH EACH WINDOW");
    }
    (problems.len() == before).then_some(())
}
