//! What stands in the brackets of windows that the data makes: `s [PARTITION BY k, …], t, …`.

use datafusion_sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::functions::{Arguments, Function, InputTokens, parse_table, parse_time, refuse_named_argument};
use crate::job::definition::{PartitionTokens, Spanned, WindowFunction};
use crate::job::interval;
use crate::job::problem::Problem;
use crate::job::tokens::{Cursor, Parsed, is_word};

/// `SESSION(s [PARTITION BY k], t, gap)`.
pub(super) fn parse_session(inner: &mut Cursor<'_>, session: &Function) -> Parsed<Arguments> {
    let input = parse_input(inner, session)?;
    let gap = parse_length(inner, session, "the gap of a session")?;
    refuse_more(inner, session)?;
    Ok(input.with(WindowFunction::Session { gap }))
}

/// `SLIDING(s [PARTITION BY k], t, size)`.
pub(super) fn parse_sliding(inner: &mut Cursor<'_>, sliding: &Function) -> Parsed<Arguments> {
    let input = parse_input(inner, sliding)?;
    let size = parse_length(inner, sliding, "the size of a window")?;
    refuse_more(inner, sliding)?;
    Ok(input.with(WindowFunction::Sliding { size }))
}

/// `COUNT_WINDOW(s [PARTITION BY k], t, n, TIMEOUT i)`.
pub(super) fn parse_count(inner: &mut Cursor<'_>, count: &Function) -> Parsed<Arguments> {
    let has_timeout = (0..).map_while(|ahead| inner.peek_at(ahead)).any(|token| is_word(token, "TIMEOUT"));
    let input = parse_input(inner, count)?;
    inner.expect(&Token::Comma, count.help)?;
    let size = inner.whole_number("the number of records of a window", count.help)?;
    if size.value == 0 {
        return Err(Problem::new(size.span, "a window holds at least 1 record", count.help));
    }
    if inner.is_at_end() || !has_timeout {
        let help = "add one: TIMEOUT INTERVAL '1 hour'; without it a key that falls silent would hold its window open for ever";
        return Err(Problem::new(inner.span(), "COUNT_WINDOW needs a TIMEOUT", help));
    }
    inner.expect(&Token::Comma, count.help)?;
    inner.expect_word("TIMEOUT", count.help)?;
    let timeout = interval::parse_positive(inner, "the timeout of a window")?;
    Ok(input.with(WindowFunction::Counting { size, timeout }))
}

/// What all of them begin with.
struct Input {
    table: InputTokens,
    partition_by: Vec<PartitionTokens>,
    time: Spanned<String>,
}

impl Input {
    fn with(self, function: WindowFunction) -> Arguments {
        let Input { table, partition_by, time } = self;
        Arguments { input: table, partition_by, time, function }
    }
}

/// The stream, its PARTITION BY and the time. The commas between keys look like those between arguments, so the keys are
/// what stands before the time, and the time what stands before the last arguments.
fn parse_input(inner: &mut Cursor<'_>, function: &Function) -> Parsed<Input> {
    refuse_named_argument(inner, function)?;
    let table = parse_table(inner, function)?;
    let mut partition_by = Vec::new();
    let by = inner.span();
    if inner.eat_words(&["PARTITION", "BY"]) {
        let keys = count_before_the_time(inner);
        if keys == 0 {
            let help = format!("PARTITION BY takes columns or expressions; {}", function.help);
            return Err(Problem::new(by, format!("an argument of {} is missing", function.name), help));
        }
        for index in 0..keys {
            if index > 0 {
                inner.expect(&Token::Comma, function.help)?;
            }
            let start = inner.span();
            let tokens = take_argument(inner);
            if tokens.is_empty() {
                return Err(inner.unexpected("a column or an expression", function.help));
            }
            let span = inner.span_since(start);
            partition_by.push(PartitionTokens { tokens: tokens.to_vec(), span });
        }
    }
    inner.expect(&Token::Comma, function.help)?;
    let time = parse_time(inner, table.name(), function)?;
    Ok(Input { table, partition_by, time })
}

fn parse_length(inner: &mut Cursor<'_>, function: &Function, what: &str) -> Parsed<Spanned<crate::event::Micros>> {
    if inner.is_at_end() {
        return Err(Problem::new(inner.span(), format!("{what} is missing"), function.help));
    }
    inner.expect(&Token::Comma, function.help)?;
    refuse_named_argument(inner, function)?;
    interval::parse_positive(inner, what)
}

/// A fourth argument, as HOP and TUMBLE have.
fn refuse_more(inner: &Cursor<'_>, function: &Function) -> Parsed<()> {
    if inner.peek() == Some(&Token::Comma) {
        let message = format!("{} takes one length of time and no offset", function.name);
        return Err(Problem::new(inner.span(), message, function.help));
    }
    Ok(())
}

fn take_argument<'a>(inner: &mut Cursor<'a>) -> &'a [TokenWithSpan] {
    inner.take_until(|tokens, index| tokens[index].token == Token::Comma)
}

/// How many arguments stand before the time: behind it are lengths of time and numbers only.
fn count_before_the_time(inner: &Cursor<'_>) -> usize {
    let mut ahead = inner.clone();
    let mut arguments = vec![take_argument(&mut ahead)];
    while ahead.eat(&Token::Comma) {
        arguments.push(take_argument(&mut ahead));
    }
    let is_behind = |argument: &&&[TokenWithSpan]| match argument.first().map(|first| &first.token) {
        Some(Token::Number(..)) => true,
        Some(token) => is_word(token, "INTERVAL") || is_word(token, "TIMEOUT"),
        None => false,
    };
    let behind = arguments.iter().rev().take_while(is_behind).count();
    arguments.len().saturating_sub(behind + 1)
}
