//! One random case: a log, a job over it, and what the model says of both.

use kappa::job::compile;

use super::layers::Layers;
use super::message;
use super::random::Random;
use super::{SHOWN, drawn};
use crate::model::{self, Aggregate, Body, Cut, Function, HOUR, Record, SECOND, Which};
use crate::support::kafka;

/// Rows wait until nothing can come into their partition any more.
const WHOLE_PARTITIONS: &str = "\nPUBLISH WHOLE PARTITIONS";

/// The first event time of a steady case: 2013-01-01.
pub const STEADY_START: i64 = 1_356_998_400 * SECOND;

/// A log and a job, the same for the same seed.
pub struct Case {
    /// What it was made from.
    pub seed: u64,
    /// What the stream accepts, for the model.
    pub stream: model::Stream,
    /// The INSERT, for the model.
    pub query: model::Query,
    /// What is asked of the windows, instead of the query's aggregates.
    pub layers: Option<Layers>,
    /// Whether the result is partitioned by the ends of windows, not by their starts.
    pub by_end: bool,
    /// Messages of each partition, in the order of their offsets.
    pub partitions: Vec<Vec<Message>>,
    pub(super) max_future_clause: &'static str,
    pub(super) publish_clause: &'static str,
}

/// One message of the log.
#[derive(Clone, Debug)]
pub struct Message {
    /// The record's timestamp in milliseconds, positive.
    pub timestamp_ms: i64,
    /// The bytes; `None` is a tombstone.
    pub raw: Option<Vec<u8>>,
    /// What they say.
    pub body: Body,
}

/// Names that a case's job file is written with.
pub struct Names<'a> {
    /// Kafka topic.
    pub topic: &'a str,
    /// Namespace of all tables.
    pub namespace: &'a str,
    /// Table of the result; its late table has `_late` behind it.
    pub result: &'a str,
    /// Table of the history, if the stream has one.
    pub history: Option<&'a str>,
}

impl Case {
    /// The case of a seed. It has late records, and others.
    pub fn generate(seed: u64) -> Case {
        let mut random = Random::new(seed);
        loop {
            let mut case = Case::draw(seed, &mut random);
            // Drawn before it is known whether it may be asked for, so that all else stays the same when it may.
            let allowed = random.pick(&[0, 0, case.query.size / 3, 2 * case.query.size]);
            if allowed > 0 && case.can_be_revised() {
                case.query.allowed = allowed;
            }
            let judged = model::judge(&case.log(), &case.stream, &case.query);
            let counted = judged.iter().filter(|record| !record.windows.is_empty()).count();
            if counted > 0 && judged.iter().any(model::Judged::is_in_late_table) {
                return case;
            }
        }
    }

    fn draw(seed: u64, random: &mut Random) -> Case {
        let size = random.pick(&[SECOND, 7 * SECOND, 10 * SECOND, 60 * SECOND, 90 * 60 * SECOND, HOUR]);
        let (max_future_clause, max_future) = random.pick(&[
            ("", Some(HOUR)),
            (" MAX FUTURE INTERVAL '10 seconds'", Some(10 * SECOND)),
            (" MAX FUTURE NONE", None),
        ]);
        let query = drawn::query(random, size);
        let size = query.size;
        let stream = model::Stream {
            event_time: "t".to_owned(),
            required: vec!["t".to_owned(), "r".to_owned()],
            bound: random.pick(&[0, 1, size / 2, size, 3 * size]),
            when: random.percent(25).then(|| drawn::marker(random)),
            max_future,
        };
        let base = match query.cut {
            // Before clocks are set, in spring and in autumn of 2013.
            Cut::BerlinDays { .. } | Cut::BerlinMonths { .. } => {
                random.pick(&[1_364_000_000 * SECOND, 1_382_500_000 * SECOND])
            }
            _ => random.pick(&[-3_000_000_000_000_000, -4 * size, 0, 1_356_998_400_000_000]),
        };
        let layers = random.percent(35).then(|| Layers::draw(random, &query));
        let partitions = (0..random.between(1, 5)).map(|_| partition(random, base, &stream, &query)).collect();
        let publish_clause = random.pick(&["", "\nPUBLISH EACH WINDOW", WHOLE_PARTITIONS]);
        let by_end = match query.cut {
            Cut::Cumulate { .. } => true,
            // Its windows don't close in the order of their starts.
            Cut::Session | Cut::Counting { .. } if publish_clause.contains("WHOLE") => true,
            _ => random.percent(30),
        };
        Case { seed, stream, query, layers, by_end, partitions, max_future_clause, publish_clause }
    }

