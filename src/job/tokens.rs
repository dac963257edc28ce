//! A job file as tokens, and a cursor over those of one statement.
//! Invariant: every token keeps its place in the file, so that every problem can point at what it means.

use datafusion_sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion_sql::sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer, Word};

use super::definition::Spanned;
use super::problem::{Problem, Problems, in_file};

/// What a parsing step gives: its value, or the one problem that stopped it.
pub(super) type Parsed<T> = Result<T, Problem>;

/// The SQL dialect of job files. PostgreSQL's refuses clauses that others accept and that would be ignored silently
/// (ClickHouse's FORMAT and SETTINGS, Oracle's CONNECT BY).
pub(super) const DIALECT: PostgreSqlDialect = PostgreSqlDialect {};

/// The tokens of one statement, without white space and comments, and the place right behind them.
#[derive(Debug)]
pub(super) struct StatementTokens {
    /// At least one.
    pub tokens: Vec<TokenWithSpan>,
    /// Where the statement ends: its `;`, or the end of its last token.
    pub end: Span,
}

impl StatementTokens {
    /// The statement with places that say the file.
    pub(super) fn in_file(mut self, file: usize) -> StatementTokens {
        for token in &mut self.tokens {
            token.span = in_file(file, token.span);
        }
        StatementTokens { end: in_file(file, self.end), ..self }
    }
}

/// The statements of a file.
#[derive(Debug)]
pub(super) struct Statements {
    /// In order; those without tokens are left out.
    pub whole: Vec<StatementTokens>,
    /// Whether what stands behind them can't be read.
    pub is_cut_off: bool,
}

/// Cuts the text into statements at `;`. A statement with a character that can't be read is left out, with all behind it.
pub(super) fn statements(text: &str, problems: &mut Problems) -> Statements {
    let mut tokens = Vec::new();
    let read = Tokenizer::new(&DIALECT, text).tokenize_with_location_into_buf(&mut tokens);
    let is_cut_off = read.is_err();
    if let Err(error) = read {
        // What can't be read begins where the last token ends; sqlparser says where it gave up.
        let place = tokens.last().map_or(Location::new(1, 1), |last| last.span.end);
        let (message, help) = unreadable(&error.message);
        problems.add(place.span_to(place), message, help);
    }
    let mut whole = Vec::new();
    let mut current: Vec<TokenWithSpan> = Vec::new();
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate() {
        match token.token {
            Token::Whitespace(_) => continue,
            Token::SemiColon => {
                depth = 0;
                finish(&mut whole, &mut current, Some(token.span));
                continue;
            }
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            _ if depth == 0 && !current.is_empty() && begins_statement(&tokens[index..]) => {
                problems.add(token.span, "the statement before this has no end", "write `;` behind it");
                finish(&mut whole, &mut current, None);
            }
            _ => {}
        }
        current.push(token.clone());
    }
    if !is_cut_off {
        finish(&mut whole, &mut current, None);
    }
    Statements { whole, is_cut_off }
}

/// Whether `INSERT INTO`, `CREATE STREAM` or `INCLUDE '…'` stands here, which can't be inside of another statement.
fn begins_statement(tokens: &[TokenWithSpan]) -> bool {
    let mut words = tokens.iter().map(|token| &token.token).filter(|token| !matches!(token, Token::Whitespace(_)));
    let (Some(first), Some(second)) = (words.next(), words.next()) else { return false };
    (is_word(first, "INSERT") && is_word(second, "INTO"))
        || (is_word(first, "CREATE") && is_word(second, "STREAM"))
        || (is_word(first, "INCLUDE") && matches!(second, Token::SingleQuotedString(_)))
}

fn finish(statements: &mut Vec<StatementTokens>, current: &mut Vec<TokenWithSpan>, end: Option<Span>) {
    let Some(last) = current.last() else { return };
    let end = end.unwrap_or(Span::new(last.span.end, last.span.end));
    statements.push(StatementTokens { tokens: std::mem::take(current), end });
}

fn unreadable(message: &str) -> (String, &'static str) {
    if message.contains("Unterminated string literal") {
        ("this text has no closing quote".into(), "close it with `'`; a quote inside a text is written twice: `''`")
    } else if message.contains("multi-line comment") {
        ("this comment is never closed".into(), "close it with `*/`")
    } else if message.contains("close delimiter") {
        ("this quoted name has no closing `\"`".into(), "texts stand in single quotes, names in double quotes or none")
    } else {
        (format!("this can't be read: {message}"), "texts stand in single quotes, names in double quotes or none")
    }
}

/// Whether `token` is this word, in any case, without quotes.
pub(super) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(Word { value, quote_style: None, .. }) if value.eq_ignore_ascii_case(word))
}

/// Reads the tokens of one statement from left to right.
#[derive(Clone, Debug)]
pub(super) struct Cursor<'a> {
    tokens: &'a [TokenWithSpan],
    next: usize,
    /// Closing angle brackets already taken from the next token: `>>` is one token, but closes two types.
    closed: usize,
    end: Span,
    /// What stands behind the last token, in words.
    end_words: &'static str,
}

impl<'a> Cursor<'a> {
    /// A cursor over all of a statement.
    pub fn new(tokens: &'a [TokenWithSpan], end: Span) -> Cursor<'a> {
        Cursor { tokens, next: 0, closed: 0, end, end_words: "the end of the statement" }
    }

    /// The next token.
    pub fn peek(&self) -> Option<&'a Token> {
        self.peek_at(0)
    }

