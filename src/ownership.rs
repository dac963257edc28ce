//! Who may write which windows of a result table: one pure function.
//!
//! Invariant: the live run and a backfill never own the same window. The live run owns what isn't sealed, and what it
//! publishes again though it is; a backfill its range below that. Pure: says what may be written, writes nothing.

use std::ops::Range;

use thiserror::Error;

use crate::event::{EventTime, TableName};

/// What a result table's properties say about its owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    /// The job that it belongs to; `None`: nobody has written to it yet.
    pub owner: Option<String>,
    /// No window below it can change any more; `None`: no live run has published yet.
    pub sealed_edge: Option<EventTime>,
    /// First window of the live job; `None`: there never was a live run.
    pub first_window: Option<EventTime>,
    /// Published windows that the live job publishes again, as it began below them; `None`: there are none left.
    pub republish: Option<Range<EventTime>>,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer<'a> {
    /// The live run of a job.
    Live {
        /// Job name.
        job: &'a str,
        /// Start of the first window that it publishes; [`EventTime::MIN`]: from the beginning.
        first_window: EventTime,
    },
    /// A backfill of `[from, to)` of the result's time partition column.
    Backfill {
        /// Job name.
        job: &'a str,
        /// Start of the range, inclusive.
        from: EventTime,
        /// End of the range, exclusive.
        to: EventTime,
    },
}

/// Times of the windows that may be written, half-open. [`EventTime::MIN`] and [`EventTime::MAX`]: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writable {
    /// Inclusive.
    pub from: EventTime,
    /// Exclusive.
    pub to: EventTime,
}

/// Why nothing may be written.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum NotWritable {
    /// The table is another job's.
    #[error(
        "{table} belongs to job {owner}, and a result table has one owner; let job {job} write to a table of its own"
    )]
    OtherJob {
        /// The table.
        table: TableName,
        /// Whose it is.
        owner: String,
        /// Who asked.
        job: String,
    },
    /// The range reaches into what the live job may still change.
    #[error(
        "the range ends at {to}, but {table} is sealed only up to {edge}: the live job may still change windows from there \
         on; end the range at or below it, or wait until the edge has passed {to}"
    )]
    AboveSealedEdge {
        /// The table.
        table: TableName,
        /// End of the range.
        to: EventTime,
        /// The sealed edge.
        edge: EventTime,
    },
    /// The live job has published nothing yet, so nothing is sealed.
    #[error(
        "the range ends at {to}, but no window of {table} is sealed yet: the live job began from the beginning and has \
         sealed nothing; wait for its first windows to be sealed"
    )]
    NothingSealed {
        /// The table.
        table: TableName,
        /// End of the range.
        to: EventTime,
    },
    /// The live job publishes windows of the range again.
    #[error(
        "the range [{from}, {to}) reaches into [{again_from}, {again_to}), which the live job publishes again in {table}, as it \
         was begun below what was published; let it run until it is through, or keep the range out of there"
    )]
    PublishedAgain {
        /// The table.
        table: TableName,
        /// Start of the range.
        from: EventTime,
        /// End of the range.
        to: EventTime,
        /// Start of what is published again.
        again_from: EventTime,
        /// End of what is published again.
        again_to: EventTime,
    },
    /// The range holds nothing.
    #[error("the range [{from}, {to}) is empty; its end must be after its start")]
    EmptyRange {
        /// Start of the range.
        from: EventTime,
        /// End of the range.
        to: EventTime,
    },
}

/// The edge up to which a backfill may write: what is sealed, and what lies before the live job's first window, which it
/// never writes. `None`: there never was a live job, so everything.
pub fn backfill_edge(owned: &Owned) -> Option<EventTime> {
    owned.sealed_edge.max(owned.first_window)
}

