//! Kill points K1 to K15 (`src/kill_point.rs`): a command on the real broker aborts at a point in its work, at the n-th time
//! that it gets there, and goes on with another number of workers. All tables are audited after each death and in the end.
//!
//! A seed is a log, the times, and the numbers of workers. `KAPPA_KILLS_SEED` and `KAPPA_KILLS_LIVES` choose the first seed of
//! each point and how many.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use kappa::kill_point::KillPoint;

use super::arriving::{JOB, SLICE};
use super::{Arriving, Gate, Watched};
use crate::model::{self, Judged};
use crate::replay::{Case, Random};
use crate::support::is_long;
use crate::support::process::Finished;

/// For a death, on a loaded machine.
const DEATH_LIMIT: Duration = Duration::from_secs(120);
/// SIGABRT.
const ABORTED: i32 = 6;
/// Slices of messages that are sent when a checkpoint was made, for the next one.
const SHARE_SLICES: usize = 3;
/// Shares that a death may need.
const SHARES_A_DEATH: usize = 12;
/// The same where files are compacted: behind the checkpoints, those of many at once.
const SHARES_A_COMPACTION: usize = 30;
/// Looks at a process after which another share is sent although no checkpoint was made: so many that the shares of a death
/// last as long as its limit.
const LOOKS_PATIENT: usize = 1_000;
/// Workers at most.
const WORKERS_MAX: usize = 4;

/// Which command dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Run,
    Archive,
    Backfill,
}

/// Where a command dies.
struct Place {
    point: &'static str,
    who: Who,
    /// How often it gets there while little happens: it dies at one of these times.
    times: usize,
    /// Points one of which it dies at first, so that it has something to do when it starts.
    before: &'static [&'static str],
}

impl Place {
    fn is_compaction(&self) -> bool {
        self.point == "in_compaction"
    }

    /// How many shares of messages a death here may take, so that those behind it find as many.
    fn shares(&self) -> usize {
        if self.is_compaction() { SHARES_A_COMPACTION } else { SHARES_A_DEATH }
    }
}

const fn place(point: &'static str, who: Who, times: usize) -> Place {
    Place { point, who, times, before: &[] }
}

/// What leaves a checkpoint behind that isn't in its tables yet.
const UNFINISHED: &[&str] = &["manifest_written", "between_tables"];
/// What leaves a checkpoint behind.
const FINISHED: &[&str] = &["before_group_offsets"];

/// All places, in the order of the points.
const PLACES: &[Place] = &[
    place("before_barrier", Who::Run, 3),
    // Each worker gets there with each checkpoint.
    place("between_barriers", Who::Run, 4 * WORKERS_MAX),
    place("in_state_file", Who::Run, 4),
    place("result_files_uploading", Who::Run, 6),
    place("result_files_uploading", Who::Archive, 5),
    place("files_written", Who::Run, 3),
    place("files_written", Who::Archive, 3),
    place("manifest_written", Who::Run, 3),
    place("manifest_written", Who::Archive, 3),
    place("commit_unanswered", Who::Run, 7),
    place("commit_unanswered", Who::Archive, 5),
    place("between_tables", Who::Run, 3),
    place("between_tables", Who::Archive, 2),
    place("before_group_offsets", Who::Run, 3),
    place("before_group_offsets", Who::Archive, 3),
    // For each table of a start.
    place("store_claimed", Who::Run, 3),
    place("store_claimed", Who::Archive, 2),
    place("collecting", Who::Run, 4),
    place("collecting", Who::Archive, 3),
    // Before and after it says that it begins, after the commits, and at the first state file.
    Place { before: UNFINISHED, ..place("recovering", Who::Run, 4) },
    Place { before: UNFINISHED, ..place("recovering", Who::Archive, 3) },
    Place { before: FINISHED, ..place("rescaling", Who::Run, 1) },
    // Before the commit, between result and late rows, before the commit of these.
    place("in_range_overwrite", Who::Backfill, 3),
    place("in_compaction", Who::Run, 4),
    place("in_compaction", Who::Archive, 4),
];

#[test]
fn every_point_has_a_place_where_a_command_dies() {
    let all: Vec<&str> = KillPoint::ALL.iter().map(|(_, name)| *name).collect();
    let mut tried: Vec<&str> = PLACES.iter().map(|place| place.point).collect();
    tried.dedup();
    assert_eq!(tried, all);
    let others = PLACES.iter().flat_map(|place| place.before);
    assert!(others.copied().collect::<BTreeSet<_>>().iter().all(|name| all.contains(name)));
}

