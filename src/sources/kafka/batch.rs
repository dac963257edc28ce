//! librdkafka's queue, many messages a call.
//!
//! The one module of sources with unsafe code: the batch call has no safe wrapper, and message by message the queue costs
//! four times as much. Invariant: a message is destroyed exactly once, before `take` returns; nothing borrowed from it
//! outlives the visit.
#![expect(unsafe_code, reason = "rd_kafka_consume_batch_queue has no safe wrapper")]

use std::ffi::{CStr, CString};
use std::marker::PhantomData;
use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as rdk;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;

use super::client::KafkaContext;

/// The queue of all partitions of a consumer.
pub(super) struct BatchQueue {
    queue: *mut rdk::rd_kafka_queue_t,
    messages: Vec<*mut rdk::rd_kafka_message_t>,
    /// Keeps the client alive for as long as its queue.
    consumer: Arc<BaseConsumer<KafkaContext>>,
}

// SAFETY: librdkafka's queues may be used from any thread, and `messages` holds pointers only while `take`, which has
// the queue to itself, runs.
unsafe impl Send for BatchQueue {}

impl BatchQueue {
    /// The queue of `consumer`, which has a group and is therefore never polled by others.
    pub(super) fn new(consumer: Arc<BaseConsumer<KafkaContext>>, count_max: usize) -> BatchQueue {
        // SAFETY: the client is alive; the reference to its queue is given back in `drop`.
        let queue = unsafe { rdk::rd_kafka_queue_get_consumer(consumer.client().native_ptr()) };
        assert!(!queue.is_null(), "a consumer with a group has a queue");
        // SAFETY: the client is alive, and `log` is a function for the whole life of the program. Without it, log lines
        // that the batch call meets would go to stderr.
        unsafe { rdk::rd_kafka_set_logger(consumer.client().native_ptr(), Some(log)) };
        BatchQueue { queue, messages: vec![ptr::null_mut(); count_max], consumer }
    }

    /// Takes up to `count_max` messages, waiting up to `wait` until that many are there, and shows each to `visit`.
    pub(super) fn take(&mut self, wait: Duration, count_max: usize, mut visit: impl FnMut(LogMessage<'_>)) {
        let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
        let count_max = count_max.min(self.messages.len());
        // SAFETY: the queue is alive, and there is room for `count_max` pointers.
        let count =
            unsafe { rdk::rd_kafka_consume_batch_queue(self.queue, wait_ms, self.messages.as_mut_ptr(), count_max) };
        // -1 stands for an error of the call itself, which has no messages either.
        let count = usize::try_from(count).unwrap_or(0);
        for message in &mut self.messages[..count] {
            let taken = Taken(std::mem::replace(message, ptr::null_mut()));
            visit(LogMessage { message: taken.0, lifetime: PhantomData });
        }
    }

    /// The end of a partition, open transactions included, as the last fetch had it; `None` if there was none.
    pub(super) fn high_watermark(&self, topic: &str, partition: i32) -> Option<i64> {
        let topic = CString::new(topic).ok()?;
        let (mut low, mut high) = (0, 0);
        let client = self.consumer.client().native_ptr();
        // SAFETY: the client is alive, and both numbers outlive the call, which only fills them.
        let error =
            unsafe { rdk::rd_kafka_get_watermark_offsets(client, topic.as_ptr(), partition, &mut low, &mut high) };
        (RDKafkaErrorCode::from(error) == RDKafkaErrorCode::NoError && high >= 0).then_some(high)
    }
}

impl Drop for BatchQueue {
    fn drop(&mut self) {
        // SAFETY: the reference was taken in `new`, and the client, which `consumer` holds, is still alive.
        unsafe { rdk::rd_kafka_queue_destroy(self.queue) }
    }
}

/// Takes a line of librdkafka's log.
unsafe extern "C" fn log(
    _client: *const rdk::rd_kafka_t,
    level: i32,
    facility: *const std::ffi::c_char,
    line: *const std::ffi::c_char,
) {
    // SAFETY: librdkafka passes texts that end with a zero and live for the call.
    let (facility, line) = unsafe { (CStr::from_ptr(facility), CStr::from_ptr(line)) };
    super::client::log(level, &facility.to_string_lossy(), &line.to_string_lossy());
}

/// A message that is destroyed also if the visit panics.
struct Taken(*mut rdk::rd_kafka_message_t);

impl Drop for Taken {
    fn drop(&mut self) {
        // SAFETY: the call that gave the message made it ours, and this is the only place that gives it back.
        unsafe { rdk::rd_kafka_message_destroy(self.0) }
    }
}

/// A record or an event of a partition, for the length of a visit.
#[derive(Clone, Copy)]
pub(super) struct LogMessage<'a> {
    message: *mut rdk::rd_kafka_message_t,
    lifetime: PhantomData<&'a [u8]>,
}

