//! What has gone wrong in other systems between a checkpoint and its commits. A table is set back to what it was before a
//! checkpoint, as a crash before its commit would have left it; beside that, what is on the disk is all real.

use std::path::PathBuf;

use sqlx::any::install_default_drivers;
use sqlx::{AnyConnection, Connection};

use super::*;
use crate::sinks::PublishError;
use crate::sources::SourceError;

/// Where each table's metadata is, by name without namespace.
type Pointers = BTreeMap<String, String>;

fn job() -> String {
    format!("{STREAM}{HITS}{}", TOTALS.replace("PUBLISH WHOLE PARTITIONS", ""))
}

/// One checkpoint, with all that there is.
fn in_one_checkpoint(workers: usize) -> RunOptions {
    RunOptions { checkpoint_interval: Duration::from_secs(3_600), epoch_rows: 1_000_000, ..to_end(workers) }
}

/// A log of which a first run has published half in several checkpoints.
async fn half_published(seed: u64) -> (World, Expected) {
    let logs = MemoryLogs::new(50);
    let expected = fill(&logs, seed, 2, 2_000);
    let world = World::new(&job(), logs);
    world.run_some(2_000).await;
    (world, expected)
}

impl World {
    async fn database(&self) -> AnyConnection {
        install_default_drivers();
        let file = self.folder.path().join("catalog.db");
        AnyConnection::connect(&format!("sqlite:{}", file.display())).await.expect("it is there")
    }

    async fn pointers(&self) -> Pointers {
        let rows = sqlx::query_as("SELECT table_name, metadata_location FROM iceberg_tables");
        let rows: Vec<(String, String)> = rows.fetch_all(&mut self.database().await).await.expect("answers");
        rows.into_iter().collect()
    }

    /// Sets tables back, as if what was committed since never had been.
    async fn set_back(&self, to: &Pointers, tables: &[&str]) {
        for &table in tables {
            let set = sqlx::query("UPDATE iceberg_tables SET metadata_location = $1 WHERE table_name = $2");
            let set = set.bind(&to[table]).bind(table).execute(&mut self.database().await).await.expect("answers");
            assert_eq!(set.rows_affected(), 1, "{table}");
        }
    }

