//! History as a source: files of an Iceberg table, read in parallel and in any order.
//!
//! `_seen` stands in each row, so lateness is row-local and the order of files doesn't matter. The watermark is the
//! least lower bound of event time in files not fully read; files are given out in that order.
//!
//! Columns that no query needs are left null. Records that may be late, as they lie behind `_seen` by more than the
//! bound, are read once more with all their columns, because a late table holds whole records.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use futures::StreamExt;
use tokio::sync::mpsc;

use crate::event::{EventTime, Stream};
use crate::iceberg::{IcebergError, ScanFile, ScanFilter, Table, plan_files, read_file};

/// Batches that may wait between readers and driver.
const EVENTS_MAX: usize = 16;

/// Rows of the longest null column that is made; batches of files are not longer.
const NULL_ROWS: usize = 8_192;

/// What a scan of history covers.
#[derive(Clone, Debug)]
pub struct HistoryOptions {
    /// Event times that are read; half-open.
    pub range: Range<EventTime>,
    /// Indices into [`Stream::record_schema`] that the queries need.
    pub columns: Vec<usize>,
    /// Files that are read at the same time.
    pub readers: usize,
    /// Leave `_seen` null, so that no record is late.
    pub unseen: bool,
}

/// What a scan brings.
#[derive(Debug)]
pub enum HistoryEvent {
    /// Records, laid out as [`Stream::record_schema`], none beyond MAX FUTURE.
    Records(RecordBatch),
    /// A file is read to its end: its place in the order of the scan.
    FileRead(usize),
    /// A file can't be read. Nothing that follows makes up for it.
    Failed(IcebergError),
}

/// A running scan. Dropping it stops the readers.
#[derive(Debug)]
pub struct History {
    files: Arc<Vec<ScanFile>>,
    unread: Vec<bool>,
    events: mpsc::Receiver<HistoryEvent>,
    readers: Vec<tokio::task::JoinHandle<()>>,
}

impl History {
    /// The files that a scan of `range` reads, by the least event time in them.
    pub async fn files(
        table: &Table,
        stream: &Stream,
        range: &Range<EventTime>,
    ) -> Result<Vec<ScanFile>, IcebergError> {
        let event_time = stream.columns[stream.event_time].name.clone();
        let filter = ScanFilter { time: Some((event_time, range.clone())), ..ScanFilter::default() };
        let mut files = plan_files(table, None, &filter).await?;
        files.sort_by_key(|file| file.lower.unwrap_or(EventTime::MIN));
        Ok(files)
    }

    /// Starts reading. `table` is read as it was loaded: what others commit meanwhile is not seen.
    pub async fn open(table: &Table, stream: &Arc<Stream>, options: HistoryOptions) -> Result<History, IcebergError> {
        let files = Arc::new(History::files(table, stream, &options.range).await?);
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let next = Arc::new(AtomicUsize::new(0));
        let reader = Arc::new(Reader::new(table, stream, &options)?);
        let readers = (0..options.readers.max(1)).map(|_| {
            let (files, next, reader, sender) = (files.clone(), next.clone(), reader.clone(), sender.clone());
            tokio::spawn(async move {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(file) = files.get(index) else { return };
                    let event = match reader.read(file, &sender).await {
                        Ok(true) => HistoryEvent::FileRead(index),
                        Ok(false) => return,
                        Err(error) => HistoryEvent::Failed(error),
                    };
                    if sender.send(event).await.is_err() {
                        return;
                    }
                }
            })
        });
        let readers = readers.collect();
        Ok(History { unread: vec![true; files.len()], files, events, readers })
    }

    /// The next event; `None` when every file is read. Cancel-safe.
    pub async fn next(&mut self) -> Option<HistoryEvent> {
        let event = self.events.recv().await;
        if let Some(HistoryEvent::FileRead(index)) = &event {
            self.unread[*index] = false;
        }
        event
    }

    /// No record before this time is still to come.
    pub fn watermark(&self) -> EventTime {
        let first = self.unread.iter().position(|&unread| unread);
        first.map_or(EventTime::MAX, |index| self.files[index].lower.unwrap_or(EventTime::MIN))
    }
}

impl Drop for History {
    fn drop(&mut self) {
        for reader in &self.readers {
            reader.abort();
        }
    }
}

/// Reads one file after another.
struct Reader {
    table: Table,
    stream: Arc<Stream>,
    schema: SchemaRef,
    time: (String, Range<EventTime>),
    /// Names of the needed columns.
    needed: Vec<String>,
    /// For each column of the record schema, its place in `needed`, or a column of nulls.
    places: Vec<Place>,
    all: Vec<String>,
}

