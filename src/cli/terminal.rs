//! Where output goes: data to stdout, everything else to stderr.
//! Invariant: nothing but data ever reaches stdout, no secret ever reaches stderr, and colours or moving lines only ever
//! reach a terminal.

use std::io::{ErrorKind, IsTerminal, Write};

use super::exit::Failure;
use super::log::Verbosity;
use super::{log_json, progress, redact};
use crate::config::Overrides;
use crate::job::Colour;

/// What surrounds a command: the two outputs and what may be done with them, and what was set outside of `kappa.toml`.
#[derive(Clone, Copy, Debug)]
pub struct Terminal {
    /// `-q`: no notes, no progress.
    pub quiet: bool,
    /// How much is logged.
    pub verbosity: Verbosity,
    /// Colours on stderr, or none.
    pub colour: Colour,
    /// stderr is a terminal: lines may be drawn over.
    pub interactive: bool,
    /// What `--profile`, `--set` and the environment set.
    pub overrides: &'static Overrides,
}

impl Terminal {
    /// Looks at the outputs of this process and at `NO_COLOR` and `TERM`; nothing is set beside `kappa.toml`.
    pub fn detect(quiet: bool, verbose: u8) -> Terminal {
        let verbosity = Verbosity::from_flags(quiet, verbose);
        let interactive = std::io::stderr().is_terminal();
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colour = if interactive && !set("NO_COLOR") && !dumb { Colour::Ansi } else { Colour::Plain };
        Terminal { quiet, verbosity, colour, interactive: interactive && !dumb, overrides: Overrides::none() }
    }

    /// Says something beside the data, on stderr, unless `-q`.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.say("info", "note: ", text);
        }
    }

    /// Says something that the user should act on, on stderr, even with `-q`.
    pub fn warning(&self, text: &str) {
        self.say("warn", "warning: ", text);
    }

    /// Writes text to stderr, without secrets, over a progress line if one stands there.
    pub fn error(&self, text: &str) {
        self.say("error", "", text);
    }

    /// Writes a line: with its prefix for people, or as JSON where the log is.
    fn say(&self, level: &str, prefix: &str, text: &str) {
        progress::make_room();
        // People at a terminal read no JSON.
        let text = match log_json::is_on() && !self.interactive {
            true => log_json::line(level, text.trim_start_matches("error: ").trim_end()),
            false => format!("{prefix}{text}"),
        };
        // A closed stderr leaves nobody to tell.
        drop(writeln!(std::io::stderr().lock(), "{}", redact::hide(&text)));
    }

    /// Writes data to stdout, as it is. A reader that has seen enough (`| head`) is no failure.
    pub fn data(&self, text: &str) -> Result<(), Failure> {
        progress::make_room();
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Failure::Running(anyhow::Error::new(error).context("stdout can't be written")))
            }
            _ => Ok(()),
        }
    }

    /// Writes one JSON document to stdout.
    pub fn json(&self, document: &impl serde::Serialize) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(document).expect("documents have text keys and finite depth");
        self.data(&format!("{text}\n"))
    }
}
