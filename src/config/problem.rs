//! What can be wrong with a project: all problems of a file at once, each with its line and the way out.

use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use thiserror::Error;

use crate::job::Colour;

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
    /// All problems with file, line and caret, ready to print; ends without a line break.
    pub fn render(&self, colour: Colour) -> String {
        let renderer = match colour {
            Colour::Plain => Renderer::plain(),
            Colour::Ansi => Renderer::styled(),
        };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Project;

    #[test]
    fn problems_show_their_lines_and_the_way_out() {
        let text = "[catalog]\ntype = \"rest\"\n\n[run]\nworker = 4\ncheckpoint_interval = \"10\"\n".to_owned();
        let problems = Project::parse(PathBuf::from("/project"), &text).expect_err("refused");
        let error = ConfigError::Invalid { path: PathBuf::from("jobs/kappa.toml"), text, problems };
        assert_eq!(error.to_string(), "jobs/kappa.toml has 3 problems");
        let expected = "\
error: a REST catalog needs `catalog.uri`
 --> jobs/kappa.toml:2:8
  |
2 | type = \"rest\"
  |        ^^^^^^
  |
  = help: add its address: uri = \"https://…\"

error: [run] has no key `worker`
 --> jobs/kappa.toml:5:1
  |
5 | worker = 4
  | ^^^^^^
  |
  = help: did you mean `workers`?

error: `run.checkpoint_interval`: `10` has no unit; write 10s for seconds, 10ms for milliseconds, 10m for minutes
 --> jobs/kappa.toml:6:23
  |
6 | checkpoint_interval = \"10\"
  |                       ^^^^";
        assert_eq!(error.render(Colour::Plain), expected);
    }
}
