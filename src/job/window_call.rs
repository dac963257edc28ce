//! Window functions in FROM: found among the tokens, taken out, and replaced by one name, so that sqlparser reads the
//! rest as plain SQL and every place stays true.

use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Word};

use super::definition::{Spanned, WindowCall, WindowFunction};
use super::interval;
use super::problem::{Problem, Problems};
use super::tokens::{Cursor, Parsed, is_word};

const TUMBLE_HELP: &str = "write TUMBLE(stream, event_time, INTERVAL '1 minute'), with an offset of the windows' edges as a fourth argument if wanted";

/// All window functions; only the first is supported.
const FUNCTIONS: [&str; 6] = ["TUMBLE", "HOP", "CUMULATE", "SLIDING", "SESSION", "COUNT_WINDOW"];

/// Words that begin a clause of a SELECT: they tell whether a comma stands in FROM.
const CLAUSES: [&str; 11] =
    ["SELECT", "FROM", "WHERE", "GROUP", "HAVING", "ORDER", "QUALIFY", "LIMIT", "UNION", "JOIN", "ON"];

/// A query without its window calls.
#[derive(Debug)]
pub(super) struct Extracted {
    /// The query's tokens; each call is one quoted name that takes up the call's place.
    pub tokens: Vec<TokenWithSpan>,
    /// The calls, in order.
    pub windows: Vec<WindowCall>,
}

/// Takes the window calls out of a query's tokens.
pub(super) fn extract(tokens: &[TokenWithSpan], end: Location, problems: &mut Problems) -> Extracted {
    let mut extracted = Extracted { tokens: Vec::with_capacity(tokens.len()), windows: Vec::new() };
    // The clause that each open bracket stands in, innermost last.
    let mut clauses = vec![""];
    let mut index = 0;
    while let Some(token) = tokens.get(index) {
        let long_form = is_word(&token.token, "TABLE") && next_is(tokens, index + 1, &Token::LParen);
        let function = function_at(tokens, if long_form { index + 2 } else { index });
        let Some(function) = function else {
            follow_clauses(&token.token, &mut clauses);
            extracted.tokens.push(token.clone());
            index += 1;
            continue;
        };
        let mut cursor = Cursor::new(&tokens[index..], end.span_to(end));
        let in_from = matches!(*clauses.last().expect("never empty"), "FROM" | "JOIN");
        let call =
            if in_from { parse_call(&mut cursor, function, long_form) } else { Err(misplaced(function, token.span)) };
        let relation = match problems.keep(call) {
            Some(mut call) => {
                call.relation = relation(&call.stream.value, &extracted.windows);
                let name = call.relation.clone();
                extracted.windows.push(call);
                name
            }
            None => function.to_ascii_lowercase(),
        };
        let (taken, span) = call_extent(&tokens[index..], long_form);
        let word = Word { value: relation, quote_style: Some('"'), keyword: Keyword::NoKeyword };
        extracted.tokens.push(TokenWithSpan::new(Token::Word(word), span));
        index += taken;
    }
    extracted
}

fn next_is(tokens: &[TokenWithSpan], index: usize, token: &Token) -> bool {
    tokens.get(index).is_some_and(|next| next.token == *token)
}

/// The window function that is called at `index`.
fn function_at(tokens: &[TokenWithSpan], index: usize) -> Option<&'static str> {
    let token = &tokens.get(index)?.token;
    let function = FUNCTIONS.into_iter().find(|function| is_word(token, function))?;
    next_is(tokens, index + 1, &Token::LParen).then_some(function)
}

fn follow_clauses(token: &Token, clauses: &mut Vec<&'static str>) {
    match token {
        Token::LParen => clauses.push(""),
        Token::RParen if clauses.len() > 1 => {
            clauses.pop();
        }
        _ => {
            if let Some(clause) = CLAUSES.into_iter().find(|clause| is_word(token, clause)) {
                *clauses.last_mut().expect("never empty") = clause;
            }
        }
    }
}

/// How many tokens a call takes, with its brackets, and its place. An unclosed one takes all that is left.
fn call_extent(tokens: &[TokenWithSpan], long_form: bool) -> (usize, Span) {
    let mut depth = 0_usize;
    let first = if long_form { 0 } else { 1 };
    for (index, token) in tokens.iter().enumerate().skip(first) {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return (index + 1, tokens[0].span.union(&token.span));
        }
    }
    (tokens.len(), tokens[0].span)
}

/// The stream's own name, so that `stream.column` resolves; with a number if it is taken.
fn relation(stream: &str, before: &[WindowCall]) -> String {
    let same = before.iter().filter(|call| call.stream.value == stream).count();
    if same == 0 { stream.to_owned() } else { format!("{stream}_{}", same + 1) }
}

