//! One INSERT: its window, its query, and the clauses behind it.

use std::sync::Arc;

use super::composed;
use super::names::did_you_mean;
use super::output::{self, Parts};
use super::partitions::{self, Named};
use super::select::Query;
use super::shape::shape;
use super::window::window;
use crate::event::{Micros, Stream};
use crate::job::Problems;
use crate::job::definition::{InsertDefinition, Spanned, StreamDefinition, WindowCall, WindowInput};
use crate::job::plan::{Insert, LateTable, Publish};
use crate::windows::{ByData, Counting, Session, Window, WindowEdge};

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
    let is_composed = composed::is_composed(insert);
    let shape = if is_composed { None } else { shape(insert, problems) };
    let call = insert.windows.first();
    if call.is_none() && is_composed {
        problems.add(composed::place(insert), "a SELECT without a window isn't supported yet", NO_WINDOW);
    }
    let call = call?;
    let index = stream_index(call, streams, stream_definitions, problems)?;
    let stream = streams[index].as_ref();
    let window = window(call, stream, problems);
    let (parts, columns, window, fields, range, allowed) = if is_composed {
        let window = window?;
        if let Window::ByData(kind) = &window {
            let message = format!("a query of several layers over {} isn't supported yet", kind.name());
            problems.add(call.span, message, "write one SELECT with GROUP BY, and go on where the table is read");
            return None;
        }
        let (parts, columns) = composed::plan(insert, call, window, (index, stream), problems)?;
        let (fields, range) = partitions::partitions(insert, &columns, &window, problems)?;
        let allowed = allowed(insert, &window, &columns, problems);
        (parts, columns, window, fields, range, allowed)
    } else {
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
        let allowed = allowed(insert, &window, &columns, problems);
        if !problems.is_empty() {
            return None;
        }
        let mut parts = query.take_apart(&columns, problems)?;
        let partition_keys = query.partition_keys(&parts, problems)?;
        let window = by_partition_keys(window, partition_keys);
        parts.legs[0].window = window;
        (parts, columns, window, fields, range, allowed)
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
    let late = insert.late_into.as_ref().map(|late| late.value.clone());
    let late = late.unwrap_or_else(|| insert.table.value.with_suffix("_late"));
    Some(Insert {
        table: insert.table.value.clone(),
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
        late: vec![LateTable { stream: index, table: late }],
        publish: insert.publish.as_ref().map_or(Publish::EachWindow, |publish| publish.value),
    })
}

const NO_WINDOW: &str = "write FROM TUMBLE(stream, time, INTERVAL '1 minute')";

fn stream_index(
    call: &WindowCall,
    streams: &[Arc<Stream>],
    stream_definitions: &[StreamDefinition],
    problems: &mut Problems,
) -> Option<usize> {
    let WindowInput::Named(Spanned { value: name, span }) = &call.input else {
        let help = "name a stream here; a WHERE behind the window does the same, it goes before the window";
        problems.add(call.input.span(), "a query as a window's input is not supported yet", help);
        return None;
    };
    let index = streams.iter().position(|stream| stream.name == *name);
    let declared = stream_definitions.iter().map(|definition| definition.name.value.as_str());
    if index.is_none() && !declared.clone().any(|declared| declared == name) {
        let names = streams.iter().map(|stream| stream.name.as_str()).chain(declared);
        let help = did_you_mean(name, names, format!("declare it: CREATE STREAM {name} (…)"));
        problems.add(*span, format!("unknown stream `{name}`"), help);
    }
    index
}

/// The window, told apart by so many of the group keys.
fn by_partition_keys(window: Window, partition_keys: usize) -> Window {
    match window {
        Window::ByData(ByData::Session(window)) => {
            Window::ByData(ByData::Session(Session { partition_keys, ..window }))
        }
        Window::ByData(ByData::Counting(window)) => {
            Window::ByData(ByData::Counting(Counting { partition_keys, ..window }))
        }
        other => other,
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

/// ALLOW LATENESS; it needs to be told from the result which window a row belongs to.
fn allowed(insert: &InsertDefinition, window: &Window, columns: &[Named], problems: &mut Problems) -> Micros {
    let Some(allowed) = &insert.allow_lateness else { return Micros::default() };
    // Count windows will never take it, and say so themselves.
    if !window.can_be_revised() && !window.has_reason() {
        let help = "leave it out, and let the watermark wait longer instead: WATERMARK FOR t AS t - INTERVAL '…'";
        problems.add(allowed.span, "ALLOW LATENESS isn't supported for this window yet", help);
    }
    for (edge, name) in [(WindowEdge::Start, "window_start"), (WindowEdge::End, "window_end")] {
        if allowed.value.0 > 0 && !columns.iter().any(|column| column.edge == Some(edge)) {
            let message = format!("ALLOW LATENESS revises rows by window, and the result has no {name}");
            problems.add(allowed.span, message, format!("select {name}"));
        }
    }
    allowed.value
}
