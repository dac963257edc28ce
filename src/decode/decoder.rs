//! From a raw batch to decoded records: every format ends here.
//! Owns the layout of a decoded batch, what comes from the log itself, and the order of rejects.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, BinaryBuilder, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::datatypes::{DataType, SchemaRef};
use thiserror::Error;

use super::computed::{Computation, ComputedColumns};
use super::csv::RowReader;
use super::json::{Origins, RecordFault, RecordReader, RestReader};
use super::raw::{RawBatch, SideColumn, SideInputs};
use crate::event::{
    ColumnType, Decoded, Format, FormatKind, LiveFace, Metadata, Origin, Reject, RejectReason, ResumeOffset, Stream,
    TIMESTAMP_ZONE,
};

/// Why a stream's declaration can't be decoded by.
#[derive(Debug, Error)]
pub enum DecoderError {
    /// A computed column whose expression doesn't fit it.
    #[error("column {column} is computed wrongly: {reason}")]
    Expression {
        /// Name of the column.
        column: String,
        /// What is wrong.
        reason: String,
    },
    /// Metadata in a column of a type that can't hold it.
    #[error("column {column} takes METADATA {metadata}, which needs {wanted}, not {found}")]
    Metadata {
        /// Name of the column.
        column: String,
        /// What it takes.
        metadata: &'static str,
        /// Types that fit.
        wanted: &'static str,
        /// Declared type.
        found: String,
    },
    /// A NOT NULL column that the file doesn't have.
    #[error("column {column} is NOT NULL, but the file has no {wanted:?}; it has: {header}")]
    MissingColumn {
        /// Name of the column.
        column: String,
        /// Name that was looked for.
        wanted: String,
        /// Names that the file has.
        header: String,
    },
    /// A column of the file that can't become the declared type without loss.
    #[error("column {column} is {found} in the file, which can't become {declared} without loss; declare it as it is")]
    FileType {
        /// Name of the column.
        column: String,
        /// Type in the file.
        found: String,
        /// Declared type.
        declared: String,
    },
    /// A notation that is not for messages.
    #[error("stream {stream} has FORMAT {format}, which is for files only; a topic has FORMAT JSON")]
    FilesOnly {
        /// Name of the stream.
        stream: String,
        /// Its format.
        format: &'static str,
    },
}

/// Decodes the records of one stream. Keeps what it learns about the messages' layout, and its memory; never a record.
#[derive(Debug)]
pub struct Decoder {
    reader: Reader,
    /// Of a stream with [`Origin::Rest`].
    rest: Option<RestReader>,
    layout: Layout,
    inputs: SideInputs,
}

#[derive(Debug)]
enum Reader {
    Json(RecordReader),
    Csv(RowReader),
}

/// Decodes one batch of `stream` on its own: for tools and measurements; a source keeps a [`Decoder`].
///
/// # Errors
/// As [`Decoder::new`].
pub fn decode(stream: &Stream, raw: &RawBatch) -> Result<Decoded, DecoderError> {
    let next = raw.offsets().last().map_or(0, |last| last + 1);
    Ok(Decoder::new(stream)?.decode(raw, ResumeOffset(next)))
}

impl Decoder {
    /// A decoder of JSON messages or lines.
    ///
    /// # Errors
    /// If the stream's format isn't JSON, or the declaration itself doesn't fit together.
    pub fn new(stream: &Stream) -> Result<Decoder, DecoderError> {
        let (LiveFace::Kafka { format, .. } | LiveFace::File { format, .. }) = &stream.live;
        let name = match format.kind {
            FormatKind::Json => {
                return Decoder::with_reader(stream, |origins| Ok(Reader::Json(RecordReader::new(origins))));
            }
            FormatKind::Csv => "CSV",
            FormatKind::Parquet => "PARQUET",
        };
        Err(DecoderError::FilesOnly { stream: stream.name.clone(), format: name })
    }

    /// A decoder of the rows of a CSV file with this first line.
    ///
    /// # Errors
    /// If a NOT NULL column isn't in the header, or the declaration itself doesn't fit together.
    pub fn with_csv_header(stream: &Stream, header: &[u8]) -> Result<Decoder, DecoderError> {
        Decoder::with_reader(stream, |origins| Ok(Reader::Csv(RowReader::new(origins, header)?)))
    }

