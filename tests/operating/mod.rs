//! What operates a process: metrics, health, logs, memory, and the files that tell others about them.

mod files;
mod logs;
mod maintain;
mod memory;
mod metrics;
pub mod scrape;

use std::time::Duration;

use crate::support::process::Running;
use scrape::Scrape;

/// More than a loaded machine takes for anything here.
const LIMIT: Duration = Duration::from_secs(120);

const STREAM: &str = "
CREATE STREAM clicks (
  host TEXT, bytes BIGINT NOT NULL, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '5 seconds'
)
";

const INSERT: &str = "
SELECT window_start, window_end, host, count(*) AS hits, sum(bytes) AS bytes
FROM   TUMBLE(clicks, t, INTERVAL '1 minute')
GROUP  BY window_start, window_end, host;
";

/// The address at which a process says that it listens.
pub fn address(running: &mut Running) -> String {
    let path = running.stderr_path().to_owned();
    let told = || {
        let said = std::fs::read_to_string(&path).unwrap_or_default();
        let (_, rest) = said.split_once("http://")?;
        Some(rest.split_once('/')?.0.to_owned())
    };
    running.wait_until("it listens", LIMIT, || told().is_some());
    told().expect("it was just there")
}

/// Scrapes until `holds`, and answers what was scraped then.
fn scrape_until(running: &mut Running, address: &str, what: &str, holds: impl Fn(&Scrape) -> bool) -> Scrape {
    let mut last = None;
    running.wait_until(what, LIMIT, || {
        last = Scrape::of(address);
        last.as_ref().is_some_and(&holds)
    });
    last.expect("it was just there")
}
