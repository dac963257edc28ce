//! What can go wrong at an Iceberg table, in words that name the table and the way out.

use crate::event::TableName;
use crate::store::{CallError, LocationError, failure_in};

/// Misfortune while opening a catalog, reading or writing a table. Commits have [`super::CommitError`].
#[derive(Debug, thiserror::Error)]
pub enum IcebergError {
    /// The catalog's settings can't be used as they are.
    #[error("catalog `{catalog}`: {detail}")]
    Config {
        /// Name of the catalog.
        catalog: String,
        /// What is wrong, and what would be right.
        detail: String,
    },
    /// The catalog answered with an error, or not at all.
    #[error("catalog `{catalog}` failed to {action}: {detail}")]
    Catalog {
        /// Name of the catalog.
        catalog: String,
        /// What was asked of it.
        action: String,
        /// Its answer.
        detail: String,
    },
    /// The catalog, or who stands before it, won't: a wrong password, a missing right, nothing of that name.
    #[error("catalog `{catalog}` refuses to {action}: {detail}")]
    Refused {
        /// Name of the catalog.
        catalog: String,
        /// What was asked of it.
        action: String,
        /// Its answer, and the way out.
        detail: String,
    },
    /// Metadata of a table could not be read, written or understood.
    #[error("table {table}: can't {action}: {}", plain(.cause))]
    Metadata {
        /// The table.
        table: TableName,
        /// What was tried.
        action: &'static str,
        /// The cause, which the text has in it.
        cause: Box<iceberg::Error>,
    },
    /// The table uses something of Iceberg that is not handled here.
    #[error("table {table} {detail}")]
    Unsupported {
        /// The table.
        table: TableName,
        /// What it is, and the way out.
        detail: String,
    },
    /// A column is not there, or has another type than asked for.
    #[error("table {table}, column `{column}`: {detail}")]
    Column {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Rows could not be brought to the layout of the table.
    #[error("table {table}: can't {action}: {source}")]
    Rows {
        /// The table.
        table: TableName,
        /// What was tried.
        action: &'static str,
        /// The cause.
        source: arrow::error::ArrowError,
    },
    /// A data file could not be written or read.
    #[error("data file {path}: can't {action}: {source}")]
    DataFile {
        /// Its location.
        path: String,
        /// What was tried.
        action: &'static str,
        /// The cause.
        source: parquet::errors::ParquetError,
    },
    /// A location is not one that can be read or written.
    #[error("location {0}")]
    Location(#[from] LocationError),
    /// The object store failed.
    #[error("can't {action} {location}: {source}")]
    Storage {
        /// What was tried.
        action: &'static str,
        /// Where.
        location: String,
        /// The cause.
        source: CallError,
    },
}

/// An error of the `iceberg` crate: a bucket's own words if it comes from there, else the crate's.
fn plain(error: &iceberg::Error) -> String {
    failure_in(error).map_or_else(|| error.to_string(), ToString::to_string)
}

impl IcebergError {
    /// Whether it stays so until a person acts: the catalog refuses, or a bucket does.
    pub fn is_refusal(&self) -> bool {
        match self {
            IcebergError::Refused { .. } => true,
            IcebergError::Metadata { cause, .. } => {
                failure_in(&**cause).is_some_and(|failure| failure.cause.is_lasting())
            }
            other => failure_in(other).is_some_and(|failure| failure.cause.is_lasting()),
        }
    }

    /// Wraps an error of the `iceberg` crate with the table and what was tried.
    pub(crate) fn metadata(
        table: &TableName,
        action: &'static str,
    ) -> impl FnOnce(iceberg::Error) -> IcebergError + use<> {
        let table = table.clone();
        move |cause| IcebergError::Metadata { table, action, cause: Box::new(cause) }
    }

    /// Wraps an Arrow error with the table and what was tried.
    pub(crate) fn rows(
        table: &TableName,
        action: &'static str,
    ) -> impl FnOnce(arrow::error::ArrowError) -> IcebergError + use<> {
        let table = table.clone();
        move |source| IcebergError::Rows { table, action, source }
    }

    /// Wraps a Parquet error with the file and what was tried.
    pub(crate) fn data_file(
        path: &str,
        action: &'static str,
    ) -> impl FnOnce(parquet::errors::ParquetError) -> IcebergError + use<> {
        let path = path.to_owned();
        move |source| IcebergError::DataFile { path, action, source }
    }
}
