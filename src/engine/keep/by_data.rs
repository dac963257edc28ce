//! What the keepers of windows that the data makes have in common: which windows are published, and when to look for
//! closed ones.

use super::Closed;
use crate::engine::epoch::OpenWindows;
use crate::event::{EventTime, Micros};
use crate::windows::{ByData, Made, MadeWindows, PublishRange, Reached};

/// Which windows are given on.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Wanted {
    pub(in crate::engine) window: ByData,
    /// Those that are published.
    pub(in crate::engine) range: PublishRange,
    /// All records from here on are read.
    pub(in crate::engine) complete_from: EventTime,
    /// Whether windows lie in windows above, so that those of one must come at once, on all workers.
    pub(in crate::engine) together: bool,
}

/// When windows are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GivenWhen {
    /// When no record can change them any more.
    Settled,
    /// When they are over, and again when late records have changed them.
    Over,
}

/// Windows on their way out of a keeper.
pub(super) struct Gate {
    wanted: Wanted,
    allowed: Micros,
    when: GivenWhen,
    /// What was over when windows were last looked for.
    looked_at: EventTime,
    /// Windows of the published range that weren't given on, as they may be cut off.
    cut_off: u64,
    /// The latest end of those that were.
    latest_end: EventTime,
}

impl Gate {
    /// Late records may come for `allowed` behind the watermark.
    pub(super) fn new(wanted: Wanted, allowed: Micros, when: GivenWhen) -> Gate {
        Gate { wanted, allowed, when, looked_at: EventTime::MIN, cut_off: 0, latest_end: EventTime::MIN }
    }

    /// How far time has come, if windows are to be looked for now. A checkpoint must have all that closed; else it can wait
    /// until `step` has passed, as looking costs what is held.
    pub(super) fn reached(&mut self, watermark: EventTime, barrier: bool, step: Micros) -> Option<Reached> {
        let settled = watermark.minus(self.allowed);
        let over = match self.when {
            GivenWhen::Settled => settled,
            GivenWhen::Over => watermark,
        };
        let is_due = match self.wanted.together {
            // Windows above are over at few times.
            true => over > self.looked_at,
            false => barrier || over == EventTime::MAX || over >= self.looked_at.plus(step),
        };
        if over == EventTime::MIN || !is_due {
            return None;
        }
        self.looked_at = over;
        Some(Reached { over, settled })
    }

    /// The rows of windows that are published.
    pub(super) fn pass(&mut self, made: MadeWindows, with_reason: bool) -> Option<Closed> {
        let Wanted { window, range, complete_from, together } = self.wanted;
        let inside = made.only(|made| range.contains_made(made));
        let is_whole = |made: &Made| window.is_whole(made, complete_from);
        self.cut_off += inside.windows().iter().filter(|made| !is_whole(made)).count() as u64;
        // Where windows lie in others, these aren't whole either, which shows where all of them come together.
        let whole = if together { inside } else { inside.only(is_whole) };
        self.latest_end = self.latest_end.max(whole.latest_end().unwrap_or_default());
        let first = whole.windows().iter().map(|made| made.start).min()?;
        Some(Closed {
            window: EventTime(first),
            columns: whole.window_columns(with_reason),
            rows: whole.rows().clone(),
        })
    }

    /// Windows that have passed before, out of some that were given before.
    pub(super) fn pass_again(&self, replaced: MadeWindows) -> Option<MadeWindows> {
        let Wanted { window, range, complete_from, .. } = self.wanted;
        let passed = replaced.only(|made| range.contains_made(made) && window.is_whole(made, complete_from));
        (!passed.windows().is_empty()).then_some(passed)
    }

    /// What there is to say of the windows that have passed, added to what is open.
    pub(super) fn told(&self, open: OpenWindows) -> OpenWindows {
        OpenWindows { cut_off: self.cut_off, latest_end: self.latest_end, ..open }
    }
}
