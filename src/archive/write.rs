//! Writing one checkpoint of an archive: history rows, rejects, positions.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;

use super::ArchiveError;
use crate::checkpoints::{ClaimedTable, Manifest, STREAM, StreamProgress, TableChange};
use crate::decode::SideInputs;
use crate::event::{EventTime, Reject, Stream, TableName};
use crate::job::Declaration;
use crate::sinks::{HistoryProgress, Publisher, Tidy, WATERMARK, layout, staged_change};
use crate::sources::Identities;

/// Rows after which a checkpoint is due, whatever the interval.
const CHECKPOINT_ROWS_MAX: usize = 500_000;

/// Bytes of records, and of what sorting them takes, after which a checkpoint is due: bounds the memory. While one is
/// written, twice as much may be in it, and as much come in.
const CHECKPOINT_BYTES_MAX: usize = 16 << 20;

/// Bytes that sorting takes for each row: its key, twice, and its place.
const SORTING_BYTES: usize = 80;

/// Records taken since the last checkpoint.
#[derive(Debug, Default)]
pub(super) struct Batch {
    records: Vec<RecordBatch>,
    rejects: Vec<Reject>,
    rows: usize,
    bytes: usize,
}

impl Batch {
    pub(super) fn add(&mut self, records: RecordBatch, rejects: Vec<Reject>) {
        self.rows += records.num_rows() + rejects.len();
        let rejected = rejects.iter().map(Reject::bytes);
        self.bytes += records.get_array_memory_size() + records.num_rows() * SORTING_BYTES + rejected.sum::<usize>();
        if records.num_rows() > 0 {
            self.records.push(records);
        }
        self.rejects.extend(rejects);
    }

    /// Whether it holds more than so many checkpoints should.
    pub(super) fn is_over(&self, checkpoints: usize) -> bool {
        self.rows >= checkpoints * CHECKPOINT_ROWS_MAX || self.bytes >= checkpoints * CHECKPOINT_BYTES_MAX
    }

    /// Bytes of what is in it, and of what sorting it takes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows == 0
    }
}

/// What a checkpoint has made visible.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    pub(super) watermark: EventTime,
    /// Rows of history.
    pub(super) rows: u64,
    /// Bytes of the files that were written.
    pub(super) bytes: u64,
}

/// Writes the checkpoints of one archiver.
#[derive(Debug)]
pub(super) struct Writer {
    stream: Arc<Stream>,
    history: TableName,
    publisher: Publisher,
    identities: Identities,
    /// How far the stream is taken by the checkpoint before.
    stood: Option<BTreeMap<String, StreamProgress>>,
    number: u64,
    /// The watermark that the history's properties state; `None`: they state nothing yet.
    stated: Option<EventTime>,
    /// From where on windows are whole in it, if that is known.
    whole_from: Option<EventTime>,
    tidy: Tidy,
    /// Whether history was looked through for what earlier runs have left in small files.
    looked: bool,
}

impl Writer {
    /// `whole_from` is of a history that begins with this run.
    pub(super) fn new(
        stream: &Arc<Stream>,
        publisher: Publisher,
        identities: Identities,
        whole_from: Option<EventTime>,
    ) -> Writer {
        let history = stream.history.clone().expect("only streams with a history are archived");
        let tidy = Tidy::of_history(stream, &history);
        let known = HistoryProgress::parse(publisher.table(&history).properties());
        let known = known.and_then(Result::ok);
        let stated = known.as_ref().map(|known| known.watermark);
        let whole_from = known.map_or(whole_from, |known| known.whole_from);
        let stream = stream.clone();
        Writer {
            tidy,
            looked: false,
            stream,
            history,
            publisher,
            identities,
            stood: None,
            number: 1,
            stated,
            whole_from,
        }
    }

