//! Telling the logs how far results are published, for lag tools only.
//! Invariant: one call is under way at a time, so that a log that doesn't answer costs a thread and nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::Logs;
use crate::checkpoints::StreamProgress;
use crate::event::Stream;
use crate::kill_point::KillPoint;

/// How long the end of a driver waits for the last call: nothing depends on it.
const LAST_CALL_MAX: Duration = Duration::from_secs(5);

/// Tells the positions of published checkpoints, the newest ones last.
#[derive(Debug)]
pub struct Telling {
    logs: Arc<dyn Logs>,
    streams: Vec<Arc<Stream>>,
    call: Option<JoinHandle<()>>,
    /// Newer than those of the call.
    waiting: Option<BTreeMap<String, StreamProgress>>,
}

impl Telling {
    /// To the logs of these streams.
    pub fn new(logs: &Arc<dyn Logs>, streams: &[Arc<Stream>]) -> Telling {
        Telling { logs: logs.clone(), streams: streams.to_vec(), call: None, waiting: None }
    }

    /// Tells these positions, which are of all the streams, unless a call is still under way: then the next time.
    pub fn tell(&mut self, published: BTreeMap<String, StreamProgress>) {
        KillPoint::BeforeGroupOffsets.reach();
        self.waiting = Some(published);
        if self.call.as_ref().is_none_or(JoinHandle::is_finished) {
            self.call_with_newest();
        }
    }

    fn call_with_newest(&mut self) {
        let Some(published) = self.waiting.take() else { return };
        let (logs, streams) = (self.logs.clone(), self.streams.clone());
        self.call = Some(tokio::task::spawn_blocking(move || {
            for stream in &streams {
                let positions = published[&stream.name].iter().map(|(&partition, at)| (partition, at.next_offset));
                logs.report(stream, &positions.collect());
            }
        }));
    }

    /// Waits for what is under way, and tells the newest positions.
    pub async fn finish(mut self) {
        let finished = tokio::time::timeout(LAST_CALL_MAX, async {
            while let Some(call) = self.call.take() {
                if call.await.is_err() {
                    tracing::warn!("telling positions panicked; lag tools show older ones");
                }
                self.call_with_newest();
            }
        });
        if finished.await.is_err() {
            tracing::debug!("the logs don't take positions; lag tools show older ones");
        }
    }
}
