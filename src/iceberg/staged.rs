//! Data files that are written but not yet part of a table.

use std::collections::BTreeMap;

use iceberg::spec::{
    DataFile, FormatVersion, PartitionSpec, Schema, StructType, deserialize_data_file_from_json,
    serialize_data_file_to_json,
};
use serde::{Deserialize, Serialize};

use super::{IcebergError, Table, partition};
use crate::event::{EventTime, TableName};

/// A finished data file: it stands in the store and in no snapshot. Serialised, it can be committed by a later process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StagedFile {
    /// Its location.
    pub path: String,
    /// The partition spec that it was written under.
    pub spec_id: i32,
    /// Its partition: names of the fields and values as people read them, `None` for null.
    pub partition: Vec<(String, Option<String>)>,
    /// Rows in it.
    pub record_count: u64,
    /// Its size.
    pub bytes: u64,
    /// Least and greatest value of every top-level timestamp column that has one.
    pub times: BTreeMap<String, (EventTime, EventTime)>,
    /// The manifest entry: Iceberg's JSON form, with all column statistics.
    data_file: String,
}

impl StagedFile {
    pub(crate) fn new(
        table: &TableName,
        file: DataFile,
        spec: &PartitionSpec,
        schema: &Schema,
    ) -> Result<StagedFile, IcebergError> {
        let cant = "describe a data file";
        let partition_type = spec.partition_type(schema).map_err(IcebergError::metadata(table, cant))?;
        let times = schema.as_struct().fields().iter().filter_map(|field| {
            let is_time = matches!(
                field.field_type.as_primitive_type()?,
                iceberg::spec::PrimitiveType::Timestamp | iceberg::spec::PrimitiveType::Timestamptz
            );
            let (lower, upper) = partition::time_bounds(&file, field.id).filter(|_| is_time)?;
            Some((field.name.clone(), (EventTime(lower), EventTime(upper))))
        });
        Ok(StagedFile {
            path: file.file_path().to_owned(),
            spec_id: spec.spec_id(),
            partition: partition::describe(spec, schema, file.partition()),
            record_count: file.record_count(),
            bytes: file.file_size_in_bytes(),
            times: times.collect(),
            data_file: serialize_data_file_to_json(file, &partition_type, FormatVersion::V2)
                .map_err(IcebergError::metadata(table, cant))?,
        })
    }

    /// Whether it still stands in the table's store, in its whole length.
    ///
    /// # Errors
    /// When the store doesn't answer.
    pub async fn is_there(&self, table: &Table) -> Result<bool, IcebergError> {
        let failed = || IcebergError::metadata(&table.name, "look for a staged file");
        let file = table.inner.file_io().new_input(&self.path).map_err(failed())?;
        if !file.exists().await.map_err(failed())? {
            return Ok(false);
        }
        Ok(file.metadata().await.map_err(failed())?.size == self.bytes)
    }

    /// Least and greatest value of a timestamp column, if it has any.
    pub fn bounds(&self, column: &str) -> Option<(EventTime, EventTime)> {
        self.times.get(column).copied()
    }

    /// The manifest entry, read with the table's current schema and the file's own spec.
    pub(crate) fn data_file(&self, table: &Table) -> Result<DataFile, IcebergError> {
        let metadata = table.metadata();
        let spec = metadata.partition_spec_by_id(self.spec_id).ok_or_else(|| IcebergError::Unsupported {
            table: table.name.clone(),
            detail: format!("has no partition spec {}, which {} was written under", self.spec_id, self.path),
        })?;
        let schema = metadata.current_schema();
        let read = || {
            let partition_type: StructType = spec.partition_type(schema)?;
            deserialize_data_file_from_json(&self.data_file, self.spec_id, &partition_type, schema)
        };
        read().map_err(IcebergError::metadata(&table.name, "read the description of a staged file"))
    }
}
