//! What a batch of messages holds: records by partition, ends of partitions, and trouble.
//! Invariant: a record moves its partition's position exactly once, in offset order; what a paused partition brings moves
//! nothing.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::CString;

use rdkafka::types::RDKafkaErrorCode;

use super::batch::LogMessage;
use super::{PartitionState, Ready, Trouble, client};
use crate::decode::{RawBatch, RawRecord, SideInputs};

/// Messages of one batch on their way into raw batches.
pub(super) struct Sorting<'a> {
    pub(super) partitions: &'a mut BTreeMap<i32, PartitionState>,
    pub(super) ready: &'a mut VecDeque<Ready>,
    pub(super) spare: &'a mut Vec<RawBatch>,
    pub(super) inputs: &'a SideInputs,
    pub(super) header_names: &'a [CString],
    pub(super) trouble: Option<Trouble>,
}

impl Sorting<'_> {
    #[inline]
    pub(super) fn sort(&mut self, message: LogMessage<'_>) {
        match message.error() {
            None => self.sort_record(message),
            Some(code) => self.sort_error(message, code),
        }
    }

    #[inline]
    fn sort_record(&mut self, message: LogMessage<'_>) {
        let Some(state) = self.partitions.get_mut(&message.partition()) else { return };
        let offset = message.offset();
        // Records that were on their way when the partition was paused come again when it is resumed.
        if state.paused || offset < state.next {
            return;
        }
        let raw = match &mut state.open {
            Some(raw) => raw,
            None => {
                let mut raw = self.spare.pop().unwrap_or_else(|| RawBatch::new(message.partition(), self.inputs));
                raw.reset(message.partition());
                state.open.insert(raw)
            }
        };
        let record = RawRecord { offset, timestamp: message.timestamp(), value: message.value() };
        let key = self.inputs.key.then(|| message.key());
        let headers = self.header_names.iter().map(|name| message.header(name));
        raw.push(record, key.into_iter().chain(headers));
        state.next = offset + 1;
        state.at_end = false;
        state.end_is_news = false;
        if raw.is_full()
            && let Some(raw) = state.open.take()
        {
            self.ready.push_back(Ready::Records { raw, next: state.next });
        }
    }

    #[cold]
    fn sort_error(&mut self, message: LogMessage<'_>, code: RDKafkaErrorCode) {
        let partition = message.partition();
        let found = match code {
            RDKafkaErrorCode::PartitionEOF => return self.sort_end(partition, message.offset()),
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => Trouble::OutOfRange { partition },
            RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownPartition => Trouble::TopicMissing,
            RDKafkaErrorCode::TopicAuthorizationFailed => Trouble::NotAllowed,
            // The group is for lag tools only; telling it positions says what is missing.
            RDKafkaErrorCode::GroupAuthorizationFailed => return,
            code if client::is_transient(code) => return,
            _ => Trouble::Read { partition, reason: message.error_text() },
        };
        self.trouble.get_or_insert(found);
    }

    fn sort_end(&mut self, partition: i32, offset: i64) {
        let Some(state) = self.partitions.get_mut(&partition) else { return };
        if state.paused || offset < state.next {
            return;
        }
        if let Some(raw) = state.open.take() {
            self.ready.push_back(Ready::Records { raw, next: state.next });
        }
        state.next = offset;
        state.at_end = true;
        state.end_is_news = true;
    }
}
