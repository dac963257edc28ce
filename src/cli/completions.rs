//! `kappa completions`: what a shell needs to complete commands and options.

use clap::Args;
use clap_complete::Shell;

use super::command;
use super::exit::{Exit, Failure};
use super::terminal::Terminal;

/// Writes a script that completes commands and options in a shell
#[derive(Args, Clone, Debug)]
#[command(after_long_help = "Examples:\n  \
    kappa completions bash > /etc/bash_completion.d/kappa\n  \
    kappa completions zsh > ~/.zfunc/_kappa\n  \
    kappa completions fish > ~/.config/fish/completions/kappa.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: Shell,
}

impl CompletionsArgs {
    /// Writes the script to stdout.
    pub fn execute(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command::tree(), "kappa", &mut script);
        terminal.data(&String::from_utf8_lossy(&script))?;
        Ok(Exit::Done)
    }
}
