//! `--from` and `--to`: a half-open range of time.

use clap::Args;

use super::exit::Failure;
use super::start::resolve_time;
use super::terminal::Terminal;
use super::time::TimeArgument;
use crate::event::EventTime;

/// The range of a backfill or a diff.
#[derive(Args, Clone, Debug)]
pub struct RangeArgs {
    /// First instant of the range: RFC 3339, a date, now-7d, or epoch seconds; UTC where no zone is given
    #[arg(long, value_name = "TIME")]
    pub from: TimeArgument,
    /// End of the range, which isn't in it; written as --from
    #[arg(long, value_name = "TIME")]
    pub to: TimeArgument,
}

/// A range of time, `from` in it, `to` not; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First instant.
    pub from: EventTime,
    /// End, exclusive.
    pub to: EventTime,
}

impl RangeArgs {
    /// The range that is meant if it is `now` now.
    pub fn resolve(&self, now: EventTime, terminal: &Terminal) -> Result<Range, Failure> {
        let from = resolve_time(&self.from, now, terminal);
        let to = resolve_time(&self.to, now, terminal);
        if to <= from {
            return Err(Failure::Usage(format!("--to {to} isn't after --from {from}: the range would be empty")));
        }
        Ok(Range { from, to })
    }
}
