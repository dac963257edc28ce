//! How a topic keeps its records, as its settings say.
//! Never fails for want of the right to see them: what isn't known stays unknown.

use std::collections::BTreeMap;

use rdkafka::admin::ConfigEntry;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::retention::settings;
use crate::event::Micros;
use crate::start::LogNature;

/// Settings that say how far ahead of the broker's clock a producer's timestamp may be, newest name first.
const AHEAD_MAX: [&str; 2] = ["message.timestamp.after.max.ms", "message.timestamp.difference.max.ms"];

/// How `topic` keeps its records. Where the broker doesn't say (the right to describe settings is missing, or it is too
/// old to be asked), a warning tells what isn't checked, and nothing is known.
pub(in crate::sources) fn nature(kafka: &BTreeMap<String, String>, topic: &str) -> LogNature {
    match settings(kafka, topic) {
        Ok(settings) => read(&settings),
        Err(error) => {
            let way_out = match error {
                KafkaError::AdminOp(RDKafkaErrorCode::TopicAuthorizationFailed) => format!(
                    "; give our user the right: kafka-acls.sh --add --allow-principal User:NAME --operation DescribeConfigs \
                     --topic {topic}"
                ),
                error => format!(": {error}"),
            };
            tracing::warn!(
                "settings of topic {topic} can't be seen, so compaction and retention aren't checked{way_out}"
            );
            LogNature::default()
        }
    }
}

fn read(settings: &[ConfigEntry]) -> LogNature {
    let text = |name: &str| settings.iter().find(|entry| entry.name == name).and_then(|entry| entry.value.as_deref());
    let number = |name: &str| text(name).and_then(|value| value.parse::<i64>().ok());
    let policy = text("cleanup.policy").unwrap_or_default();
    let by_age_alone = policy == "delete" && number("retention.bytes") == Some(-1);
    let retention = number("retention.ms").filter(|&milliseconds| by_age_alone && milliseconds >= 0);
    let by_producer = text("message.timestamp.type") == Some("CreateTime");
    let ahead = AHEAD_MAX.iter().find_map(|name| number(name)).filter(|_| by_producer);
    LogNature {
        compacted: policy.split(',').any(|policy| policy.trim() == "compact"),
        retention: retention.map(micros),
        ahead_max: ahead.map(micros),
    }
}

fn micros(milliseconds: i64) -> Micros {
    Micros(milliseconds.saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use rdkafka::admin::ConfigSource;

    use super::*;

    fn nature_of(settings: &[(&str, &str)]) -> LogNature {
        let entry = |&(name, value): &(&str, &str)| ConfigEntry {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            source: ConfigSource::DynamicTopic,
            is_read_only: false,
            is_default: false,
            is_sensitive: false,
        };
        read(&settings.iter().map(entry).collect::<Vec<_>>())
    }

    #[test]
    fn age_counts_only_where_nothing_else_removes_records() {
        let week = ("retention.ms", "604800000");
        let by_age = nature_of(&[("cleanup.policy", "delete"), week, ("retention.bytes", "-1")]);
        assert_eq!(by_age.retention, Some(Micros(604_800_000_000)));
        assert_eq!(nature_of(&[("cleanup.policy", "delete"), week, ("retention.bytes", "1000")]).retention, None);
        let both = nature_of(&[("cleanup.policy", "compact,delete"), week, ("retention.bytes", "-1")]);
        assert_eq!((both.retention, both.compacted), (None, true));
        let for_ever = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];
        assert_eq!(nature_of(&for_ever).retention, None, "what is gone was removed by hand");
    }

    #[test]
    fn only_producers_timestamps_run_ahead() {
        let max = i64::MAX.to_string();
        let setting = ("message.timestamp.after.max.ms", max.as_str());
        let ahead = |kind| nature_of(&[("message.timestamp.type", kind), setting]).ahead_max;
        assert_eq!((ahead("CreateTime"), ahead("LogAppendTime")), (Some(Micros(i64::MAX)), None));
        let old = [("message.timestamp.type", "CreateTime"), ("message.timestamp.difference.max.ms", "60000")];
        assert_eq!(nature_of(&old).ahead_max, Some(Micros(60_000_000)));
    }
}
