//! The types that columns are declared with, as job files write them.

use datafusion_sql::sqlparser::tokenizer::{Span, Token, Word};

use super::definition::Spanned;
use super::problem::Problem;
use super::suggest::nearest;
use super::tokens::{Cursor, Parsed};
use crate::event::{ColumnType, FieldType};

/// Digits that a DECIMAL may have: what 128 bits hold.
const DECIMAL_PRECISION_MAX: u32 = 38;

/// Arrays and structs inside each other; deeper ones are a mistake, and recursion has to end somewhere.
const DEPTH_MAX: usize = 16;

const TYPES: &str = "types are BOOLEAN, INT, BIGINT, FLOAT, DOUBLE, DECIMAL(p, s), TEXT, BYTES, DATE, TIMESTAMP, UUID, type[], STRUCT<name type, …>";

const KNOWN: [&str; 12] =
    ["BOOLEAN", "INT", "BIGINT", "FLOAT", "DOUBLE", "DECIMAL", "TEXT", "BYTES", "DATE", "TIMESTAMP", "UUID", "STRUCT"];

/// Takes a type.
pub(super) fn parse(cursor: &mut Cursor<'_>) -> Parsed<Spanned<ColumnType>> {
    let start = cursor.span();
    let column_type = parse_nested(cursor, 0)?;
    Ok(Spanned { value: column_type, span: cursor.span_since(start) })
}

fn parse_nested(cursor: &mut Cursor<'_>, depth: usize) -> Parsed<ColumnType> {
    let start = cursor.span();
    if depth > DEPTH_MAX {
        return Err(Problem::new(
            start,
            "types are nested too deeply",
            "flatten the type, or declare the column as TEXT",
        ));
    }
    let name = match cursor.peek() {
        Some(Token::Word(Word { value, quote_style: None, .. })) => value.to_ascii_uppercase(),
        _ => return Err(cursor.unexpected("a type", TYPES)),
    };
    cursor.advance();
    let mut column_type = match name.as_str() {
        "BOOLEAN" | "BOOL" => ColumnType::Boolean,
        "INT" | "INTEGER" | "INT4" => ColumnType::Int,
        "BIGINT" | "INT8" => ColumnType::BigInt,
        "FLOAT" | "REAL" | "FLOAT4" => ColumnType::Float,
        "DOUBLE" => {
            cursor.eat_words(&["PRECISION"]);
            ColumnType::Double
        }
        "FLOAT8" => ColumnType::Double,
        "DECIMAL" | "NUMERIC" | "DEC" => decimal(cursor)?,
        "TEXT" | "STRING" | "VARCHAR" | "CHAR" | "CHARACTER" => text(cursor, start)?,
        "BYTES" | "BYTEA" => ColumnType::Bytes,
        "DATE" => ColumnType::Date,
        "TIMESTAMP" => timestamp(cursor)?,
        "UUID" => ColumnType::Uuid,
        "ARRAY" => array(cursor, depth)?,
        "STRUCT" => structure(cursor, depth)?,
        _ => return Err(unknown(&name, cursor.span_since(start))),
    };
    loop {
        if cursor.eat(&Token::LBracket) {
            cursor.expect(&Token::RBracket, "arrays have no fixed length: write type[]")?;
        } else if !cursor.eat_words(&["ARRAY"]) {
            return Ok(column_type);
        }
        column_type = ColumnType::Array(Box::new(column_type));
    }
}

fn decimal(cursor: &mut Cursor<'_>) -> Parsed<ColumnType> {
    const HELP: &str = "write DECIMAL(precision, scale), as in DECIMAL(18, 2)";
    let start = cursor.span();
    cursor.expect(&Token::LParen, HELP)?;
    let precision = cursor.whole_number("the number of digits", HELP)?;
    let scale = match cursor.eat(&Token::Comma) {
        true => cursor.whole_number("the number of digits behind the point", HELP)?.value,
        false => 0,
    };
    cursor.expect(&Token::RParen, HELP)?;
    if precision.value == 0 || precision.value > DECIMAL_PRECISION_MAX || scale > precision.value {
        let message = format!("DECIMAL({}, {scale}) doesn't exist", precision.value);
        let help = "the precision is 1 to 38, the scale 0 to the precision";
        return Err(Problem::new(cursor.span_since(start), message, help));
    }
    let narrow = "both are at most 38";
    Ok(ColumnType::Decimal {
        precision: u8::try_from(precision.value).expect(narrow),
        scale: i8::try_from(scale).expect(narrow),
    })
}