    /// Makes the batch durable and visible, then tidies up partitions that the watermark has passed.
    pub(super) async fn write(
        &mut self,
        batch: Batch,
        progress: StreamProgress,
        watermark: EventTime,
    ) -> Result<Written, ArchiveError> {
        let rows = batch.records.iter().map(|records| records.num_rows() as u64).sum();
        let mut written = Written { watermark, rows, bytes: 0 };
        let mut tables = Vec::new();
        // The watermark may move without records, when a partition turns idle: history is complete further up then. The first
        // checkpoint states from where on history is whole, as a later run doesn't know where this one began.
        if !batch.records.is_empty() || self.stated.is_none_or(|stated| watermark > stated) {
            self.tidy.saw(self.tidy.partitions_of(&batch.records));
            let sort = layout::history(&self.stream).sort;
            let files = self.publisher.stage(&self.history, &sort, batch.records).await?;
            written.bytes += files.iter().map(|file| file.bytes).sum::<u64>();
            let seen = progress.iter().map(|(&partition, at)| (partition, at.seen)).collect();
            let stated = HistoryProgress { watermark, seen, whole_from: self.whole_from };
            let mut properties = stated.properties();
            // The bound in it is the one that the watermark goes by.
            properties.insert(STREAM.to_owned(), Declaration::of(&self.stream).to_json());
            let mut change = staged_change(self.publisher.table(&self.history), &files, &[]);
            change.properties = properties;
            change.summary.insert(WATERMARK.to_owned(), watermark.to_string());
            tables.push(change);
            self.stated = Some(watermark);
        }
        if !batch.rejects.is_empty() {
            let name = self.history.with_suffix("_rejects");
            let inputs = SideInputs::of(&self.stream);
            let rows = layout::reject_rows(&self.stream, &batch.rejects, &inputs);
            let files = self.publisher.stage(&name, &layout::rejects(&inputs).sort, vec![rows]).await?;
            written.bytes += files.iter().map(|file| file.bytes).sum::<u64>();
            tables.push(staged_change(self.publisher.table(&name), &files, &[]));
        }
        let streams = BTreeMap::from([(self.stream.name.clone(), progress)]);
        if self.stood.as_ref() != Some(&streams) {
            // What was read is of the topic that it is counted in only if that is there still.
            self.identities.confirm().await?;
        }
        self.stood = Some(streams.clone());
        let fingerprint = Declaration::of(&self.stream).to_json();
        let topics = self.identities.known().clone();
        let manifest = manifest(&self.publisher, self.number, (streams, topics), (watermark, fingerprint), tables);
        self.publisher.publish(manifest).await?;
        self.number += 1;
        self.tidy_up(watermark).await;
        Ok(written)
    }

    /// Rewrites every partition with rows that ends at or before the watermark.
    async fn tidy_up(&mut self, watermark: EventTime) {
        if !self.looked {
            self.looked = true;
            match self.tidy.find(self.publisher.catalog(), watermark).await {
                Ok(found) => self.tidy.saw(found),
                Err(error) => tracing::warn!(%error, "small files of earlier runs were not looked for"),
            }
        }
        while let Some(rewrite) = self.tidy.next(watermark) {
            rewrite.run(&self.publisher).await;
        }
    }
}

/// A checkpoint of an archiver: how far its stream is read, its watermark, its declaration, and what is committed.
pub(super) fn manifest(
    publisher: &Publisher,
    number: u64,
    (streams, topics): (BTreeMap<String, StreamProgress>, BTreeMap<String, String>),
    (watermark, fingerprint): (EventTime, String),
    tables: Vec<TableChange>,
) -> Manifest {
    let claimed = publisher.tables();
    Manifest {
        id: publisher.begun().id(number),
        owner: publisher.begun().store().owner().to_owned(),
        fingerprint,
        description: Vec::new(),
        streams,
        inserts: Vec::new(),
        watermark,
        finished: false,
        state: Vec::new(),
        claimed: claimed.map(|table| ClaimedTable { table: table.name().clone(), uuid: table.uuid() }).collect(),
        tables,
        held: Vec::new(),
        reread: BTreeMap::new(),
        topics,
        from_history: BTreeMap::new(),
    }
}
