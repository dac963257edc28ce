//! Starts in the middle: whatever is published is what a run from the very beginning publishes, whole windows only.

use std::sync::atomic::Ordering;

use futures::StreamExt;

use super::*;
use crate::event::{EventTime, Micros, ResumeOffset};
use crate::live::{Starting, starting};
use crate::start::{Start, StartPlace, Vouched};
use crate::time::clock::Clock;

/// Starts that are tried on each log, and logs.
const STARTS: usize = 10;
const LOGS: u64 = 30;

const TEN_MINUTES: i64 = 10 * MINUTE;

const ENDS: &str = "
INSERT INTO ICEBERG 'marts.totals' PARTITIONED BY (hour(window_end))
SELECT window_start, window_end, count(*) AS hits, sum(bytes) AS bytes
FROM TUMBLE(clicks, t, INTERVAL '7 minutes')
GROUP BY window_start, window_end;
";

/// Rows of both results.
type Published = (Rows, Rows);

/// A log with record timestamps in any order, what of it is gone, and what it says of that.
struct RandomLog {
    logs: Arc<MemoryLogs>,
    /// Event times that count, by partition and offset.
    counted: Vec<Vec<Option<i64>>>,
    max_future: Option<i64>,
    world: World,
}

impl RandomLog {
    fn new(random: &mut StdRng) -> RandomLog {
        let logs = MemoryLogs::new(random.random_range(1..20));
        let max_future = [Some(TEN_MINUTES), Some(60 * MINUTE), None][random.random_range(0..3)];
        let by_log = random.random_bool(0.3);
        logs.stamps_itself.store(by_log, Ordering::SeqCst);
        let mut counted = Vec::new();
        for partition in 0..random.random_range(1..4) {
            let mut stamp = NOON;
            let records: Vec<Record> = (0..random.random_range(0..60))
                .map(|number| {
                    stamp = match by_log {
                        true => stamp + random.random_range(0..2 * MINUTE),
                        false => NOON + random.random_range(0..50 * MINUTE),
                    };
                    // Kafka's are whole milliseconds.
                    stamp -= stamp % 1_000;
                    let ahead = random.random_range(-15 * MINUTE..12 * MINUTE);
                    let host = format!("h{}", random.random_range(0..3));
                    Record { timestamp: stamp, ..click(&host, number, stamp + ahead) }
                })
                .collect();
            let times = records.iter().map(|record| {
                let time = record.value.split_once(r#""t":""#).expect("has a time").1.trim_end_matches("\"}");
                let time = chrono::DateTime::parse_from_rfc3339(time).expect("is one").timestamp_micros();
                (max_future.is_none_or(|ahead| time <= record.timestamp + ahead)).then_some(time)
            });
            counted.push(times.collect());
            logs.append("clicks", partition, records);
        }
        let clause = match max_future {
            None => "MAX FUTURE NONE".to_owned(),
            Some(micros) => format!("MAX FUTURE INTERVAL '{} minutes'", micros / MINUTE),
        };
        let stream = STREAM.replace("'5 seconds')", &format!("'5 seconds' {clause})"));
        let world = World::new(&format!("{stream}{HITS}{ENDS}"), logs.clone());
        RandomLog { logs, counted, max_future, world }
    }

    /// Removes records from the beginning of some partitions, and perhaps says by which age.
    fn trim(&self, random: &mut StdRng) {
        let mut removed = EventTime::MIN;
        for (partition, times) in self.counted.iter().enumerate() {
            if random.random_bool(0.4) && !times.is_empty() {
                let below = random.random_range(1..=times.len());
                self.logs.trim("clicks", partition as i32, below as i64);
                let streams = self.logs.streams.lock().expect("ours");
                let gone = streams["clicks"][partition][..below].iter().map(|record| EventTime(record.timestamp));
                removed = removed.max(gone.max().expect("at least one"));
            }
        }
        let says = random.random_bool(0.5) && removed > EventTime::MIN;
        let age = || Micros(SystemClock::start().now().0 - removed.0);
        self.logs.nature.lock().expect("ours").retention = says.then(age);
    }

    /// Greatest event time below the positions of a start, as a user would vouch for who knows the log.
    fn whole_from(&self, positions: &BTreeMap<i32, ResumeOffset>) -> EventTime {
        let below = positions.iter().flat_map(|(&partition, position)| {
            self.counted[partition as usize][..position.0 as usize].iter().flatten()
        });
        EventTime(below.max().map_or(NOON, |greatest| greatest + 1))
    }

    fn start(&self, random: &mut StdRng) -> (Start, Vouched) {
        let low = |partition: i32| self.logs.low("clicks", partition);
        let positions: BTreeMap<i32, ResumeOffset> = (0..)
            .zip(&self.counted)
            .map(|(partition, times)| {
                (partition, ResumeOffset(random.random_range(low(partition)..=times.len() as i64)))
            })
            .collect();
        let time = EventTime(NOON + random.random_range(-20 * MINUTE..70 * MINUTE));
        let start = match random.random_range(0..5) {
            0 => Start::Earliest,
            1 | 2 => Start::Time(time),
            3 => Start::Edge(time),
            _ => Start::Offsets(BTreeMap::from([("clicks".to_owned(), positions.clone())])),
        };
        let whole_from = random.random_bool(0.5).then(|| match &start {
            Start::Offsets(_) => self.whole_from(&positions),
            // Any position is at or below the end.
            _ => self.whole_from(
                &(0..).zip(&self.counted).map(|(p, times)| (p, ResumeOffset(times.len() as i64))).collect(),
            ),
        });
        (start, Vouched { whole_from, allow_partial: false })
    }

    /// Everything that a run publishes, and what it has found late, by partition and offset.
    async fn published(&self, options: &RunOptions) -> (Published, Vec<(i64, i32, i64)>) {
        let world = World {
            folder: tempfile::tempdir().expect("a folder"),
            logs: self.logs.clone(),
            plan: self.world.plan.clone(),
        };
        world.run_to_end(options).await;
        let late = world.batches("marts.hits_late", &["first_late", "_partition", "_offset"]).await;
        let mut rows: Vec<(i64, i32, i64)> = Vec::new();
        for batch in late {
            let starts = batch.column(0).as_primitive::<TimestampMicrosecondType>();
            let partitions = batch.column(1).as_primitive::<arrow::datatypes::Int32Type>();
            let offsets = batch.column(2).as_primitive::<Int64Type>();
            rows.extend(
                (0..batch.num_rows()).map(|row| (starts.value(row), partitions.value(row), offsets.value(row))),
            );
        }
        rows.sort_unstable();
        ((world.hits().await, world.totals().await), rows)
    }
}

fn from(rows: &Rows, first: EventTime) -> Rows {
    rows.iter().filter(|((start, _), _)| *start >= first.0).map(|(key, row)| (key.clone(), *row)).collect()
}

/// The first window may be later than what was asked for, never earlier.
fn check_first(start: &Start, plan: &Plan, found: &Starting) {
    for (insert, &first) in plan.inserts.iter().zip(&found.first_windows) {
        match start {
            Start::Time(time) => assert!(first >= *time, "{start:?}: {found:?}"),
            Start::Edge(edge) => assert!(insert.range_from(first) >= *edge, "{start:?}: {found:?}"),
            _ => {}
        }
    }
}

/// What has become of the starts on one log.
#[derive(Default)]
struct Tally {
    began: usize,
    /// Of them, at the beginning of a log that was cut off.
    cut_off: usize,
    refused: usize,
}

async fn try_starts(seed: u64) -> Tally {
    let mut tally = Tally::default();
    let mut random = StdRng::seed_from_u64(seed);
    let log = RandomLog::new(&mut random);
    let options = RunOptions { checkpoint_interval: Duration::from_secs(60), ..drained(1) };
    let (whole, late) = log.published(&options).await;
    log.trim(&mut random);
    for _ in 0..STARTS {
        let (start, vouched) = log.start(&mut random);
        let workers = random.random_range(1..3);
        let found = match starting(&log.world.plan, &log.world.setup().await, &start, vouched).await {
            Ok(found) => found,
            Err(RunError::Start(_)) => {
                tally.refused += 1;
                continue;
            }
            Err(error) => panic!("{error:?}"),
        };
        check_first(&start, &log.world.plan, &found);
        let shown = || format!("log {seed}, {start:?}, {vouched:?}, MAX FUTURE {:?}, {found:?}", log.max_future);
        let options = RunOptions { start: start.clone(), vouched, workers, ..options.clone() };
        let (published, late_here) = log.published(&options).await;
        let first = &found.first_windows;
        assert_eq!(published, (from(&whole.0, first[0]), from(&whole.1, first[1])), "{}", shown());
        let late_wanted: Vec<_> = late.iter().filter(|row| row.0 >= first[0].0).copied().collect();
        assert_eq!(late_here, late_wanted, "{}", shown());
        let is_cut_off = |(&partition, place): (&i32, &StartPlace)| {
            place.offset.0 > 0 && place.offset.0 == log.logs.low("clicks", partition)
        };
        tally.began += 1;
        tally.cut_off += usize::from(found.streams[0].places.iter().any(is_cut_off));
    }
    tally
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_start_publishes_whole_windows_as_from_the_very_beginning() {
    let mut all = Tally::default();
    // Side by side, as most of a short run is waiting.
    let mut logs = futures::stream::iter(0..LOGS).map(|seed| tokio::spawn(try_starts(seed))).buffer_unordered(8);
    while let Some(tally) = logs.next().await {
        let Tally { began, cut_off, refused } =
            tally.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        all = Tally { began: all.began + began, cut_off: all.cut_off + cut_off, refused: all.refused + refused };
    }
    let Tally { began, cut_off, refused } = all;
    assert_eq!(began + refused, LOGS as usize * STARTS);
    assert!(began >= 150 && cut_off >= 20 && refused >= 20, "{began} began, {cut_off} cut off, {refused} refused");
}
