//! Records as a source takes them from the log: bytes and positions, not yet understood.
//! Owns the layout of a batch that grows without an allocation per record.

use bytes::Bytes;

use crate::event::{Metadata, Origin, Stream};

/// Records in a raw batch at most; also the rows of a decoded one, so that a batch's columns stay in the cache.
pub const BATCH_RECORDS_MAX: usize = 8_192;
/// Bytes of values, keys and headers after which a raw batch is full; one more record may exceed it.
pub const BATCH_BYTES_MAX: usize = 4 << 20;

/// What a stream wants to know of a record beside its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SideInputs {
    /// Whether a column takes the record's key.
    pub key: bool,
    /// Names of the headers that columns take, each once.
    pub headers: Vec<String>,
}

impl SideInputs {
    /// The side inputs of the columns that `stream` declares.
    pub fn of(stream: &Stream) -> SideInputs {
        let mut inputs = SideInputs::default();
        for column in &stream.columns {
            match &column.origin {
                Origin::Metadata(Metadata::Key) => inputs.key = true,
                Origin::Metadata(Metadata::Header(name)) if !inputs.headers.contains(name) => {
                    inputs.headers.push(name.clone());
                }
                _ => {}
            }
        }
        inputs
    }

    /// Their names, as METADATA columns have them, in the order in which batches hold them.
    pub fn names(&self) -> Vec<String> {
        let key = self.key.then(|| "key".to_owned());
        key.into_iter().chain(self.headers.iter().map(|name| format!("header:{name}"))).collect()
    }

    /// Whether the value is all that the stream wants to know of a record.
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    fn count(&self) -> usize {
        usize::from(self.key) + self.headers.len()
    }
}

/// One record on its way into a [`RawBatch`].
#[derive(Clone, Copy, Debug, Default)]
pub struct RawRecord<'a> {
    /// Offset in the partition; above that of the record before.
    pub offset: i64,
    /// The log's timestamp in microseconds since the epoch.
    pub timestamp: Option<i64>,
    /// The message; a missing value counts as an empty one.
    pub value: &'a [u8],
}

/// Consecutive records of one partition, their bytes end to end.
#[derive(Clone, Debug)]
pub struct RawBatch {
    partition: i32,
    offsets: Vec<i64>,
    timestamps: Vec<Option<i64>>,
    values: Vec<u8>,
    /// End of each value in `values`.
    ends: Vec<usize>,
    /// The key first (if wanted), then the wanted headers, in the order of [`SideInputs`].
    sides: Vec<SideColumn>,
    key: bool,
    side_bytes: usize,
}

/// One side input of all records of a batch.
#[derive(Clone, Debug, Default)]
pub(super) struct SideColumn {
    bytes: Vec<u8>,
    /// End in `bytes`, and whether there is a value at all.
    ends: Vec<(usize, bool)>,
}

impl SideColumn {
    /// The value of record `row`, if it has one.
    pub(super) fn get(&self, row: usize) -> Option<&[u8]> {
        let start = if row == 0 { 0 } else { self.ends[row - 1].0 };
        let (end, present) = self.ends[row];
        present.then(|| &self.bytes[start..end])
    }
}

impl RawBatch {
    /// An empty batch of `partition` that keeps the side inputs `inputs`.
    pub fn new(partition: i32, inputs: &SideInputs) -> RawBatch {
        RawBatch {
            partition,
            offsets: Vec::new(),
            timestamps: Vec::new(),
            values: Vec::new(),
            ends: Vec::new(),
            sides: vec![SideColumn::default(); inputs.count()],
            key: inputs.key,
            side_bytes: 0,
        }
    }

    /// Bytes of all values, keys and headers.
    pub fn bytes(&self) -> usize {
        self.values.len() + self.side_bytes
    }

    /// Appends a record. `sides` gives the wanted side inputs: the key first (if wanted), then the headers in the order
    /// of [`SideInputs::headers`]; what it doesn't give is missing.
    pub fn push<'a>(&mut self, record: RawRecord<'_>, sides: impl IntoIterator<Item = Option<&'a [u8]>>) {
        assert!(
            self.offsets.last().is_none_or(|last| *last < record.offset),
            "offsets of a partition rise: {} came after {:?}",
            record.offset,
            self.offsets.last()
        );
        self.offsets.push(record.offset);
        self.timestamps.push(record.timestamp);
        self.values.extend_from_slice(record.value);
        self.ends.push(self.values.len());
        let mut given = sides.into_iter();
        for side in &mut self.sides {
            let value = given.next().flatten();
            side.bytes.extend_from_slice(value.unwrap_or_default());
            side.ends.push((side.bytes.len(), value.is_some()));
            self.side_bytes += value.map_or(0, <[u8]>::len);
        }
    }

    /// Whether the batch should be decoded before another record is added.
    pub fn is_full(&self) -> bool {
        self.offsets.len() >= BATCH_RECORDS_MAX || self.values.len() + self.side_bytes >= BATCH_BYTES_MAX
    }

    /// Forgets all records and keeps the memory, for the next batch of `partition`.
    pub fn reset(&mut self, partition: i32) {
        self.partition = partition;
        self.offsets.clear();
        self.timestamps.clear();
        self.values.clear();
        self.ends.clear();
        self.side_bytes = 0;
        for side in &mut self.sides {
            side.bytes.clear();
            side.ends.clear();
        }
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Partition of all records.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Offsets of the records, rising.
    pub fn offsets(&self) -> &[i64] {
        &self.offsets
    }

    /// The log's timestamps in microseconds.
    pub fn timestamps(&self) -> &[Option<i64>] {
        &self.timestamps
    }

    /// All values, end to end.
    pub(super) fn values(&self) -> &[u8] {
        &self.values
    }

    /// Where the value of record `row` lies in [`RawBatch::values`].
    pub(super) fn range(&self, row: usize) -> std::ops::Range<usize> {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        start..self.ends[row]
    }

    /// The value of record `row`.
    pub fn value(&self, row: usize) -> &[u8] {
        &self.values[self.range(row)]
    }

    /// The value of record `row` as a copy of its own, for a reject.
    pub(super) fn value_bytes(&self, row: usize) -> Bytes {
        Bytes::copy_from_slice(self.value(row))
    }

    /// The side inputs of record `row` as copies of their own, for a reject.
    pub(super) fn sides_of(&self, row: usize) -> Vec<Option<Bytes>> {
        self.sides.iter().map(|side| side.get(row).map(Bytes::copy_from_slice)).collect()
    }

    /// The records' keys; none if no column takes them.
    pub(super) fn keys(&self) -> Option<&SideColumn> {
        if self.key { self.sides.first() } else { None }
    }

    /// The records' headers number `index` of [`SideInputs::headers`].
    pub(super) fn header(&self, index: usize) -> Option<&SideColumn> {
        self.sides.get(usize::from(self.key) + index)
    }
}
