//! What is wrong with a job file: collected, so that all problems are shown at once, each with its place and the way out.

use datafusion_sql::sqlparser::tokenizer::{Location, Span};

/// Lines of places that say their file have its number above these bits.
const LINE_BITS: u32 = 32;

/// `span` of this file as a place that says so: tokens of an included file travel into the queries of others.
pub(super) fn in_file(file: usize, span: Span) -> Span {
    let line = |location: Location| Location::new(location.line | (file as u64) << LINE_BITS, location.column);
    Span::new(line(span.start), line(span.end))
}

/// The file that `span` says, 0 if none, and the place in it.
fn file_and_place(span: Span) -> (usize, Span) {
    let file = |location: Location| location.line >> LINE_BITS;
    let line = |location: Location| Location::new(location.line & ((1 << LINE_BITS) - 1), location.column);
    // From one file into another: where it begins must do.
    let end = if file(span.end) == file(span.start) { span.end } else { span.start };
    (usize::try_from(file(span.start)).expect("files are counted from 0"), Span::new(line(span.start), line(end)))
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Which of the job's files: 0 is the job file itself.
    pub file: usize,
    /// Where, in lines and columns from 1; `None` when the file as a whole is meant.
    pub span: Option<Span>,
    /// What is wrong: a lower-case sentence without a full stop, naming the value.
    pub message: String,
    /// The way out: what to write instead, or the name that was probably meant.
    pub help: Option<String>,
}

impl Problem {
    /// A problem at `span`; an empty `help` means none.
    pub fn new(span: Span, message: impl Into<String>, help: impl Into<String>) -> Problem {
        let help = Some(help.into()).filter(|help| !help.is_empty());
        Problem { file: 0, span: Some(span), message: message.into(), help }
    }

    /// A problem of the file as a whole.
    pub fn of_file(message: impl Into<String>, help: impl Into<String>) -> Problem {
        Problem { file: 0, span: None, message: message.into(), help: Some(help.into()) }
    }
}

/// All problems of one job, in the order in which they were found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Problems {
    found: Vec<Problem>,
    file: usize,
}

impl Problems {
    /// From now on problems are those of this file, unless they say another.
    pub fn set_file(&mut self, file: usize) {
        self.file = file;
    }

    /// Adds one.
    pub fn add(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.push(Problem::new(span, message, help));
    }

    /// Adds one that was made elsewhere.
    pub fn push(&mut self, problem: Problem) {
        let (said, span) = problem.span.map(file_and_place).unzip();
        let said = said.filter(|file| *file > 0).unwrap_or(problem.file);
        let file = if said > 0 { said } else { self.file };
        self.found.push(Problem { file, span, ..problem });
    }

    /// The value, or `None` with its problem added.
    pub fn keep<T>(&mut self, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.push(problem)).ok()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The problems, by file, line and column.
    pub fn into_sorted(mut self) -> Vec<Problem> {
        let place = |problem: &Problem| problem.span.map(|span| (span.start.line, span.start.column));
        self.found.sort_by_key(|problem| (problem.file, place(problem)));
        self.found
    }
}