fn text(cursor: &mut Cursor<'_>, start: Span) -> Parsed<ColumnType> {
    cursor.eat_words(&["VARYING"]);
    if cursor.peek() == Some(&Token::LParen) {
        let length = cursor.parenthesized("")?;
        let message = "texts have no greatest length here, so it would never be checked";
        return Err(Problem::new(start.union(&length.span), message, "write TEXT"));
    }
    Ok(ColumnType::Text)
}

fn timestamp(cursor: &mut Cursor<'_>) -> Parsed<ColumnType> {
    const HELP: &str = "write TIMESTAMP: an instant in UTC with microseconds; local times become one on reading";
    let start = cursor.span();
    if cursor.peek() == Some(&Token::LParen) {
        let digits = cursor.parenthesized(HELP)?;
        return Err(Problem::new(digits.span, "a TIMESTAMP always has microseconds, its digits can't be chosen", HELP));
    }
    if cursor.eat_words(&["WITH", "TIME", "ZONE"]) || cursor.eat_words(&["WITHOUT", "TIME", "ZONE"]) {
        return Err(Problem::new(cursor.span_since(start), "a TIMESTAMP has no time zone of its own", HELP));
    }
    Ok(ColumnType::Timestamp)
}

fn array(cursor: &mut Cursor<'_>, depth: usize) -> Parsed<ColumnType> {
    const HELP: &str = "write ARRAY<type> or type[]";
    cursor.expect(&Token::Lt, HELP)?;
    let item = parse_nested(cursor, depth + 1)?;
    closing_angle(cursor, HELP)?;
    Ok(ColumnType::Array(Box::new(item)))
}

fn structure(cursor: &mut Cursor<'_>, depth: usize) -> Parsed<ColumnType> {
    const HELP: &str = "write STRUCT<name type, name type>";
    cursor.expect(&Token::Lt, HELP)?;
    let mut fields: Vec<FieldType> = Vec::new();
    loop {
        let name = cursor.name("the name of a field", HELP)?;
        if cursor.peek() == Some(&Token::Colon) {
            return Err(cursor.unexpected("the field's type", "no colon here: write STRUCT<name type, name type>"));
        }
        let column_type = parse_nested(cursor, depth + 1)?;
        if fields.iter().any(|field| field.name.eq_ignore_ascii_case(&name.value)) {
            let message = format!("the struct has two fields named `{}`", name.value);
            return Err(Problem::new(name.span, message, "names of fields differ by more than their case"));
        }
        fields.push(FieldType { name: name.value, column_type });
        if !cursor.eat(&Token::Comma) {
            break;
        }
    }
    closing_angle(cursor, HELP)?;
    Ok(ColumnType::Struct(fields))
}

fn closing_angle(cursor: &mut Cursor<'_>, help: &str) -> Parsed<()> {
    if cursor.eat_closing_angle() { Ok(()) } else { Err(cursor.unexpected("`>`", help)) }
}

fn unknown(name: &str, span: Span) -> Problem {
    let help = match name {
        "SMALLINT" | "TINYINT" | "INT2" | "SHORT" | "BYTE" => "write INT".into(),
        "LONG" | "INT64" | "SERIAL" | "BIGSERIAL" | "UNSIGNED" => "write BIGINT".into(),
        "INT32" => "write INT".into(),
        "FLOAT32" => "write FLOAT".into(),
        "FLOAT64" => "write DOUBLE".into(),
        "JSON" | "JSONB" | "VARIANT" => {
            "declare the fields that the job needs: a STRUCT<…>, or columns with FROM 'path.in.the.message'".into()
        }
        "MAP" => "declare the keys that the job needs as STRUCT<name type, …>".into(),
        "ROW" => "write STRUCT<name type, name type>".into(),
        "TIMESTAMPTZ" | "TIMESTAMP_LTZ" | "DATETIME" | "TIMESTAMP_NTZ" => "write TIMESTAMP: an instant in UTC".into(),
        "TIME" => "write TEXT, or TIMESTAMP if it is an instant".into(),
        "BINARY" | "VARBINARY" | "BLOB" => "write BYTES".into(),
        "ENUM" => "write TEXT".into(),
        _ => match nearest(name, KNOWN) {
            Some(known) => format!("did you mean {known}?"),
            None => TYPES.into(),
        },
    };
    Problem::new(span, format!("unknown type `{name}`"), help)
}
