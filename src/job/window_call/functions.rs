//! What stands in the brackets of each window function. To add one: its line in [`FUNCTIONS`] with a help and a parse
//! function, and its variant of [`WindowFunction`].

use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::by_data::{parse_count, parse_session, parse_sliding};
use crate::event::Micros;
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
    pub(super) input: InputTokens,
    pub(super) partition_by: Vec<PartitionTokens>,
    pub(super) time: Spanned<String>,
    pub(super) function: WindowFunction,
}

/// What a window function makes windows of, unread.
pub(super) enum InputTokens {
    /// A stream, a view or a query of WITH.
    Named(Spanned<String>),
    /// What stood in the brackets.
    Query(Spanned<Vec<TokenWithSpan>>),
}

impl InputTokens {
    /// Its name, if it has one.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            InputTokens::Named(name) => Some(&name.value),
            InputTokens::Query(_) => None,
        }
    }
}

/// All window functions.
pub(super) static FUNCTIONS: [Function; 6] = [
    Function {
        name: "TUMBLE",
        help: "write TUMBLE(stream, event_time, INTERVAL '1 minute'), with an offset of the windows' edges as a fourth argument if wanted, and TIME ZONE 'Area/City' last for days, months and years",
        parse: Some(parse_tumble),
    },
    Function {
        name: "HOP",
        help: "write HOP(stream, event_time, slide, size): HOP(s, t, INTERVAL '1 minute', INTERVAL '1 hour'), with an offset of the windows' starts as a fifth argument if wanted",
        parse: Some(parse_hop),
    },
    Function {
        name: "CUMULATE",
        help: "write CUMULATE(stream, event_time, step, size): CUMULATE(s, t, INTERVAL '1 hour', INTERVAL '1 day'), with an offset of the windows' starts as a fifth argument if wanted",
        parse: Some(parse_cumulate),
    },
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
    let (input, time) = parse_input(inner, tumble)?;
    let size = parse_next(inner, tumble, |inner| interval::parse_positive_length(inner, "the size of a window"))?;
    let mut zone = parse_time_zone(inner, tumble)?;
    let mut offset = None;
    if zone.is_none() && inner.eat(&Token::Comma) {
        offset = Some(interval::parse_any(inner)?);
        zone = parse_time_zone(inner, tumble)?;
    }
    Ok(Arguments { input, partition_by: Vec::new(), time, function: WindowFunction::Tumble { size, offset, zone } })
}

fn parse_hop(inner: &mut Cursor<'_>, hop: &Function) -> Parsed<Arguments> {
    let (input, time) = parse_input(inner, hop)?;
    let slide = parse_next(inner, hop, |inner| interval::parse_positive(inner, "the slide of windows"))?;
    let size = parse_next(inner, hop, |inner| interval::parse_positive(inner, "the size of a window"))?;
    let offset = parse_offset(inner, hop)?;
    Ok(Arguments { input, partition_by: Vec::new(), time, function: WindowFunction::Hop { slide, size, offset } })
}

fn parse_cumulate(inner: &mut Cursor<'_>, cumulate: &Function) -> Parsed<Arguments> {
    let (input, time) = parse_input(inner, cumulate)?;
    let step = parse_next(inner, cumulate, |inner| interval::parse_positive(inner, "the step of windows"))?;
    let size = parse_next(inner, cumulate, |inner| interval::parse_positive(inner, "the size of a window"))?;
    let offset = parse_offset(inner, cumulate)?;
    Ok(Arguments { input, partition_by: Vec::new(), time, function: WindowFunction::Cumulate { step, size, offset } })
}

/// A comma, and what comes behind it.
fn parse_next<T>(
    inner: &mut Cursor<'_>,
    function: &Function,
    parse: impl FnOnce(&mut Cursor<'_>) -> Parsed<T>,
) -> Parsed<T> {
    inner.expect(&Token::Comma, function.help)?;
    refuse_named_argument(inner, function)?;
    parse(inner)
}

/// The offset of a function whose windows are of a fixed length.
fn parse_offset(inner: &mut Cursor<'_>, function: &Function) -> Parsed<Option<Spanned<Micros>>> {
    if let Some(zone) = parse_time_zone(inner, function)? {
        let message = format!("{} takes no TIME ZONE: its windows have a fixed length", function.name);
        let help = "leave it out; an offset moves the windows' edges: INTERVAL '-8' HOUR";
        return Err(Problem::new(zone.span, message, help));
    }
    if inner.eat(&Token::Comma) { interval::parse_any(inner).map(Some) } else { Ok(None) }
}

/// `[,] TIME ZONE 'Area/City'`, if it comes next.
fn parse_time_zone(inner: &mut Cursor<'_>, function: &Function) -> Parsed<Option<Spanned<String>>> {
    let mut ahead = inner.clone();
    ahead.eat(&Token::Comma);
    if !(ahead.eat_words(&["TIME", "ZONE"]) || ahead.eat_words(&["TIMEZONE"])) {
        return Ok(None);
    }
    *inner = ahead;
    inner.text("the name of a time zone in single quotes", function.help).map(Some)
}

/// The two arguments that every function begins with.
fn parse_input(inner: &mut Cursor<'_>, function: &Function) -> Parsed<(InputTokens, Spanned<String>)> {
    refuse_named_argument(inner, function)?;
    let input = parse_table(inner, function)?;
    if inner.at_words(&["PARTITION", "BY"]) {
        let help = "leave it out and GROUP BY the column: windows of fixed length are the same for all keys";
        return Err(Problem::new(inner.span(), format!("{} takes no PARTITION BY", function.name), help));
    }
    inner.expect(&Token::Comma, function.help)?;
    let time = parse_time(inner, input.name(), function)?;
    Ok((input, time))
}

pub(super) fn refuse_named_argument(inner: &Cursor<'_>, function: &Function) -> Parsed<()> {
    if inner.peek_at(1) == Some(&Token::RArrow) {
        return Err(Problem::new(inner.span(), "named arguments are not supported", function.help));
    }
    Ok(())
}

/// `stream`, `TABLE stream` or a query in brackets.
pub(super) fn parse_table(inner: &mut Cursor<'_>, function: &Function) -> Parsed<InputTokens> {
    if inner.at_words(&["SELECT"]) || inner.at_words(&["WITH"]) {
        let help = format!("write brackets around it: {}((SELECT …), …)", function.name);
        return Err(Problem::new(inner.span(), "a query as a window's input stands in brackets", help));
    }
    if inner.peek() == Some(&Token::LParen) {
        let start = inner.span();
        let mut brackets = inner.parenthesized(function.help)?;
        let tokens = brackets.value.take_until(|_, _| false).to_vec();
        return Ok(InputTokens::Query(Spanned { value: tokens, span: inner.span_since(start) }));
    }
    if inner.at_words(&["TABLE"]) && inner.peek_at(1) != Some(&Token::Comma) {
        inner.advance();
    }
    inner.name("the name of a stream", function.help).map(InputTokens::Named)
}

/// `column`, `stream.column` or `DESCRIPTOR(column)`.
pub(super) fn parse_time(inner: &mut Cursor<'_>, table: Option<&str>, function: &Function) -> Parsed<Spanned<String>> {
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
    if inner.peek() == Some(&Token::Period) && table == Some(&time.value) {
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
