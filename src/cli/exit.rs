//! How the program ends: one code for each kind of end, and the one place that knows which error means which.

use std::fmt::Display;

use crate::config::ConfigError;
use crate::job::Colour;

/// What the process returns; scripts and supervisors rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Done = 0,
    /// Failed while running; worth a restart.
    Failed = 1,
    /// Wrong command line.
    Usage = 2,
    /// Invalid job, request, profile or table.
    Invalid = 3,
    /// Checked, and not equal or not safe.
    Unequal = 4,
    /// Will fail again until a person acts; not worth a restart.
    Person = 5,
    /// Interrupted twice.
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        std::process::ExitCode::from(exit as u8)
    }
}

/// Why a command ended without doing what it was asked for.
#[derive(Debug)]
pub enum Failure {
    /// The command line contradicts itself or names something that isn't there.
    Usage(String),
    /// A job, profile or table is wrong; the text is ready to print, with lines and carets where there are any.
    Invalid(String),
    /// The check found that it isn't safe to go on.
    Unsafe(String),
    /// It will fail again until a person acts.
    Person(anyhow::Error),
    /// It failed, and may succeed when it is tried again.
    Running(anyhow::Error),
}

impl Failure {
    /// The code that the process returns.
    pub fn exit(&self) -> Exit {
        match self {
            Failure::Usage(_) => Exit::Usage,
            Failure::Invalid(_) => Exit::Invalid,
            Failure::Unsafe(_) => Exit::Unequal,
            Failure::Person(_) => Exit::Person,
            Failure::Running(_) => Exit::Failed,
        }
    }

    /// An invalid job, profile or table in one sentence.
    pub fn invalid(message: impl Display) -> Failure {
        Failure::Invalid(format!("error: {message}"))
    }

    /// A failure of the surroundings: worth another try.
    pub fn running(error: impl Into<anyhow::Error>) -> Failure {
        Failure::Running(error.into())
    }
}

impl Display for Failure {
    /// As it goes to stderr: the error with its causes, and what to do about it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Usage(message) => write!(f, "error: {message}"),
            Failure::Invalid(rendered) => f.write_str(rendered),
            Failure::Unsafe(message) => write!(f, "refused: {message}"),
            Failure::Person(error) | Failure::Running(error) => {
                write!(f, "error: {}", with_causes(error))?;
                if matches!(self, Failure::Person(_)) {
                    f.write_str("\n  = note: the same command will fail again until this is settled (exit 5)")?;
                }
                Ok(())
            }
        }
    }
}

/// An error and its causes, without those that its text has in it already.
pub(super) fn with_causes(error: &anyhow::Error) -> String {
    error
        .chain()
        .skip(1)
        .map(ToString::to_string)
        .fold(error.to_string(), |text, cause| if text.contains(&cause) { text } else { format!("{text}: {cause}") })
}

/// A failed look at `kappa.toml` is an invalid profile, shown with its lines.
pub fn invalid_project(error: &ConfigError, colour: Colour) -> Failure {
    Failure::Invalid(error.render(colour))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_failure_has_its_code() {
        let io = || anyhow::anyhow!("connection refused");
        let codes = [
            (Failure::Usage(String::new()), 2),
            (Failure::invalid("x"), 3),
            (Failure::Unsafe(String::new()), 4),
            (Failure::Person(io()), 5),
            (Failure::Running(io()), 1),
        ];
        for (failure, code) in codes {
            assert_eq!(failure.exit() as u8, code, "{failure}");
        }
    }

    #[test]
    fn causes_are_shown_and_a_lasting_failure_says_so() {
        let failure = Failure::Person(anyhow::anyhow!("offset 7 is gone").context("topic clicks, partition 2"));
        let shown = failure.to_string();
        assert!(shown.starts_with("error: topic clicks, partition 2: offset 7 is gone"), "{shown}");
        assert!(shown.contains("exit 5"), "{shown}");
        let twice = anyhow::anyhow!("disk full").context("can't write a: disk full");
        assert_eq!(Failure::Running(twice).to_string(), "error: can't write a: disk full");
    }
}
