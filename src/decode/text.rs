//! Values that are written as text whatever the notation: bytes, UUIDs, and the cells of a CSV file.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::column::{ColumnBuilder, Values};
use super::json::{Cursor, Fault, read_value};
use super::{number, timestamp};
use crate::event::TimestampUnit;

/// Appends the bytes that `text` stands for in base64 (standard alphabet, padded).
pub(super) fn base64(text: &[u8], bytes: &mut Vec<u8>) -> Result<(), &'static str> {
    STANDARD.decode_vec(text, bytes).map_err(|_| "isn't base64 (standard alphabet, padded)")
}

/// The UUID that `text` writes as 8-4-4-4-12 hexadecimal digits.
pub(super) fn uuid(text: &[u8]) -> Result<[u8; 16], &'static str> {
    let parsed = if text.len() == 36 { uuid::Uuid::try_parse_ascii(text).ok() } else { None };
    parsed.map(uuid::Uuid::into_bytes).ok_or("isn't a UUID in its text form")
}

/// Reads a cell as a row of `column`: text as it stands, everything else by the rules for JSON, arrays and structs in
/// JSON notation. On a fault the caller cuts the column back.
pub(super) fn read_cell(
    cell: &[u8],
    column: &mut ColumnBuilder,
    unit: Option<TimestampUnit>,
) -> Result<(), &'static str> {
    match &mut column.values {
        Values::Text(values) => values.push(cell),
        Values::Bytes(values) => {
            base64(cell, &mut values.bytes)?;
            values.close();
        }
        Values::Date(values) => values.push(timestamp::date_from_text(cell)?),
        Values::Uuid(bytes) => bytes.extend_from_slice(&uuid(cell)?),
        Values::Timestamp(values) if !number::is_number(cell) => values.push(timestamp::from_text(cell)?),
        _ => {
            let mut cursor = Cursor::new(cell, 0, cell.len());
            let read = read_value(&mut cursor, column, unit, 0);
            read.map_err(|(Fault::Syntax(reason) | Fault::Value(reason))| reason)?;
            if !cursor.at_end() || column.ends_in_null() {
                return Err("isn't a value of that type");
            }
        }
    }
    Ok(())
}
