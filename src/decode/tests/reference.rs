//! The slow decoder: parses a message to a tree, keeps numbers as they are written, and looks columns up one by one.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType,
};
use base64::Engine;

use crate::event::{Column, ColumnType, Origin, RejectReason, Stream};

/// A value in any column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cell {
    Null,
    Boolean(bool),
    Integer(i128),
    Single(u32),
    Double(u64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Cell>),
}

#[derive(Clone, Debug)]
enum Tree {
    Null,
    Boolean(bool),
    Number(String),
    Text(String),
    List(Vec<Tree>),
    /// Of equal keys only the last is in here.
    Object(Vec<(String, Tree)>),
}

/// The first columns of a batch, row by row.
pub(super) fn cells(batch: &RecordBatch, columns: usize) -> Vec<Vec<Cell>> {
    (0..batch.num_rows()).map(|row| (0..columns).map(|index| cell(batch.column(index), row)).collect()).collect()
}

fn cell(array: &dyn Array, row: usize) -> Cell {
    if array.is_null(row) {
        return Cell::Null;
    }
    match array.data_type() {
        DataType::Boolean => Cell::Boolean(array.as_boolean().value(row)),
        DataType::Int32 => Cell::Integer(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => Cell::Integer(array.as_primitive::<Int64Type>().value(row).into()),
        DataType::Float32 => Cell::Single(array.as_primitive::<Float32Type>().value(row).to_bits()),
        DataType::Float64 => Cell::Double(array.as_primitive::<Float64Type>().value(row).to_bits()),
        DataType::Decimal128(..) => Cell::Integer(array.as_primitive::<Decimal128Type>().value(row)),
        DataType::Utf8 => Cell::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::Binary => Cell::Bytes(array.as_binary::<i32>().value(row).to_vec()),
        DataType::Date32 => Cell::Integer(array.as_primitive::<Date32Type>().value(row).into()),
        DataType::Timestamp(..) => Cell::Integer(array.as_primitive::<TimestampMicrosecondType>().value(row).into()),
        DataType::FixedSizeBinary(16) => Cell::Bytes(array.as_fixed_size_binary().value(row).to_vec()),
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            Cell::List((0..items.len()).map(|index| cell(&items, index)).collect())
        }
        DataType::Struct(_) => Cell::List(array.as_struct().columns().iter().map(|field| cell(field, row)).collect()),
        other => panic!("no declared type is {other}"),
    }
}

/// The columns of one message, or why it is rejected.
pub(super) fn decode(stream: &Stream, message: &[u8]) -> Result<Vec<Cell>, RejectReason> {
    if message.is_empty() {
        return Err(RejectReason::Empty);
    }
    let text = std::str::from_utf8(message).map_err(|_| RejectReason::Undecodable)?;
    let tree = parse(text).ok_or(RejectReason::Undecodable)?;
    let Tree::Object(_) = &tree else { return Err(RejectReason::Undecodable) };
    let cells: Result<Vec<Cell>, ()> = stream.columns.iter().map(|column| value(column, &tree)).collect();
    let cells = cells.map_err(|()| RejectReason::BadValue)?;
    let null = |(column, cell): (&Column, &Cell)| column.required && *cell == Cell::Null;
    if stream.columns.iter().zip(&cells).any(null) { Err(RejectReason::Null) } else { Ok(cells) }
}

fn value(column: &Column, message: &Tree) -> Result<Cell, ()> {
    let Origin::Path(path) = &column.origin else { panic!("the reference knows paths only") };
    let mut tree = message;
    for part in path {
        tree = match tree {
            Tree::Object(fields) => match fields.iter().find(|(name, _)| name == part) {
                Some((_, tree)) => tree,
                None => return Ok(Cell::Null),
            },
            Tree::Null => return Ok(Cell::Null),
            _ => return Err(()),
        };
    }
    convert(tree, &column.column_type)
}