    fn with_reader(
        stream: &Stream,
        reader: impl FnOnce(&Origins<'_>) -> Result<Reader, DecoderError>,
    ) -> Result<Decoder, DecoderError> {
        let inputs = SideInputs::of(stream);
        let layout = Layout::new(stream, &inputs)?;
        let origins = origins(stream);
        let keeps_rest = stream.columns.iter().any(|column| matches!(column.origin, Origin::Rest));
        let rest = keeps_rest.then(|| RestReader::new(&origins));
        Ok(Decoder { reader: reader(&origins)?, rest, layout, inputs })
    }

    /// What a raw batch for this decoder must hold beside the values.
    pub fn inputs(&self) -> &SideInputs {
        &self.inputs
    }

    /// Decodes `raw`; `next_offset` is the first offset that it doesn't cover. Cannot fail: what is wrong with a record
    /// makes it a reject.
    pub fn decode(&mut self, raw: &RawBatch, next_offset: ResumeOffset) -> Decoded {
        let mut kept = Vec::with_capacity(raw.len());
        let mut rejects = Vec::new();
        let utf8 = Utf8Check::of(raw.values());
        for row in 0..raw.len() {
            match self.read(raw, row, &utf8) {
                Ok(()) => kept.push(row),
                Err(fault) => rejects.push(reject(raw, row, fault)),
            }
        }
        let mut paths = match &mut self.reader {
            Reader::Json(reader) => reader.finish(),
            Reader::Csv(reader) => reader.finish(),
        };
        paths.extend(self.rest.as_mut().map(RestReader::finish));
        let log = LogColumns::of(raw, &kept);
        let sides = self.layout.sides(raw, &kept);
        let (records, faults) = self.layout.assemble(raw.partition(), &paths, &log, &sides);
        if !faults.is_empty() {
            rejects.extend(faults.into_iter().map(|(row, fault)| reject(raw, kept[row], fault)));
            rejects.sort_by_key(|reject| reject.offset);
        }
        Decoded { partition: raw.partition(), next_offset, records, rejects, bytes: raw.bytes() as u64 }
    }

    /// Reads the value of record `row` as a row of the reader, or says why it is none.
    #[inline]
    fn read(&mut self, raw: &RawBatch, row: usize, utf8: &Utf8Check) -> Result<(), RecordFault> {
        let range = raw.range(row);
        if range.is_empty() {
            return Err(RecordFault { reason: RejectReason::Empty, detail: "no value, or an empty one".to_owned() });
        }
        if !utf8.holds(raw.values(), range.clone()) {
            let detail = "not readable as UTF-8".to_owned();
            return Err(RecordFault { reason: RejectReason::Undecodable, detail });
        }
        match &mut self.reader {
            Reader::Json(reader) => reader.read(raw.values(), range.start, range.end)?,
            Reader::Csv(reader) => reader.read(&raw.values()[range.clone()])?,
        }
        if !self.layout.checked.is_empty() {
            self.layout.check_log(raw, row).inspect_err(|_| match &mut self.reader {
                Reader::Json(reader) => reader.drop_last(),
                Reader::Csv(reader) => reader.drop_last(),
            })?;
        }
        if let Some(rest) = &mut self.rest {
            rest.read(raw.values(), range.start, range.end);
        }
        Ok(())
    }
}

/// The columns of `stream` that are read from the message.
fn origins(stream: &Stream) -> Origins<'_> {
    let (LiveFace::Kafka { format, .. } | LiveFace::File { format, .. }) = &stream.live;
    let Format { timestamp_unit, .. } = format;
    let columns = stream.columns.iter().filter_map(|column| match &column.origin {
        Origin::Path(path) => Some((column, path.as_slice())),
        Origin::Metadata(_) | Origin::Computed(_) | Origin::Rest => None,
    });
    Origins { columns: columns.collect(), unit: *timestamp_unit }
}

fn reject(raw: &RawBatch, row: usize, fault: RecordFault) -> Reject {
    Reject {
        partition: raw.partition(),
        offset: raw.offsets()[row],
        timestamp: raw.timestamps()[row],
        raw: raw.value_bytes(row),
        sides: raw.sides_of(row),
        reason: fault.reason,
        detail: fault.detail,
    }
}

/// Whether records are UTF-8: asked of all bytes at once, and one by one only if that says no.
#[derive(Clone, Copy, Debug)]
struct Utf8Check {
    whole: bool,
}

impl Utf8Check {
    fn of(values: &[u8]) -> Utf8Check {
        Utf8Check { whole: std::str::from_utf8(values).is_ok() }
    }

    #[inline]
    fn holds(self, values: &[u8], range: std::ops::Range<usize>) -> bool {
        if !self.whole {
            return std::str::from_utf8(&values[range]).is_ok();
        }
        // The records together are UTF-8; one of them is too unless it begins or ends inside a character.
        let inside = |at: usize| values.get(at).is_some_and(|byte| byte & 0xc0 == 0x80);
        !inside(range.start) && !inside(range.end)
    }
}

/// What the log says of the records that were kept.
pub(super) struct LogColumns {
    pub(super) offsets: Int64Array,
    pub(super) timestamps: TimestampMicrosecondArray,
}