    /// Removes all snapshots of a table but the newest from its metadata, as another engine's expiry may.
    async fn forget_snapshots(&self, table: &str) {
        let location = self.pointers().await[table].clone();
        let path = location.strip_prefix("file://").unwrap_or(&location);
        let mut metadata: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).expect("metadata")).expect("JSON");
        let current = metadata["current-snapshot-id"].clone();
        for (list, key) in [("snapshots", "snapshot-id"), ("snapshot-log", "snapshot-id")] {
            metadata[list].as_array_mut().expect("a list").retain(|snapshot| snapshot[key] == current);
        }
        std::fs::write(path, metadata.to_string()).expect("written");
    }

    /// How often each data file was added to a table, by all of its snapshots.
    async fn added(&self, name: &str) -> BTreeMap<String, usize> {
        let table = self.table(name).await;
        let mut added: BTreeMap<String, usize> = BTreeMap::new();
        for path in table.added_files().await.expect("manifests") {
            *added.entry(path).or_default() += 1;
        }
        added
    }

    /// Runs on to the end: every row is there once, every data file came once.
    async fn assert_each_row_once(&self, expected: &Expected) {
        self.run_to_end(&drained(3)).await;
        assert_eq!(self.hits().await, expected.hits);
        assert_eq!(self.totals().await, expected.totals);
        self.assert_all_accounted_for(expected).await;
        for table in ["marts.hits", "marts.totals"] {
            let twice: Vec<_> = self.added(table).await.into_iter().filter(|(_, times)| *times > 1).collect();
            assert!(twice.is_empty(), "{twice:?}");
        }
    }

    /// The data files of a table that lie in its folder, whether a snapshot has them or not.
    fn data_files(&self, table: &str) -> Vec<PathBuf> {
        let mut folders = vec![self.folder.path().join("warehouse")];
        let mut files = Vec::new();
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                match path.is_dir() {
                    true => folders.push(path),
                    false if path.extension().is_some_and(|end| end == "parquet") => files.push(path),
                    false => {}
                }
            }
        }
        files.retain(|path| path.components().any(|part| part.as_os_str() == table));
        files
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_a_crash_between_the_commits_to_two_tables_leaves_neither_without_the_checkpoint() {
    for (seed, lost) in [(301, "hits"), (302, "totals")] {
        let (world, expected) = half_published(seed).await;
        let before = world.pointers().await;
        let report = world.run_to_end(&in_one_checkpoint(2)).await;
        assert!(report.rows.values().all(|&rows| rows > 0), "both have something to commit: {report:?}");
        world.set_back(&before, &[lost]).await;
        world.assert_each_row_once(&expected).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b4_a_new_process_finds_a_commit_whose_answer_nobody_heard() {
    let (world, expected) = half_published(304).await;
    world.run_to_end(&in_one_checkpoint(2)).await;
    // It has no trace in the store: the manifest is the same whether the process heard of its commits or not.
    let snapshots = world.table("marts.hits").await.ancestors().len();
    let report = world.run_to_end(&in_one_checkpoint(2)).await;
    assert_eq!(report.rows["marts.hits"], 0);
    let claimed = world.table("marts.hits").await.ancestors().len() - snapshots;
    assert!(claimed <= 1, "{claimed} snapshots, where a claim alone was to be made");
    world.assert_each_row_once(&expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b5_a_commit_is_known_though_its_snapshot_has_expired() {
    let (world, _) = half_published(305).await;
    world.run_to_end(&in_one_checkpoint(2)).await;
    let rows = world.hits().await;
    // Another snapshot, so that the commit's own isn't the newest and may go.
    world.append_junk(NOON - MINUTE).await;
    let known = world.table("marts.hits").await;
    assert!(known.ancestors().len() > 2);
    world.forget_snapshots("hits").await;
    assert_eq!(world.table("marts.hits").await.ancestors().len(), 1);
    world.run_to_end(&in_one_checkpoint(1)).await;
    let mut expected = rows;
    expected.insert((NOON - MINUTE, "junk".to_owned()), (-1, -1));
    assert_eq!(world.hits().await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b6_what_a_checkpoint_has_uploaded_before_it_failed_is_never_published() {
    let (world, expected) = half_published(306).await;
    // The rest comes when the name of the next checkpoint's manifest is taken.
    let rest = world.logs.hold_back("clicks");
    let world = Arc::new(world);
    let (live, running) = (world.data_files("hits"), world.clone());
    let running = tokio::spawn(async move { running.run(&options(2), &CancellationToken::new()).await });
    let next = world.manifest().await.id.generation.0 + 1;
    let begun = world.folder.path().join(format!("state/job/{next:010}/{:010}.json", 0));
    while !begun.exists() {
        tokio::task::yield_now().await;
    }
    let taken = begun.with_file_name(format!("{:010}.json", 1));
    std::fs::write(&taken, "somebody else's").expect("written");
    rest.into_iter().enumerate().for_each(|(partition, records)| world.logs.append("clicks", partition, records));
    let ended = tokio::time::timeout(Duration::from_secs(60), running).await.expect("it ends").expect("no panic");
    let error = ended.expect_err("the name is taken");
    assert!(error.to_string().contains("0000000001"), "{error}");
    let uploaded: Vec<PathBuf> = world.data_files("hits").into_iter().filter(|path| !live.contains(path)).collect();
    assert!(!uploaded.is_empty());
    std::fs::remove_file(&taken).expect("removed");
    world.assert_each_row_once(&expected).await;
    let published = world.added("marts.hits").await;
    let is_published = |path: &PathBuf| published.keys().any(|file| file.ends_with(&path.to_string_lossy()[..]));
    assert_eq!(uploaded.iter().filter(|path| is_published(path)).count(), 0);
    assert!(live.iter().all(is_published), "the paths are compared well");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b8_no_file_comes_twice_though_others_commit_all_the_time() {
    let (world, expected) = half_published(308).await;
    let writing = CancellationToken::new();
    let others = async {
        for _ in 0..40 {
            if !writing.is_cancelled() {
                world.append_junk(NOON - MINUTE).await;
            }
        }
    };
    let run = async {
        world.run_to_end(&to_end(2)).await;
        writing.cancel();
    };
    tokio::join!(others, run);
    let twice = |added: BTreeMap<String, usize>| added.into_values().filter(|times| *times > 1).count();
    assert_eq!(twice(world.added("marts.hits").await), 0);
    world.run_to_end(&drained(1)).await;
    assert_eq!(twice(world.added("marts.hits").await), 0);
    assert_eq!(world.totals().await, expected.totals);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b9_a_checkpoint_is_one_snapshot_whatever_the_number_of_workers() {
    let logs = MemoryLogs::new(50);
    fill(&logs, 309, 4, 2_000);
    let world = World::new(&format!("{STREAM}{HITS}"), logs);
    let report = world.run_to_end(&to_end(4)).await;
    let table = world.table("marts.hits").await;
    let mut published: Vec<String> = Vec::new();
    for snapshot in table.ancestor_snapshots() {
        let summary = &snapshot.summary().additional_properties;
        published.extend(summary.get("kappa.checkpoint").cloned());
    }
    let snapshots = published.len();
    published.dedup();
    assert_eq!(published.len(), snapshots, "one snapshot a checkpoint");
    assert!(snapshots > 1 && snapshots as u64 <= report.checkpoints, "{snapshots} of {}", report.checkpoints);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b13_a_staged_file_that_was_cleaned_up_is_missed_before_a_table_names_it() {
    let (world, _) = half_published(313).await;
    let before = world.pointers().await;
    let live: Vec<PathBuf> = world.data_files("hits");
    world.run_to_end(&in_one_checkpoint(2)).await;
    world.set_back(&before, &["hits"]).await;
    let staged = world.data_files("hits").into_iter().find(|path| !live.contains(path)).expect("it has staged rows");
    std::fs::remove_file(&staged).expect("removed");
    let error = world.run(&to_end(2), &CancellationToken::new()).await.expect_err("rows are gone");
    let name = staged.file_name().expect("a name").to_string_lossy().into_owned();
    let is_named = |path: &String| PathBuf::from(path).file_name().is_some_and(|found| found.to_string_lossy() == name);
    assert!(matches!(&error, RunError::Publish(PublishError::StagedGone { path, .. }) if is_named(path)), "{error}");
    assert!(error.to_string().contains("which is gone though no snapshot has it yet"), "{error}");
    // What is published can be read.
    world.hits().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b16_records_of_a_topic_that_was_made_anew_are_never_taken_for_those_of_the_old_one() {
    let logs = MemoryLogs::new(50);
    let name = |id: &str| *logs.identity.lock().expect("ours") = Some(id.to_owned());
    name("old");
    logs.append("clicks", 0, (0..300).map(|second| click("a", 1, NOON + second * SECOND)));
    let world = Arc::new(World::new(&format!("{STREAM}{HITS}"), logs.clone()));
    let running = world.clone();
    let running = tokio::spawn(async move { running.run(&options(1), &CancellationToken::new()).await });
    is_published(&logs, 300).await;
    let published = world.hits().await;
    assert_eq!(published.len(), 4, "the last window is open");
    // Its offsets go on where those of the old one ended, so that nothing else tells.
    name("new");
    logs.append("clicks", 0, (300..900).map(|second| click("b", 1, NOON + second * SECOND)));
    let ended = tokio::time::timeout(Duration::from_secs(60), running).await.expect("it ends").expect("no panic");
    let anew = |error: &RunError| matches!(error, RunError::Source(SourceError::TopicMadeAnew { .. }));
    assert!(ended.as_ref().is_err_and(anew), "{ended:?}");
    assert_eq!(world.hits().await, published);
    let again = world.run(&to_end(1), &CancellationToken::new()).await.expect_err("it is still another");
    assert!(anew(&again), "{again}");
    assert_eq!(world.hits().await, published);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b16_an_id_that_no_broker_told_at_the_start_is_learnt_later() {
    let logs = MemoryLogs::new(50);
    let name = |id: &str| *logs.identity.lock().expect("ours") = Some(id.to_owned());
    let append = |seconds: std::ops::Range<i64>| {
        logs.append("clicks", 0, seconds.map(|second| click("a", 1, NOON + second * SECOND)));
    };
    append(0..300);
    let world = Arc::new(World::new(&format!("{STREAM}{HITS}"), logs.clone()));
    let running = world.clone();
    let running = tokio::spawn(async move { running.run(&options(1), &CancellationToken::new()).await });
    is_published(&logs, 300).await;
    name("old");
    append(300..600);
    is_published(&logs, 600).await;
    name("new");
    append(600..900);
    let ended = tokio::time::timeout(Duration::from_secs(60), running).await.expect("it ends").expect("no panic");
    let error = ended.expect_err("it is another topic");
    let RunError::Source(SourceError::TopicMadeAnew { was, is, .. }) = error else { panic!("{error}") };
    assert_eq!((was.as_str(), is.as_str()), ("old", "new"));
}

/// Waits until records below an offset are in a checkpoint, behind which a log is told so.
async fn is_published(logs: &MemoryLogs, below: i64) {
    while logs.reported.lock().expect("ours").get("clicks").is_none_or(|told| told[&0].0 < below) {
        tokio::task::yield_now().await;
    }
}
