//! What stands in the brackets of each window function. To add one: its line in [`FUNCTIONS`] with a help and a parse
//! function, and its variant of [`WindowFunction`].

use datafusion_sql::sqlparser::tokenizer::Token;

use super::by_data::{parse_count, parse_session, parse_sliding};
use crate::job::definition::{PartitionTokens, Spanned, WindowFunction};
use crate::job::interval;
use crate::job::problem::Problem;
use crate::job::tokens::{Cursor, Parsed};

/// A window function of SQL.
#[derive(Debug)]
pub(super) struct Function {
    /// Its name, in upper case.
    pub(super) name: &'static str,
    /// How it is written.
    pub(super) help: &'static str,
    /// Reads what stands in its brackets, up to their end; none while it isn't supported.
    pub(super) parse: Option<fn(&mut Cursor<'_>, &Function) -> Parsed<Arguments>>,
}

/// What stood in the brackets.
pub(super) struct Arguments {
    pub(super) stream: Spanned<String>,
    pub(super) partition_by: Vec<PartitionTokens>,
    pub(super) time: Spanned<String>,
    pub(super) function: WindowFunction,
}

/// All window functions.
pub(super) static FUNCTIONS: [Function; 6] = [
    Function {
        name: "TUMBLE",
        help: "write TUMBLE(stream, event_time, INTERVAL '1 minute'), with an offset of the windows' edges as a fourth argument if wanted",
        parse: Some(parse_tumble),
    },
    Function { name: "HOP", help: "", parse: None },
    Function { name: "CUMULATE", help: "", parse: None },
    Function {
        name: "SLIDING",
        help: "write SLIDING(stream PARTITION BY key, event_time, INTERVAL '1 hour')",
        parse: Some(parse_sliding),
    },
    Function {
        name: "SESSION",
        help: "write SESSION(stream PARTITION BY key, event_time, INTERVAL '30 minutes')",
        parse: Some(parse_session),
    },
    Function {
        name: "COUNT_WINDOW",
        help: "write COUNT_WINDOW(stream PARTITION BY key, event_time, 10, TIMEOUT INTERVAL '1 hour')",
        parse: Some(parse_count),
    },
];

fn parse_tumble(inner: &mut Cursor<'_>, tumble: &Function) -> Parsed<Arguments> {
    let (stream, time) = parse_input(inner, tumble)?;
    inner.expect(&Token::Comma, tumble.help)?;
    refuse_named_argument(inner, tumble)?;
    let size = interval::parse_positive(inner, "the size of a window")?;
    let mut offset = None;
    if inner.eat(&Token::Comma) {
        refuse_time_zone(inner)?;
        offset = Some(interval::parse_any(inner)?);
    }
    refuse_time_zone(inner)?;
    Ok(Arguments { stream, partition_by: Vec::new(), time, function: WindowFunction::Tumble { size, offset } })
}

/// The two arguments that every function begins with.
fn parse_input(inner: &mut Cursor<'_>, function: &Function) -> Parsed<(Spanned<String>, Spanned<String>)> {
    refuse_named_argument(inner, function)?;
    let stream = parse_stream(inner, function)?;
    if inner.at_words(&["PARTITION", "BY"]) {
        let help = "leave it out and GROUP BY the column: windows of fixed length are the same for all keys";
        return Err(Problem::new(inner.span(), format!("{} takes no PARTITION BY", function.name), help));
    }
    inner.expect(&Token::Comma, function.help)?;
    let time = parse_time(inner, &stream.value, function)?;
    Ok((stream, time))
}

pub(super) fn refuse_named_argument(inner: &Cursor<'_>, function: &Function) -> Parsed<()> {
    if inner.peek_at(1) == Some(&Token::RArrow) {
        return Err(Problem::new(inner.span(), "named arguments are not supported", function.help));
    }
    Ok(())
}

fn refuse_time_zone(inner: &mut Cursor<'_>) -> Parsed<()> {
    let start = inner.span();
    if inner.eat_words(&["TIME", "ZONE"]) || inner.eat_words(&["TIMEZONE"]) {
        inner.advance();
        let help = "windows are aligned to UTC; the fourth argument moves them: INTERVAL '-8' HOUR";
        return Err(Problem::new(inner.span_since(start), "TIME ZONE is not supported yet", help));
    }
    Ok(())
}

/// `stream` or `TABLE stream`.
pub(super) fn parse_stream(inner: &mut Cursor<'_>, function: &Function) -> Parsed<Spanned<String>> {
    if inner.peek() == Some(&Token::LParen) || inner.at_words(&["SELECT"]) {
        let help = "name a stream here; a WHERE behind the window does the same, it goes before the window";
        return Err(Problem::new(inner.span(), "a query as a window's input is not supported yet", help));
    }
    if inner.at_words(&["TABLE"]) && inner.peek_at(1) != Some(&Token::Comma) {
        inner.advance();
    }
    inner.name("the name of a stream", function.help)
}

/// `column`, `stream.column` or `DESCRIPTOR(column)`.
pub(super) fn parse_time(inner: &mut Cursor<'_>, stream: &str, function: &Function) -> Parsed<Spanned<String>> {
    const WHAT: &str = "the event-time column";
    if inner.at_words(&["DESCRIPTOR"]) && inner.peek_at(1) == Some(&Token::LParen) {
        inner.advance();
        let descriptor = inner.parenthesized(function.help)?;
        let mut column = descriptor.value;
        let time = column.name(WHAT, function.help)?;
        if !column.is_at_end() {
            return Err(column.unexpected("`)`", function.help));
        }
        return Ok(time);
    }
    let start = inner.span();
    let mut time = inner.name(WHAT, function.help)?;
    if inner.peek() == Some(&Token::Period) && time.value == stream {
        inner.advance();
        time = inner.name(WHAT, function.help)?;
    }
    if inner.peek() != Some(&Token::Comma) && !inner.is_at_end() {
        let message = "windows go by the stream's event-time column, unchanged";
        let help = "declare the time that you mean as a column, `t TIMESTAMP NOT NULL AS …`, with WATERMARK FOR t";
        return Err(Problem::new(inner.span_since(start), message, help));
    }
    Ok(time)
}