fn misplaced(function: &str, span: Span) -> Problem {
    Problem::new(
        span,
        format!("{function} makes a table of windows and stands in FROM, not here"),
        format!("write FROM {function}(stream, event_time, …), then use window_start and window_end"),
    )
}

fn parse_call(cursor: &mut Cursor<'_>, function: &'static str, long_form: bool) -> Parsed<WindowCall> {
    let start = cursor.span();
    if long_form {
        cursor.advance();
        cursor.advance();
    }
    let name = cursor.span();
    cursor.advance();
    if function != "TUMBLE" {
        let help = "TUMBLE(stream, event_time, INTERVAL '…') is supported now";
        return Err(Problem::new(name, format!("{function} is not supported yet"), help));
    }
    let arguments = cursor.parenthesized(TUMBLE_HELP)?;
    let mut inner = arguments.value;
    let (stream, time, function) = parse_tumble(&mut inner)?;
    if long_form {
        cursor.expect(&Token::RParen, "TABLE(…) holds one window function and nothing else")?;
    }
    Ok(WindowCall { relation: String::new(), span: cursor.span_since(start), function, stream, time })
}

fn parse_tumble(inner: &mut Cursor<'_>) -> Parsed<(Spanned<String>, Spanned<String>, WindowFunction)> {
    refuse_named_argument(inner)?;
    let stream = parse_stream(inner)?;
    inner.expect(&Token::Comma, TUMBLE_HELP)?;
    let time = parse_time(inner, &stream.value)?;
    inner.expect(&Token::Comma, TUMBLE_HELP)?;
    refuse_named_argument(inner)?;
    let size = interval::parse_positive(inner, "the size of a window")?;
    let mut offset = None;
    if inner.eat(&Token::Comma) {
        refuse_time_zone(inner)?;
        offset = Some(interval::parse_any(inner)?);
    }
    refuse_time_zone(inner)?;
    if !inner.is_at_end() {
        return Err(inner.unexpected("`)`", TUMBLE_HELP));
    }
    Ok((stream, time, WindowFunction::Tumble { size, offset }))
}

fn refuse_named_argument(inner: &Cursor<'_>) -> Parsed<()> {
    if inner.peek_at(1) == Some(&Token::RArrow) {
        return Err(Problem::new(inner.span(), "named arguments are not supported", TUMBLE_HELP));
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
fn parse_stream(inner: &mut Cursor<'_>) -> Parsed<Spanned<String>> {
    if inner.peek() == Some(&Token::LParen) || inner.at_words(&["SELECT"]) {
        let help = "name a stream here; a WHERE behind the window does the same, it goes before the window";
        return Err(Problem::new(inner.span(), "a query as a window's input is not supported yet", help));
    }
    if inner.at_words(&["TABLE"]) && inner.peek_at(1) != Some(&Token::Comma) {
        inner.advance();
    }
    let stream = inner.name("the name of a stream", TUMBLE_HELP)?;
    if inner.at_words(&["PARTITION", "BY"]) {
        let help = "leave it out and GROUP BY the column: windows of fixed length are the same for all keys";
        return Err(Problem::new(inner.span(), "TUMBLE takes no PARTITION BY", help));
    }
    Ok(stream)
}

/// `column`, `stream.column` or `DESCRIPTOR(column)`.
fn parse_time(inner: &mut Cursor<'_>, stream: &str) -> Parsed<Spanned<String>> {
    const WHAT: &str = "the event-time column";
    if inner.at_words(&["DESCRIPTOR"]) && inner.peek_at(1) == Some(&Token::LParen) {
        inner.advance();
        let descriptor = inner.parenthesized(TUMBLE_HELP)?;
        let mut column = descriptor.value;
        let time = column.name(WHAT, TUMBLE_HELP)?;
        if !column.is_at_end() {
            return Err(column.unexpected("`)`", TUMBLE_HELP));
        }
        return Ok(time);
    }
    let start = inner.span();
    let mut time = inner.name(WHAT, TUMBLE_HELP)?;
    if inner.peek() == Some(&Token::Period) && time.value == stream {
        inner.advance();
        time = inner.name(WHAT, TUMBLE_HELP)?;
    }
    if inner.peek() != Some(&Token::Comma) && !inner.is_at_end() {
        let message = "windows go by the stream's event-time column, unchanged";
        let help = "declare the time that you mean as a column, `t TIMESTAMP NOT NULL AS …`, with WATERMARK FOR t";
        return Err(Problem::new(inner.span_since(start), message, help));
    }
    Ok(time)
}
