//! A live run on the real broker is killed thirty times, half of them as soon as a checkpoint's manifest is there, which is
//! before its tables are committed. In the end every row is audited against the model.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::model;
use crate::replay::{Case, Names, Random};
use crate::support::kafka;
use crate::support::project::{Catalog, Project};
use crate::support::python::{pyiceberg, sound_tables};

const KILLS: usize = 30;
/// Kills that must have hit between manifest and commit.
const BETWEEN_LEAST: usize = 5;
const JOB: &str = "jobs/kills.sql";
/// For a checkpoint of a run that makes one a second, on a loaded machine.
const PROGRESS_LIMIT: Duration = Duration::from_secs(60);
/// Messages a partition; every run gets its share of new ones in slices, so that it has something to checkpoint.
const MESSAGES: usize = 20_000;
const SLICE: usize = 20;
const SLICES_A_RUN: usize = MESSAGES / SLICE / (KILLS + 1);
const SLICE_EVERY: Duration = Duration::from_millis(40);

#[test]
fn thirty_kills_lose_no_row_and_repeat_none() {
    let case = Case::steady(30, MESSAGES);
    let topic = kafka::create_topic("kills", case.partitions.len());
    let project = Project::on_kafka(Catalog::Sql, "checkpoint_interval = \"1s\"\nrejects_max = \"100%\"");
    let names = Names { topic: &topic, namespace: project.namespace(), result: "result", history: None };
    project.write(JOB, case.sql(&names));
    let mut slices = slices(&case);
    // Every partition holds records before the first run: an empty one would be idle, and wake up behind the watermark.
    kafka::produce(&topic, &slices.next().expect("there are several"));

    let allowed = AtomicUsize::new(0);
    let between = std::thread::scope(|scope| {
        scope.spawn(|| feed(&topic, slices, &allowed));
        // Whatever happens, the feeder must end: the scope waits for it.
        let _all = AllowAll(&allowed);
        kill_repeatedly(&project, &allowed)
    });
    assert!(between >= BETWEEN_LEAST, "only {between} of {KILLS} kills hit between manifest and commit");

    project.kappa(&["run", JOB, "--until", "end", "--drain"]).ok();
    audit(&case, &project);
}

/// Kills a run again and again, each time after progress; answers how often a manifest was left without its commit.
fn kill_repeatedly(project: &Project, allowed: &AtomicUsize) -> usize {
    let mut random = Random::new(30);
    let mut between = 0;
    let mut last_committed = None;
    for kill in 0..KILLS {
        let manifests_before = manifests(project);
        let mut run = project.start(&["run", JOB]);
        allowed.fetch_add(SLICES_A_RUN, Ordering::SeqCst);
        let new_manifest = || manifests(project).difference(&manifests_before).any(|(_, number)| *number > 0);
        run.wait_until("a new checkpoint", PROGRESS_LIMIT, new_manifest);
        if kill % 2 == 1 {
            // Somewhere in the work of the next epoch.
            std::thread::sleep(Duration::from_millis(random.bits() % 1_000));
        }
        run.kill();
        let committed = committed(project);
        if newest(project) > committed {
            between += 1;
        } else {
            assert!(committed > last_committed, "kill {kill}: nothing was committed since the one before");
        }
        last_committed = committed;
    }
    eprintln!("{between} of {KILLS} kills hit between manifest and commit");
    between
}

/// Manifests of the job, as (generation, number); number 0 says only what a generation continues.
fn manifests(project: &Project) -> BTreeSet<(u64, u64)> {
    let job_folder: PathBuf = project.path().join(".kappa/state/kills");
    let entries = |folder: &PathBuf| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries.map(|entry| entry.expect("folder is readable").path()).collect()
    };
    let number = |path: &PathBuf| path.file_stem()?.to_str()?.parse::<u64>().ok();
    let mut found = BTreeSet::new();
    for folder in entries(&job_folder) {
        let Some(generation) = number(&folder) else { continue };
        let json = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
        found.extend(
            entries(&folder).iter().filter(|path| json(path)).filter_map(number).map(|number| (generation, number)),
        );
    }
    found
}

/// The newest manifest that says what to publish.
fn newest(project: &Project) -> Option<(u64, u64)> {
    manifests(project).into_iter().filter(|(_, number)| *number > 0).max()
}

/// The newest checkpoint that the result table has.
fn committed(project: &Project) -> Option<(u64, u64)> {
    let [result] = pyiceberg(project, [&format!("{}.result", project.namespace())]);
    let result = result?;
    let (generation, number) = result.properties.get("kappa.kills.checkpoint")?.split_once('/')?;
    Some((generation.parse().expect("a number"), number.parse().expect("a number")))
}

/// The case's messages in the order of sending, some of every partition at a time.
fn slices(case: &Case) -> impl Iterator<Item = Vec<kafka::Message>> + Send + use<> {
    let mut partitions: Vec<std::collections::VecDeque<kafka::Message>> =
        vec![Default::default(); case.partitions.len()];
    for message in case.kafka_messages() {
        partitions[usize::try_from(message.partition).expect("isn't negative")].push_back(message);
    }
    std::iter::from_fn(move || {
        let slice: Vec<_> =
            partitions.iter_mut().flat_map(|rest| rest.drain(..SLICE.min(rest.len())).collect::<Vec<_>>()).collect();
        (!slice.is_empty()).then_some(slice)
    })
}

/// Sends as many slices as are allowed by now. The pause only spreads the work over a run; nothing depends on it.
fn feed(topic: &str, slices: impl Iterator<Item = Vec<kafka::Message>>, allowed: &AtomicUsize) {
    let producer = kafka::Producer::new(&[("enable.idempotence", "true")]);
    for (sent, slice) in slices.enumerate() {
        while sent >= allowed.load(Ordering::SeqCst) {
            std::thread::sleep(SLICE_EVERY);
        }
        producer.send(topic, &slice);
        if allowed.load(Ordering::SeqCst) < usize::MAX {
            std::thread::sleep(SLICE_EVERY);
        }
    }
    producer.flush();
}

/// Lets the feeder send the rest at once when dropped, also by a panic.
struct AllowAll<'a>(&'a AtomicUsize);

impl Drop for AllowAll<'_> {
    fn drop(&mut self) {
        self.0.store(usize::MAX, Ordering::SeqCst);
    }
}

/// Every row of the result, every late record and every reject, each exactly once.
fn audit(case: &Case, project: &Project) {
    let names = ["result", "result_late", "result_rejects"].map(|table| format!("{}.{table}", project.namespace()));
    let [result, late, rejects] = sound_tables(project, names.each_ref().map(String::as_str));
    let judged = model::judge(&case.log(), &case.stream, &case.query);
    let expected = model::results(&judged, &case.stream, &case.query, i64::MAX);
    assert_eq!(model::differences(&expected, &result.rows(), case.key_columns()), Vec::<String>::new());
    for (table, wanted) in [(&late, model::Verdict::is_late as fn(_) -> _), (&rejects, model::Verdict::is_rejected)] {
        let chosen = judged.iter().filter(|record| wanted(record.verdict));
        let expected: Vec<(i32, i64)> = chosen.map(|record| (record.partition, record.offset)).collect();
        let mut found = table.positions();
        found.sort_unstable();
        assert_eq!(found, expected);
    }
    let accepted = judged.iter().filter(|record| record.verdict.is_accepted()).count();
    assert_eq!(result.newest("kappa.accepted"), Some(i64::try_from(accepted).expect("is small")));
}
