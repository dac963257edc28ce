//! Files of checkpoints and savepoints that are damaged, gone or another's: the job goes on from the checkpoint before, and what
//! comes out is what a plain computation gives; or it stops and names the file. Each kind of file by each kind of damage.

use std::path::{Path, PathBuf};

use super::overlapping::by_ends_of;
use super::*;
use crate::checkpoints::{BeginRecord, Generation, ManifestId, StateFile, checksum_text};
use crate::reposition::{Destination, RepositionError};

const VISITS: &str = "
INSERT INTO ICEBERG 'marts.visits' PARTITIONED BY (hour(window_end))
SELECT window_start, window_end, host, count(*) AS hits, sum(bytes) AS bytes
FROM SESSION(clicks PARTITION BY host, t, INTERVAL '10 seconds')
GROUP BY window_start, window_end, host;
";
/// Without a window.
const EACH: &str = "
INSERT INTO ICEBERG 'marts.each' PARTITIONED BY (hour(t))
SELECT host, bytes, t FROM clicks WHERE bytes < 90;
";

/// What may happen to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    FlippedBit(At),
    CutTo(At),
    Gone,
    /// Another file of the same kind lies in its place.
    Swapped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    First,
    Anywhere,
    Last,
}

const DAMAGES: [Damage; 8] = [
    Damage::FlippedBit(At::First),
    Damage::FlippedBit(At::Anywhere),
    Damage::FlippedBit(At::Last),
    Damage::CutTo(At::First),
    Damage::CutTo(At::Anywhere),
    Damage::CutTo(At::Last),
    Damage::Gone,
    Damage::Swapped,
];

/// The kinds of files of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Manifest,
    State,
    Begin,
    Claim,
    Heartbeat,
}

fn damage(path: &Path, other: &Path, damage: Damage, random: &mut StdRng) {
    let mut bytes = std::fs::read(path).expect("is there");
    let index = |at, random: &mut StdRng| match at {
        At::First => 0,
        At::Anywhere => random.random_range(0..bytes.len()),
        At::Last => bytes.len() - 1,
    };
    match damage {
        Damage::FlippedBit(at) => {
            let index = index(at, random);
            bytes[index] ^= 1 << random.random_range(0..8);
        }
        Damage::CutTo(at) => bytes.truncate(index(at, random)),
        Damage::Gone => return std::fs::remove_file(path).expect("is there"),
        Damage::Swapped => bytes = std::fs::read(other).expect("is there"),
    }
    std::fs::write(path, bytes).expect("the folder takes it");
}

fn job() -> String {
    format!("{STREAM}{HITS}{TOTALS}{VISITS}{EACH}")
}

impl World {
    fn state_folder(&self) -> PathBuf {
        self.folder.path().join("state/job")
    }

    fn generation(&self, number: u64) -> PathBuf {
        self.state_folder().join(format!("{number:010}"))
    }

    fn manifest_path(&self, manifest: &Manifest) -> PathBuf {
        self.generation(manifest.id.generation.0).join(format!("{:010}.json", manifest.id.number))
    }

    /// The newest checkpoint and the one before, which is kept.
    async fn two_newest(&self) -> Option<(Manifest, Manifest)> {
        let newest = self.setup().await.checkpoints.usable().await.expect("readable").newest.manifest?;
        let mut ids = Vec::new();
        for generation in 1..=newest.id.generation.0 {
            for entry in std::fs::read_dir(self.generation(generation)).into_iter().flatten() {
                let name = entry.expect("is there").file_name().to_string_lossy().into_owned();
                let number = name.strip_suffix(".json").and_then(|name| name.parse().ok());
                ids.extend(number.map(|number| ManifestId::new(Generation(generation), number)));
            }
        }
        let before = ids.into_iter().filter(|id| id.number > 0 && *id < newest.id).max()?;
        Some((newest, self.setup().await.checkpoints.manifest(before).await.ok()?))
    }

    /// Runs a little, until the newest checkpoint has state of its own.
    async fn run_to_two(&self, records: usize) -> (Manifest, Manifest) {
        for _ in 0..20 {
            self.run_some(records).await;
            if let Some((newest, before)) = self.two_newest().await
                && own_state(&newest, &before).is_some()
            {
                return (newest, before);
            }
        }
        panic!("runs are too short");
    }

