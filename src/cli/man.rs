//! `kappa man`: the help of every command as a manual page.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::Resettable;

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
    // What stands behind the options in help would become one section, with its lines run together.
    let after = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let man = clap_mangen::Man::new(command.clone().after_long_help(Resettable::Reset));
    let mut page = Vec::new();
    man.render(&mut page)?;
    page.extend(sections(&after).bytes());
    std::fs::write(folder.join(man.get_filename()), page)?;
    let mut pages = 1;
    for child in command.get_subcommands() {
        pages += write_pages(child, folder)?;
    }
    Ok(pages)
}

/// What stands behind the options in help, as sections of a manual page: blocks of a title and indented lines, which are kept.
fn sections(after: &str) -> String {
    let mut page = String::new();
    for block in after.split("\n\n") {
        let Some((title, lines)) = block.split_once(":\n") else { continue };
        let title = if title == "Exit codes" { "EXIT STATUS".to_owned() } else { title.to_uppercase() };
        page += &format!(".SH \"{title}\"\n.nf\n");
        for line in lines.lines() {
            // A hyphen that can be copied, a backslash that is one, and no line that begins a request.
            let line = line.trim().replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\*(Aq");
            page += &format!("\\&{line}\n");
        }
        page += ".fi\n";
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_become_sections_and_lines_stay_lines() {
        let page = sections("Exit codes:\n  0  done\n\nExamples:\n  kappa demo --keep x\n  kappa man y\n\n");
        let expected = ".SH \"EXIT STATUS\"\n.nf\n\\&0  done\n.fi\n\
                        .SH \"EXAMPLES\"\n.nf\n\\&kappa demo \\-\\-keep x\n\\&kappa man y\n.fi\n";
        assert_eq!(page, expected);
        assert_eq!(sections(""), "");
    }
}
