//! What a message has beside its declared columns, as one JSON object: the fields in their order, values as they are
//! written, white space left out.
//!
//! Invariant: a column declared later, whose path lies neither on, in nor around a declared one, reads the same value from
//! this text as from the message: where equal keys stand in an object, the last one counts in both.

use arrow::array::ArrayRef;

use super::cursor::{Cursor, Fault, unescape};
use super::record::Origins;
use crate::decode::column::{ColumnBuilder, Values};
use crate::event::ColumnType;

/// Collects the rest of records, row by row.
#[derive(Debug)]
pub(in crate::decode) struct RestReader {
    declared: Vec<Declared>,
    column: ColumnBuilder,
    /// The text of the record being read.
    text: Vec<u8>,
}

/// A field on the path of a declared column.
#[derive(Debug)]
struct Declared {
    name: String,
    /// A column takes all of it.
    whole: bool,
    /// Columns take these fields of it.
    inside: Vec<Declared>,
}

impl RestReader {
    /// A reader of what the columns of `origins` leave.
    pub(in crate::decode) fn new(origins: &Origins<'_>) -> RestReader {
        let mut declared = Vec::new();
        for (_, path) in &origins.columns {
            add(&mut declared, path);
        }
        RestReader { declared, column: ColumnBuilder::new(&ColumnType::Text), text: Vec::new() }
    }

    /// Adds the rest of a record, which is known to be an object that a stream takes.
    pub(in crate::decode) fn read(&mut self, bytes: &[u8], start: usize, end: usize) {
        let mut cursor = Cursor::new(bytes, start, end);
        self.text.clear();
        cursor.skip_space();
        let copied = copy_rest(&mut cursor, &self.declared, 0, &mut self.text);
        copied.expect("the record was read before, so it is an object");
        match (&mut self.column.values, self.text.as_slice()) {
            (_, b"{}") => self.column.push_null(),
            (Values::Text(values), text) => values.push(text),
            _ => unreachable!("the column was made for TEXT"),
        }
    }

    /// Takes the rows as an array and begins anew.
    pub(in crate::decode) fn finish(&mut self) -> ArrayRef {
        self.column.finish()
    }
}

fn add(declared: &mut Vec<Declared>, path: &[String]) {
    let Some((name, rest)) = path.split_first() else { return };
    let index = declared.iter().position(|field| field.name == *name).unwrap_or_else(|| {
        declared.push(Declared { name: name.clone(), whole: false, inside: Vec::new() });
        declared.len() - 1
    });
    match rest {
        [] => declared[index].whole = true,
        rest => add(&mut declared[index].inside, rest),
    }
}

/// Copies the object at the cursor, which `depth` others are around, without what is declared.
fn copy_rest(cursor: &mut Cursor<'_>, declared: &[Declared], depth: usize, text: &mut Vec<u8>) -> Result<(), Fault> {
    text.push(b'{');
    let empty = text.len();
    // Partly declared fields that have left something: an equal key behind them counts instead, even if it leaves nothing.
    let mut left: Vec<&str> = Vec::new();
    cursor.open(b'{', depth)?;
    if !cursor.take(b'}') {
        loop {
            let start = cursor.position();
            let key = cursor.string()?;
            let written = cursor.since(start);
            let mut plain = Vec::new();
            unescape(key.bytes, |piece| plain.extend_from_slice(piece))?;
            cursor.colon()?;
            let field = declared.iter().find(|field| field.name.as_bytes() == plain);
            let before = text.len();
            if before > empty {
                text.push(b',');
            }
            text.extend_from_slice(written);
            text.push(b':');
            match field {
                Some(field) if field.whole => {
                    cursor.skip_value(depth + 1)?;
                    text.truncate(before);
                }
                Some(field) => {
                    let value = text.len();
                    match cursor.peek() {
                        Some(b'{') => copy_rest(cursor, &field.inside, depth + 1, text)?,
                        _ => copy_value(cursor, depth + 1, text)?,
                    }
                    let nothing = matches!(&text[value..], b"{}" | b"null");
                    if nothing && !left.contains(&field.name.as_str()) {
                        text.truncate(before);
                    } else {
                        left.push(&field.name);
                    }
                }
                None => copy_value(cursor, depth + 1, text)?,
            }
            if !cursor.another(b'}')? {
                break;
            }
        }
    }
    text.push(b'}');
    Ok(())
}

/// Copies any value as it is written, without the white space between its parts.
fn copy_value(cursor: &mut Cursor<'_>, depth: usize, text: &mut Vec<u8>) -> Result<(), Fault> {
    let start = cursor.position();
    cursor.skip_value(depth)?;
    let (mut in_string, mut escaped) = (false, false);
    for &byte in cursor.since(start) {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else if matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
            continue;
        } else {
            in_string = byte == b'"';
        }
        text.push(byte);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray};

    use super::*;
    use crate::event::{Column, Origin};

    /// What columns on `paths` leave of `message`.
    fn rest(paths: &[&str], message: &str) -> Option<String> {
        let columns: Vec<(Column, Vec<String>)> = paths
            .iter()
            .map(|path| {
                let path: Vec<String> = path.split('.').map(str::to_owned).collect();
                let name = path.join("_");
                let origin = Origin::Path(path.clone());
                (Column { name, column_type: ColumnType::Text, required: false, origin }, path)
            })
            .collect();
        let columns = columns.iter().map(|(column, path)| (column, path.as_slice())).collect();
        let mut reader = RestReader::new(&Origins { columns, unit: None });
        reader.read(message.as_bytes(), 0, message.len());
        let array = reader.finish();
        let text = array.as_string::<i32>();
        text.is_valid(0).then(|| text.value(0).to_owned())
    }

    #[test]
    fn fields_keep_their_order_and_values_their_writing() {
        for (message, left) in [
            (r#"{"a":1}"#, None),
            ("{}", None),
            (
                r#" { "z" : 1.50e3 , "a" : 2, "b": [ 1 , {"x y" : null } ] } "#,
                Some(r#"{"z":1.50e3,"b":[1,{"x y":null}]}"#),
            ),
            (r#"{"a":1,"é":"\u00e9 \" \\","c":null}"#, Some(r#"{"é":"\u00e9 \" \\","c":null}"#)),
            (r#"{"\u0061":1,"b":2}"#, Some(r#"{"b":2}"#)),
            (r#"{"b":1,"b":2}"#, Some(r#"{"b":1,"b":2}"#)),
        ] {
            assert_eq!(rest(&["a"], message).as_deref(), left, "{message}");
        }
    }

    #[test]
    fn of_partly_declared_objects_the_other_fields_stay() {
        for (message, left) in [
            (r#"{"o":{"a":1}}"#, None),
            (r#"{"o":null}"#, None),
            (r#"{"o":{"a":1,"b":2},"p":3}"#, Some(r#"{"o":{"b":2},"p":3}"#)),
            // The last of equal keys counts, also where it leaves nothing.
            (r#"{"o":{"b":2},"o":{"a":1}}"#, Some(r#"{"o":{"b":2},"o":{}}"#)),
            (r#"{"o":{"b":2},"o":null}"#, Some(r#"{"o":{"b":2},"o":null}"#)),
            (r#"{"o":{"a":1},"o":{"b":2}}"#, Some(r#"{"o":{"b":2}}"#)),
        ] {
            assert_eq!(rest(&["o.a"], message).as_deref(), left, "{message}");
        }
        assert_eq!(rest(&["o", "o.a"], r#"{"o":{"b":2}}"#), None);
    }
}
