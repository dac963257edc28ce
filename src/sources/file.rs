//! Files: bounded logs of one partition, number 0, whose offsets are row numbers.
//! Every row counts, blank and bad ones too, so that a position means the same row on every run.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::{Source, SourceError, SourceEvent};
use crate::decode::{BATCH_RECORDS_MAX, Decoder, RawBatch, RawRecord, TableDecoder, csv_quote_open};
use crate::event::{Decoded, FormatKind, ResumeOffset, Stream};

/// Bytes read from a file at once.
const READ_BYTES: usize = 1 << 20;

/// A file being read from a row on.
pub struct FileSource {
    rows: Rows,
    next: i64,
    paused: bool,
    stage: Stage,
}

/// What is still to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Reading,
    AtEnd,
    Ended,
}

enum Rows {
    Lines(Box<Lines>),
    Table(Box<Table>),
}

/// A Parquet file.
struct Table {
    path: PathBuf,
    reader: ParquetRecordBatchReader,
    decoder: TableDecoder,
}

/// A file of lines: JSON, one object a line, or CSV, whose rows may span lines.
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    kind: LineKind,
    decoder: Decoder,
    raw: RawBatch,
    line: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineKind {
    Json,
    Csv,
}

impl FileSource {
    /// Reads the file at `path` from row `from` on.
    ///
    /// # Errors
    /// If the file can't be opened, or doesn't fit the declaration.
    pub fn open(stream: &Stream, path: &Path, kind: FormatKind, from: ResumeOffset) -> Result<FileSource, SourceError> {
        let file = File::open(path).map_err(|source| SourceError::File { path: path.to_owned(), row: 0, source })?;
        let rows = match kind {
            FormatKind::Json => Rows::Lines(Box::new(Lines::open(stream, path, file, LineKind::Json)?)),
            FormatKind::Csv => Rows::Lines(Box::new(Lines::open(stream, path, file, LineKind::Csv)?)),
            FormatKind::Parquet => Rows::Table(Box::new(Table::open(stream, path, file, from)?)),
        };
        let mut source = FileSource { rows, next: from.0, paused: false, stage: Stage::Reading };
        if let Rows::Lines(lines) = &mut source.rows {
            for row in 0..from.0 {
                lines.read(row)?;
            }
        }
        Ok(source)
    }

    fn path(&self) -> &Path {
        match &self.rows {
            Rows::Lines(lines) => &lines.path,
            Rows::Table(table) => &table.path,
        }
    }
}

impl Source for FileSource {
    fn poll(&mut self, wait: Duration) -> Result<SourceEvent, SourceError> {
        if self.paused {
            // Nothing can happen to a paused file; whoever polls must not spin.
            std::thread::sleep(wait);
            return Ok(SourceEvent::Idle);
        }
        if self.stage == Stage::Reading {
            let records = match &mut self.rows {
                Rows::Lines(lines) => lines.next_batch(self.next)?,
                Rows::Table(table) => table.next_batch(self.next)?,
            };
            if let Some(decoded) = records {
                self.next = decoded.next_offset.0;
                return Ok(SourceEvent::Records(decoded));
            }
            self.stage = Stage::AtEnd;
        }
        if self.stage == Stage::AtEnd {
            self.stage = Stage::Ended;
            return Ok(SourceEvent::AtEnd { partition: 0, offset: ResumeOffset(self.next) });
        }
        Ok(SourceEvent::Ended)
    }

    fn set_paused(&mut self, partition: i32, paused: bool) -> Result<(), SourceError> {
        if partition == 0 {
            self.paused = paused;
        }
        Ok(())
    }

    fn assign(&mut self, partition: i32, _from: ResumeOffset) -> Result<(), SourceError> {
        if partition == 0 {
            return Ok(());
        }
        Err(SourceError::Client {
            log: format!("file {}", self.path().display()),
            partition,
            action: "assigned",
            reason: "a file has partition 0 only".to_owned(),
        })
    }
}

impl Lines {
    fn open(stream: &Stream, path: &Path, file: File, kind: LineKind) -> Result<Lines, SourceError> {
        let mut reader = BufReader::with_capacity(READ_BYTES, file);
        let mut line = Vec::new();
        let decoder = match kind {
            LineKind::Json => Decoder::new(stream),
            LineKind::Csv => {
                let header = read_row(&mut reader, &mut line, kind);
                header.map_err(|source| SourceError::File { path: path.to_owned(), row: 0, source })?;
                Decoder::with_csv_header(stream, without_line_end(&line))
            }
        };
        let decoder = decoder.map_err(|source| SourceError::Decoder { stream: stream.name.clone(), source })?;
        let raw = RawBatch::new(0, decoder.inputs());
        Ok(Lines { path: path.to_owned(), reader, kind, decoder, raw, line })
    }

    /// Decodes the rows from `next` on, as many as fit one batch; `None` at the end.
    fn next_batch(&mut self, next: i64) -> Result<Option<Decoded>, SourceError> {
        self.raw.reset(0);
        let mut offset = next;
        while !self.raw.is_full() && self.read(offset)? {
            let record = RawRecord { offset, timestamp: None, value: without_line_end(&self.line) };
            self.raw.push(record, []);
            offset += 1;
        }
        if self.raw.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.decoder.decode(&self.raw, ResumeOffset(offset))))
    }

    /// Reads row `row` into `line`; false at the end of the file.
    fn read(&mut self, row: i64) -> Result<bool, SourceError> {
        let read = read_row(&mut self.reader, &mut self.line, self.kind);
        read.map_err(|source| SourceError::File { path: self.path.clone(), row, source })
    }
}

impl Table {
    fn open(stream: &Stream, path: &Path, file: File, from: ResumeOffset) -> Result<Table, SourceError> {
        let broken = |source| SourceError::Parquet { path: path.to_owned(), source };
        let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(broken)?;
        let decoder = TableDecoder::new(stream, builder.schema())
            .map_err(|source| SourceError::Decoder { stream: stream.name.clone(), source })?;
        let skipped = usize::try_from(from.0).unwrap_or(0);
        let reader = builder.with_batch_size(BATCH_RECORDS_MAX).with_offset(skipped).build().map_err(broken)?;
        Ok(Table { path: path.to_owned(), reader, decoder })
    }

    /// Decodes the rows from `next` on, one batch; `None` at the end.
    fn next_batch(&mut self, next: i64) -> Result<Option<Decoded>, SourceError> {
        match self.reader.next() {
            None => Ok(None),
            Some(Ok(rows)) => Ok(Some(self.decoder.decode(&rows, next))),
            Some(Err(error)) => Err(SourceError::Parquet { path: self.path.clone(), source: error.into() }),
        }
    }
}

/// Reads the next row, with its line end, into `line`; false at the end of the file.
fn read_row(reader: &mut BufReader<File>, line: &mut Vec<u8>, kind: LineKind) -> std::io::Result<bool> {
    line.clear();
    let mut open = false;
    loop {
        let start = line.len();
        let length = reader.read_until(b'\n', line)?;
        if length == 0 {
            return Ok(start > 0);
        }
        open = kind == LineKind::Csv && csv_quote_open(&line[start..], open);
        if !open {
            return Ok(true);
        }
    }
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}
