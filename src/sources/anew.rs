//! A history read under a declaration that differs from its own in what it can make up for.
//!
//! Two things may have to be done: columns that were declared later are told from what rows hold besides, which can show
//! that a record would have been rejected; and `seen` is found anew, by a pass over all rows that may matter to it. That is
//! every row whose timestamp isn't too old to hold an event time of the range: the others can't make any of its records late.

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch, StringArray};
use arrow::compute::filter_record_batch;
use datafusion_physical_expr::utils::collect_columns;
use futures::stream::{StreamExt, TryStreamExt};
use thiserror::Error;

use super::agreement::Agreement;
use super::history::Columns;
use super::seen::{Seen, TooManySteps};
use crate::decode::{DecoderError, Widener};
use crate::event::{EventTime, Stream, TIMESTAMP, TableName};
use crate::iceberg::{IcebergError, ScanFile, ScanFilter, Table, plan_files, read_file};

/// Files read at a time.
const FILES_PARALLEL_MAX: usize = 4;

/// How rows are brought to a stream's declaration.
#[derive(Debug)]
pub struct Anew {
    widener: Option<Widener>,
    /// What partitions had shown.
    pub seen: Seen,
    /// Why, in words.
    pub reasons: Vec<String>,
    /// Records read to find it.
    pub records: u64,
}

/// Why that can't be done.
#[derive(Debug, Error)]
pub enum AnewError {
    /// History can't be read.
    #[error(transparent)]
    Iceberg(#[from] IcebergError),
    /// The declaration itself doesn't fit together.
    #[error(transparent)]
    Decoder(#[from] DecoderError),
    /// Too much to hold.
    #[error(
        "`seen` must be found anew over {table} ({reasons}), and that takes more memory than is set aside for it: take a later \
         range, or archive the topic anew into another table under this declaration"
    )]
    TooMuch {
        /// The history.
        table: TableName,
        /// Why, in words.
        reasons: String,
    },
}

impl Anew {
    /// Reads what decides `seen` for event times from `from` on; `None` if rows say it themselves.
    pub async fn find(
        table: &Table,
        stream: &Arc<Stream>,
        agreement: &Agreement,
        from: EventTime,
    ) -> Result<Option<Anew>, AnewError> {
        let mut reasons = agreement.anew.clone();
        // No window from there on ends before what they have shown, less any bound.
        if let Some(until) = agreement.seen_anew.filter(|until| from < *until) {
            reasons.push(format!("records with event times up to {until} that had been rejects have come in since"));
        }
        if reasons.is_empty() {
            return Ok(None);
        }
        let widener = match agreement.added.is_empty() {
            true => None,
            false => Some(Widener::new(stream, &agreement.added)?),
        };
        let mut anew = Anew { widener, seen: Seen::default(), reasons, records: 0 };
        let since = stream.max_future.map_or(EventTime::MIN, |ahead| from.minus(ahead));
        let time = (since > EventTime::MIN).then(|| (TIMESTAMP.to_owned(), since..EventTime::MAX));
        let filter = ScanFilter { time: time.clone(), ..ScanFilter::default() };
        let columns = anew.columns(table, stream)?;
        let files = plan_files(table, None, &filter).await?;
        let read = files.into_iter().map(|file| anew.read(table, stream, &columns, file, time.as_ref()));
        let found = futures::stream::iter(read).buffered(FILES_PARALLEL_MAX);
        let found: Vec<(Seen, u64)> = found.try_collect().await?;
        for (seen, records) in found {
            anew.seen.merge(seen).map_err(|TooManySteps| anew.too_much(table))?;
            anew.records += records;
        }
        anew.seen.finish();
        Ok(Some(anew))
    }

    /// Whether rows get columns.
    pub(super) fn widens(&self) -> bool {
        self.widener.is_some()
    }

    /// `records` as the stream declares them, with their `_seen` unless it is to stay hidden.
    pub(super) fn bring(&self, stream: &Stream, records: RecordBatch, rest: &StringArray, unseen: bool) -> RecordBatch {
        let records = self.widened(records, rest);
        if unseen { records } else { self.seen.fill(stream, records) }
    }

    fn widened(&self, records: RecordBatch, rest: &StringArray) -> RecordBatch {
        match &self.widener {
            Some(widener) => widener.widen(records, rest),
            None => records,
        }
    }

    fn columns(&self, table: &Table, stream: &Stream) -> Result<Columns, IcebergError> {
        let mut decides =
            vec![stream.event_time, stream.partition_index(), stream.offset_index(), stream.timestamp_index()];
        if let Some(marker) = &stream.marker {
            decides.extend(collect_columns(&marker.expression).iter().map(|column| column.index()));
        }
        let widens = self.widens();
        Columns::new(table, stream, |index| widens || decides.contains(&index), widens)
    }

    async fn read(
        &self,
        table: &Table,
        stream: &Stream,
        columns: &Columns,
        file: ScanFile,
        time: Option<&(String, std::ops::Range<EventTime>)>,
    ) -> Result<(Seen, u64), AnewError> {
        let mut seen = Seen::default();
        let mut count = 0;
        let mut batches = Box::pin(read_file(table, &file, columns.names(), time).await?);
        while let Some(batch) = batches.next().await {
            let (records, rest) = columns.lay_out(&batch?);
            count += records.num_rows() as u64;
            let records = self.widened(records, &rest);
            let records = match crate::time::future(stream, &records) {
                None => records,
                Some(future) => {
                    let counted = BooleanArray::new(!future.values(), None);
                    filter_record_batch(&records, &counted).expect("the mask is as long as the batch")
                }
            };
            seen.add(stream, &records).map_err(|TooManySteps| self.too_much(table))?;
        }
        seen.finish();
        Ok((seen, count))
    }

    fn too_much(&self, table: &Table) -> AnewError {
        AnewError::TooMuch { table: table.name().clone(), reasons: self.reasons.join("; ") }
    }
}
