//! `kappa offsets get`: its arguments, and what they mean together.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::arguments::{OutputArgs, job_path};
use crate::event::TableName;

/// Shows where a job stands in its topics
#[derive(Args, Clone, Debug)]
pub struct OffsetsArgs {
    /// What to do
    #[command(subcommand)]
    pub command: OffsetsCommand,
}

/// What to do with positions.
#[derive(Subcommand, Clone, Debug)]
pub enum OffsetsCommand {
    /// Shows for each partition: position, log start and end, lag in records and in time
    #[command(after_long_help = "Examples:\n  \
        kappa offsets get jobs/page_hits.sql\n  \
        kappa offsets get --archive raw.web_requests --json")]
    Get(OffsetsGetArgs),
}

/// Whose positions to show.
#[derive(Args, Clone, Debug)]
#[group(id = "whose", required = true, multiple = false)]
pub struct OffsetsGetTarget {
    /// The job file
    #[arg(value_name = "JOB", value_parser = job_path)]
    pub job: Option<PathBuf>,
    /// The history table of an archive, as namespace.table
    #[arg(long, value_name = "TABLE", value_parser = table_name)]
    pub archive: Option<TableName>,
}

/// Arguments of `kappa offsets get`.
#[derive(Args, Clone, Debug)]
pub struct OffsetsGetArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub target: OffsetsGetTarget,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub output: OutputArgs,
}

/// Whose positions are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OffsetsOf {
    /// Those of a live job.
    Job(PathBuf),
    /// Those of the archive that writes a history table.
    Archive(TableName),
}

impl OffsetsGetArgs {
    /// Whose positions are meant.
    pub fn of(&self) -> OffsetsOf {
        match (&self.target.job, &self.target.archive) {
            (Some(job), _) => OffsetsOf::Job(job.clone()),
            (None, Some(table)) => OffsetsOf::Archive(table.clone()),
            (None, None) => unreachable!("the command line needs one of them"),
        }
    }
}

fn table_name(text: &str) -> Result<TableName, String> {
    TableName::parse(text).ok_or_else(|| format!("`{text}` isn't namespace.table, such as raw.web_requests"))
}
