//! ALLOW LATENESS over random logs: at every stop the table shows what a plain reading of the rules makes of the records that
//! are there, and a backfill of what was archived leaves the rows of the drained run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kappa::archive::{self, ArchiveOptions, archive};
use kappa::backfill::{self, BackfillOptions};
use kappa::event::EventTime;
use kappa::recompute::Requested;
use kappa::store::Stores;
use kappa::time::clock::SystemClock;
use tokio_util::sync::CancellationToken;

use super::faces::runtime;
use super::memory::MemoryLogs;
use super::random::Random;
use super::revisions::{Job, START, log, plan_of};
use super::seeds;

/// Cases of the suite, for each kind of window.
const CASES: u64 = 8;
const HOUR: i64 = 3_600;

/// A record: its host, and its second.
type Record = (&'static str, i64);

/// A window of a host: its start and end in seconds (of SLIDING rounded down), and the host.
type Window = (i64, i64, &'static str);

/// Kinds of windows, in seconds.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Tumble { size: i64 },
    Hop { slide: i64, size: i64 },
    Cumulate { step: i64, size: i64 },
    Session { gap: i64 },
    Sliding { size: i64 },
}

const KINDS: [Kind; 6] = [
    Kind::Tumble { size: 60 },
    Kind::Hop { slide: 20, size: 60 },
    Kind::Hop { slide: 30, size: 50 },
    Kind::Cumulate { step: 20, size: 120 },
    Kind::Session { gap: 25 },
    Kind::Sliding { size: 40 },
];

impl Kind {
    fn sql(self, allowed: i64) -> String {
        let seconds = |seconds: i64| format!("INTERVAL '{seconds} seconds'");
        let (call, partition) = match self {
            Kind::Tumble { size } => (format!("TUMBLE(s, t, {})", seconds(size)), "hour(window_start)"),
            Kind::Hop { slide, size } => {
                (format!("HOP(s, t, {}, {})", seconds(slide), seconds(size)), "hour(window_start)")
            }
            Kind::Cumulate { step, size } => {
                (format!("CUMULATE(s, t, {}, {})", seconds(step), seconds(size)), "hour(window_end)")
            }
            Kind::Session { gap } => (format!("SESSION(s PARTITION BY host, t, {})", seconds(gap)), "hour(window_end)"),
            Kind::Sliding { size } => {
                (format!("SLIDING(s PARTITION BY host, t, {})", seconds(size)), "hour(window_start)")
            }
        };
        format!(
            "INSERT INTO ICEBERG 'ns.result' PARTITIONED BY ({partition})
             SELECT window_start, window_end, host, count(*) AS n FROM {call} GROUP BY window_start, window_end, host
             ALLOW LATENESS {}",
            seconds(allowed)
        )
    }

    /// The windows with a fixed end that hold a second; none where the data makes them.
    fn holding(self, second: i64) -> Vec<(i64, i64)> {
        let starts = |slide: i64, size: i64| -> Vec<(i64, i64)> {
            let last = second.div_euclid(slide) * slide;
            let starts = (0..).map(|back| last - back * slide).take_while(|start| second < start + size);
            starts.map(|start| (start, start + size)).collect()
        };
        match self {
            Kind::Tumble { size } => starts(size, size),
            Kind::Hop { slide, size } => starts(slide, size),
            Kind::Cumulate { step, size } => {
                let start = second.div_euclid(size) * size;
                let ends = (1..=size / step).map(|count| start + count * step);
                ends.filter(|end| second < *end).map(|end| (start, end)).collect()
            }
            Kind::Session { .. } | Kind::Sliding { .. } => Vec::new(),
        }
    }

    /// The windows of records in the order of their partitions' logs, with their counts.
    fn windows(self, partitions: &[Vec<Record>], allowed: i64) -> BTreeMap<Window, i64> {
        let mut windows: BTreeMap<Window, i64> = BTreeMap::new();
        let mut in_time: BTreeMap<&'static str, Vec<i64>> = BTreeMap::new();
        for partition in partitions {
            let mut seen = i64::MIN;
            for &(host, second) in partition {
                for (start, end) in self.holding(second) {
                    if end + allowed > seen {
                        *windows.entry((start, end, host)).or_default() += 1;
                    }
                }
                if second + allowed >= seen {
                    in_time.entry(host).or_default().push(second);
                }
                seen = seen.max(second);
            }
        }
        for (host, mut seconds) in in_time {
            seconds.sort_unstable();
            match self {
                Kind::Session { gap } => {
                    let mut sessions: Vec<(i64, i64, i64)> = Vec::new();
                    for second in seconds {
                        match sessions.last_mut() {
                            Some((_, last, n)) if second < *last + gap => (*last, *n) = (second, *n + 1),
                            _ => sessions.push((second, second, 1)),
                        }
                    }
                    windows.extend(sessions.into_iter().map(|(first, last, n)| ((first, last + gap, host), n)));
                }
                Kind::Sliding { size } => {
                    for &end in &seconds {
                        let n = seconds.iter().filter(|&&second| second > end - size && second <= end).count();
                        // As seconds, the start is the first one that is whole inside, less a microsecond.
                        windows.insert((end - size, end, host), i64::try_from(n).expect("is small"));
                    }
                }
                _ => {}
            }
        }
        windows
    }

    /// As [`Job::rows`] shows windows that are over at a second.
    fn shown(self, windows: &BTreeMap<Window, i64>, over: i64) -> Vec<String> {
        // A sliding window ends a microsecond behind its last record.
        let is_over = |end: i64| if matches!(self, Kind::Sliding { .. }) { end < over } else { end <= over };
        let lines = windows.iter().filter(|((_, end, _), _)| is_over(*end));
        let mut lines: Vec<String> = lines.map(|((start, end, host), n)| format!("{start} {end} {host} {n}")).collect();
        lines.sort();
        lines
    }
}

/// Records of two partitions with a third of them out of order, in parts: each ends with a minute of silence.
fn parts(random: &mut Random) -> Vec<[Vec<Record>; 2]> {
    let mut clock = 0;
    let mut parts = Vec::new();
    for _ in 0..random.between(1, 5) {
        let mut part = [Vec::new(), Vec::new()];
        for _ in 0..random.between(1, 40) {
            clock += random.between(0, 12);
            let back = if random.percent(35) { random.between(0, 250) } else { 0 };
            let record = (random.pick(&["a", "b", "c"]), (clock - back).max(0));
            part[random.below(2)].push(record);
        }
        // What has changed is shown once a minute, so at the part's end all of it is.
        clock += 61;
        part.iter_mut().for_each(|partition| partition.push(("z", clock)));
        parts.push(part);
    }
    parts
}

#[test]
fn at_every_stop_the_table_is_right_for_what_has_come() {
    let runtime = runtime();
    for (index, kind) in (0..).zip(KINDS) {
        for seed in seeds(index * 1_000, CASES) {
            runtime.block_on(check(kind, seed));
        }
    }
}

async fn check(kind: Kind, seed: u64) {
    let mut random = Random::new(seed);
    let allowed = random.pick(&[20, 90, 300]);
    let what = format!("seed {seed}, {kind:?}, {allowed} seconds allowed");
    let job = Job::new(plan_of(&kind.sql(allowed))).await;
    let mut records = [Vec::new(), Vec::new()];
    let batch_rows = random.pick(&[1, 5, 1_000]);
    for part in parts(&mut random) {
        for (all, part) in records.iter_mut().zip(part) {
            all.extend(part);
        }
        let over = records[0].iter().map(|&(_, second)| second).max().expect("each part has one");
        let logs = logs(&records, batch_rows, &mut random);
        let rows = job.read(logs, random.pick(&[1, 2, 3]), false).await;
        assert_eq!(rows, kind.shown(&kind.windows(&records, allowed), over), "{what}, at {over}");
    }
    let expected = kind.shown(&kind.windows(&records, allowed), i64::MAX);
    let logs = logs(&records, batch_rows, &mut random);
    assert_eq!(job.read(logs.clone(), 2, true).await, expected, "{what}, drained");
    assert_eq!(backfilled(kind, allowed, logs).await, expected, "{what}, as a backfill");
}

fn logs(records: &[Vec<Record>; 2], batch_rows: usize, random: &mut Random) -> MemoryLogs {
    let partitions: Vec<_> = records.iter().map(|records| log(records)).collect();
    let ends = partitions.iter().map(Vec::len).collect();
    MemoryLogs { partitions: Arc::new(partitions), ends, batch_rows, seed: random.bits() }
}

/// The rows that a backfill of the archived log leaves in a table of its own.
async fn backfilled(kind: Kind, allowed: i64, logs: MemoryLogs) -> Vec<String> {
    let job = Job::new(plan_of(&kind.sql(allowed))).await;
    let setup = archive::Setup {
        catalog: job.catalog.clone(),
        state: Stores::default().place("state", job.folder.path()).expect("a folder"),
        logs: Arc::new(logs),
        clock: Arc::new(SystemClock::start()),
    };
    let options =
        ArchiveOptions { checkpoint_interval: Duration::from_millis(20), until_end: true, ..ArchiveOptions::default() };
    let ended = archive(&job.plan.streams[0], &setup, &options, &CancellationToken::new(), &|_| {}).await;
    ended.expect("the log is archived");
    let hour = |hour: i64| EventTime((START + hour * HOUR) * 1_000_000);
    let requested = Requested { range: hour(-1)..hour(3), widen: false, drain: true };
    let options = BackfillOptions { requested, include_late: false, workers: 2, memory_max: None };
    backfill::run(&job.plan, &job.catalog, &options, &|_, _| {}).await.expect("the backfill ends");
    job.rows().await
}
