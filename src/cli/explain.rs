//! `kappa explain`: the plan of a job.

use std::path::PathBuf;

use clap::Args;

use super::arguments::{OutputArgs, job_path};
use super::exit::{Exit, Failure};
use super::job;
use super::terminal::Terminal;
use crate::job::explain;

/// Shows what a job does: streams, time, windows, state, results
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Shows what a job does: its streams and what decides which records count, windows, the state kept and \
        for how long, result columns and partitions, and what a backfill of it reads. Connects to nothing.",
    after_long_help = "Examples:\n  kappa explain jobs/page_hits.sql\n  kappa explain jobs/page_hits.sql --json"
)]
pub struct ExplainArgs {
    /// The job's SQL file, such as jobs/page_hits.sql
    #[arg(value_name = "JOB", value_parser = job_path)]
    pub job: PathBuf,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub output: OutputArgs,
}

impl ExplainArgs {
    /// Plans the job and shows the plan.
    pub fn execute(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        let explanation = explain::explain(&job::load(&self.job, terminal.colour)?);
        match self.output.json {
            true => terminal.json(&explanation)?,
            false => terminal.data(&explanation.to_string())?,
        }
        Ok(Exit::Done)
    }
}
