//! The shortest way through everything: a file, a window, a table.

use std::path::Path;
use std::sync::Arc;

use futures::StreamExt;
use kappa::checkpoints::CheckpointStore;
use kappa::event::TableName;
use kappa::iceberg::{Catalog, CatalogConfig, ScanFilter, plan_files, read_file};
use kappa::live::{RunOptions, Setup, run};
use kappa::sources::{RealLogs, SourceSettings};
use kappa::time::clock::SystemClock;
use tokio_util::sync::CancellationToken;

const JOB: &str = "
CREATE STREAM clicks (host TEXT, bytes BIGINT, t TIMESTAMP NOT NULL,
  WATERMARK FOR t AS t - INTERVAL '5 seconds')
LIVE FROM FILE 'clicks.jsonl';
INSERT INTO ICEBERG 'marts.hits' PARTITIONED BY (hour(window_start))
SELECT window_start, window_end, host, count(*) AS hits, sum(bytes) AS bytes
FROM TUMBLE(clicks, t, INTERVAL '1 minute')
GROUP BY window_start, window_end, host;
";

async fn setup(root: &Path) -> Setup {
    Setup {
        catalog: Catalog::open(&CatalogConfig::embedded(), root).await.expect("an embedded catalog"),
        checkpoints: CheckpointStore::open("state", root, "hits").expect("a folder"),
        logs: Arc::new(RealLogs::new(SourceSettings { root: root.into(), ..Default::default() })),
        clock: Arc::new(SystemClock::start()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_becomes_a_table_of_windows() {
    let folder = tempfile::tempdir().expect("a folder");
    let lines = [
        r#"{"host":"a","bytes":1,"t":"2026-01-01T00:00:01Z"}"#,
        r#"{"host":"b","bytes":2,"t":"2026-01-01T00:00:59.999999Z"}"#,
        r#"{"host":"a","bytes":4,"t":"2026-01-01T00:01:00Z"}"#,
        r#"{"host":"a","bytes":8,"t":"2026-01-01T00:02:30Z"}"#,
        r#"broken"#,
        r#"{"host":"a","bytes":16,"t":"2026-01-01T00:00:10Z"}"#,
        r#"{"host":"a","bytes":32,"t":"2026-01-01T00:02:29Z"}"#,
    ];
    std::fs::write(folder.path().join("clicks.jsonl"), lines.join("\n")).expect("written");
    let plan = Arc::new(kappa::job::compile("hits", JOB).unwrap_or_else(|errors| {
        panic!("{}", errors.render(kappa::job::Colour::Plain));
    }));
    let setup = setup(folder.path()).await;
    let options = RunOptions { workers: 2, ..RunOptions::default() };
    let report = run(&plan, &setup, &options, &CancellationToken::new(), &|_| {}).await.expect("the job runs");
    assert!(report.finished, "{report:?}");
    let table =
        setup.catalog.load(&TableName::parse("marts.hits").expect("a name")).await.expect("answers").expect("is");
    let mut text = Vec::new();
    for file in plan_files(&table, None, &ScanFilter::default()).await.expect("files") {
        let columns = ["window_start", "host", "hits", "bytes"].map(String::from);
        let mut rows = read_file(&table, &file, &columns, None).await.expect("opens");
        while let Some(batch) = rows.next().await {
            text.push(batch.expect("reads"));
        }
    }
    let shown = arrow::util::pretty::pretty_format_batches(&text).expect("shows").to_string();
    let expected = "\
+----------------------+------+------+-------+
| window_start         | host | hits | bytes |
+----------------------+------+------+-------+
| 2026-01-01T00:00:00Z | a    | 1    | 1     |
| 2026-01-01T00:00:00Z | b    | 1    | 2     |
| 2026-01-01T00:01:00Z | a    | 1    | 4     |
| 2026-01-01T00:02:00Z | a    | 2    | 40    |
+----------------------+------+------+-------+";
    assert_eq!(shown, expected);
    assert_eq!((report.taken["clicks"], report.rejected["clicks"], report.late["marts.hits"]), (7, 1, 1));
}
