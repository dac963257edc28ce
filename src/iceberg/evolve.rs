//! Widening a table: columns are added, types promoted as Iceberg promotes them, all in one commit of its metadata.
//! Invariant: every row keeps its values; files stay as they are, a column that they lack is null in their rows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::datatypes::Fields;
use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
use iceberg::{TableRequirement, TableUpdate};

use super::catalog::{Catalog, CommitFailure, MetadataChange};
use super::overwrite::CommitError;
use super::table::type_text;
use super::{Table, TableSpec, types};
use crate::event::TableName;

/// How a table becomes one that takes rows of a spec.
#[derive(Clone, Debug)]
pub struct Evolution {
    schema: Schema,
    /// What changes, column by column, in words; empty: nothing.
    pub changes: Vec<String>,
}

impl Table {
    /// How the table becomes one that takes rows laid out by `spec`. The error says what stands against it, column by
    /// column.
    pub fn evolution(&self, spec: &TableSpec) -> Result<Evolution, String> {
        let current = self.metadata().current_schema();
        let wanted = types::to_iceberg(&spec.schema).map_err(|detail| format!("column {detail}"))?;
        let mut last_id = self.metadata().last_column_id();
        let mut fields = current.as_struct().fields().to_vec();
        let (mut changes, mut against) = (Vec::new(), Vec::new());
        for (field, column) in wanted.as_struct().fields().iter().zip(spec.schema.fields()) {
            let name = &field.name;
            let Some(place) = fields.iter().position(|found| found.name == *name) else {
                // Rows that are there have no value.
                let optional = Arc::new(column.as_ref().clone().with_nullable(true));
                let mut added = types::fields_to_iceberg(&Fields::from(vec![optional]), &mut last_id)?;
                fields.append(&mut added);
                changes.push(format!("column `{name}` added ({})", type_text(field)));
                continue;
            };
            let found = &fields[place];
            if type_text(found) == type_text(field) {
                if found.required && !field.required {
                    against.push(format!("its column `{name}` is required"));
                }
                continue;
            }
            let (was, is) = (type_text(found), type_text(field));
            let partitions = self.metadata().default_partition_spec().fields();
            if partitions.iter().any(|partition| partition.source_id == found.id) {
                against.push(format!("it is partitioned by its column `{name}`, which is {was}, not {is}"));
            } else if !promotes(&found.field_type, &field.field_type) {
                against.push(format!("its column `{name}` is {was}, which can't become {is}"));
            } else {
                let promoted = NestedField { field_type: field.field_type.clone(), ..found.as_ref().clone() };
                fields[place] = Arc::new(promoted);
                changes.push(format!("column `{name}`: {was} becomes {is}"));
            }
        }
        let schema = Schema::builder()
            .with_schema_id(self.metadata().schemas_iter().map(|schema| schema.schema_id()).max().unwrap_or(0) + 1)
            .with_fields(fields)
            .with_identifier_field_ids(current.identifier_field_ids())
            .build()
            .map_err(|error| error.to_string())?;
        // What more columns and wider ones don't cure: another partitioning, columns that are required there only.
        let rest = self.difference(&TableSpec { schema: self.known_to(spec), ..spec.clone() });
        against.extend(rest);
        if against.is_empty() { Ok(Evolution { schema, changes }) } else { Err(against.join("; ")) }
    }

    /// The columns of `spec` as far as they are the table's: those on which they differ are judged by themselves.
    fn known_to(&self, spec: &TableSpec) -> arrow::datatypes::SchemaRef {
        let current = self.metadata().current_schema().as_struct();
        let known = spec.schema.fields().iter().filter_map(|column| {
            let found = current.field_by_name(column.name())?;
            let found = types::field_to_arrow(found, types::Zoneless::Kept).ok()?;
            Some(types::plain_field(&found).with_nullable(column.is_nullable() && found.is_nullable()))
        });
        Arc::new(arrow::datatypes::Schema::new(known.collect::<Vec<_>>()))
    }
}

