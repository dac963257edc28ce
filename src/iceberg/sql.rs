//! The SQL catalog: one row a table in `iceberg_tables`, as the JDBC catalog of Java, pyiceberg and iceberg-rust have it,
//! in SQLite or PostgreSQL by the same statements.
//! Invariant: a row moves only from the metadata location that its writer has read.
//! Our own statements, as the client of the `iceberg` crate offers no overwrite, sets no busy timeout and swallows a
//! failed COMMIT.

mod database;

use std::path::Path;
use std::str::FromStr;

use async_trait::async_trait;
use iceberg::spec::{TableMetadata, TableMetadataBuilder};
use iceberg::{MetadataLocation, TableCreation};
use sqlx::any::AnyArguments;
use sqlx::query::Query;
use sqlx::{Any, AnyPool, Row};

use self::database::{OpenError, bounded};
use super::catalog::{Backend, CatalogConfig, CommitFailure, MetadataChange, warehouse_location};
use super::storage::file_io;
use super::{IcebergError, Table};
use crate::event::TableName;
use crate::store::{Stores, failure_in};

const DELETE_AFTER_COMMIT: &str = "write.metadata.delete-after-commit.enabled";

#[derive(Debug)]
pub(crate) struct SqlCatalog {
    name: String,
    pool: AnyPool,
    warehouse: String,
    stores: Stores,
}

impl SqlCatalog {
    pub(crate) async fn open(config: &CatalogConfig, root: &Path) -> Result<SqlCatalog, IcebergError> {
        let refuse = |detail: String| IcebergError::Config { catalog: config.name.clone(), detail };
        if config.name.trim().is_empty() {
            return Err(refuse("a name is needed: tables of several catalogs can share one database".to_owned()));
        }
        if config.warehouse.is_empty() {
            return Err(refuse("a warehouse is needed: the folder or bucket for the tables' files".to_owned()));
        }
        let warehouse = warehouse_location(config, root)?;
        let opened = database::open(&config.uri, root).await;
        let pool = opened.map_err(|error| {
            let (catalog, action) = (config.name.clone(), "open its database".to_owned());
            match error {
                OpenError::Address(detail) => refuse(detail),
                OpenError::Refused(detail) => IcebergError::Refused { catalog, action, detail },
                OpenError::Away(detail) => IcebergError::Catalog { catalog, action, detail },
            }
        })?;
        Ok(SqlCatalog { name: config.name.clone(), pool, warehouse, stores: config.stores.clone() })
    }

    fn failed(&self, action: &str, error: &dyn std::fmt::Display) -> IcebergError {
        IcebergError::Catalog { catalog: self.name.clone(), action: action.to_owned(), detail: error.to_string() }
    }

