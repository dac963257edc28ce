//! A broker that is killed under a running job: input pauses, health says so when it lasts, and the job goes on when the
//! broker is back, with the results that it would have had anyway.
//!
//! An outage counts as one after five minutes ([`kappa::server::OUTAGE_MAX`]), which this test waits for: it is the longest of
//! all, and does next to nothing.

use std::time::Duration;

use super::deployed::Deployed;
use super::hours::LIMIT;
use crate::operating::address;
use crate::support::broker::Broker;
use crate::support::http;
use crate::support::process::Running;

/// Until an outage is told: five minutes, and what its first failing request and a loaded machine take.
const TOLD_WITHIN: Duration = Duration::from_secs(480);
/// Warnings in that time: one a minute of the request that fails, and now and then what the client says of the cause.
const LINES_MAX: usize = 12;

/// Status and body of `/healthz`.
fn health(address: &str) -> (u16, String) {
    let page = http::get(address, "/healthz").expect("it listens");
    (page.status, page.body)
}

/// Warnings and errors so far.
fn complaints(run: &Running) -> Vec<String> {
    let is_complaint = |line: &&str| line.contains(" WARN ") || line.contains("ERROR");
    run.stderr().lines().filter(is_complaint).map(str::to_owned).collect()
}

#[test]
fn a_job_waits_for_a_killed_broker_and_goes_on_as_if_nothing_had_been() {
    let mut broker = Broker::start();
    let deployed = Deployed::on(&broker, 1);
    let [before, after] = deployed.parts();
    deployed.send(&before);
    let mut run = deployed.start();
    let address = address(&mut run);
    run.wait_until("windows are published", LIMIT, || deployed.rows() > 0);
    assert_eq!(health(&address), (200, "alive\n".to_owned()));
    assert_eq!(complaints(&run), [""; 0]);

    broker.kill();
    run.wait_until("the outage is told", TOLD_WITHIN, || health(&address).0 == 503);
    let told = health(&address).1;
    assert!(told.starts_with("deployed: log: couldn't ask for the ends of the log for 5m"), "{told}");
    assert_eq!(http::get(&address, "/readyz").map(|page| page.status), Some(200), "it reads what comes");
    let published = deployed.rows();
    let lines = complaints(&run);
    assert!((5..=LINES_MAX).contains(&lines.len()), "{lines:#?}");

    broker.start_again();
    deployed.send(&after);
    run.wait_until("health is back", LIMIT, || health(&address) == (200, "alive\n".to_owned()));
    run.wait_for_stderr("could ask for the ends of the log again", LIMIT);
    let expected = deployed.expected();
    assert!(expected.len() as u64 > published, "there is more to publish");
    run.wait_until("all is published", LIMIT, || deployed.rows() >= expected.len() as u64);
    assert!(!run.stderr().contains("starting again"), "one attempt waits for it:\n{}", run.stderr());
    run.terminate();
    run.wait(LIMIT).ok();
    deployed.audit();
}
