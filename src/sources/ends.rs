//! The ends of logs, asked for now and then beside the reading, for whoever watches a run: lag, and what retention may
//! still remove. Nothing that is published depends on it.
//! Invariant: a log that doesn't answer costs a thread and nothing else; nobody ever waits for that thread.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Thread;
use std::time::Duration;

use super::Logs;
use crate::event::Stream;
use crate::start::LogFacts;
use crate::vitals::{Outside, Vitals};

/// How often the logs are asked: more often than monitoring looks, and some requests a minute.
const ASK_INTERVAL: Duration = Duration::from_secs(10);

/// How many rounds go by between two looks at how long the log keeps its records.
const ROUNDS_UNTIL_RETENTION: u32 = 60;

const ACTION: &str = "ask for the ends of the log";

/// What a log said last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogEnd {
    /// Its partitions.
    pub partitions: BTreeMap<i32, LogFacts>,
    /// How long it keeps a record; `None`: for ever, or it doesn't say.
    pub retention: Option<Duration>,
    /// Rounds in which it has answered.
    pub rounds: u64,
}

/// Asks until it is dropped.
#[derive(Debug)]
pub struct Ends {
    shared: Arc<Shared>,
    thread: Thread,
}

#[derive(Debug)]
struct Shared {
    stopped: AtomicBool,
    /// For each stream; logs that end by themselves say nothing.
    ends: Vec<Mutex<LogEnd>>,
}

impl Ends {
    /// Asks the logs of `streams` at once and then every ten seconds; logs that end by themselves aren't asked.
    pub fn ask(logs: &Arc<dyn Logs>, streams: &[Arc<Stream>], vitals: &Vitals) -> Ends {
        let ends = streams.iter().map(|_| Mutex::default()).collect();
        let shared = Arc::new(Shared { stopped: AtomicBool::new(false), ends });
        let asking =
            Asking { logs: logs.clone(), streams: streams.to_vec(), vitals: vitals.clone(), shared: shared.clone() };
        let thread = std::thread::Builder::new().name("ends".to_owned()).spawn(move || asking.run());
        Ends { shared, thread: thread.expect("the system gives a thread").thread().clone() }
    }

    /// What the log of a stream said last.
    pub fn of(&self, stream: usize) -> LogEnd {
        lock(&self.shared.ends[stream]).clone()
    }
}

impl Drop for Ends {
    /// Tells the thread to leave, and doesn't wait for it: a request that isn't answered takes its time.
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.thread.unpark();
    }
}

struct Asking {
    logs: Arc<dyn Logs>,
    streams: Vec<Arc<Stream>>,
    vitals: Vitals,
    shared: Arc<Shared>,
}

impl Asking {
    fn run(&self) {
        for round in 0.. {
            for (index, stream) in self.streams.iter().enumerate().filter(|(_, stream)| !self.logs.is_bounded(stream)) {
                if self.shared.stopped.load(Ordering::Relaxed) {
                    return;
                }
                self.ask(round, index, stream);
            }
            std::thread::park_timeout(ASK_INTERVAL);
        }
    }

    fn ask(&self, round: u32, index: usize, stream: &Stream) {
        let facts = match self.logs.facts(stream, None) {
            Ok(facts) => facts,
            Err(error) => return self.vitals.failed(Outside::Log, ACTION, &error),
        };
        self.vitals.passed(Outside::Log, ACTION);
        // A broker may well keep its settings to itself.
        let retention = (round.is_multiple_of(ROUNDS_UNTIL_RETENTION)).then(|| self.logs.retention(stream));
        let mut end = lock(&self.shared.ends[index]);
        end.partitions = facts;
        end.rounds += 1;
        if let Some(retention) = retention {
            end.retention = retention;
        }
    }
}

fn lock(end: &Mutex<LogEnd>) -> MutexGuard<'_, LogEnd> {
    // Replaced whole: a thread that died while it held it has left it whole.
    end.lock().unwrap_or_else(PoisonError::into_inner)
}
