//! What every source must do, as [`Source`] says: one suite, which each of them passes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use parquet::arrow::ArrowWriter;

use super::{Logs, MemoryLogs, MemoryPartitions, MemoryRecord, Source, SourceEvent, SourceSettings, kafka, open};
use crate::event::{Column, ColumnType, Decoded, Format, FormatKind, LiveFace, Micros, Origin, ResumeOffset, Stream};
use crate::time::clock::{Clock, SystemClock};

/// Records of each partition; more than a piece holds.
const RECORDS: i64 = 20_000;
/// Longer than anything takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);
/// How often a log is opened anew on the way to its end.
const OPENED_ANEW: usize = 4;
const WAIT: Duration = Duration::from_millis(100);

type Open = dyn Fn(&BTreeMap<i32, ResumeOffset>) -> Box<dyn Source>;

/// A log whose record at each offset has that offset as its value, and how it is opened.
struct Log {
    name: &'static str,
    partitions: BTreeSet<i32>,
    /// Whether it ends by itself.
    bounded: bool,
    open: Box<Open>,
}

fn stream(live: LiveFace) -> Stream {
    let origin = Origin::Path(vec!["v".to_owned()]);
    Stream {
        name: "events".to_owned(),
        columns: vec![Column { name: "v".to_owned(), column_type: ColumnType::BigInt, required: false, origin }],
        event_time: 0,
        bound: Micros(0),
        marker: None,
        idle_after: None,
        max_future: None,
        live,
        accepts_compacted: false,
        history: None,
    }
}

fn format(kind: FormatKind) -> Format {
    Format { kind, timestamp_unit: None, keep_rest: false }
}

fn topic() -> Log {
    let broker = kafka::tests::Broker::with_partitions(2);
    (0..2).for_each(|partition| broker.send_numbers(partition, 0..RECORDS));
    let stream = stream(LiveFace::Kafka { topic: kafka::tests::TOPIC.to_owned(), format: format(FormatKind::Json) });
    let open = move |positions: &BTreeMap<_, _>| open(&stream, broker.settings(), positions).expect("it is there");
    Log { name: "a topic", partitions: BTreeSet::from([0, 1]), bounded: false, open: Box::new(open) }
}

