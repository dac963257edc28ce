//! The librdkafka client: which properties are ours, which bound its memory, and how often it may complain.
//! Invariant: no message shows the value of a property, as some are secrets.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;

use super::complaint::Complaint;
use crate::sources::SourceError;
use crate::time::clock::{Clock, SystemClock};

/// Properties that a profile can't set, with the reason.
const OWNED: &[(&str, &str)] = &[
    ("group.id", "it is kappa-<job> or kappa-archive-<history>, so that lag tools find it"),
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
    // A host that swallows packets is told at the start, before patience ends.
    ("socket.connection.setup.timeout.ms", "7000"),
    ("topic.metadata.refresh.interval.ms", METADATA_INTERVAL_MS),
    SYSTEM_CAS,
    // Reading must never create what it looks for.
    ("allow.auto.create.topics", "false"),
];

/// OpenSSL is linked in: by itself it would look for the system's CAs where it was built.
pub(super) const SYSTEM_CAS: (&str, &str) = ("ssl.ca.location", "probe");

/// How often a client looks which partitions a topic has, and where, unless the profile says something else: so long may one
/// that is added go unread.
const METADATA_INTERVAL_MS: &str = "30000";

/// How often one kind of complaint is logged. That a log doesn't answer is told every minute by whoever asks it; this is for
/// the cause, and for one broker of several.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(300);

/// Facilities of librdkafka that complain of connections: all at once and many times a second when a broker is away.
const CONNECTION: [&str; 3] = ["FAIL", "ERROR", "REQTMOUT"];

/// Makes a consumer of `properties` in `group`; it connects on its own.
pub(super) fn consumer(
    properties: &BTreeMap<String, String>,
    group: &str,
) -> Result<BaseConsumer<KafkaContext>, SourceError> {
    let mut config = client_config();
    // What is worth a line is decided where lines are taken. At the level of debugging, errors of OpenSSL name lines of its source.
    let debugs = properties.get("debug").is_some();
    config.set_log_level(if debugs { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
    for (property, value) in DEFAULTS {
        config.set(*property, *value);
    }
    for (property, value) in properties {
        if let Some((_, reason)) = OWNED.iter().find(|(owned, _)| owned == property) {
            return Err(SourceError::PropertyOwned { property: property.clone(), reason });
        }
        config.set(property, value);
    }
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true");
    config.create_with_context(KafkaContext::default()).map_err(|error| SourceError::Configuration {
        reason: match error {
            // Its own text shows the value, which may be a password in a property that was misspelt.
            KafkaError::ClientConfig(_, description, _, _) => description,
            other => other.to_string(),
        },
    })
}

/// What every client begins with. Nobody waits for a client's threads at the end of the process, as a question to a broker
/// that doesn't answer may be under way; but OpenSSL, if librdkafka is the first to use it, frees at exit what they still work
/// with, and the process dies of `free(): invalid size` after all is said and done.
pub(super) fn client_config() -> ClientConfig {
    // Without the exit handler: who initialises it first decides.
    openssl_sys::init();
    ClientConfig::new()
}

/// How often to look for partitions that were not there before: as often as clients of these properties do.
pub(in crate::sources) fn metadata_interval(properties: &BTreeMap<String, String>) -> Duration {
    let set = properties.get("topic.metadata.refresh.interval.ms").and_then(|text| text.trim().parse().ok());
    // Switched off, which is -1, means that clients don't look; somebody has to.
    let interval_ms = set.or_else(|| METADATA_INTERVAL_MS.parse().ok()).expect("the default is a number");
    Duration::from_millis(interval_ms)
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

/// Takes a line of librdkafka's log; `level` is syslog's. Each kind of complaint has a warning in [`COMPLAINT_INTERVAL`].
pub(super) fn log(level: i32, facility: &str, line: &str) {
    const SYSLOG_NOTICE: i32 = 5;
    static CLOCK: LazyLock<SystemClock> = LazyLock::new(SystemClock::start);
    static COMPLAINED: Mutex<BTreeMap<String, Duration>> = Mutex::new(BTreeMap::new());
    if level >= SYSLOG_NOTICE {
        tracing::debug!(target: "kafka", facility, "{line}");
        return;
    }
    let kind = if CONNECTION.contains(&facility) { "connection" } else { facility };
    let mut complained = COMPLAINED.lock().unwrap_or_else(PoisonError::into_inner);
    let now = CLOCK.elapsed();
    if complained.get(kind).is_some_and(|last| now < *last + COMPLAINT_INTERVAL) {
        return;
    }
    complained.insert(kind.to_owned(), now);
    tracing::warn!(target: "kafka", facility, "{line}; trying again");
}

/// A log line without `[thrd:NAME]: ` before it.
fn without_thread(line: &str) -> &str {
    line.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: ")).map_or(line, |(_, line)| line)
}

/// Takes the events of clients that aren't polled in batches: those that ask about topics.
#[derive(Debug, Default)]
pub(super) struct KafkaContext {
    complaint: Mutex<Option<Complaint>>,
}

impl KafkaContext {
    /// What has kept the client from a broker, if anything: what lasts rather than what passes, else the newest.
    pub(super) fn complaint(&self) -> Option<Complaint> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, code: RDKafkaErrorCode, reason: &str) {
        let Some(new) = Complaint::new(code, reason) else { return };
        let mut kept = self.complaint.lock().unwrap_or_else(PoisonError::into_inner);
        if new.is_lasting() || !kept.as_ref().is_some_and(Complaint::is_lasting) {
            *kept = Some(new);
        }
    }
}

// Nothing is worth a warning here: who asks is told the cause in the error.
impl ClientContext for KafkaContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        tracing::debug!(target: "kafka", facility, "{line}");
        // A connection that is closed by the other side is no error event: it happens to idle ones all the time.
        if facility == "FAIL" && level as i32 > RDKafkaLogLevel::Error as i32 {
            self.keep(RDKafkaErrorCode::BrokerTransportFailure, without_thread(line));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "kafka", "{error}: {reason}");
        if let Some(code) = error.rdkafka_error_code() {
            self.keep(code, reason);
        }
    }
}

impl ConsumerContext for KafkaContext {}
