//! History as a source: files of an Iceberg table, read in parallel and in any order.
//!
//! `_seen` stands in each row, so lateness is row-local and the order of files doesn't matter. The watermark is the
//! least lower bound of event time in files not fully read; files are given out in that order.
//!
//! Columns that no query needs are left null. Records that may be late, as they lie behind `_seen` by more than the
//! bound, are read once more with all their columns, because a late table holds whole records.
//!
//! Under a declaration that differs from the history's own, rows are brought to it first: see [`Anew`].

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, StringArray, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{SchemaRef, TimestampMicrosecondType};
use futures::StreamExt;
use tokio::sync::mpsc;

use super::anew::Anew;
use crate::event::{EventTime, REST, Stream};
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
    /// How rows are brought to the stream's declaration; `None`: they are as it says.
    pub anew: Option<Arc<Anew>>,
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
    time: (String, Range<EventTime>),
    anew: Option<Arc<Anew>>,
    unseen: bool,
    /// What queries need.
    needed: Columns,
    /// All there is; `None`: `needed` is that already.
    all: Option<Columns>,
}

/// Columns of a history, on their way to the layout of records.
pub(super) struct Columns {
    schema: SchemaRef,
    /// Names, as they are read.
    names: Vec<String>,
    /// For each column of the record schema, its place in `names`, or a column of nulls.
    places: Vec<Place>,
    /// Place of [`REST`] in `names`.
    rest: Option<usize>,
}

enum Place {
    Read(usize),
    Null(ArrayRef),
}

impl Columns {
    /// Those columns of the record schema that are `wanted` and that the table has (a foreign one has none of ours, a
    /// history none that were declared later); with `rest`, what it keeps of messages besides.
    pub(super) fn new(
        table: &Table,
        stream: &Stream,
        wanted: impl Fn(usize) -> bool,
        rest: bool,
    ) -> Result<Columns, IcebergError> {
        let (schema, found) = (stream.record_schema(), table.arrow_schema()?);
        let mut names = Vec::new();
        let mut places = Vec::with_capacity(schema.fields().len());
        for (index, field) in schema.fields().iter().enumerate() {
            if wanted(index) && found.field_with_name(field.name()).is_ok() {
                places.push(Place::Read(names.len()));
                names.push(field.name().clone());
            } else {
                places.push(Place::Null(new_null_array(field.data_type(), NULL_ROWS)));
            }
        }
        let rest = (rest && found.field_with_name(REST).is_ok()).then(|| {
            names.push(REST.to_owned());
            names.len() - 1
        });
        Ok(Columns { schema, names, places, rest })
    }

    /// As they are read.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    fn are_all(&self) -> bool {
        self.places.iter().all(|place| matches!(place, Place::Read(_)))
    }

    /// A batch of them as records, and the rest of each.
    pub(super) fn lay_out(&self, batch: &RecordBatch) -> (RecordBatch, StringArray) {
        let rows = batch.num_rows();
        let columns = self.places.iter().zip(self.schema.fields()).map(|(place, field)| match place {
            Place::Read(index) => batch.column(*index).clone(),
            Place::Null(nulls) if rows <= nulls.len() => nulls.slice(0, rows),
            Place::Null(_) => new_null_array(field.data_type(), rows),
        });
        let records = RecordBatch::try_new(self.schema.clone(), columns.collect());
        let rest =
            self.rest.map_or_else(|| StringArray::new_null(rows), |rest| batch.column(rest).as_string::<i32>().clone());
        (records.expect("columns are read with their declared types"), rest)
    }
}

impl Reader {
    fn new(table: &Table, stream: &Arc<Stream>, options: &HistoryOptions) -> Result<Reader, IcebergError> {
        let anew = options.anew.clone();
        let widens = anew.as_ref().is_some_and(|anew| anew.widens());
        let hidden = |index: usize| options.unseen && index == stream.seen_index();
        // Positions tell what had been seen, where rows don't say it.
        let found =
            |index: usize| anew.is_some() && (index == stream.partition_index() || index == stream.offset_index());
        let judged = |index: usize| stream.max_future.is_some() && index == stream.timestamp_index();
        let wanted = |index: usize| {
            (widens || judged(index) || found(index) || options.columns.contains(&index)) && !hidden(index)
        };
        let needed = Columns::new(table, stream, wanted, widens)?;
        let all = match widens || needed.are_all() {
            true => None,
            false => Some(Columns::new(table, stream, |_| true, false)?),
        };
        let event_time = stream.columns[stream.event_time].name.clone();
        let time = (event_time, options.range.clone());
        let (table, stream, unseen) = (table.clone(), stream.clone(), options.unseen);
        Ok(Reader { table, stream, time, anew, unseen, needed, all })
    }

    /// Sends the records of a file; false when nobody takes them any more.
    async fn read(&self, file: &ScanFile, sender: &mpsc::Sender<HistoryEvent>) -> Result<bool, IcebergError> {
        let mut suspects = false;
        let mut batches = Box::pin(read_file(&self.table, file, self.needed.names(), Some(&self.time)).await?);
        while let Some(batch) = batches.next().await {
            let Some(mut records) = self.records(&self.needed, &batch?, self.unseen) else { continue };
            if self.all.is_some()
                && let Some(suspect) = self.suspects(&records)
            {
                suspects = true;
                let sure = BooleanArray::new(!suspect.values(), None);
                records = filter_record_batch(&records, &sure).expect("the mask is as long as the batch");
            }
            if records.num_rows() > 0 && sender.send(HistoryEvent::Records(records)).await.is_err() {
                return Ok(false);
            }
        }
        let Some(all) = self.all.as_ref().filter(|_| suspects) else { return Ok(true) };
        let mut batches = Box::pin(read_file(&self.table, file, all.names(), Some(&self.time)).await?);
        while let Some(batch) = batches.next().await {
            let Some(records) = self.records(all, &batch?, false) else { continue };
            let Some(suspect) = self.suspects(&records) else { continue };
            let records = filter_record_batch(&records, &suspect).expect("the mask is as long as the batch");
            if sender.send(HistoryEvent::Records(records)).await.is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The records of a batch as the stream declares them; `None` when there are none.
    fn records(&self, columns: &Columns, batch: &RecordBatch, unseen: bool) -> Option<RecordBatch> {
        let (records, rest) = columns.lay_out(batch);
        let records = match &self.anew {
            Some(anew) => anew.bring(&self.stream, records, &rest, unseen),
            None => records,
        };
        self.without_future(records)
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