    /// Whether the program revises such windows.
    fn can_be_revised(&self) -> bool {
        let plan = compile("case", &self.sql(&SHOWN)).unwrap_or_else(|errors| panic!("seed {}: {errors}", self.seed));
        // Windows over windowed results take no lateness, nor do layers above windows that the data makes.
        let may_have_layers = self.layers.is_none() || !self.query.cut.is_by_data();
        let is_nested = plan.inserts[0].legs.iter().any(|leg| leg.within.is_some());
        plan.inserts[0].window.can_be_revised() && may_have_layers && !is_nested
    }

    /// A case with a fixed job and `count` records in each of four partitions, which all go forward at the same pace. It
    /// has late, rejected and future records too.
    pub fn steady(seed: u64, count: usize) -> Case {
        Case::with_messages(seed, |random, case| {
            case.partitions = (0..4).map(|_| steady_partition(random, case, count)).collect();
        })
    }

    /// As [`Case::steady`], but six hundred times faster, so that a few records fill many time partitions.
    pub fn swift(seed: u64, count: usize) -> Case {
        Case::with_messages(seed, |random, case| {
            case.partitions = (0..4).map(|_| paced_partition(random, case, count, 120 * SECOND)).collect();
        })
    }

    /// Lets the job revise its windows, or hold them back until their partition is complete, or both, or none of it.
    #[must_use]
    pub fn varied(mut self, random: &mut Random) -> Case {
        self.query.allowed = random.pick(&[0, 30 * SECOND]);
        self.publish_clause = random.pick(&["", WHOLE_PARTITIONS]);
        self
    }

    /// The end of the last windows that are published once the watermark is `watermark`.
    pub fn published_to(&self, watermark: i64) -> i64 {
        match self.publish_clause {
            // Windows of a case that is varied are shorter than an hour, and that is a partition.
            WHOLE_PARTITIONS if watermark < i64::MAX => {
                let complete = watermark.saturating_sub(self.query.allowed);
                complete.saturating_sub(complete.rem_euclid(HOUR))
            }
            _ => watermark,
        }
    }

    /// As [`Case::steady`], with a MAX FUTURE of ten seconds: a start at a time reads no further back than that.
    pub fn steady_with_near_future(seed: u64, count: usize) -> Case {
        let mut case = Case::steady(seed, count);
        case.max_future_clause = " MAX FUTURE INTERVAL '10 seconds'";
        case.stream.max_future = Some(10 * SECOND);
        case
    }

    /// A case of which exactly `broken` messages, of twice as many, can't be read.
    pub fn mostly_broken(seed: u64, broken: usize) -> Case {
        Case::with_messages(seed, |random, case| {
            case.partitions = vec![Vec::new(); 4];
            for at in 0..broken {
                let time = STEADY_START + i64::try_from(at).expect("is small") * SECOND;
                let (raw, body) = message::broken(random, time);
                let timestamp_ms = time / 1_000;
                let good = good_message(random, time, timestamp_ms);
                let partition = random.below(4);
                case.partitions[partition].extend([Message { timestamp_ms, raw, body }, good]);
            }
        })
    }

    fn with_messages(seed: u64, fill: impl FnOnce(&mut Random, &mut Case)) -> Case {
        let mut random = Random::new(seed);
        let functions = [
            Function::CountAll,
            Function::Sum("x".to_owned()),
            Function::Sum("n".to_owned()),
            Function::Maximum("t".to_owned()),
            Function::CountDistinct("r".to_owned()),
            Function::Listed(Which::Last, "n".to_owned(), None),
        ];
        let stream = model::Stream {
            event_time: "t".to_owned(),
            required: vec!["t".to_owned(), "r".to_owned()],
            bound: 5 * SECOND,
            when: None,
            max_future: Some(HOUR),
        };
        let query = model::Query {
            filter: None,
            cut: Cut::Tumble,
            size: 10 * SECOND,
            offset: 0,
            allowed: 0,
            partition_by: Vec::new(),
            keys: vec!["k".to_owned()],
            aggregates: functions.map(|function| Aggregate { function, filter: None }).to_vec(),
        };
        let (max_future_clause, publish_clause) = ("", "");
        let mut case = Case {
            seed,
            stream,
            query,
            layers: None,
            by_end: false,
            partitions: Vec::new(),
            max_future_clause,
            publish_clause,
        };
        fill(&mut random, &mut case);
        case
    }

