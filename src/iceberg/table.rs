//! A table as it was when it was loaded: a value that never changes. Load again to see what others did.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use iceberg::spec::{
    FormatVersion, ManifestContentType, ManifestFile, NestedField, NullOrder, SnapshotRef, SortDirection, SortField,
};
use uuid::Uuid;

use super::storage::file_io;
use super::types::{self, Zoneless};
use super::{IcebergError, TableSpec, partition};
use crate::event::{PartitionField, TableName};
use crate::store::Stores;

/// One state of a table. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Table {
    pub(crate) name: TableName,
    pub(crate) inner: iceberg::table::Table,
    pub(crate) stores: Stores,
}

impl Table {
    /// Wraps a table's metadata; its files are in `stores`.
    pub(crate) fn new(
        name: &TableName,
        metadata: iceberg::spec::TableMetadata,
        metadata_location: &str,
        stores: &Stores,
    ) -> Result<Table, IcebergError> {
        let inner = iceberg::table::Table::builder()
            .file_io(file_io(stores))
            .identifier(super::catalog::ident(name)?)
            .metadata_location(metadata_location)
            .metadata(metadata)
            .runtime(iceberg::Runtime::current())
            .build()
            .map_err(IcebergError::metadata(name, "open it"))?;
        Ok(Table { name: name.clone(), inner, stores: stores.clone() })
    }

    /// Its name.
    pub fn name(&self) -> &TableName {
        &self.name
    }

    /// Its identity: another table that takes its name has another one.
    pub fn uuid(&self) -> Uuid {
        self.metadata().uuid()
    }

    /// Its properties.
    pub fn properties(&self) -> &HashMap<String, String> {
        self.metadata().properties()
    }

    /// The folder of its files.
    pub fn location(&self) -> &str {
        self.metadata().location()
    }

    /// Id of the current schema: staged files are of it.
    pub fn schema_id(&self) -> i32 {
        self.metadata().current_schema_id()
    }

    /// Id of the current partitioning: staged files are of it.
    pub fn spec_id(&self) -> i32 {
        self.metadata().default_partition_spec_id()
    }

    /// The newest snapshot of `main`; `None` if nothing was ever committed.
    pub fn current_snapshot_id(&self) -> Option<i64> {
        self.metadata().current_snapshot_id()
    }

    /// The snapshots from the newest of `main` back to the first that the metadata still holds.
    pub fn ancestors(&self) -> Vec<i64> {
        self.ancestor_snapshots().iter().map(|snapshot| snapshot.snapshot_id()).collect()
    }

    /// The summary of a snapshot: counts, and what the committer added. `None` if it has expired.
    pub fn summary(&self, snapshot_id: i64) -> Option<&HashMap<String, String>> {
        Some(&self.metadata().snapshot_by_id(snapshot_id)?.summary().additional_properties)
    }

    /// What a snapshot did: `append`, `overwrite`, `replace` or `delete`. `None` if it has expired.
    pub fn operation(&self, snapshot_id: i64) -> Option<&str> {
        Some(self.metadata().snapshot_by_id(snapshot_id)?.summary().operation.as_str())
    }

    /// Its columns as every batch of the program has them, with the table's nullability and with field ids in the fields'
    /// metadata (`PARQUET:field_id`).
    pub fn arrow_schema(&self) -> Result<SchemaRef, IcebergError> {
        self.arrow(Zoneless::AsUtc)
    }

    /// Its columns as they stand in its files.
    pub(crate) fn file_schema(&self) -> Result<SchemaRef, IcebergError> {
        self.arrow(Zoneless::Kept)
    }

    fn arrow(&self, zoneless: Zoneless) -> Result<SchemaRef, IcebergError> {
        let schema = types::to_arrow(self.metadata().current_schema(), zoneless);
        Ok(Arc::new(schema.map_err(IcebergError::metadata(&self.name, "read its schema"))?))
    }

