//! A live run and an archive on the real broker are told to stop in mid-stream: a last checkpoint, exit 0, and the same
//! command goes on from there; a second signal ends them at once, which loses nothing either.

use std::time::Duration;

use serde_json::Value as Json;
use sqlx::{ConnectOptions, Connection, Executor, SqliteConnection};

use super::arriving::JOB;
use super::{Arriving, Gate, Watched};
use crate::replay::{Case, Names};
use crate::support::process::Running;
use crate::support::project::{Catalog, Project};

/// For anything that a command does at once, on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);
/// Far less than a command waits for a broker that doesn't answer.
const AT_ONCE: Duration = Duration::from_secs(6);
/// How often a command is stopped.
const STOPS: usize = 3;
/// No checkpoint but the last one of a run.
const SELDOM: &str = "checkpoint_interval = \"1h\"";

#[test]
fn a_run_that_is_stopped_in_mid_stream_goes_on_where_it_stopped() {
    let arriving = Arriving::live(40, 2_000, SELDOM);
    let run = Watched::run(&arriving);
    let taken = arriving.while_fed(STOPS, |gate| stop_repeatedly(&run, gate));
    assert_eq!(taken + taken_by(&report(&run.finish().stdout)), arriving.message_count());
    arriving.audit_result();
}

#[test]
fn an_archive_that_is_stopped_in_mid_stream_goes_on_where_it_stopped() {
    let arriving = Arriving::archived(41, 2_000, SELDOM);
    let archive = Watched::archive(&arriving);
    let taken = arriving.while_fed(STOPS, |gate| stop_repeatedly(&archive, gate));
    assert_eq!(taken + taken_by(&report(&archive.finish().stdout)), arriving.message_count());
    arriving.audit_history();
}

#[test]
fn a_second_signal_ends_a_run_at_once_and_nothing_is_lost() {
    let arriving = Arriving::live(42, 1_000, SELDOM);
    let run = Watched::run(&arriving);
    arriving.while_fed(1, |gate| interrupt_twice(&arriving, &run, gate));
    run.finish();
    arriving.audit_result();
}

#[test]
fn a_second_signal_ends_an_archive_at_once_and_nothing_is_lost() {
    let arriving = Arriving::archived(43, 1_000, SELDOM);
    let archive = Watched::archive(&arriving);
    arriving.while_fed(1, |gate| interrupt_twice(&arriving, &archive, gate));
    archive.finish();
    arriving.audit_history();
}

#[test]
fn a_command_that_waits_for_a_broker_at_its_start_stops_at_once() {
    // It takes connections, and answers nothing.
    let broker = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = broker.local_addr().expect("it has one").to_string();
    for command in ["run", "archive"] {
        let project = Project::with_kafka(Catalog::Sql, &[("bootstrap.servers", &address)], "");
        let namespace = project.namespace();
        let history = Some("history");
        let job = Case::steady(1, 1).sql(&Names { topic: "topic", namespace, result: "result", history });
        project.write(JOB, job);
        let running = project.start(&[command, JOB]);
        let _connection = broker.accept().expect("it connects");
        running.terminate();
        running.wait(AT_ONCE).ok();
    }
}

/// Stops a command again and again while messages come; answers how many records it says that it has taken.
fn stop_repeatedly(command: &Watched<'_>, gate: &Gate) -> u64 {
    let mut taken = 0;
    for stop in 0..STOPS {
        let before = command.newest();
        let running = started_in_mid_stream(command, gate);
        match stop {
            0 => running.interrupt(),
            _ => running.terminate(),
        }
        let finished = running.wait(LIMIT).ok();
        assert!(finished.stderr.contains("stopping after a last checkpoint"), "{}", finished.stderr);
        let report = report(&finished.stdout);
        assert_eq!(report["checkpoints"], 1, "the last one and no other: {report}");
        assert_eq!(report["resumed"], stop > 0, "{report}");
        assert!(command.newest() > before, "a new manifest");
        assert_eq!(command.committed(), command.newest());
        taken += taken_by(&report);
    }
    taken
}

/// A command that has taken records while more of them come.
pub(super) fn started_in_mid_stream(command: &Watched<'_>, gate: &Gate) -> Running {
    let mut running = command.start();
    gate.open();
    let stderr = running.stderr_path().to_owned();
    let has_taken = || {
        let text = std::fs::read_to_string(&stderr).expect("output file is there");
        let progress = text.lines().filter_map(|line| serde_json::from_str::<Json>(line).ok());
        progress.filter_map(|line| line["rows"].as_u64()).any(|rows| rows > 0)
    };
    running.wait_until("records are taken", LIMIT, has_taken);
    running
}

/// Holds a command up in the commit of its last checkpoint, and signals a second time.
fn interrupt_twice(arriving: &Arriving, command: &Watched<'_>, gate: &Gate) {
    let before = command.newest();
    let mut running = started_in_mid_stream(command, gate);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let lock = runtime.block_on(locked(arriving));
    running.terminate();
    running.wait_until("the last checkpoint's manifest", LIMIT, || command.newest() > before);
    assert!(running.is_running(), "it waits for the catalog");
    running.terminate();
    let finished = running.wait(LIMIT).exits(130);
    assert_eq!(finished.stdout, "", "it says nothing of a success");
    runtime.block_on(lock.close()).expect("the lock is given back");
    assert!(command.committed() < command.newest(), "nothing was committed");
}

/// A connection that keeps all others from writing to the project's catalog.
async fn locked(arriving: &Arriving) -> SqliteConnection {
    let database = arriving.project.path().join(".kappa/catalog.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database).busy_timeout(LIMIT);
    let mut connection = options.connect().await.expect("the catalog is there");
    connection.execute("BEGIN IMMEDIATE").await.expect("the catalog can be locked");
    connection
}

/// The one report in a command's output: an archive has a list of them, one a stream.
fn report(stdout: &str) -> Json {
    match serde_json::from_str(stdout).expect("one JSON document") {
        Json::Array(reports) => reports.into_iter().next().expect("one stream"),
        report => report,
    }
}

/// Records that a command has taken, of its one stream.
fn taken_by(report: &Json) -> u64 {
    let taken = report["taken"].as_u64().or_else(|| report["taken"]["s"].as_u64());
    taken.unwrap_or_else(|| panic!("no number of records in {report}"))
}
