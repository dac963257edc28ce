//! Whether a stream's declaration agrees with the one that its history was archived under (`kappa.stream`).
//!
//! Invariant: a job reads a history only if it takes from it exactly the records, with the values, that it would take from
//! the log. Differences that history can make up for are allowed, and said: columns declared later, which it can tell from
//! what it keeps besides, and another event time, MAX FUTURE or WHEN, for which `seen` is found anew.

use thiserror::Error;

use crate::checkpoints::{ADDED_COLUMNS, SEEN_ANEW, STREAM, parse_time};
use crate::event::{EventTime, Micros, Stream, TableName};
use crate::iceberg::Table;
use crate::job::{Declaration, DeclarationError};

/// How a stream's declaration and its history's agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreement {
    /// The bound that the history was archived under.
    pub bound: Micros,
    /// Names of the stream's columns that rows of the history may not hold as such.
    pub added: Vec<String>,
    /// Why `seen` isn't what the rows say, in words; empty: it is.
    pub anew: Vec<String>,
    /// The event time below which it isn't either: records that had been rejects have come in since.
    pub seen_anew: Option<EventTime>,
}

/// Why a history can't be read, or written, under a declaration.
#[derive(Debug, Error)]
pub enum DisagreementError {
    /// It was archived under another one.
    #[error("{table} was archived under another declaration of {stream}: {difference}; {}", way_out(*widens))]
    Other {
        /// The history.
        table: TableName,
        /// The stream.
        stream: String,
        /// In words.
        difference: String,
        /// Whether the history can be widened to it.
        widens: bool,
    },
    /// Its own declaration can't be read.
    #[error("{table}: {source}")]
    Unreadable {
        /// The history.
        table: TableName,
        /// What is wrong.
        source: DeclarationError,
    },
    /// The time up to which `_seen` isn't what rows say can't be read.
    #[error(
        "{table}: its property {SEEN_ANEW} is {value:?}, which is no time: something else has set it; put back its old value"
    )]
    SeenAnew {
        /// The history.
        table: TableName,
        /// What it holds.
        value: String,
    },
    /// The list of columns declared later can't be read.
    #[error(
        "{table}: its property {ADDED_COLUMNS} can't be read ({source}): something else has set it; put back its old value"
    )]
    Added {
        /// The history.
        table: TableName,
        /// What is wrong.
        source: serde_json::Error,
    },
}

fn way_out(widens: bool) -> &'static str {
    match widens {
        true => "`kappa archive --evolve` widens the history to it; or declare it as it was",
        false => "declare it as it was",
    }
}

/// What a history says that it was archived under; `None` for a table that `kappa archive` hasn't made.
pub fn declaration(table: &Table) -> Result<Option<Declaration>, DisagreementError> {
    let Some(text) = table.properties().get(STREAM) else { return Ok(None) };
    let unreadable = |source| DisagreementError::Unreadable { table: table.name().clone(), source };
    Declaration::parse(text).map(Some).map_err(unreadable)
}

/// Columns of a history that were declared after it had begun.
pub fn added_columns(table: &Table) -> Result<Vec<String>, DisagreementError> {
    let Some(text) = table.properties().get(ADDED_COLUMNS) else { return Ok(Vec::new()) };
    serde_json::from_str(text).map_err(|source| DisagreementError::Added { table: table.name().clone(), source })
}

/// The event time below which `_seen` of a history's rows may be too low.
pub fn seen_anew(table: &Table) -> Result<Option<EventTime>, DisagreementError> {
    let Some(text) = table.properties().get(SEEN_ANEW) else { return Ok(None) };
    let unreadable = || DisagreementError::SeenAnew { table: table.name().clone(), value: text.clone() };
    parse_time(text).map(Some).ok_or_else(unreadable)
}

/// Holds the declaration of `stream` against the one that its history was archived under.
pub fn agree(table: &Table, archived: &Declaration, stream: &Stream) -> Result<Agreement, DisagreementError> {
    let own = Declaration::of(stream);
    let difference = own.difference(archived);
    let mut refused = difference.records.clone();
    let mut added = added_columns(table)?;
    added.retain(|name| own.columns.iter().any(|column| column.name == *name));
    let only_here = own.columns.iter().filter(|column| !column.required && !has(archived, &column.name));
    for (column, words) in only_here.zip(&difference.added) {
        match archived.cant_tell(column) {
            Some(reason) => refused.push(format!("{words}, and {reason}")),
            None => added.push(column.name.clone()),
        }
    }
    if !refused.is_empty() {
        return Err(DisagreementError::Other {
            table: table.name().clone(),
            stream: stream.name.clone(),
            difference: refused.join("; "),
            widens: own.widens(archived).is_ok(),
        });
    }
    let mut anew = difference.time;
    if !added.is_empty() {
        anew.push(format!("columns that history tells from the rest of its messages: {}", added.join(", ")));
    }
    Ok(Agreement { bound: Micros(archived.bound_us), added, anew, seen_anew: seen_anew(table)? })
}

fn has(declaration: &Declaration, name: &str) -> bool {
    declaration.columns.iter().any(|column| column.name == name)
}