    /// A file of this kind, and another one of it.
    fn file(&self, kind: Kind, newest: &Manifest, before: &Manifest) -> (PathBuf, PathBuf) {
        let own = own_state(newest, before).expect("looked for");
        let other = before.state.iter().chain(&newest.state).find(|file| file.checksum != own.checksum);
        let state = |file: &StateFile| self.state_folder().join(&file.path);
        let (generation, older) =
            (self.generation(newest.id.generation.0), self.generation(newest.id.generation.0 - 1));
        let named = |name: &str| (generation.join(name), older.join(name));
        match kind {
            Kind::Manifest => (self.manifest_path(newest), self.manifest_path(before)),
            Kind::State => (state(own), state(other.expect("there are several legs"))),
            Kind::Begin => {
                // Those of older runs are collected.
                let generation = newest.id.generation.next();
                let other = BeginRecord { generation, after: Some(before.id), abandoned: None };
                let path = self.folder.path().join("begin.json");
                std::fs::write(&path, other.encode()).expect("the folder takes it");
                (named("0000000000.json").0, path)
            }
            Kind::Claim => (named("claim.json").0, named("heartbeat.json").0),
            Kind::Heartbeat => (named("heartbeat.json").0, named("claim.json").0),
        }
    }

    async fn each(&self) -> Vec<(String, i64, i64)> {
        let mut rows = Vec::new();
        for batch in self.batches("marts.each", &["host", "bytes", "t"]).await {
            let (hosts, bytes) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
            let times = batch.column(2).as_primitive::<TimestampMicrosecondType>();
            rows.extend((0..batch.num_rows()).map(|row| (hosts.value(row).into(), bytes.value(row), times.value(row))));
        }
        rows.sort();
        rows
    }

    /// Runs to the end of the log, and compares all tables with a run over it that nothing happened to.
    async fn assert_ends_right(&self, expected: &Expected) {
        self.run_to_end(&drained(2)).await;
        assert_eq!(self.hits().await, expected.hits);
        assert_eq!(self.totals().await, expected.totals);
        let scratch =
            World { folder: tempfile::tempdir().expect("a folder"), logs: self.logs.clone(), plan: self.plan.clone() };
        scratch.run_to_end(&drained(1)).await;
        if self.plan.inserts.len() == 4 {
            assert_eq!(by_ends_of(self, ["marts.visits"]).await, by_ends_of(&scratch, ["marts.visits"]).await);
        }
        assert_eq!(self.each().await, scratch.each().await);
        self.assert_late_and_rejects_as_from_scratch().await;
    }

    async fn refused(&self) -> String {
        let error = self.run(&to_end(2), &CancellationToken::new()).await.expect_err("nothing to go on from");
        error.to_string()
    }
}

/// A state file of one checkpoint that the other doesn't name.
fn own_state<'a>(of: &'a Manifest, and: &Manifest) -> Option<&'a StateFile> {
    of.state.iter().find(|file| and.state.iter().all(|other| other.path != file.path))
}

