//! Catalogs: where tables are found by name, created, and moved from one state to the next.
//! Invariant: a table changes only by a compare-and-swap of its head; who loses learns so, or learns nothing and asks.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::{NamespaceIdent, TableCreation, TableIdent, TableRequirement, TableUpdate};

use super::rest::RestCatalog;
use super::sql::SqlCatalog;
use super::types;
use super::{IcebergError, Table, partition};
use crate::event::{PartitionField, TableName};
use crate::secret::{Properties, without_password};
use crate::store::{Stores, check_location};

/// Which catalog to use, and how it is reached.
#[derive(Clone)]
pub struct CatalogConfig {
    /// The protocol.
    pub kind: CatalogKind,
    /// `sqlite:path` (relative to the root folder) or `postgres://…` for SQL, `https://…` for REST.
    pub uri: String,
    /// Name of the catalog: SQL catalogs of several names can share one database.
    pub name: String,
    /// Folder, `file://` or `s3://` location under which new tables are put; for REST also the warehouse that the server
    /// is asked for, or empty.
    pub warehouse: String,
    /// More properties of a REST catalog: `token`, `credential`, `header.…`.
    pub properties: Properties,
    /// The stores of table files.
    pub stores: Stores,
}

impl CatalogConfig {
    /// A catalog in one folder: SQLite in `catalog.db`, tables in `warehouse`. Needs no server and no settings.
    pub fn embedded() -> CatalogConfig {
        CatalogConfig {
            kind: CatalogKind::Sql,
            uri: "sqlite:catalog.db".to_owned(),
            name: "kappa".to_owned(),
            warehouse: "warehouse".to_owned(),
            properties: Properties::default(),
            stores: Stores::default(),
        }
    }

    /// A catalog that leaves nothing behind: database and files are kept in memory, for as long as it is open.
    pub fn in_memory() -> CatalogConfig {
        CatalogConfig {
            uri: "sqlite::memory:".to_owned(),
            warehouse: "/warehouse".to_owned(),
            stores: Stores::in_memory(),
            ..CatalogConfig::embedded()
        }
    }
}

impl std::fmt::Debug for CatalogConfig {
    /// Without the password of the address.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, uri, name, warehouse, properties, stores } = self;
        let mut shown = f.debug_struct("CatalogConfig");
        shown.field("kind", kind).field("uri", &without_password(uri)).field("name", name);
        shown.field("warehouse", warehouse).field("properties", properties).field("stores", stores).finish()
    }
}

/// Protocols of catalogs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogKind {
    /// The `iceberg_tables` table that the catalogs of Java (JDBC), Python and Rust share.
    Sql,
    /// Iceberg's REST protocol.
    Rest,
}

/// What a new table is to be.
#[derive(Clone, Debug)]
pub struct TableSpec {
    /// Its columns; what is not nullable becomes required.
    pub schema: arrow::datatypes::SchemaRef,
    /// Its partitioning; empty for none.
    pub partitions: Vec<PartitionField>,
    /// Columns that its files are sorted by, outermost first; empty for none. The order that the table states ends before
    /// the first array or struct.
    pub sort: Vec<String>,
    /// Its properties, beside those that every table of ours gets.
    pub properties: BTreeMap<String, String>,
}

/// Why a commit is not known to have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CommitFailure {
    /// Someone else was first: nothing has changed, take the new state and try again.
    Conflict(String),
    /// There is no such table any more.
    Gone,
    /// The catalog won't do it, now or later.
    Rejected(String),
    /// It may have happened, or may still.
    Unknown(String),
}

/// A metadata change to commit.
#[derive(Clone, Debug)]
pub(crate) struct MetadataChange {
    pub(crate) updates: Vec<TableUpdate>,
    pub(crate) requirements: Vec<TableRequirement>,
}

/// What a catalog's protocol has to provide.
#[async_trait]
pub(crate) trait Backend: std::fmt::Debug + Send + Sync {
    /// The table as it is now; `None` if there is none of that name.
    async fn load(&self, name: &TableName) -> Result<Option<Table>, IcebergError>;
    /// Creates the table and its namespace. Of racing creators one wins, the others get its table.
    async fn create(&self, name: &TableName, creation: TableCreation) -> Result<Table, IcebergError>;
    /// Forgets the table, leaving its files; false if there was none.
    async fn drop_table(&self, name: &TableName) -> Result<bool, IcebergError>;
    /// Tables of a namespace, by name; none if there is no such namespace.
    async fn list(&self, namespace: &[String]) -> Result<Vec<TableName>, IcebergError>;
    /// Fails if whoever asks may not commit to the table, or nobody answers. Changes nothing; a catalog that can't tell
    /// before a commit says nothing.
    async fn check_commit(&self, table: &Table) -> Result<(), IcebergError>;
    /// Fails if whoever asks may not look into the namespace or create tables, or nobody answers, as [`Self::check_commit`].
    async fn check_create(&self, namespace: &[String]) -> Result<(), IcebergError>;
    /// Moves the table on from the state `base`. Not repeated inside: an outcome that is not known is
    /// [`CommitFailure::Unknown`]. On the other failures metadata that this call wrote is gone again.
    async fn commit(&self, base: &Table, change: &MetadataChange) -> Result<(), CommitFailure>;
}

/// An open catalog; clones share its connections.
#[derive(Clone, Debug)]
pub struct Catalog {
    pub(crate) backend: Arc<dyn Backend>,
}

impl Catalog {
    /// Opens a catalog. Relative SQLite paths and warehouses are taken from `root`; database and folders are created.
    pub async fn open(config: &CatalogConfig, root: &Path) -> Result<Catalog, IcebergError> {
        let backend: Arc<dyn Backend> = match config.kind {
            CatalogKind::Sql => Arc::new(SqlCatalog::open(config, root).await?),
            CatalogKind::Rest => Arc::new(RestCatalog::open(config, root).await?),
        };
        Ok(Catalog { backend })
    }