/// Says which windows of `table` the writer may write.
///
/// | owner | live job | live run asks | backfill `[from, to)` asks |
/// |---|---|---|---|
/// | another job | any | refused | refused |
/// | none or the same | never was | from its first window on | its range |
/// | none or the same | first window T, sealed edge E | from max(E, its own first window) on | its range, iff `to <= max(E, T)` |
/// | none or the same | publishes `[R, S)` again | from R on, if that is lower | its range, if it also keeps out of `[R, S)` |
///
/// # Errors
/// [`NotWritable`], with the way out.
pub fn writable(table: &TableName, owned: &Owned, writer: &Writer<'_>) -> Result<Writable, NotWritable> {
    let (Writer::Live { job, .. } | Writer::Backfill { job, .. }) = *writer;
    if let Some(owner) = owned.owner.as_deref().filter(|owner| *owner != job) {
        return Err(NotWritable::OtherJob { table: table.clone(), owner: owner.to_owned(), job: job.to_owned() });
    }
    match *writer {
        Writer::Live { first_window, .. } => {
            let from = owned.sealed_edge.map_or(first_window, |edge| edge.max(first_window));
            let from = owned.republish.as_ref().map_or(from, |again| again.start.min(from));
            Ok(Writable { from, to: EventTime::MAX })
        }
        Writer::Backfill { from, to, .. } if from >= to => Err(NotWritable::EmptyRange { from, to }),
        Writer::Backfill { from, to, .. } => match backfill_edge(owned) {
            Some(EventTime::MIN) => Err(NotWritable::NothingSealed { table: table.clone(), to }),
            Some(edge) if to > edge => Err(NotWritable::AboveSealedEdge { table: table.clone(), to, edge }),
            _ => match &owned.republish {
                Some(again) if from < again.end && again.start < to => Err(NotWritable::PublishedAgain {
                    table: table.clone(),
                    from,
                    to,
                    again_from: again.start,
                    again_to: again.end,
                }),
                _ => Ok(Writable { from, to }),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000_000;

    fn at(hours: i64) -> EventTime {
        EventTime(hours * HOUR)
    }

    fn ask(owned: &Owned, writer: Writer<'_>) -> Result<Writable, String> {
        let table = TableName::parse("marts.page_hits").expect("has a namespace");
        writable(&table, owned, &writer).map_err(|error| error.to_string())
    }

    fn owned(sealed_edge: Option<EventTime>, first_window: Option<EventTime>) -> Owned {
        Owned { owner: Some("page_hits".into()), sealed_edge, first_window, republish: None }
    }

    fn live(first_window: EventTime) -> Writer<'static> {
        Writer::Live { job: "page_hits", first_window }
    }

    fn backfill(from: i64, to: i64) -> Writer<'static> {
        Writer::Backfill { job: "page_hits", from: at(from), to: at(to) }
    }

    #[test]
    fn another_jobs_table_is_refused_to_both() {
        let other = Owned { owner: Some("clicks".into()), ..Owned::default() };
        let message = "marts.page_hits belongs to job clicks, and a result table has one owner; let job page_hits write to \
                       a table of its own";
        assert_eq!(ask(&other, live(EventTime::MIN)), Err(message.into()));
        assert_eq!(ask(&other, backfill(1, 2)), Err(message.into()));
    }

    #[test]
    fn without_a_live_job_everything_may_be_written() {
        for table in [Owned::default(), owned(None, None)] {
            assert_eq!(ask(&table, backfill(1, 2)), Ok(Writable { from: at(1), to: at(2) }));
            assert_eq!(ask(&table, live(at(3))), Ok(Writable { from: at(3), to: EventTime::MAX }));
            assert_eq!(ask(&table, live(EventTime::MIN)), Ok(Writable { from: EventTime::MIN, to: EventTime::MAX }));
        }
    }

    #[test]
    fn a_live_run_never_writes_below_the_sealed_edge_nor_below_its_first_window() {
        let table = owned(Some(at(5)), Some(at(3)));
        assert_eq!(ask(&table, live(at(3))), Ok(Writable { from: at(5), to: EventTime::MAX }));
        assert_eq!(ask(&table, live(at(7))), Ok(Writable { from: at(7), to: EventTime::MAX }));
    }

    #[test]
    fn a_backfill_may_end_at_the_sealed_edge_but_not_above_it() {
        let table = owned(Some(at(5)), Some(at(3)));
        assert_eq!(ask(&table, backfill(0, 5)), Ok(Writable { from: at(0), to: at(5) }));
        assert_eq!(
            ask(&table, backfill(0, 6)),
            Err("the range ends at 1970-01-01T06:00:00Z, but marts.page_hits is sealed only up to 1970-01-01T05:00:00Z: the \
                 live job may still change windows from there on; end the range at or below it, or wait until the edge has passed 1970-01-01T06:00:00Z"
                .into())
        );
    }

    #[test]
    fn before_anything_is_sealed_a_backfill_may_end_at_the_live_jobs_first_window() {
        for table in [owned(None, Some(at(3))), owned(Some(EventTime::MIN), Some(at(3)))] {
            assert_eq!(ask(&table, backfill(0, 3)), Ok(Writable { from: at(0), to: at(3) }));
            assert!(ask(&table, backfill(0, 4)).is_err());
        }
        assert_eq!(
            ask(&owned(None, Some(EventTime::MIN)), backfill(0, 3)),
            Err(
                "the range ends at 1970-01-01T03:00:00Z, but no window of marts.page_hits is sealed yet: the live job \
                 began from the beginning and has sealed nothing; wait for its first windows to be sealed"
                    .into()
            )
        );
    }

    #[test]
    fn what_is_published_again_is_the_live_runs_though_it_is_sealed() {
        let table = Owned { republish: Some(at(2)..at(4)), ..owned(Some(at(5)), Some(at(2))) };
        assert_eq!(ask(&table, live(at(2))), Ok(Writable { from: at(2), to: EventTime::MAX }));
        for (from, to) in [(1, 3), (2, 3), (3, 5), (0, 5)] {
            let refused = ask(&table, backfill(from, to)).expect_err("the live job has it");
            assert!(refused.contains("publishes again in marts.page_hits"), "{refused}");
        }
        for (from, to) in [(0, 2), (4, 5)] {
            assert_eq!(ask(&table, backfill(from, to)), Ok(Writable { from: at(from), to: at(to) }));
        }
        assert!(ask(&table, backfill(4, 6)).is_err(), "above the sealed edge");
    }

    #[test]
    fn an_empty_range_is_refused() {
        assert!(ask(&Owned::default(), backfill(2, 2)).is_err());
        assert!(ask(&Owned::default(), backfill(2, 1)).is_err());
    }
}
