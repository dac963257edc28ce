//! Outages of store and catalog: which failures are some, and how long to wait for their end.
//! Invariant: an outage is waited out for ever, with a line in the log at its start and then about every minute.

use std::time::Duration;

use crate::iceberg::{CommitError, IcebergError};

/// First pause before a failed call to store or catalog is repeated; doubled each time.
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(100);
/// Longest pause between repetitions: an outage ends unnoticed for at most this long.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(15);

/// Between two lines in the log about the same call.
const TELL_EVERY: Duration = Duration::from_secs(60);

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
        IcebergError::Catalog { .. } | IcebergError::Storage { .. } => true,
        IcebergError::Metadata { source, .. } => source.kind() == iceberg::ErrorKind::Unexpected,
        IcebergError::DataFile { source, .. } => matches!(source, parquet::errors::ParquetError::External(_)),
        IcebergError::Config { .. }
        | IcebergError::Unsupported { .. }
        | IcebergError::Column { .. }
        | IcebergError::Rows { .. }
        | IcebergError::Location { .. } => false,
    }
}

/// Growing pauses between repetitions of one call.
pub(super) struct Pause {
    action: &'static str,
    next: Duration,
    /// Waited since the last line; `None`: nothing was said yet.
    silent: Option<Duration>,
}

impl Pause {
    pub(super) fn new(action: &'static str) -> Pause {
        Pause { action, next: RETRY_PAUSE_MIN, silent: None }
    }

    /// Whether the call has not failed yet.
    pub(super) fn is_fresh(&self) -> bool {
        self.next == RETRY_PAUSE_MIN
    }

    pub(super) fn grow(&mut self) {
        self.next = (self.next * 2).min(RETRY_PAUSE_MAX);
    }

    pub(super) async fn wait(&mut self, error: &(dyn std::error::Error + Sync)) {
        if self.silent.is_none_or(|silent| silent >= TELL_EVERY) {
            tracing::warn!(%error, "couldn't {}; it is tried again until it works", self.action);
            self.silent = Some(Duration::ZERO);
        }
        tokio::time::sleep(self.next).await;
        self.silent = self.silent.map(|silent| silent + self.next);
        self.grow();
    }
}
