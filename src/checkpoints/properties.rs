//! The names and texts of all table properties that this program sets.
//!
//! Invariant: what is formatted here parses back. `<owner>` is the job's name, or the history table of an archiver.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, SecondsFormat};
use thiserror::Error;

use super::{Gaps, Generation, ManifestId, RepublishRange};
use crate::event::{EventTime, ResumeOffset};

/// The job that a result table belongs to.
pub const OWNER: &str = "kappa.owner";
/// The event time below which no window of the job can change any more.
pub const SEALED_EDGE: &str = "kappa.sealed_edge";
/// Start of the first window that the live job publishes. Set by the live run when it claims the table, so its presence
/// says that there is or was a live job.
pub const FIRST_WINDOW: &str = "kappa.first_window";
/// The time of a result's time partition column up to which backfills have published complete windows. A live run can take
/// over there.
pub const BACKFILLED_TO: &str = "kappa.backfilled_to";
/// The published windows that the live job publishes again, by their time in the time partition column, as
/// `from/to`: what is left of them. Absent: it publishes new windows only.
pub const REPUBLISH: &str = "kappa.republish";
/// The windows that nobody has published, as the live job was moved on past them, as `from/to,from/to`, by their time in the
/// time partition column. Absent: there are none.
pub const GAPS: &str = "kappa.gaps";
/// Without a window: by partition, the offset below which all that is to come of the records is in the result (JSON); those from
/// there on are the live job's. Absent: no live job has published yet.
pub const IN_TABLE: &str = "kappa.in_table";
/// The canonical declaration of the stream whose history the table is (JSON; owned by `archive`).
pub const STREAM: &str = "kappa.stream";

/// Columns of a history (JSON list of names) that were declared after it had begun, and that are told for older rows from
/// what these hold besides.
pub const ADDED_COLUMNS: &str = "kappa.added_columns";

/// Event time below which `_seen` of a history's rows may be too low: records that had been rejects have come in since.
pub const SEEN_ANEW: &str = "kappa.seen_anew";

const BEGINNING: &str = "beginning";
const END: &str = "end";

/// Next offset to read, by stream and partition.
pub type Offsets = BTreeMap<String, BTreeMap<i32, ResumeOffset>>;

/// The newest checkpoint whose change is in the table: `0000000003/0000000012`.
pub fn checkpoint_property(owner: &str) -> String {
    format!("kappa.{owner}.checkpoint")
}

/// The run that claimed the table last: ten digits.
pub fn generation_property(owner: &str) -> String {
    format!("kappa.{owner}.generation")
}

/// The offsets of that checkpoint (JSON).
pub fn offsets_property(owner: &str) -> String {
    format!("kappa.{owner}.offsets")
}

/// The snapshot that the owner's last commit made.
pub fn snapshot_property(owner: &str) -> String {
    format!("kappa.{owner}.snapshot")
}

/// What a table's properties say to one owner. Absent ones are `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TableProperties {
    /// [`OWNER`]
    pub owner: Option<String>,
    /// [`generation_property`]
    pub generation: Option<Generation>,
    /// [`checkpoint_property`]
    pub checkpoint: Option<ManifestId>,
    /// [`offsets_property`]
    pub offsets: Option<Offsets>,
    /// [`snapshot_property`]
    pub snapshot: Option<i64>,
    /// [`SEALED_EDGE`]
    pub sealed_edge: Option<EventTime>,
    /// [`FIRST_WINDOW`]
    pub first_window: Option<EventTime>,
    /// [`BACKFILLED_TO`]
    pub backfilled_to: Option<EventTime>,
    /// [`REPUBLISH`]
    pub republish: Option<RepublishRange>,
    /// [`GAPS`]
    pub gaps: Option<Gaps>,
    /// [`IN_TABLE`]
    pub in_table: Option<BTreeMap<i32, ResumeOffset>>,
}

/// A property that isn't what this program writes.
#[derive(Debug, Error, PartialEq, Eq)]
#[error(
    "table property {name} is {value:?}, which isn't {expected}; something else has set it: put back its old value (older \
     metadata files of the table hold it)"
)]
pub struct PropertyError {
    /// Name of the property.
    pub name: String,
    /// What it holds.
    pub value: String,
    /// What it should look like.
    pub expected: &'static str,
}

