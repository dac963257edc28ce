//! `kappa man`: the help of every command as a manual page.

use std::path::{Path, PathBuf};

use clap::Args;

use super::command;
use super::exit::{Exit, Failure};
use super::output;
use super::terminal::Terminal;

/// Writes a manual page for every command
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Writes a manual page for every command into a folder, which is made if it isn't there: kappa.1, \
        kappa-run.1, kappa-backfill-plan.1 and so on. Pages that are there are replaced.",
    after_long_help = "Examples:\n  \
        kappa man ~/.local/share/man/man1 && man kappa-run\n  \
        kappa man pages && man pages/kappa.1"
)]
pub struct ManArgs {
    /// The folder
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
}

impl ManArgs {
    /// Writes the pages and says how many.
    pub fn execute(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        let failed = |error: std::io::Error| {
            let context = format!("manual pages can't be written to {}", self.folder.display());
            Failure::running(anyhow::Error::new(error).context(context))
        };
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        // `kappa help run` is another way to `kappa run --help`: it needs no pages of its own.
        let mut tree = command::tree().disable_help_subcommand(true);
        tree.build();
        let pages = write_pages(&tree, &self.folder).map_err(failed)?;
        let pages = output::count(pages, "manual page", "manual pages");
        terminal.note(&format!("{pages} written to {}", self.folder.display()));
        Ok(Exit::Done)
    }
}

/// Writes the page of a command and those below it; answers how many.
fn write_pages(command: &clap::Command, folder: &Path) -> std::io::Result<u64> {
    clap_mangen::Man::new(command.clone()).generate_to(folder)?;
    let mut pages = 1;
    for child in command.get_subcommands() {
        pages += write_pages(child, folder)?;
    }
    Ok(pages)
}
