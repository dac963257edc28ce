//! The librdkafka client: which properties are ours, which bound its memory, and how often it may complain.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use crate::sources::SourceError;
use crate::time::clock::{Clock, SystemClock};

/// Properties that a profile can't set, with the reason.
const OWNED: &[(&str, &str)] = &[
    ("group.id", "it is kappa-<job>, so that lag tools find it"),
    ("group.instance.id", "partitions are assigned by us, not by a group"),
    ("group.protocol", "partitions are assigned by us, not by a group"),
    ("enable.auto.commit", "positions are in checkpoints; offsets are committed after them"),
    ("enable.auto.offset.store", "positions are in checkpoints; offsets are committed after them"),
    ("auto.offset.reset", "a lost offset stops the job, it never moves the position"),
    ("isolation.level", "records of aborted transactions must not count: it is read_committed"),
    ("enable.partition.eof", "the end of a partition must be known"),
];

/// Set first, so that a profile may lay its own over them. The queue holds 64 thousand messages or 16 MiB, beside one
/// response of at most 8 MiB: with librdkafka's own 400 bytes a message, less than 64 MiB for small messages too.
const DEFAULTS: &[(&str, &str)] = &[
    ("queued.min.messages", "65536"),
    ("queued.max.messages.kbytes", "16384"),
    ("fetch.max.bytes", "8388608"),
    // A full queue is looked at again after this; the stock second would starve a fast reader of a short queue.
    ("fetch.queue.backoff.ms", "2"),
    ("fetch.wait.max.ms", "250"),
    ("reconnect.backoff.max.ms", "5000"),
    // Reading must never create what it looks for.
    ("allow.auto.create.topics", "false"),
];

/// How often one kind of complaint is logged.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

/// Makes a consumer of `properties` in `group`; it connects on its own.
pub(super) fn consumer(
    properties: &BTreeMap<String, String>,
    group: &str,
) -> Result<BaseConsumer<KafkaContext>, SourceError> {
    let mut config = ClientConfig::new();
    for (property, value) in DEFAULTS {
        config.set(*property, *value);
    }
    set_own(&mut config, properties)?;
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true");
    config.create_with_context(KafkaContext).map_err(|error| SourceError::Configuration { reason: error.to_string() })
}

/// Makes a client that asks about topics' settings.
pub(super) fn admin(properties: &BTreeMap<String, String>) -> Result<AdminClient<KafkaContext>, SourceError> {
    let mut config = ClientConfig::new();
    set_own(&mut config, properties)?;
    // It is a producer to librdkafka, which would warn of every property that is for consumers.
    config.set("log_level", "3");
    config.create_with_context(KafkaContext).map_err(|error| SourceError::Configuration { reason: error.to_string() })
}

/// Lays the profile's properties over a configuration.
fn set_own(config: &mut ClientConfig, properties: &BTreeMap<String, String>) -> Result<(), SourceError> {
    for (property, value) in properties {
        if let Some((_, reason)) = OWNED.iter().find(|(owned, _)| owned == property) {
            return Err(SourceError::PropertyOwned { property: property.clone(), reason });
        }
        config.set(property, value);
    }
    Ok(())
}

/// The brokers that `properties` name, for messages.
pub(super) fn brokers(properties: &BTreeMap<String, String>) -> String {
    let named = properties.get("bootstrap.servers").or_else(|| properties.get("metadata.broker.list"));
    named.cloned().unwrap_or_else(|| "the brokers (bootstrap.servers is not set)".to_owned())
}

/// Whether librdkafka goes on by itself after this: a broker is away, moves or is overloaded.
pub(super) fn is_transient(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::Resolve
            | Code::OperationTimedOut
            | Code::TimedOutQueue
            | Code::Retry
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::RequestTimedOut
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::NetworkException
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::KafkaStorageError
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::OffsetNotAvailable
            | Code::PreferredLeaderNotAvailable
    )
}

/// Takes a line of librdkafka's log; `level` is syslog's. A broker that is away complains many times a second, so each
/// facility has a warning a minute.
pub(super) fn log(level: i32, facility: &str, line: &str) {
    const SYSLOG_NOTICE: i32 = 5;
    static CLOCK: LazyLock<SystemClock> = LazyLock::new(SystemClock::start);
    static COMPLAINED: Mutex<BTreeMap<String, Duration>> = Mutex::new(BTreeMap::new());
    if level >= SYSLOG_NOTICE {
        tracing::debug!(target: "kafka", facility, "{line}");
        return;
    }
    let mut complained = COMPLAINED.lock().unwrap_or_else(PoisonError::into_inner);
    let now = CLOCK.elapsed();
    if complained.get(facility).is_some_and(|last| now < *last + COMPLAINT_INTERVAL) {
        return;
    }
    complained.insert(facility.to_owned(), now);
    tracing::warn!(target: "kafka", facility, "{line}; trying again");
}

/// Takes the log of clients that are never polled in batches.
#[derive(Debug, Default)]
pub(super) struct KafkaContext;

impl ClientContext for KafkaContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level as i32, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        log(RDKafkaLogLevel::Error as i32, "ERROR", &format!("{error}: {reason}"));
    }
}

impl ConsumerContext for KafkaContext {}
