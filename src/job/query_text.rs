//! From tokens to sqlparser's syntax trees: names keep their case and may be words of SQL, errors keep their place.

use std::collections::BTreeSet;

use datafusion_sql::sqlparser::ast::{Expr, Query};
use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::parser::{Parser, ParserError};
use datafusion_sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Word};

use super::problem::Problem;
use super::tokens::{DIALECT, Parsed, is_word};

/// Words of SQL that are read as names of columns where a value can stand, whether a stream declares them or not.
const NAMES_LIKE_WORDS: [&str; 12] =
    ["timestamp", "start", "end", "count", "key", "value", "date", "time", "user", "offset", "partition", "name"];

/// Words behind which a value stands, not an operator.
const WORDS_BEFORE_VALUES: [&str; 24] = [
    "SELECT", "DISTINCT", "ALL", "WHERE", "AND", "OR", "NOT", "BY", "HAVING", "WHEN", "THEN", "ELSE", "CASE", "ON",
    "BETWEEN", "LIKE", "ILIKE", "SIMILAR", "ESCAPE", "QUALIFY", "FROM", "USING", "IN", "XOR",
];

/// Words of SQL that begin a value themselves: a column of that name has to be quoted.
const NEVER_NAMES: [&str; 16] = [
    "SELECT", "DISTINCT", "ALL", "CASE", "NOT", "NULL", "TRUE", "FALSE", "EXISTS", "CAST", "WITH", "FROM", "ARRAY",
    "INTERVAL", "WHERE", "AS",
];

/// How deep expressions may be nested; sqlparser's own limit, 50, is met by generated queries.
const DEPTH_MAX: usize = 200;

/// Names of declared columns.
pub(super) type Names = BTreeSet<String>;

/// Parses a whole SELECT; `names` are the columns of all streams.
pub(super) fn parse_query(tokens: &[TokenWithSpan], end: Location, names: &Names) -> Parsed<Box<Query>> {
    parse(tokens, end, names, "the end of the query", |parser| parser.parse_query())
}

/// Parses one expression that takes all tokens; `names` are columns that it may use.
pub(super) fn parse_expression(tokens: &[TokenWithSpan], end: Location, names: &Names) -> Parsed<Expr> {
    parse(tokens, end, names, "the end of the expression", |parser| parser.parse_expr())
}

