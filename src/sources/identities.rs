//! Whether a topic is still the one whose offsets are counted.
//!
//! Offsets mean records of one topic. When it is deleted and made anew under its name, clients go on at the same offsets of the
//! new one, or are told that they lie behind its end; either way what was counted is gone. So checkpoints keep the broker's ids of
//! topics: a start compares them before anything is read, and a checkpoint after all that it holds was read, before it is
//! written.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Logs, SourceError};
use crate::event::{LiveFace, Stream};

/// The ids of the topics that a run reads.
#[derive(Clone, Debug)]
pub struct Identities {
    logs: Arc<dyn Logs>,
    streams: Vec<Arc<Stream>>,
    /// By stream; without those whose logs have none, or were too slow to tell.
    known: BTreeMap<String, String>,
    /// How often it was asked whether they are still the same.
    confirmed: u64,
}

impl Identities {
    /// Asks the logs of `streams`; what a checkpoint has `stated` of them must be so still.
    ///
    /// # Errors
    /// [`SourceError::TopicMadeAnew`] if it isn't; else when a log doesn't answer in time.
    pub async fn ask(
        logs: &Arc<dyn Logs>,
        streams: &[Arc<Stream>],
        stated: &BTreeMap<String, String>,
    ) -> Result<Identities, SourceError> {
        let mut known = BTreeMap::new();
        for stream in streams {
            let (was, is) = (stated.get(&stream.name), identity(logs, stream).await?);
            compare(stream, was, is.as_ref())?;
            // A broker that says nothing of it is no reason to forget it.
            known.extend(is.or(was.cloned()).map(|id| (stream.name.clone(), id)));
        }
        Ok(Identities { logs: logs.clone(), streams: streams.to_vec(), known, confirmed: 0 })
    }

    /// As [`Manifest::topics`](crate::checkpoints::Manifest::topics).
    pub fn known(&self) -> &BTreeMap<String, String> {
        &self.known
    }

    /// Asks again, for the records that were taken since. While no broker answers, there is nothing to compare: the next time
    /// tells. An id that wasn't known is from now on; a topic that was made anew before isn't noticed.
    ///
    /// # Errors
    /// [`SourceError::TopicMadeAnew`].
    pub async fn confirm(&mut self) -> Result<(), SourceError> {
        self.confirmed += 1;
        // A broker that never tells makes each time wait.
        let may_learn = self.confirmed.is_power_of_two();
        for stream in &self.streams {
            let was = self.known.get(&stream.name);
            if was.is_none() && !may_learn {
                continue;
            }
            match asked(&self.logs, stream).await {
                Ok(is) => {
                    compare(stream, was, is.as_ref())?;
                    self.known.extend(is.map(|id| (stream.name.clone(), id)));
                }
                Err(error) => tracing::debug!(%error, "whether the topic is still the same isn't known"),
            }
        }
        Ok(())
    }
}

/// What tells the log of `stream` from others of its name, if it says so. A broker that answers all other questions need not
/// answer this one, as an in-process one doesn't: then it isn't known.
///
/// # Errors
/// When no broker is there, or lets us in.
pub async fn identity(logs: &Arc<dyn Logs>, stream: &Arc<Stream>) -> Result<Option<String>, SourceError> {
    match asked(logs, stream).await {
        Err(error @ SourceError::Request { .. }) => {
            tracing::debug!(%error, "whether the topic is made anew some day won't be known");
            Ok(None)
        }
        answered => answered,
    }
}

async fn asked(logs: &Arc<dyn Logs>, stream: &Arc<Stream>) -> Result<Option<String>, SourceError> {
    let (logs, stream) = (logs.clone(), stream.clone());
    let answer = tokio::task::spawn_blocking(move || logs.identity(&stream)).await;
    answer.expect("asking a log doesn't panic")
}

/// Whether a log is still the one that it was, as far as both are known. A topic that is gone is told by whoever reads it.
///
/// # Errors
/// [`SourceError::TopicMadeAnew`].
pub fn compare(stream: &Stream, was: Option<&String>, is: Option<&String>) -> Result<(), SourceError> {
    match (&stream.live, was, is) {
        (LiveFace::Kafka { topic, .. }, Some(was), Some(is)) if was != is => {
            Err(SourceError::TopicMadeAnew { topic: topic.clone(), was: was.clone(), is: is.clone() })
        }
        _ => Ok(()),
    }
}
