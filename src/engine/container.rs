//! What flows through timely: one Arrow batch of rows and the leg it belongs to.

use std::cell::OnceCell;
use std::io::Write;

use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use timely::Accountable;
use timely::dataflow::channels::ContainerBytes;

/// Prepared or closed rows of one leg. The empty container is timely's default and carries nothing.
#[derive(Clone, Default)]
pub(super) struct Rows {
    pub(super) leg: usize,
    /// The worker that sends them.
    pub(super) from: usize,
    pub(super) rows: Option<RecordBatch>,
    encoded: OnceCell<Vec<u8>>,
}

impl Rows {
    pub(super) fn new(leg: usize, from: usize, rows: RecordBatch) -> Rows {
        Rows { leg, from, rows: Some(rows), encoded: OnceCell::new() }
    }

    /// The bytes for a peer in another process: leg and sender as 4 bytes each, then an Arrow IPC stream, padded to 8
    /// bytes.
    fn encoded(&self) -> &[u8] {
        self.encoded.get_or_init(|| {
            let rows = self.rows.as_ref().expect("timely sends no empty container");
            let short = |number: usize| u32::try_from(number).expect("there are fewer of them").to_le_bytes();
            let mut bytes = [short(self.leg), short(self.from)].concat();
            let mut writer = StreamWriter::try_new(&mut bytes, &rows.schema()).expect("memory takes every schema");
            writer.write(rows).expect("memory takes every batch");
            writer.finish().expect("memory can be finished");
            drop(writer);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            bytes
        })
    }
}

impl Accountable for Rows {
    fn record_count(&self) -> i64 {
        self.rows.as_ref().map_or(0, |rows| rows.num_rows() as i64)
    }
}

impl ContainerBytes for Rows {
    fn from_bytes(bytes: timely::bytes::arc::Bytes) -> Self {
        let (head, stream) = bytes.split_at(8);
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("4 bytes were split off")) as usize;
        let (leg, from) = (number(&head[..4]), number(&head[4..]));
        let mut buffer = Buffer::from(stream);
        let rows = StreamDecoder::new().decode(&mut buffer).expect("a peer of the same build wrote it");
        Rows::new(leg, from, rows.expect("a stream holds one batch"))
    }

    fn length_in_bytes(&self) -> usize {
        self.encoded().len()
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        writer.write_all(self.encoded()).expect("timely hands out room for length_in_bytes");
    }
}