fn convert(tree: &Tree, column_type: &ColumnType) -> Result<Cell, ()> {
    Ok(match (column_type, tree) {
        (_, Tree::Null) => Cell::Null,
        (ColumnType::Boolean, Tree::Boolean(value)) => Cell::Boolean(*value),
        (ColumnType::Int, Tree::Number(text)) => Cell::Integer(i32::try_from(shifted(text, 0)?).map_err(drop)?.into()),
        (ColumnType::BigInt, Tree::Number(text)) => {
            Cell::Integer(i64::try_from(shifted(text, 0)?).map_err(drop)?.into())
        }
        (ColumnType::Float, Tree::Number(text)) => {
            let value: f32 = text.parse().map_err(drop)?;
            if value.is_finite() { Cell::Single(value.to_bits()) } else { return Err(()) }
        }
        (ColumnType::Double, Tree::Number(text)) => {
            let value: f64 = text.parse().map_err(drop)?;
            if value.is_finite() { Cell::Double(value.to_bits()) } else { return Err(()) }
        }
        (ColumnType::Decimal { precision, scale }, Tree::Number(text)) => {
            let value = shifted(text, i64::from(*scale))?;
            if value.unsigned_abs() < 10u128.pow((*precision).into()) { Cell::Integer(value) } else { return Err(()) }
        }
        (ColumnType::Text, Tree::Text(text)) => Cell::Text(text.clone()),
        (ColumnType::Bytes, Tree::Text(text)) => {
            Cell::Bytes(base64::engine::general_purpose::STANDARD.decode(text).map_err(drop)?)
        }
        (ColumnType::Date, Tree::Text(text)) => {
            let date = chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").map_err(drop)?;
            if date.format("%Y-%m-%d").to_string() == *text {
                Cell::Integer(date.to_epoch_days().into())
            } else {
                return Err(());
            }
        }
        (ColumnType::Timestamp, Tree::Text(text)) => Cell::Integer(instant(text)?.into()),
        (ColumnType::Timestamp, Tree::Number(text)) => {
            let value = i64::try_from(shifted(text, 0)?).map_err(drop)?;
            let factor = match value.unsigned_abs() {
                size if size < 10u64.pow(11) => 1_000_000,
                size if size < 10u64.pow(14) => 1_000,
                size if size < 10u64.pow(17) => 1,
                _ => return Err(()),
            };
            Cell::Integer(in_range(i128::from(value) * factor)?)
        }
        (ColumnType::Uuid, Tree::Text(text)) if text.len() == 36 => {
            Cell::Bytes(uuid::Uuid::parse_str(text).map_err(drop)?.as_bytes().to_vec())
        }
        (ColumnType::Array(item), Tree::List(items)) => {
            Cell::List(items.iter().map(|tree| convert(tree, item)).collect::<Result<_, _>>()?)
        }
        (ColumnType::Struct(types), Tree::Object(fields)) => {
            let field =
                |name: &str| fields.iter().find(|(other, _)| other == name).map_or(&Tree::Null, |(_, tree)| tree);
            Cell::List(
                types
                    .iter()
                    .map(|wanted| convert(field(&wanted.name), &wanted.column_type))
                    .collect::<Result<_, _>>()?,
            )
        }
        _ => return Err(()),
    })
}

fn in_range(micros: i128) -> Result<i128, ()> {
    let year = chrono::DateTime::from_timestamp_micros(i64::try_from(micros).map_err(drop)?).ok_or(())?;
    let year = chrono::Datelike::year(&year);
    if (1..=9999).contains(&year) { Ok(micros) } else { Err(()) }
}

fn instant(text: &str) -> Result<i64, ()> {
    let utc = match chrono::DateTime::parse_from_rfc3339(text) {
        Ok(time) => time.to_utc(),
        Err(_) => {
            let time = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").map_err(drop)?;
            // chrono takes single digits too.
            if !text.starts_with(&time.format("%Y-%m-%d %H:%M:%S").to_string()) {
                return Err(());
            }
            time.and_utc()
        }
    };
    let micros = utc.timestamp() * 1_000_000 + i64::from(utc.timestamp_subsec_nanos() / 1_000);
    in_range(micros.into()).map(|_| micros)
}

