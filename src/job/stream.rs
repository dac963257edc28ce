//! `CREATE STREAM name (columns, WATERMARK FOR …) LIVE FROM … [HISTORY FROM ICEBERG '…']`.
//! A column that can't be read is left out and the next one is tried, so that all of them are judged at once.

use std::time::Duration;

use datafusion_sql::sqlparser::ast::Expr;
use datafusion_sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::column;
use super::definition::{Spanned, StreamDefinition, WatermarkDefinition};
use super::face::{self, Live};
use super::interval;
use super::names::parse_iceberg_table;
use super::problem::{Problem, Problems};
use super::query_text::{Names, comes_before_a_value, parse_expression};
use super::tokens::{Cursor, Parsed, StatementTokens, is_word};
use crate::event::{Micros, TableName};

const WATERMARK_HELP: &str = "write WATERMARK FOR t AS t - INTERVAL '15 seconds' [WHEN condition] [IDLE AFTER INTERVAL '1 minute'] [MAX FUTURE INTERVAL '1 hour' | NONE]";
const WHEN_HELP: &str =
    "write WHEN condition, over columns of the stream that are declared before it: WHEN kind = 'tick'";
const STREAM_HELP: &str = "write CREATE STREAM name (column TYPE, …, WATERMARK FOR t AS t - INTERVAL '15 seconds') LIVE FROM KAFKA 'topic' FORMAT JSON";

/// Parses one CREATE STREAM of a job's file number `file`. `None` if not even its name can be read; a stream with problems is given as far as it goes.
pub(super) fn parse(statement: &StatementTokens, file: usize, problems: &mut Problems) -> Option<StreamDefinition> {
    let mut cursor = Cursor::new(&statement.tokens, statement.end);
    cursor.eat_words(&["CREATE"]);
    cursor.eat_words(&["STREAM"]);
    let name = parse_name(&mut cursor);
    let name = problems.keep(name)?;
    let mut stream = StreamDefinition {
        file,
        name,
        columns: Vec::new(),
        watermark: None,
        live: None,
        accepts_compacted: false,
        history: None,
    };
    let columns = cursor.parenthesized(STREAM_HELP);
    let Some(columns) = problems.keep(columns) else { return Some(stream) };
    parse_columns(columns.value, &mut stream, problems);
    parse_faces(&mut cursor, &mut stream, problems);
    Some(stream)
}

fn parse_name(cursor: &mut Cursor<'_>) -> Parsed<Spanned<String>> {
    if cursor.at_words(&["IF"]) {
        return Err(Problem::new(cursor.span(), "IF NOT EXISTS has no meaning in a job", "leave it out"));
    }
    let name = cursor.name("the name of the stream", STREAM_HELP)?;
    if cursor.peek() == Some(&Token::Period) {
        return Err(cursor.unexpected("`(`", "names of streams have no namespace: they live in this file only"));
    }
    Ok(name)
}

fn parse_columns(mut cursor: Cursor<'_>, stream: &mut StreamDefinition, problems: &mut Problems) {
    let mut names = Names::new();
    while !cursor.is_at_end() {
        let start = cursor.span();
        let parsed = if cursor.at_words(&["WATERMARK", "FOR"]) {
            parse_watermark(&mut cursor, &names).and_then(|watermark| match stream.watermark.replace(watermark) {
                Some(_) => {
                    let help = "keep one: a stream has one event time";
                    Err(Problem::new(start, "a second WATERMARK", help))
                }
                None => Ok(()),
            })
        } else if cursor.at_words(&["PRIMARY", "KEY"]) || cursor.at_words(&["CONSTRAINT"]) {
            let message = "streams have no keys: a record is known by its position in the log";
            Err(Problem::new(start, message, "leave it out"))
        } else {
            column::parse(&mut cursor, &names).map(|column| {
                names.insert(column.name.value.clone());
                stream.columns.push(column);
            })
        };
        if problems.keep(parsed).is_none() {
            skip_to_comma(&mut cursor);
        }
        if !cursor.eat(&Token::Comma) && !cursor.is_at_end() {
            problems.push(cursor.unexpected("`,` or `)`", "columns stand apart by commas"));
            skip_to_comma(&mut cursor);
            cursor.eat(&Token::Comma);
        }
    }
}