#[test]
fn what_is_built_without_tests_has_no_kill_points() {
    let path = [env!("CARGO_MANIFEST_DIR"), "Cargo.toml"].iter().collect::<std::path::PathBuf>();
    let text = std::fs::read_to_string(path).expect("it is there");
    let manifest: toml::Table = text.parse().expect("it is TOML");
    let features = |section: &str| manifest[section]["fail"].get("features").cloned();
    assert_eq!(features("dependencies"), None);
    assert_eq!(features("dev-dependencies"), Some(vec!["failpoints"].into()));
    // Nor can anybody switch them on.
    assert_eq!(manifest.get("features"), None);
}

#[test]
fn k1_before_the_barrier() {
    die_at("before_barrier");
}

#[test]
fn k2_between_the_source_s_barrier_and_the_sink_s() {
    die_at("between_barriers");
}

#[test]
fn k3_in_a_state_file() {
    die_at("in_state_file");
}

#[test]
fn k4_while_result_files_are_uploaded() {
    die_at("result_files_uploading");
}

#[test]
fn k5_all_files_are_written_and_the_manifest_is_not() {
    die_at("files_written");
}

#[test]
fn k6_the_manifest_is_written_and_no_commit_is_sent() {
    die_at("manifest_written");
}

#[test]
fn k7_a_commit_is_sent_and_there_is_no_answer() {
    die_at("commit_unanswered");
}

#[test]
fn k8_one_table_is_committed_and_another_is_not() {
    die_at("between_tables");
}

#[test]
fn k9_all_is_committed_and_group_offsets_are_not() {
    die_at("before_group_offsets");
}

#[test]
fn k10_the_store_is_claimed_and_tables_are_not() {
    die_at("store_claimed");
}

#[test]
fn k11_while_old_checkpoints_are_collected() {
    die_at("collecting");
}

#[test]
fn k12_during_recovery() {
    die_at("recovering");
}

#[test]
fn k13_during_a_rescale() {
    die_at("rescaling");
}

#[test]
fn k14_in_the_overwrite_of_a_backfill() {
    die_at("in_range_overwrite");
}

#[test]
fn k15_in_a_compaction() {
    die_at("in_compaction");
}

/// Dies at all places of a point, in several projects each, and several times in each.
fn die_at(point: &str) {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().expect("a number"));
    let places: Vec<(usize, &Place)> = PLACES.iter().enumerate().filter(|(_, place)| place.point == point).collect();
    let (lives, deaths) = if is_long() { (5, 4) } else { (1, 1) };
    for (index, place) in places {
        let first = number("KAPPA_KILLS_SEED", 1_000 * index as u64);
        for seed in first..first + number("KAPPA_KILLS_LIVES", lives) {
            eprintln!("{point} of {:?}: seed {seed}, {deaths} deaths", place.who);
            let life = Life { place, deaths, random: RefCell::new(Random::new(seed)), workers: RefCell::new(1) };
            match place.who {
                Who::Backfill => life.backfill(seed),
                Who::Run | Who::Archive => life.go(seed),
            }
        }
    }
}

/// One project in which a command dies again and again.
struct Life<'a> {
    place: &'a Place,
    deaths: usize,
    random: RefCell<Random>,
    /// Of the newest run.
    workers: RefCell<usize>,
}