/// The number times 10^scale, digit by digit.
fn shifted(text: &str, scale: i64) -> Result<i128, ()> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i64 = exponent.parse().map_err(drop)?;
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or((1, mantissa), |rest| (-1, rest));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.chars().all(|digit| digit == '0') {
        return Ok(0);
    }
    let point = whole.len() as i64 + exponent + scale;
    let (digits, point) = if point < 0 {
        (format!("{}{digits}", "0".repeat(usize::try_from(-point).map_err(drop)?)), 0)
    } else {
        (digits, usize::try_from(point).map_err(drop)?)
    };
    let padded = format!("{digits}{}", "0".repeat(point.saturating_sub(digits.len())));
    let (whole, fraction) = padded.split_at(point);
    if fraction.chars().any(|digit| digit != '0') {
        return Err(());
    }
    let whole = whole.trim_start_matches('0');
    if whole.len() > 38 {
        return Err(());
    }
    Ok(sign * if whole.is_empty() { 0 } else { whole.parse::<i128>().map_err(drop)? })
}

/// The message as a tree, if it is JSON. `serde_json` says what JSON is; where it can't hold a number, the number is what
/// it is.
fn parse(text: &str) -> Option<Tree> {
    let mut characters: Vec<char> = text.chars().collect();
    characters.reverse();
    let tree = parse_value(&mut characters)?;
    space(&mut characters);
    let parsed = characters.is_empty().then_some(tree);
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(_) => assert!(parsed.is_some(), "serde_json reads {text}"),
        Err(error) if error.to_string().contains("number out of range") => {}
        Err(error) => assert!(parsed.is_none(), "serde_json doesn't read {text}: {error}"),
    }
    parsed
}

fn space(rest: &mut Vec<char>) {
    while let Some(' ' | '\n' | '\r' | '\t') = rest.last() {
        rest.pop();
    }
}

fn word(rest: &mut Vec<char>, word: &str) -> Option<()> {
    word.chars().all(|character| rest.pop() == Some(character)).then_some(())
}

fn parse_value(rest: &mut Vec<char>) -> Option<Tree> {
    space(rest);
    match rest.last()? {
        'n' => word(rest, "null").map(|()| Tree::Null),
        't' => word(rest, "true").map(|()| Tree::Boolean(true)),
        'f' => word(rest, "false").map(|()| Tree::Boolean(false)),
        '"' => parse_text(rest).map(Tree::Text),
        '[' => parse_list(rest).map(Tree::List),
        '{' => parse_object(rest).map(Tree::Object),
        _ => parse_number(rest).map(Tree::Number),
    }
}

fn parse_number(rest: &mut Vec<char>) -> Option<String> {
    let mut text = String::new();
    while let Some('-' | '+' | '.' | 'e' | 'E' | '0'..='9') = rest.last() {
        text.extend(rest.pop());
    }
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((&text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let whole = whole.strip_prefix('-').unwrap_or(whole);
    let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
    let all_digits = |digits: &str| !digits.is_empty() && digits.chars().all(|digit| digit.is_ascii_digit());
    let good = [whole, fraction, exponent].into_iter().all(all_digits) && (whole == "0" || !whole.starts_with('0'));
    good.then_some(text)
}

fn parse_text(rest: &mut Vec<char>) -> Option<String> {
    word(rest, "\"")?;
    let mut quoted = String::from("\"");
    loop {
        let character = rest.pop()?;
        quoted.push(character);
        match character {
            '"' => return serde_json::from_str(&quoted).ok(),
            '\\' => quoted.push(rest.pop()?),
            _ => {}
        }
    }
}

fn parse_list(rest: &mut Vec<char>) -> Option<Vec<Tree>> {
    word(rest, "[")?;
    space(rest);
    let mut items = Vec::new();
    if rest.last() == Some(&']') {
        rest.pop();
        return Some(items);
    }
    loop {
        items.push(parse_value(rest)?);
        space(rest);
        match rest.pop()? {
            ',' => {}
            ']' => return Some(items),
            _ => return None,
        }
    }
}

fn parse_object(rest: &mut Vec<char>) -> Option<Vec<(String, Tree)>> {
    word(rest, "{")?;
    space(rest);
    let mut fields: Vec<(String, Tree)> = Vec::new();
    if rest.last() == Some(&'}') {
        rest.pop();
        return Some(fields);
    }
    loop {
        space(rest);
        let name = parse_text(rest)?;
        space(rest);
        word(rest, ":")?;
        let value = parse_value(rest)?;
        fields.retain(|(other, _)| *other != name);
        fields.push((name, value));
        space(rest);
        match rest.pop()? {
            ',' => {}
            '}' => return Some(fields),
            _ => return None,
        }
    }
}
