//! A case whose messages arrive while commands run, a share at a time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::replay::{Case, Names};
use crate::support::kafka;
use crate::support::project::{Catalog, Project};

/// The one job of such a project.
pub const JOB: &str = "jobs/steady.sql";
/// The job's name.
pub const JOB_NAME: &str = "steady";
/// Messages of each partition that are sent at once.
pub const SLICE: usize = 20;
/// Spreads a share over the run that asked for it.
const SLICE_EVERY: Duration = Duration::from_millis(40);

/// A case with its job file written and its topic empty.
pub struct Arriving {
    /// The case.
    pub case: Case,
    /// Where its commands run, on a SQLite catalog.
    pub project: Project,
    /// The table that keeps its rejects: the history's if there is one, else the result's.
    pub rejects: &'static str,
    topic: String,
}

impl Arriving {
    /// A steady case with so many messages in each of its partitions, without a history, with these lines of `[run]`.
    pub fn live(seed: u64, messages: usize, run: &str) -> Arriving {
        Arriving::new(seed, messages, None, run)
    }

    /// As [`Arriving::live`], with a history.
    pub fn archived(seed: u64, messages: usize, run: &str) -> Arriving {
        Arriving::new(seed, messages, Some("history"), run)
    }

    fn new(seed: u64, messages: usize, history: Option<&'static str>, run: &str) -> Arriving {
        Arriving::of(Case::steady(seed, messages), history, run)
    }

    /// Any case, with the name of its history if it is to have one, and lines of `[run]`.
    pub fn of(case: Case, history: Option<&'static str>, run: &str) -> Arriving {
        let topic = kafka::create_topic("arriving", case.partitions.len());
        let project = Project::on_kafka(Catalog::Sql, &format!("{run}\nrejects_max = \"100%\""));
        let names = Names { topic: &topic, namespace: project.namespace(), result: "result", history };
        project.write(JOB, case.sql(&names));
        let rejects = if history.is_some() { "history_rejects" } else { "result_rejects" };
        Arriving { case, project, rejects, topic }
    }

    /// The name of one of the project's tables, with its namespace.
    pub fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.project.namespace())
    }

    /// How many messages the case has.
    pub fn message_count(&self) -> u64 {
        self.case.partitions.iter().map(|messages| messages.len() as u64).sum()
    }

    /// Does `work` while the messages are sent, one of `shares` each time that the gate is opened. Afterwards all of them
    /// are in the topic.
    pub fn while_fed<T>(&self, shares: usize, work: impl FnOnce(&Gate) -> T) -> T {
        let mut slices = slices(&self.case);
        // Every partition holds records before the first run: an empty one would be idle, and wake up behind the watermark.
        kafka::produce(&self.topic, &slices.next().expect("there are several"));
        let slices: Vec<Vec<kafka::Message>> = slices.collect();
        let gate = Gate { allowed: AtomicUsize::new(0), share: slices.len() / (shares + 1) };
        assert!(gate.share > 0, "{} slices are too few for {shares} shares", slices.len());
        std::thread::scope(|scope| {
            scope.spawn(|| feed(&self.topic, &slices, &gate));
            // Whatever happens, the feeder must end: the scope waits for it.
            let _all = OpenForAll(&gate);
            work(&gate)
        })
    }
}

/// Lets messages through.
pub struct Gate {
    /// Slices that may be sent.
    allowed: AtomicUsize,
    share: usize,
}

impl Gate {
    /// Lets the next share go.
    pub fn open(&self) {
        self.allowed.fetch_add(self.share, Ordering::SeqCst);
    }

    fn allowed(&self) -> usize {
        self.allowed.load(Ordering::SeqCst)
    }
}

/// Opens a gate for all that is left when dropped, also by a panic.
struct OpenForAll<'a>(&'a Gate);

impl Drop for OpenForAll<'_> {
    fn drop(&mut self) {
        self.0.allowed.store(usize::MAX, Ordering::SeqCst);
    }
}

/// The case's messages in the order of sending, some of every partition at a time.
fn slices(case: &Case) -> impl Iterator<Item = Vec<kafka::Message>> + use<> {
    let mut partitions: Vec<VecDeque<kafka::Message>> = vec![VecDeque::new(); case.partitions.len()];
    for message in case.kafka_messages() {
        partitions[usize::try_from(message.partition).expect("isn't negative")].push_back(message);
    }
    std::iter::from_fn(move || {
        let slice: Vec<_> =
            partitions.iter_mut().flat_map(|rest| rest.drain(..SLICE.min(rest.len())).collect::<Vec<_>>()).collect();
        (!slice.is_empty()).then_some(slice)
    })
}

/// Sends as many slices as are allowed by now. The pause only spreads the work over a run; nothing depends on it.
fn feed(topic: &str, slices: &[Vec<kafka::Message>], gate: &Gate) {
    let producer = kafka::Producer::new(&[("enable.idempotence", "true")]);
    for (sent, slice) in slices.iter().enumerate() {
        while sent >= gate.allowed() {
            std::thread::sleep(SLICE_EVERY);
        }
        producer.send(topic, slice);
        if gate.allowed() < usize::MAX {
            std::thread::sleep(SLICE_EVERY);
        }
    }
    producer.flush();
}
