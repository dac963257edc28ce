//! How long a topic keeps its records, for those who watch how near a reader is to losing some.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ConfigEntry, ResourceSpecifier};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode;

use super::client::{KafkaContext, SYSTEM_CAS, client_config};

/// How long the request may take, connecting included.
const REQUEST_WAIT_MAX: Duration = Duration::from_secs(20);

/// Beginnings of the properties that say how brokers are reached; consumers' others mean nothing to this client.
const CONNECTION: [&str; 8] = [
    "bootstrap.servers",
    "metadata.broker.list",
    "security.",
    "sasl.",
    "ssl.",
    "client.",
    "socket.",
    "broker.address.",
];

/// The topic's `retention.ms`; `None` if it keeps records for ever, may not be asked, or makes no sense. A topic that is
/// only compacted removes nothing by age.
pub(in crate::sources) fn retention(kafka: &BTreeMap<String, String>, topic: &str) -> Option<Duration> {
    of_settings(&settings(kafka, topic).ok()?)
}

/// The settings of a topic.
///
/// # Errors
/// When the broker doesn't answer, or refuses to say.
pub(super) fn settings(kafka: &BTreeMap<String, String>, topic: &str) -> KafkaResult<Vec<ConfigEntry>> {
    let mut config = client_config();
    config.set(SYSTEM_CAS.0, SYSTEM_CAS.1);
    for (property, value) in kafka.iter().filter(|(property, _)| CONNECTION.iter().any(|of| property.starts_with(of))) {
        config.set(property, value);
    }
    let admin: AdminClient<KafkaContext> = config.create_with_context(KafkaContext::default())?;
    let options = AdminOptions::new().request_timeout(Some(REQUEST_WAIT_MAX));
    let asked = [ResourceSpecifier::Topic(topic)];
    let answer = futures::executor::block_on(admin.describe_configs(&asked, &options))?.into_iter().next();
    match answer {
        // Every topic has settings, and the client drops the error of a topic whose settings aren't ours to see.
        Some(Ok(topic)) if topic.entries.is_empty() => {
            Err(KafkaError::AdminOp(RDKafkaErrorCode::TopicAuthorizationFailed))
        }
        Some(Ok(topic)) => Ok(topic.entries),
        Some(Err(code)) => Err(KafkaError::AdminOp(code)),
        None => Err(KafkaError::AdminOp(RDKafkaErrorCode::NoEnt)),
    }
}

fn of_settings(entries: &[ConfigEntry]) -> Option<Duration> {
    let value = |name: &str| entries.iter().find(|entry| entry.name == name)?.value.as_deref();
    if value("cleanup.policy").is_some_and(|policy| !policy.contains("delete")) {
        return None;
    }
    // -1 stands for ever.
    let milliseconds: u64 = value("retention.ms")?.parse().ok()?;
    Some(Duration::from_millis(milliseconds))
}

#[cfg(test)]
mod tests {
    use rdkafka::admin::ConfigSource;

    use super::*;

    #[test]
    fn only_topics_that_delete_by_age_have_a_retention() {
        let entry = |name: &str, value: &str| ConfigEntry {
            name: name.to_owned(),
            value: Some(value.to_owned()),
            source: ConfigSource::Default,
            is_read_only: false,
            is_default: true,
            is_sensitive: false,
        };
        let of = |policy: &str, retention: &str| {
            of_settings(&[entry("cleanup.policy", policy), entry("retention.ms", retention)])
        };
        assert_eq!(of("delete", "604800000"), Some(Duration::from_secs(7 * 86_400)));
        assert_eq!(of("compact,delete", "1000"), Some(Duration::from_secs(1)));
        assert_eq!(of("compact", "604800000"), None);
        assert_eq!(of("delete", "-1"), None);
        assert_eq!(of_settings(&[]), None, "a broker that doesn't say");
    }
}
