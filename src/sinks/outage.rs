//! Outages of store and catalog: which failures are some.
//! Invariant: an outage is waited out for ever by a run that has begun; everything else is no outage.

use crate::iceberg::{CommitError, IcebergError};

/// Whether a commit is worth another try, after a look at the table.
pub(super) fn may_pass(error: &CommitError) -> bool {
    match error {
        CommitError::Conflict { .. } | CommitError::Unknown { .. } | CommitError::Fenced { .. } => true,
        CommitError::Table(error) => is_outage(error),
        CommitError::TableGone { .. } | CommitError::Rejected { .. } => false,
    }
}

/// Whether a failure is one of store or catalog, which ends some day, rather than one of the table or its rows.
pub fn is_outage(error: &IcebergError) -> bool {
    match error {
        refused if refused.is_refusal() => false,
        IcebergError::Catalog { .. } | IcebergError::Storage { .. } => true,
        IcebergError::Metadata { cause, .. } => cause.kind() == iceberg::ErrorKind::Unexpected,
        IcebergError::DataFile { source, .. } => matches!(source, parquet::errors::ParquetError::External(_)),
        IcebergError::Config { .. }
        | IcebergError::Refused { .. }
        | IcebergError::Unsupported { .. }
        | IcebergError::Column { .. }
        | IcebergError::Rows { .. }
        | IcebergError::Location(_) => false,
    }
}
