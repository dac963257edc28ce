//! Window functions in FROM: found among the tokens, taken out, and replaced by one name, so that sqlparser reads the
//! rest as plain SQL and every place stays true. What stands in the brackets of each is read by `functions`.

mod by_data;
mod functions;

use functions::{FUNCTIONS, Function, InputTokens};

use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Word};

use super::definition::{PartitionTokens, Spanned, WindowCall, WindowInput};
use super::problem::{Problem, Problems};
use super::query_text::{Names, parse_expression, parse_query};
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
    let mut extraction = Extraction { names, named: named_queries(tokens), windows: Vec::new(), problems };
    let tokens = extraction.replaced(tokens, end);
    Extracted { tokens, windows: extraction.windows }
}

/// Names that WITH gives to queries: each stands before `AS (`.
fn named_queries(tokens: &[TokenWithSpan]) -> Vec<String> {
    let named = |window: &[TokenWithSpan]| match &window[0].token {
        Token::Word(word) if is_word(&window[1].token, "AS") && window[2].token == Token::LParen => {
            Some(if word.quote_style.is_some() { word.value.clone() } else { word.value.to_lowercase() })
        }
        _ => None,
    };
    tokens.windows(3).filter_map(named).collect()
}

struct Extraction<'a> {
    names: &'a Names,
    /// Queries of WITH.
    named: Vec<String>,
    windows: Vec<WindowCall>,
    problems: &'a mut Problems,
}

impl Extraction<'_> {
    /// `tokens` with a name in place of each call.
    fn replaced(&mut self, tokens: &[TokenWithSpan], end: Location) -> Vec<TokenWithSpan> {
        let mut replaced = Vec::with_capacity(tokens.len());
        // The clause that each open bracket stands in, innermost last.
        let mut clauses = vec![""];
        let mut index = 0;
        while let Some(token) = tokens.get(index) {
            let long_form = is_word(&token.token, "TABLE") && next_is(tokens, index + 1, &Token::LParen);
            let function = function_at(tokens, if long_form { index + 2 } else { index });
            let Some(function) = function else {
                follow_clauses(&token.token, &mut clauses);
                replaced.push(token.clone());
                index += 1;
                continue;
            };
            let mut cursor = Cursor::new(&tokens[index..], end.span_to(end));
            let in_from = matches!(*clauses.last().expect("never empty"), "FROM" | "JOIN");
            let call = if in_from {
                self.call(&mut cursor, function, long_form)
            } else {
                Err(misplaced(function.name, token.span))
            };
            let (taken, span) = call_extent(&tokens[index..], long_form);
            let next = tokens.get(index + taken);
            match self.problems.keep(call) {
                Some(mut call) => {
                    call.relation = relation(&call, &self.named, &self.windows);
                    replaced.push(name(&call.relation, span));
                    // A query keeps its name, so that `query.column` resolves.
                    let alias = call.input.name().filter(|written| *written != call.relation);
                    if let Some(alias) = alias.filter(|_| !next.is_some_and(is_alias) && self.is_named(&call)) {
                        let word = Word { value: "AS".into(), quote_style: None, keyword: Keyword::AS };
                        replaced.push(TokenWithSpan::new(Token::Word(word), span));
                        replaced.push(name(alias, span));
                    }
                    self.windows.push(call);
                }
                None => replaced.push(name(&function.name.to_ascii_lowercase(), span)),
            }
            index += taken;
        }
        replaced
    }

    /// Whether a call's input is a query of WITH.
    fn is_named(&self, call: &WindowCall) -> bool {
        call.input.name().is_some_and(|name| self.named.iter().any(|named| named == name))
    }

    fn call(&mut self, cursor: &mut Cursor<'_>, function: &Function, long_form: bool) -> Parsed<WindowCall> {
        let start = cursor.span();
        let arguments = parse_call(cursor, function, long_form)?;
        let span = cursor.span_since(start);
        let functions::Arguments { input, partition_by, time, function } = arguments;
        let input = match input {
            InputTokens::Named(name) => WindowInput::Named(name),
            InputTokens::Query(Spanned { value, span }) => {
                let tokens = self.replaced(&value, span.end);
                let query = parse_query(&tokens, span.end, self.names)?;
                WindowInput::Query(Box::new(Spanned { value: *query, span }))
            }
        };
        let key = |PartitionTokens { tokens, span }| {
            parse_expression(&tokens, span.end, self.names).map(|value| Spanned { value, span })
        };
        let partition_by = partition_by.into_iter().map(key).collect::<Parsed<Vec<_>>>()?;
        Ok(WindowCall { relation: String::new(), span, function, input, partition_by, time })
    }
}

/// A quoted name.
fn name(value: &str, span: Span) -> TokenWithSpan {
    let word = Word { value: value.to_owned(), quote_style: Some('"'), keyword: Keyword::NoKeyword };
    TokenWithSpan::new(Token::Word(word), span)
}

/// Whether an alias begins here.
fn is_alias(next: &TokenWithSpan) -> bool {
    match &next.token {
        Token::Word(word) => word.keyword == Keyword::NoKeyword || word.keyword == Keyword::AS,
        _ => false,
    }
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

/// Whether the first argument of a window function begins at `index`.
pub(super) fn begins_input(tokens: &[TokenWithSpan], index: usize) -> bool {
    let is_table = |index: usize| tokens.get(index).is_some_and(|token| is_word(&token.token, "TABLE"));
    let open = match index.checked_sub(1) {
        Some(before) if is_table(before) => before.checked_sub(1),
        before => before,
    };
    open.and_then(|open| open.checked_sub(1)).is_some_and(|function| function_at(tokens, function).is_some())
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

/// The stream's own name, so that `stream.column` resolves; with a number if it is taken, as that of a query always is.
fn relation(call: &WindowCall, queries: &[String], before: &[WindowCall]) -> String {
    let plain = call.input.name().unwrap_or("windowed");
    let is_free =
        |name: &str| !queries.iter().chain(before.iter().map(|call| &call.relation)).any(|taken| taken == name);
    let mut names = std::iter::once(plain.to_owned()).chain((2..).map(|number| format!("{plain}_{number}")));
    names.find(|name| is_free(name)).expect("there is always another number")
}

fn misplaced(function: &str, span: Span) -> Problem {
    Problem::new(
        span,
        format!("{function} makes a table of windows and stands in FROM, not here"),
        format!("write FROM {function}(stream, event_time, …), then use window_start and window_end"),
    )
}

fn parse_call(cursor: &mut Cursor<'_>, function: &Function, long_form: bool) -> Parsed<functions::Arguments> {
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
    Ok(arguments)
}