impl LogColumns {
    fn of(raw: &RawBatch, kept: &[usize]) -> LogColumns {
        let offsets: Int64Array = kept.iter().map(|row| raw.offsets()[*row]).collect::<Vec<_>>().into();
        let timestamps: TimestampMicrosecondArray = kept.iter().map(|row| raw.timestamps()[*row]).collect();
        LogColumns { offsets, timestamps: timestamps.with_timezone(TIMESTAMP_ZONE) }
    }
}

/// Where each declared column comes from, resolved.
#[derive(Clone, Copy, Debug)]
enum Slot {
    /// Number of the column among those read from the message: those with a path, then the rest.
    Path(usize),
    Timestamp,
    Partition,
    Offset,
    /// Number of the column among the side inputs.
    Side(usize),
    Computed,
}

/// A column whose metadata may be missing or unreadable.
#[derive(Debug)]
struct Checked {
    name: String,
    slot: Slot,
    required: bool,
    text: bool,
}

/// The layout of decoded batches of one stream.
#[derive(Debug)]
pub(super) struct Layout {
    slots: Vec<Slot>,
    /// Types of the declared columns.
    types: Vec<DataType>,
    checked: Vec<Checked>,
    computed: ComputedColumns,
    declared_schema: SchemaRef,
    record_schema: SchemaRef,
    key: bool,
    /// Type of each side input's column, once for each (input, type) pair in use.
    side_slots: Vec<SideSlot>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SideSlot {
    /// `None`: the key.
    header: Option<usize>,
    text: bool,
}

impl Layout {
    pub(super) fn new(stream: &Stream, inputs: &SideInputs) -> Result<Layout, DecoderError> {
        let mut layout = Layout {
            slots: Vec::new(),
            types: stream.columns.iter().map(|column| column.column_type.arrow()).collect(),
            checked: Vec::new(),
            computed: ComputedColumns::new(stream)?,
            declared_schema: stream.declared_schema(),
            record_schema: stream.record_schema(),
            key: inputs.key,
            side_slots: Vec::new(),
        };
        let message_columns = stream.columns.iter().filter(|column| matches!(column.origin, Origin::Path(_))).count();
        let mut paths = 0;
        for column in &stream.columns {
            let text = column.column_type == ColumnType::Text;
            let slot = match &column.origin {
                Origin::Path(_) => {
                    paths += 1;
                    Slot::Path(paths - 1)
                }
                Origin::Computed(_) => Slot::Computed,
                Origin::Rest => Slot::Path(message_columns),
                Origin::Metadata(metadata) => {
                    check_metadata_type(&column.name, metadata, &column.column_type)?;
                    match metadata {
                        Metadata::Timestamp => Slot::Timestamp,
                        Metadata::Partition => Slot::Partition,
                        Metadata::Offset => Slot::Offset,
                        Metadata::Key => layout.side(SideSlot { header: None, text }),
                        Metadata::Header(name) => {
                            let index = inputs.headers.iter().position(|header| header == name);
                            layout.side(SideSlot { header: index, text })
                        }
                    }
                }
            };
            let may_fail = match slot {
                Slot::Timestamp => column.required,
                Slot::Side(_) => column.required || text,
                _ => false,
            };
            if may_fail {
                layout.checked.push(Checked { name: column.name.clone(), slot, required: column.required, text });
            }
            layout.slots.push(slot);
        }
        Ok(layout)
    }

    fn side(&mut self, slot: SideSlot) -> Slot {
        let known = self.side_slots.iter().position(|other| *other == slot);
        Slot::Side(known.unwrap_or_else(|| {
            self.side_slots.push(slot);
            self.side_slots.len() - 1
        }))
    }

