//! One column of a CREATE STREAM: name, type, and options in any order.

use datafusion_sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::column_type;
use super::definition::{ColumnDefinition, OriginDefinition, Spanned};
use super::problem::Problem;
use super::query_text::{Names, parse_expression};
use super::suggest::nearest;
use super::tokens::{Cursor, Parsed, is_word};
use crate::event::Metadata;

const METADATA_HELP: &str = "metadata are 'timestamp', 'key', 'partition', 'offset' and 'header:name'";
const OPTIONS_HELP: &str =
    "behind the type stand NOT NULL, FROM 'path.in.the.message', FROM METADATA '…' or AS expression, in any order";

/// Takes one column up to the `,` behind it; `names` are the columns before it.
pub(super) fn parse(cursor: &mut Cursor<'_>, names: &Names) -> Parsed<ColumnDefinition> {
    let name = cursor.name("the name of a column, or WATERMARK FOR", "write name TYPE, …")?;
    if cursor.is_at_end() || cursor.peek() == Some(&Token::Comma) {
        return Err(Problem::new(name.span, format!("the column `{}` has no type", name.value), "write name TYPE"));
    }
    let column_type = column_type::parse(cursor)?;
    let mut required = None;
    let mut origin = None;
    while !cursor.is_at_end() && cursor.peek() != Some(&Token::Comma) {
        let start = cursor.span();
        if cursor.eat_words(&["NOT", "NULL"]) {
            refuse_second(required.replace(true), start, "NOT NULL or NULL")?;
        } else if cursor.eat_words(&["NULL"]) {
            refuse_second(required.replace(false), start, "NOT NULL or NULL")?;
        } else if cursor.eat_words(&["FROM"]) {
            let parsed = parse_from(cursor)?;
            refuse_second(origin.replace(parsed), start, "FROM or AS")?;
        } else if cursor.eat_words(&["AS"]) {
            let parsed = parse_computed(cursor, names)?;
            refuse_second(origin.replace(parsed), start, "FROM or AS")?;
        } else {
            return Err(unknown_option(cursor));
        }
    }
    // By default the message's field is looked up by the name as it is written.
    let origin = origin.unwrap_or_else(|| OriginDefinition::Path(vec![name.value.clone()]));
    Ok(ColumnDefinition { name, column_type, required: required.unwrap_or(false), origin })
}

fn refuse_second<T>(first: Option<T>, span: Span, what: &str) -> Parsed<()> {
    match first {
        Some(_) => Err(Problem::new(span, format!("the column has {what} twice"), "leave out one of them")),
        None => Ok(()),
    }
}

/// Behind `FROM`: a path or metadata.
fn parse_from(cursor: &mut Cursor<'_>) -> Parsed<OriginDefinition> {
    if !cursor.eat_words(&["METADATA"]) {
        let path = cursor.text("a path in the message", "write FROM 'outer.inner' or FROM METADATA 'key'")?;
        let parts: Vec<String> = path.value.split('.').map(str::to_owned).collect();
        if parts.iter().any(String::is_empty) {
            let message = format!("the path `{}` has an empty part", path.value);
            return Err(Problem::new(path.span, message, "write FROM 'outer.inner', without `$.`"));
        }
        return Ok(OriginDefinition::Path(parts));
    }
    let name = cursor.text("which metadata", METADATA_HELP)?;
    let metadata = match name.value.as_str() {
        "timestamp" => Metadata::Timestamp,
        "key" => Metadata::Key,
        "partition" => Metadata::Partition,
        "offset" => Metadata::Offset,
        other => match other.strip_prefix("header:") {
            Some(header) if !header.is_empty() => Metadata::Header(header.to_owned()),
            _ => {
                let known = ["timestamp", "key", "partition", "offset", "header:name"];
                let guess = nearest(other, known).map(|known| format!("did you mean '{known}'?"));
                let help = guess.unwrap_or_else(|| METADATA_HELP.to_owned());
                return Err(Problem::new(name.span, format!("unknown metadata '{other}'"), help));
            }
        },
    };
    Ok(OriginDefinition::Metadata(Spanned { value: metadata, span: name.span }))
}

/// Behind `AS`: an expression, which ends at the next column or at an option.
fn parse_computed(cursor: &mut Cursor<'_>, names: &Names) -> Parsed<OriginDefinition> {
    let start = cursor.span();
    let tokens = cursor.take_until(ends_expression);
    if tokens.is_empty() {
        return Err(cursor.unexpected("an expression", "write name TYPE AS expression, over columns of the message"));
    }
    let expression = parse_expression(tokens, cursor.span().start, names)?;
    Ok(OriginDefinition::Computed(Box::new(Spanned { value: expression, span: cursor.span_since(start) })))
}

/// A comma, `NOT NULL` that isn't `IS NOT NULL`, `FROM` that isn't `IS DISTINCT FROM`.
fn ends_expression(tokens: &[TokenWithSpan], index: usize) -> bool {
    let token = &tokens[index].token;
    let before = index.checked_sub(1).map(|before| &tokens[before].token);
    let next = tokens.get(index + 1).map(|next| &next.token);
    *token == Token::Comma
        || (is_word(token, "NOT")
            && next.is_some_and(|next| is_word(next, "NULL"))
            && !before.is_some_and(|before| is_word(before, "IS")))
        || (is_word(token, "FROM") && !before.is_some_and(|before| is_word(before, "DISTINCT")))
}

fn unknown_option(cursor: &Cursor<'_>) -> Problem {
    let is = |words: &[&str]| words.iter().any(|word| cursor.at_words(&[word]));
    if is(&["PRIMARY", "UNIQUE", "REFERENCES"]) {
        let message = "streams have no keys: a record is known by its position in the log";
        return Problem::new(cursor.span(), message, "leave it out");
    }
    if is(&["DEFAULT"]) {
        let message = "columns have no defaults: a field that is missing is null";
        return Problem::new(cursor.span(), message, "declare a second column: name TYPE AS coalesce(column, value)");
    }
    if is(&["GENERATED"]) {
        let help = "write name TYPE AS expression";
        return Problem::new(cursor.span(), "computed columns are written shorter here", help);
    }
    if is(&["METADATA"]) {
        return Problem::new(cursor.span(), "FROM is missing before METADATA", "write FROM METADATA 'timestamp'");
    }
    if is(&["WATERMARK"]) || matches!(cursor.peek(), Some(Token::Word(_))) && begins_column(cursor) {
        return Problem::new(cursor.span(), "a comma is missing before this", "columns stand apart by commas");
    }
    cursor.unexpected("an option of the column or `,`", OPTIONS_HELP)
}

/// Whether a name and a type stand here: most likely the next column.
fn begins_column(cursor: &Cursor<'_>) -> bool {
    let mut ahead = cursor.clone();
    ahead.advance();
    !ahead.is_at_end() && column_type::parse(&mut ahead).is_ok()
}
