//! Files: bounded logs of one partition, number 0, whose offsets are row numbers.
//! Every row counts, blank and bad ones too, so that a position means the same row on every run.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Source, SourceError, SourceEvent};
use crate::decode::{Decoder, RawBatch, RawRecord, csv_quote_open};
use crate::event::{FormatKind, ResumeOffset, Stream};

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
}

/// A file of lines: JSON, one object a line, or CSV, whose rows may span lines.
struct Lines {
    path: PathBuf,
    reader: BufReader<File>,
    csv: bool,
    decoder: Decoder,
    raw: RawBatch,
    line: Vec<u8>,
}

impl FileSource {
    /// Reads the file at `path` from row `from` on.
    ///
    /// # Errors
    /// If the file can't be opened, or doesn't fit the declaration.
    pub fn open(stream: &Stream, path: &Path, kind: FormatKind, from: ResumeOffset) -> Result<FileSource, SourceError> {
        let unfit = |source| SourceError::Decoder { stream: stream.name.clone(), source };
        let failed = |source| SourceError::File { path: path.to_owned(), row: 0, source };
        let file = File::open(path).map_err(failed)?;
        let rows = match kind {
            FormatKind::Json | FormatKind::Csv | FormatKind::Parquet => {
                let mut reader = BufReader::with_capacity(READ_BYTES, file);
                let csv = kind == FormatKind::Csv;
                let mut line = Vec::new();
                let decoder = if csv {
                    read_row(&mut reader, &mut line, csv).map_err(failed)?;
                    Decoder::with_csv_header(stream, without_line_end(&line)).map_err(unfit)?
                } else {
                    Decoder::new(stream).map_err(unfit)?
                };
                let raw = RawBatch::new(0, decoder.inputs());
                let mut lines = Lines { path: path.to_owned(), reader, csv, decoder, raw, line };
                for row in 0..from.0 {
                    lines.read(row)?;
                }
                Rows::Lines(Box::new(lines))
            }
        };
        Ok(FileSource { rows, next: from.0, paused: false, stage: Stage::Reading })
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
            let Rows::Lines(lines) = &mut self.rows;
            let records = lines.next_batch(self.next)?;
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
        let Rows::Lines(lines) = &self.rows;
        Err(SourceError::Client {
            log: format!("file {}", lines.path.display()),
            partition,
            action: "assigned",
            reason: "a file has partition 0 only".to_owned(),
        })
    }
}

impl Lines {
    /// Decodes the rows from `next` on, as many as fit one batch; `None` at the end.
    fn next_batch(&mut self, next: i64) -> Result<Option<crate::event::Decoded>, SourceError> {
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
        let read = read_row(&mut self.reader, &mut self.line, self.csv);
        read.map_err(|source| SourceError::File { path: self.path.clone(), row, source })
    }
}

/// Reads the next row, with its line end, into `line`; false at the end of the file.
fn read_row(reader: &mut BufReader<File>, line: &mut Vec<u8>, csv: bool) -> std::io::Result<bool> {
    line.clear();
    let mut open = false;
    loop {
        let start = line.len();
        let length = reader.read_until(b'\n', line)?;
        if length == 0 {
            return Ok(start > 0);
        }
        open = csv && csv_quote_open(&line[start..], open);
        if !open {
            return Ok(true);
        }
    }
}

fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}
