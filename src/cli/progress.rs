//! How far a command has got: one line that is drawn over on a terminal, or JSON lines with `--json`; both on stderr.
//! Invariant: never on a pipe or in a file unless `--json` asks for it. Reads no clock: the caller says what has elapsed.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;

use super::output;
use super::terminal::Terminal;
use crate::event::{EventTime, Micros};
use crate::standing::{Phase, Standing};

/// Time between two drawings on a terminal: fluent, and no load.
const LINE_INTERVAL: Duration = Duration::from_millis(200);
/// Time between two JSON lines: enough for a program that watches.
const JSON_INTERVAL: Duration = Duration::from_secs(1);
/// Columns of a drawn line: a longer one would wrap on a narrow terminal and could not be drawn over.
const LINE_COLUMNS_MAX: usize = 79;
/// Share of a log below which its headroom stands in the line: above, it is of no concern.
const HEADROOM_SHOWN_BELOW: f64 = 0.25;

/// Whether a progress line stands on the terminal, without a line end behind it.
static DRAWN: AtomicBool = AtomicBool::new(false);

/// Takes a drawn progress line away, so that other output begins on an empty line.
pub fn make_room() {
    if DRAWN.swap(false, Ordering::Relaxed) {
        // A terminal that is gone needs no room.
        drop(write!(std::io::stderr().lock(), "\r\u{1b}[K"));
    }
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressMode {
    /// Not at all.
    Off,
    /// As a line on a terminal.
    Line,
    /// As JSON lines.
    Json,
}

impl ProgressMode {
    /// JSON lines if asked for, else a line if there is a terminal to draw on.
    pub fn choose(terminal: &Terminal, json: bool) -> ProgressMode {
        match (terminal.quiet, json, terminal.interactive) {
            (true, _, _) => ProgressMode::Off,
            (false, true, _) => ProgressMode::Json,
            (false, false, true) => ProgressMode::Line,
            (false, false, false) => ProgressMode::Off,
        }
    }
}

/// Where a live run or an archive stands.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LiveState {
    /// Records taken since the start.
    pub rows: u64,
    /// The job's watermark; `None` before there is one.
    pub watermark: Option<EventTime>,
    /// Records of the log that aren't taken yet, if known.
    pub lag_records: Option<u64>,
    /// The least share of a partition's log between its low end and what is taken, if known: retention eats it up.
    pub headroom: Option<f64>,
}

impl LiveState {
    /// As a driver stands.
    pub fn of(standing: &Standing) -> LiveState {
        let lag_records = standing.lag_records().filter(|_| standing.phase != Phase::Starting);
        LiveState {
            rows: standing.taken(),
            watermark: Some(standing.watermark),
            lag_records,
            headroom: standing.least_headroom(),
        }
    }

    /// Several drivers as one: rows and lag added up, of time and headroom the least.
    pub fn of_all(states: &[LiveState]) -> LiveState {
        let headroom = states.iter().filter_map(|state| state.headroom);
        LiveState {
            rows: states.iter().map(|state| state.rows).sum(),
            watermark: states.iter().map(|state| state.watermark).min().flatten(),
            lag_records: states.iter().map(|state| state.lag_records).sum(),
            headroom: headroom.min_by(f64::total_cmp),
        }
    }
}

/// Where a backfill or a diff stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RangeState {
    /// Rows read since the start.
    pub rows: u64,
    /// Rows to read in all, warm-up and run-out included.
    pub rows_total: u64,
    /// Length of event time of the whole range.
    pub range: Micros,
}

/// Shows progress, no more often than is useful.
#[derive(Debug)]
pub struct Progress {
    mode: ProgressMode,
    /// Elapsed time and rows when it was last shown.
    shown: Option<(Duration, u64)>,
}

impl Progress {
    /// Progress in this mode, nothing shown yet.
    pub fn new(mode: ProgressMode) -> Progress {
        Progress { mode, shown: None }
    }

    /// Shows where a live run stands, `elapsed` after its start.
    pub fn live(&mut self, elapsed: Duration, state: &LiveState) {
        if let Some(since) = self.due(elapsed, state.rows) {
            self.show(&Live::new(elapsed, since, state));
        }
    }

