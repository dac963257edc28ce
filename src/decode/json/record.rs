//! One JSON object into one row: the paths of the declared columns, followed through the message.

use super::cursor::{Cursor, Fault, Token, unescape};
use super::value::read_value;
use crate::decode::column::ColumnBuilder;
use crate::event::{Column, RejectReason, TimestampUnit};

/// Keys that are remembered for an object, in the order in which messages have them.
const EXPECTED_KEYS_MAX: usize = 128;
/// How many remembered keys are tried before a key is looked up by name: optional fields are left out now and then.
const EXPECTED_KEYS_AHEAD: usize = 4;
/// Bytes of a remembered key at most.
const EXPECTED_KEY_BYTES_MAX: usize = 64;

/// A declared column that is read from the message.
#[derive(Debug)]
struct PathColumn {
    builder: ColumnBuilder,
    name: String,
    type_name: String,
    required: bool,
    /// The record for which the column has a value, a null, or a fault.
    stamp: u64,
    fault: Option<ValueFault>,
}

/// A value that its column doesn't take.
#[derive(Clone, Copy, Debug)]
struct ValueFault {
    reason: &'static str,
    start: usize,
    end: usize,
}

/// Declared columns with their paths in the message.
pub(in crate::decode) struct Origins<'a> {
    /// Column and path, outermost field first.
    pub(in crate::decode) columns: Vec<(&'a Column, &'a [String])>,
    /// Pins the unit of integer timestamps.
    pub(in crate::decode) unit: Option<TimestampUnit>,
}

/// Why a record is rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::decode) struct RecordFault {
    pub(in crate::decode) reason: RejectReason,
    pub(in crate::decode) detail: String,
}

/// Reads records into the columns of a stream, row by row.
#[derive(Debug)]
pub(in crate::decode) struct RecordReader {
    root: Node,
    columns: Vec<PathColumn>,
    rows: usize,
    record: Record,
}

/// What is the same for all values of the record being read.
#[derive(Clone, Copy, Debug)]
struct Record {
    /// Number of the record, counted by this reader, from 1.
    stamp: u64,
    /// The row that it becomes.
    row: usize,
    unit: Option<TimestampUnit>,
}

impl RecordReader {
    /// A reader for the columns of `origins`, which it keeps in that order.
    pub(in crate::decode) fn new(origins: &Origins<'_>) -> RecordReader {
        let mut root = Node::default();
        let mut columns = Vec::new();
        for (index, (column, path)) in origins.columns.iter().enumerate() {
            root.add(path, index);
            columns.push(PathColumn {
                builder: ColumnBuilder::new(&column.column_type),
                name: column.name.clone(),
                type_name: column.column_type.to_string(),
                required: column.required,
                stamp: 0,
                fault: None,
            });
        }
        RecordReader { root, columns, rows: 0, record: Record { stamp: 0, row: 0, unit: origins.unit } }
    }

    /// Reads `bytes[start..end]`, which is UTF-8, as one row; on a fault the columns are as before.
    pub(in crate::decode) fn read(&mut self, bytes: &[u8], start: usize, end: usize) -> Result<(), RecordFault> {
        self.record.stamp += 1;
        self.record.row = self.rows;
        let mut cursor = Cursor::new(bytes, start, end);
        let object = self.root.read_record(&mut cursor, &mut self.columns, &self.record);
        let outcome = match object {
            Ok(()) => self.close_row(bytes),
            Err(Fault::Syntax(reason) | Fault::Value(reason)) => {
                let detail = format!("not readable as JSON at byte {}: {reason}", cursor.position().min(end) - start);
                Err(RecordFault { reason: RejectReason::Undecodable, detail })
            }
        };
        match outcome {
            Ok(()) => self.rows += 1,
            Err(_) => self.truncate(self.rows),
        }
        outcome
    }