impl TableProperties {
    /// Reads the properties of a table as `owner` sees them; others are ignored.
    ///
    /// # Errors
    /// When one of ours doesn't hold what this program writes.
    pub fn parse(owner: &str, properties: &HashMap<String, String>) -> Result<TableProperties, PropertyError> {
        Ok(TableProperties {
            owner: properties.get(OWNER).cloned(),
            generation: read(properties, generation_property(owner), "a generation such as 0000000003", |text| {
                text.parse().ok().map(Generation)
            })?,
            checkpoint: read(
                properties,
                checkpoint_property(owner),
                "a checkpoint such as 0000000003/0000000012",
                |text| text.parse().ok(),
            )?,
            offsets: read(properties, offsets_property(owner), "offsets such as {\"clicks\":{\"0\":12}}", |text| {
                serde_json::from_str(text).ok()
            })?,
            snapshot: read(properties, snapshot_property(owner), "a snapshot id", |text| text.parse().ok())?,
            sealed_edge: read(properties, SEALED_EDGE.to_owned(), TIME_EXPECTED, parse_time)?,
            first_window: read(properties, FIRST_WINDOW.to_owned(), TIME_EXPECTED, parse_time)?,
            backfilled_to: read(properties, BACKFILLED_TO.to_owned(), TIME_EXPECTED, parse_time)?,
            republish: read(properties, REPUBLISH.to_owned(), RANGE_EXPECTED, parse_range)?,
            gaps: read(properties, GAPS.to_owned(), RANGES_EXPECTED, Gaps::parse)?,
            in_table: read(properties, IN_TABLE.to_owned(), "offsets such as {\"0\":12}", |text| {
                serde_json::from_str(text).ok()
            })?,
        })
    }

