//! Window functions in FROM: found among the tokens, taken out, and replaced by one name, so that sqlparser reads the
//! rest as plain SQL and every place stays true. What stands in the brackets of each is read by `functions`.

mod by_data;
mod functions;

use functions::{FUNCTIONS, Function};

use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Word};

use super::definition::{PartitionTokens, Spanned, WindowCall};
use super::problem::{Problem, Problems};
use super::query_text::{Names, parse_expression};
use super::tokens::{Cursor, Parsed, is_word};

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
pub(super) fn extract(tokens: &[TokenWithSpan], end: Location, names: &Names, problems: &mut Problems) -> Extracted {
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
        let call = if in_from {
            parse_call(&mut cursor, function, long_form, names)
        } else {
            Err(misplaced(function.name, token.span))
        };
        let relation = match problems.keep(call) {
            Some(mut call) => {
                call.relation = relation(&call.stream.value, &extracted.windows);
                let name = call.relation.clone();
                extracted.windows.push(call);
                name
            }
            None => function.name.to_ascii_lowercase(),
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
fn function_at(tokens: &[TokenWithSpan], index: usize) -> Option<&'static Function> {
    let token = &tokens.get(index)?.token;
    let function = FUNCTIONS.iter().find(|function| is_word(token, function.name))?;
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

fn parse_call(cursor: &mut Cursor<'_>, function: &Function, long_form: bool, names: &Names) -> Parsed<WindowCall> {
    let start = cursor.span();
    if long_form {
        cursor.advance();
        cursor.advance();
    }
    let name = cursor.span();
    cursor.advance();
    let Some(parse) = function.parse else {
        let help = "TUMBLE(stream, event_time, INTERVAL '…'), HOP(…) and CUMULATE(…) are supported now";
        return Err(Problem::new(name, format!("{} is not supported yet", function.name), help));
    };
    let mut inner = cursor.parenthesized(function.help)?.value;
    let arguments = parse(&mut inner, function)?;
    if !inner.is_at_end() {
        return Err(inner.unexpected("`)`", function.help));
    }
    if long_form {
        cursor.expect(&Token::RParen, "TABLE(…) holds one window function and nothing else")?;
    }
    let span = cursor.span_since(start);
    let functions::Arguments { stream, partition_by, time, function } = arguments;
    let key = |PartitionTokens { tokens, span }| {
        parse_expression(&tokens, span.end, names).map(|value| Spanned { value, span })
    };
    let partition_by = partition_by.into_iter().map(key).collect::<Parsed<Vec<_>>>()?;
    Ok(WindowCall { relation: String::new(), span, function, stream, partition_by, time })
}