enum Place {
    Read(usize),
    Null(ArrayRef),
}

impl Reader {
    fn new(table: &Table, stream: &Arc<Stream>, options: &HistoryOptions) -> Result<Reader, IcebergError> {
        let schema = stream.record_schema();
        // A foreign table has no columns of ours.
        let found = table.arrow_schema()?;
        let mut needed = Vec::new();
        let mut places = Vec::with_capacity(schema.fields().len());
        for (index, field) in schema.fields().iter().enumerate() {
            let judged = stream.max_future.is_some() && index == stream.timestamp_index();
            let wanted = judged || options.columns.contains(&index);
            let hidden = options.unseen && index == stream.seen_index();
            if wanted && !hidden && found.field_with_name(field.name()).is_ok() {
                places.push(Place::Read(needed.len()));
                needed.push(field.name().clone());
            } else {
                places.push(Place::Null(new_null_array(field.data_type(), NULL_ROWS)));
            }
        }
        let event_time = stream.columns[stream.event_time].name.clone();
        let time = (event_time, options.range.clone());
        let all = schema.fields().iter().map(|field| field.name().clone()).collect();
        Ok(Reader { table: table.clone(), stream: stream.clone(), schema, time, needed, places, all })
    }

    /// Sends the records of a file; false when nobody takes them any more.
    async fn read(&self, file: &ScanFile, sender: &mpsc::Sender<HistoryEvent>) -> Result<bool, IcebergError> {
        let complete = self.needed.len() == self.all.len();
        let mut suspects = false;
        let mut batches = Box::pin(read_file(&self.table, file, &self.needed, Some(&self.time)).await?);
        while let Some(batch) = batches.next().await {
            let records = self.lay_out(batch?);
            let Some(mut records) = self.without_future(records) else { continue };
            if !complete && let Some(suspect) = self.suspects(&records) {
                suspects = true;
                let sure = BooleanArray::new(!suspect.values(), None);
                records = filter_record_batch(&records, &sure).expect("the mask is as long as the batch");
            }
            if records.num_rows() > 0 && sender.send(HistoryEvent::Records(records)).await.is_err() {
                return Ok(false);
            }
        }
        if !suspects {
            return Ok(true);
        }
        let mut batches = Box::pin(read_file(&self.table, file, &self.all, Some(&self.time)).await?);
        while let Some(batch) = batches.next().await {
            let whole = RecordBatch::try_new(self.schema.clone(), batch?.columns().to_vec());
            let whole = whole.expect("all columns were read, in their order");
            let Some(records) = self.without_future(whole) else { continue };
            let Some(suspect) = self.suspects(&records) else { continue };
            let records = filter_record_batch(&records, &suspect).expect("the mask is as long as the batch");
            if sender.send(HistoryEvent::Records(records)).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn lay_out(&self, batch: RecordBatch) -> RecordBatch {
        let rows = batch.num_rows();
        let columns = self.places.iter().zip(self.schema.fields()).map(|(place, field)| match place {
            Place::Read(index) => batch.column(*index).clone(),
            Place::Null(nulls) if rows <= nulls.len() => nulls.slice(0, rows),
            Place::Null(_) => new_null_array(field.data_type(), rows),
        });
        RecordBatch::try_new(self.schema.clone(), columns.collect())
            .expect("columns are read with their declared types")
    }

    /// Leaves out records beyond MAX FUTURE, which history keeps but no job counts; `None` when nothing is left.
    fn without_future(&self, records: RecordBatch) -> Option<RecordBatch> {
        if records.num_rows() == 0 {
            return None;
        }
        match crate::time::future(&self.stream, &records) {
            None => Some(records),
            Some(future) => {
                let counted = BooleanArray::new(!future.values(), None);
                let records = filter_record_batch(&records, &counted).expect("the mask is as long as the batch");
                (records.num_rows() > 0).then_some(records)
            }
        }
    }

    /// True for records that lie behind what their partition had seen by more than the bound: no other can be late,
    /// as a window ends after its records. `None` when there are none.
    fn suspects(&self, records: &RecordBatch) -> Option<BooleanArray> {
        let times = records.column(self.stream.event_time).as_primitive::<TimestampMicrosecondType>();
        let seen = records.column(self.stream.seen_index()).as_primitive::<TimestampMicrosecondType>();
        let bound = self.stream.bound.0;
        let suspect = BooleanBuffer::collect_bool(times.len(), |row| {
            seen.is_valid(row) && times.value(row) < seen.value(row).saturating_sub(bound)
        });
        (suspect.count_set_bits() > 0).then(|| BooleanArray::new(suspect, None))
    }
}
