//! The vocabulary: what a record is, where it stands in the log, and how a declared stream looks in Arrow.
//! Pure data: no I/O, no clock, nothing that depends on which face of a stream a record came from.

mod batch;
mod position;
mod schema;
mod stream;
mod table;

pub use batch::{Decoded, EventBatch, Reject, RejectReason};
pub use position::{Position, ResumeOffset};
pub use schema::{ColumnType, FieldType, SYSTEM_COLUMNS, TIMESTAMP_ZONE, timestamp_type};
pub use stream::{
    Column, Computed, Format, FormatKind, LiveFace, Metadata, OFFSET, Origin, PARTITION, REST, SEEN, Stream, TIMESTAMP,
    TimestampUnit,
};
pub use table::{PartitionField, TableName, Transform};

/// Microseconds since the Unix epoch, UTC, taken from the event (after clock correction), never from our clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct EventTime(pub i64);

impl EventTime {
    /// Before every event: the watermark of a partition that has shown no record yet.
    pub const MIN: EventTime = EventTime(i64::MIN);
    /// After every event: the watermark of a log that has ended.
    pub const MAX: EventTime = EventTime(i64::MAX);
    /// The first instant that an event, or a person, can name: 0001-01-01T00:00:00Z.
    pub const EARLIEST: EventTime = EventTime(-62_135_596_800 * 1_000_000);
    /// The last one: 9999-12-31T23:59:59.999999Z.
    pub const LATEST: EventTime = EventTime(253_402_300_800 * 1_000_000 - 1);

    /// This time less `span`; stays at [`EventTime::MIN`] and [`EventTime::MAX`], which stand for "never" and "always".
    #[must_use]
    pub fn minus(self, span: Micros) -> EventTime {
        if self == Self::MAX { self } else { EventTime(self.0.saturating_sub(span.0)) }
    }

    /// This time plus `span`, with the same fixed ends as [`EventTime::minus`].
    #[must_use]
    pub fn plus(self, span: Micros) -> EventTime {
        if self == Self::MIN { self } else { EventTime(self.0.saturating_add(span.0)) }
    }
}

impl Default for EventTime {
    /// [`EventTime::MIN`]: nothing is known yet.
    fn default() -> Self {
        Self::MIN
    }
}

impl std::fmt::Display for EventTime {
    /// RFC 3339 with as many digits as needed; the two ends in words.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (*self, chrono::DateTime::from_timestamp_micros(self.0)) {
            (Self::MIN, _) => f.write_str("the beginning"),
            (Self::MAX, _) => f.write_str("the end"),
            (_, Some(time)) => f.write_str(&time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)),
            (_, None) => write!(f, "{} us", self.0),
        }
    }
}

/// A length of event time in microseconds; not negative unless a doc says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Micros(pub i64);

impl Micros {
    /// `seconds` in microseconds.
    pub const fn from_seconds(seconds: i64) -> Micros {
        Micros(seconds * 1_000_000)
    }
}

impl std::fmt::Display for Micros {
    /// Exactly, and as short as it can be read back: `1h 30m`, `-8h`, `1s 500ms`; the longest unit is the day.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [(&str, u64); 6] = [
            ("d", 86_400_000_000),
            ("h", 3_600_000_000),
            ("m", 60_000_000),
            ("s", 1_000_000),
            ("ms", 1_000),
            ("us", 1),
        ];
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0.unsigned_abs();
        let mut before = if self.0 < 0 { "-" } else { "" };
        for (unit, micros) in UNITS {
            if rest >= micros {
                write!(f, "{before}{}{unit}", rest / micros)?;
                rest %= micros;
                before = " ";
            }
        }
        Ok(())
    }
}