fn parse<T>(
    tokens: &[TokenWithSpan],
    end: Location,
    names: &Names,
    finished: &str,
    step: impl Fn(&mut Parser<'_>) -> Result<T, ParserError>,
) -> Parsed<T> {
    let prepared = with_names_quoted(tokens, names);
    let mut parser = Parser::new(&DIALECT).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(prepared);
    let parsed = step(&mut parser).map_err(|error| {
        let problem = problem(&error, tokens, end);
        inside_subquery(&problem, tokens, names).unwrap_or(problem)
    })?;
    let next = parser.peek_token();
    if next.token == Token::EOF {
        return Ok(parsed);
    }
    Err(unexpected(finished, tokens, next.span.start, end))
}

/// What is wrong inside the subquery that `problem` stands in: sqlparser takes one that it can't read for a table in
/// brackets, and stumbles near its beginning.
fn inside_subquery(problem: &Problem, tokens: &[TokenWithSpan], names: &Names) -> Option<Problem> {
    let at = tokens.iter().position(|token| Some(token.span) == problem.span)?;
    let mut depth = 0_usize;
    let open = tokens[..at].iter().rposition(|token| match token.token {
        Token::RParen => {
            depth += 1;
            false
        }
        Token::LParen if depth > 0 => {
            depth -= 1;
            false
        }
        Token::LParen => true,
        _ => false,
    })?;
    let inside = &tokens[open + 1..];
    let mut depth = 1_usize;
    let length = inside.iter().position(|token| {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        depth == 0
    })?;
    let is_subquery = is_word(&inside.first()?.token, "SELECT");
    let problem = || parse_query(&inside[..length], inside[length].span.start, names).err();
    is_subquery.then(problem).flatten()
}

/// Quotes the names that sqlparser or DataFusion would not read as they are written: names with capitals, which would be
/// folded to small letters, and words of SQL where only a value can stand.
fn with_names_quoted(tokens: &[TokenWithSpan], names: &Names) -> Vec<TokenWithSpan> {
    let mut quoted = tokens.to_vec();
    // For each open bracket, whether it is a cast's, where a type stands behind AS.
    let mut casts = vec![false];
    for (index, token) in tokens.iter().enumerate() {
        let before = index.checked_sub(1).map(|before| &tokens[before].token);
        let next = tokens.get(index + 1).map(|token| &token.token);
        match &token.token {
            Token::LParen => {
                casts.push(before.is_some_and(|before| is_word(before, "CAST") || is_word(before, "TRY_CAST")));
            }
            Token::RParen => casts.truncate(casts.len().saturating_sub(1).max(1)),
            Token::Word(word @ Word { quote_style: None, .. }) if next != Some(&Token::LParen) => {
                let in_cast = casts.last().is_some_and(|in_cast| *in_cast);
                if is_name(word, before, next, in_cast, names) {
                    let word = Word { quote_style: Some('"'), keyword: Keyword::NoKeyword, ..word.clone() };
                    quoted[index].token = Token::Word(word);
                }
            }
            _ => {}
        }
    }
    quoted
}

fn is_name(word: &Word, before: Option<&Token>, next: Option<&Token>, in_cast: bool, names: &Names) -> bool {
    let has_capitals = word.value.bytes().any(|byte| byte.is_ascii_uppercase());
    if word.keyword == Keyword::NoKeyword {
        return has_capitals;
    }
    let is_alias = has_capitals && !in_cast && before.is_some_and(|before| is_word(before, "AS"));
    let is_column = is_column(&word.value, names)
        && before.is_none_or(comes_before_a_value)
        && !begins_a_literal(next)
        && !next.is_some_and(|next| is_word(next, "BY"));
    before == Some(&Token::Period) || is_alias || is_column
}

pub(super) fn comes_before_a_value(token: &Token) -> bool {
    match token {
        Token::Word(Word { quote_style: None, .. }) => WORDS_BEFORE_VALUES.iter().any(|word| is_word(token, word)),
        Token::Word(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::RParen
        | Token::RBracket
        | Token::DoubleColon => false,
        _ => true,
    }
}

fn is_column(word: &str, names: &Names) -> bool {
    let is = |words: &[&str]| words.iter().any(|other| word.eq_ignore_ascii_case(other));
    is(&NAMES_LIKE_WORDS) || (names.contains(word) && !is(&NEVER_NAMES))
}

/// `DATE '2026-01-01'`, `INTERVAL '1 day'`, `TIMESTAMP WITH TIME ZONE '…'`.
fn begins_a_literal(next: Option<&Token>) -> bool {
    next.is_some_and(|token| {
        matches!(token, Token::SingleQuotedString(_)) || is_word(token, "WITH") || is_word(token, "WITHOUT")
    })
}

fn problem(error: &ParserError, tokens: &[TokenWithSpan], end: Location) -> Problem {
    let text = match error {
        ParserError::ParserError(text) | ParserError::TokenizerError(text) => text.as_str(),
        ParserError::RecursionLimitExceeded => {
            let all = tokens.first().map_or(end.span_to(end), |first| first.span);
            return Problem::new(all, "this is nested too deeply", format!("brackets may be {DEPTH_MAX} deep at most"));
        }
    };
    let (text, location) = split_location(text);
    if let Some((expected, _)) = text.strip_prefix("Expected: ").and_then(|text| text.rsplit_once(", found: ")) {
        return unexpected(expected, tokens, location.unwrap_or(end), end);
    }
    let mut message = text.trim().to_owned();
    if message.is_char_boundary(1) && !message.is_empty() {
        message[..1].make_ascii_lowercase();
    }
    let span = span_at(tokens, location.unwrap_or(end), end);
    Problem::new(span, message, "queries are PostgreSQL's SQL")
}

/// Takes `at Line: …, Column: …` off a message of sqlparser.
fn split_location(text: &str) -> (&str, Option<Location>) {
    let Some((message, place)) = text.rsplit_once(" at Line: ") else { return (text, None) };
    let Some((line, column)) = place.split_once(", Column: ") else { return (text, None) };
    match (line.trim().parse(), column.trim().parse()) {
        (Ok(line), Ok(column)) => (message, Some(Location::new(line, column))),
        _ => (text, None),
    }
}

fn token_at(tokens: &[TokenWithSpan], location: Location) -> Option<&TokenWithSpan> {
    tokens.iter().find(|token| token.span.start == location)
}

fn span_at(tokens: &[TokenWithSpan], location: Location, end: Location) -> Span {
    token_at(tokens, location).map_or(end.span_to(end), |token| token.span)
}

fn unexpected(expected: &str, tokens: &[TokenWithSpan], location: Location, end: Location) -> Problem {
    let found = token_at(tokens, location);
    let expected = expected.trim_end_matches(':');
    let expected = match expected.chars().all(|character| !character.is_lowercase()) {
        true => format!("`{expected}`"),
        false => expected.to_owned(),
    };
    let (span, name) = match found {
        Some(token) => (token.span, format!("`{}`", token.token)),
        None => (end.span_to(end), "the end".into()),
    };
    let help = match (expected.as_str(), found.and_then(|token| hint(&token.token))) {
        ("an expression", _) => "a value is missing here, or a comma or an operator before this is too much",
        (_, Some(hint)) => hint,
        ("`)`", None) => "a bracket before this isn't closed, or a comma or an operator is missing",
        (_, None) => "queries are PostgreSQL's SQL; a name that is a word of SQL stands in double quotes",
    };
    Problem::new(span, format!("expected {expected}, found {name}"), help)
}

fn hint(found: &Token) -> Option<&'static str> {
    let is = |words: &[&str]| words.iter().any(|word| is_word(found, word));
    let hint = if is(&["INSERT", "CREATE", "INCLUDE"]) {
        "is the `;` of the statement before it missing?"
    } else if is(&["EMIT"]) {
        "leave out EMIT: a window is always published when it closes"
    } else if is(&["PARTITIONED"]) {
        "PARTITIONED BY stands before the SELECT: INSERT INTO ICEBERG '…' PARTITIONED BY (…) SELECT …"
    } else if is(&["HISTORY", "LIVE", "WATERMARK", "FORMAT"]) {
        "this belongs to CREATE STREAM"
    } else if is(&["LATE", "ALLOW", "PUBLISH"]) {
        "behind the query stand ALLOW LATENESS INTERVAL '…', LATE INTO ICEBERG '…', PUBLISH EACH WINDOW | WHOLE PARTITIONS"
    } else if *found == Token::RParen {
        "this bracket was never opened, or one before it is closed too early"
    } else if *found == Token::DoubleEq {
        "write `=`"
    } else {
        return None;
    };
    Some(hint)
}
