//! One JSON value into one column: which values a declared type takes.

use std::borrow::Cow;

use super::cursor::{Cursor, Fault, RawString, unescape};
use crate::decode::column::{ColumnBuilder, FieldBuilder, Values};
use crate::decode::{number, text, timestamp};
use crate::event::TimestampUnit;

/// Reads the next value as a row of `column`; `depth` objects and arrays are around it.
///
/// On a fault the column may hold a part of the row: the caller cuts it back, and checks the rest of the value.
#[inline]
pub(in crate::decode) fn read_value(
    cursor: &mut Cursor<'_>,
    column: &mut ColumnBuilder,
    unit: Option<TimestampUnit>,
    depth: usize,
) -> Result<(), Fault> {
    if cursor.peek() == Some(b'n') {
        cursor.literal(b"null")?;
        column.push_null();
        return Ok(());
    }
    match &mut column.values {
        Values::BigInt(values) => values.push(integer(cursor)?),
        Values::Int(values) => {
            values.push(i32::try_from(integer(cursor)?).map_err(|_| Fault::Value("is out of range"))?);
        }
        Values::Double(values) => values.push(double(cursor)?),
        Values::Float(values) => values.push(number::to_f32(number_text(cursor)?).map_err(Fault::Value)?),
        Values::Decimal { values, precision, scale } => {
            values.push(number::to_decimal(number_text(cursor)?, *precision, *scale).map_err(Fault::Value)?);
        }
        Values::Text(values) => {
            let text = string(cursor, "isn't a string")?;
            if text.escaped {
                unescape(text.bytes, |piece| values.bytes.extend_from_slice(piece))?;
            } else {
                values.bytes.extend_from_slice(text.bytes);
            }
            values.close();
        }
        Values::Timestamp(values) => values.push(instant(cursor, unit)?),
        Values::Boolean(values) => values.push(boolean(cursor)?),
        Values::Bytes(values) => {
            let text = unescaped(string(cursor, "isn't a string")?)?;
            text::base64(&text, &mut values.bytes).map_err(Fault::Value)?;
            values.close();
        }
        Values::Date(values) => {
            let text = unescaped(string(cursor, "isn't a string")?)?;
            values.push(timestamp::date_from_text(&text).map_err(Fault::Value)?);
        }
        Values::Uuid(bytes) => {
            let text = unescaped(string(cursor, "isn't a string")?)?;
            bytes.extend_from_slice(&text::uuid(&text).map_err(Fault::Value)?);
        }
        Values::Array { ends, items, .. } => {
            read_items(cursor, items, unit, depth)?;
            ends.push(i32::try_from(items.len()).expect("a raw batch has fewer than 2^31 values"));
        }
        Values::Struct { fields, rows } => {
            read_fields(cursor, fields, *rows, unit, depth)?;
            *rows += 1;
        }
    }
    Ok(())
}

#[inline]
fn at_number(cursor: &Cursor<'_>) -> Result<(), Fault> {
    match cursor.peek() {
        Some(b'-' | b'0'..=b'9') => Ok(()),
        _ => Err(Fault::Value("isn't a number")),
    }
}

#[inline]
fn number_text<'a>(cursor: &mut Cursor<'a>) -> Result<&'a [u8], Fault> {
    at_number(cursor)?;
    cursor.number_text()
}

#[inline]
fn integer(cursor: &mut Cursor<'_>) -> Result<i64, Fault> {
    at_number(cursor)?;
    match cursor.short_integer()? {
        Some(value) => Ok(value),
        None => number::to_i64(cursor.number_text()?).map_err(Fault::Value),
    }
}

#[inline]
fn double(cursor: &mut Cursor<'_>) -> Result<f64, Fault> {
    at_number(cursor)?;
    match cursor.short_double()? {
        Some(value) => Ok(value),
        None => number::to_f64(cursor.number_text()?).map_err(Fault::Value),
    }
}

fn boolean(cursor: &mut Cursor<'_>) -> Result<bool, Fault> {
    match cursor.peek() {
        Some(b't') => cursor.literal(b"true").map(|()| true),
        Some(b'f') => cursor.literal(b"false").map(|()| false),
        _ => Err(Fault::Value("isn't true or false")),
    }
}

#[inline]
fn string<'a>(cursor: &mut Cursor<'a>, otherwise: &'static str) -> Result<RawString<'a>, Fault> {
    if cursor.peek() == Some(b'"') { cursor.string() } else { Err(Fault::Value(otherwise)) }
}

fn unescaped(text: RawString<'_>) -> Result<Cow<'_, [u8]>, Fault> {
    if !text.escaped {
        return Ok(Cow::Borrowed(text.bytes));
    }
    let mut plain = Vec::with_capacity(text.bytes.len());
    unescape(text.bytes, |piece| plain.extend_from_slice(piece))?;
    Ok(Cow::Owned(plain))
}

#[inline]
fn instant(cursor: &mut Cursor<'_>, unit: Option<TimestampUnit>) -> Result<i64, Fault> {
    if cursor.peek() == Some(b'"') {
        let text = unescaped(cursor.string()?)?;
        return timestamp::from_text(&text).map_err(Fault::Value);
    }
    timestamp::from_integer(integer(cursor)?, unit).map_err(Fault::Value)
}

fn read_items(
    cursor: &mut Cursor<'_>,
    items: &mut ColumnBuilder,
    unit: Option<TimestampUnit>,
    depth: usize,
) -> Result<(), Fault> {
    if cursor.peek() != Some(b'[') {
        return Err(Fault::Value("isn't an array"));
    }
    cursor.open(b'[', depth)?;
    if cursor.take(b']') {
        return Ok(());
    }
    loop {
        read_value(cursor, items, unit, depth + 1)?;
        if !cursor.another(b']')? {
            return Ok(());
        }
    }
}

/// Reads an object into the fields of a struct that has `rows` rows so far.
fn read_fields(
    cursor: &mut Cursor<'_>,
    fields: &mut [FieldBuilder],
    rows: usize,
    unit: Option<TimestampUnit>,
    depth: usize,
) -> Result<(), Fault> {
    if cursor.peek() != Some(b'{') {
        return Err(Fault::Value("isn't an object"));
    }
    fields.iter_mut().for_each(|field| field.fault = None);
    cursor.open(b'{', depth)?;
    if !cursor.take(b'}') {
        loop {
            let key = unescaped(cursor.string()?)?;
            cursor.colon()?;
            match fields.iter_mut().find(|field| field.name.as_bytes() == &*key) {
                Some(field) => read_field(cursor, field, rows, unit, depth + 1)?,
                None => cursor.skip_value(depth + 1)?,
            }
            if !cursor.another(b'}')? {
                break;
            }
        }
    }
    for field in fields {
        if let Some(reason) = field.fault {
            return Err(Fault::Value(reason));
        }
        if field.column.len() == rows {
            field.column.push_null();
        }
    }
    Ok(())
}

/// A bad value is only noted: an equal key may follow, and the last one counts.
fn read_field(
    cursor: &mut Cursor<'_>,
    field: &mut FieldBuilder,
    rows: usize,
    unit: Option<TimestampUnit>,
    depth: usize,
) -> Result<(), Fault> {
    field.column.truncate(rows);
    field.fault = None;
    let start = cursor.position();
    match read_value(cursor, &mut field.column, unit, depth) {
        Err(Fault::Value(reason)) => {
            field.fault = Some(reason);
            field.column.truncate(rows);
            cursor.go_to(start);
            cursor.skip_value(depth)
        }
        other => other,
    }
}