    fn side_column<'a>(&self, raw: &'a RawBatch, slot: SideSlot) -> Option<&'a SideColumn> {
        match slot.header {
            None if self.key => raw.keys(),
            None => None,
            Some(index) => raw.header(index),
        }
    }

    /// Whether the metadata of record `row` fit their columns.
    fn check_log(&self, raw: &RawBatch, row: usize) -> Result<(), RecordFault> {
        for checked in &self.checked {
            let Checked { name, slot, required, text } = checked;
            let missing = match slot {
                Slot::Side(index) => {
                    let side = self.side_column(raw, self.side_slots[*index]);
                    let value = side.and_then(|side| side.get(row));
                    if *text && value.is_some_and(|value| std::str::from_utf8(value).is_err()) {
                        let detail = format!("{name} TEXT: not readable as UTF-8");
                        return Err(RecordFault { reason: RejectReason::BadValue, detail });
                    }
                    value.is_none()
                }
                _ => raw.timestamps()[row].is_none(),
            };
            if missing && *required {
                let detail = format!("{name} is null, but declared NOT NULL");
                return Err(RecordFault { reason: RejectReason::Null, detail });
            }
        }
        Ok(())
    }

    /// The side inputs of the rows `kept`, checked before, as arrays.
    fn sides(&self, raw: &RawBatch, kept: &[usize]) -> Vec<ArrayRef> {
        let array = |slot: &SideSlot| -> ArrayRef {
            let side = self.side_column(raw, *slot);
            let values = kept.iter().map(|row| side.and_then(|side| side.get(*row)));
            if !slot.text {
                let mut builder = BinaryBuilder::with_capacity(kept.len(), 0);
                values.for_each(|value| builder.append_option(value));
                return Arc::new(builder.finish());
            }
            let bytes: BinaryArray = values.collect();
            let text = StringArray::try_from_binary(bytes).expect("text metadata is checked to be UTF-8");
            Arc::new(text)
        };
        self.side_slots.iter().map(array).collect()
    }

    /// A NOT NULL column that takes what only a log has: no row of a file can have it.
    pub(super) fn missing_in_files(&self) -> Option<&str> {
        self.checked.iter().find(|checked| checked.required).map(|checked| checked.name.as_str())
    }

    /// The side inputs of `rows` rows of a file: it has none.
    pub(super) fn no_sides(&self, rows: usize) -> Vec<ArrayRef> {
        let null = |slot: &SideSlot| new_null_array(if slot.text { &DataType::Utf8 } else { &DataType::Binary }, rows);
        self.side_slots.iter().map(null).collect()
    }

    /// Puts the columns of the kept rows in their order, computes what is computed, and adds the system columns. Gives
    /// the rows (among those kept) that computing has shown to be bad.
    pub(super) fn assemble(
        &self,
        partition: i32,
        paths: &[ArrayRef],
        log: &LogColumns,
        sides: &[ArrayRef],
    ) -> (RecordBatch, Vec<(usize, RecordFault)>) {
        let rows = log.offsets.len();
        let column = |(slot, data_type): (&Slot, &DataType)| -> ArrayRef {
            match slot {
                Slot::Path(index) => Arc::clone(&paths[*index]),
                Slot::Timestamp => Arc::new(log.timestamps.clone()),
                Slot::Partition => Arc::new(Int32Array::from_value(partition, rows)),
                Slot::Offset => Arc::new(log.offsets.clone()),
                Slot::Side(index) => Arc::clone(&sides[*index]),
                Slot::Computed => new_null_array(data_type, rows),
            }
        };
        let mut columns: Vec<ArrayRef> = self.slots.iter().zip(&self.types).map(column).collect();
        let mut faults = Vec::new();
        let mut log_columns: Vec<ArrayRef> = vec![Arc::new(log.offsets.clone()), Arc::new(log.timestamps.clone())];
        if self.slots.iter().any(|slot| matches!(slot, Slot::Computed)) {
            let batch = RecordBatch::try_new(Arc::clone(&self.declared_schema), columns)
                .expect("columns are built to their declared types and all have the kept rows");
            let computation: Computation = self.computed.compute(batch);
            columns = computation.batch.columns().to_vec();
            faults = computation.faults;
            if !faults.is_empty() {
                log_columns = without(&log_columns, &faults, rows);
            }
        }
        let rows = rows - faults.len();
        columns.push(Arc::new(Int32Array::from_value(partition, rows)));
        columns.append(&mut log_columns);
        columns.push(new_null_array(&crate::event::timestamp_type(), rows));
        let records = RecordBatch::try_new(Arc::clone(&self.record_schema), columns)
            .expect("columns are built to their declared types and all have the kept rows");
        (records, faults)
    }
}

/// `columns` less the rows with a fault.
fn without(columns: &[ArrayRef], faults: &[(usize, RecordFault)], rows: usize) -> Vec<ArrayRef> {
    let mut keep = vec![true; rows];
    faults.iter().for_each(|(row, _)| keep[*row] = false);
    let keep = keep.into();
    let filter = |column: &ArrayRef| {
        arrow::compute::filter(column, &keep).expect("the mask has a bit for each row of the column")
    };
    columns.iter().map(filter).collect()
}

fn check_metadata_type(column: &str, metadata: &Metadata, found: &ColumnType) -> Result<(), DecoderError> {
    let (name, wanted, fits) = match metadata {
        Metadata::Timestamp => ("'timestamp'", "TIMESTAMP", *found == ColumnType::Timestamp),
        Metadata::Partition => ("'partition'", "INT", *found == ColumnType::Int),
        Metadata::Offset => ("'offset'", "BIGINT", *found == ColumnType::BigInt),
        Metadata::Key => ("'key'", "TEXT or BYTES", matches!(found, ColumnType::Text | ColumnType::Bytes)),
        Metadata::Header(_) => ("'header:…'", "TEXT or BYTES", matches!(found, ColumnType::Text | ColumnType::Bytes)),
    };
    if fits {
        return Ok(());
    }
    Err(DecoderError::Metadata { column: column.to_owned(), metadata: name, wanted, found: found.to_string() })
}