impl Life<'_> {
    fn go(&self, seed: u64) {
        let is_led_up_to = !self.place.before.is_empty();
        let shares = self.deaths * (1 + usize::from(is_led_up_to)) * self.place.shares();
        let messages = (shares + 1) * SHARE_SLICES * SLICE;
        // Partitions that are over are what is compacted.
        let case = if self.place.is_compaction() { Case::swift(seed, messages) } else { Case::steady(seed, messages) };
        let case = case.varied(&mut self.random.borrow_mut());
        let history = (self.place.who == Who::Archive).then_some("history");
        let arriving = Arriving::of(case, history, "checkpoint_interval = \"100ms\"");
        let command = if history.is_some() { Watched::archive(&arriving) } else { Watched::run(&arriving) };
        arriving.while_fed(shares, |gate| {
            for _ in 0..self.deaths {
                if is_led_up_to {
                    let before = self.random.borrow_mut().pick(self.place.before);
                    self.die(&command, before, 0, gate);
                }
                let time = self.random.borrow_mut().below(self.place.times);
                self.die(&command, self.place.point, time, gate);
                arriving.audit_published(&command);
            }
        });
        let begun = arriving.project.write("begun", "");
        command.finish();
        match self.place.who {
            Who::Archive => arriving.audit_history(),
            Who::Run | Who::Backfill => arriving.audit_result(),
        }
        let left = arriving.audit_files(&begun, command.tables());
        eprintln!("{left} data files are left of processes that died");
    }

    /// Starts the command and waits until it has died at a point, `time` times after it got there first.
    fn die(&self, command: &Watched<'_>, point: &str, time: usize, gate: &Gate) {
        let workers = self.other_workers().to_string();
        let arguments: &[&str] = if self.place.who == Who::Run { &["--workers", &workers] } else { &[] };
        let running = command.start_with(arguments, &[("FAILPOINTS", &fail_points(point, time))]);
        let (mut newest, mut looks) = (command.newest(), 0);
        let mut shares = self.place.shares() - 1;
        gate.open();
        let died = running.wait_and(DEATH_LIMIT, || {
            looks += 1;
            if shares > 0 && (command.newest() != newest || looks % LOOKS_PATIENT == 0) {
                newest = command.newest();
                shares -= 1;
                gate.open();
            }
        });
        assert_died(&died, point);
        eprintln!("  {:?} with {workers} workers died at {point} after {time} times", self.place.who);
    }

    /// A number of workers that the newest run didn't have.
    fn other_workers(&self) -> usize {
        let mut workers = self.workers.borrow_mut();
        *workers = 1 + (*workers + self.random.borrow_mut().below(WORKERS_MAX - 1)) % WORKERS_MAX;
        *workers
    }

    /// A backfill of an archived topic dies again and again, and is run again each time.
    fn backfill(&self, seed: u64) {
        // Its places lie before, between and behind the commits of a result and of late records: both are needed.
        let mut cases =
            (seed..).map(|seed| Case::swift(seed, SHARES_A_DEATH * SLICE).varied(&mut self.random.borrow_mut()));
        let case = cases.find(has_late_records).expect("one has some");
        let arriving = Arriving::of(case, Some("history"), "");
        arriving.while_fed(1, Gate::open);
        Watched::archive(&arriving).finish();
        let (from, to) = arriving.case.range().expect("there are windows");
        let backfill = ["backfill", "run", JOB, "--from", &from, "--to", &to, "--drain"];
        for _ in 0..self.deaths {
            let time = self.random.borrow_mut().below(self.place.times);
            let workers = self.other_workers().to_string();
            let arguments = [&backfill[..], &["--workers", &workers]].concat();
            let points = fail_points(self.place.point, time);
            let died = arriving.project.start_with(&arguments, &[("FAILPOINTS", &points)]).wait(DEATH_LIMIT);
            assert_died(&died, self.place.point);
            eprintln!("  backfill died at {} after {time} times", self.place.point);
            let begun = arriving.project.write("begun", "");
            arriving.project.kappa(&backfill).ok();
            arriving.audit_backfill();
            arriving.audit_files(&begun, &["result", "result_late", "history", "history_rejects"]);
        }
        // The same rows take the place of those that are there.
        arriving.project.kappa(&backfill).ok();
        arriving.audit_backfill();
    }
}

fn has_late_records(case: &Case) -> bool {
    model::judge(&case.log(), &case.stream, &case.query).iter().any(Judged::is_in_late_table)
}

/// `FAILPOINTS`: it dies when it has got to the point `time` times before.
fn fail_points(point: &str, time: usize) -> String {
    match time {
        0 => format!("{point}=return"),
        time => format!("{point}={time}*off->return"),
    }
}

#[track_caller]
fn assert_died(finished: &Finished, point: &str) {
    let Finished { code, signal, stderr, .. } = finished;
    assert!(
        // Another thread may say something in the moment before the end.
        *signal == Some(ABORTED) && stderr.contains(&format!("killed at {point}\n")),
        "it was to die at {point}: exit code {code:?}, signal {signal:?}\n{stderr}"
    );
}
