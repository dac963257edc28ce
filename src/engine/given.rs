//! When a window that late records may still change is given: when it is over, again while they change it, and in the end.

use crate::event::EventTime;
use crate::windows::REVISION_INTERVAL;

/// What was given of a window.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Given {
    /// The watermark at which its rows were given last.
    pub(super) at: Option<EventTime>,
    /// Whether records have come since.
    pub(super) changed: bool,
}

impl Given {
    /// Whether it is to be given at `watermark`. `is_final`: no record can change it any more.
    pub(super) fn is_due(&self, watermark: EventTime, is_final: bool) -> bool {
        self.at.is_none_or(|at| self.changed && (is_final || at.plus(REVISION_INTERVAL) <= watermark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_given_at_once_then_once_a_minute_and_in_the_end() {
        let at = |second: i64| EventTime(second * 1_000_000);
        let given = |changed| Given { at: Some(at(100)), changed };
        assert!(Given::default().is_due(at(100), false));
        assert!(!given(false).is_due(at(1_000), false) && !given(false).is_due(at(1_000), true));
        assert!(!given(true).is_due(at(159), false) && given(true).is_due(at(160), false));
        assert!(given(true).is_due(at(101), true));
    }
}
