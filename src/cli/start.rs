//! The values of `--start` and `--until`, as typed and as meant.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::exit::Failure;
use super::terminal::Terminal;
use super::time::{TimeArgument, TimeArgumentError};
use crate::config::DurationText;
use crate::event::{EventTime, LiveFace, ResumeOffset, Stream};
use crate::start::Start;

/// `--start` as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartArgument {
    /// `earliest`
    Earliest,
    /// `latest`: the same as `now`.
    Latest,
    /// A time.
    Time(TimeArgument),
    /// A CSV file of offsets.
    File(PathBuf),
    /// `history`: behind what backfills have published.
    History,
}

impl FromStr for StartArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "earliest" => Ok(StartArgument::Earliest),
            "latest" => Ok(StartArgument::Latest),
            "history" => Ok(StartArgument::History),
            file if file.to_ascii_lowercase().ends_with(".csv") => Ok(StartArgument::File(PathBuf::from(file))),
            time => time.parse().map(StartArgument::Time).map_err(|error: TimeArgumentError| {
                match time.parse::<DurationText>() {
                    Ok(_) => format!("`{time}` is a duration; write now-{time} for the time so long before now"),
                    Err(_) => format!("{error}; or `earliest`, `latest`, `history`, or a .csv file of offsets"),
                }
            }),
        }
    }
}

/// Where a run without a checkpoint begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartChoice {
    /// At the first record of each partition.
    Earliest,
    /// With the windows that start at or after a time; `latest` is now.
    Time(EventTime),
    /// At exact offsets.
    Offsets(Vec<StartOffset>),
    /// Behind what backfills have published.
    History,
}

/// One line of a file of offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartOffset {
    /// Kafka topic.
    pub topic: String,
    /// Partition of it, from 0.
    pub partition: i32,
    /// First offset that is read.
    pub offset: i64,
}

impl StartChoice {
    /// The same for streams that read `topics`.
    ///
    /// # Errors
    /// When offsets are given for a topic that none of them reads.
    pub fn for_topics(&self, topics: &[&str]) -> Result<Start, Failure> {
        Ok(match self {
            StartChoice::Earliest => Start::Earliest,
            StartChoice::Time(time) => Start::Time(*time),
            StartChoice::History => Start::History,
            StartChoice::Offsets(lines) => {
                let mut offsets: BTreeMap<String, BTreeMap<i32, ResumeOffset>> = BTreeMap::new();
                for line in lines {
                    if !topics.contains(&line.topic.as_str()) {
                        let known = topics.join(", ");
                        let message = format!("offsets are given for topic {}, but {known} is read", line.topic);
                        return Err(Failure::Usage(message));
                    }
                    offsets.entry(line.topic.clone()).or_default().insert(line.partition, ResumeOffset(line.offset));
                }
                Start::Offsets(offsets)
            }
        })
    }
}

/// The topics that streams read.
pub fn topics<'a>(streams: impl IntoIterator<Item = &'a Arc<Stream>>) -> Vec<&'a str> {
    let topic = |stream: &'a Arc<Stream>| match &stream.live {
        LiveFace::Kafka { topic, .. } => Some(topic.as_str()),
        LiveFace::File { .. } => None,
    };
    streams.into_iter().filter_map(topic).collect()
}

impl StartArgument {
    /// What is meant if it is `now` now; reads the file of offsets.
    pub fn resolve(&self, now: EventTime, terminal: &Terminal) -> Result<StartChoice, Failure> {
        match self {
            StartArgument::Earliest => Ok(StartChoice::Earliest),
            StartArgument::Latest => Ok(StartChoice::Time(now)),
            StartArgument::Time(time) => Ok(StartChoice::Time(resolve_time(time, now, terminal))),
            StartArgument::History => Ok(StartChoice::History),
            StartArgument::File(path) => read_offsets(path).map(StartChoice::Offsets),
        }
    }
}

/// The instant that a time argument means; says on stderr how it was read, where the text doesn't.
pub fn resolve_time(time: &TimeArgument, now: EventTime, terminal: &Terminal) -> EventTime {
    if let Some(note) = time.note(now) {
        terminal.note(&note);
    }
    time.resolve(now)
}