    /// Fills what the record didn't mention, and judges it: bad values first, then nulls, each in order of declaration.
    #[inline]
    fn close_row(&mut self, bytes: &[u8]) -> Result<(), RecordFault> {
        let mut null = None;
        let mut bad = None;
        for (index, column) in self.columns.iter_mut().enumerate() {
            if column.stamp != self.record.stamp {
                column.builder.push_null();
            } else if column.fault.is_some() {
                bad = bad.or(Some(index));
                continue;
            }
            if column.required && column.builder.ends_in_null() {
                null = null.or(Some(index));
            }
        }
        if let Some(index) = bad {
            let column = &self.columns[index];
            let fault = column.fault.expect("the column was found by its fault");
            let value = excerpt(&bytes[fault.start..fault.end]);
            let detail = format!("{} {}: {value} {}", column.name, column.type_name, fault.reason);
            return Err(RecordFault { reason: RejectReason::BadValue, detail });
        }
        if let Some(index) = null {
            let detail = format!("{} is null, but declared NOT NULL", self.columns[index].name);
            return Err(RecordFault { reason: RejectReason::Null, detail });
        }
        Ok(())
    }

    /// Forgets the last row.
    pub(in crate::decode) fn drop_last(&mut self) {
        self.rows -= 1;
        self.truncate(self.rows);
    }

    fn truncate(&mut self, rows: usize) {
        for column in &mut self.columns {
            column.builder.truncate(rows);
            column.fault = None;
        }
    }

    /// Takes the rows as arrays, in the order of the columns, and begins anew.
    pub(in crate::decode) fn finish(&mut self) -> Vec<arrow::array::ArrayRef> {
        self.rows = 0;
        self.columns.iter_mut().map(|column| column.builder.finish()).collect()
    }
}

/// The beginning of a value, for a message.
pub(in crate::decode) fn excerpt(value: &[u8]) -> String {
    const CHARACTERS_MAX: usize = 80;
    let text = String::from_utf8_lossy(&value[..value.len().min(4 * CHARACTERS_MAX)]);
    let mut short: String = text.chars().take(CHARACTERS_MAX).collect();
    if short.len() < value.len() {
        short.push('…');
    }
    short
}

/// An object on the path of a declared column.
#[derive(Debug, Default)]
struct Node {
    fields: Vec<NodeField>,
    /// Keys as the messages before had them, in their order.
    expected: Vec<Expected>,
}

/// A field of such an object that a column wants.
#[derive(Debug)]
struct NodeField {
    name: String,
    /// Columns that take the field's value.
    columns: Vec<usize>,
    /// Columns that take something inside it.
    object: Option<Box<Node>>,
    /// All of these columns.
    all: Vec<usize>,
    /// The record that last had the field.
    stamp: u64,
}

/// A key, and the field that it names, if anyone wants it.
#[derive(Debug)]
struct Expected {
    /// With its quotes and the colon.
    token: Token,
    field: Option<usize>,
}

impl Node {
    fn add(&mut self, path: &[String], column: usize) {
        let Some((name, rest)) = path.split_first() else { return };
        let index = match self.fields.iter().position(|field| field.name == *name) {
            Some(index) => index,
            None => {
                self.fields.push(NodeField {
                    name: name.clone(),
                    columns: Vec::new(),
                    object: None,
                    all: Vec::new(),
                    stamp: 0,
                });
                self.fields.len() - 1
            }
        };
        let field = &mut self.fields[index];
        field.all.push(column);
        if rest.is_empty() {
            field.columns.push(column);
        } else {
            field.object.get_or_insert_default().add(rest, column);
        }
    }

    fn read_record(
        &mut self,
        cursor: &mut Cursor<'_>,
        columns: &mut [PathColumn],
        record: &Record,
    ) -> Result<(), Fault> {
        cursor.skip_space();
        if cursor.peek() != Some(b'{') {
            return Err(Fault::Syntax("not an object"));
        }
        self.read_object(cursor, columns, record, 0)?;
        cursor.skip_space();
        if cursor.at_end() { Ok(()) } else { Err(Fault::Syntax("bytes behind the object")) }
    }

    fn read_object(
        &mut self,
        cursor: &mut Cursor<'_>,
        columns: &mut [PathColumn],
        record: &Record,
        depth: usize,
    ) -> Result<(), Fault> {
        cursor.open(b'{', depth)?;
        if cursor.take(b'}') {
            return Ok(());
        }
        let mut place = 0;
        loop {
            let field = self.read_key(cursor, &mut place)?;
            match field {
                Some(index) => self.fields[index].read(cursor, columns, record, depth + 1)?,
                None => cursor.skip_value(depth + 1)?,
            }
            if !cursor.another(b'}')? {
                return Ok(());
            }
        }
    }