    /// Shows where a backfill stands, `elapsed` after its start.
    pub fn range(&mut self, elapsed: Duration, state: &RangeState) {
        if self.due(elapsed, state.rows).is_some() {
            self.show(&Range::new(elapsed, state));
        }
    }

    /// Takes the line away: what follows says how it ended.
    pub fn finish(&mut self) {
        make_room();
    }

    /// Elapsed time and rows of the last showing, if it is time for another.
    fn due(&mut self, elapsed: Duration, rows: u64) -> Option<(Duration, u64)> {
        let interval = match self.mode {
            ProgressMode::Off => return None,
            ProgressMode::Line => LINE_INTERVAL,
            ProgressMode::Json => JSON_INTERVAL,
        };
        let last = self.shown.unwrap_or((Duration::ZERO, 0));
        if self.shown.is_some() && elapsed.saturating_sub(last.0) < interval {
            return None;
        }
        self.shown = Some((elapsed, rows));
        Some(last)
    }

    fn show(&self, line: &(impl Serialize + std::fmt::Display)) {
        let mut stderr = std::io::stderr().lock();
        // Progress that nobody can see any more must not stop the work.
        match self.mode {
            ProgressMode::Off => {}
            ProgressMode::Line => {
                let text: String = line.to_string().chars().take(LINE_COLUMNS_MAX).collect();
                drop(write!(stderr, "\r\u{1b}[K{text}").and_then(|()| stderr.flush()));
                DRAWN.store(true, Ordering::Relaxed);
            }
            ProgressMode::Json => {
                let text = serde_json::to_string(line).expect("progress has text keys and finite numbers");
                drop(writeln!(stderr, "{text}"));
            }
        }
    }
}

/// One showing of a live run; the names are those of the JSON lines.
#[derive(Debug, Serialize)]
struct Live {
    progress: &'static str,
    elapsed_ms: u64,
    rows: u64,
    /// Since the last showing.
    rows_per_second: u64,
    watermark: Option<String>,
    lag_records: Option<u64>,
    headroom: Option<f64>,
}

impl Live {
    fn new(elapsed: Duration, last: (Duration, u64), state: &LiveState) -> Live {
        let rows_per_second = rate(state.rows.saturating_sub(last.1), elapsed.saturating_sub(last.0));
        let watermark = state.watermark.filter(|time| *time != EventTime::MIN).map(|time| time.to_string());
        let elapsed_ms = millis(elapsed);
        Live {
            progress: "live",
            elapsed_ms,
            rows: state.rows,
            rows_per_second,
            watermark,
            lag_records: state.lag_records,
            // To a thousandth: nobody can use more.
            headroom: state.headroom.map(|share| (share * 1e3).round() / 1e3),
        }
    }
}

impl std::fmt::Display for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} rows  {}/s", output::number(self.rows), output::number(self.rows_per_second))?;
        if let Some(lag) = self.lag_records {
            write!(f, "  lag {}", output::number(lag))?;
        }
        if let Some(headroom) = self.headroom.filter(|share| *share < HEADROOM_SHOWN_BELOW) {
            write!(f, "  headroom {:.0}%", headroom * 100.0)?;
        }
        if let Some(watermark) = &self.watermark {
            write!(f, "  watermark {watermark}")?;
        }
        Ok(())
    }
}

/// One showing of a backfill; the names are those of the JSON lines.
#[derive(Debug, Serialize)]
struct Range {
    progress: &'static str,
    elapsed_ms: u64,
    rows: u64,
    rows_total: u64,
    /// Since the start.
    rows_per_second: u64,
    /// Event time of the range that is done, by its share of the rows, for each unit of time that went by.
    times_real_time: Option<u64>,
    left_ms: Option<u64>,
}

