//! Holding a stream's declaration against the history's, and widening history to it.
//! Invariant: nothing that history holds changes its meaning.

use std::collections::BTreeMap;

use super::{ArchiveError, STREAM_PROPERTY};
use crate::checkpoints::ADDED_COLUMNS;
use crate::event::{Stream, TableName};
use crate::iceberg::Catalog;
use crate::job::{Declaration, DeclaredColumn};
use crate::sources::{added_columns, declaration};

/// How a history is widened.
pub(super) struct Widening {
    /// In words.
    pub(super) changes: Vec<String>,
    /// Of the history.
    pub(super) properties: BTreeMap<String, String>,
}

/// Holds the stream's declaration against the history's. `None`: history goes on as it is.
pub(super) async fn widening(
    catalog: &Catalog,
    history: &TableName,
    stream: &Stream,
    evolve: bool,
) -> Result<Option<Widening>, ArchiveError> {
    let Some(table) = catalog.load(history).await? else { return Ok(None) };
    let Some(archived) = declaration(&table)? else {
        let difference = format!("it has no property {STREAM_PROPERTY}, so something else has made it");
        return Err(ArchiveError::Declaration { table: history.clone(), difference, widens: false });
    };
    let declared = Declaration::of(stream);
    let mut difference = declared.difference(&archived);
    // The bound decides nothing that history holds.
    difference.bound.clear();
    if difference.is_empty() {
        return Ok(None);
    }
    match declared.widens(&archived) {
        Ok(changes) if evolve => {
            let mut added = added_columns(&table)?;
            let told = |column: &&DeclaredColumn| {
                !archived.columns.iter().any(|there| there.name == column.name) && archived.cant_tell(column).is_none()
            };
            added.extend(declared.columns.iter().filter(told).map(|column| column.name.clone()));
            // The bound is the one that the watermark goes by which the table states: the next checkpoint brings both.
            let declared = Declaration { bound_us: archived.bound_us, ..declared };
            let mut properties = BTreeMap::from([(STREAM_PROPERTY.to_owned(), declared.to_json())]);
            if !added.is_empty() {
                let names = serde_json::to_string(&added).expect("a list of names always becomes JSON");
                properties.insert(ADDED_COLUMNS.to_owned(), names);
            }
            Ok(Some(Widening { changes, properties }))
        }
        Err(against) if evolve => {
            Err(ArchiveError::NotWider { table: history.clone(), difference: against.join("; ") })
        }
        widened => Err(ArchiveError::Declaration {
            table: history.clone(),
            difference: difference.all().join("; "),
            widens: widened.is_ok(),
        }),
    }
}