    /// The table as it is now; `None` if there is none of that name.
    pub async fn load(&self, name: &TableName) -> Result<Option<Table>, IcebergError> {
        self.backend.load(name).await
    }

    /// Creates a table (format 2) and its namespace. If there is one of that name already, or another process creates it
    /// at the same time, that one is returned as it is: compare its schema and properties.
    pub async fn create(&self, name: &TableName, spec: &TableSpec) -> Result<Table, IcebergError> {
        if let Some(table) = self.load(name).await? {
            return Ok(table);
        }
        self.backend.create(name, creation(name, spec)?).await
    }

    /// Forgets the table in the catalog and leaves its files; false if there was none.
    pub async fn drop(&self, name: &TableName) -> Result<bool, IcebergError> {
        self.backend.drop_table(name).await
    }

    /// Fails if whoever asks may not commit to the table, as far as the catalog tells without a commit. Changes nothing.
    pub async fn check_commit(&self, table: &Table) -> Result<(), IcebergError> {
        self.backend.check_commit(table).await
    }

    /// Fails if whoever asks may not create tables in the namespace, as far as the catalog tells without creating one.
    /// Changes nothing.
    pub async fn check_create(&self, namespace: &[String]) -> Result<(), IcebergError> {
        self.backend.check_create(namespace).await
    }

    /// Tables of a namespace, sorted by name; none if there is no such namespace.
    pub async fn list(&self, namespace: &[String]) -> Result<Vec<TableName>, IcebergError> {
        let mut tables = self.backend.list(namespace).await?;
        tables.sort();
        Ok(tables)
    }
}

/// Properties of every table that we create, unless given otherwise: a job commits every few seconds for months, so the
/// log of old metadata files has to be bounded.
const PROPERTIES: [(&str, &str); 5] = [
    ("write.metadata.previous-versions-max", "100"),
    ("write.metadata.delete-after-commit.enabled", "true"),
    ("write.parquet.compression-codec", "zstd"),
    ("write.target-file-size-bytes", "134217728"),
    ("commit.retry.num-retries", "20"),
];

fn creation(name: &TableName, spec: &TableSpec) -> Result<TableCreation, IcebergError> {
    let refuse = |detail: String| IcebergError::Unsupported { table: name.clone(), detail };
    let schema =
        types::to_iceberg(&spec.schema).map_err(|detail| refuse(format!("can't be created: column {detail}")))?;
    let partitions = partition::spec_of(&spec.partitions, &schema)
        .map_err(|detail| refuse(format!("can't be created: {detail}")))?;
    let mut sort = iceberg::spec::SortOrder::builder();
    for column in &spec.sort {
        let source_id = schema
            .field_id_by_name(column)
            .ok_or_else(|| refuse(format!("can't be created: sorted by `{column}`, which is no column")))?;
        if schema.field_by_id(source_id).is_some_and(|field| !field.field_type.is_primitive()) {
            // Iceberg's orders know no arrays and structs, and what stands behind one is sorted only within equal ones.
            break;
        }
        let field = iceberg::spec::SortField::builder().source_id(source_id);
        let field = field.transform(iceberg::spec::Transform::Identity);
        let field = field.direction(iceberg::spec::SortDirection::Ascending);
        sort.with_sort_field(field.null_order(iceberg::spec::NullOrder::First).build());
    }
    let sort = sort.build(&schema).map_err(IcebergError::metadata(name, "create it"))?;
    let mut properties: HashMap<String, String> =
        PROPERTIES.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    properties.extend(spec.properties.clone());
    Ok(TableCreation::builder()
        .name(name.name.clone())
        .schema(schema)
        .partition_spec(partitions)
        .sort_order(sort)
        .properties(properties)
        .build())
}

/// The name as the `iceberg` crate has it.
pub(crate) fn ident(name: &TableName) -> Result<TableIdent, IcebergError> {
    let namespace = NamespaceIdent::from_vec(name.namespace.clone())
        .map_err(IcebergError::metadata(name, "use a name without a namespace"))?;
    Ok(TableIdent::new(namespace, name.name.clone()))
}

/// The warehouse as a location without a slash at its end; a folder becomes an absolute `file://` location.
pub(crate) fn warehouse_location(config: &CatalogConfig, root: &Path) -> Result<String, IcebergError> {
    let warehouse = config.warehouse.trim_end_matches('/');
    let refuse = |detail: String| IcebergError::Config { catalog: config.name.clone(), detail };
    let folder = match (warehouse.strip_prefix("file:"), warehouse.contains("://")) {
        (Some(path), _) => path.strip_prefix("//").unwrap_or(path),
        (None, true) => {
            return check_location(warehouse, root).map_err(|error| refuse(format!("warehouse {error}")));
        }
        (None, false) => warehouse,
    };
    let folder = std::path::absolute(root.join(folder)).map_err(|error| refuse(format!("warehouse: {error}")))?;
    if config.stores.are_in_memory() {
        return Ok(format!("file://{}", folder.display()));
    }
    std::fs::create_dir_all(&folder)
        .map_err(|error| refuse(format!("can't create the warehouse {}: {error}", folder.display())))?;
    // Locations are taken literally, so they must not hold `..`.
    let folder = std::fs::canonicalize(&folder).map_err(|error| refuse(format!("warehouse: {error}")))?;
    let folder = folder.to_str().ok_or_else(|| refuse("the warehouse's path is not UTF-8".to_owned()))?;
    Ok(format!("file://{folder}"))
}
