//! One random case: a log, a job over it, and what the model says of both.

use std::fmt::Write as _;

use super::message::{self, COLUMNS};
use super::random::Random;
use crate::model::{self, Aggregate, Body, Comparison, Condition, Cut, Function, HOUR, Record, SECOND, Value};
use crate::support::kafka;

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
    /// Messages of each partition, in the order of their offsets.
    pub partitions: Vec<Vec<Message>>,
    max_future_clause: &'static str,
    publish_clause: &'static str,
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
    /// The case of a seed.
    pub fn generate(seed: u64) -> Case {
        let mut random = Random::new(seed);
        let random = &mut random;
        let size = random.pick(&[SECOND, 7 * SECOND, 10 * SECOND, 60 * SECOND, 90 * 60 * SECOND, HOUR]);
        let (cut, size) = cut(random, size);
        let (max_future_clause, max_future) = random.pick(&[
            ("", Some(HOUR)),
            (" MAX FUTURE INTERVAL '10 seconds'", Some(10 * SECOND)),
            (" MAX FUTURE NONE", None),
        ]);
        let stream = model::Stream {
            event_time: "t".to_owned(),
            required: vec!["t".to_owned(), "r".to_owned()],
            bound: random.pick(&[0, 1, size / 2, size, 3 * size]),
            max_future,
        };
        let query = query(random, cut, size);
        let base = match cut {
            // Before clocks are set, in spring and in autumn of 2013.
            Cut::BerlinDays => random.pick(&[1_364_000_000 * SECOND, 1_382_500_000 * SECOND]),
            _ => random.pick(&[-3_000_000_000_000_000, -4 * size, 0, 1_356_998_400_000_000]),
        };
        let partitions = (0..random.between(1, 5)).map(|_| partition(random, base, &stream, &query)).collect();
        let publish_clause = random.pick(&["", "\nPUBLISH EACH WINDOW", "\nPUBLISH WHOLE PARTITIONS"]);
        Case { seed, stream, query, partitions, max_future_clause, publish_clause }
    }

    /// A case with a fixed job and `count` records in each of four partitions, which all go forward at the same pace. It
    /// has late, rejected and future records too.
    pub fn steady(seed: u64, count: usize) -> Case {
        Case::with_messages(seed, |random, case| {
            case.partitions = (0..4).map(|_| steady_partition(random, case, count)).collect();
        })
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
            Function::Last("n".to_owned(), None),
        ];
        let stream = model::Stream {
            event_time: "t".to_owned(),
            required: vec!["t".to_owned(), "r".to_owned()],
            bound: 5 * SECOND,
            max_future: Some(HOUR),
        };
        let query = model::Query {
            filter: None,
            cut: Cut::Tumble,
            size: 10 * SECOND,
            offset: 0,
            allowed: 0,
            keys: vec!["k".to_owned()],
            aggregates: functions.map(|function| Aggregate { function, filter: None }).to_vec(),
        };
        let mut case = Case { seed, stream, query, partitions: Vec::new(), max_future_clause: "", publish_clause: "" };
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

    /// The job file.
    pub fn sql(&self, names: &Names<'_>) -> String {
        let Names { topic, namespace, result, history } = names;
        let mut sql = String::from("CREATE STREAM s (\n  t TIMESTAMP NOT NULL,\n");
        for (name, column_type, required) in COLUMNS {
            let required = if required { " NOT NULL" } else { "" };
            writeln!(sql, "  {name} {column_type}{required},").expect("text takes text");
        }
        let bound = interval(self.stream.bound);
        let future = self.max_future_clause;
        writeln!(sql, "  WATERMARK FOR t AS t - {bound}{future}\n)").expect("text takes text");
        let history = history.map(|history| format!("\nHISTORY FROM ICEBERG '{namespace}.{history}'"));
        let history = history.unwrap_or_default();
        writeln!(sql, "LIVE FROM KAFKA '{topic}' FORMAT JSON{history};\n").expect("text takes text");
        let partition = if self.query.size >= HOUR { "day" } else { "hour" };
        let by = if self.is_told_by_end() { "window_end" } else { "window_start" };
        writeln!(sql, "INSERT INTO ICEBERG '{namespace}.{result}' PARTITIONED BY ({partition}({by}))")
            .expect("text takes text");
        let keys: Vec<String> =
            ["window_start", "window_end"].map(str::to_owned).into_iter().chain(self.query.keys.clone()).collect();
        let keys = keys.join(", ");
        let aggregates = self.query.aggregates.iter().enumerate();
        let aggregates: Vec<String> =
            aggregates.map(|(at, aggregate)| format!("{} AS a{at}", aggregate_sql(aggregate))).collect();
        writeln!(sql, "SELECT {keys}, {}", aggregates.join(", ")).expect("text takes text");
        writeln!(sql, "FROM {}", self.window_sql()).expect("text takes text");
        if let Some(filter) = &self.query.filter {
            writeln!(sql, "WHERE {}", condition_sql(filter)).expect("text takes text");
        }
        let allowed = match self.query.allowed {
            0 => String::new(),
            allowed => format!("\nALLOW LATENESS {}", interval(allowed)),
        };
        let clauses = format!("{}{allowed}", self.publish_clause);
        write!(sql, "GROUP BY {keys}\nLATE INTO ICEBERG '{namespace}.{result}_late'{clauses};\n")
            .expect("text takes text");
        sql
    }

    /// Whether windows are told by their ends, not by their starts.
    pub fn is_told_by_end(&self) -> bool {
        matches!(self.query.cut, Cut::Cumulate { .. })
    }

    fn window_sql(&self) -> String {
        let size = interval(self.query.size);
        let offset = if self.query.offset == 0 { String::new() } else { format!(", {}", interval(self.query.offset)) };
        match self.query.cut {
            Cut::Tumble => format!("TUMBLE(s, t, {size}{offset})"),
            Cut::Hop { slide } => format!("HOP(s, t, {}, {size}{offset})", interval(slide)),
            Cut::Cumulate { step } => format!("CUMULATE(s, t, {}, {size}{offset})", interval(step)),
            Cut::Months { count } => format!("TUMBLE(s, t, INTERVAL '{count} months')"),
            Cut::BerlinDays => "TUMBLE(s, t, INTERVAL '1 day', TIME ZONE 'Europe/Berlin')".to_owned(),
        }
    }

    /// How many columns of a result row identify it.
    pub fn key_columns(&self) -> usize {
        2 + self.query.keys.len()
    }
}

