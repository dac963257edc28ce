//! The ways of a reset, as `kafka-consumer-groups` has them, typed and meant.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;

use crate::cli::exit::Failure;
use crate::cli::start::{StartArgument, StartChoice, resolve_time};
use crate::cli::terminal::Terminal;
use crate::cli::time::TimeArgument;
use crate::config::DurationText;
use crate::event::{EventTime, Micros, ResumeOffset};
use crate::offsets::reset::{Chosen, TopicOffsets, Way};

/// Where positions go: exactly one of these.
#[derive(Args, Clone, Debug)]
#[group(id = "way", required = true, multiple = false)]
pub struct WayArgs {
    /// Move to the beginning of the log
    #[arg(long)]
    pub to_earliest: bool,
    /// Move to now: the first window that starts from now on
    #[arg(long)]
    pub to_latest: bool,
    /// Move to the first window at or after a time
    #[arg(long, value_name = "TIME")]
    pub to_datetime: Option<TimeArgument>,
    /// Move to the first window at or after the time so long ago, such as 1h, 2d or PT1H30M
    #[arg(long, value_name = "DURATION", value_parser = ago)]
    pub by_duration: Option<Micros>,
    /// Move by so many offsets; a negative number goes back
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true)]
    pub shift_by: Option<i64>,
    /// Move to an offset
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    pub to_offset: Option<i64>,
    /// Stay where they are, and only drop the open windows
    #[arg(long)]
    pub to_current: bool,
    /// Move to those in a CSV file of lines topic,partition,offset
    #[arg(long, value_name = "FILE")]
    pub from_file: Option<PathBuf>,
}

impl WayArgs {
    /// What is meant if it is `now` now; reads the file of offsets.
    pub fn resolve(&self, now: EventTime, terminal: &Terminal) -> Result<Way, Failure> {
        Ok(match self {
            WayArgs { to_earliest: true, .. } => Way::Earliest,
            WayArgs { to_latest: true, .. } => Way::Time(now),
            WayArgs { to_datetime: Some(time), .. } => Way::Time(resolve_time(time, now, terminal)),
            WayArgs { by_duration: Some(span), .. } => Way::Time(now.minus(*span)),
            WayArgs { shift_by: Some(by), .. } => Way::Shift(*by),
            WayArgs { to_offset: Some(offset), .. } => Way::Offset(*offset),
            WayArgs { from_file: Some(file), .. } => {
                let StartChoice::Offsets(lines) = StartArgument::File(file.clone()).resolve(now, terminal)? else {
                    unreachable!("a file is a choice of offsets");
                };
                let mut offsets = TopicOffsets::new();
                for line in lines {
                    offsets.entry(line.topic).or_default().insert(line.partition, ResumeOffset(line.offset));
                }
                Way::Offsets(offsets)
            }
            // The command line needs one of them.
            _ => Way::Current,
        })
    }

    /// As it is to be typed to mean the same later.
    pub fn again(&self, way: &Way) -> String {
        match (way, &self.from_file) {
            (Way::Earliest, _) => "--to-earliest".to_owned(),
            (Way::Time(_), _) if self.to_latest => "--to-latest".to_owned(),
            (Way::Time(time), _) => format!("--to-datetime {time}"),
            (Way::Shift(by), _) => format!("--shift-by {by}"),
            (Way::Offset(offset), _) => format!("--to-offset {offset}"),
            (Way::Offsets(_), Some(file)) => format!("--from-file {}", file.display()),
            (Way::Current | Way::Offsets(_), _) => "--to-current".to_owned(),
        }
    }
}

