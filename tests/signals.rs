//! What signals do to a command that runs.

use std::time::Duration;

use crate::support::project::Project;

/// Far more than a process needs to hear a signal.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_second_signal_ends_a_run_at_once() {
    let project = Project::embedded();
    project.write(
        "jobs/hits.sql",
        "CREATE STREAM clicks (host TEXT, t TIMESTAMP NOT NULL, WATERMARK FOR t AS t - INTERVAL '5 seconds')
LIVE FROM KAFKA 'clicks' FORMAT JSON;
INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
SELECT window_start, window_end, host, count(*) AS hits FROM TUMBLE(clicks, t, INTERVAL '1 minute')
GROUP BY window_start, window_end, host;
",
    );
    // A broker that takes the question and never answers: the run waits for it far longer than for two signals.
    let broker = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    broker.set_nonblocking(true).expect("a socket can be asked");
    let servers = format!("kafka.bootstrap.servers={}", broker.local_addr().expect("it is bound"));
    let mut run = project.start(&["run", "jobs/hits.sql", "--set", &servers]);
    let stderr = run.stderr_path().to_owned();
    let said = |text: &str| std::fs::read_to_string(&stderr).expect("the file is there").contains(text);
    let mut asked = Vec::new();
    run.wait_until("the broker was asked", LIMIT, || {
        asked.extend(broker.accept().ok());
        !asked.is_empty()
    });
    run.interrupt();
    run.wait_until("the first signal is heard", LIMIT, || said("a second signal stops at once"));
    run.terminate();
    run.wait(LIMIT).exits(130);
}