    /// The properties to set, with their texts; what is `None` is left as it is.
    pub fn format(&self, owner: &str) -> BTreeMap<String, String> {
        let offsets = self
            .offsets
            .as_ref()
            .map(|offsets| serde_json::to_string(offsets).expect("maps with text and integer keys always become JSON"));
        let in_table = self
            .in_table
            .as_ref()
            .map(|offsets| serde_json::to_string(offsets).expect("maps with integer keys always become JSON"));
        let entries = [
            (OWNER.to_owned(), self.owner.clone()),
            (generation_property(owner), self.generation.map(Generation::padded)),
            (checkpoint_property(owner), self.checkpoint.map(ManifestId::padded)),
            (offsets_property(owner), offsets),
            (snapshot_property(owner), self.snapshot.map(|id| id.to_string())),
            (SEALED_EDGE.to_owned(), self.sealed_edge.map(format_time)),
            (FIRST_WINDOW.to_owned(), self.first_window.map(format_time)),
            (BACKFILLED_TO.to_owned(), self.backfilled_to.map(format_time)),
            (REPUBLISH.to_owned(), self.republish.map(format_range)),
            (GAPS.to_owned(), self.gaps.as_ref().map(Gaps::format)),
            (IN_TABLE.to_owned(), in_table),
        ];
        entries.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

const TIME_EXPECTED: &str = "a time such as 2026-07-03T00:00:00.000000Z";
const RANGE_EXPECTED: &str = "a range such as 2026-07-03T00:00:00.000000Z/2026-07-03T05:00:00.000000Z";
const RANGES_EXPECTED: &str =
    "ranges such as 2026-07-03T00:00:00.000000Z/2026-07-03T05:00:00.000000Z, in order and apart, with commas between";

fn read<T>(
    properties: &HashMap<String, String>,
    name: String,
    expected: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, PropertyError> {
    match properties.get(&name) {
        None => Ok(None),
        Some(text) => match parse(text) {
            Some(value) => Ok(Some(value)),
            None => Err(PropertyError { name, value: text.clone(), expected }),
        },
    }
}

/// A time as properties hold it: RFC 3339 with six digits always; the fixed ends as words, and what no calendar holds as a number.
pub fn format_time(time: EventTime) -> String {
    match (time, DateTime::from_timestamp_micros(time.0)) {
        (EventTime::MIN, _) => BEGINNING.to_owned(),
        (EventTime::MAX, _) => END.to_owned(),
        (_, Some(calendar)) => calendar.to_rfc3339_opts(SecondsFormat::Micros, true),
        (_, None) => format!("{} us", time.0),
    }
}

/// What [`format_time`] wrote; `None`: it did not.
pub fn parse_time(text: &str) -> Option<EventTime> {
    match (text, text.strip_suffix(" us")) {
        (BEGINNING, _) => Some(EventTime::MIN),
        (END, _) => Some(EventTime::MAX),
        (_, Some(number)) => number.parse().ok().map(EventTime),
        _ => DateTime::parse_from_rfc3339(text).ok().map(|time| EventTime(time.timestamp_micros())),
    }
}

fn format_range(range: RepublishRange) -> String {
    format!("{}/{}", format_time(range.from), format_time(range.to))
}

fn parse_range(text: &str) -> Option<RepublishRange> {
    let (from, to) = text.split_once('/')?;
    Some(RepublishRange { from: parse_time(from)?, to: parse_time(to)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> TableProperties {
        TableProperties {
            owner: Some("page_hits".into()),
            generation: Some(Generation(3)),
            checkpoint: Some(ManifestId::new(Generation(2), 12)),
            offsets: Some(BTreeMap::from([("clicks".into(), BTreeMap::from([(0, ResumeOffset(12))]))])),
            snapshot: Some(-8),
            sealed_edge: Some(EventTime(1_700_000_000_000_001)),
            first_window: Some(EventTime::MIN),
            backfilled_to: Some(EventTime(1_700_000_000_000_000)),
            republish: Some(RepublishRange { from: EventTime::MIN, to: EventTime(1_700_000_000_000_000) }),
            gaps: Some(Gaps::default().with(EventTime::MIN..EventTime(1_700_000_000_000_000))),
            in_table: Some(BTreeMap::from([(1, ResumeOffset(7))])),
        }
    }

    #[test]
    fn properties_keep_their_names_and_texts() {
        let texts: Vec<String> = full().format("job").iter().map(|(name, text)| format!("{name} = {text}")).collect();
        assert_eq!(
            texts,
            [
                "kappa.backfilled_to = 2023-11-14T22:13:20.000000Z",
                "kappa.first_window = beginning",
                "kappa.gaps = beginning/2023-11-14T22:13:20.000000Z",
                "kappa.in_table = {\"1\":7}",
                "kappa.job.checkpoint = 0000000002/0000000012",
                "kappa.job.generation = 0000000003",
                "kappa.job.offsets = {\"clicks\":{\"0\":12}}",
                "kappa.job.snapshot = -8",
                "kappa.owner = page_hits",
                "kappa.republish = beginning/2023-11-14T22:13:20.000000Z",
                "kappa.sealed_edge = 2023-11-14T22:13:20.000001Z",
            ]
        );
    }

    #[test]
    fn what_is_formatted_parses_back_and_other_owners_are_ignored() {
        let texts: HashMap<String, String> = full().format("job").into_iter().collect();
        assert_eq!(TableProperties::parse("job", &texts), Ok(full()));
        let other = TableProperties::parse("other", &texts).expect("nothing of it is there");
        assert_eq!((other.checkpoint, other.generation, other.offsets, other.snapshot), (None, None, None, None));
        assert_eq!(other.owner, Some("page_hits".into()));
        assert_eq!(TableProperties::default().format("job"), BTreeMap::new());
    }

    #[test]
    fn every_time_reads_back() {
        for micros in [i64::MIN, i64::MIN + 1, -62_135_596_800_000_000, -1, 0, 1, 253_402_300_799_999_999, i64::MAX] {
            let time = EventTime(micros);
            assert_eq!(parse_time(&format_time(time)), Some(time), "{micros}");
        }
    }

    #[test]
    fn a_foreign_text_is_named_with_the_way_out() {
        let texts = HashMap::from([("kappa.job.checkpoint".to_owned(), "12".to_owned())]);
        let error = TableProperties::parse("job", &texts).expect_err("not an id");
        assert_eq!(
            error.to_string(),
            "table property kappa.job.checkpoint is \"12\", which isn't a checkpoint such as 0000000003/0000000012; \
             something else has set it: put back its old value (older metadata files of the table hold it)"
        );
    }
}
