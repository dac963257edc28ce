//! From what a manifest says of a table to the commit that does it.
//! Invariant: rows that go are looked for in exactly the state of the table that the commit lands on.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::PublishError;
use crate::checkpoints::{
    Generation, Manifest, Offsets, Operation as ManifestOperation, TableChange, TableProperties, checkpoint_property,
    generation_property, snapshot_property,
};
use crate::iceberg::{Change, Operation, Remove, RowCut, StagedFile, Table, cut_out};

/// What a checkpoint does to a table as it is now: files that come, and rows that go.
pub fn staged_change(table: &Table, add: &[StagedFile], remove: &[RowCut]) -> TableChange {
    TableChange {
        table: table.name().clone(),
        uuid: table.uuid(),
        schema_id: table.schema_id(),
        spec_id: table.spec_id(),
        add: add.iter().map(file_value).collect(),
        remove: remove.iter().map(cut_value).collect(),
        operation: ManifestOperation::Append,
        properties: BTreeMap::new(),
        remove_properties: Vec::new(),
        summary: BTreeMap::new(),
    }
}

/// A staged file as a manifest keeps it.
pub fn file_value(file: &StagedFile) -> Value {
    serde_json::to_value(file).expect("staged files are made of texts and numbers")
}

fn cut_value(cut: &RowCut) -> Value {
    serde_json::to_value(cut).expect("cuts are made of texts and numbers")
}

/// The commit of `staged` on exactly `on`, by the run of this generation.
pub(super) async fn change(
    owner: &str,
    generation: Generation,
    manifest: &Manifest,
    staged: &TableChange,
    on: &Table,
) -> Result<Change, PublishError> {
    let mut add: Vec<StagedFile> = read_back(manifest, staged, &staged.add)?;
    let cuts: Vec<RowCut> = read_back(manifest, staged, &staged.remove)?;
    let cut = cut_out(on, &cuts).await?;
    add.extend(cut.kept);
    let operation = match (cut.files.is_empty(), add.is_empty(), staged.operation) {
        (false, ..) => Operation::Overwrite,
        (true, true, _) => Operation::Empty,
        (true, false, ManifestOperation::Append) => Operation::Append,
        (true, false, ManifestOperation::Overwrite) => Operation::Overwrite,
        (true, false, ManifestOperation::Replace) => Operation::Replace,
    };
    let mut properties = staged.properties.clone();
    properties.extend(checkpoint_properties(owner, manifest));
    let mut summary = staged.summary.clone();
    summary.insert("kappa.checkpoint".into(), manifest.id.padded());
    Ok(Change {
        add,
        remove: if cut.files.is_empty() { Remove::None } else { Remove::Files(cut.files) },
        properties,
        remove_properties: staged.remove_properties.clone(),
        summary,
        marker: Some((checkpoint_property(owner), manifest.id.padded())),
        fence: Some((generation_property(owner), Some(generation.padded()))),
        snapshot_property: Some(snapshot_property(owner)),
        operation,
        ..Change::nothing(on)
    })
}

fn read_back<T: DeserializeOwned>(
    manifest: &Manifest,
    staged: &TableChange,
    values: &[Value],
) -> Result<Vec<T>, PublishError> {
    let read = values.iter().map(|value| serde_json::from_value(value.clone()));
    read.collect::<Result<_, serde_json::Error>>().map_err(|error| PublishError::Staged {
        table: staged.table.clone(),
        id: manifest.id,
        detail: error.to_string(),
    })
}

/// The properties that name a checkpoint.
fn checkpoint_properties(owner: &str, manifest: &Manifest) -> BTreeMap<String, String> {
    let streams = manifest.streams.iter().map(|(stream, partitions)| {
        (stream.clone(), partitions.iter().map(|(&partition, at)| (partition, at.next_offset)).collect())
    });
    let offsets: Offsets = streams.collect();
    let ours = TableProperties { checkpoint: Some(manifest.id), offsets: Some(offsets), ..TableProperties::default() };
    ours.format(owner)
}