impl<'a> LogMessage<'a> {
    fn message(&self) -> &'a rdk::rd_kafka_message_t {
        // SAFETY: the message is alive and unchanged for 'a: `take` destroys it after the visit.
        unsafe { &*self.message }
    }

    /// What happened, if this isn't a record.
    #[inline]
    pub(super) fn error(&self) -> Option<RDKafkaErrorCode> {
        match self.message().err {
            rdk::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => None,
            error => Some(error.into()),
        }
    }

    /// The event in librdkafka's words.
    pub(super) fn error_text(&self) -> String {
        // SAFETY: the message is alive; the text, if there is one, ends with a zero and lives as long as the message.
        let text = unsafe {
            let text = rdk::rd_kafka_message_errstr(self.message);
            (!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
        };
        text.unwrap_or_else(|| format!("{:?}", self.error()))
    }

    /// Partition; -1 if the event isn't about one.
    #[inline]
    pub(super) fn partition(&self) -> i32 {
        self.message().partition
    }

    /// Offset of the record, or that of the event.
    #[inline]
    pub(super) fn offset(&self) -> i64 {
        self.message().offset
    }

    /// The record's timestamp in microseconds.
    #[inline]
    pub(super) fn timestamp(&self) -> Option<i64> {
        let mut kind = rdk::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive, and `kind` outlives the call.
        let milliseconds = unsafe { rdk::rd_kafka_message_timestamp(self.message, &mut kind) };
        match kind {
            rdk::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => None,
            _ if milliseconds < 0 => None,
            _ => milliseconds.checked_mul(1_000),
        }
    }

    /// The record's value; a missing one is empty.
    #[inline]
    pub(super) fn value(&self) -> &'a [u8] {
        let message = self.message();
        // SAFETY: payload and length belong together and live as long as the message.
        unsafe { bytes(message.payload, message.len) }.unwrap_or_default()
    }

    /// The record's key.
    #[inline]
    pub(super) fn key(&self) -> Option<&'a [u8]> {
        let message = self.message();
        // SAFETY: key and length belong together and live as long as the message.
        unsafe { bytes(message.key, message.key_len) }
    }

    /// The last header of that name.
    pub(super) fn header(&self, name: &CStr) -> Option<&'a [u8]> {
        let mut headers = ptr::null_mut();
        let (mut value, mut length) = (ptr::null(), 0);
        // SAFETY: the message is alive; headers and the value found in them live as long as it does.
        unsafe {
            let found = rdk::rd_kafka_message_headers(self.message, &mut headers);
            if RDKafkaErrorCode::from(found) != RDKafkaErrorCode::NoError {
                return None;
            }
            let found = rdk::rd_kafka_header_get_last(headers, name.as_ptr(), &mut value, &mut length);
            if RDKafkaErrorCode::from(found) != RDKafkaErrorCode::NoError {
                return None;
            }
            bytes(value, length)
        }
    }
}

/// # Safety
/// `start` is null, or `length` bytes live there, unchanged, for 'a.
#[inline]
unsafe fn bytes<'a>(start: *const std::ffi::c_void, length: usize) -> Option<&'a [u8]> {
    // SAFETY: as the caller promises.
    (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), length) })
}
