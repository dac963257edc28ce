//! Marks of those who read a table as it was when they began, or whose commit to it is still to come, for whoever removes
//! files: without a mark, nobody would know of a backfill that takes days.
//! Invariant: a mark that isn't renewed counts no more after a while, so that a crash leaves nothing in the way for long.

use std::time::Duration;

use bytes::Bytes;
use futures::stream::TryStreamExt;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::snapshot::commit_time_ms;
use super::{Folder, IcebergError, Table};
use crate::event::{EventTime, Micros};

/// Folder of marks, in that of the metadata.
const FOLDER: &str = "in-use";
/// How their names end.
const ENDING: &str = ".mark";
/// A mark is renewed as often as this.
const RENEW_EVERY: Duration = Duration::from_secs(3_600);
/// It counts for so long from then on; as long as other files must be old to be orphans.
const COUNTS_FOR: Micros = Micros(86_400_000_000);
/// By how much clocks may differ.
const CLOCKS_DIFFER: Micros = Micros(600_000_000);

/// A table in use, until it is released. Dropped, the mark stays behind, and counts for a day.
#[derive(Debug)]
pub struct InUse {
    table: Table,
    location: String,
    /// Renews it.
    _renewal: AbortOnDropHandle<()>,
}

impl Table {
    /// Marks the table as in use from now on: the snapshot that is the newest, and files that are written from now on, stay
    /// for as long.
    pub async fn mark_in_use(&self) -> Result<InUse, IcebergError> {
        let since = EventTime(commit_time_ms().saturating_mul(1_000)).minus(CLOCKS_DIFFER);
        let name = format!("{:020}-{}{ENDING}", since.0.max(0), Uuid::new_v4());
        let metadata = format!("{}/{}", self.location().trim_end_matches('/'), Folder::Metadata.name());
        let location = format!("{metadata}/{FOLDER}/{name}");
        put(self, &location).await?;
        let (table, renewed) = (self.clone(), location.clone());
        let renewal = tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEW_EVERY).await;
                if let Err(error) = put(&table, &renewed).await {
                    tracing::warn!(%error, "a table in use was not marked as such again; the next hour tries it");
                }
            }
        });
        Ok(InUse { table: self.clone(), location, _renewal: AbortOnDropHandle::new(renewal) })
    }

    /// Since when the table has been in use by those who still mark it; `None`: by nobody.
    pub async fn in_use_since(&self, now: EventTime) -> Result<Option<EventTime>, IcebergError> {
        let renewed_after = now.minus(COUNTS_FOR);
        let (mut files, mut since) = (self.files_in(Folder::Metadata)?, None::<EventTime>);
        while let Some(file) = files.try_next().await? {
            if let Some(begun) = begun(&file.below).filter(|_| file.modified > renewed_after) {
                since = Some(since.map_or(begun, |since| since.min(begun)));
            }
        }
        Ok(since)
    }
}

impl InUse {
    /// The use is over.
    pub async fn release(self) {
        drop(self._renewal);
        if let Err(error) = self.table.inner.file_io().delete(&self.location).await {
            tracing::warn!(mark = %self.location, %error, "a table stays marked as in use for a day");
        }
    }
}

async fn put(table: &Table, location: &str) -> Result<(), IcebergError> {
    let put = async { table.inner.file_io().new_output(location)?.write(Bytes::from_static(b"in use")).await };
    put.await.map_err(IcebergError::metadata(table.name(), "mark it as in use"))
}

/// When the use began that a file below the folder of metadata marks; `None`: it is no mark.
fn begun(below: &str) -> Option<EventTime> {
    let name = below.strip_prefix(FOLDER)?.strip_prefix('/')?.strip_suffix(ENDING)?;
    name.split_once('-')?.0.parse().ok().map(EventTime)
}

/// Whether a file below the folder of metadata is a mark.
pub fn is_mark(below: &str) -> bool {
    begun(below).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_says_when_the_use_began() {
        assert_eq!(begun("in-use/00000000000000000012-a-b.mark"), Some(EventTime(12)));
        for other in ["in-use/x-a.mark", "in-use/12-a.json", "12-a.mark", "snap-1.avro"] {
            assert!(!is_mark(other), "{other}");
        }
    }
}
