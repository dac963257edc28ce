//! Which statement of a job writes which table: no table may be written by two, or be read and written.

use std::collections::BTreeMap;

use datafusion_sql::sqlparser::tokenizer::Span;

use super::definition::{InsertDefinition, StreamDefinition};
use super::plan::Insert;
use super::problem::Problems;
use crate::event::TableName;

/// What a table is to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Result,
    Late,
    History,
    Rejects,
}

impl Role {
    fn words(self) -> &'static str {
        match self {
            Role::Result => "the result of an INSERT",
            Role::Late => "a table of late records",
            Role::History => "the history of a stream",
            Role::Rejects => "a table of rejected records",
        }
    }
}

/// Checks what needs no plan: tables with two roles, two INSERTs into one, clauses that are not supported yet.
pub(super) fn check_inserts(inserts: &[InsertDefinition], streams: &[StreamDefinition], problems: &mut Problems) {
    // Tables that stand in the file first, then those that follow from them: so the message points at what was written.
    let mut roles: BTreeMap<TableName, Role> = BTreeMap::new();
    for stream in streams {
        let Some(history) = &stream.history else { continue };
        problems.set_file(stream.file);
        claim(&mut roles, &history.value, Role::History, history.span, problems);
    }
    problems.set_file(0);
    for insert in inserts {
        claim(&mut roles, &insert.table.value, Role::Result, insert.table.span, problems);
    }
    for insert in inserts {
        if let Some(late) = &insert.late_into {
            claim(&mut roles, &late.value, Role::Late, late.span, problems);
        }
    }
    for stream in streams {
        let Some(history) = &stream.history else { continue };
        problems.set_file(stream.file);
        claim(&mut roles, &history.value.with_suffix("_rejects"), Role::Rejects, history.span, problems);
    }
    problems.set_file(0);
    for insert in inserts.iter().filter(|insert| insert.late_into.is_none()) {
        claim(&mut roles, &insert.table.value.with_suffix("_late"), Role::Late, insert.table.span, problems);
    }
}

fn claim(roles: &mut BTreeMap<TableName, Role>, table: &TableName, role: Role, span: Span, problems: &mut Problems) {
    let Some(other) = roles.insert(table.clone(), role) else { return };
    match (other, role) {
        // Several INSERTs may share a late table; whether theirs agree is seen from their plans.
        // Two rejects tables are one only where two histories are.
        (Role::Late, Role::Late) | (Role::Rejects, Role::Rejects) => {}
        (Role::Result, Role::Result) => {
            let help = "give each INSERT a table of its own, or write one INSERT";
            problems.add(span, format!("a second INSERT into `{table}`: a result has one owner"), help);
        }
        (Role::History, Role::History) => {
            let help = "give each stream a history of its own";
            problems.add(span, format!("`{table}` is already the history of another stream"), help);
        }
        _ => {
            let message = format!("`{table}` can't be {}: it is already {}", role.words(), other.words());
            let help = match role {
                Role::Late => "name another one: LATE INTO ICEBERG 'namespace.table'",
                _ => "give one of them another name",
            };
            problems.add(span, message, help);
        }
    }
}

/// Checks that INSERTs which share a late table may do so: its rows have one stream's columns and one partitioning.
pub(super) fn check_late_tables(planned: &[(Span, Insert)], problems: &mut Problems) {
    for (index, (span, insert)) in planned.iter().enumerate() {
        for late in &insert.late {
            let shares = |other: &&(Span, Insert)| other.1.late.iter().any(|other| other.table == late.table);
            let Some((_, other)) = planned[..index].iter().find(shares) else { continue };
            let help = "name another one: LATE INTO ICEBERG 'namespace.table'";
            if !other.late.contains(late) {
                let message = format!("the late table `{}` would hold records of two streams", late.table);
                problems.add(*span, message, help);
            } else if time_transform(other) != time_transform(insert) {
                let message = format!("the late table `{}` would have two partitionings", late.table);
                problems.add(*span, message, format!("{help}, or partition both results by the same length of time"));
            }
        }
    }
}

fn time_transform(insert: &Insert) -> crate::event::Transform {
    insert.partitions[insert.range.partition].transform
}
