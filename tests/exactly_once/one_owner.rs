//! Counterexample 28: two jobs on one result table are never both let in; a late table they may share.

use crate::kafka::hours::{Hours, JOB, LIMIT};
use crate::support::catalog;
use crate::support::process::Finished;
use crate::support::project::Project;
use crate::support::python::sound_tables;

const OTHER: &str = "jobs/other.sql";

/// An hour and a bit of it again, late.
fn hours() -> Hours {
    let hours = Hours::new(1, &[], "WATERMARK FOR t AS t");
    hours.send(&[(0, "05:10"), (0, "06:10"), (0, "05:30"), (0, "07:10")]);
    hours
}

fn published() -> Vec<(String, i64)> {
    [("05:00", 1), ("06:00", 1)].map(|(hour, count)| (hour.to_owned(), count)).to_vec()
}

/// The text of the one job, for another one.
fn text(project: &Project) -> String {
    std::fs::read_to_string(project.path().join(JOB)).expect("it was written")
}

#[track_caller]
fn assert_refused(finished: Finished, hours: &Hours, owner: &str) {
    let refused = finished.exits(3);
    let said = format!("{} belongs to job {owner}, and a result table has one owner", hours.table("result"));
    assert!(refused.stderr.contains(&said), "{}", refused.stderr);
}

#[test]
fn counterexample_28_a_second_job_on_one_table_is_refused_whether_the_first_runs_or_not() {
    let hours = hours();
    hours.project.write(OTHER, text(&hours.project));
    let mut run = hours.run(&[]);
    hours.wait_for_results(&mut run, 2);
    let ways: [&[&str]; 4] = [
        &["run", OTHER, "--until", "end"],
        &["run", OTHER, "--until", "end", "--take-over"],
        &["offsets", "reset", OTHER, "--to-earliest", "--execute"],
        &["validate", OTHER, "--connect"],
    ];
    for way in ways {
        assert_refused(hours.project.kappa(way), &hours, "hours");
    }
    // It was let alone: it goes on, and stops in order.
    hours.send(&[(0, "08:10")]);
    hours.wait_for_results(&mut run, 3);
    run.terminate();
    run.wait(LIMIT).ok();
    assert_refused(hours.project.kappa(ways[0]), &hours, "hours");
    let mut three = published();
    three.push(("07:00".to_owned(), 1));
    assert_eq!(hours.results(), three);
    let properties = catalog::properties(&hours.project, &hours.table("result")).expect("it is there");
    let of_other: Vec<&String> = properties.keys().filter(|key| key.starts_with("kappa.other.")).collect();
    assert!(of_other.is_empty(), "the refused job has left {of_other:?}");
}

#[test]
fn counterexample_28_of_two_jobs_that_start_together_on_one_table_one_is_refused() {
    let hours = hours();
    hours.project.write(OTHER, text(&hours.project));
    let start = |job: &str| hours.project.start(&["run", job, "--until", "end"]);
    let both = [(JOB, start(JOB)), (OTHER, start(OTHER))];
    let ended = both.map(|(job, run)| (job, run.wait(LIMIT)));
    let owner = ended.iter().find(|(_, finished)| finished.code == Some(0)).map(|(job, _)| *job);
    let (owner, name) = match owner {
        Some(JOB) => (JOB, "hours"),
        Some(_) => (OTHER, "other"),
        None => panic!("neither got the table: {ended:#?}"),
    };
    for (job, finished) in ended {
        if job != owner {
            assert_refused(finished, &hours, name);
        }
    }
    assert_eq!(hours.results(), published(), "once");
}

#[test]
fn counterexample_28_two_jobs_share_a_late_table_and_each_owns_its_rows_in_it() {
    let hours = hours();
    let (result, other) = (hours.table("result"), hours.table("other"));
    hours.project.write(OTHER, text(&hours.project).replace(&result, &other));
    let run = |job: &str| hours.project.kappa(&["run", job, "--until", "end"]).ok();
    run(JOB);
    run(OTHER);
    // Both read the late record again, and each replaces its own row of it.
    for job in [JOB, OTHER] {
        hours.project.kappa(&["offsets", "reset", job, "--to-earliest", "--execute"]).ok();
        run(job);
    }
    let [late] = sound_tables(&hours.project, [&hours.table("late")]);
    let of = late.index("result");
    let results: Vec<_> = late.rows().into_iter().map(|row| row[of].clone()).collect();
    let mut both = [other.as_str(), result.as_str()].map(crate::support::Value::from).to_vec();
    both.sort();
    let mut found = results;
    found.sort();
    assert_eq!(found, both);
    assert_eq!(late.positions(), [(0, 2), (0, 2)]);
}
