//! What can be wrong with a project: all problems of a file at once, each with its line and the way out.

use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use thiserror::Error;

/// One thing that is wrong with a `kappa.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Bytes of the file that are meant; `None` when something is missing.
    pub span: Option<Range<usize>>,
    /// What is wrong: a lower-case sentence without a full stop.
    pub message: String,
    /// The way out; empty when the message says it.
    pub help: String,
}

/// Why there is no usable project.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file is there but can't be read.
    #[error("{} can't be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The folder that a job stands in, or the current one, can't be told.
    #[error("the folder {} can't be opened: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file was read, and something in it is wrong.
    #[error("{} has {}", path.display(), count(problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Its text.
        text: String,
        /// What is wrong, in the order of the file; at least one.
        problems: Vec<ConfigProblem>,
    },
}

fn count(problems: &[ConfigProblem]) -> String {
    match problems {
        [one] => format!("a problem: {}", one.message),
        many => format!("{} problems", many.len()),
    }
}

impl ConfigError {
    /// All problems with file, line and caret, ready to print; with colours if `styled`.
    pub fn render(&self, styled: bool) -> String {
        let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
        match self {
            ConfigError::Invalid { path, text, problems } => {
                let blocks: Vec<String> = problems
                    .iter()
                    .map(|problem| render_problem(&renderer, &shown_path(path), text, problem))
                    .collect();
                blocks.join("\n\n")
            }
            other => renderer.render(&[Level::ERROR.primary_title(other.to_string()).elements(NOTHING)]),
        }
    }
}

/// A title without anything below it.
const NOTHING: [annotate_snippets::Padding; 0] = [];

fn render_problem(renderer: &Renderer, path: &str, text: &str, problem: &ConfigProblem) -> String {
    let title = Level::ERROR.primary_title(&problem.message);
    let group = match &problem.span {
        Some(span) => {
            let caret = AnnotationKind::Primary.span(span.clone());
            title.element(Snippet::source(text).path(path).annotation(caret))
        }
        None => title.element(annotate_snippets::Origin::path(path)),
    };
    let group = if problem.help.is_empty() { group } else { group.element(Level::HELP.message(&problem.help)) };
    renderer.render(&[group])
}

/// The path as the user would type it: relative to the current folder where it lies below.
fn shown_path(path: &Path) -> String {
    let current = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&current).unwrap_or(path).display().to_string()
}