/// Goes on to the comma behind a broken column; commas inside brackets and `STRUCT<…>` don't count.
fn skip_to_comma(cursor: &mut Cursor<'_>) {
    let mut angles = 0_usize;
    while let Some(token) = cursor.peek() {
        match token {
            Token::Comma if angles == 0 => return,
            Token::Lt => angles += 1,
            Token::Gt => angles = angles.saturating_sub(1),
            Token::ShiftRight => angles = angles.saturating_sub(2),
            Token::LParen => {
                cursor.advance();
                cursor.take_until(|_, _| false);
            }
            _ => {}
        }
        cursor.advance();
    }
}

/// `names` are the columns before it.
fn parse_watermark(cursor: &mut Cursor<'_>, names: &Names) -> Parsed<WatermarkDefinition> {
    cursor.eat_words(&["WATERMARK", "FOR"]);
    let column = cursor.name("the event-time column", WATERMARK_HELP)?;
    let mut watermark =
        WatermarkDefinition { column, bound: Micros(0), when: None, idle_after: None, max_future: None };
    if cursor.eat_words(&["AS"]) {
        watermark.bound = parse_bound(cursor, &watermark.column.value)?;
    }
    while !cursor.is_at_end() && cursor.peek() != Some(&Token::Comma) {
        let start = cursor.span();
        let second = |given: bool, clause: &str| match given {
            true => Err(Problem::new(start, format!("a second {clause}"), "leave out one of them")),
            false => Ok(()),
        };
        if cursor.eat_words(&["IDLE", "AFTER"]) {
            second(watermark.idle_after.is_some(), "IDLE AFTER")?;
            let idle = interval::parse_positive(cursor, "IDLE AFTER")?;
            let micros = u64::try_from(idle.value.0).expect("just checked to be positive");
            watermark.idle_after = Some(Duration::from_micros(micros));
        } else if cursor.eat_words(&["MAX", "FUTURE"]) {
            second(watermark.max_future.is_some(), "MAX FUTURE")?;
            watermark.max_future = Some(match cursor.eat_words(&["NONE"]) {
                true => None,
                false => Some(interval::parse_not_negative(cursor, "MAX FUTURE")?.value),
            });
        } else if cursor.eat_words(&["WHEN"]) {
            second(watermark.when.is_some(), "WHEN")?;
            watermark.when = Some(Box::new(parse_when(cursor, names)?));
        } else if cursor.peek() == Some(&Token::Minus) {
            return Err(cursor.unexpected("`AS`", WATERMARK_HELP));
        } else {
            return Err(cursor.unexpected("`WHEN`, `IDLE AFTER`, `MAX FUTURE` or `,`", WATERMARK_HELP));
        }
    }
    Ok(watermark)
}

/// Behind `WHEN`: a condition, which ends at the next clause.
fn parse_when(cursor: &mut Cursor<'_>, names: &Names) -> Parsed<Spanned<Expr>> {
    let start = cursor.span();
    let tokens = cursor.take_until(ends_condition);
    if tokens.is_empty() {
        return Err(cursor.unexpected("a condition", WHEN_HELP));
    }
    let value = parse_expression(tokens, cursor.span().start, names)?;
    Ok(Spanned { value, span: cursor.span_since(start) })
}

/// A comma, `IDLE AFTER`, `MAX FUTURE`, an `AS` that belongs before it, or another `WHEN`; columns may be called by such words.
fn ends_condition(tokens: &[TokenWithSpan], index: usize) -> bool {
    let is = |ahead: usize, word: &str| tokens.get(index + ahead).is_some_and(|token| is_word(&token.token, word));
    tokens[index].token == Token::Comma
        || (is(0, "IDLE") && is(1, "AFTER"))
        || (is(0, "MAX") && is(1, "FUTURE"))
        || is(0, "AS")
        || (is(0, "WHEN") && !is_inside_case(&tokens[..index]))
}

