//! `kappa demo`: its arguments.

use std::path::PathBuf;

use clap::Args;

/// Shows the whole story on embedded parts, in one screen
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Shows the whole story on embedded parts, in about a minute and with nothing to install.\n\n\
        Two days of web requests go to an embedded Kafka; a job runs live and is archived; then a bug in the job is fixed, \
        the first day is computed again from history, and diff shows that everything agrees.",
    after_long_help = "Examples:\n  kappa demo\n  kappa demo --keep /tmp/kappa-demo"
)]
pub struct DemoArgs {
    /// Keep catalog, tables and jobs in this folder, to look at them afterwards; it must be empty or not there yet
    /// [default: a folder in the temporary directory]
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}
