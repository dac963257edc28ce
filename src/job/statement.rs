//! From the text of a job file, and of those that it includes, to its statements. Invariant: an error in one statement never hides those of another.

use std::collections::BTreeSet;

use datafusion_sql::sqlparser::tokenizer::Span;

use super::definition::{JobDefinition, Spanned};
use super::include::{ReadFile, SourceText, Sources};
use super::insert;
use super::problem::{Problem, Problems};
use super::query_text::Names;
use super::stream;
use super::suggest::nearest;
use super::tokens::{Cursor, StatementTokens, statements};
use super::view::{self, View};

const INCLUDE_HELP: &str = "write INCLUDE 'file.sql'; with a path relative to this file";

/// A parsed job.
#[derive(Debug)]
pub struct Parsed {
    /// What could be read. Statements with problems are left out, except streams, which are kept as far as they go.
    pub definition: JobDefinition,
    /// Its files, the job file first.
    pub files: Vec<SourceText>,
    /// Names of streams with problems: nothing that is missing in them, or refers to them, should be blamed again.
    pub broken: BTreeSet<String>,
    /// Whether a statement was left out that may have been an INSERT: then it isn't said that there is none.
    pub may_lack_inserts: bool,
    /// Whether a statement was left out that may have declared a stream or a view: then unknown ones aren't blamed.
    pub may_lack_streams: bool,
}

/// Parses the text of a job file and of the files that it includes, which `read` gives; `name` is the file's stem.
pub fn parse(name: &str, text: &str, read: &ReadFile<'_>, problems: &mut Problems) -> Parsed {
    let definition = JobDefinition { name: name.to_owned(), streams: Vec::new(), inserts: Vec::new() };
    let parsed = Parsed {
        definition,
        files: Vec::new(),
        broken: BTreeSet::new(),
        may_lack_inserts: false,
        may_lack_streams: false,
    };
    let sources = Sources::new(format!("{name}.sql"), text, read);
    let mut reading = Reading { sources, parsed, views: Vec::new(), inserts: Vec::new() };
    reading.read(0, problems);
    let Reading { sources, mut parsed, views, inserts } = reading;
    // Streams first, wherever they stand: how a query is read depends on the names of their columns.
    let streams = &parsed.definition.streams;
    let names: Names =
        streams.iter().flat_map(|stream| &stream.columns).map(|column| column.name.value.clone()).collect();
    let statements = views.len();
    let views: Vec<View> = views.iter().filter_map(|statement| view::parse(statement, &names, problems)).collect();
    parsed.may_lack_streams |= views.len() < statements;
    let is_stream = |name: &str| parsed.definition.streams.iter().any(|stream| stream.name.value == name);
    let views = view::with_own_names(views, is_stream, problems);
    for statement in inserts {
        match insert::parse(&statement, &names, &views, problems) {
            Some(insert) => parsed.definition.inserts.push(insert),
            None => parsed.may_lack_inserts = true,
        }
    }
    parsed.files = sources.into_files();
    parsed
}

/// A job's files on their way to statements.
struct Reading<'a> {
    sources: Sources<'a>,
    parsed: Parsed,
    /// In the order of reading; their places say the file, as they go into queries of others.
    views: Vec<StatementTokens>,
    /// Of the job file.
    inserts: Vec<StatementTokens>,
}

impl Reading<'_> {
    /// Reads one file, and those that it includes where it names them: as if their text stood there.
    fn read(&mut self, file: usize, problems: &mut Problems) {
        problems.set_file(file);
        let statements = statements(self.sources.text(file), problems);
        self.parsed.may_lack_streams |= statements.is_cut_off;
        self.parsed.may_lack_inserts |= statements.is_cut_off;
        for statement in statements.whole {
            let cursor = Cursor::new(&statement.tokens, statement.end);
            if cursor.at_words(&["CREATE", "STREAM"]) {
                self.stream(&statement, file, problems);
            } else if cursor.at_words(&["INCLUDE"]) {
                self.include(cursor, file, problems);
            } else if cursor.at_words(&["CREATE", "VIEW"]) {
                self.views.push(statement.in_file(file));
            } else if !cursor.at_words(&["INSERT"]) {
                problems.push(refused(cursor));
                self.parsed.may_lack_inserts = true;
                self.parsed.may_lack_streams = true;
            } else if file == 0 {
                self.inserts.push(statement);
            } else {
                let message = "an included file has no INSERT: every job that includes it would write the same table";
                problems.push(Problem::new(cursor.span(), message, "keep INSERTs in the job file"));
            }
        }
    }

    fn stream(&mut self, statement: &StatementTokens, file: usize, problems: &mut Problems) {
        let wrong_before = problems.len();
        let Some(stream) = stream::parse(statement, file, problems) else {
            self.parsed.may_lack_streams = true;
            return;
        };
        if problems.len() > wrong_before {
            self.parsed.broken.insert(stream.name.value.clone());
        }
        self.parsed.definition.streams.push(stream);
    }

    fn include(&mut self, cursor: Cursor<'_>, file: usize, problems: &mut Problems) {
        match parse_include(cursor).and_then(|path| self.sources.enter(&path)) {
            Ok(Some(included)) => {
                self.read(included, problems);
                self.sources.leave();
                problems.set_file(file);
            }
            Ok(None) => {}
            Err(problem) => {
                problems.push(problem);
                self.parsed.may_lack_streams = true;
            }
        }
    }
}

/// `INCLUDE 'file.sql'`.
fn parse_include(mut cursor: Cursor<'_>) -> Result<Spanned<String>, Problem> {
    cursor.advance();
    let path = cursor.text("the path of a file", INCLUDE_HELP)?;
    if cursor.is_at_end() { Ok(path) } else { Err(cursor.unexpected("`;`", INCLUDE_HELP)) }
}

/// Why a statement that is neither CREATE STREAM nor INSERT is refused.
fn refused(mut cursor: Cursor<'_>) -> Problem {
    let is = |cursor: &Cursor<'_>, words: &[&str]| words.iter().any(|word| cursor.at_words(&[word]));
    let start = cursor.span();
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
    let help = match nearest(&found, ["CREATE", "INSERT", "INCLUDE", "SELECT"]) {
        Some("CREATE") => "did you mean CREATE STREAM?",
        Some("INCLUDE") => "did you mean INCLUDE 'file.sql'?",
        Some("INSERT") => "did you mean INSERT INTO ICEBERG?",
        _ => {
            "statements are CREATE STREAM …, CREATE VIEW …, INCLUDE '…' and INSERT INTO ICEBERG '…' SELECT …, each with `;` behind it"
        }
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
        let message = "a view of a job is always the same query, and is never stored";
        return Problem::new(start.union(&what), message, "write CREATE VIEW name AS SELECT …");
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
