//! `CREATE VIEW name AS SELECT …`: a query under a name. An INSERT that reads it gets it as a CTE, with the places of its
//! own text, so that a view means exactly what the query would mean written out.

use datafusion_sql::sqlparser::keywords::Keyword;
use datafusion_sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan, Word};

use super::definition::Spanned;
use super::problem::{Problem, Problems};
use super::query_text::{Names, parse_query};
use super::tokens::{Cursor, Parsed, StatementTokens, is_word};
use super::window_call;

const VIEW_HELP: &str = "write CREATE VIEW name AS SELECT …";

/// A view as written.
#[derive(Debug)]
pub(super) struct View {
    /// Its name.
    pub name: Spanned<String>,
    /// Whether its query can be read. If not, that was said.
    pub is_good: bool,
    tokens: Vec<TokenWithSpan>,
}

/// Parses a view; `names` are the columns of all streams. `None` if not even its name can be read.
pub(super) fn parse(statement: &StatementTokens, names: &Names, problems: &mut Problems) -> Option<View> {
    let mut cursor = Cursor::new(&statement.tokens, statement.end);
    let name = problems.keep(parse_head(&mut cursor))?;
    let before = problems.len();
    let tokens = cursor.take_until(|_, _| false).to_vec();
    let end = statement.end.start;
    let extracted = window_call::extract(&tokens, end, names, problems);
    problems.keep(parse_query(&extracted.tokens, end, names));
    Some(View { name, is_good: problems.len() == before, tokens })
}

fn parse_head(cursor: &mut Cursor<'_>) -> Parsed<Spanned<String>> {
    cursor.advance();
    cursor.advance();
    let name = cursor.name("the name of the view", VIEW_HELP)?;
    if cursor.peek() == Some(&Token::LParen) {
        let help = "name the columns in the SELECT: expression AS name";
        return Err(Problem::new(cursor.span(), "a view has no list of columns", help));
    }
    cursor.expect_word("AS", VIEW_HELP)?;
    if !(cursor.at_words(&["SELECT"]) || cursor.at_words(&["WITH"])) {
        return Err(cursor.unexpected("`SELECT`", VIEW_HELP));
    }
    Ok(name)
}

/// The views without those whose name is taken, of which it says so.
pub(super) fn with_own_names(views: Vec<View>, is_stream: impl Fn(&str) -> bool, problems: &mut Problems) -> Vec<View> {
    let mut own: Vec<View> = Vec::with_capacity(views.len());
    for view in views {
        let name = &view.name.value;
        if own.iter().any(|other| other.name.value == *name) {
            problems.add(view.name.span, format!("a second view `{name}`"), "give one of them another name");
        } else if is_stream(name) {
            problems.add(view.name.span, format!("`{name}` is a stream already"), "give the view another name");
        } else {
            own.push(view);
        }
    }
    own
}

/// The tokens of a query with the views that it reads, and those that they read, written before it as CTEs. `None` if one
/// of them is broken.
pub(super) fn with_views(query: &[TokenWithSpan], views: &[View]) -> Option<Vec<TokenWithSpan>> {
    let mut read = vec![false; views.len()];
    let mark = |tokens: &[TokenWithSpan], read: &mut Vec<bool>| {
        for (index, view) in views.iter().enumerate() {
            read[index] |= reads(tokens, &view.name.value);
        }
    };
    mark(query, &mut read);
    // A view reads views above it only, so from the last to the first nothing is missed.
    for index in (0..views.len()).rev() {
        if read[index] {
            mark(&views[index].tokens, &mut read);
        }
    }
    let used: Vec<&View> = views.iter().zip(read).filter(|(_, read)| *read).map(|(view, _)| view).collect();
    if used.is_empty() {
        return Some(query.to_vec());
    }
    if used.iter().any(|view| !view.is_good) {
        return None;
    }
    Some(put_before(query, &used))
}

fn put_before(query: &[TokenWithSpan], used: &[&View]) -> Vec<TokenWithSpan> {
    let place = query.first().map_or_else(Span::empty, |token| token.span);
    let symbol = |token: Token| TokenWithSpan::new(token, place);
    let word =
        |text: &str, keyword: Keyword| symbol(Token::Word(Word { value: text.into(), quote_style: None, keyword }));
    let has_ctes = query.first().is_some_and(|first| is_word(&first.token, "WITH"));
    let mut tokens = vec![word("WITH", Keyword::WITH)];
    for (index, view) in used.iter().enumerate() {
        if index > 0 {
            tokens.push(symbol(Token::Comma));
        }
        let name = Word { value: view.name.value.clone(), quote_style: Some('"'), keyword: Keyword::NoKeyword };
        tokens.push(symbol(Token::Word(name)));
        tokens.push(word("AS", Keyword::AS));
        tokens.push(symbol(Token::LParen));
        tokens.extend(view.tokens.iter().cloned());
        tokens.push(symbol(Token::RParen));
    }
    if has_ctes {
        tokens.push(symbol(Token::Comma));
    }
    tokens.extend(query.iter().skip(usize::from(has_ctes)).cloned());
    tokens
}

/// Whether a query reads the table `name`: whether that stands behind FROM, JOIN or a comma, or first in a window function.
fn reads(tokens: &[TokenWithSpan], name: &str) -> bool {
    tokens.iter().enumerate().skip(1).any(|(index, token)| {
        let before = &tokens[index - 1].token;
        let in_from = *before == Token::Comma || is_word(before, "FROM") || is_word(before, "JOIN");
        let in_window = || window_call::begins_input(tokens, index);
        matches!(&token.token, Token::Word(word) if named(word, name)) && (in_from || in_window())
    })
}

fn named(word: &Word, name: &str) -> bool {
    if word.quote_style.is_some() { word.value == name } else { word.value.to_lowercase() == name }
}
