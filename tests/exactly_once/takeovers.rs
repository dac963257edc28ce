//! Two processes at one job or one history, on the real broker: the second one waits for the first, takes over at once when
//! it is killed, and fences it when it is told to; a process that was fenced publishes nothing and says by whom.

use std::time::Duration;

use super::arriving::JOB;
use super::{Arriving, Watched};
use crate::support::process::Running;
use crate::support::python::{pyiceberg, script_output};

/// For anything that a command does at once, on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);
/// A claim of a killed process would be waited for this long if its death weren't seen.
const BEFORE_STALE: Duration = Duration::from_secs(25);
const OFTEN: &str = "checkpoint_interval = \"500ms\"";

/// Waits for a new checkpoint, of a newer generation than `than`.
fn await_newer(running: &mut Running, command: &Watched<'_>, than: u64, limit: Duration) {
    running.wait_until("a checkpoint of its own", limit, || {
        command.newest().is_some_and(|(generation, _)| generation > than)
    });
}

#[test]
fn a_second_run_waits_and_goes_on_at_once_when_the_first_is_killed() {
    let arriving = Arriving::live(50, 1_000, OFTEN);
    let run = Watched::run(&arriving);
    arriving.while_fed(2, |gate| {
        let mut first = run.start();
        gate.open();
        await_newer(&mut first, &run, 0, LIMIT);
        let mut second = run.start();
        second.wait_for_stderr(&format!("note: job steady is being run by pid {} on ", first.id()), LIMIT);
        let mut third = run.start();
        third.wait_for_stderr(
            "waiting until that process stops, or isn't heard of for 30 s; --take-over doesn't wait",
            LIMIT,
        );
        third.terminate();
        third.wait(LIMIT).ok();
        let status = arriving.project.kappa(&["status", JOB]).ok().stdout;
        assert!(status.starts_with(&format!("job steady: running, pid {} on ", first.id())), "{status}");
        assert!(run.manifests().iter().all(|(generation, _)| *generation == 1), "nobody else has claimed");
        first.kill();
        gate.open();
        await_newer(&mut second, &run, 1, BEFORE_STALE);
        second.terminate();
        second.wait(LIMIT).ok();
    });
    // Nobody listens there: what only the broker knows is missing, and nothing else.
    let status = arriving.project.kappa(&["status", "--set", "kafka.bootstrap.servers=127.0.0.1:1"]).ok().stdout;
    for part in ["job steady: stopped at ", "broker doesn't answer", "frontier ", "the watermark is held by partition "]
    {
        assert!(status.contains(part), "{part} in {status}");
    }
    run.finish();
    arriving.audit_result();
    let status = arriving.project.kappa(&["status"]).ok().stdout;
    assert!(
        status.starts_with("job steady: stopped at ") && status.contains("finished: everything is published"),
        "{status}"
    );
}

#[test]
fn a_run_that_was_taken_over_while_it_stood_still_publishes_nothing_and_names_the_newer_one() {
    let arriving = Arriving::live(51, 1_000, OFTEN);
    let run = Watched::run(&arriving);
    arriving.while_fed(3, |gate| {
        let mut first = run.start();
        gate.open();
        await_newer(&mut first, &run, 0, LIMIT);
        first.pause();
        let mut second = arriving.project.start(&["run", JOB, "--json", "--take-over"]);
        gate.open();
        await_newer(&mut second, &run, 1, LIMIT);
        first.resume();
        gate.open();
        let first = first.wait(LIMIT).exits(5);
        let named = format!("generation is 1, the newest claim is 2, of pid {} on ", second.id());
        assert!(
            first.stderr.contains("a newer run has taken over") && first.stderr.contains(&named),
            "{}",
            first.stderr
        );
        second.terminate();
        second.wait(LIMIT).ok();
    });
    run.finish();
    arriving.audit_result();
}

#[test]
fn two_jobs_that_archive_one_history_take_turns_and_every_record_is_in_it_once() {
    let arriving = Arriving::archived(52, 1_000, OFTEN);
    let archive = Watched::archive(&arriving);
    let job = std::fs::read_to_string(arriving.project.path().join(JOB)).expect("a job file");
    arriving.project.write("jobs/other.sql", job.replace(".result'", ".other'"));
    arriving.while_fed(2, |gate| {
        let mut first = archive.start();
        gate.open();
        await_newer(&mut first, &archive, 0, LIMIT);
        let mut second = arriving.project.start(&["archive", "jobs/other.sql"]);
        second.wait_for_stderr(&format!("note: the archive of {} is being run by ", arriving.table("history")), LIMIT);
        first.kill();
        gate.open();
        await_newer(&mut second, &archive, 1, BEFORE_STALE);
        second.terminate();
        second.wait(LIMIT).ok();
    });
    archive.finish();
    arriving.audit_history();
}

#[test]
fn a_table_that_somebody_rolled_back_stops_the_run_until_it_is_undone() {
    let arriving = Arriving::live(53, 1_000, OFTEN);
    let run = Watched::run(&arriving);
    arriving.while_fed(4, |gate| {
        let mut first = run.start();
        for _ in 0..2 {
            let before = run.committed();
            gate.open();
            first.wait_until("a committed checkpoint", LIMIT, || run.committed() > before);
        }
        set_snapshot(&arriving, None);
        gate.open();
        let stopped = first.wait(LIMIT).exits(5).stderr;
        for part in ["was rolled back to before checkpoint 1/", "windows that ended ", "are gone", "offsets reset"] {
            assert!(stopped.contains(part), "{part} in {stopped}");
        }
        let again = run.start().wait(LIMIT).exits(5);
        assert!(again.stderr.contains("was rolled back to before checkpoint 1/"), "{}", again.stderr);
        let (_, way_out) = stopped.split_once("manage_snapshots().set_current_snapshot(").expect("a way out");
        let (lost, _) = way_out.split_once(").commit() in pyiceberg").expect("a way out");
        set_snapshot(&arriving, Some(lost.parse().expect("a snapshot")));
    });
    run.finish();
    arriving.audit_result();
}

#[test]
fn a_table_that_somebody_dropped_is_told_and_not_made_anew() {
    let arriving = Arriving::live(54, 200, OFTEN);
    let run = Watched::run(&arriving);
    arriving.while_fed(1, |gate| {
        let mut first = run.start();
        gate.open();
        await_newer(&mut first, &run, 0, LIMIT);
        first.terminate();
        first.wait(LIMIT).ok();
    });
    tamper(&arriving, "drop");
    for _ in 0..2 {
        let stopped = run.start().wait(LIMIT).exits(5);
        let gone = format!("{} is gone, though checkpoint 1/", arriving.table("result"));
        assert!(stopped.stderr.contains(&gone), "{}", stopped.stderr);
    }
}

/// Sets the result's current snapshot: to `snapshot`, or (`None`) back to the first one with rows.
fn set_snapshot(arriving: &Arriving, snapshot: Option<i64>) {
    let first = || {
        let [table] = pyiceberg(&arriving.project, [&arriving.table("result")]);
        let snapshots = table.expect("it is there").snapshots;
        snapshots.iter().find(|snapshot| snapshot.operation == "append").expect("something is published").id
    };
    tamper(arriving, &snapshot.unwrap_or_else(first).to_string());
}

fn tamper(arriving: &Arriving, what: &str) {
    let (catalog, table) = (arriving.project.reader_catalog(), arriving.table("result"));
    script_output("tests/readers/tamper.py", &[&catalog, &table, what]);
}