fn memory() -> Log {
    let record = |number: i64| MemoryRecord {
        value: Some(format!(r#"{{"v":{number}}}"#).into_bytes()),
        ..MemoryRecord::default()
    };
    let partitions: MemoryPartitions =
        (0..2).map(|partition| (partition, (0..RECORDS).map(record).collect())).collect();
    let logs = MemoryLogs::new(BTreeMap::from([("events".to_owned(), partitions)]), 777);
    let stream = stream(LiveFace::Kafka { topic: "events".to_owned(), format: format(FormatKind::Json) });
    let open = move |positions: &BTreeMap<_, _>| logs.open(&stream, positions).expect("it is there");
    Log { name: "memory", partitions: BTreeSet::from([0, 1]), bounded: false, open: Box::new(open) }
}

fn file(name: &'static str, kind: FormatKind, content: Vec<u8>) -> Log {
    let folder = tempfile::tempdir().expect("there is room for temporary files");
    std::fs::write(folder.path().join("events"), content).expect("the folder is ours");
    let stream = stream(LiveFace::File { path: "events".to_owned(), format: format(kind) });
    let open = move |positions: &BTreeMap<_, _>| {
        let settings = SourceSettings { root: folder.path().to_owned(), ..SourceSettings::default() };
        open(&stream, &settings, positions).expect("it is there")
    };
    Log { name, partitions: BTreeSet::from([0]), bounded: true, open: Box::new(open) }
}

fn json() -> Log {
    let lines: String = (0..RECORDS).map(|number| format!("{{\"v\":{number}}}\n")).collect();
    file("a file of JSON", FormatKind::Json, lines.into_bytes())
}

fn csv() -> Log {
    let lines: String = (0..RECORDS).map(|number| format!("{number}\n")).collect();
    file("a file of CSV", FormatKind::Csv, format!("v\n{lines}").into_bytes())
}

fn parquet() -> Log {
    let column = Arc::new(Int64Array::from_iter_values(0..RECORDS));
    let rows = RecordBatch::try_from_iter([("v", column as _)]).expect("a column");
    let mut content = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut content, rows.schema(), None).expect("memory takes it");
    writer.write(&rows).expect("memory takes it");
    writer.close().expect("memory takes it");
    file("a file of Parquet", FormatKind::Parquet, content)
}

/// What was given of each partition, from where on, and what came last.
struct Given {
    next: BTreeMap<i32, i64>,
    ends: BTreeMap<i32, i64>,
    ended: bool,
}

impl Log {
    fn from(&self, position: i64) -> BTreeMap<i32, ResumeOffset> {
        self.partitions.iter().map(|&partition| (partition, ResumeOffset(position))).collect()
    }

    fn open(&self, position: i64) -> (Box<dyn Source>, Given) {
        let next = self.partitions.iter().map(|&partition| (partition, position)).collect();
        ((self.open)(&self.from(position)), Given { next, ends: BTreeMap::new(), ended: false })
    }
}

impl Given {
    /// Polls until `enough`, and checks that each record comes exactly when it is its turn.
    fn read(&mut self, source: &mut dyn Source, enough: impl Fn(&Given) -> bool) {
        let clock = SystemClock::start();
        while !enough(self) {
            assert!(clock.elapsed() < LONG, "{:?} and {:?} only", self.next, self.ends);
            match source.poll(WAIT).expect("all is well") {
                SourceEvent::Records(piece) => self.take(&piece),
                SourceEvent::AtEnd { partition, offset } => {
                    assert_eq!(self.next[&partition], offset.0, "an end comes behind all that there is");
                    self.ends.insert(partition, offset.0);
                }
                SourceEvent::Idle => {}
                SourceEvent::Ended => self.ended = true,
            }
        }
    }

    fn take(&mut self, piece: &Decoded) {
        let numbers = |index: usize| piece.records.column(index).as_primitive::<Int64Type>().values().to_vec();
        let (values, offsets) = (numbers(0), numbers(2));
        assert!(piece.rejects.is_empty(), "{:?}", piece.rejects);
        let next = self.next.get_mut(&piece.partition).expect("a partition that was asked for");
        assert!(offsets.iter().copied().eq(*next..*next + offsets.len() as i64), "behind {next}: {offsets:?}");
        assert_eq!(values, offsets);
        *next += offsets.len() as i64;
        assert_eq!(piece.next_offset.0, *next, "a piece is followed by what comes behind its last record");
        self.ends.remove(&piece.partition);
    }

    fn is_at_end(&self, log: &Log) -> bool {
        let all = log.partitions.iter().all(|partition| self.ends.get(partition) == Some(&RECORDS));
        all && (self.ended || !log.bounded)
    }
}

fn everywhere(check: impl Fn(&Log)) {
    for log in [topic, memory, json, csv, parquet] {
        let log = log();
        eprintln!("{}", log.name);
        check(&log);
    }
}

#[test]
fn every_record_is_given_once_in_order_from_the_position_that_was_asked_for() {
    everywhere(|log| {
        for position in [0, 1, 8_191, 8_192, RECORDS - 1, RECORDS] {
            let (mut source, mut given) = log.open(position);
            given.read(&mut *source, |given| given.is_at_end(log));
        }
    });
}

#[test]
fn opened_anew_behind_a_piece_it_gives_the_rest() {
    everywhere(|log| {
        let mut next: BTreeMap<i32, i64> = log.partitions.iter().map(|&partition| (partition, 0)).collect();
        for _ in 0..OPENED_ANEW {
            let positions = next.iter().map(|(&partition, &from)| (partition, ResumeOffset(from))).collect();
            let mut given = Given { next: next.clone(), ends: BTreeMap::new(), ended: false };
            given.read(&mut *(log.open)(&positions), |given| given.next != next || given.is_at_end(log));
            next = given.next;
        }
        let positions = next.iter().map(|(&partition, &from)| (partition, ResumeOffset(from))).collect();
        let mut given = Given { next, ends: BTreeMap::new(), ended: false };
        given.read(&mut *(log.open)(&positions), |given| given.is_at_end(log));
    });
}

#[test]
fn a_bounded_log_says_for_ever_that_it_has_ended_and_no_other_ever_does() {
    everywhere(|log| {
        let (mut source, mut given) = log.open(RECORDS - 5);
        given.read(&mut *source, |given| given.is_at_end(log));
        for _ in 0..5 {
            let event = source.poll(WAIT).expect("all is well");
            assert_eq!(matches!(event, SourceEvent::Ended), log.bounded, "{event:?}");
        }
    });
}

#[test]
fn nothing_of_a_paused_partition_comes_and_nothing_is_lost_by_pausing() {
    everywhere(|log| {
        let paused = *log.partitions.first().expect("it has one");
        let (mut source, mut given) = log.open(0);
        for round in 0..3 {
            for _ in 0..2 {
                source.set_paused(paused, true).expect("pausing twice is pausing");
            }
            source.set_paused(99, true).expect("one that isn't there is left alone");
            let before = given.next[&paused];
            for _ in 0..5 {
                match source.poll(WAIT).expect("all is well") {
                    SourceEvent::Records(piece) => given.take(&piece),
                    SourceEvent::AtEnd { partition, .. } => assert_ne!(partition, paused),
                    SourceEvent::Idle => {}
                    SourceEvent::Ended => panic!("{} has records that were not given", log.name),
                }
            }
            assert_eq!(given.next[&paused], before, "round {round}");
            source.set_paused(paused, false).expect("it is assigned");
            given.read(&mut *source, |given| given.next[&paused] > before);
        }
        given.read(&mut *source, |given| given.is_at_end(log));
    });
}

#[test]
fn a_partition_that_is_assigned_again_goes_on_where_it_is() {
    everywhere(|log| {
        let (mut source, mut given) = log.open(0);
        given.read(&mut *source, |given| given.next[&0] > 0);
        source.assign(0, ResumeOffset(0)).expect("it is assigned");
        given.read(&mut *source, |given| given.is_at_end(log));
    });
}

#[test]
fn a_poll_comes_back_in_time_though_nothing_may_be_given() {
    everywhere(|log| {
        let (mut source, _) = log.open(0);
        log.partitions.iter().for_each(|&partition| source.set_paused(partition, true).expect("it is assigned"));
        let clock = SystemClock::start();
        while clock.elapsed() < 3 * WAIT {
            assert!(matches!(source.poll(WAIT), Ok(SourceEvent::Idle)));
        }
        assert!(clock.elapsed() < LONG);
    });
}
