//! Problems as people read them: the line of the file with a caret, and the way out.

use std::fmt;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use datafusion_sql::sqlparser::tokenizer::{Location, Span};

use super::include::SourceText;
use super::problem::Problem;

/// All that is wrong with one job file and those that it includes.
#[derive(Clone, Debug, PartialEq)]
pub struct JobErrors {
    /// The job file first. At least one.
    files: Vec<SourceText>,
    problems: Vec<Problem>,
}

/// Whether messages are coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// Plain text.
    Plain,
    /// With the escape codes of terminals.
    Ansi,
}

impl JobErrors {
    /// `problems`, at least one, of `files`, the job file first.
    pub(super) fn new(files: Vec<SourceText>, problems: Vec<Problem>) -> JobErrors {
        assert!(!problems.is_empty(), "errors without a problem");
        JobErrors { files, problems }
    }

    /// The same, with the path by which the user knows the job file; those of included files follow from it.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> JobErrors {
        let path = path.into();
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for file in &mut self.files[1..] {
            if !folder.is_empty() {
                file.path = format!("{folder}/{}", file.path);
            }
        }
        self.files[0].path = path;
        self
    }

    /// The path of the job file: what was given to [`JobErrors::with_path`], else the job's name with `.sql`.
    pub fn path(&self) -> &str {
        &self.files[0].path
    }

    /// The path of the file that a problem is in.
    pub fn path_of(&self, problem: &Problem) -> &str {
        &self.files[problem.file].path
    }

    /// The problems, by file, line and column.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// All problems with their lines, carets and ways out; ends without a line break.
    pub fn render(&self, colour: Colour) -> String {
        let renderer = match colour {
            Colour::Plain => Renderer::plain(),
            Colour::Ansi => Renderer::styled(),
        };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let rendered: Vec<String> = self.problems.iter().map(|problem| self.render_one(problem, &renderer)).collect();
        rendered.join("\n\n")
    }

    fn render_one(&self, problem: &Problem, renderer: &Renderer) -> String {
        let title = Level::ERROR.primary_title(problem.message.as_str());
        let place = problem.span.filter(|span| span.start.line > 0);
        let SourceText { path, text } = &self.files[problem.file];
        let mut group = match place {
            Some(span) => {
                let annotation = AnnotationKind::Primary.span(bytes(text, span));
                title.element(Snippet::source(text.as_str()).path(path.as_str()).annotation(annotation))
            }
            None => Group::with_title(title).element(annotate_snippets::Origin::path(path.as_str())),
        };
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        renderer.render(&[group])
    }
}

/// The bytes of the text that `span` means; never reaches beyond its first line, so that messages stay short.
fn bytes(text: &str, span: Span) -> std::ops::Range<usize> {
    let start = byte(text, span.start);
    let end = if span.end.line > span.start.line { line_end(text, start) } else { byte(text, span.end) };
    start..end.max(start)
}

fn byte(text: &str, location: Location) -> usize {
    let index = |number: u64| usize::try_from(number.saturating_sub(1)).unwrap_or(usize::MAX);
    let mut from = 0;
    for _ in 0..index(location.line) {
        match text[from..].find('\n') {
            Some(newline) => from += newline + 1,
            None => return text.len(),
        }
    }
    let to = line_end(text, from);
    text[from..to].char_indices().nth(index(location.column)).map_or(to, |(offset, _)| from + offset)
}

/// The end of the line that `byte` is in, without its line break.
fn line_end(text: &str, byte: usize) -> usize {
    let end = text[byte..].find('\n').map_or(text.len(), |newline| byte + newline);
    if text[byte..end].ends_with('\r') { end - 1 } else { end }
}

impl fmt::Display for JobErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Colour::Plain))
    }
}

impl std::error::Error for JobErrors {}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(text: &str, span: Option<Span>) -> String {
        let problem = Problem { file: 0, span, message: "wrong".into(), help: Some("write it right".into()) };
        let file = SourceText { path: "job.sql".into(), text: text.into() };
        JobErrors::new(vec![file], vec![problem]).to_string()
    }

    fn span(start: (u64, u64), end: (u64, u64)) -> Option<Span> {
        Some(Span::new(Location::new(start.0, start.1), Location::new(end.0, end.1)))
    }

    #[test]
    fn the_caret_stands_under_the_right_letters() {
        for text in ["one\ntwö three\nfour", "one\r\ntwö three\r\nfour"] {
            let expected =
                "error: wrong\n --> job.sql:2:5\n  |\n2 | twö three\n  |     ^^^^^\n  |\n  = help: write it right";
            assert_eq!(rendered(text, span((2, 5), (2, 10))), expected);
        }
    }

    #[test]
    fn a_place_over_several_lines_ends_with_its_first() {
        let message = rendered("one two\nthree\n", span((1, 5), (2, 3)));
        assert!(message.contains("    ^^^\n"), "{message}");
        assert!(!message.contains("three"), "{message}");
    }

    #[test]
    fn places_beyond_the_text_are_its_end() {
        for place in [span((9, 9), (9, 12)), span((1, 400), (1, 401)), span((0, 0), (0, 0)), None] {
            assert!(rendered("one\n", place).contains("write it right"));
        }
        assert!(rendered("", span((1, 1), (1, 2))).contains("wrong"));
    }
}