    /// Its current partitioning. Fails for transforms that no job can name.
    pub fn partitions(&self) -> Result<Vec<PartitionField>, IcebergError> {
        let schema = self.metadata().current_schema();
        let fields = self.metadata().default_partition_spec().fields().iter().map(|field| {
            let transform = partition::from_iceberg(field.transform);
            match (transform, schema.field_by_id(field.source_id)) {
                (Some(transform), Some(source)) => Ok(PartitionField { column: source.name.clone(), transform }),
                _ => Err(IcebergError::Unsupported {
                    table: self.name.clone(),
                    detail: format!(
                        "is partitioned by {}({}), which is not supported; use hour, day, month, identity, truncate or bucket",
                        field.transform, field.name
                    ),
                }),
            }
        });
        fields.collect()
    }

    /// The columns that its files are sorted by, as far as they are what rows are sorted by here: ascending, nulls first.
    pub fn sort_columns(&self) -> Vec<String> {
        let (metadata, schema) = (self.metadata(), self.metadata().current_schema());
        let ours = |field: &&SortField| {
            field.transform == iceberg::spec::Transform::Identity
                && field.direction == SortDirection::Ascending
                && field.null_order == NullOrder::First
        };
        let fields = metadata.default_sort_order().fields.iter().take_while(ours);
        let top = |id: i32| schema.as_struct().fields().iter().find(|field| field.id == id);
        fields.map_while(|field| top(field.source_id).map(|field| field.name.clone())).collect()
    }

    /// Whether `main` has certainly left a snapshot behind: someone rolled the table back. False for snapshots that may
    /// merely have expired.
    pub fn left_behind(&self, snapshot_id: i64) -> bool {
        let ancestors = self.ancestor_snapshots();
        if ancestors.iter().any(|snapshot| snapshot.snapshot_id() == snapshot_id) {
            return false;
        }
        let is_known = self.metadata().snapshot_by_id(snapshot_id).is_some();
        // Back to a snapshot without a parent nothing has expired.
        is_known || ancestors.last().is_none_or(|first| first.parent_snapshot_id().is_none())
    }

    /// What keeps rows laid out by `spec` from being written to this table as `spec` says, column by column; `None` if
    /// nothing does. The order of columns, more columns that may be null, sort order and properties don't matter.
    pub fn difference(&self, spec: &TableSpec) -> Option<String> {
        let schema = self.metadata().current_schema();
        let wanted = match types::to_iceberg(&spec.schema) {
            Ok(wanted) => wanted,
            Err(detail) => return Some(format!("column {detail}")),
        };
        let mut differences = Vec::new();
        for field in wanted.as_struct().fields() {
            match schema.as_struct().field_by_name(&field.name) {
                None => differences.push(format!("it has no column `{}` ({})", field.name, type_text(field))),
                Some(found) if type_text(found) != type_text(field) => {
                    let (found, wanted) = (type_text(found), type_text(field));
                    differences.push(format!("its column `{}` is {found}, not {wanted}", field.name));
                }
                Some(found) if found.required && !field.required => {
                    differences.push(format!("its column `{}` is required", field.name));
                }
                Some(_) => {}
            }
        }
        let is_wanted = |name: &str| wanted.as_struct().field_by_name(name).is_some();
        let fields = schema.as_struct().fields().iter();
        for extra in fields.filter(|field| field.required && !is_wanted(&field.name)) {
            differences.push(format!("it has one more column `{}`, which is required", extra.name));
        }
        let text = |fields: &[PartitionField]| match fields {
            [] => "nothing".to_owned(),
            fields => fields.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        };
        match self.partitions() {
            Ok(partitions) if partitions == spec.partitions => {}
            Ok(found) => {
                let (found, wanted) = (text(&found), text(&spec.partitions));
                differences.push(format!("it is partitioned by {found}, not by {wanted}"));
            }
            Err(error) => differences.push(error.to_string()),
        }
        (!differences.is_empty()).then(|| differences.join("; "))
    }