    /// Takes a key with its colon, and says which wanted field it names. `place` is the place in the remembered order.
    #[inline]
    fn read_key(&mut self, cursor: &mut Cursor<'_>, place: &mut usize) -> Result<Option<usize>, Fault> {
        for (ahead, expected) in self.expected.iter().skip(*place).take(EXPECTED_KEYS_AHEAD).enumerate() {
            if cursor.take_token(&expected.token) {
                *place += ahead + 1;
                cursor.skip_space();
                return Ok(expected.field);
            }
        }
        self.read_unexpected_key(cursor, place)
    }

    #[cold]
    fn read_unexpected_key(&mut self, cursor: &mut Cursor<'_>, place: &mut usize) -> Result<Option<usize>, Fault> {
        let start = cursor.position();
        let key = cursor.string()?;
        let field = if key.escaped {
            let mut name = Vec::new();
            unescape(key.bytes, |piece| name.extend_from_slice(piece))?;
            self.fields.iter().position(|field| field.name.as_bytes() == name)
        } else {
            self.fields.iter().position(|field| field.name.as_bytes() == key.bytes)
        };
        if cursor.peek() == Some(b':') && !key.escaped && key.bytes.len() <= EXPECTED_KEY_BYTES_MAX {
            cursor.take(b':');
            let expected = Expected { token: Token::new(cursor.since(start)), field };
            if self.expected.len() < EXPECTED_KEYS_MAX {
                self.expected.insert(*place, expected);
                *place += 1;
            } else if let Some(replaced) = self.expected.get_mut(*place) {
                *replaced = expected;
                *place += 1;
            }
            cursor.skip_space();
        } else {
            cursor.colon()?;
        }
        Ok(field)
    }
}

impl NodeField {
    /// Reads the field's value into all columns that want it or something inside it.
    #[inline]
    fn read(
        &mut self,
        cursor: &mut Cursor<'_>,
        columns: &mut [PathColumn],
        record: &Record,
        depth: usize,
    ) -> Result<(), Fault> {
        if self.stamp == record.stamp {
            self.forget(columns, record);
        }
        self.stamp = record.stamp;
        let start = cursor.position();
        for index in &self.columns {
            cursor.go_to(start);
            columns[*index].read(cursor, record, depth)?;
        }
        let Some(object) = &mut self.object else { return Ok(()) };
        cursor.go_to(start);
        match cursor.peek() {
            Some(b'{') => object.read_object(cursor, columns, record, depth),
            Some(b'n') => cursor.literal(b"null"),
            _ => {
                cursor.skip_value(depth)?;
                let fault = ValueFault { reason: "isn't an object", start, end: cursor.position() };
                let inside = self.all.iter().filter(|index| !self.columns.contains(index));
                inside.for_each(|index| columns[*index].set_fault(fault, record));
                Ok(())
            }
        }
    }

    /// Of equal keys the last counts: whatever the one before has set goes.
    fn forget(&self, columns: &mut [PathColumn], record: &Record) {
        for index in &self.all {
            let column = &mut columns[*index];
            if column.stamp == record.stamp {
                column.builder.truncate(record.row);
                column.stamp = 0;
                column.fault = None;
            }
        }
    }
}

impl PathColumn {
    #[inline]
    fn read(&mut self, cursor: &mut Cursor<'_>, record: &Record, depth: usize) -> Result<(), Fault> {
        let start = cursor.position();
        self.stamp = record.stamp;
        match read_value(cursor, &mut self.builder, record.unit, depth) {
            Err(Fault::Value(reason)) => {
                cursor.go_to(start);
                cursor.skip_value(depth)?;
                self.set_fault(ValueFault { reason, start, end: cursor.position() }, record);
                Ok(())
            }
            other => other,
        }
    }

    fn set_fault(&mut self, fault: ValueFault, record: &Record) {
        self.builder.truncate(record.row);
        self.stamp = record.stamp;
        self.fault = Some(fault);
    }
}
