//! `kappa offsets`: where jobs and archivers stand in their topics, and putting a job elsewhere.

mod get;
mod reset;
mod ways;

use clap::{Args, Subcommand};

use super::exit::{Exit, Failure};
use super::terminal::Terminal;

pub(super) use get::stream_of;
pub use get::{OffsetsGetArgs, OffsetsGetTarget, OffsetsOf};
pub use reset::OffsetsResetArgs;
pub use ways::{Selection, WayArgs};

/// Shows where a job stands in its topics, and moves it
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Shows where a job stands in its topics, and moves it.\n\n\
        `get` shows positions of jobs and archives; `reset` puts a job that isn't running elsewhere, by the ways of \
        kafka-consumer-groups.",
    after_long_help = "Examples:\n  \
        kappa offsets get jobs/page_hits.sql\n  \
        kappa offsets reset jobs/page_hits.sql --to-datetime 2026-11-21            what would be\n  \
        kappa offsets reset jobs/page_hits.sql --to-datetime 2026-11-21 --execute  do it"
)]
pub struct OffsetsArgs {
    /// What to do
    #[command(subcommand)]
    pub command: OffsetsCommand,
}

/// What to do with positions.
#[derive(Subcommand, Clone, Debug)]
pub enum OffsetsCommand {
    /// Shows for each partition: position, log start and end, lag in records and in time; and the consumer group
    #[command(after_long_help = "Examples:\n  \
        kappa offsets get jobs/page_hits.sql                 where a job stands in its topics\n  \
        kappa offsets get --archive raw.web_requests --json  where an archive does, for a script")]
    Get(OffsetsGetArgs),
    /// Moves a job that isn't running to other positions; without --execute it only shows what that would do
    #[command(
        long_about = "Moves a job that isn't running to other positions; without --execute it only shows what that would \
            do.\n\n\
            A time means the first window that is published, as with `kappa run --start`. How the job stood is kept as \
            savepoint before-reset-<time>: `kappa run JOB --savepoint NAME` undoes a reset. Exits 4 if the job runs.",
        after_long_help = "Examples:\n  \
            kappa offsets reset jobs/page_hits.sql --to-datetime 2026-11-21 --export to.csv  what would be\n  \
            kappa offsets reset jobs/page_hits.sql --to-datetime 2026-11-21 --execute        do it\n  \
            kappa offsets reset jobs/page_hits.sql --shift-by -1000 --topic web-requests:0,2"
    )]
    Reset(OffsetsResetArgs),
}

impl OffsetsArgs {
    /// Shows or moves positions.
    pub fn execute(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        match &self.command {
            OffsetsCommand::Get(arguments) => arguments.execute(terminal),
            OffsetsCommand::Reset(arguments) => arguments.execute(terminal),
        }
    }
}