/// Whether a CASE stands open behind `before`.
fn is_inside_case(before: &[TokenWithSpan]) -> bool {
    let mut closed = 0_usize;
    for (index, token) in before.iter().enumerate().rev() {
        let follows_value = index > 0 && !comes_before_a_value(&before[index - 1].token);
        if is_word(&token.token, "END") && follows_value {
            closed += 1;
        } else if is_word(&token.token, "CASE") && closed == 0 {
            return true;
        } else if is_word(&token.token, "CASE") {
            closed -= 1;
        } else if is_word(&token.token, "WATERMARK") {
            return false;
        }
    }
    false
}

/// Behind `AS`: `t` or `t - INTERVAL …`.
fn parse_bound(cursor: &mut Cursor<'_>, column: &str) -> Parsed<Micros> {
    let start = cursor.span();
    let same = cursor.name("the event-time column", WATERMARK_HELP)?;
    if cursor.peek() == Some(&Token::LParen) {
        return Err(not_a_bound(same.span));
    }
    if same.value != column {
        let message = format!("the watermark is for `{column}`, but is computed from `{}`", same.value);
        let help = format!("write WATERMARK FOR {column} AS {column} - INTERVAL '…'");
        return Err(Problem::new(same.span, message, help));
    }
    if cursor.eat(&Token::Minus) {
        if cursor.peek().is_some_and(|token| matches!(token, Token::SingleQuotedString(_) | Token::Number(..))) {
            return Err(cursor.unexpected("`INTERVAL`", WATERMARK_HELP));
        }
        return Ok(interval::parse_not_negative(cursor, "the bound of a watermark")?.value);
    }
    let ends = cursor.is_at_end()
        || cursor.peek() == Some(&Token::Comma)
        || ["IDLE", "MAX", "WHEN"].iter().any(|word| cursor.peek().is_some_and(|token| is_word(token, word)));
    if ends {
        return Ok(Micros(0));
    }
    Err(not_a_bound(cursor.span_since(start)))
}

fn not_a_bound(span: Span) -> Problem {
    let help = "declare what you compute as a column, `t TIMESTAMP NOT NULL AS expression`, and write WATERMARK FOR t AS t - INTERVAL '…'";
    Problem::new(span, "a watermark is the event-time column less an interval, nothing else", help)
}

fn parse_faces(cursor: &mut Cursor<'_>, stream: &mut StreamDefinition, problems: &mut Problems) {
    while !cursor.is_at_end() {
        let start = cursor.span();
        let parsed = if cursor.eat_words(&["LIVE"]) {
            let second = stream.live.is_some();
            face::parse_live(cursor).and_then(|Live { face, accepts_compacted }| {
                stream.live = Some(Spanned { value: face, span: cursor.span_since(start) });
                stream.accepts_compacted = accepts_compacted;
                refuse_second(second, start, "LIVE FROM")
            })
        } else if cursor.eat_words(&["HISTORY"]) {
            let second = stream.history.is_some();
            parse_history(cursor).and_then(|history| {
                stream.history = Some(history);
                refuse_second(second, start, "HISTORY FROM")
            })
        } else {
            Err(face::unexpected(cursor))
        };
        if problems.keep(parsed).is_none() {
            // The rest belongs to the broken clause until the next one begins.
            while !cursor.is_at_end() && !cursor.at_words(&["HISTORY"]) && !cursor.at_words(&["LIVE"]) {
                cursor.advance();
            }
        }
    }
}

fn refuse_second(second: bool, span: Span, clause: &str) -> Parsed<()> {
    match second {
        true => Err(Problem::new(span, format!("a second {clause}"), "a stream has one live face and one history")),
        false => Ok(()),
    }
}

fn parse_history(cursor: &mut Cursor<'_>) -> Parsed<Spanned<TableName>> {
    cursor.expect_word("FROM", "write HISTORY FROM ICEBERG 'namespace.table'")?;
    parse_iceberg_table(cursor, "HISTORY FROM")
}
