//! What the program logs about itself: on stderr, as text or as one JSON object a line.

use std::io::Write;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::log_json::{self, JsonLines};
use super::progress;
use super::redact;
use crate::config::LogFormat;
use crate::job::Colour;

/// How much is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// `-q`: errors only.
    Quiet,
    /// Warnings; from our own code also what happens seldom and matters.
    Normal,
    /// `-v`: what our own code does.
    Verbose,
    /// `-vv`: everything, libraries too.
    All,
}

impl Verbosity {
    /// From the flags as given.
    pub fn from_flags(quiet: bool, verbose: u8) -> Verbosity {
        match (quiet, verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, 1) => Verbosity::Verbose,
            (false, _) => Verbosity::All,
        }
    }

    fn filter(self) -> &'static str {
        match self {
            Verbosity::Quiet => "error",
            Verbosity::Normal => "warn,kappa=info",
            Verbosity::Verbose => "info,kappa=debug",
            Verbosity::All => "debug,kappa=trace",
        }
    }
}

/// Starts logging for the whole process; later calls change nothing.
pub fn start(format: LogFormat, verbosity: Verbosity, colour: Colour) {
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(verbosity.filter()))
        .with_writer(AboveProgress)
        // It would panic where stderr can't be written, such as on a full disk.
        .log_internal_errors(false)
        .with_target(verbosity >= Verbosity::Verbose);
    let started = match format {
        LogFormat::Text => builder.with_ansi(colour == Colour::Ansi).try_init(),
        LogFormat::Json => {
            log_json::turn_on();
            builder.with_ansi(false).event_format(JsonLines).try_init()
        }
    };
    // A subscriber that is there already (a test's) keeps its place.
    drop(started);
}

/// Writes to stderr, without secrets, over a progress line if one stands there.
struct AboveProgress;

impl<'a> MakeWriter<'a> for AboveProgress {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        AboveProgress
    }
}

impl Write for AboveProgress {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        progress::make_room();
        // The formatter gives a whole event at once, so no secret is cut in two.
        let text = String::from_utf8_lossy(bytes);
        std::io::stderr().lock().write_all(redact::hide(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().lock().flush()
    }
}