    /// How many rows a statement has changed.
    async fn execute<'q>(&self, query: Query<'q, Any, AnyArguments<'q>>) -> Result<u64, sqlx::Error> {
        bounded(query.execute(&self.pool)).await.map(|done| done.rows_affected())
    }

    /// Runs a statement that changes nothing, to learn whether one like it may be run.
    async fn permitted(&self, statement: &str, action: &str) -> Result<(), IcebergError> {
        let Err(error) = self.execute(sqlx::query(statement)).await else { return Ok(()) };
        match database::is_refusal(&error) {
            true => Err(IcebergError::Refused {
                catalog: self.name.clone(),
                action: action.to_owned(),
                detail: format!(
                    "{error}; the user needs SELECT, INSERT and UPDATE on iceberg_tables and iceberg_namespace_properties, \
                     and a SQLite file must be writable"
                ),
            }),
            false => Err(self.failed(action, &error)),
        }
    }

    async fn metadata_location(&self, name: &TableName) -> Result<Option<String>, sqlx::Error> {
        // Views share the table in newer versions of Java's catalog; older databases have no value there.
        let query = sqlx::query(
            "SELECT metadata_location FROM iceberg_tables
             WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3
               AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL)",
        )
        .bind(&self.name)
        .bind(name.namespace.join("."))
        .bind(&name.name);
        let row = bounded(query.fetch_optional(&self.pool)).await?;
        row.map(|row| row.try_get::<String, _>(0)).transpose()
    }

    async fn ensure_namespace(&self, name: &TableName) -> Result<(), sqlx::Error> {
        let query = sqlx::query(
            "INSERT INTO iceberg_namespace_properties (catalog_name, namespace, property_key, property_value)
             VALUES ($1, $2, 'exists', 'true') ON CONFLICT DO NOTHING",
        )
        .bind(&self.name)
        .bind(name.namespace.join("."));
        self.execute(query).await.map(drop)
    }

    /// Inserts the row of a new table; false if one of that name is there already.
    async fn insert(&self, name: &TableName, location: &str) -> Result<bool, sqlx::Error> {
        let query = sqlx::query(
            "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, metadata_location, iceberg_type)
             VALUES ($1, $2, $3, $4, 'TABLE') ON CONFLICT DO NOTHING",
        )
        .bind(&self.name)
        .bind(name.namespace.join("."))
        .bind(&name.name)
        .bind(location);
        Ok(self.execute(query).await? > 0)
    }

    /// Moves the row from `old` to `new`; false if it isn't at `old` any more.
    async fn swap(&self, name: &TableName, old: &str, new: &str) -> Result<bool, sqlx::Error> {
        let query = sqlx::query(
            "UPDATE iceberg_tables SET metadata_location = $1, previous_metadata_location = $2
             WHERE catalog_name = $3 AND table_namespace = $4 AND table_name = $5 AND metadata_location = $6",
        )
        .bind(new)
        .bind(old)
        .bind(&self.name)
        .bind(name.namespace.join("."))
        .bind(&name.name)
        .bind(old);
        Ok(self.execute(query).await? > 0)
    }
}

#[async_trait]
impl Backend for SqlCatalog {
    async fn load(&self, name: &TableName) -> Result<Option<Table>, IcebergError> {
        let action = || format!("look up table {name}");
        // The file may be gone if others commit a hundred times between the two reads, or if someone deleted it.
        let mut last_error = None;
        for _ in 0..3 {
            let location = self.metadata_location(name).await.map_err(|error| self.failed(&action(), &error))?;
            let Some(location) = location else { return Ok(None) };
            match TableMetadata::read_from(&file_io(&self.stores), &location).await {
                Ok(metadata) => {
                    return Table::new(name, metadata, &location, &self.stores).map(Some);
                }
                Err(error) => last_error = Some(error),
            }
        }
        let error = last_error.expect("the loop ran and returned on success");
        Err(IcebergError::metadata(name, "read its metadata; restore the file or drop the table")(error))
    }

    async fn create(&self, name: &TableName, mut creation: TableCreation) -> Result<Table, IcebergError> {
        let location = format!("{}/{}/{}", self.warehouse, name.namespace.join("/"), name.name);
        creation.location = Some(location.clone());
        let cant = "create it";
        let metadata = TableMetadataBuilder::from_table_creation(creation)
            .and_then(TableMetadataBuilder::build)
            .map_err(IcebergError::metadata(name, cant))?
            .metadata;
        let file = MetadataLocation::new_with_metadata(location, &metadata);
        let io = file_io(&self.stores);
        metadata.write_to(&io, &file).await.map_err(IcebergError::metadata(name, cant))?;
        let file = file.to_string();
        let inserted = async {
            self.ensure_namespace(name).await?;
            self.insert(name, &file).await
        };
        let inserted = inserted.await.map_err(|error| self.failed(&format!("create table {name}"), &error))?;
        if inserted {
            return Table::new(name, metadata, &file, &self.stores);
        }
        if let Err(error) = io.delete(&file).await {
            tracing::debug!(%file, %error, "metadata of a table that another process created first stays behind");
        }
        self.load(name).await?.ok_or_else(|| {
            self.failed(&format!("create table {name}"), &"another process created and dropped it meanwhile")
        })
    }