fn name(path: &Path) -> String {
    let parts: Vec<_> = path.iter().rev().take(2).map(|part| part.to_string_lossy().into_owned()).collect();
    format!("{}/{}", parts[1], parts[0])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_checkpoint_before_is_gone_on_from_and_its_later_windows_are_published_again() {
    let logs = MemoryLogs::new(20);
    let expected = fill(&logs, 201, 2, 6_000);
    let world = World::new(&job(), logs.clone());
    let mut random = StdRng::seed_from_u64(201);
    world.run_to_two(400).await;
    for kind in [Kind::Manifest, Kind::State] {
        for how in DAMAGES {
            let (newest, before) = world.run_to_two(150).await;
            let (path, other) = world.file(kind, &newest, &before);
            damage(&path, &other, how, &mut random);
            world.run_some(1).await;
            let generation = world.manifest().await.id.generation.0;
            let ran = generation - newest.id.generation.0;
            // No table tells of one that is gone if it brought none of them anything; then there is nothing to go back from.
            let is_untold = kind == Kind::Manifest && how == Damage::Gone && newest.tables.is_empty();
            assert_eq!(ran, if is_untold { 1 } else { 2 }, "one goes back, and one goes on: {kind:?}, {how:?}");
        }
    }
    world.assert_ends_right(&expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_says_who_ran_and_where_a_run_began_is_not_needed() {
    let logs = MemoryLogs::new(20);
    let expected = fill(&logs, 202, 1, 6_000);
    let world = World::new(&job(), logs.clone());
    let mut random = StdRng::seed_from_u64(202);
    world.run_to_two(400).await;
    for kind in [Kind::Begin, Kind::Claim, Kind::Heartbeat] {
        for how in DAMAGES {
            let (newest, before) = world.run_to_two(60).await;
            let (path, other) = world.file(kind, &newest, &before);
            damage(&path, &other, how, &mut random);
            world.run_some(1).await;
            let generation = world.manifest().await.id.generation.0;
            assert_eq!(generation, newest.id.generation.0 + 1, "it just goes on: {kind:?}, {how:?}");
        }
    }
    world.assert_ends_right(&expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_that_die_in_a_commit_or_while_they_go_back_lose_nothing() {
    let logs = MemoryLogs::new(20);
    let expected = fill(&logs, 203, 2, 5_000);
    let world = World::new(&job(), logs.clone());
    let mut random = StdRng::seed_from_u64(203);
    for round in 0..25 {
        world.cut_off(400, Duration::from_millis(random.random_range(0..60))).await;
        // Only where there is one before it.
        if let Some((newest, before)) = world.two_newest().await {
            let path = world.manifest_path(&newest);
            damage(&path, &world.manifest_path(&before), DAMAGES[round % DAMAGES.len()], &mut random);
        }
        // It may be cut off while it goes back.
        world.cut_off(1, Duration::from_millis(random.random_range(0..30))).await;
    }
    world.assert_ends_right(&expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_good_checkpoint_it_stops_and_names_the_files_and_goes_on_when_one_is_put_back() {
    let logs = MemoryLogs::new(20);
    let expected = fill(&logs, 204, 2, 3_000);
    let world = World::new(&job(), logs.clone());
    let mut random = StdRng::seed_from_u64(204);
    let (newest, before) = world.run_to_two(500).await;
    for (first, second) in [(Kind::Manifest, Kind::Manifest), (Kind::State, Kind::State), (Kind::Manifest, Kind::State)]
    {
        for how in DAMAGES {
            let (newest_path, _) = world.file(first, &newest, &before);
            let before_path = match second {
                Kind::Manifest => world.manifest_path(&before),
                _ => world.state_folder().join(&before.state[0].path),
            };
            let copies = [&newest_path, &before_path].map(|path| std::fs::read(path).expect("is there"));
            for path in [&newest_path, &before_path] {
                // Another kind of file in its place.
                damage(path, &world.generation(newest.id.generation.0).join("claim.json"), how, &mut random);
            }
            let error = world.refused().await;
            for part in
                [name(&newest_path), name(&before_path), "--savepoint NAME".into(), "kappa offsets reset".into()]
            {
                assert!(error.contains(&part) || how == Damage::Gone && first == Kind::Manifest, "{how:?}: {error}");
            }
            for (path, copy) in [&newest_path, &before_path].into_iter().zip(copies) {
                std::fs::write(path, copy).expect("put back");
            }
        }
    }
    // Files that several checkpoints need.
    let shared = newest.state.iter().find(|file| before.state.iter().any(|other| other.path == file.path));
    if let Some(shared) = shared {
        let path = world.state_folder().join(&shared.path);
        let copy = std::fs::read(&path).expect("is there");
        damage(&path, &path, Damage::FlippedBit(At::Last), &mut random);
        let error = world.refused().await;
        assert!(error.contains(&name(&path)), "{error}");
        std::fs::write(&path, copy).expect("put back");
    }
    world.assert_ends_right(&expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_of_another_format_is_not_passed_over() {
    let logs = MemoryLogs::new(20);
    let expected = fill(&logs, 205, 1, 2_000);
    let world = World::new(&job(), logs.clone());
    let (newest, before) = world.run_to_two(500).await;
    for kind in [Kind::Manifest, Kind::Begin] {
        let (path, _) = world.file(kind, &newest, &before);
        let copy = std::fs::read_to_string(&path).expect("is there");
        for format in ["0", "2"] {
            let (content, _) = copy.split_once('\n').expect("two lines");
            let content = content.replacen("\"format\":1", &format!("\"format\":{format}"), 1);
            let seal = checksum_text(content.as_bytes());
            std::fs::write(&path, format!("{content}\n{{\"xxh3_128\":\"{seal}\"}}\n")).expect("the folder takes it");
            let error = world.run(&to_end(1), &CancellationToken::new()).await.expect_err("another format");
            let text = format!("{:#}", anyhow::Error::from(error));
            assert!(text.contains(&name(&path)) && text.contains(&format!("has format {format}")), "{text}");
        }
        std::fs::write(&path, copy).expect("put back");
    }
    world.assert_ends_right(&expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_savepoint_and_a_reset_are_ways_out_when_no_checkpoint_is_good() {
    for (round, by_reset) in [false, true, false, true].into_iter().enumerate() {
        let logs = MemoryLogs::new(20);
        let expected = fill(&logs, 206 + round as u64, 2, 3_000);
        // A reset to a time would cut sessions off.
        let job = if by_reset { job().replace(VISITS, "") } else { job() };
        let world = World::new(&job, logs.clone());
        let mut random = StdRng::seed_from_u64(206);
        world.run_some(800).await;
        world.keep("early").await;
        let (newest, before) = world.run_to_two(500).await;
        for path in [world.manifest_path(&newest), world.manifest_path(&before)] {
            damage(&path, &path, DAMAGES[round], &mut random);
        }
        let moved = match by_reset {
            true => world.reset_to(NOON).await,
            false => world.restore(&"early".parse().expect("a name")).await.expect("restored"),
        };
        assert_eq!(moved.savepoint, None, "there was nothing to keep");
        for _ in 0..3 {
            world.cut_off(500, Duration::from_millis(7)).await;
        }
        world.assert_ends_right(&expected).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_savepoint_is_named_and_the_job_stands_where_it_stood() {
    let logs = MemoryLogs::new(20);
    let expected = fill(&logs, 210, 1, 3_000);
    let world = World::new(&job(), logs.clone());
    let mut random = StdRng::seed_from_u64(210);
    for records in [600, 100] {
        world.run_some(records).await;
        world.keep(if records == 600 { "early" } else { "later" }).await;
    }
    world.run_some(500).await;
    let folder = |name: &str| world.state_folder().join("savepoints").join(name);
    let files = |name: &str| {
        let states = std::fs::read_dir(folder(name).join("state")).expect("is there");
        let mut states: Vec<PathBuf> = states.map(|entry| entry.expect("is there").path()).collect();
        states.sort();
        (folder(name).join("savepoint.json"), states)
    };
    let ((early, early_states), (later, later_states)) = (files("early"), files("later"));
    let other_state = later_states.into_iter().find(|path| path.file_name() != early_states[0].file_name());
    let pairs = [(early, later), (early_states[0].clone(), other_state.expect("there are several legs"))];
    for (path, other) in pairs {
        for how in DAMAGES {
            let copy = std::fs::read(&path).expect("is there");
            damage(&path, &other, how, &mut random);
            let setup = world.setup().await;
            let error = match setup.checkpoints.savepoint(&"early".parse().expect("a name")).await {
                Ok(savepoint) => {
                    let moved = world.reposition(&Destination::Savepoint(Box::new(savepoint))).await;
                    moved.map(|_| ()).expect_err("damaged")
                }
                Err(error) => RepositionError::from(error),
            };
            let text = error.to_string();
            let without = how == Damage::Gone && text.contains("has no savepoint early; it has early, later");
            let file = path.file_name().expect("a file").to_string_lossy();
            assert!(text.contains(&*file) || without, "{how:?}: {text}");
            std::fs::write(&path, copy).expect("put back");
            world.run_some(40).await;
        }
    }
    world.assert_ends_right(&expected).await;
}
