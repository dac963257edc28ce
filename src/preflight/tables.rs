//! The tables of a job as the catalog has them, and whether the job may write to them.

use std::collections::BTreeSet;

use super::{CatalogLook, PreflightError, files};
use crate::checkpoints::{Newest, TableProperties, check_not_lost};
use crate::event::{EventTime, TableName};
use crate::iceberg::{Catalog, Table, TableSpec};
use crate::job::Plan;
use crate::sinks::{PublishError, layout, targets};
use crate::sources::{agree, declaration};

/// What a table is to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Takes the job's result.
    Result,
    /// Takes late or rejected records; other jobs may write to it too.
    Shared,
    /// Holds the history of a stream; the archive writes it.
    History,
}

/// A table of the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableLook {
    /// Its name.
    pub table: TableName,
    /// What it is to the job.
    pub role: Role,
    /// What was found of it.
    pub found: Found,
    /// Whether it takes files and commits; `None`: it wasn't tried, as it isn't there or a run only reads it.
    pub writable: Option<bool>,
}

/// What was found of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The catalog didn't answer.
    Unknown,
    /// It isn't there: `kappa run` makes it, or for a history `kappa archive`.
    Missing,
    /// It is there.
    There {
        /// The job that it belongs to, if it says so.
        owner: Option<String>,
        /// No window below it changes any more.
        sealed_edge: Option<EventTime>,
    },
}

/// Looks at every table of the job; what is wrong goes to `problems`. `newest` is what the place of the state has; `None`:
/// it isn't known.
pub(super) async fn look(
    plan: &Plan,
    catalog: &CatalogLook,
    newest: Option<&Newest>,
    problems: &mut Vec<PreflightError>,
) -> Vec<TableLook> {
    let wanted = wanted(plan);
    let without_catalog = |found: Found| {
        let looks = wanted.iter().map(|(table, role, _)| {
            let (table, found) = (table.clone(), found.clone());
            TableLook { table, role: *role, found, writable: None }
        });
        looks.collect()
    };
    let catalog = match catalog {
        CatalogLook::Open(catalog) => catalog,
        CatalogLook::New => return without_catalog(Found::Missing),
        CatalogLook::Closed => return without_catalog(Found::Unknown),
    };
    let mut looks = Vec::with_capacity(wanted.len());
    // Tables of one namespace are refused alike.
    let mut refused = BTreeSet::new();
    for (table, role, spec) in wanted {
        let mut writable = None;
        let found = match catalog.load(&table).await {
            Err(error) => {
                problems.push(error.into());
                Found::Unknown
            }
            Ok(None) => {
                let may_create = catalog.check_create(&table.namespace).await;
                if let Err(error) = may_create
                    && refused.insert(error.to_string())
                {
                    problems.push(error.into());
                }
                Found::Missing
            }
            Ok(Some(loaded)) => {
                if role != Role::History {
                    writable = Some(is_writable(catalog, &loaded, problems).await);
                }
                judge(plan, role, &loaded, &spec, newest, problems)
            }
        };
        looks.push(TableLook { table, role, found, writable });
    }
    looks
}

/// Whether files can be put into the table's folder, and commits may be made; what stands against it goes to `problems`.
async fn is_writable(catalog: &Catalog, table: &Table, problems: &mut Vec<PreflightError>) -> bool {
    let before = problems.len();
    problems.extend(files::probe_table(table).await.err());
    problems.extend(catalog.check_commit(table).await.err().map(PreflightError::from));
    problems.len() == before
}

fn wanted(plan: &Plan) -> Vec<(TableName, Role, TableSpec)> {
    let written = targets(plan).into_iter().map(|target| {
        let role = if target.owned { Role::Result } else { Role::Shared };
        (target.table, role, target.spec)
    });
    let histories = plan
        .streams
        .iter()
        .filter_map(|stream| Some((stream.history.clone()?, Role::History, layout::history(stream))));
    written.chain(histories).collect()
}

fn judge(
    plan: &Plan,
    role: Role,
    table: &Table,
    spec: &TableSpec,
    newest: Option<&Newest>,
    problems: &mut Vec<PreflightError>,
) -> Found {
    let name = table.name().clone();
    if role == Role::History {
        problems.extend(disagreement(plan, table));
        return Found::There { owner: None, sealed_edge: None };
    }
    if let Some(difference) = table.difference(spec) {
        problems.push(PublishError::Layout { table: name.clone(), difference }.into());
    }
    let properties = match TableProperties::parse(&plan.name, table.properties()) {
        Ok(properties) => properties,
        Err(source) => {
            problems.push(PublishError::Property { table: name, source }.into());
            return Found::There { owner: None, sealed_edge: None };
        }
    };
    match &properties.owner {
        Some(owner) if role == Role::Result && *owner != plan.name => {
            problems.push(PublishError::OtherOwner { table: name, owner: owner.clone() }.into());
        }
        _ => {
            let kept = newest.map(|newest| check_not_lost(newest.id(), newest.abandoned, &name, properties.checkpoint));
            problems.extend(kept.and_then(Result::err).map(PreflightError::from));
        }
    }
    Found::There { owner: properties.owner, sealed_edge: properties.sealed_edge }
}

/// What keeps the job from reading a history as its own stream.
fn disagreement(plan: &Plan, table: &Table) -> Option<PreflightError> {
    let stream = plan.streams.iter().find(|stream| stream.history.as_ref() == Some(table.name()))?;
    match declaration(table) {
        Ok(Some(archived)) => agree(table, &archived, stream).err().map(PreflightError::from),
        Ok(None) => None,
        Err(error) => Some(error.into()),
    }
}
