//! From the text of a job file to its plan, or to all that is wrong with it.

use std::sync::Arc;

use datafusion_sql::sqlparser::tokenizer::Span;

use super::definition::JobDefinition;
use super::fingerprint::fingerprint;
use super::include::{ReadFile, nowhere};
use super::names::job_name_problem;
use super::plan::{Insert, Plan};
use super::problem::{Problem, Problems};
use super::query::plan_insert;
use super::render::JobErrors;
use super::statement::{Parsed, parse};
use super::tables::{check_inserts, check_late_tables};
use super::validate::validate_streams;
use crate::event::Stream;

/// Plans the job `name` (the file's stem) whose text is `text`; `include` gives the files that it includes. Pure but for
/// that.
///
/// # Errors
/// All problems of the job at once.
pub fn compile_with(name: &str, text: &str, include: &ReadFile<'_>) -> Result<Plan, JobErrors> {
    let mut problems = Problems::default();
    let (parsed, streams) = read(name, text, include, &mut problems);
    match plan(name, &parsed, streams, &mut problems) {
        Some(plan) if problems.is_empty() => Ok(plan),
        _ => Err(JobErrors::new(parsed.files, problems.into_sorted())),
    }
}

/// As [`compile_with`], for a job that includes nothing.
///
/// # Errors
/// All problems of the job at once.
pub fn compile(name: &str, text: &str) -> Result<Plan, JobErrors> {
    compile_with(name, text, &nowhere)
}

/// The streams that the job `name` declares or includes, also those that no INSERT reads.
///
/// # Errors
/// All problems of the job at once, but one without an INSERT is none: a topic can be archived before there is a query.
pub fn compile_streams_with(name: &str, text: &str, include: &ReadFile<'_>) -> Result<Vec<Arc<Stream>>, JobErrors> {
    let mut problems = Problems::default();
    let (parsed, streams) = read(name, text, include, &mut problems);
    if problems.is_empty() {
        return Ok(streams);
    }
    Err(JobErrors::new(parsed.files, problems.into_sorted()))
}

/// As [`compile_streams_with`], for a job that includes nothing.
///
/// # Errors
/// As [`compile_streams_with`].
pub fn compile_streams(name: &str, text: &str) -> Result<Vec<Arc<Stream>>, JobErrors> {
    compile_streams_with(name, text, &nowhere)
}

/// Parses a job's files and validates all that needs no query.
fn read(name: &str, text: &str, include: &ReadFile<'_>, problems: &mut Problems) -> (Parsed, Vec<Arc<Stream>>) {
    job_name_problem(name).into_iter().for_each(|problem| problems.push(problem));
    let parsed = parse(name, text, include, problems);
    let JobDefinition { streams, inserts, .. } = &parsed.definition;
    let valid = validate_streams(streams, |name| parsed.broken.contains(name), problems);
    check_inserts(inserts, streams, problems);
    (parsed, valid)
}

fn plan(name: &str, parsed: &Parsed, streams: Vec<Arc<Stream>>, problems: &mut Problems) -> Option<Plan> {
    let JobDefinition { streams: definitions, inserts, .. } = &parsed.definition;
    if inserts.is_empty() && !parsed.may_lack_inserts {
        problems.push(Problem::of_file(
            "the job computes nothing: it has no INSERT",
            "write INSERT INTO ICEBERG 'namespace.table' SELECT … FROM TUMBLE(stream, event_time, INTERVAL '1 minute') GROUP BY …",
        ));
    }
    let mut planned: Vec<(Span, Insert)> = Vec::new();
    let declared = |name: &str| definitions.iter().any(|stream| stream.name.value == name);
    for definition in inserts {
        let reads_known = !definition.windows.is_empty()
            && definition.windows.iter().filter_map(|call| call.input.name()).all(declared);
        if parsed.may_lack_streams && !reads_known {
            continue;
        }
        if let Some(insert) = plan_insert(definition, &streams, definitions, problems) {
            let late = definition.late_into.as_ref().map_or(definition.table.span, |late| late.span);
            planned.push((late, insert));
        }
    }
    check_late_tables(&planned, problems);
    if !problems.is_empty() {
        return None;
    }
    let inserts = planned.into_iter().map(|(_, insert)| insert).collect();
    let (streams, inserts) = in_order(streams, inserts);
    let mut plan = Plan { name: name.to_owned(), streams, inserts, fingerprint: String::new() };
    plan.fingerprint = fingerprint(&plan);
    Some(plan)
}

/// Leaves out the streams that no INSERT reads, and takes the others by name: neither what else a file declares, nor where
/// a stream is declared or included, makes another version of a job.
fn in_order(streams: Vec<Arc<Stream>>, mut inserts: Vec<Insert>) -> (Vec<Arc<Stream>>, Vec<Insert>) {
    let mut read: Vec<usize> =
        (0..streams.len()).filter(|index| inserts.iter().any(|insert| insert.reads(*index))).collect();
    read.sort_by_key(|&index| &streams[index].name);
    for insert in &mut inserts {
        let place = |stream: &mut usize| {
            let place = read.iter().position(|index| index == stream);
            *stream = place.expect("a stream that an INSERT reads is kept");
        };
        insert.legs.iter_mut().flat_map(|leg| &mut leg.inputs).for_each(|input| place(&mut input.stream));
        insert.late.iter_mut().for_each(|late| place(&mut late.stream));
        insert.late.sort_by_key(|late| late.stream);
    }
    (read.into_iter().map(|index| Arc::clone(&streams[index])).collect(), inserts)
}