/// Whether Iceberg promotes values of `from` to `to`.
fn promotes(from: &Type, to: &Type) -> bool {
    use PrimitiveType::{Decimal, Double, Float, Int, Long};
    match (from, to) {
        (Type::Primitive(Int), Type::Primitive(Long)) | (Type::Primitive(Float), Type::Primitive(Double)) => true,
        (Type::Primitive(Decimal { precision, scale }), Type::Primitive(Decimal { precision: wider, scale: same })) => {
            scale == same && precision <= wider
        }
        _ => false,
    }
}

impl Catalog {
    /// Tries once to give `table`, as it was loaded, the schema of `evolution` and these properties, in one commit. Fails
    /// with [`CommitError::Conflict`] if the table has moved on, and with [`CommitError::Unknown`] if it may have landed:
    /// load the table and look.
    pub async fn evolve_on(
        &self,
        table: &Table,
        evolution: &Evolution,
        properties: &BTreeMap<String, String>,
    ) -> Result<(), CommitError> {
        let metadata = table.metadata();
        let mut updates = Vec::new();
        if !evolution.changes.is_empty() {
            updates.push(TableUpdate::AddSchema { schema: evolution.schema.clone() });
            // The one that was just added.
            updates.push(TableUpdate::SetCurrentSchema { schema_id: -1 });
        }
        if !properties.is_empty() {
            let properties: HashMap<String, String> = properties.clone().into_iter().collect();
            updates.push(TableUpdate::SetProperties { updates: properties });
        }
        let requirements = vec![
            TableRequirement::UuidMatch { uuid: table.uuid() },
            TableRequirement::LastAssignedFieldIdMatch { last_assigned_field_id: metadata.last_column_id() },
            TableRequirement::CurrentSchemaIdMatch { current_schema_id: metadata.current_schema_id() },
            // Claims are snapshots: nobody has claimed the table since.
            TableRequirement::RefSnapshotIdMatch {
                r#ref: iceberg::spec::MAIN_BRANCH.to_owned(),
                snapshot_id: metadata.current_snapshot_id(),
            },
        ];
        let name = table.name().clone();
        match self.backend.commit(table, &MetadataChange { updates, requirements }).await {
            Ok(()) => Ok(()),
            Err(CommitFailure::Conflict(detail)) => Err(CommitError::Conflict { table: name, detail }),
            Err(CommitFailure::Unknown(detail)) => Err(CommitError::Unknown { table: name, attempts: 1, detail }),
            Err(CommitFailure::Rejected(detail)) => Err(CommitError::Rejected { table: name, detail }),
            Err(CommitFailure::Gone) => {
                Err(CommitError::TableGone { table: name, detail: "doesn't exist any more".to_owned() })
            }
        }
    }

    /// As [`Catalog::evolve_on`], on the table as it is now, again and again while others are first. What has changed, in
    /// words. For tables that no run has claimed.
    pub async fn evolve(
        &self,
        table: &TableName,
        spec: &TableSpec,
        properties: &BTreeMap<String, String>,
    ) -> Result<Vec<String>, CommitError> {
        const ATTEMPTS_MAX: u32 = 20;
        let mut last = String::new();
        for _ in 0..ATTEMPTS_MAX {
            let gone = || CommitError::TableGone { table: table.clone(), detail: "doesn't exist".to_owned() };
            let loaded = self.load(table).await?.ok_or_else(gone)?;
            let evolution = loaded.evolution(spec);
            let evolution = evolution.map_err(|detail| CommitError::Rejected { table: table.clone(), detail })?;
            match self.evolve_on(&loaded, &evolution, properties).await {
                Ok(()) => return Ok(evolution.changes),
                Err(CommitError::Conflict { detail, .. } | CommitError::Unknown { detail, .. }) => last = detail,
                Err(error) => return Err(error),
            }
        }
        Err(CommitError::Conflict {
            table: table.clone(),
            detail: format!("others were first again and again ({last})"),
        })
    }
}