fn read_offsets(path: &Path) -> Result<Vec<StartOffset>, Failure> {
    let shown = path.display();
    let text =
        std::fs::read_to_string(path).map_err(|error| Failure::Usage(format!("{shown} can't be read: {error}")))?;
    parse_offsets(&text).map_err(|error| Failure::Usage(format!("{shown}: {error}")))
}

/// Lines `topic,partition,offset`; a header of these words, blank lines and `#` comments are skipped.
fn parse_offsets(text: &str) -> Result<Vec<StartOffset>, String> {
    let mut offsets: Vec<StartOffset> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || (index == 0 && line == "topic,partition,offset") {
            continue;
        }
        let parsed = parse_offset(line).ok_or_else(|| {
            format!("line {}: `{line}` isn't topic,partition,offset, such as clicks,0,1500", index + 1)
        })?;
        if offsets.iter().any(|other| other.topic == parsed.topic && other.partition == parsed.partition) {
            return Err(format!(
                "line {}: partition {} of {} is there twice",
                index + 1,
                parsed.partition,
                parsed.topic
            ));
        }
        offsets.push(parsed);
    }
    match offsets.is_empty() {
        true => Err("there are no offsets in it; write lines topic,partition,offset".to_owned()),
        false => Ok(offsets),
    }
}

fn parse_offset(line: &str) -> Option<StartOffset> {
    let parts: Vec<&str> = line.split(',').map(str::trim).collect();
    let [topic, partition, offset] = parts[..] else { return None };
    let partition = partition.parse().ok().filter(|partition| *partition >= 0)?;
    let offset = offset.parse().ok().filter(|offset| *offset >= 0)?;
    (!topic.is_empty()).then(|| StartOffset { topic: topic.to_owned(), partition, offset })
}

/// `--until` as typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UntilArgument {
    /// `end`
    End,
    /// A time.
    Time(TimeArgument),
}

impl FromStr for UntilArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "end" => Ok(UntilArgument::End),
            time => {
                time.parse().map(UntilArgument::Time).map_err(|error: TimeArgumentError| format!("{error}; or `end`"))
            }
        }
    }
}

/// Where a run stops by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// At the end of the log as it stands at the start.
    End,
    /// When every window that ends at or before this time is published.
    Time(EventTime),
}

impl UntilArgument {
    /// What is meant if it is `now` now.
    pub fn resolve(&self, now: EventTime, terminal: &Terminal) -> Until {
        match self {
            UntilArgument::End => Until::End,
            UntilArgument::Time(time) => Until::Time(resolve_time(time, now, terminal)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_word_a_file_or_a_time() {
        assert_eq!("earliest".parse(), Ok(StartArgument::Earliest));
        assert_eq!("latest".parse(), Ok(StartArgument::Latest));
        assert_eq!("a/Offsets.CSV".parse(), Ok(StartArgument::File(PathBuf::from("a/Offsets.CSV"))));
        assert!(matches!("now-1h".parse(), Ok(StartArgument::Time(_))));
        let refused = "begin".parse::<StartArgument>().expect_err("no start");
        assert!(refused.contains("`earliest`, `latest`, `history`"), "{refused}");
        assert_eq!("history".parse(), Ok(StartArgument::History));
        let duration = "7d".parse::<StartArgument>().expect_err("no time");
        assert!(duration.contains("write now-7d"), "{duration}");
    }

    #[test]
    fn offsets_are_read_line_by_line() {
        let offsets =
            parse_offsets("topic,partition,offset\n# mine\n clicks , 0 , 15\n\nclicks,1,0\n").expect("offsets");
        let expected = |partition, offset| StartOffset { topic: "clicks".into(), partition, offset };
        assert_eq!(offsets, [expected(0, 15), expected(1, 0)]);
    }

    #[test]
    fn wrong_offsets_name_their_line() {
        let refused = |text: &str| parse_offsets(text).expect_err("refused");
        assert!(refused("clicks,0\n").starts_with("line 1: `clicks,0` isn't"));
        assert!(refused("clicks,0,1\nclicks,-1,1\n").starts_with("line 2"));
        assert!(refused("clicks,0,-2\n").starts_with("line 1"));
        assert!(refused("clicks,0,1\nclicks,0,2\n").contains("is there twice"));
        assert!(refused("\n").contains("no offsets"));
    }
}