    /// The log as the model reads it, when its messages stand at the offsets 0, 1, 2, ….
    pub fn log(&self) -> model::Log {
        let record = |(offset, message): (i64, &Message)| Record {
            offset,
            timestamp: Some(message.timestamp_ms * 1_000),
            body: message.body.clone(),
        };
        let records = |messages: &Vec<Message>| (0..).zip(messages).map(record).collect();
        (0..).zip(self.partitions.iter().map(records)).collect()
    }

    /// The messages as they go to a broker.
    pub fn kafka_messages(&self) -> Vec<kafka::Message> {
        let mut messages = Vec::new();
        for (partition, own) in (0..).zip(&self.partitions) {
            messages.extend(own.iter().map(|message| kafka::Message {
                partition,
                key: None,
                value: message.raw.clone(),
                timestamp_ms: Some(message.timestamp_ms),
            }));
        }
        messages
    }

    /// How many columns of a result row identify it.
    pub fn key_columns(&self) -> usize {
        2 + usize::from(matches!(self.query.cut, Cut::Counting { .. })) + self.query.keys.len()
    }
}

/// One partition: event time goes forward by small steps, and back now and then.
fn partition(random: &mut Random, base: i64, stream: &model::Stream, query: &model::Query) -> Vec<Message> {
    // Few records and few windows where these are long: history has a file for each hour.
    let is_long = query.size >= 24 * HOUR;
    let count = if is_long { random.pick(&[0, 1, 5, 30, 30]) } else { random.pick(&[0, 1, 5, 30, 60, 100, 100]) };
    let windows = match query.cut.is_by_data() {
        // So far apart that sessions end, and no more than some hours of them.
        true => random.between(10, 11 + (6 * HOUR / query.size).min(2_000)),
        // History has a file for each hour.
        false if query.size >= HOUR => random.between(1, 4),
        false => random.between(1, 30),
    };
    let step = (windows * query.size / 100).max(2);
    let (mut clock, mut previous) = (base + random.between(0, query.size), base);
    let mut messages = Vec::new();
    for _ in 0..count {
        clock += random.between(0, step);
        // Where a window begins, or where one that the data makes has just ended.
        let edge = match query.windows(clock).first() {
            Some(&(start, _)) => start,
            None => previous + query.size,
        };
        let mut time = match random.below(10) {
            0 => previous,
            1 => edge,
            2 => edge - 1,
            3 | 4 => clock - random.between(0, 2 * stream.bound + query.size),
            _ => clock,
        };
        previous = time;
        // Positive: the broker takes no negative ones, and its client takes 0 for "now".
        let timestamp_ms = (clock / 1_000 + random.between(-500, 500)).max(1);
        if let Some(max_future) = stream.max_future
            && random.percent(3)
        {
            // The greatest event time that is accepted, or the least that isn't.
            time = timestamp_ms * 1_000 + max_future + random.between(0, 2);
        }
        messages.push(message_at(random, time, timestamp_ms));
    }
    messages
}

/// About ten records a second of event time, one in twenty of them too old for its window.
fn steady_partition(random: &mut Random, case: &Case, count: usize) -> Vec<Message> {
    paced_partition(random, case, count, SECOND / 5)
}

/// As [`steady_partition`], with less than `step` from each record to the next.
fn paced_partition(random: &mut Random, case: &Case, count: usize, step: i64) -> Vec<Message> {
    let mut clock = STEADY_START;
    let mut messages = Vec::new();
    for _ in 0..count {
        clock += random.between(0, step);
        let back =
            if random.percent(5) { random.between(0, 60 * SECOND) } else { random.between(0, case.stream.bound) };
        let future = if random.percent(1) { 3 * HOUR } else { 0 };
        messages.push(message_at(random, clock - back + future, clock / 1_000));
    }
    messages
}

fn message_at(random: &mut Random, time: i64, timestamp_ms: i64) -> Message {
    if random.percent(5) {
        let (raw, body) = message::broken(random, time);
        return Message { timestamp_ms, raw, body };
    }
    good_message(random, time, timestamp_ms)
}

fn good_message(random: &mut Random, time: i64, timestamp_ms: i64) -> Message {
    let fields = message::fields(random, time);
    Message { timestamp_ms, raw: Some(message::write(random, &fields)), body: Body::Fields(fields) }
}
