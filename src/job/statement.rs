//! From the text of a job file to its statements. Invariant: an error in one statement never hides those of another.

use std::collections::BTreeSet;

use datafusion_sql::sqlparser::tokenizer::Span;

use super::definition::JobDefinition;
use super::insert;
use super::problem::{Problem, Problems};
use super::query_text::Names;
use super::stream;
use super::suggest::nearest;
use super::tokens::{Cursor, StatementTokens, statements};

/// A parsed file.
#[derive(Debug)]
pub struct Parsed {
    /// What could be read. Statements with problems are left out, except streams, which are kept as far as they go.
    pub definition: JobDefinition,
    /// Names of streams with problems: nothing that is missing in them, or refers to them, should be blamed again.
    pub broken: BTreeSet<String>,
    /// Whether a statement was left out that may have been an INSERT: then it isn't said that there is none.
    pub may_lack_inserts: bool,
    /// Whether a statement was left out that may have declared a stream: then unknown ones aren't blamed.
    pub may_lack_streams: bool,
}

/// Parses the text of a job file; `name` is the file's stem.
pub fn parse(name: &str, text: &str, problems: &mut Problems) -> Parsed {
    let definition = JobDefinition { name: name.to_owned(), streams: Vec::new(), inserts: Vec::new() };
    let statements = statements(text, problems);
    let cut_off = statements.is_cut_off;
    let mut parsed =
        Parsed { definition, broken: BTreeSet::new(), may_lack_inserts: cut_off, may_lack_streams: cut_off };
    // Streams first, wherever they stand: how a query is read depends on the names of their columns.
    let (streams, others): (Vec<_>, Vec<_>) = statements
        .whole
        .iter()
        .partition(|statement| Cursor::new(&statement.tokens, statement.end).at_words(&["CREATE", "STREAM"]));
    for statement in streams {
        parse_stream(statement, &mut parsed, problems);
    }
    let columns = parsed.definition.streams.iter().flat_map(|stream| &stream.columns);
    let names = columns.map(|column| column.name.value.clone()).collect();
    for statement in others {
        parse_other(statement, &names, &mut parsed, problems);
    }
    parsed
}

fn parse_stream(statement: &StatementTokens, parsed: &mut Parsed, problems: &mut Problems) {
    let wrong_before = problems.len();
    let Some(stream) = stream::parse(statement, problems) else {
        parsed.may_lack_streams = true;
        return;
    };
    if problems.len() > wrong_before {
        parsed.broken.insert(stream.name.value.clone());
    }
    parsed.definition.streams.push(stream);
}

fn parse_other(statement: &StatementTokens, names: &Names, parsed: &mut Parsed, problems: &mut Problems) {
    let cursor = Cursor::new(&statement.tokens, statement.end);
    if cursor.at_words(&["INSERT"]) {
        match insert::parse(statement, names, problems) {
            Some(insert) => parsed.definition.inserts.push(insert),
            None => parsed.may_lack_inserts = true,
        }
    } else {
        problems.push(refused(cursor));
        parsed.may_lack_inserts = true;
        parsed.may_lack_streams = true;
    }
}

/// Why a statement that is neither CREATE STREAM nor INSERT is refused.
fn refused(mut cursor: Cursor<'_>) -> Problem {
    let is = |cursor: &Cursor<'_>, words: &[&str]| words.iter().any(|word| cursor.at_words(&[word]));
    let start = cursor.span();
    if is(&cursor, &["INCLUDE"]) {
        let help = "copy the CREATE STREAM into this file";
        return Problem::new(start, "INCLUDE is not supported yet", help);
    }
    if is(&cursor, &["SELECT", "WITH", "FROM", "VALUES"]) {
        let message = "a query alone goes nowhere";
        return Problem::new(start, message, "write INSERT INTO ICEBERG 'namespace.table' before it");
    }
    if is(&cursor, &["CREATE"]) {
        cursor.advance();
        return refused_create(cursor, start);
    }
    if is(&cursor, &["EXPLAIN", "DESCRIBE", "SHOW"]) {
        return Problem::new(start, "a job file only says what to compute", "run `kappa explain JOB` to see its plan");
    }
    if is(&cursor, &["SET", "USE", "RESET", "ADD"]) {
        let help = "settings stand in kappa.toml, and what differs from run to run on the command line";
        return Problem::new(start, "a job file has no settings", help);
    }
    if is(&cursor, &["DROP", "ALTER", "DELETE", "UPDATE", "MERGE", "TRUNCATE", "EXECUTE", "BEGIN"]) {
        let message = "a job file only declares streams and what is computed from them";
        return Problem::new(
            start,
            message,
            "leave the statement out; tables are made and replaced by `kappa run` and `kappa backfill`",
        );
    }
    let found = cursor.peek().map(ToString::to_string).unwrap_or_default();
    let help = match nearest(&found, ["CREATE", "INSERT", "SELECT"]) {
        Some("CREATE") => "did you mean CREATE STREAM?",
        Some("INSERT") => "did you mean INSERT INTO ICEBERG?",
        _ => "statements are CREATE STREAM … and INSERT INTO ICEBERG '…' SELECT …, each with `;` behind it",
    };
    cursor.unexpected("a statement", help)
}

fn refused_create(mut cursor: Cursor<'_>, start: Span) -> Problem {
    if cursor.eat_words(&["OR", "REPLACE"]) && cursor.at_words(&["STREAM"]) {
        let message = "OR REPLACE has no meaning: streams live in this file only";
        return Problem::new(cursor.span_since(start), message, "write CREATE STREAM");
    }
    while cursor.eat_words(&["TEMPORARY"]) || cursor.eat_words(&["TEMP"]) || cursor.eat_words(&["MATERIALIZED"]) {}
    let what = cursor.span();
    if cursor.at_words(&["VIEW"]) {
        let help = "write its expressions into the SELECT of the INSERT, or as computed columns of the stream: name TYPE AS expression";
        return Problem::new(start.union(&what), "CREATE VIEW is not supported yet", help);
    }
    if ["TABLE", "SOURCE", "EXTERNAL"].iter().any(|word| cursor.at_words(&[word])) {
        let help =
            "write CREATE STREAM name (…) LIVE FROM KAFKA 'topic' FORMAT JSON; result tables are made by themselves";
        return Problem::new(start.union(&what), "a job declares streams, not tables", help);
    }
    if cursor.at_words(&["SINK"]) || cursor.at_words(&["CONNECTION"]) || cursor.at_words(&["CATALOG"]) {
        let help =
            "results go to tables by INSERT INTO ICEBERG 'namespace.table'; catalogs and brokers stand in kappa.toml";
        return Problem::new(start.union(&what), "a job declares streams only", help);
    }
    if cursor.at_words(&["FUNCTION"]) {
        return Problem::new(start.union(&what), "functions can't be declared", "write the expression out");
    }
    let found = cursor.peek().map(ToString::to_string).unwrap_or_default();
    let help = match nearest(&found, ["STREAM"]) {
        Some(_) => "did you mean CREATE STREAM?",
        None => "write CREATE STREAM name (…) LIVE FROM …",
    };
    cursor.unexpected("`STREAM`", help)
}
