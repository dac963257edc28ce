//! Job files: from a path to a plan, or to what is wrong with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::exit::Failure;
use crate::event::Stream;
use crate::job::{Colour, JobErrors, Plan};

/// A job file as read, not yet understood.
#[derive(Clone, Debug)]
pub struct JobFile {
    /// The file, as the user wrote it.
    pub path: PathBuf,
    /// Its stem: the job's name.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Why a file isn't a valid job.
#[derive(Debug)]
pub enum JobFileError {
    /// It can't be read.
    File(String),
    /// What is in it.
    Content(JobErrors),
}

impl JobFile {
    /// Reads a job file; understands nothing of it yet.
    pub fn read(path: &Path) -> Result<JobFile, JobFileError> {
        let shown = path.display();
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        let text = std::fs::read_to_string(path)
            .map_err(|error| JobFileError::File(format!("{shown} can't be read: {error}")))?;
        Ok(JobFile { path: path.to_owned(), name, text })
    }

    /// The text of a file that the job includes, by its path relative to the job's folder.
    fn read_included(&self, path: &str) -> std::io::Result<String> {
        std::fs::read_to_string(self.path.parent().unwrap_or(Path::new("")).join(path))
    }

    /// The file's streams, whatever its INSERTs are.
    pub fn streams(&self) -> Result<Vec<Arc<Stream>>, JobFileError> {
        let streams = crate::job::compile_streams_with(&self.name, &self.text, &|path| self.read_included(path));
        streams.map_err(|errors| JobFileError::Content(errors.with_path(self.path.display().to_string())))
    }

    /// The file's plan.
    pub fn compile(&self) -> Result<Plan, JobFileError> {
        let plan = crate::job::compile_with(&self.name, &self.text, &|path| self.read_included(path));
        plan.map_err(|errors| JobFileError::Content(errors.with_path(self.path.display().to_string())))
    }
}

impl JobFileError {
    /// What is wrong, ready to print.
    pub fn render(&self, colour: Colour) -> String {
        match self {
            JobFileError::File(message) => format!("error: {message}"),
            JobFileError::Content(errors) => errors.render(colour),
        }
    }
}

/// Reads and plans a job, or says all that is wrong with it.
pub fn load(path: &Path, colour: Colour) -> Result<Plan, Failure> {
    let plan = JobFile::read(path).and_then(|file| file.compile());
    plan.map_err(|error| Failure::Invalid(error.render(colour)))
}