    async fn drop_table(&self, name: &TableName) -> Result<bool, IcebergError> {
        let query = sqlx::query(
            "DELETE FROM iceberg_tables WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3
               AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL)",
        )
        .bind(&self.name)
        .bind(name.namespace.join("."))
        .bind(&name.name);
        let dropped = self.execute(query).await;
        Ok(dropped.map_err(|error| self.failed(&format!("drop table {name}"), &error))? > 0)
    }

    async fn list(&self, namespace: &[String]) -> Result<Vec<TableName>, IcebergError> {
        let query = sqlx::query(
            "SELECT table_name FROM iceberg_tables WHERE catalog_name = $1 AND table_namespace = $2
               AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL)",
        )
        .bind(&self.name)
        .bind(namespace.join("."));
        let rows = bounded(query.fetch_all(&self.pool)).await;
        let names =
            rows.and_then(|rows| rows.iter().map(|row| row.try_get::<String, _>(0)).collect::<Result<Vec<_>, _>>());
        let names = names.map_err(|error| self.failed("list tables", &error))?;
        Ok(names.into_iter().map(|name| TableName { namespace: namespace.to_vec(), name }).collect())
    }

    async fn check_commit(&self, table: &Table) -> Result<(), IcebergError> {
        // Rights are checked before rows are looked for, and there are none.
        let statement = "UPDATE iceberg_tables SET metadata_location = metadata_location WHERE 1 = 0";
        self.permitted(statement, &format!("commit to table {}", table.name)).await
    }

    async fn check_create(&self, namespace: &[String]) -> Result<(), IcebergError> {
        let action = format!("create tables in {}", namespace.join("."));
        for table in ["iceberg_tables", "iceberg_namespace_properties"] {
            self.permitted(&format!("INSERT INTO {table} SELECT * FROM {table} WHERE 1 = 0"), &action).await?;
        }
        Ok(())
    }

    async fn commit(&self, base: &Table, change: &MetadataChange) -> Result<(), CommitFailure> {
        let rejected = |error: iceberg::Error| CommitFailure::Rejected(error.to_string());
        for requirement in &change.requirements {
            requirement.check(Some(base.metadata())).map_err(|error| CommitFailure::Conflict(error.to_string()))?;
        }
        let old = base.inner.metadata_location_result().map_err(rejected)?.to_owned();
        let mut builder = base.metadata().clone().into_builder(Some(old.clone()));
        for update in change.updates.clone() {
            builder = update.apply(builder).map_err(rejected)?;
        }
        let metadata = builder.build().map_err(rejected)?.metadata;
        let file = MetadataLocation::from_str(&old).map_err(rejected)?.with_next_version().with_new_metadata(&metadata);
        let io = base.inner.file_io();
        // Nothing has changed, so it can be tried again, unless a person has to act first.
        metadata.write_to(io, &file).await.map_err(|error| match failure_in(&error) {
            Some(failure) if failure.cause.is_lasting() => CommitFailure::Rejected(failure.to_string()),
            _ => CommitFailure::Conflict(error.to_string()),
        })?;
        let file = file.to_string();
        match self.swap(&base.name, &old, &file).await {
            Ok(true) => {
                forget_old_metadata(base, &metadata).await;
                Ok(())
            }
            Ok(false) => {
                if let Err(error) = io.delete(&file).await {
                    tracing::debug!(%file, %error, "metadata of a lost commit stays behind");
                }
                match self.metadata_location(&base.name).await {
                    Ok(None) => Err(CommitFailure::Gone),
                    _ => Err(CommitFailure::Conflict("the table has moved on".to_owned())),
                }
            }
            Err(error) => Err(CommitFailure::Unknown(error.to_string())),
        }
    }
}

/// Deletes the metadata files that have just dropped out of the table's log, if its properties say so. Others may still
/// read them for a moment: [`SqlCatalog::load`] tries again.
async fn forget_old_metadata(base: &Table, new: &TableMetadata) {
    if new.properties().get(DELETE_AFTER_COMMIT).map(String::as_str) != Some("true") {
        return;
    }
    let kept: std::collections::HashSet<&str> =
        new.metadata_log().iter().map(|entry| entry.metadata_file.as_str()).collect();
    for entry in base.metadata().metadata_log() {
        if !kept.contains(entry.metadata_file.as_str())
            && let Err(error) = base.inner.file_io().delete(&entry.metadata_file).await
        {
            tracing::debug!(file = %entry.metadata_file, %error, "an old metadata file stays behind");
        }
    }
}