    /// The token `ahead` tokens after the next one.
    pub fn peek_at(&self, ahead: usize) -> Option<&'a Token> {
        self.tokens.get(self.next + ahead).map(|token| &token.token)
    }

    /// Place of the next token, or of the end.
    pub fn span(&self) -> Span {
        self.tokens.get(self.next).map_or(self.end, |token| token.span)
    }

    /// Place from `start` to the last token taken.
    pub fn span_since(&self, start: Span) -> Span {
        match self.next.checked_sub(1).and_then(|last| self.tokens.get(last)) {
            Some(last) if last.span.end >= start.start => start.union(&last.span),
            _ => start,
        }
    }

    /// Whether all tokens are taken.
    pub fn is_at_end(&self) -> bool {
        self.next >= self.tokens.len()
    }

    /// Takes the next token.
    pub fn advance(&mut self) -> Option<&'a TokenWithSpan> {
        let token = self.tokens.get(self.next)?;
        self.next += 1;
        self.closed = 0;
        Some(token)
    }

    /// Whether the next tokens are these words.
    pub fn at_words(&self, words: &[&str]) -> bool {
        words.iter().enumerate().all(|(ahead, word)| self.peek_at(ahead).is_some_and(|token| is_word(token, word)))
    }

    /// Takes these words, or nothing.
    pub fn eat_words(&mut self, words: &[&str]) -> bool {
        let there = self.at_words(words);
        if there {
            self.next += words.len();
        }
        there
    }

    /// Takes this token, or nothing.
    pub fn eat(&mut self, token: &Token) -> bool {
        let there = self.peek() == Some(token);
        if there {
            self.next += 1;
        }
        there
    }

    /// Takes one closing angle bracket, also a half of `>>`.
    pub fn eat_closing_angle(&mut self) -> bool {
        let Some(token) = self.peek() else { return false };
        let text = token.to_string();
        if !text.bytes().all(|byte| byte == b'>') {
            return false;
        }
        self.closed += 1;
        if self.closed == text.len() {
            self.next += 1;
            self.closed = 0;
        }
        true
    }

    /// Takes `token` or says that it is missing, with `help`.
    pub fn expect(&mut self, token: &Token, help: &str) -> Parsed<Span> {
        let span = self.span();
        if self.eat(token) { Ok(span) } else { Err(self.unexpected(&format!("`{token}`"), help)) }
    }

    /// Takes a word or says that it is missing, with `help`.
    pub fn expect_word(&mut self, word: &str, help: &str) -> Parsed<Span> {
        let span = self.span();
        if self.eat_words(&[word]) { Ok(span) } else { Err(self.unexpected(&format!("`{word}`"), help)) }
    }

    /// Takes a name, quoted or not; its case is kept.
    pub fn name(&mut self, what: &str, help: &str) -> Parsed<Spanned<String>> {
        let span = self.span();
        match self.peek() {
            Some(Token::Word(word)) => {
                self.next += 1;
                Ok(Spanned { value: word.value.clone(), span })
            }
            _ => Err(self.unexpected(what, help)),
        }
    }

    /// Takes a text in single quotes.
    pub fn text(&mut self, what: &str, help: &str) -> Parsed<Spanned<String>> {
        let span = self.span();
        match self.peek() {
            Some(Token::SingleQuotedString(text)) => {
                self.next += 1;
                Ok(Spanned { value: text.clone(), span })
            }
            Some(Token::Word(word)) if word.quote_style.is_some() => Err(Problem::new(
                span,
                format!("{what} stands in single quotes"),
                format!("write '{}'; double quotes are for names of columns", word.value),
            )),
            _ => Err(self.unexpected(what, help)),
        }
    }

    /// Takes a whole number without a sign.
    pub fn whole_number(&mut self, what: &str, help: &str) -> Parsed<Spanned<u32>> {
        let span = self.span();
        match self.peek() {
            Some(Token::Number(digits, false)) if digits.parse::<u32>().is_ok() => {
                self.next += 1;
                Ok(Spanned { value: digits.parse().expect("just parsed"), span })
            }
            _ => Err(self.unexpected(what, help)),
        }
    }

    /// The tokens from the next one up to where `stop` says so at bracket depth 0, or to an unmatched closing bracket.
    /// `stop` is asked with the tokens and an index.
    pub fn take_until(&mut self, stop: impl Fn(&[TokenWithSpan], usize) -> bool) -> &'a [TokenWithSpan] {
        let first = self.next;
        let mut depth = 0_usize;
        while let Some(token) = self.tokens.get(self.next) {
            if depth == 0 && stop(self.tokens, self.next) {
                break;
            }
            match token.token {
                Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
                Token::RParen | Token::RBracket | Token::RBrace if depth == 0 => break,
                Token::RParen | Token::RBracket | Token::RBrace => depth -= 1,
                _ => {}
            }
            self.next += 1;
        }
        self.closed = 0;
        &self.tokens[first..self.next]
    }

    /// Takes `(…)` and gives a cursor over what is inside; the place is that of both brackets with all between them.
    pub fn parenthesized(&mut self, help: &str) -> Parsed<Spanned<Cursor<'a>>> {
        let open = self.expect(&Token::LParen, help)?;
        let inner = self.take_until(|_, _| false);
        let close = self.span();
        if !self.eat(&Token::RParen) {
            return Err(Problem::new(open, "this bracket is never closed", "add the `)` that belongs to it"));
        }
        let end = Span::new(close.start, close.start);
        let inner = Cursor { end_words: "`)`", ..Cursor::new(inner, end) };
        Ok(Spanned { value: inner, span: open.union(&close) })
    }

    /// The problem "expected …, found …" at the next token.
    pub fn unexpected(&self, expected: &str, help: &str) -> Problem {
        let found = match self.peek() {
            Some(token) => format!("`{token}`"),
            None => self.end_words.to_owned(),
        };
        Problem::new(self.span(), format!("expected {expected}, found {found}"), help)
    }
}
