//! What signals do to a command that runs.

use std::time::Duration;

use crate::support::project::Project;

/// Far more than a process needs to hear a signal.
const LIMIT: Duration = Duration::from_secs(60);

/// A process may hear the first signal so much earlier than the second that it has ended well by then.
const ATTEMPTS_MAX: usize = 20;

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
    for _ in 0..ATTEMPTS_MAX {
        // A broker that takes the question and never answers: the run waits for it until it is stopped.
        let broker = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        broker.set_nonblocking(true).expect("a socket can be asked");
        let servers = format!("kafka.bootstrap.servers={}", broker.local_addr().expect("it is bound"));
        let mut run = project.start(&["run", "jobs/hits.sql", "--set", &servers]);
        let mut asked = Vec::new();
        run.wait_until("the broker was asked", LIMIT, || {
            asked.extend(broker.accept().ok());
            !asked.is_empty()
        });
        // Both at once, as far as it can be done.
        run.pause();
        run.interrupt();
        run.terminate();
        run.resume();
        let finished = run.wait(LIMIT);
        assert!(finished.stderr.contains("a second signal stops at once"), "{}", finished.stderr);
        match finished.code {
            Some(130) => return,
            _ => drop(finished.ok()),
        }
    }
    panic!("none of {ATTEMPTS_MAX} runs was ended by its second signal");
}