/// One partition: event time goes forward by small steps, and back now and then.
fn partition(random: &mut Random, base: i64, stream: &model::Stream, query: &model::Query) -> Vec<Message> {
    // Few records and few windows where these are long: history has a file for each hour.
    let is_long = query.size >= 24 * HOUR;
    let count = if is_long { random.pick(&[0, 1, 5, 30, 30]) } else { random.pick(&[0, 1, 5, 50, 100, 200, 200]) };
    let windows = random.between(1, if is_long { 4 } else { 30 });
    let step = (windows * query.size / 200).max(2);
    let (mut clock, mut previous) = (base + random.between(0, query.size), base);
    let mut messages = Vec::new();
    for _ in 0..count {
        clock += random.between(0, step);
        let edge = query.windows(clock).first().map_or(clock, |&(start, _)| start);
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
    let mut clock = STEADY_START;
    let mut messages = Vec::new();
    for _ in 0..count {
        clock += random.between(0, 200_000);
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

/// A kind of window, and its size: as given, or the kind's own.
fn cut(random: &mut Random, size: i64) -> (Cut, i64) {
    match random.below(8) {
        0 | 1 => (Cut::Hop { slide: random.pick(&[size / 4, size / 10 * 3, size, size / 2 * 3]) }, size),
        2 | 3 => (Cut::Cumulate { step: random.pick(&[size / 4, size / 10, size]) }, size),
        4 if random.percent(50) => (Cut::Months { count: random.pick(&[1, 3, 12]) }, 31 * 24 * HOUR),
        4 => (Cut::BerlinDays, 24 * HOUR),
        _ => (Cut::Tumble, size),
    }
}

fn query(random: &mut Random, cut: Cut, size: i64) -> model::Query {
    let aggregate_count = random.below(6) + 1;
    let key_count = random.below(3);
    model::Query {
        filter: random.percent(40).then(|| condition(random)),
        cut,
        size,
        offset: if matches!(cut, Cut::Months { .. } | Cut::BerlinDays) {
            0
        } else {
            random.pick(&[0, 0, size / 3, -size / 4])
        },
        allowed: match cut {
            Cut::Hop { .. } | Cut::Cumulate { .. } => 0,
            _ => random.pick(&[0, 0, size / 3, 2 * size]),
        },
        keys: random.several(&["k".to_owned(), "g".to_owned(), "b".to_owned()], key_count),
        aggregates: random
            .several(&functions(), aggregate_count)
            .into_iter()
            .map(|function| filtered(random, function))
            .collect(),
    }
}

fn filtered(random: &mut Random, function: Function) -> Aggregate {
    Aggregate { function, filter: random.percent(20).then(|| condition(random)) }
}

fn functions() -> Vec<Function> {
    let name = str::to_owned;
    vec![
        Function::CountAll,
        Function::Count(name("x")),
        Function::CountDistinct(name("k")),
        Function::CountDistinct(name("n")),
        Function::Sum(name("n")),
        Function::Sum(name("g")),
        Function::Sum(name("x")),
        Function::Average(name("n")),
        Function::Average(name("x")),
        Function::Minimum(name("x")),
        Function::Maximum(name("x")),
        Function::Minimum(name("t")),
        Function::Maximum(name("n")),
        Function::Maximum(name("k")),
        Function::All(name("b")),
        Function::Any(name("b")),
        Function::First(name("x"), None),
        Function::Last(name("k"), None),
        Function::First(name("n"), Some(name("g"))),
        Function::Last(name("r"), Some(name("x"))),
        Function::Variance(name("m")),
        Function::Deviation(name("m")),
    ]
}

fn condition(random: &mut Random) -> Condition {
    let compare = |column: &str, comparison, value: Value| Condition::Compare(column.to_owned(), comparison, value);
    let simple = |random: &mut Random| match random.below(5) {
        0 => Condition::IsNull("k".to_owned()),
        1 => compare("k", Comparison::Equal, "a".into()),
        2 => compare("n", Comparison::Less, random.between(-500_000_000_000, 500_000_000_000).into()),
        3 => compare("x", Comparison::AtLeast, random.pick(&[0.0, -1.5, 1e10]).into()),
        _ => compare("g", Comparison::AtLeast, 1.into()),
    };
    let left = simple(random);
    match random.below(5) {
        0 => Condition::And(Box::new(left), Box::new(simple(random))),
        1 => Condition::Or(Box::new(left), Box::new(simple(random))),
        2 => Condition::Not(Box::new(left)),
        _ => left,
    }
}

fn aggregate_sql(aggregate: &Aggregate) -> String {
    let ordered = |function: &str, column: &str, order: &Option<String>| match order {
        Some(order) => format!("{function}({column} ORDER BY {order})"),
        None => format!("{function}({column})"),
    };
    let call = match &aggregate.function {
        Function::CountAll => "count(*)".to_owned(),
        Function::Count(column) => format!("count({column})"),
        Function::CountDistinct(column) => format!("count(DISTINCT {column})"),
        Function::Sum(column) => format!("sum({column})"),
        Function::Average(column) => format!("avg({column})"),
        Function::Minimum(column) => format!("min({column})"),
        Function::Maximum(column) => format!("max({column})"),
        Function::All(column) => format!("bool_and({column})"),
        Function::Any(column) => format!("bool_or({column})"),
        Function::First(column, order) => ordered("first_value", column, order),
        Function::Last(column, order) => ordered("last_value", column, order),
        Function::Variance(column) => format!("var_samp({column})"),
        Function::Deviation(column) => format!("stddev_pop({column})"),
    };
    match &aggregate.filter {
        Some(filter) => format!("{call} FILTER (WHERE {})", condition_sql(filter)),
        None => call,
    }
}

fn condition_sql(condition: &Condition) -> String {
    match condition {
        Condition::IsNull(column) => format!("{column} IS NULL"),
        Condition::Compare(column, comparison, value) => {
            let operator = match comparison {
                Comparison::Equal => "=",
                Comparison::Less => "<",
                Comparison::AtLeast => ">=",
            };
            format!("{column} {operator} {}", literal_sql(value))
        }
        Condition::And(left, right) => format!("({} AND {})", condition_sql(left), condition_sql(right)),
        Condition::Or(left, right) => format!("({} OR {})", condition_sql(left), condition_sql(right)),
        Condition::Not(inner) => format!("NOT ({})", condition_sql(inner)),
    }
}

fn literal_sql(value: &Value) -> String {
    match value {
        Value::Integer(number) => number.to_string(),
        Value::Double(number) => format!("{number:?}"),
        Value::Text(text) => format!("'{text}'"),
        other => panic!("no generated condition compares with {other:?}"),
    }
}

/// Microseconds as an interval, in whole seconds where it can.
fn interval(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let (seconds, rest) = (micros.abs() / SECOND, micros.abs() % SECOND);
    match rest {
        0 if seconds % 60 == 0 && seconds > 0 => format!("INTERVAL '{sign}{} minutes'", seconds / 60),
        0 => format!("INTERVAL '{sign}{seconds} seconds'"),
        _ => format!("INTERVAL '{sign}{seconds}.{rest:06}' SECOND"),
    }
}