/// `1h 30m`, or ISO 8601 as Kafka's tool has it: `P1DT2H30M5S`.
fn ago(text: &str) -> Result<Micros, String> {
    let plain = |text: &str| text.parse::<DurationText>().map(|span| Micros(span.micros()));
    let Some(iso) = text.strip_prefix('P') else {
        return plain(text).map_err(|error| format!("{error}; or as ISO 8601, such as PT1H30M"));
    };
    let wrong = || format!("`{text}` isn't a duration of ISO 8601; write P1D, PT1H30M or P1DT2H, or 1h 30m");
    let (days, clock) = match iso.split_once('T') {
        Some((_, "")) | None if iso.is_empty() || iso.ends_with('T') => return Err(wrong()),
        Some((days, clock)) => (days, clock),
        None => (iso, ""),
    };
    let units_fit = |part: &str, units: &str| {
        part.chars().all(|letter| letter.is_ascii_digit() || letter == '.' || units.contains(letter))
    };
    if !units_fit(days, "DW") || !units_fit(clock, "HMS") {
        return Err(wrong());
    }
    plain(&format!("{days}{clock}").to_ascii_lowercase()).map_err(|_| wrong())
}

/// A topic, or some of its partitions: `web-requests` or `web-requests:0,2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Topic.
    pub topic: String,
    /// Partitions of it; `None`: all.
    pub partitions: Option<Vec<i32>>,
}

impl std::fmt::Display for Selection {
    /// As it is typed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.topic)?;
        let Some(partitions) = &self.partitions else { return Ok(()) };
        let partitions: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        write!(f, ":{}", partitions.join(","))
    }
}

impl FromStr for Selection {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` isn't a topic or topic:partitions, such as web-requests or web-requests:0,2");
        let (topic, partitions) = match text.split_once(':') {
            None => (text, None),
            Some((topic, partitions)) => {
                let number = |part: &str| part.trim().parse::<i32>().ok().filter(|partition| *partition >= 0);
                let partitions: Option<Vec<i32>> = partitions.split(',').map(number).collect();
                (topic, Some(partitions.ok_or_else(wrong)?))
            }
        };
        if topic.is_empty() {
            return Err(wrong());
        }
        Ok(Selection { topic: topic.to_owned(), partitions })
    }
}

/// What several selections choose together.
pub(super) fn chosen(selections: &[Selection]) -> Chosen {
    let mut chosen = BTreeMap::new();
    for Selection { topic, partitions } in selections {
        let known = chosen.entry(topic.clone()).or_insert_with(|| Some(Vec::new()));
        match (known.as_mut(), partitions) {
            (Some(known), Some(partitions)) => known.extend(partitions),
            // All of a topic, however many of it are named beside.
            _ => *known = None,
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_ours_or_that_of_kafkas_tool() {
        let seconds = |text: &str| ago(text).unwrap_or_else(|error| panic!("{error}")).0 / 1_000_000;
        assert_eq!((seconds("1h"), seconds("1h 30m")), (3_600, 5_400));
        assert_eq!((seconds("PT1H"), seconds("PT1H30M"), seconds("P1D")), (3_600, 5_400, 86_400));
        assert_eq!((seconds("P1DT2H30M5S"), seconds("P0DT0H5M0S")), (95_405, 300));
        for wrong in ["P", "PT", "P1DT", "P1M", "PT1D", "P-1D", "1", "PT1H 5"] {
            assert!(ago(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn selections_are_topics_with_or_without_partitions() {
        let parse = |text: &str| text.parse::<Selection>();
        assert_eq!(parse("a"), Ok(Selection { topic: "a".into(), partitions: None }));
        assert_eq!(parse("a:0,2"), Ok(Selection { topic: "a".into(), partitions: Some(vec![0, 2]) }));
        for wrong in ["", ":1", "a:", "a:x", "a:-1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let together = |texts: &[&str]| chosen(&texts.iter().map(|text| parse(text).expect("one")).collect::<Vec<_>>());
        assert_eq!(together(&["a:0", "a:2", "b"]), Chosen::from([("a".into(), Some(vec![0, 2])), ("b".into(), None)]));
        assert_eq!(together(&["a:0", "a"]), Chosen::from([("a".into(), None)]));
    }
}
