//! What can be wrong with a project: all problems of a file at once, each with its line and the way out.

use std::ops::Range;
use std::path::{Path, PathBuf};

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use thiserror::Error;

use super::mask;
use super::settings::Origin;
use crate::job::Colour;

/// Where something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// At these bytes of `kappa.toml`.
    File(Range<usize>),
    /// In a variable of the environment or an option of the command line, called so.
    Outside(String),
    /// Nowhere: something is missing.
    Nowhere,
}

impl Place {
    /// The place where a value was set.
    pub(super) fn of(origin: &Origin) -> Place {
        match origin {
            Origin::Default => Place::Nowhere,
            Origin::File(span) | Origin::Profile { span, .. } => Place::File(span.clone()),
            Origin::Environment(name) => Place::Outside(format!("environment variable {name}")),
            Origin::Flag(path) => Place::Outside(format!("--set {path}")),
        }
    }

    /// The bytes of the file that are meant.
    pub fn span(&self) -> Option<Range<usize>> {
        match self {
            Place::File(span) => Some(span.clone()),
            Place::Outside(_) | Place::Nowhere => None,
        }
    }
}

/// One thing that is wrong with the settings of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigProblem {
    /// Where.
    pub place: Place,
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
    #[error("{} has {}", subject(path, problems), count(problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Its text.
        text: String,
        /// What is wrong: in the file, in its order, then in the environment and on the command line; at least one.
        problems: Vec<ConfigProblem>,
    },
}

/// What the problems are of: the file, unless it has no part in them.
fn subject(path: &Path, problems: &[ConfigProblem]) -> String {
    match problems.iter().all(|problem| matches!(problem.place, Place::Outside(_))) {
        true => "the configuration".to_owned(),
        false => path.display().to_string(),
    }
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
                let text = mask::without_secrets(text);
                let blocks: Vec<String> = problems
                    .iter()
                    .map(|problem| render_problem(&renderer, &shown_path(path), &text, problem))
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
    let group = match &problem.place {
        Place::File(span) => {
            let caret = AnnotationKind::Primary.span(span.clone());
            title.element(Snippet::source(text).path(path).annotation(caret))
        }
        Place::Outside(name) => title.element(annotate_snippets::Origin::path(name)),
        Place::Nowhere => title.element(annotate_snippets::Origin::path(path)),
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
