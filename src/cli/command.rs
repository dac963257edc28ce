//! The command tree, and the way from the command line to an exit code.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::{ArgAction, CommandFactory, Parser, Subcommand};

use super::archive::ArchiveArgs;
use super::backfill::BackfillArgs;
use super::completions::CompletionsArgs;
use super::config::ConfigArgs;
use super::demo::DemoArgs;
use super::diff::DiffArgs;
use super::exit::{Exit, Failure};
use super::explain::ExplainArgs;
use super::maintain::MaintainArgs;
use super::man::ManArgs;
use super::offsets::OffsetsArgs;
use super::panic;
use super::run::RunArgs;
use super::savepoint::SavepointArgs;
use super::status::StatusArgs;
use super::terminal::Terminal;
use super::test::TestArgs;
use super::validate::ValidateArgs;
use crate::config::Overrides;

/// Heading of the options that every command takes.
const EVERYWHERE: &str = "Options of every command";

/// A replayable stream processor: one SQL job file, live from Kafka and as a backfill over Iceberg history
#[derive(Parser, Debug)]
#[command(
    name = "kappa",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    long_about = "A replayable stream processor.\n\n\
        One SQL job file runs live from Kafka, or as a backfill over Iceberg history, and publishes windowed results to \
        Iceberg tables: whole windows, exactly once, the same rows either way. Brokers, catalog and state are in \
        kappa.toml, in the folder of the job or above it; without one, everything is embedded.",
    after_long_help = "Exit codes:\n  \
        0    done\n  \
        1    failed while running; worth a restart\n  \
        2    wrong command line\n  \
        3    invalid job, profile or table\n  \
        4    checked, and not equal or not safe\n  \
        5    will fail again until a person acts\n  \
        130  interrupted twice\n\n\
        Environment:\n  \
        KAPPA_PROFILE     the profile, unless --profile names one\n  \
        KAPPA_TABLE__KEY  a key of kappa.toml, such as KAPPA_RUN__WORKERS=4; see `kappa config --help`\n  \
        AWS_…             credentials and settings of buckets that [store] of kappa.toml doesn't set\n  \
        NO_COLOR          no colours\n\n\
        Examples:\n  \
        kappa demo                                   the whole story on embedded parts\n  \
        kappa validate jobs/page_hits.sql --connect  what a run would meet\n  \
        kappa test jobs/tests/page_hits              its rows on a few records, live and from history\n  \
        kappa run jobs/page_hits.sql                 live, from its newest checkpoint on\n  \
        kappa archive jobs/page_hits.sql             its topics into history tables\n  \
        kappa backfill run jobs/page_hits.sql --from 2026-11-01 --to 2026-11-08\n  \
        kappa diff jobs/page_hits.sql --from 2026-11-01 --to 2026-11-08"
)]
struct Cli {
    /// Lay [profile.NAME.*] of kappa.toml over its tables [env: KAPPA_PROFILE]
    #[arg(long, value_name = "NAME", global = true, display_order = 900, help_heading = EVERYWHERE)]
    profile: Option<String>,
    /// Set a key of kappa.toml for this once, such as --set run.workers=4; may be repeated [env: KAPPA_TABLE__KEY]
    #[arg(long, value_name = "TABLE.KEY=VALUE", global = true, display_order = 901, help_heading = EVERYWHERE)]
    set: Vec<String>,
    /// Write no notes and no progress, only data and errors
    #[arg(short, long, global = true, display_order = 902, help_heading = EVERYWHERE)]
    quiet: bool,
    /// Log what is done; given twice, everything
    #[arg(
        short,
        long,
        global = true,
        display_order = 903,
        help_heading = EVERYWHERE,
        action = ArgAction::Count,
        conflicts_with = "quiet"
    )]
    verbose: u8,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Validate(ValidateArgs),
    Explain(ExplainArgs),
    Run(RunArgs),
    Archive(ArchiveArgs),
    Backfill(BackfillArgs),
    Diff(DiffArgs),
    Test(TestArgs),
    Status(StatusArgs),
    Offsets(OffsetsArgs),
    Savepoint(SavepointArgs),
    Maintain(MaintainArgs),
    Demo(DemoArgs),
    Config(ConfigArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// The whole command tree, as help and completions need it.
pub fn tree() -> clap::Command {
    Cli::command()
}

/// Reads the command line, does what it says, and tells how it ended.
pub fn main() -> ExitCode {
    panic::install_hook();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(usage) => {
            // Help and version go to stdout and are no error; a closed output leaves nobody to tell.
            drop(usage.print());
            return if usage.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let terminal = Terminal::detect(cli.quiet, cli.verbose);
    let overrides = match Overrides::new(cli.profile.as_deref(), &cli.set, std::env::vars_os()) {
        Ok(overrides) => overrides,
        Err(error) => {
            let failure = Failure::Usage(error.to_string());
            terminal.error(&failure.to_string());
            return failure.exit().into();
        }
    };
    // It lives as long as the process, and every command looks at it.
    let terminal = Terminal { overrides: Box::leak(Box::new(overrides)), ..terminal };
    // The hook has said what there is to say about a bug; what is left is the code that supervisors look at.
    match catch_unwind(AssertUnwindSafe(|| execute(&cli.command, &terminal))) {
        Ok(Ok(exit)) => exit.into(),
        Ok(Err(failure)) => {
            terminal.error(&failure.to_string());
            failure.exit().into()
        }
        Err(_) => Exit::Failed.into(),
    }
}

/// Does what a command line says (without the program's name), inside this process. What is set beside `kappa.toml` is
/// the terminal's, not the command line's.
pub fn perform(arguments: &[&str], terminal: &Terminal) -> Result<Exit, Failure> {
    let cli = Cli::try_parse_from(["kappa"].iter().chain(arguments));
    // Both would begin with the same word.
    let usage = |usage: clap::Error| Failure::Usage(usage.to_string().trim_start_matches("error: ").to_owned());
    execute(&cli.map_err(usage)?.command, terminal)
}

fn execute(command: &Command, terminal: &Terminal) -> Result<Exit, Failure> {
    match command {
        Command::Validate(arguments) => arguments.execute(terminal),
        Command::Explain(arguments) => arguments.execute(terminal),
        Command::Run(arguments) => arguments.execute(terminal),
        Command::Archive(arguments) => arguments.execute(terminal),
        Command::Backfill(arguments) => arguments.execute(terminal),
        Command::Diff(arguments) => arguments.execute(terminal),
        Command::Test(arguments) => arguments.execute(terminal),
        Command::Status(arguments) => arguments.execute(terminal),
        Command::Offsets(arguments) => arguments.execute(terminal),
        Command::Savepoint(arguments) => arguments.execute(terminal),
        Command::Maintain(arguments) => arguments.execute(terminal),
        Command::Demo(arguments) => arguments.execute(terminal),
        Command::Config(arguments) => arguments.execute(terminal),
        Command::Completions(arguments) => arguments.execute(terminal),
        Command::Man(arguments) => arguments.execute(terminal),
    }
}
