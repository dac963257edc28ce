//! Which topic it is that has a name: a topic that was deleted and made anew has another id (KIP-516).
//!
//! The client goes on at the same offsets of the new topic and says nothing, as offsets are all that it knows. Nothing wraps
//! this request: unsafe code, each of whose objects is destroyed exactly once by its [`Owned`].
#![expect(unsafe_code, reason = "rd_kafka_DescribeTopics has no safe wrapper")]

use std::ffi::{CStr, CString};
use std::time::Duration;

use rdkafka::bindings as rdk;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaErrorCode;

use super::client::KafkaContext;
use super::log::KafkaLog;
use crate::sources::SourceError;

impl KafkaLog {
    /// The broker's id of `topic`, in the 22 letters that Kafka's tools show; `None` if there is no such topic, or the broker
    /// is too old (before 2.8) to give it one.
    ///
    /// # Errors
    /// [`SourceError::Request`] if no broker answers; [`SourceError::NotAllowed`] without the right to describe the topic.
    pub fn topic_id(&self, topic: &str) -> Result<Option<String>, SourceError> {
        let answer = self.ask(|wait| describe(&self.consumer, topic, wait));
        answer.map_err(|error| self.failed("topic id", topic, &error))
    }
}

/// An object of librdkafka's that is ours to destroy.
struct Owned<T> {
    pointer: *mut T,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: whoever made it made it ours and gave what destroys it, and nobody else does.
        unsafe { (self.destroy)(self.pointer) }
    }
}

/// Asks for the id of `topic` and waits up to `wait`.
fn describe(consumer: &BaseConsumer<KafkaContext>, topic: &str, wait: Duration) -> KafkaResult<Option<String>> {
    let wait_ms = i32::try_from(wait.as_millis()).unwrap_or(i32::MAX);
    let client = consumer.client().native_ptr();
    // No topic has such a name.
    let Ok(name) = CString::new(topic) else { return Ok(None) };
    let mut names = [name.as_ptr()];
    // SAFETY: the client outlives the call, `names` holds one text that ends with a zero, and each object is destroyed once:
    // the event before the queue, as it was taken last.
    let event = unsafe {
        let topics = rdk::rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len());
        let topics = Owned { pointer: topics, destroy: rdk::rd_kafka_TopicCollection_destroy };
        let queue = Owned { pointer: rdk::rd_kafka_queue_new(client), destroy: rdk::rd_kafka_queue_destroy };
        let kind = rdk::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = rdk::rd_kafka_AdminOptions_new(client, kind);
        let options = Owned { pointer: options, destroy: rdk::rd_kafka_AdminOptions_destroy };
        rdk::rd_kafka_AdminOptions_set_request_timeout(options.pointer, wait_ms, std::ptr::null_mut(), 0);
        rdk::rd_kafka_DescribeTopics(client, topics.pointer, options.pointer, queue.pointer);
        // The request ends in time by itself; without a limit here, its answer is never left behind.
        Owned { pointer: rdk::rd_kafka_queue_poll(queue.pointer, -1), destroy: rdk::rd_kafka_event_destroy }
    };
    // SAFETY: the event is that of the request, alive until the end of this function, and all that is read belongs to it.
    unsafe {
        failure(rdk::rd_kafka_event_error(event.pointer))?;
        let mut count = 0;
        let result = rdk::rd_kafka_event_DescribeTopics_result(event.pointer);
        let described = rdk::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if count == 0 {
            return Ok(None);
        }
        let error = rdk::rd_kafka_TopicDescription_error(*described);
        match failure(rdk::rd_kafka_error_code(error)) {
            Err(KafkaError::AdminOp(RDKafkaErrorCode::UnknownTopicOrPartition)) => return Ok(None),
            answered => answered?,
        }
        let id = rdk::rd_kafka_TopicDescription_topic_id(*described);
        if (rdk::rd_kafka_Uuid_most_significant_bits(id), rdk::rd_kafka_Uuid_least_significant_bits(id)) == (0, 0) {
            return Ok(None);
        }
        Ok(Some(CStr::from_ptr(rdk::rd_kafka_Uuid_base64str(id)).to_string_lossy().into_owned()))
    }
}

fn failure(error: rdk::rd_kafka_resp_err_t) -> KafkaResult<()> {
    match RDKafkaErrorCode::from(error) {
        RDKafkaErrorCode::NoError => Ok(()),
        code => Err(KafkaError::AdminOp(code)),
    }
}