impl Range {
    fn new(elapsed: Duration, state: &RangeState) -> Range {
        let done = (state.rows as f64 / state.rows_total.max(1) as f64).min(1.0);
        let seconds = elapsed.as_secs_f64();
        // A rate over less than this says nothing yet.
        let known = seconds >= 0.1 && state.rows > 0;
        let event_seconds = state.range.0 as f64 / 1e6 * done;
        Range {
            progress: "range",
            elapsed_ms: millis(elapsed),
            rows: state.rows,
            rows_total: state.rows_total,
            rows_per_second: rate(state.rows, elapsed),
            times_real_time: known.then(|| (event_seconds / seconds) as u64),
            left_ms: known.then(|| (seconds * (1.0 - done) / done * 1e3) as u64),
        }
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = u128::from(self.rows) * 100 / u128::from(self.rows_total.max(1));
        let (rows, rate) = (output::number(self.rows), output::number(self.rows_per_second));
        write!(f, "{:>3}%  {rows} rows  {rate}/s", percent.min(100))?;
        if let Some(times) = self.times_real_time {
            write!(f, "  {}x real time", output::number(times))?;
        }
        if let Some(left) = self.left_ms {
            write!(f, "  {} left", output::duration(Duration::from_millis(left)))?;
        }
        Ok(())
    }
}

fn rate(rows: u64, time: Duration) -> u64 {
    let seconds = time.as_secs_f64();
    if seconds > 0.0 { (rows as f64 / seconds).round() as u64 } else { 0 }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::log::Verbosity;
    use crate::job::Colour;

    #[test]
    fn a_live_line_shows_the_rate_since_the_last_one() {
        let watermark = Some(EventTime(1_795_248_000_000_000));
        let state = LiveState { rows: 1_500_000, watermark, lag_records: Some(2_000), headroom: Some(0.5) };
        let line = Live::new(Duration::from_secs(30), (Duration::from_secs(20), 1_000_000), &state);
        assert_eq!(line.to_string(), "1,500,000 rows  50,000/s  lag 2,000  watermark 2026-11-21T08:00:00Z");
        let json = serde_json::to_string(&line).expect("json");
        let expected = r#"{"progress":"live","elapsed_ms":30000,"rows":1500000,"rows_per_second":50000,"watermark":"2026-11-21T08:00:00Z","lag_records":2000,"headroom":0.5}"#;
        assert_eq!(json, expected);
        let line =
            Live::new(Duration::from_secs(30), (Duration::ZERO, 0), &LiveState { headroom: Some(0.0449), ..state });
        assert!(line.to_string().contains("  lag 2,000  headroom 4%  watermark"), "{line}");
    }

    #[test]
    fn a_range_line_shows_what_is_left_and_times_real_time() {
        let day = Micros::from_seconds(86_400);
        let state = RangeState { rows: 250, rows_total: 1_000, range: day };
        let line = Range::new(Duration::from_secs(10), &state);
        assert_eq!(line.to_string(), " 25%  250 rows  25/s  2,160x real time  30.0s left");
        let before = Range::new(Duration::ZERO, &RangeState { rows: 0, ..state });
        assert_eq!(before.to_string(), "  0%  0 rows  0/s");
        let nothing = Range::new(Duration::from_secs(1), &RangeState { rows: 0, rows_total: 0, range: day });
        assert_eq!(nothing.to_string(), "  0%  0 rows  0/s");
    }

    #[test]
    fn it_is_shown_at_once_and_then_at_intervals() {
        let mut progress = Progress::new(ProgressMode::Json);
        let mut due = |millis| progress.due(Duration::from_millis(millis), millis).is_some();
        assert_eq!([0, 1, 999, 1_000, 1_500, 2_000].map(&mut due), [true, false, false, true, false, true]);
        assert!(Progress::new(ProgressMode::Off).due(Duration::ZERO, 0).is_none());
    }

    #[test]
    fn without_a_terminal_only_json_is_shown() {
        let verbosity = Verbosity::Normal;
        let pipe = Terminal {
            quiet: false,
            verbosity,
            colour: Colour::Plain,
            interactive: false,
            overrides: crate::config::Overrides::none(),
        };
        assert_eq!(ProgressMode::choose(&pipe, false), ProgressMode::Off);
        assert_eq!(ProgressMode::choose(&pipe, true), ProgressMode::Json);
        let screen = Terminal { interactive: true, ..pipe };
        assert_eq!(ProgressMode::choose(&screen, false), ProgressMode::Line);
        assert_eq!(ProgressMode::choose(&Terminal { quiet: true, ..screen }, true), ProgressMode::Off);
    }
}
