//! Rows of a CSV file (RFC 4180: commas, quotes doubled inside quotes): cells found by the header's names, then read by the
//! rules for JSON. An empty cell is null; one that is quoted is an empty text.

use arrow::array::ArrayRef;

use super::column::ColumnBuilder;
use super::decoder::DecoderError;
use super::json::{Origins, RecordFault};
use super::text::read_cell;
use crate::event::{RejectReason, TimestampUnit};

/// Where in a row a byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    CellStart,
    Plain,
    Quoted,
    /// Behind a quote inside quotes: the end of the cell, or half of a doubled quote.
    Quote,
}

/// Whether a quoted cell is still open at the end of `line`, so that the row goes on in the next line. `open` says so of
/// the line before.
pub fn csv_quote_open(line: &[u8], open: bool) -> bool {
    let mut place = if open { Place::Quoted } else { Place::CellStart };
    for byte in line {
        place = step(place, *byte);
    }
    place == Place::Quoted
}

fn step(place: Place, byte: u8) -> Place {
    match (place, byte) {
        (Place::CellStart | Place::Quote, b'"') | (Place::Quoted, 0..b'"' | b'#'..) => Place::Quoted,
        (Place::Quoted, b'"') => Place::Quote,
        (Place::CellStart | Place::Plain | Place::Quote, b',') => Place::CellStart,
        (Place::CellStart | Place::Plain | Place::Quote, _) => Place::Plain,
    }
}

/// The cells of one row; keeps its memory from row to row.
#[derive(Debug, Default)]
struct Cells {
    bytes: Vec<u8>,
    /// End of each cell in `bytes`, and whether it was quoted.
    ends: Vec<(usize, bool)>,
}

impl Cells {
    /// Splits `row`; false if a quoted cell has no end.
    fn split(&mut self, row: &[u8]) -> bool {
        self.bytes.clear();
        self.ends.clear();
        let mut place = Place::CellStart;
        let mut quoted = false;
        for byte in row {
            let next = step(place, *byte);
            match (place, next) {
                (_, Place::CellStart) => {
                    self.ends.push((self.bytes.len(), quoted));
                    quoted = false;
                }
                (Place::CellStart, Place::Quoted) => quoted = true,
                (_, Place::Quote) => {}
                _ => self.bytes.push(*byte),
            }
            place = next;
        }
        self.ends.push((self.bytes.len(), quoted));
        place != Place::Quoted
    }

    fn len(&self) -> usize {
        self.ends.len()
    }

    /// The text of a cell; `None` if it is empty and not quoted.
    fn get(&self, index: usize) -> Option<&[u8]> {
        let start = if index == 0 { 0 } else { self.ends[index - 1].0 };
        let (end, quoted) = self.ends[index];
        (quoted || end > start).then(|| &self.bytes[start..end])
    }
}

/// A declared column and the cell that it is read from.
#[derive(Debug)]
struct CellColumn {
    builder: ColumnBuilder,
    name: String,
    type_name: String,
    required: bool,
    /// Place in the header; `None`: the file doesn't have it, and all rows are null.
    cell: Option<usize>,
}

/// Reads rows into the columns of a stream.
#[derive(Debug)]
pub(super) struct RowReader {
    columns: Vec<CellColumn>,
    cells: Cells,
    header_cells: usize,
    unit: Option<TimestampUnit>,
    rows: usize,
}

impl RowReader {
    /// A reader of the files whose first line is `header`. Fails if a NOT NULL column isn't in it.
    pub(super) fn new(origins: &Origins<'_>, header: &[u8]) -> Result<RowReader, DecoderError> {
        let mut cells = Cells::default();
        let header = header.strip_prefix(b"\xef\xbb\xbf").unwrap_or(header);
        cells.split(header);
        let names: Vec<String> = (0..cells.len())
            .map(|index| String::from_utf8_lossy(cells.get(index).unwrap_or_default()).trim().to_owned())
            .collect();
        let mut columns = Vec::new();
        for (column, path) in &origins.columns {
            let wanted = path.join(".");
            let cell = names.iter().position(|name| *name == wanted);
            if cell.is_none() && column.required {
                let header = names.join(", ");
                return Err(DecoderError::MissingColumn { column: column.name.clone(), wanted, header });
            }
            columns.push(CellColumn {
                builder: ColumnBuilder::new(&column.column_type),
                name: column.name.clone(),
                type_name: column.column_type.to_string(),
                required: column.required,
                cell,
            });
        }
        Ok(RowReader { columns, cells, header_cells: names.len(), unit: origins.unit, rows: 0 })
    }

    /// Reads `row`, which is UTF-8, as one row; on a fault the columns are as before.
    pub(super) fn read(&mut self, row: &[u8]) -> Result<(), RecordFault> {
        let outcome = self.read_cells(row);
        match outcome {
            Ok(()) => self.rows += 1,
            Err(_) => self.truncate(self.rows),
        }
        outcome
    }

    fn read_cells(&mut self, row: &[u8]) -> Result<(), RecordFault> {
        let undecodable = |detail| Err(RecordFault { reason: RejectReason::Undecodable, detail });
        if !self.cells.split(row) {
            return undecodable("a quoted cell has no end".to_owned());
        }
        if self.cells.len() != self.header_cells {
            return undecodable(format!("{} cells, but {} in the header", self.cells.len(), self.header_cells));
        }
        let mut null = None;
        for column in &mut self.columns {
            let Some(cell) = column.cell.and_then(|index| self.cells.get(index)) else {
                column.builder.push_null();
                if column.required && null.is_none() {
                    null = Some(format!("{} is null, but declared NOT NULL", column.name));
                }
                continue;
            };
            if let Err(reason) = read_cell(cell, &mut column.builder, self.unit) {
                let value = super::json::excerpt(cell);
                let detail = format!("{} {}: {value} {reason}", column.name, column.type_name);
                return Err(RecordFault { reason: RejectReason::BadValue, detail });
            }
        }
        match null {
            Some(detail) => Err(RecordFault { reason: RejectReason::Null, detail }),
            None => Ok(()),
        }
    }

    /// Forgets the last row.
    pub(super) fn drop_last(&mut self) {
        self.rows -= 1;
        self.truncate(self.rows);
    }

    fn truncate(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|column| column.builder.truncate(rows));
    }

    /// Takes the rows as arrays, in the order of the columns, and begins anew.
    pub(super) fn finish(&mut self) -> Vec<ArrayRef> {
        self.rows = 0;
        self.columns.iter_mut().map(|column| column.builder.finish()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(row: &str) -> Vec<Option<String>> {
        let mut cells = Cells::default();
        assert!(cells.split(row.as_bytes()), "{row}");
        (0..cells.len()).map(|index| cells.get(index).map(|cell| String::from_utf8_lossy(cell).into_owned())).collect()
    }

    #[test]
    fn cells_end_at_commas_outside_quotes() {
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(cells("a,b"), [text("a"), text("b")]);
        assert_eq!(cells(",\"\","), [None, text(""), None]);
        assert_eq!(cells("\"a,\"\"b\"\"\n\",5\" pipe"), [text("a,\"b\"\n"), text("5\" pipe")]);
        assert_eq!(cells(""), [None]);
    }

    #[test]
    fn a_row_goes_on_while_a_quote_is_open() {
        assert!(csv_quote_open(b"a,\"b\n", false));
        assert!(!csv_quote_open(b"c\",d\n", true));
        assert!(!csv_quote_open(b"5\" pipe,3\n", false));
        assert!(!csv_quote_open(b"\"a\"\"b\"\n", false));
    }
}