    pub(crate) fn metadata(&self) -> &iceberg::spec::TableMetadata {
        self.inner.metadata()
    }

    pub(crate) fn ancestor_snapshots(&self) -> Vec<SnapshotRef> {
        let mut found = Vec::new();
        let mut next = self.metadata().current_snapshot().cloned();
        while let Some(snapshot) = next {
            next = snapshot.parent_snapshot_id().and_then(|id| self.metadata().snapshot_by_id(id)).cloned();
            found.push(snapshot);
        }
        found
    }

    /// Refuses tables whose rows can't be told from their data files alone.
    pub(crate) fn check_format(&self) -> Result<(), IcebergError> {
        let version = self.metadata().format_version();
        if version > FormatVersion::V2 {
            return Err(IcebergError::Unsupported {
                table: self.name.clone(),
                detail: format!("has format {version}; only formats 1 and 2 are supported: rewrite it as format 2"),
            });
        }
        Ok(())
    }

    /// Refuses tables that no change of ours can be made to: another format than 2, or delete files.
    pub async fn check_maintained(&self) -> Result<(), IcebergError> {
        self.check_format()?;
        if self.metadata().format_version() < FormatVersion::V2 {
            return Err(IcebergError::Unsupported {
                table: self.name.clone(),
                detail: "has format v1, and only format 2 is written: upgrade it".to_owned(),
            });
        }
        match self.metadata().current_snapshot() {
            Some(newest) => self.manifests(newest).await.map(drop),
            None => Ok(()),
        }
    }

    /// The data manifests of a snapshot. Refuses tables with delete files.
    pub(crate) async fn manifests(&self, snapshot: &SnapshotRef) -> Result<Vec<ManifestFile>, IcebergError> {
        self.check_format()?;
        let list = self.inner.manifest_list_reader(snapshot).load().await;
        let list = list.map_err(IcebergError::metadata(&self.name, "read its manifest list"))?;
        let manifests = list.entries().to_vec();
        let live = |manifest: &&ManifestFile| manifest.has_added_files() || manifest.has_existing_files();
        if manifests.iter().filter(live).any(|manifest| manifest.content == ManifestContentType::Deletes) {
            return Err(IcebergError::Unsupported {
                table: self.name.clone(),
                detail: "has delete files, which are not supported: compact it with the engine that wrote them \
                         (Spark: CALL system.rewrite_data_files, delete-file-threshold 1), or make it copy-on-write"
                    .to_owned(),
            });
        }
        Ok(manifests)
    }
}

#[cfg(test)]
impl Table {
    /// The data files that its snapshots have added, one entry for each time that one was.
    pub(crate) async fn added_files(&self) -> Result<Vec<String>, IcebergError> {
        let mut added = Vec::new();
        for snapshot in self.ancestor_snapshots() {
            for manifest in self.manifests(&snapshot).await? {
                if manifest.added_snapshot_id != snapshot.snapshot_id() {
                    continue;
                }
                let entries = manifest.load_manifest(self.inner.file_io()).await;
                let entries = entries.map_err(IcebergError::metadata(&self.name, "read a manifest"))?;
                let own = entries.entries().iter().filter(|entry| {
                    entry.status() == iceberg::spec::ManifestStatus::Added
                        && entry.snapshot_id().is_none_or(|id| id == snapshot.snapshot_id())
                });
                added.extend(own.map(|entry| entry.file_path().to_owned()));
            }
        }
        Ok(added)
    }
}

/// A column's type without field ids, as Arrow spells it.
pub(super) fn type_text(field: &NestedField) -> String {
    match types::field_to_arrow(field, Zoneless::Kept) {
        Ok(field) => types::plain_field(&field).data_type().to_string(),
        Err(_) => field.field_type.to_string(),
    }
}
